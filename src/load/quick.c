#include "load/quick.h"

#include "base/mem.h"
#include "base/must.h"
#include "core/fiber.h"
#include "load/quick_conn.h"

#define OPENERS_MAX 256u  /* connects at the same time, a worker */
#define OPEN_AGAIN_MS 100 /* after a connect that failed, in a closed loop */
#define STATUS_ERROR_MIN 400u

static void opener_run(void *arg);

static struct load_kind *kind_of(const struct conn *c, const struct asked *a)
{
    return &c->quick->lw->stats->kinds[a->request->kind];
}

static const struct quick_protocol *protocol_of(const struct conn *c)
{
    return c->quick->plan->protocol;
}

/* ---- sending ---- */

static void ask(struct conn *c, uint64_t due_ns)
{
    struct quick *q = c->quick;
    struct asked *a = container_of(list_pop_front(&c->spare), struct asked, link);
    list_push_back(&c->waiting, &a->link);
    c->outstanding++;
    a->due_ns = due_ns;
    a->again = false;
    a->request = &q->plan->requests[q->plan->count == 1 ? 0 : q->next % q->plan->count];
    q->next += q->lw->load->shares;
    q->lw->left--;
    q->lw->in_flight++;
}

struct asked *quick_sent(struct conn *c, uint64_t now_ns)
{
    struct asked *a = container_of(list_pop_front(&c->waiting), struct asked, link);
    struct load_kind *k = kind_of(c, a);
    list_push_back(&c->flight, &a->link);
    a->sent_ns = now_ns;
    k->sent += !a->again;
    k->bytes_out += a->request->bytes.len;
    return a;
}

static uint64_t deadline_of(const struct conn *c)
{
    return worker_now_us() + c->quick->lw->load->timeout_us;
}

uint64_t quick_deadline(const struct conn *c, const struct asked *a)
{
    return a->sent_ns / 1000 + c->quick->lw->load->timeout_us;
}

static void rest(struct conn *c)
{
    protocol_of(c)->rest(c, list_empty(&c->flight) ? DEADLINE_NONE : quick_deadline(c, quick_first(c)));
}

/* ---- ends ---- */

static void record(struct conn *c, const struct asked *a, uint64_t now_ns)
{
    struct load_kind *k = kind_of(c, a);
    struct load_worker *lw = c->quick->lw;
    histogram_add(&k->service, now_ns - a->sent_ns);
    if (lw->load->open_loop)
        histogram_add(&k->response, now_ns - a->due_ns);
    lw->last_ns = now_ns;
}

static void drop(struct conn *c)
{
    if (!c->connected)
        return;
    protocol_of(c)->close(c);
    c->connected = false;
    c->quick->lw->connections--;
}

static void open_later(struct conn *c)
{
    struct quick *q = c->quick;
    c->state = CONN_OPENING;
    list_push_back(&q->opening, &c->link);
    if (q->openers < OPENERS_MAX) {
        q->openers++;
        fiber_spawn(opener_run, q);
    }
}

/* It has no connection any more: what it does next. */
static void begin_again(struct conn *c)
{
    struct load_worker *lw = c->quick->lw;
    must(list_empty(&c->flight));
    c->in_body = c->over = false;
    if (c->outstanding || (!lw->load->open_loop && !lw->stopping && lw->left)) {
        open_later(c);
        return;
    }
    c->state = CONN_NONE;
    list_push_front(&c->quick->spare, &c->link);
    load_worker_free(lw);
}

static void is_done(struct conn *c, struct asked *a)
{
    list_remove(&a->link);
    list_push_front(&c->spare, &a->link);
    c->outstanding--;
    c->quick->lw->in_flight--;
}

void quick_failed(struct conn *c, struct asked *a, enum load_error why)
{
    kind_of(c, a)->errors[why]++;
    if (why == LOAD_ERROR_TIMEOUT)
        record(c, a, load_now_ns());
    is_done(c, a);
}

void quick_refused(struct conn *c, struct asked *a)
{
    if (a->again) {
        quick_failed(c, a, LOAD_ERROR_CLOSED);
        return;
    }
    list_remove(&a->link);
    list_push_back(&c->waiting, &a->link);
    a->again = true;
}

void quick_done(struct conn *c, struct asked *a, err why, const struct quick_answer *answer, uint64_t now_ns)
{
    if (why == OK)
        quick_answered(c, a, answer, now_ns);
    else if (why == ERR_REFUSED)
        quick_refused(c, a);
    else
        quick_failed(c, a, load_error_of(why));
}

void quick_room(struct conn *c, uint64_t most, uint32_t flying, bool ending)
{
    const unsigned wanted = c->quick->plan->pipeline;
    c->room = most < wanted ? (uint32_t)most : wanted;
    if (!ending)
        return;
    c->room = 0;
    c->over = !flying;
}

