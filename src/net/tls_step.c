/* tls_step: when a handshake goes on, and where. A step is dear (key exchange, signature, certificates,
 * tickets: as much as ten requests and more), so what arrives is kept, and at the end of a turn of the loop,
 * behind all that was ready in it, some steps are done, in the order in which they came.
 *
 *      bytes ──▶ in line ──end of a turn──▶ step here        ECDSA, and to servers
 *                                      └──▶ helper ──▶ back  RSA: it is not known which step will sign
 */
#include "net/tls_internal.h"

#if WEIR_HAVE_OPENSSL

#include <openssl/err.h>

#include "base/mem.h"
#include "core/fiber.h"
#include "core/helper.h"
#include "core/metrics.h"
#include "core/worker.h"

/* In one turn: that many steps, and none is begun after that time; what is left waits for the next. So those
 * who are there already are not held up by a flood of newcomers. */
#define STEPS_PER_TURN 16
#define STEPS_US_PER_TURN 1000
/* What may come while a handshake waits: a hello of 16 KiB, and more than one has early. */
#define PENDING_BYTES_MAX (64 * 1024)
/* An RSA signature takes as long as hundreds of requests: a helper makes it. While too many wait for one,
 * those that come look again after that time. */
static struct helper_pool signers = HELPER_POOL("weir-tls", 4, 4096, 1);
#define SIGN_AGAIN_US 10000

static _Thread_local struct {
    struct tls *line, **line_end; /* whose next step waits */
    struct turn_hook hook;
    struct metric_cells *cells; /* may be NULL */
} here;

void store_add(struct store *s, struct bytes data)
{
    if (!data.len)
        return;
    if (s->size - s->len < data.len) {
        size_t size = 2 * (s->len + data.len);
        char *larger = mem_must_get(size);
        if (s->len)
            memcpy(larger, s->at, s->len);
        mem_free(s->at);
        s->at = larger;
        s->size = size;
    }
    memcpy(s->at + s->len, data.ptr, data.len);
    s->len += data.len;
}

void store_empty(struct store *s)
{
    mem_free(s->at);
    *s = (struct store){ 0 };
}

static struct store take(struct store *s)
{
    const struct store taken = *s;
    *s = (struct store){ 0 };
    return taken;
}

static struct bytes bytes_of(const struct store *s)
{
    return (struct bytes){ s->at, s->len };
}

/* Goes on with what has come, and tells of it. */
static void go_on_here(struct tls *t)
{
    struct store in = take(&t->pending);
    t->codec.away = false;
    if (t->orphan) {
        tls_end_of(t);
    } else if (t->state == TLS_SHAKING || t->state == TLS_OPEN) {
        tls_go_on(t, bytes_of(&in));
        io_codec_back(&t->codec);
        io_codec_news(&t->codec);
    }
    store_empty(&in);
}

/* ---- with helpers ---- */

struct signing {
    struct tls *tls;
    const char *why;
    err result;
};

static void sign(void *arg)
{
    struct signing *s = arg;
    s->result = tls_shake_step(s->tls, &s->why);
    ERR_clear_error(); /* of this thread */
}

static err sign_with_helper(struct signing *s)
{
    err e = helper_run(&signers, sign, s);
    while (e == ERR_LIMIT && !s->tls->orphan && s->tls->state == TLS_SHAKING) {
        e = fiber_sleep_us(SIGN_AGAIN_US);
        if (!e)
            e = helper_run(&signers, sign, s);
    }
    return e;
}

/* What the step did not read goes before what has come since. */
static void put_back(struct tls *t, struct bytes rest)
{
    struct store later = take(&t->pending);
    store_add(&t->pending, rest);
    store_add(&t->pending, bytes_of(&later));
    store_empty(&later);
}

static void stand_in_line(struct tls *t);

static void back(struct tls *t, const struct signing *s)
{
    struct store out = take(&t->outgoing);
    t->codec.away = false;
    if (t->state == TLS_SHAKING && !t->orphan) {
        if (out.len)
            io_codec_emit(&t->codec, bytes_of(&out));
        tls_shake_end(t, s->result, s->why);
    }
    store_empty(&out);
    if (t->state == TLS_SHAKING && !t->orphan && t->pending.len)
        stand_in_line(t);
    else
        go_on_here(t);
}

/* What has come is what it goes on with. */
static void sign_away(void *arg)
{
    struct tls *t = arg;
    struct signing s = { .tls = t };
    struct store in = take(&t->pending);
    t->in = bytes_of(&in);
    err e = sign_with_helper(&s);
    if (e == ERR_SYSTEM) /* there is no thread */
        sign(&s);
    else if (e)
        s = (struct signing){ .result = e, .why = "given up" };
    put_back(t, t->in);
    t->in = BYTES_NONE;
    store_empty(&in);
    back(t, &s);
}

/* ---- the line ---- */

static void step(struct tls *t)
{
    if (t->slow && !t->orphan && t->state == TLS_SHAKING)
        fiber_spawn(sign_away, t);
    else
        go_on_here(t);
}

/* Pure: after so many, which took so long. */
static bool may_go_on(unsigned steps, uint64_t us)
{
    return steps < STEPS_PER_TURN && us < STEPS_US_PER_TURN;
}

static void line_go_on(struct turn_hook *h)
{
    const uint64_t begin_us = worker_clock_us();
    unsigned steps = 0;
    for (; here.line && may_go_on(steps, worker_clock_us() - begin_us); steps++) {
        struct tls *t = here.line;
        here.line = t->next;
        if (!here.line)
            here.line_end = &here.line;
        step(t);
    }
    if (here.line)
        worker_end_of_turn(h);
    if (here.cells) {
        metric_add(here.cells, TLS_STEPS, steps);
        metric_add(here.cells, TLS_TURNS_FULL, here.line != NULL);
    }
}

static void stand_in_line(struct tls *t)
{
    t->codec.away = true;
    t->next = NULL;
    *here.line_end = t;
    here.line_end = &t->next;
    worker_end_of_turn(&here.hook);
}

void tls_step(struct tls *t, struct bytes raw)
{
    t->state = TLS_SHAKING;
    if (t->pending.len + raw.len > PENDING_BYTES_MAX) {
        tls_fail(t, ERR_PROTOCOL, "too much at once");
        return;
    }
    store_add(&t->pending, raw);
    if (!t->codec.away)
        stand_in_line(t);
}

void tls_count_steps(struct metric_cells *cells)
{
    here.cells = cells;
}

void tls_step_begin(void)
{
    here.line_end = &here.line;
    here.hook.run = line_go_on;
}

void tls_step_end(void)
{
    for (struct tls *t; (t = here.line);) {
        here.line = t->next;
        tls_end_of(t); /* their connections have gone */
    }
    here.line_end = &here.line;
}

#endif
