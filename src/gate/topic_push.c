#include "gate/topic_push.h"

#include <stdatomic.h>

#include "base/list.h"
#include "base/mem.h"
#include "base/must.h"
#include "core/fiber.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gate/cpus.h"
#include "gate/gate.h"
#include "gate/gradient.h"
#include "gate/process.h"
#include "gate/retry.h"
#include "gate/topic_ask.h"
#include "gate/topic_event.h"
#include "ledger/topic_conf.h"
#include "ledger/watch.h"

#define PULL_MAX 32
#define PULL_ROOM_BYTES (QUEUE_MESSAGE_BYTES_MAX + 64 * 1024)
#define EVENT_BYTES_MAX (8u << 20) /* of a message while it is delivered */
#define ANSWER_BYTES_MAX (64 * 1024)
#define LOOK_ANYWAY_US 1000000 /* whatever is told: the ledger may have been too busy to answer */
#define SLOWER_MS 1000         /* 429 that does not say how long */
#define SLOWER_MS_MAX (10 * 60000)
#define ASK_AGAIN_US 100000
#define ASKS_MAX 50
#define WINDOW_US 100000
#define SAMPLES_MIN 10
#define LIMIT_TOLERANCE 0.5

#define PUSH_METRICS(X)                                                                              \
    X(DONE, "pushed_total", METRIC_COUNTER, "Messages delivered and acknowledged")                   \
    X(AGAIN, "push_failed_total", METRIC_COUNTER, "Deliveries that failed: the message comes again") \
    X(SLOWER, "push_slowed_total", METRIC_COUNTER, "Deliveries answered by: slower, please")         \
    X(RUNNING, "push_running", METRIC_GAUGE, "Deliveries under way")                                 \
    X(LIMIT, "push_limit", METRIC_GAUGE, "Deliveries that may be under way")

enum push_metric {
#define X(id, name, type, help) METRIC_##id,
    PUSH_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "topic",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            PUSH_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "topic", NULL },
};

enum topic_push_word topic_push_decide(unsigned status, uint64_t retry_after_ms)
{
    if (status >= 200 && status < 300)
        return PUSH_DONE;
    return status == 429 || (status == 503 && retry_after_ms) ? PUSH_SLOWER : PUSH_AGAIN;
}

uint64_t topic_push_lease_ms(const struct topic_push_conf *conf)
{
    return 2 * conf->timeout_ms + 10000;
}

/* ---- a push, and its deliveries ---- */

struct delivery {
    struct delivery *next_free;
    struct topic_push *push;
    struct exchange x;
    struct arena arena;
    struct topic_event event;
    struct bytes body;
    struct body_memory body_memory;
};

struct topic_push {
    struct mail start, stop; /* from the control worker */
    struct worker *worker;
    _Atomic unsigned holds; /* the control worker's, and its fiber's */
    char topic[QUEUE_NAME_BYTES_MAX], service[QUEUE_NAME_BYTES_MAX * 2], path[TOPIC_PATH_BYTES_MAX];
    size_t topic_len;
    struct topic_push_conf conf; /* its texts are these */
    bool is_check, is_first, runs, stops;
    struct waiter waiter;
    unsigned running;
    struct delivery *free;
    uint64_t paused_until_us;
    uint64_t wakes, looked_us; /* as of the last pull */
    /* the limit */
    struct gradient gradient;
    uint64_t window_until_us, sum_us, samples;
    unsigned running_max;
    struct metric_instance *metrics;
    struct metric_cells *cells;
    char room[PULL_ROOM_BYTES];
};

static struct bytes topic_of(const struct topic_push *p)
{
    return (struct bytes){ p->topic, p->topic_len };
}

static struct queue_op op_of(const struct topic_push *p, enum queue_what what)
{
    return (struct queue_op){
        .what = what, .topic = topic_of(p), .group = TOPIC_PUSH_GROUP, .consumer = TOPIC_PUSH_CONSUMER
    };
}

/* ---- how many at the same time ---- */

static unsigned limit_of(const struct topic_push *p)
{
    return p->conf.concurrency == TOPIC_AUTO ? (unsigned)p->gradient.limit : (unsigned)p->conf.concurrency;
}

static void learn(struct topic_push *p, uint64_t took_us)
{
    static const struct gradient_bounds bounds = { 1, TOPIC_CONCURRENCY_MAX, LIMIT_TOLERANCE };
    p->sum_us += took_us;
    p->samples++;
    if (p->samples < SAMPLES_MIN || worker_now_us() < p->window_until_us)
        return;
    p->gradient = gradient_step(&bounds, p->gradient,
                                (struct sample){ (double)p->sum_us / (double)p->samples, p->running_max });
    p->sum_us = p->samples = 0;
    p->running_max = 0;
    p->window_until_us = worker_now_us() + WINDOW_US;
    metric_set(p->cells, METRIC_LIMIT, limit_of(p));
}

