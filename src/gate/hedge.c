#include "gate/hedge.h"

#include "core/metrics.h"
#include "core/timer.h"
#include "gate/budget.h"
#include "gate/gate.h"
#include "gate/grpc.h"
#include "gate/proxy.h"
#include "gate/queue.h"
#include "gate/service_open.h"

/* How often the time of a second try is worked out anew. */
#define NOTES_PER_LOOK 64

/* ---- settings ---- */

#define AT(member) offsetof(struct hedge_conf, member)

/* "p95", "p99.9" */
static bool parse_share(struct bytes text, double *ret_share)
{
    struct bytes whole = bytes_skip(text, 1);
    struct bytes part;
    uint64_t n, tenths = 0;
    if (text.len < 2 || text.ptr[0] != 'p' || !bytes_split(&whole, '.', &part) || !bytes_to_u64(part, &n))
        return false;
    if (whole.ptr && (whole.len != 1 || !bytes_to_u64(whole, &tenths)))
        return false;
    *ret_share = ((double)n + (double)tenths / 10) / 100;
    return *ret_share >= 0.5 && *ret_share < 1;
}

static err hedge_check(void *conf, struct diag *reterr)
{
    static const struct conf_field duration = { .name = "after", .type = CONF_MS, .min = 1, .max = 600000 };
    struct hedge_conf *c = conf;
    struct arena a;
    struct diag ignored = DIAG_NONE;
    if (parse_share(c->after, &c->share))
        return OK;
    arena_open(&a, &arena_heap, 1 << 16, NULL, 0);
    err e = conf_parse_scalar(c->after, &duration, &a, &c->after_ms, &ignored);
    arena_close(&a);
    if (!e)
        return OK;
    diag_set(reterr,
             "after: \"%.*s\" is neither a share of the answers (p50 to p99.9) nor a duration (1ms to 10m)",
             BYTES_ARG(c->after));
    return ERR_CONF;
}

const struct conf_struct hedge_struct = {
    .name = "hedge",
    .size = sizeof(struct hedge_conf),
    .phrases = (const char *const[]){ "{after}", "{after} within {budget}", NULL },
    .fields =
        (const struct conf_field[]){ { .name = "after",
                                       .type = CONF_TEXT,
                                       .offset = AT(after),
                                       .preset = "p95",
                                       .doc = "when the second try begins: `p95`: when the first takes "
                                              "longer than 95% of the answers of late "
                                              "(p50 to p99.9, measured by each worker); or a duration" },
                                     { .name = "after_min",
                                       .type = CONF_MS,
                                       .offset = AT(after_min_ms),
                                       .preset = "1ms",
                                       .min = 1,
                                       .max = 600000,
                                       .doc = "never sooner, however fast the answers are" },
                                     { .name = "budget",
                                       .type = CONF_PERCENT,
                                       .offset = AT(budget),
                                       .preset = "10%",
                                       .max = 1,
                                       .doc = "second tries of the last 10 s against requests of the last 10 "
                                              "s, of this service, over all "
                                              "workers" },
                                     { .name = "budget_per_second",
                                       .type = CONF_INT,
                                       .offset = AT(budget_per_s),
                                       .preset = "1",
                                       .max = 1000000,
                                       .doc = "so many a second are allowed in any case" },
                                     { 0 } },
    .check = hedge_check,
    .doc =
        "A second try at another server when the first takes longer than most; the first good answer wins.",
};

/* ---- how long answers take ---- */

static unsigned bucket_of(uint64_t us)
{
    if (us < 8)
        return (unsigned)us;
    const unsigned octave = 63 - (unsigned)__builtin_clzll(us);
    const unsigned bucket = (octave - 2) * 8 + (unsigned)(us >> (octave - 3) & 7);
    return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* The largest that it holds. */
static uint64_t bound_of(unsigned bucket)
{
    if (bucket < 8)
        return bucket;
    return ((UINT64_C(8) + bucket % 8 + 1) << (bucket / 8 - 1)) - 1;
}

static void halve(struct latency *l)
{
    l->total = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        l->counts[i] /= 2;
        l->total += l->counts[i];
    }
}

void latency_note(struct latency *l, uint64_t us, uint64_t now_ms)
{
    if (!l->halved_ms)
        l->halved_ms = now_ms;
    for (unsigned n = 0; now_ms >= l->halved_ms + LATENCY_HALF_MS; n++) {
        if (n == 32) { /* longer ago than anything can matter */
            l->halved_ms = now_ms;
            break;
        }
        halve(l);
        l->halved_ms += LATENCY_HALF_MS;
    }
    l->counts[bucket_of(us)]++;
    l->total++;
}

