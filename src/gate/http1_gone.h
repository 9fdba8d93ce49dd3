/* http1_gone: notices that a client has left while its answer is still being waited for, and ends the
 * exchange, so that no server works for nobody.
 *
 *   reset ─────────────────────────────────────────────────────────────────▶ gone: the fiber is cancelled
 *   FIN ──▶ `ended`: gone
 *       └─▶ `probe`: after PROBE_FIRST_MS a 100 (Continue) is sent ── reset ─▶ gone
 *                                                                  └─ taken ─▶ half-closed: it waits for its
 * answer
 *
 * A FIN says that nothing more will be sent, not that nobody listens (RFC 9293 3.6, RFC 9112 9.6), and only
 * what is sent can show the difference: a closed socket answers with a reset. A client has to expect a 1xx at
 * any time (RFC 9110 15.2); one of HTTP/1.0 does not, and is not probed. Watching costs no system call: the
 * loop tells of an end anyway. That worker only. */
#pragma once
#include "core/timer.h"
#include "gate/exchange.h"

struct client_conf;
struct io;

/* Beside an exchange, while its server is waited for. */
struct http1_gone {
    struct io *io;
    struct exchange *x;
    struct fiber *fiber;
    struct timer timer;
    uint64_t pause_ms; /* until the next look */
    bool ended_is_gone;
    bool probed;
};

/* From the exchange's fiber. When the client is gone x->client_gone is set and that fiber is cancelled. */
void http1_gone_watch(struct http1_gone *g, struct io *io, struct exchange *x,
                      const struct client_conf *conf);
void http1_gone_unwatch(struct http1_gone *g);