/* ---- one delivery ---- */

/* Until the ledger takes it; when it does not, the message's lease ends. */
static bool tell(struct topic_push *p, struct topic_ask *q)
{
    char room[TOPIC_ASK_BYTES];
    for (unsigned i = 0; i < ASKS_MAX; i++) {
        const err e = topic_ask(q, room, sizeof room);
        if (e != ERR_LIMIT)
            return e == OK && q->answer.result == QUEUE_DONE;
        if (fiber_sleep_us(ASK_AGAIN_US) != OK)
            break;
    }
    log_warn("topic", "%.*s: a delivery could not be recorded, and is made again", BYTES_ARG(topic_of(p)));
    return false;
}

static bool fill(struct delivery *d, struct service *service)
{
    struct exchange *x = &d->x;
    const struct topic_push *p = d->push;
    const struct bytes path = bytes_from(p->path);
    const size_t query = bytes_index(path, '?');
    x->service = service;
    x->scheme = "http";
    x->start_us = worker_now_us();
    x->deadline_us = deadline_in_ms(p->conf.timeout_ms);
    x->request.method = HTTP_POST;
    x->request.method_text = BYTES("POST");
    x->request.target = path;
    x->request.path = (struct bytes){ path.ptr, query };
    x->request.query = query < path.len ? bytes_skip(path, query + 1) : BYTES_NONE;
    x->request.authority = bytes_from(p->service);
    x->request.version_minor = 1;
    x->request.keep_alive = true;
    if (topic_event_write(&d->event, &d->arena, &x->request.fields, &d->body) != OK)
        return false;
    exchange_take_id(x);
    x->request.framing = HTTP_BODY_LENGTH;
    x->request.content_length = d->body.len;
    x->request_body = body_memory_init(&d->body_memory, d->body);
    return true;
}

static err drop_answer(struct exchange *x)
{
    struct bytes data = BYTES_NONE;
    err e = x->response_body ? body_pull(x->response_body, x->deadline_us, &data) : OK;
    for (size_t bytes = 0; !e && data.len && bytes < ANSWER_BYTES_MAX;) {
        bytes += data.len;
        body_give(x->response_body, data.len);
        e = body_pull(x->response_body, x->deadline_us, &data);
    }
    return e;
}

/* Which half this message asks for. false: it does not say so. */
static bool read_half(const struct delivery *d, struct queue_op *op)
{
    struct bytes rest = d->event.message.fields;
    struct queue_field f;
    bool numbered = false;
    while (queue_read_field(&rest, &f)) {
        if (bytes_eq(f.name, QUEUE_CHECK_TOPIC))
            op->topic = f.value;
        else if (bytes_eq(f.name, QUEUE_CHECK_HANDLE))
            numbered = bytes_to_u64(f.value, &op->number);
    }
    return op->topic.len && numbered;
}

/* Has the publisher said meanwhile what becomes of it? Then it is not asked. */
static bool half_has_ended(const struct delivery *d)
{
    struct topic_ask q = { .op = { .what = QUEUE_LOOK_KEPT } };
    char room[TOPIC_ASK_BYTES];
    return read_half(d, &q.op) && topic_ask(&q, room, sizeof room) == OK &&
           (q.answer.result == QUEUE_UNKNOWN_HANDLE || q.answer.result == QUEUE_UNKNOWN_TOPIC);
}

/* What becomes of the half that this message asks for. */
static void end_half(struct delivery *d)
{
    struct topic_ask q = { .op = { .what = QUEUE_WHATS } };
    const struct http_field *said = http_fields_find(&d->x.response.fields, BYTES("Weir-Transaction"));
    if (!said)
        return;
    if (bytes_eq_nocase(http_field_value(said), BYTES("commit")))
        q.op.what = QUEUE_COMMIT;
    else if (bytes_eq_nocase(http_field_value(said), BYTES("rollback")))
        q.op.what = QUEUE_ROLL_BACK;
    if (q.op.what != QUEUE_WHATS && read_half(d, &q.op))
        (void)tell(d->push, &q);
}

