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

/* WOKEN: for the moment in which it is looked at on the loop's stack. */
enum way_state { WAY_RESTING, WAY_WOKEN, WAY_MOVING, WAY_ENDED };

static void way_woke(void *owner, err why);

static uint64_t idle_deadline(const struct tunnel *t, uint64_t since_us)
{
    return t->idle_us < DEADLINE_NONE - since_us ? since_us + t->idle_us : DEADLINE_NONE;
}

static uint64_t way_deadline(const struct tunnel_way *w)
{
    const struct tunnel *t = w->tunnel;
    return t->ops ? t->ops->deadline(w) : idle_deadline(t, t->active_us);
}

static void rest(struct tunnel_way *w)
{
    w->state = WAY_RESTING;
    io_park(w->from, way_woke, w, way_deadline(w));
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
    t->stopped = true;
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

/* From a way that is at work. */
static void stop(struct tunnel_way *w, err why)
{
    w->state = WAY_ENDED;
    w->fiber = NULL;
    fail(w->tunnel, why);
}

static void end_side(struct tunnel_way *w)
{
    struct tunnel *t = w->tunnel;
    io_end(w->to);
    w->state = WAY_ENDED;
    if (t->ops)
        t->ops->ended(w);
    if (t->ending)
        stop(w, OK);
    else
        end_way(w);
}

/* All that has arrived, as long as the other side's queue takes it. ERR_AGAIN: what is left wants more behind
 * it. */
static err lend_some(struct tunnel_way *w)
{
    const struct tunnel *t = w->tunnel;
    while (io_queued(w->to) <= IO_SEND_BYTES_MAX && !t->ending) {
        struct bytes run = io_peek(w->from);
        if (!run.len)
            return OK;
        struct tunnel_cut cut = { run.len, 0 };
        if (t->ops)
            cut = t->ops->look(w, run);
        if (!cut.pass && !cut.drop)
            return ERR_AGAIN;
        err e = cut.pass ? io_lend(w->to, w->from, cut.pass, 0) : OK;
        if (e)
            return e;
        w->moved += cut.pass;
        if (cut.drop)
            io_consume(w->from, cut.drop);
    }
    return OK;
}

/* ---- more than a turn's worth ---- */

static err move_bulk(struct tunnel_way *w)
{
    uint64_t moved = 0;
    err e = io_splice_flow(w->from, w->to, QUIET_US, w->tunnel->idle_us, &moved);
    w->moved += moved;
    return e;
}

/* Until nothing is left (ERR_AGAIN). */
static err move_all(struct tunnel_way *w)
{
    struct tunnel *t = w->tunnel;
    uint64_t begun = w->moved;
    for (;;) {
        err e = io_drain(w->to, IO_SEND_BYTES_MAX / 2, idle_deadline(t, worker_this->now_us));
        if (!e && !t->ops && w->moved - begun >= BULK_BYTES) {
            e = move_bulk(w);
            begun = w->moved;
        } else if (!e) {
            e = lend_some(w);
        }
        t->active_us = worker_this->now_us;
        struct bytes run = io_peek(w->from);
        if (e == ERR_AGAIN && t->ops && run.len)
            e = io_pull_more(w->from, run.len, idle_deadline(t, t->active_us), &run);
        if (e || t->ending)
            return e;
        if (!run.len)
            return ERR_AGAIN;
    }
}

static void way_main(void *arg)
{
    struct tunnel_way *w = arg;
    struct tunnel *t = w->tunnel;
    err e = move_all(w);
    if (t->stopped) {
        end_way(w);
        return;
    }
    w->fiber = NULL;
    if (t->ending)
        stop(w, OK);
    else if (e == ERR_AGAIN)
        rest(w);
    else if (e == ERR_CLOSED)
        end_side(w);
    else
        stop(w, e);
}

/* ---- on the loop's stack ---- */

static void move(struct tunnel_way *w)
{
    struct tunnel *t = w->tunnel;
    t->active_us = worker_this->now_us;
    err e = lend_some(w);
    if (t->ending) {
        stop(w, OK);
    } else if (e && e != ERR_AGAIN) {
        stop(w, e);
    } else if (e || io_queued(w->to) > IO_SEND_BYTES_MAX) {
        w->state = WAY_MOVING;
        w->fiber = fiber_spawn_get(way_main, w);
    } else {
        rest(w);
    }
}

static bool is_idle(const struct tunnel *t)
{
    return t->ways[0].state != WAY_MOVING && t->ways[1].state != WAY_MOVING &&
           idle_deadline(t, t->active_us) <= worker_this->now_us;
}

/* Nothing has come from w->from until the deadline. */
static void late(struct tunnel_way *w)
{
    struct tunnel *t = w->tunnel;
    if (t->ops) {
        t->ops->due(w);
        if (t->ending)
            stop(w, OK);
        else
            rest(w);
    } else if (is_idle(t)) {
        stop(w, ERR_TIMEOUT);
    } else { /* the other way was busy meanwhile */
        if (idle_deadline(t, t->active_us) <= worker_this->now_us)
            t->active_us = worker_this->now_us;
        rest(w);
    }
}

static void way_woke(void *owner, err why)
{
    struct tunnel_way *w = owner;
    w->state = WAY_WOKEN;
    if (why == OK)
        move(w);
    else if (why == ERR_CLOSED)
        end_side(w);
    else if (why == ERR_TIMEOUT)
        late(w);
    else
        stop(w, why);
}

void tunnel_start_watched(struct tunnel *t, struct io *a, struct io *b, uint64_t idle_us,
                          const struct tunnel_ops *ops, void (*done)(struct tunnel *t, err why))
{
    *t = (struct tunnel){ .idle_us = idle_us, .active_us = worker_this->now_us, .ops = ops, .done = done };
    t->ways[0] = (struct tunnel_way){ .tunnel = t, .from = a, .to = b };
    t->ways[1] = (struct tunnel_way){ .tunnel = t, .from = b, .to = a };
    rest(&t->ways[0]);
    rest(&t->ways[1]);
}

void tunnel_start(struct tunnel *t, struct io *a, struct io *b, uint64_t idle_us,
                  void (*done)(struct tunnel *t, err why))
{
    tunnel_start_watched(t, a, b, idle_us, NULL, done);
}

void tunnel_cancel(struct tunnel *t)
{
    fail(t, ERR_CANCELLED);
}

void tunnel_look_again(struct tunnel *t)
{
    if (t->ending) {
        fail(t, OK);
        return;
    }
    for (int i = 0; i < 2; i++) {
        if (t->ways[i].state != WAY_RESTING)
            continue;
        io_unpark(t->ways[i].from);
        rest(&t->ways[i]);
    }
}