uint64_t latency_at(const struct latency *l, double share)
{
    if (l->total < LATENCY_SAMPLES_MIN)
        return UINT64_MAX;
    const double wanted = share * (double)l->total;
    uint64_t below = 0;
    for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
        below += l->counts[i];
        if ((double)below >= wanted)
            return bound_of(i);
    }
    return bound_of(LATENCY_BUCKETS - 1);
}

/* ---- of a service on one worker ---- */

static const struct metric_group metric_group = {
    .module = "hedge",
    .defs =
        (const struct metric_def[]){
#define X(index, name, type, help) { name, type, help },
            HEDGE_METRIC_LIST(X)
#undef X
        },
    .count = HEDGE_AFTER + 1,
    .labels = (const char *const[]){ "service", NULL },
};

err hedge_open(struct hedge *h, const struct hedge_conf *conf, struct bytes service, unsigned workers)
{
    if (!conf)
        return OK;
    h->conf = conf;
    h->workers = workers + 1;
    h->worker = worker_index(worker_self());
    h->after_us = conf->after_ms ? conf->after_ms * 1000 : UINT64_MAX;
    h->budget = budget_open("hedge", service, h->workers);
    if (!h->budget)
        return ERR_MEMORY;
    err e = metric_instance_open(&metric_group, &service, &h->metrics);
    if (!e)
        h->cells = metric_cells(h->metrics, h->worker);
    return e;
}

void hedge_close(struct hedge *h)
{
    if (h->cells)
        metric_set(h->cells, HEDGE_AFTER, 0);
    metric_instance_free(h->metrics);
    budget_close(h->budget);
}

static void note_latency(struct hedge *h, uint64_t us)
{
    if (h->conf->after_ms)
        return;
    latency_note(&h->latency, us, worker_now_us() / 1000);
    if (++h->fresh < NOTES_PER_LOOK && h->after_us != UINT64_MAX)
        return;
    const uint64_t least_us = h->conf->after_min_ms * 1000;
    h->fresh = 0;
    h->after_us = latency_at(&h->latency, h->conf->share);
    if (h->after_us < least_us)
        h->after_us = least_us;
    metric_set(h->cells, HEDGE_AFTER, h->after_us == UINT64_MAX ? 0 : (int64_t)h->after_us);
}

bool hedge_suits(const struct exchange *x)
{
    const struct hedge *h = &x->service->hedge;
    return h->conf && !x->request_body && !x->request.upgrade && x->service->servers_count > 1 &&
           http_method_is_idempotent(x->request.method);
}

/* ---- one request ---- */

struct second;

/* On the stack of the exchange's fiber. */
struct hedged {
    struct timer timer;
    struct exchange *x;
    struct server *first;
    const struct pick *pick;
    struct fiber *fiber;
    uint64_t deadline_us;  /* of an attempt */
    struct second *second; /* NULL: it was not begun */
    bool waiting;          /* the exchange's fiber, for the second try to end */
    bool over;             /* the first try has ended */
    bool interrupted;
};

/* In the exchange's arena. */
struct second {
    struct hedged *hedged;
    struct exchange x;
    struct server *server;
    struct attempt attempt;
    struct fiber *fiber; /* once it runs */
    err failed;
    bool given_up;
    bool done;
};

static bool is_good(err e, const struct exchange *x)
{
    return !e && exchange_outcome(x) < 500;
}

static err ask_second(struct second *s)
{
    if (!s->given_up)
        return proxy_ask(&s->x, s->server, s->hedged->deadline_us, &s->attempt);
    queue_give_up(s->server);
    return ERR_CANCELLED;
}

static void second_run(void *arg)
{
    struct second *s = arg;
    struct hedged *h = s->hedged;
    s->fiber = fiber_self();
    s->failed = ask_second(s);
    s->fiber = NULL;
    s->done = true;
    if (h->waiting) {
        fiber_wake(h->fiber);
    } else if (!h->over && is_good(s->failed, &s->x)) {
        h->interrupted = true;
        fiber_interrupt(h->fiber);
    }
}

/* The same request, with a memory of its own for the answer. */
static void copy_request(struct exchange *to, const struct exchange *from)
{
    exchange_open(to, from->gate, NULL, 0);
    to->route = from->route;
    to->service = from->service;
    to->request = from->request;
    to->client = from->client;
    to->scheme = from->scheme;
    to->request_id = from->request_id;
    to->weight = from->weight;
    to->priority = from->priority;
    to->deadline_us = from->deadline_us;
    to->attempts = 1; /* the fields that weir adds are there */
}

