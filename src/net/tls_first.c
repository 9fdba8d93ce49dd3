/* tls_first: the first step of a handshake with a client: hello, key exchange, signature. (Where signatures
 * are dear it is not known which step will make one, so all go to a helper.)
 *
 *      hello ──▶ go on at once                  a few in a turn, ECDSA
 *            ├─▶ in line ──next turn──▶ go on   more than a few in a turn
 *            └─▶ helper ──────────────▶ back    RSA
 *
 * What arrives meanwhile is kept. */
#include "net/tls_internal.h"

#if WEIR_HAVE_OPENSSL

#include <openssl/err.h>

#include "base/mem.h"
#include "core/fiber.h"
#include "core/helper.h"
#include "core/worker.h"

/* Of the handshakes with clients that are begun in one turn of the loop; the others wait for the next, so
 * that a flood of newcomers does not hold up those that are there. */
#define BEGUN_PER_TURN 4
/* An RSA signature takes as long as hundreds of requests: a helper makes it. */
static struct helper_pool signers = HELPER_POOL("weir-tls", 4, 4096, 1);

static _Thread_local struct {
    struct tls *line, **line_end; /* whose first step waits */
    struct turn_hook hook;
    uint64_t begun_us; /* the turn that `begun` is of */
    unsigned begun;
} here;

void store_add(struct store *s, struct bytes data)
{
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

/* Back from where it was. */
static void come_back(struct tls *t, err result, const char *why)
{
    struct store in = t->pending, out = t->outgoing;
    t->pending = t->outgoing = (struct store){ 0 };
    t->away = false;
    if (t->orphan) {
        tls_end_of(t);
    } else if (t->state == TLS_SHAKING) {
        if (out.len)
            io_codec_emit(&t->codec, (struct bytes){ out.at, out.len });
        tls_shake_end(t, result, why);
        tls_go_on(t, (struct bytes){ in.at, in.len });
        io_codec_news(&t->codec);
    }
    store_empty(&in);
    store_empty(&out);
}

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

/* Its first bytes are what it goes on with. */
static void sign_away(void *arg)
{
    struct tls *t = arg;
    struct signing s = { .tls = t };
    struct store first = t->pending;
    t->pending = (struct store){ 0 };
    t->in = (struct bytes){ first.at, first.len };
    err e = helper_run(&signers, sign, &s);
    if (e == ERR_CANCELLED)
        s = (struct signing){ .result = e, .why = "given up" };
    else if (e) /* too many wait, or there is no thread */
        sign(&s);
    struct bytes rest = t->in;
    t->in = BYTES_NONE;
    if (rest.len) { /* came with the hello: goes before what has come since */
        struct store later = t->pending;
        t->pending = (struct store){ 0 };
        store_add(&t->pending, rest);
        if (later.len)
            store_add(&t->pending, (struct bytes){ later.at, later.len });
        store_empty(&later);
    }
    store_empty(&first);
    come_back(t, s.result, s.why);
}

static void begin(struct tls *t)
{
    here.begun++;
    if (t->slow && !t->orphan)
        fiber_spawn(sign_away, t);
    else
        come_back(t, ERR_AGAIN, NULL);
}

static bool may_begin(void)
{
    uint64_t now_us = worker_now_us();
    if (here.begun_us != now_us) {
        here.begun_us = now_us;
        here.begun = 0;
    }
    return here.begun < BEGUN_PER_TURN;
}

/* At the end of each turn while somebody is in line: what it begins counts for the next. */
static void line_step(struct turn_hook *h)
{
    here.begun = 0;
    while (here.line && here.begun < BEGUN_PER_TURN) {
        struct tls *t = here.line;
        here.line = t->next;
        if (!here.line)
            here.line_end = &here.line;
        begin(t);
    }
    here.begun_us = 0;
    if (here.line)
        worker_end_of_turn(h);
}

static void stand_in_line(struct tls *t)
{
    t->next = NULL;
    if (!here.line_end) {
        here.line_end = &here.line;
        here.hook.run = line_step;
    }
    *here.line_end = t;
    here.line_end = &t->next;
    worker_end_of_turn(&here.hook);
}

void tls_first(struct tls *t, struct bytes raw)
{
    bool now = t->state == TLS_SHAKING || (!here.line && may_begin());
    t->state = TLS_SHAKING;
    if (now && !t->slow) {
        here.begun++;
        tls_go_on(t, raw);
        return;
    }
    t->away = true;
    store_add(&t->pending, raw);
    if (now)
        begin(t);
    else
        stand_in_line(t);
}

void tls_first_end(void)
{
    for (struct tls *t; (t = here.line);) {
        here.line = t->next;
        tls_end_of(t); /* their connections have gone */
    }
    here.line_end = NULL;
}

#endif