static void record(struct delivery *d, unsigned status, uint64_t retry_after)
{
    struct topic_push *p = d->push;
    const enum topic_push_word word = topic_push_decide(status, retry_after);
    struct topic_ask q = { .op = op_of(p, word == PUSH_DONE ? QUEUE_ACK : QUEUE_NACK) };
    const uint64_t wait_ms = retry_after > SLOWER_MS_MAX ? SLOWER_MS_MAX
                             : retry_after               ? retry_after
                                                         : SLOWER_MS;
    q.op.ids = &d->event.message.id;
    q.op.ids_count = 1;
    if (word == PUSH_AGAIN)
        q.op.flags = QUEUE_BACK_OFF;
    if (word == PUSH_SLOWER) {
        q.op.flags = QUEUE_NOT_TRIED;
        q.op.delay_ms = wait_ms;
        p->paused_until_us = deadline_in_ms(wait_ms);
    }
    if (word == PUSH_DONE && p->is_check)
        end_half(d);
    metric_inc(p->cells, METRIC_DONE + (unsigned)word);
    (void)tell(p, &q);
}

static void give(struct topic_push *p, struct delivery *d)
{
    arena_close(&d->arena);
    d->next_free = p->free;
    p->free = d;
}

/* x is prepared. The status; 0: there is none. */
static unsigned ask_service(struct delivery *d, struct service *service, uint64_t *ret_retry_after)
{
    unsigned status = 0;
    err e = fill(d, service) ? service_ask(&d->x) : ERR_LIMIT;
    if (!e && d->x.response.status) {
        status = d->x.response.status;
        *ret_retry_after = retry_after_ms(&d->x.response, worker_wall_us() / 1000000);
        e = drop_answer(&d->x);
    }
    if (e || !status)
        return 0;
    learn(d->push, worker_now_us() - d->x.start_us);
    return status;
}

static void ask_and_record(struct delivery *d)
{
    struct gate *g = gate_current();
    struct service *service = g ? gate_service(g, bytes_from(d->push->service)) : NULL;
    uint64_t retry_after = 0;
    if (!service) {
        record(d, 0, 0);
        return;
    }
    exchange_prepare(&d->x, g);
    const unsigned status = ask_service(d, service, &retry_after);
    record(d, status, retry_after);
    exchange_release(&d->x);
}

/* A check that is not needed any more is done. */
static void pass_over(struct delivery *d)
{
    struct topic_ask q = { .op = op_of(d->push, QUEUE_ACK) };
    q.op.ids = &d->event.message.id;
    q.op.ids_count = 1;
    (void)tell(d->push, &q);
}

static void run_delivery(void *arg)
{
    struct delivery *d = arg;
    struct topic_push *p = d->push;
    if (p->is_check && half_has_ended(d))
        pass_over(d);
    else
        ask_and_record(d);
    give(p, d);
    p->running--;
    metric_set(p->cells, METRIC_RUNNING, p->running);
    waiter_wake(&p->waiter);
}

/* Its texts are copied: the room is used again. false: no memory; its lease ends by itself. */
static bool deliver(struct topic_push *p, const struct queue_message *m)
{
    struct delivery *d = p->free;
    if (d)
        p->free = d->next_free;
    else
        d = mem_get(sizeof *d);
    if (!d)
        return false;
    arena_open(&d->arena, &arena_heap, EVENT_BYTES_MAX, NULL, 0);
    d->push = p;
    d->event = (struct topic_event){ topic_of(p), *m };
    d->event.message.key = arena_copy(&d->arena, m->key);
    d->event.message.fields = arena_copy(&d->arena, m->fields);
    if (!d->event.message.fields.ptr || !d->event.message.key.ptr) {
        give(p, d);
        return false;
    }
    if (++p->running > p->running_max)
        p->running_max = p->running;
    metric_set(p->cells, METRIC_RUNNING, p->running);
    fiber_spawn(run_delivery, d);
    return true;
}

/* ---- the push ---- */

/* Has anything come since the last pull? */
static bool has_news(struct topic_push *p)
{
    char key[QUEUE_TOPIC_KEY_BYTES_MAX];
    uint64_t wakes = 0;
    const bool known = ledger_here() &&
                       ledger_look(ledger_here(), QUEUE_RULES_ID, queue_topic_key(topic_of(p), key), &wakes);
    if (known && wakes == p->wakes && worker_now_us() < p->looked_us + LOOK_ANYWAY_US)
        return false;
    p->wakes = wakes;
    p->looked_us = worker_now_us();
    return true;
}

/* How many were there. */
static unsigned pull(struct topic_push *p, unsigned most)
{
    struct topic_ask q = { .op = op_of(p, QUEUE_PULL) };
    struct queue_message m;
    unsigned count = 0;
    q.op.count = most < PULL_MAX ? most : PULL_MAX;
    if (topic_ask(&q, p->room, sizeof p->room) != OK || q.answer.result != QUEUE_DONE)
        return 0;
    while (queue_read_message(&q.rest, &m))
        count += deliver(p, &m);
    return count;
}