void quick_send_streams(struct conn *c, uint64_t now_ns, uint32_t *flying,
                        err (*ask)(struct conn *c, struct asked *a))
{
    while (*flying < c->room && !list_empty(&c->waiting)) {
        struct asked *a = quick_sent(c, now_ns);
        if (ask(c, a) == OK) {
            ++*flying;
            continue;
        }
        quick_refused(c, a);
        c->room = *flying;
    }
}

err quick_give_up(struct conn *c, err why, uint64_t heard_ns, void (*cancel)(struct conn *c, struct asked *a))
{
    uint64_t now_us = worker_now_us(), since_ns = UINT64_MAX;
    if (why != ERR_TIMEOUT)
        return why;
    while (!list_empty(&c->flight) && quick_deadline(c, quick_first(c)) <= now_us) {
        struct asked *a = quick_first(c);
        since_ns = a->sent_ns < since_ns ? a->sent_ns : since_ns;
        cancel(c, a);
        quick_failed(c, a, LOAD_ERROR_TIMEOUT);
    }
    return !list_empty(&c->flight) || heard_ns > since_ns ? OK : ERR_CLOSED;
}

/* Everything that is in flight on it has failed. */
static void fail(struct conn *c, enum load_error why)
{
    drop(c);
    while (!list_empty(&c->flight))
        quick_failed(c, quick_first(c), why);
    begin_again(c);
}

/* What waits goes out. False: it has failed. */
static bool send_waiting(struct conn *c, uint64_t now_ns, bool wait)
{
    err e = protocol_of(c)->send(c, now_ns, wait);
    if (!e && !c->over)
        return true;
    fail(c, e ? load_error_of(e) : LOAD_ERROR_CLOSED);
    return false;
}

/* ---- over a stream socket ---- */

err quick_dial_io(struct conn *c, uint64_t deadline_us)
{
    return load_dial(c->quick->lw, c->quick->plan->addr, c->number, deadline_us, &c->io);
}

void quick_close_io(struct conn *c)
{
    io_abort(c->io, false);
    c->io = NULL;
}

void quick_rest_io(struct conn *c, uint64_t deadline_us)
{
    io_park(c->io, quick_woke, c, deadline_us);
}

void quick_unrest_io(struct conn *c)
{
    io_unpark(c->io);
}

/* ---- opening ---- */

/* More is due on it in a closed loop. */
static void ask_more(struct conn *c, uint64_t now_ns)
{
    struct load_worker *lw = c->quick->lw;
    while (c->outstanding < c->room && lw->left)
        ask(c, now_ns);
}

/* What was asked before it failed has; the connect takes its time. */
static void connect_failed(struct conn *c, err why)
{
    if (why != ERR_CANCELLED && !c->quick->lw->load->open_loop)
        (void)!fiber_sleep_us(OPEN_AGAIN_MS * 1000);
    while (!list_empty(&c->waiting)) {
        struct asked *a = container_of(c->waiting.next, struct asked, link);
        quick_failed(c, a, a->again ? LOAD_ERROR_CLOSED : LOAD_ERROR_CONNECT);
    }
    begin_again(c);
}

/* The request that it is opened for may have been asked already (open loop); then the connect is part of its
 * response time. */
static void open_one(struct conn *c)
{
    struct load_worker *lw = c->quick->lw;
    uint64_t start_ns = load_now_ns();
    if (!c->outstanding && lw->left && !lw->stopping)
        ask(c, start_ns);
    if (!c->outstanding) {
        begin_again(c);
        return;
    }
    err e = protocol_of(c)->dial(c, deadline_of(c));
    if (e) {
        connect_failed(c, e);
        return;
    }
    lw->connections++;
    lw->stats->connects++;
    c->state = CONN_BUSY;
    c->connected = true;
    if (!lw->load->open_loop)
        ask_more(c, start_ns);
    if (send_waiting(c, load_now_ns(), true))
        rest(c);
}

static void opener_run(void *arg)
{
    struct quick *q = arg;
    for (struct link *l; (l = list_pop_front(&q->opening));)
        open_one(container_of(l, struct conn, link));
    q->openers--;
}

/* ---- answers ---- */

void quick_answered(struct conn *c, struct asked *a, const struct quick_answer *answer, uint64_t now_ns)
{
    struct load_kind *k = kind_of(c, a);
    k->answers++;
    k->bytes_in += answer->bytes;
    load_count_status(k, answer->status);
    if (answer->status >= STATUS_ERROR_MIN)
        load_count_bad(k, LOAD_ERROR_STATUS);
    record(c, a, now_ns);
    is_done(c, a);
}

/* A closed loop, and not at its end. */
static bool asks_by_itself(const struct conn *c)
{
    const struct load_worker *lw = c->quick->lw;
    return !lw->load->open_loop && !lw->stopping && !c->in_body;
}

