#include "load/quick.h"

#include "base/list.h"
#include "base/mem.h"
#include "base/must.h"
#include "core/fiber.h"
#include "load/answer.h"

#define OPENERS_MAX 256u  /* connects at the same time, a worker */
#define OPEN_AGAIN_MS 100 /* after a connect that failed, in a closed loop */
#define READERS_MAX 4096u /* fibers that wait for the rest of a head */
#define STATUS_ERROR_MIN 400u

/*   NONE ──▶ OPENING ──▶ BUSY ◀──▶ IDLE (open loop only)
 *    ▲                     │         │
 *    └─────── closed, failed ────────┘ */
enum conn_state { CONN_NONE, CONN_OPENING, CONN_BUSY, CONN_IDLE };

struct asked {
    uint64_t due_ns, sent_ns;
    const struct quick_request *request;
};

struct conn {
    struct quick *quick;
    struct io *io;
    struct link link; /* of spare, opening or idle */
    uint8_t state;
    uint8_t why;                 /* err: what woke it */
    bool in_body;                /* of the answer at hand */
    bool last;                   /* the server ends it behind that answer */
    uint32_t first, outstanding; /* in asked */
    uint32_t number;
    struct answer answer;
    struct asked asked[];
};

struct quick {
    struct load_worker *lw;
    const struct quick_plan *plan;
    struct conn **conns;
    unsigned conns_count, openers, readers;
    uint64_t next;                    /* number of the request to send next */
    struct link spare, opening, idle; /* struct conn */
};

static void conn_woke(void *owner, err why);
static void opener_run(void *arg);

static struct load_kind *kind_of(const struct conn *c, const struct asked *a)
{
    return &c->quick->lw->stats->kinds[a->request->kind];
}

static struct asked *asked_at(struct conn *c, uint32_t i)
{
    return &c->asked[(c->first + i) % c->quick->plan->pipeline];
}

/* ---- sending ---- */

static void ask(struct conn *c, uint64_t due_ns)
{
    struct quick *q = c->quick;
    struct asked *a = asked_at(c, c->outstanding++);
    a->due_ns = due_ns;
    a->request = &q->plan->requests[q->plan->count == 1 ? 0 : q->next % q->plan->count];
    q->next += q->lw->load->shares;
    q->lw->left--;
    q->lw->in_flight++;
}

/* Those of asked from `from` on. */
static err send_asked(struct conn *c, uint32_t from, uint64_t now_ns, uint64_t deadline_us)
{
    for (uint32_t i = from; i < c->outstanding; i++) {
        struct asked *a = asked_at(c, i);
        struct load_kind *k = kind_of(c, a);
        a->sent_ns = now_ns;
        k->sent++;
        k->bytes_out += a->request->bytes.len;
        err e = io_write(c->io, a->request->bytes, deadline_us);
        if (e)
            return e;
    }
    return OK;
}

static uint64_t deadline_of(const struct conn *c)
{
    return worker_now_us() + c->quick->lw->load->timeout_us;
}

/* Of the answer at hand: all of it has to be there by then. */
static uint64_t answer_deadline(struct conn *c)
{
    return asked_at(c, 0)->sent_ns / 1000 + c->quick->lw->load->timeout_us;
}

