/* websocket_relay: what relays of WebSockets share, whatever their client stands on: a connection of its own
 * (gate/websocket.c) or a stream of HTTP/2 or /3 (gate/websocket_stream.c). */
#pragma once
#include "gate/websocket.h"

/* How frames of the gate's own get to a side, and how whoever waits learns that a deadline has come nearer or
 * that tunnel.ending was set. */
struct websocket_ends {
    void (*write)(struct websocket *w, unsigned side, struct bytes frame);
    void (*look_again)(struct websocket *w);
};

/* What becomes of bytes, and of time: by w->tunnel.ways, of which only `tunnel` has to be set. */
extern const struct tunnel_ops websocket_ops;

/* x has its 101. Counted, and known to websocket_drain. */
void websocket_open(struct websocket *w, const struct exchange *x, const struct websocket_ends *ends);
/* After it has been opened, and everything is ready: what begins while weir stops is closed at once. */
void websocket_opened(struct websocket *w);
/* It is over. OK: in an orderly way; else why. */
err websocket_close(struct websocket *w, err why);
