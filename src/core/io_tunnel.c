/* io_tunnel: two connections joined.
 *
 *      RESTING ── bytes ──▶ what is there is lent to the other side, on the loop's stack ──▶ RESTING
 *         ▲                          │ more than fits
 *         │                          ▼
 *         └──── nothing left ──── MOVING (a fiber): lends; from BULK_BYTES on it splices
 *
 *      either ── the end ──▶ ENDED, and the end is passed on */
#include "base/must.h"
#include "core/worker_internal.h"

/* So much in one go, and it is spliced from then on ... */
#define BULK_BYTES (256 * 1024)
/* ... until nothing has come for so long. */
#define QUIET_US (500 * 1000)

enum way_state { WAY_RESTING, WAY_MOVING, WAY_ENDED };

static void way_woke(void *owner, err why);

static uint64_t tunnel_deadline(const struct tunnel *t)
{
    return t->idle_us < DEADLINE_NONE - t->active_us ? t->active_us + t->idle_us : DEADLINE_NONE;
}

static void rest(struct tunnel_way *w)
{
    w->state = WAY_RESTING;
    io_park(w->from, way_woke, w, tunnel_deadline(w->tunnel));
}

/* The caller touches nothing of it afterwards: done may have freed it. */
static void end_way(struct tunnel_way *w)
{
    struct tunnel *t = w->tunnel;
    w->state = WAY_ENDED;
    w->fiber = NULL;
    if (t->ways[0].state == WAY_ENDED && t->ways[1].state == WAY_ENDED)
        t->done(t, t->failed);
}

/* Ends what rests; what moves is told, and ends by itself. */
static void fail(struct tunnel *t, err why)
{
    bool moving = false;
    if (!t->failed)
        t->failed = why;
    for (int i = 0; i < 2; i++) {
        struct tunnel_way *w = &t->ways[i];
        if (w->state == WAY_RESTING) {
            io_unpark(w->from);
            w->state = WAY_ENDED;
        } else if (w->state == WAY_MOVING) {
            fiber_cancel(w->fiber);
            moving = true;
        }
    }
    if (!moving)
        t->done(t, t->failed);
}

/* All that has arrived, as long as the other side's queue takes it. */
static err lend_some(struct tunnel_way *w)
{
    for (;;) {
        if (io_queued(w->to) > IO_SEND_BYTES_MAX)
            return OK;
        struct bytes run = io_peek(w->from);
        if (!run.len)
            return OK;
        err e = io_lend(w->to, w->from, run.len, 0);
        if (e)
            return e;
        w->moved += run.len;
    }
}

/* ---- more than a turn's worth ---- */

static err move_all(struct tunnel_way *w)
{
    struct tunnel *t = w->tunnel;
    uint64_t begun = w->moved;
    for (;;) {
        uint64_t now_us = worker_this->now_us;
        uint64_t moved = 0;
        err e = io_drain(w->to, IO_SEND_BYTES_MAX / 2,
                         t->idle_us < DEADLINE_NONE - now_us ? now_us + t->idle_us : DEADLINE_NONE);
        if (!e && w->moved - begun >= BULK_BYTES) {
            e = io_splice_flow(w->from, w->to, QUIET_US, t->idle_us, &moved);
            w->moved += moved;
            begun = w->moved;
        } else if (!e) {
            e = lend_some(w);
        }
        t->active_us = worker_this->now_us;
        if (e)
            return e;
        if (!io_peek(w->from).len)
            return ERR_AGAIN;
    }
}

static void way_main(void *arg)
{
    struct tunnel_way *w = arg;
    struct tunnel *t = w->tunnel;
    err e = move_all(w);
    if (t->failed) {
        end_way(w);
        return;
    }
    w->fiber = NULL;
    if (e == ERR_AGAIN) {
        rest(w);
    } else if (e == ERR_CLOSED) {
        io_end(w->to);
        end_way(w);
    } else {
        w->state = WAY_ENDED;
        fail(t, e);
    }
}

/* ---- on the loop's stack ---- */

static void move(struct tunnel_way *w)
{
    struct tunnel *t = w->tunnel;
    t->active_us = worker_this->now_us;
    err e = lend_some(w);
    if (e) {
        w->state = WAY_ENDED;
        fail(t, e);
    } else if (io_queued(w->to) > IO_SEND_BYTES_MAX) {
        w->state = WAY_MOVING;
        w->fiber = fiber_spawn_get(way_main, w);
    } else {
        rest(w);
    }
}

static bool is_idle(const struct tunnel *t)
{
    return t->ways[0].state != WAY_MOVING && t->ways[1].state != WAY_MOVING &&
           tunnel_deadline(t) <= worker_this->now_us;
}

static void way_woke(void *owner, err why)
{
    struct tunnel_way *w = owner;
    struct tunnel *t = w->tunnel;
    if (why == OK) {
        move(w);
    } else if (why == ERR_CLOSED) {
        io_end(w->to);
        end_way(w);
    } else if (why == ERR_TIMEOUT && !is_idle(t)) { /* the other way was busy meanwhile */
        if (tunnel_deadline(t) <= worker_this->now_us)
            t->active_us = worker_this->now_us;
        rest(w);
    } else {
        w->state = WAY_ENDED;
        fail(t, why);
    }
}

void tunnel_start(struct tunnel *t, struct io *a, struct io *b, uint64_t idle_us,
                  void (*done)(struct tunnel *t, err why))
{
    *t = (struct tunnel){ .idle_us = idle_us, .active_us = worker_this->now_us, .done = done };
    t->ways[0] = (struct tunnel_way){ .tunnel = t, .from = a, .to = b };
    t->ways[1] = (struct tunnel_way){ .tunnel = t, .from = b, .to = a };
    rest(&t->ways[0]);
    rest(&t->ways[1]);
}

void tunnel_cancel(struct tunnel *t)
{
    fail(t, ERR_CANCELLED);
}

/* ---- waited for ---- */

struct waited {
    struct tunnel tunnel;
    struct fiber *starter;
    bool ended;
};

static void waited_done(struct tunnel *t, err why)
{
    (void)why;
    struct waited *w = container_of(t, struct waited, tunnel);
    w->ended = true;
    fiber_resume(w->starter, OK);
}

err io_tunnel(struct io *a, struct io *b, uint64_t idle_us, uint64_t *ret_a_to_b, uint64_t *ret_b_to_a)
{
    struct waited w = { .starter = fiber_self() };
    tunnel_start(&w.tunnel, a, b, idle_us, waited_done);
    if (fiber_block() == ERR_CANCELLED) {
        if (!w.ended)
            tunnel_cancel(&w.tunnel);
        while (!w.ended)
            fiber_hold(); /* its fibers use what is on this stack */
    }
    *ret_a_to_b = w.tunnel.ways[0].moved;
    *ret_b_to_a = w.tunnel.ways[1].moved;
    return w.tunnel.failed;
}