static void rest(struct conn *c)
{
    io_park(c->io, conn_woke, c, c->outstanding ? answer_deadline(c) : DEADLINE_NONE);
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

static void drop_io(struct conn *c)
{
    if (!c->io)
        return;
    io_abort(c->io, false);
    c->io = NULL;
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

/* Nothing is asked on it any more: what it does next. */
static void begin_again(struct conn *c)
{
    struct load_worker *lw = c->quick->lw;
    must(!c->outstanding);
    c->first = 0;
    c->in_body = c->last = false;
    if (!lw->load->open_loop && !lw->stopping && lw->left) {
        open_later(c);
        return;
    }
    c->state = CONN_NONE;
    list_push_front(&c->quick->spare, &c->link);
    load_worker_free(lw);
}

/* Everything that is in flight on it has failed. */
static void fail(struct conn *c, enum load_error why)
{
    uint64_t now_ns = load_now_ns();
    struct load_worker *lw = c->quick->lw;
    drop_io(c);
    for (; c->outstanding; c->outstanding--, lw->in_flight--) {
        const struct asked *a = asked_at(c, 0);
        kind_of(c, a)->errors[why]++;
        if (why == LOAD_ERROR_TIMEOUT)
            record(c, a, now_ns);
        c->first = (c->first + 1) % c->quick->plan->pipeline;
    }
    begin_again(c);
}

/* ---- opening ---- */

static err connect_to(struct conn *c)
{
    struct quick *q = c->quick;
    return load_dial(q->lw->load, q->plan->addr, c->number, deadline_of(c), &c->io);
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
    err e = connect_to(c);
    if (e) {
        asked_at(c, 0)->sent_ns = start_ns;
        if (e != ERR_CANCELLED && !lw->load->open_loop)
            (void)!fiber_sleep_us(OPEN_AGAIN_MS * 1000);
        fail(c, LOAD_ERROR_CONNECT);
        return;
    }
    lw->connections++;
    lw->stats->connects++;
    c->state = CONN_BUSY;
    while (!lw->load->open_loop && c->outstanding < c->quick->plan->pipeline && lw->left)
        ask(c, start_ns);
    e = send_asked(c, 0, load_now_ns(), deadline_of(c));
    if (e)
        fail(c, load_error_of(e));
    else
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

static void answered(struct conn *c, uint64_t now_ns)
{
    const struct asked *a = asked_at(c, 0);
    struct load_kind *k = kind_of(c, a);
    struct load_worker *lw = c->quick->lw;
    k->answers++;
    k->bytes_in += c->answer.bytes;
    load_count_status(k, c->answer.status);
    if (c->answer.status >= STATUS_ERROR_MIN)
        load_count_bad(k, LOAD_ERROR_STATUS);
    record(c, a, now_ns);
    c->last = !c->answer.keep_alive;
    c->in_body = false;
    c->first = (c->first + 1) % c->quick->plan->pipeline;
    c->outstanding--;
    lw->in_flight--;
}

static err take_head(struct conn *c)
{
    struct http_field fields[ANSWER_FIELDS_MAX];
    struct http_response head;
    struct quick *q = c->quick;
    size_t used;
    if (q->readers == READERS_MAX)
        return ERR_LIMIT;
    q->readers++;
    err e = answer_head(&c->answer, c->io, asked_at(c, 0)->request->method, answer_deadline(c), fields, &head,
                        &used);
    q->readers--;
    if (e)
        return e;
    io_consume(c->io, used);
    c->in_body = true;
    return OK;
}

/* What has arrived of the answer at hand. */
static err take(struct conn *c, uint64_t now_ns)
{
    err e = c->in_body ? OK : take_head(c);
    while (!e && !c->answer.done) {
        struct bytes piece, in = io_peek(c->io);
        size_t used;
        if (!in.len)
            return OK;
        e = answer_body(&c->answer, in, &piece, &used);
        if (!e)
            io_consume(c->io, used);
    }
    if (!e)
        answered(c, now_ns);
    return e;
}

static err take_all(struct conn *c)
{
    uint64_t now_ns = load_now_ns();
    while (io_peek(c->io).len) {
        if (!c->outstanding || c->last)
            return ERR_PROTOCOL; /* an answer to nothing */
        err e = take(c, now_ns);
        if (e)
            return e;
        if (c->in_body)
            break; /* the rest of it is still to come */
    }
    return OK;
}

/* All that was there is read. */
static void go_on(struct conn *c)
{
    struct quick *q = c->quick;
    struct load_worker *lw = q->lw;
    if (c->last && !c->in_body) {
        if (c->outstanding) {
            fail(c, LOAD_ERROR_CLOSED);
            return;
        }
        drop_io(c);
        begin_again(c);
        return;
    }
    if (!lw->load->open_loop && !lw->stopping && !c->in_body) {
        uint32_t before = c->outstanding;
        uint64_t now_ns = load_now_ns();
        while (c->outstanding < q->plan->pipeline && lw->left)
            ask(c, now_ns);
        err e = send_asked(c, before, now_ns, deadline_of(c));
        if (e) {
            fail(c, load_error_of(e));
            return;
        }
    }
    if (!c->outstanding) {
        c->state = CONN_IDLE;
        list_push_front(&q->idle, &c->link);
    }
    rest(c);
    if (!c->outstanding)
        load_worker_free(lw);
}

static void conn_run(void *arg)
{
    struct conn *c = arg;
    err e = (err)c->why;
    if (!e)
        e = take_all(c);
    else if (e == ERR_CLOSED && c->in_body && answer_ended(&c->answer) == OK) {
        answered(c, load_now_ns());
        e = OK;
    }
    if (!e)
        go_on(c);
    else if (c->outstanding) {
        fail(c, load_error_of(e));
    } else {
        drop_io(c);
        begin_again(c);
    }
}

/* On the loop's stack. */
static void conn_woke(void *owner, err why)
{
    struct conn *c = owner;
    if (c->state == CONN_IDLE)
        list_remove(&c->link);
    c->state = CONN_BUSY;
    c->why = (uint8_t)why;
    fiber_spawn(conn_run, c);
}

/* ---- the carrier ---- */

static struct conn *spare_conn(struct quick *q)
{
    struct link *l = list_pop_front(&q->spare);
    if (l)
        return container_of(l, struct conn, link);
    uint64_t most = load_share(q->lw->load->connections, load_share_number(q->lw), q->lw->load->shares);
    if (q->conns_count == most)
        return NULL;
    struct conn *c = mem_must_get(sizeof *c + q->plan->pipeline * sizeof c->asked[0]);
    c->quick = q;
    c->number = q->conns_count * q->lw->load->threads + q->lw->index;
    q->conns[q->conns_count++] = c;
    return c;
}

static void send_due(void *arg)
{
    struct conn *c = arg;
    err e = send_asked(c, 0, load_now_ns(), deadline_of(c));
    if (e)
        fail(c, load_error_of(e));
    else
        rest(c);
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
    io_unpark(c->io);
    c->state = CONN_BUSY;
    if (asked_at(c, 0)->request->bytes.len > IO_SEND_BYTES_MAX)
        fiber_spawn(send_due, c); /* may have to wait */
    else
        send_due(c);
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
        drop_io(q->conns[i]);
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
