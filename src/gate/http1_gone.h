/* http1_gone: notices that a client has left while its server is still being waited for, and ends the
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
 * any time before its answer (RFC 9110 15.2); one of HTTP/1.0 does not, and is not probed. Inside an answer
 * there is nothing to probe with: what comes next of it shows. Watching costs no system call: the loop tells
 * of an end anyway. That worker only. */
#pragma once
#include "core/timer.h"
#include "gate/exchange.h"

struct client_conf;
struct io;

/* Beside an exchange. */
struct http1_gone {
    struct io *io;
    struct exchange *x;
    struct fiber *fiber;
    struct timer timer;
    uint64_t pause_ms; /* until the next look */
    bool ended_is_gone;
    bool probed;
    bool answering; /* the answer has begun */
    bool left;      /* the client has */
};

/* From the exchange's fiber. answering: its answer is being sent, else waited for. When the client is gone
 * that fiber is cancelled; x->client_gone is set where it waited for its answer. */
void http1_gone_watch(struct http1_gone *g, struct io *io, struct exchange *x, const struct client_conf *conf,
                      bool answering);
/* Whether it is gone. */
bool http1_gone_unwatch(struct http1_gone *g);
