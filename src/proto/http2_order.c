#include "proto/http2_order.h"

#include <stdbool.h>

#define PREFACE_BYTES 24
#define HEAD_BYTES 9

enum { DATA = 0, HEADERS = 1, PRIORITY = 2, RST_STREAM = 3 }; /* RFC 9113 6 */
enum { END_STREAM = 1 };
enum { PROTOCOL_ERROR = 1, STREAM_CLOSED = 5 }; /* RFC 9113 7 */

void http2_order_start(struct http2_order *o)
{
    *o = (struct http2_order){ .left = PREFACE_BYTES };
}

static uint32_t word(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int32_t id_at(const uint8_t *p)
{
    return (int32_t)(word(p) & 0x7fffffff);
}

static uint32_t length(const struct http2_order *o)
{
    return word(o->head) >> 8;
}

/* 0 for one that is too long ago, or has not begun. */
static uint64_t bit_of(const struct http2_order *o, int32_t id)
{
    const int32_t ago = (o->newest_id - id) / 2;
    return id > 0 && id <= o->newest_id && ago < HTTP2_ORDER_STREAMS ? (uint64_t)1 << ago : 0;
}

static void begin(struct http2_order *o, int32_t id)
{
    const int32_t further = (id - o->newest_id) / 2;
    o->ended = further < HTTP2_ORDER_STREAMS ? o->ended << further : 0;
    o->newest_id = id;
}

static uint32_t look_at(struct http2_order *o)
{
    const uint8_t type = o->head[3];
    const int32_t id = id_at(o->head + 5);
    if (type == PRIORITY)
        return id_at(o->head + HEAD_BYTES) == id ? PROTOCOL_ERROR : 0;
    if (type == HEADERS && id > o->newest_id)
        begin(o, id);
    const uint64_t bit = bit_of(o, id);
    if (type != RST_STREAM && o->ended & bit)
        return STREAM_CLOSED;
    if (type == RST_STREAM || o->head[4] & END_STREAM)
        o->ended |= bit;
    return 0;
}

/* What is looked at of the frame that begins with what is there: all of its head, for a PRIORITY more. */
static uint8_t wanted(const struct http2_order *o)
{
    return o->have >= HEAD_BYTES && o->head[3] == PRIORITY && length(o) >= 4 ? HEAD_BYTES + 4 : HEAD_BYTES;
}

uint32_t http2_order_look(struct http2_order *o, struct bytes in)
{
    while (in.len) {
        const size_t skipped = o->left < in.len ? o->left : in.len;
        in = bytes_skip(in, skipped);
        o->left -= (uint32_t)skipped;
        while (in.len && o->have < wanted(o)) {
            o->head[o->have++] = (uint8_t)in.ptr[0];
            in = bytes_skip(in, 1);
        }
        if (o->have < wanted(o))
            return 0;
        o->left = length(o) - (o->have - HEAD_BYTES);
        const bool looked_at = o->head[3] <= RST_STREAM && (o->head[3] != PRIORITY || o->have > HEAD_BYTES);
        o->have = 0;
        const uint32_t code = looked_at ? look_at(o) : 0;
        if (code)
            return code;
    }
    return 0;
}
