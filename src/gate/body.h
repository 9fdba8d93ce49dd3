/* body: a message's body, pulled and leased, never pushed. Not pulling is the back-pressure.
 *
 *      server ──▶ [ upstream body ] ──▶ [ a filter's body around it ] ──▶ pulled by the client's side
 *
 * A body lives in the exchange's arena or in what made it; it is closed once, by the exchange, and a wrapper
 * closes what it wraps. One fiber at a time. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"
#include "proto/http.h"

struct io;
struct body;

struct body_ops {
    /* Waits until bytes or the end are there. OK with len 0: the end, and trailers are readable. The bytes
     * stay lent until given back; pulling again without giving lends the same ones (perhaps more). */
    err (*pull)(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes);
    /* Hands back the first n of the bytes lent. */
    void (*give)(struct body *b, size_t n);
    /* Bytes that stand in a socket as they are: the io and how many of them are this body's and not yet given
     * (UINT64_MAX: up to its end), so that they can be lent or spliced instead of copied. NULL ops or a NULL
     * result: not possible. After moving n of them the caller says body_moved. */
    struct io *(*raw)(struct body *b, uint64_t *ret_left);
    void (*moved)(struct body *b, uint64_t n);
    /* Bytes that stand in a file: its descriptor, where they begin and how many of them are in memory, so
     * that they can be sent by the kernel; body_moved says how many were. NULL ops or a negative result: not
     * possible, or not worth it. May wait for a disk on the fiber. */
    int (*file)(struct body *b, uint64_t *ret_offset, size_t *ret_left);
    /* Would a pull return at once? Takes framing off the connection, never waits. NULL: nobody knows. For a
     * wrapper that gathers and must not hold back what has come while it waits for more. */
    bool (*ready)(struct body *b);
    /* The exchange is over: whatever was not pulled is not wanted. May be NULL. */
    void (*close)(struct body *b);
};

#define BODY_LENGTH_UNKNOWN UINT64_MAX

struct body {
    const struct body_ops *ops;
    uint64_t length;                    /* in all; BODY_LENGTH_UNKNOWN until the end says it */
    const struct http_fields *trailers; /* after the end; NULL: none */
};

static inline err body_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    return b->ops->pull(b, deadline_us, ret_bytes);
}

static inline void body_give(struct body *b, size_t n)
{
    b->ops->give(b, n);
}

static inline struct io *body_raw(struct body *b, uint64_t *ret_left)
{
    return b->ops->raw ? b->ops->raw(b, ret_left) : NULL;
}

static inline int body_file(struct body *b, uint64_t *ret_offset, size_t *ret_left)
{
    return b->ops->file ? b->ops->file(b, ret_offset, ret_left) : -1;
}

static inline void body_moved(struct body *b, uint64_t n)
{
    b->ops->moved(b, n);
}

static inline bool body_ready(struct body *b)
{
    return b->ops->ready && b->ops->ready(b);
}

static inline void body_close(struct body *b)
{
    if (b && b->ops->close)
        b->ops->close(b);
}

/* A body over bytes that stay where they are (an answer of a filter's own, a replay). */
struct body_memory {
    struct body body;
    struct bytes left;
};
struct body *body_memory_init(struct body_memory *m, struct bytes content);
