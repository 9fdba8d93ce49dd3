/* http2_order: looks over the frames of a client, before they are read, for those that may not follow what it
 * has said (RFC 9113 5.1). nghttp2 forgets closed streams and drops unseen what comes on them, as what
 * crossed a reset of ours has to be; but nothing crosses after the client's own last frame.
 *
 * Pure; it is given all bytes in their order, however they are cut. One connection. */
#pragma once
#include <stdint.h>

#include "base/bytes.h"

/* How far back the ends of streams are known: streams that were begun, open or not, before the newest. */
#define HTTP2_ORDER_STREAMS 64

struct http2_order {
    uint64_t ended;    /* the client has said all: bit i of the stream i before the newest */
    int32_t newest_id; /* 0: none */
    uint32_t left;     /* bytes to pass over before the next frame's head */
    uint8_t head[13];  /* of the frame; with the first word of a PRIORITY */
    uint8_t have;      /* bytes of it */
};

/* Before the client's preface, which it passes over. */
void http2_order_start(struct http2_order *o);
/* 0, or the code of the connection error (RFC 9113 7): STREAM_CLOSED when a frame comes on a stream after the
 * client's END_STREAM or reset; PROTOCOL_ERROR for a stream that depends on itself (RFC 7540 5.3.1). */
uint32_t http2_order_look(struct http2_order *o, struct bytes in);