/* On the loop's stack, while the exchange's fiber waits for the first try. */
static void time_is_up(struct timer *t)
{
    struct hedged *h = container_of(t, struct hedged, timer);
    struct hedge *of = &h->x->service->hedge;
    struct pick p = *h->pick;
    if (p.tried_count == PICK_TRIED_MAX)
        return;
    p.tried[p.tried_count++] = h->first->index;
    p.now_us = worker_now_us();
    struct server *server = queue_try(h->x, &p);
    if (!server)
        return;
    if (p.any) { /* nobody else is well */
        queue_give_up(server);
        return;
    }
    const bool allowed = budget_take(of->budget, of->workers, of->conf->budget,
                                     (uint64_t)of->conf->budget_per_s, worker_now_us() / 1000);
    metric_inc(of->cells, allowed ? HEDGE_STARTED : HEDGE_REFUSED);
    struct second *s = allowed ? arena_get_zero(&h->x->arena, sizeof *s) : NULL;
    if (!s) {
        queue_give_up(server);
        return;
    }
    s->hedged = h;
    s->server = server;
    copy_request(&s->x, h->x);
    h->x->attempts++;
    h->second = s;
    fiber_spawn(second_run, s);
}

static err wait_for_second(struct hedged *h)
{
    err e = OK;
    h->waiting = true;
    while (!h->second->done && !e)
        e = fiber_wait(DEADLINE_NONE);
    h->waiting = false;
    return e;
}

/* It ends within this turn: nothing that it waits for holds it any longer. */
static void give_up_second(struct hedged *h)
{
    struct second *s = h->second;
    s->given_up = true;
    if (s->fiber)
        fiber_cancel(s->fiber);
    while (!s->done) {
        if (wait_for_second(h) != OK)
            fiber_yield(); /* this fiber is being cancelled itself: the other still has to end first */
    }
    exchange_release(&s->x);
}

static void release_second(struct exchange *x, void *arg)
{
    (void)x;
    exchange_release(arg);
}

/* The answer becomes x's; what it lies in lives as long as x. */
static err take_second(struct exchange *x, struct second *s, struct attempt *ret_attempt)
{
    body_close(x->response_body);
    x->response_body = NULL;
    err e = exchange_on_end(x, release_second, &s->x);
    if (e) {
        exchange_release(&s->x);
        return e;
    }
    metric_inc(x->service->hedge.cells, HEDGE_WON);
    x->response = s->x.response;
    x->response_body = s->x.response_body;
    s->x.response_body = NULL;
    x->server = s->server;
    *ret_attempt = s->attempt;
    return OK;
}

/* The first try has ended in e: which of the two is the answer? */
static err settle(struct hedged *h, err e, struct attempt *ret_attempt)
{
    struct exchange *x = h->x;
    struct second *s = h->second;
    if (is_good(e, x) || (e == ERR_CANCELLED && !h->interrupted)) {
        give_up_second(h);
        return e;
    }
    err waited = s->done ? OK : wait_for_second(h);
    if (waited) { /* the client has left, or weir stops */
        give_up_second(h);
        return e ? e : waited;
    }
    if (is_good(s->failed, &s->x) || (e && !s->failed))
        return take_second(x, s, ret_attempt);
    exchange_release(&s->x);
    return e;
}

err hedge_ask(struct exchange *x, struct server *server, const struct pick *pick, uint64_t deadline_us,
              struct attempt *ret_attempt)
{
    struct hedge *of = &x->service->hedge;
    const uint64_t began_us = worker_now_us();
    struct hedged h = {
        .x = x, .first = server, .pick = pick, .fiber = fiber_self(), .deadline_us = deadline_us
    };
    budget_count(of->budget, of->worker, began_us / 1000);
    timer_init(&h.timer, time_is_up);
    if (of->after_us != UINT64_MAX)
        timer_set(&h.timer, began_us + of->after_us);
    err e = proxy_ask(x, server, deadline_us, ret_attempt);
    h.over = true;
    timer_stop(&h.timer);
    if (h.interrupted)
        fiber_interrupt_end();
    if (!e || h.interrupted) /* one that was given up would have taken longer still */
        note_latency(of, worker_now_us() - began_us);
    return h.second ? settle(&h, e, ret_attempt) : e;
}
