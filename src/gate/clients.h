/* clients: the connections of one worker's clients, whatever protocol they speak: who answers them, how many
 * there are, and how they are let go of.
 *
 *   struct clients ──▶ struct client_conn (first in http1_conn, http2_conn, ...) ──▶ its protocol's functions
 *
 * That worker only. */
#pragma once
#include "base/list.h"
#include "gate/exchange.h"

struct clients {
    /* Gives x a response; must not fail. */
    void (*serve)(struct exchange *x);
    /* After the answer was sent or the client was lost; for the log and the counts. May be NULL. */
    void (*done)(struct exchange *x);
    const char *scheme;
    struct link conns; /* struct client_conn */
    uint32_t conns_count;
    uint32_t parked_count; /* of those, that wait for a request */
    bool draining;         /* every answer is its connection's last */
    bool full;
    /* Told when connections_max is reached, and when there is room again. May be NULL. */
    void (*on_full)(bool full);
};

struct client_conn;

/* What a protocol does with its connections. */
struct client_protocol {
    /* clients.draining has been set: tell the client, where the protocol has a word for it. May be NULL. */
    void (*drain)(struct client_conn *c);
    /* Closes it if it rests (and clients_remove). used_only: but not before its first request, whose client
     * expects no closing. */
    void (*close_idle)(struct client_conn *c, bool used_only);
    /* Breaks it now: its fibers see the end and unwind by themselves. */
    void (*abort)(struct client_conn *c);
};

struct client_conn {
    struct link link;
    struct clients *clients;
    const struct client_protocol *protocol;
};

void clients_init(struct clients *s, void (*serve)(struct exchange *x), void (*done)(struct exchange *x));
/* c is open from now on, and counted. */
void clients_add(struct clients *s, struct client_conn *c, const struct client_protocol *protocol);
/* It is closed; the caller frees it. */
void clients_remove(struct client_conn *c);

void clients_drain(struct clients *s);
void clients_close_idle(struct clients *s, bool used_only);
/* Breaks all of them: the time to drain is over. */
void clients_abort(struct clients *s);
