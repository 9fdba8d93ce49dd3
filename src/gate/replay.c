#include "gate/replay.h"

#include <string.h>

#include "base/list.h"
#include "base/must.h"

static struct replay *of(struct body *b)
{
    return container_of(b, struct replay, body);
}

static err replay_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct replay *r = of(b);
    if (r->at < r->kept) {
        *ret_bytes = (struct bytes){ r->copy + r->at, r->kept - r->at };
        return OK;
    }
    err e = body_pull(r->inner, deadline_us, &r->lent);
    if (e)
        return e;
    b->trailers = r->inner->trailers;
    *ret_bytes = r->lent;
    return OK;
}

static void keep(struct replay *r, size_t n)
{
    if (r->lost)
        return;
    if (n > r->size - r->kept) {
        r->lost = true;
        r->at = r->kept = 0;
        return;
    }
    memcpy(r->copy + r->kept, r->lent.ptr, n);
    r->kept += n;
    r->at = r->kept;
}

static void replay_give(struct body *b, size_t n)
{
    struct replay *r = of(b);
    if (r->at < r->kept) {
        must(n <= r->kept - r->at);
        r->at += n;
        return;
    }
    must(n <= r->lent.len);
    keep(r, n);
    r->lent = bytes_skip(r->lent, n);
    body_give(r->inner, n);
}

/* What has to be copied cannot be lent or spliced past us. */
static struct io *replay_raw(struct body *b, uint64_t *ret_left)
{
    return of(b)->lost ? body_raw(of(b)->inner, ret_left) : NULL;
}

static void replay_moved(struct body *b, uint64_t n)
{
    body_moved(of(b)->inner, n);
}

static void replay_close(struct body *b)
{
    body_close(of(b)->inner);
}

static const struct body_ops replay_ops = {
    .pull = replay_pull,
    .give = replay_give,
    .raw = replay_raw,
    .moved = replay_moved,
    .close = replay_close,
};

struct replay *replay_new(struct arena *a, struct body *inner, size_t bytes_max)
{
    const bool known = inner->length != BODY_LENGTH_UNKNOWN;
    if (bytes_max == 0 || (known && inner->length > bytes_max))
        return NULL;
    struct replay *r = arena_get_zero(a, sizeof *r);
    if (!r)
        return NULL;
    r->size = known ? (size_t)inner->length : bytes_max;
    r->copy = arena_get(a, r->size);
    if (!r->copy)
        return NULL;
    r->inner = inner;
    r->body = (struct body){ .ops = &replay_ops, .length = inner->length };
    return r;
}

bool replay_rewind(struct replay *r)
{
    if (r->lost)
        return false;
    r->at = 0;
    return true;
}
