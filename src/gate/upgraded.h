/* upgraded: a connection that speaks another protocol after its 101 (RFC 9110 7.8): a WebSocket, or a plain
 * tunnel.
 *
 *   101 is queued ─▶ the request's fiber ends ─▶ [ relayed by the loop: no fiber, no buffer ] ─▶ over(), on a
 * fiber
 *
 * The exchange goes on as long as it lasts, so what carries it and its memory do not stand on a stack. That
 * worker only. */
#pragma once
#include "gate/websocket.h"

struct upgraded {
    union {
        struct tunnel tunnel;
        struct websocket websocket;
    } by;
    struct exchange *x;
    struct link link; /* of those that run, or that are over */
    bool is_websocket;
    void (*over)(struct upgraded *u);
};

/* x has its 101 and x->tunnel. over is called once, later, when nothing of it runs any more: x->failed and
 * its bytes say how it went. Both ios are still to be closed. */
void upgraded_start(struct upgraded *u, struct exchange *x, struct io *client,
                    void (*over)(struct upgraded *u));
/* Breaks all of this worker's. */
void upgraded_abort(void);