/* What the process before had in hand is to be had again. */
static void begin(struct topic_push *p)
{
    struct topic_ask q = { .op = op_of(p, QUEUE_DELETE_CONSUMER) };
    (void)tell(p, &q);
}

/* Until something comes into the topic, a delivery ends, or then. */
static void wait(struct topic_push *p, uint64_t until_us)
{
    p->stops |= waiter_wait(&p->waiter, until_us) == ERR_CANCELLED;
}

static void drop(struct topic_push *p)
{
    if (atomic_fetch_sub(&p->holds, 1) > 1)
        return;
    while (p->free) {
        struct delivery *d = p->free;
        p->free = d->next_free;
        mem_free(d);
    }
    metric_instance_free(p->metrics);
    mem_free(p);
}

static void run(void *arg)
{
    struct topic_push *p = arg;
    struct watch news;
    char key[QUEUE_TOPIC_KEY_BYTES_MAX];
    p->cells = metric_cells(p->metrics, worker_index(worker_self()));
    metric_set(p->cells, METRIC_LIMIT, limit_of(p));
    waiter_open(&p->waiter);
    p->runs = true;
    watch_begin(&news, &p->waiter, QUEUE_RULES_ID, queue_topic_key(topic_of(p), key), 0);
    if (p->is_first)
        begin(p);
    while (!p->stops) {
        const unsigned limit = limit_of(p);
        const uint64_t now_us = worker_now_us();
        if (p->paused_until_us > now_us)
            wait(p, p->paused_until_us);
        else if (p->running < limit && has_news(p) && pull(p, limit - p->running))
            p->looked_us = 0; /* there may be more */
        else
            wait(p, now_us + LOOK_ANYWAY_US);
    }
    while (p->running) { /* deliveries point here: a cancelled fiber stays for them too */
        if (waiter_wait(&p->waiter, DEADLINE_NONE) != OK && p->running)
            fiber_yield();
    }
    watch_end(&news);
    waiter_close(&p->waiter);
    p->runs = false;
    drop(p);
}

static void start_here(struct mail *m)
{
    fiber_spawn(run, container_of(m, struct topic_push, start));
}

static void stop_here(struct mail *m)
{
    struct topic_push *p = container_of(m, struct topic_push, stop);
    p->stops = true;
    if (p->runs)
        waiter_wake(&p->waiter);
    drop(p);
}

/* One after the other; but the control worker, which is the last, has enough to do. */
static struct worker *next_worker(void)
{
    static unsigned next;
    struct worker *const *workers;
    const unsigned count = process_workers(&workers) - 1;
    return workers[next++ % count];
}

static struct bytes keep(char *out, size_t size, struct bytes text)
{
    const size_t len = text.len < size ? text.len : size - 1;
    if (len)
        memcpy(out, text.ptr, len);
    out[len] = 0;
    return (struct bytes){ out, len };
}

err topic_push_start(struct bytes topic, const struct topic_push_conf *conf, bool is_check, bool is_first,
                     struct topic_push **ret_push)
{
    struct topic_push *p = mem_get(sizeof *p);
    if (!p)
        return ERR_MEMORY;
    must(topic.len <= sizeof p->topic);
    memcpy(p->topic, topic.ptr, topic.len);
    p->topic_len = topic.len;
    p->conf = *conf;
    p->conf.service = keep(p->service, sizeof p->service, conf->service);
    p->conf.path = keep(p->path, sizeof p->path, conf->path);
    p->is_check = is_check;
    p->is_first = is_first;
    p->gradient.limit = cpus_auto() + 1;
    const err e = metric_instance_open(&metric_group, &topic, &p->metrics);
    if (e) {
        mem_free(p);
        return e;
    }
    p->start.run = start_here;
    p->stop.run = stop_here;
    p->worker = next_worker();
    atomic_init(&p->holds, 2);
    worker_post(p->worker, &p->start);
    *ret_push = p;
    return OK;
}

bool topic_push_is(const struct topic_push *p, struct bytes topic, const struct topic_push_conf *conf)
{
    return bytes_eq(topic_of(p), topic) && bytes_eq(p->conf.service, conf->service) &&
           bytes_eq(p->conf.path, conf->path) && p->conf.concurrency == conf->concurrency &&
           p->conf.timeout_ms == conf->timeout_ms;
}

void topic_push_stop(struct topic_push *p)
{
    worker_post(p->worker, &p->stop);
}

void topic_push_leave(struct topic_push *p)
{
    drop(p);
}