/* All that was there is read. */
static void go_on(struct conn *c)
{
    struct quick *q = c->quick;
    struct load_worker *lw = q->lw;
    if (c->over) {
        fail(c, LOAD_ERROR_CLOSED);
        return;
    }
    uint64_t now_ns = load_now_ns();
    do { /* a stream that has broken the rules is free only when that is said */
        if (asks_by_itself(c))
            ask_more(c, now_ns);
        if (!send_waiting(c, now_ns, true))
            return;
    } while (asks_by_itself(c) && c->outstanding < c->room && lw->left);
    bool free = lw->load->open_loop ? c->outstanding < c->room : !c->outstanding;
    if (free) {
        c->state = CONN_IDLE;
        list_push_front(&q->idle, &c->link);
    }
    rest(c);
    if (free)
        load_worker_free(lw);
}

static void conn_run(void *arg)
{
    struct conn *c = arg;
    err e = (err)c->why;
    e = e ? protocol_of(c)->woke(c, e) : protocol_of(c)->take(c, load_now_ns());
    if (e)
        fail(c, load_error_of(e));
    else
        go_on(c);
}

void quick_woke(void *owner, err why)
{
    struct conn *c = owner;
    if (c->state == CONN_IDLE)
        list_remove(&c->link);
    c->state = CONN_BUSY;
    c->why = (uint8_t)why;
    fiber_spawn(conn_run, c);
}

/* ---- the carrier ---- */

static struct conn *new_conn(struct quick *q)
{
    const struct quick_plan *p = q->plan;
    struct conn *c = mem_must_get(p->protocol->conn_bytes + p->pipeline * p->protocol->asked_bytes);
    char *slots = (char *)c + p->protocol->conn_bytes;
    c->quick = q;
    c->room = p->pipeline;
    list_init(&c->spare);
    list_init(&c->waiting);
    list_init(&c->flight);
    for (unsigned i = 0; i < p->pipeline; i++)
        list_push_back(&c->spare, &((struct asked *)(void *)(slots + i * p->protocol->asked_bytes))->link);
    return c;
}

static struct conn *spare_conn(struct quick *q)
{
    struct link *l = list_pop_front(&q->spare);
    if (l)
        return container_of(l, struct conn, link);
    uint64_t most = load_share(q->lw->load->connections, load_share_number(q->lw), q->lw->load->shares);
    if (q->conns_count == most)
        return NULL;
    struct conn *c = new_conn(q);
    c->number = q->conns_count * q->lw->load->threads + q->lw->index;
    q->conns[q->conns_count++] = c;
    return c;
}

static void send_due(struct conn *c, bool wait)
{
    if (!send_waiting(c, load_now_ns(), wait))
        return;
    if (c->outstanding < c->room) {
        c->state = CONN_IDLE;
        list_push_front(&c->quick->idle, &c->link);
    }
    rest(c);
    load_worker_free(c->quick->lw);
}

static void send_large(void *arg)
{
    send_due(arg, true);
}

static bool quick_due(struct load_worker *lw, uint64_t due_ns)
{
    struct quick *q = lw->carrier;
    struct link *l = list_pop_front(&q->idle);
    struct conn *c = l ? container_of(l, struct conn, link) : spare_conn(q);
    if (!c)
        return false;
    ask(c, due_ns);
    if (!l) {
        open_later(c);
        return true;
    }
    protocol_of(c)->unrest(c);
    c->state = CONN_BUSY;
    if (container_of(c->waiting.next, struct asked, link)->request->bytes.len > IO_SEND_BYTES_MAX)
        fiber_spawn(send_large, c); /* may have to wait */
    else
        send_due(c, false);
    return true;
}

static void quick_begin(struct load_worker *lw)
{
    struct quick *q = lw->carrier;
    for (struct conn *c; (c = spare_conn(q));)
        open_later(c);
}

static err quick_open(struct load_worker *lw)
{
    struct quick *q = mem_get(sizeof *q);
    lw->carrier = q;
    if (!q)
        return ERR_MEMORY;
    q->lw = lw;
    q->plan = lw->load->plan;
    q->next = load_share_number(lw);
    list_init(&q->spare);
    list_init(&q->opening);
    list_init(&q->idle);
    q->conns = mem_get((lw->load->connections + 1) * sizeof(struct conn *));
    return q->conns ? OK : ERR_MEMORY;
}

static void quick_close(struct load_worker *lw)
{
    struct quick *q = lw->carrier;
    for (unsigned i = 0; q && q->conns && i < q->conns_count; i++) {
        drop(q->conns[i]);
        mem_free(q->conns[i]);
    }
    if (q)
        mem_free(q->conns);
    mem_free(q);
    lw->carrier = NULL;
}

const struct load_carrier quick_carrier = {
    .unit = "connection",
    .open = quick_open,
    .begin = quick_begin,
    .due = quick_due,
    .close = quick_close,
};
