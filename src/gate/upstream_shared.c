#include "gate/upstream_shared.h"

#include "base/must.h"
#include "core/worker_pool.h"
#include "gate/service_open.h"

/* How long the first reader's client may take nothing before those behind move on. */
#define STALL_MS 200
/* A response's rest that has arrived is taken off rather than closing the connection on those behind. */
#define DISCARD_BYTES_MAX (64 * 1024)
/* What a reader may be told to lie in the socket: less than what is worth a splice. */
#define RAW_BYTES_MAX (32 * 1024)
/* Room that a request's head must not exceed to be written without waiting. */
#define HEAD_BYTES_MAX (8 * 1024)

struct shared_conn {
    struct http1_body body; /* of the first turn's response; first, so that a body leads here */
    struct link link;       /* of upstream->shared */
    struct link turns;
    uint32_t turns_count;
    struct io *io; /* NULL while connecting */
    struct upstream *upstream;
    struct lease *head;
    uint64_t progress_us; /* when the first turn last went on reading its body; 0: it waits for its head */
    bool ending;          /* takes no more requests, and closes after its last turn */
    bool parked;
    bool keep_alive;
};

struct shared_turn {
    struct link link;
    struct fiber *fiber;
    struct exchange *x;
    err failed;
    bool written;
};

static _Thread_local struct worker_pool conns;

static const struct body_ops shared_body_ops;

bool upstream_shared_suits(const struct exchange *x)
{
    const struct http_request *r = &x->request;
    return x->service->conf->upstream == UPSTREAM_PIPELINED && !x->service->conf->proxy_protocol &&
           r->framing == HTTP_BODY_NONE && !r->upgrade && http_method_is_idempotent(r->method) &&
           http1_request_size(r) <= HEAD_BYTES_MAX;
}

static struct shared_turn *first_turn(struct shared_conn *c)
{
    return list_empty(&c->turns) ? NULL : container_of(c->turns.next, struct shared_turn, link);
}

static void conn_free(struct shared_conn *c)
{
    must(list_empty(&c->turns));
    if (c->io)
        io_close(c->io, 0, false);
    list_remove(&c->link);
    c->upstream->shared_count--;
    c->upstream->holds--; /* an exchange or a generation holds it as well: never the last one */
    worker_pool_give(&conns, c);
}

static void idle_woke(void *owner, err why)
{
    (void)why;
    struct shared_conn *c = owner;
    c->parked = false;
    conn_free(c);
}

/* After the last turn: rest, or end. */
static void conn_rest(struct shared_conn *c, const struct service_conf *conf)
{
    if (c->ending || !c->upstream->generations || io_peer_ended(c->io) || io_failed(c->io) ||
        io_peek(c->io).len) {
        conn_free(c);
        return;
    }
    c->parked = true;
    io_park(c->io, idle_woke, c, deadline_in_ms(conf->idle_timeout_ms));
}

static void remove_turn(struct shared_conn *c, struct shared_turn *t)
{
    list_remove(&t->link);
    c->turns_count--;
}

/* From t on nobody will read an answer on this connection, and all of them are told. */
static void cut_at(struct shared_conn *c, struct shared_turn *t)
{
    c->ending = true;
    struct link *at = &t->link;
    while (at != &c->turns) {
        struct shared_turn *out = container_of(at, struct shared_turn, link);
        at = at->next;
        remove_turn(c, out);
        out->failed = ERR_CLOSED;
        if (out->fiber != fiber_self())
            fiber_wake(out->fiber);
    }
}

static void end_turn(struct shared_conn *c, struct shared_turn *t, const struct service_conf *conf)
{
    remove_turn(c, t);
    c->progress_us = 0;
    struct shared_turn *next = first_turn(c);
    if (next)
        fiber_wake(next->fiber);
    else
        conn_rest(c, conf);
}

/* Its request could not be written: nothing of it is on the connection, and the others go on. */
static void leave_unwritten(struct shared_conn *c, struct shared_turn *t, const struct service_conf *conf)
{
    remove_turn(c, t);
    struct shared_turn *next = first_turn(c);
    if (next)
        fiber_wake(next->fiber);
    else
        conn_rest(c, conf);
}

static void fail_turn(struct shared_conn *c, struct shared_turn *t)
{
    cut_at(c, t);
    if (list_empty(&c->turns))
        conn_free(c);
}

/* ---- joining ---- */

static struct shared_conn *find_conn(struct upstream *u, const struct service_conf *conf)
{
    LIST_EACH (at, &u->shared) {
        struct shared_conn *c = container_of(at, struct shared_conn, link);
        if (!c->ending && c->turns_count < (uint64_t)conf->pipeline_max)
            return c;
    }
    return NULL;
}

static struct shared_conn *new_conn(struct upstream *u)
{
    struct shared_conn *c = worker_pool_take(&conns, sizeof(struct shared_conn));
    memset(c, 0, sizeof *c);
    c->upstream = u;
    u->holds++;
    u->shared_count++;
    list_init(&c->turns);
    list_push_front(&u->shared, &c->link);
    return c;
}

static void write_turn(struct shared_conn *c, struct shared_turn *t)
{
    t->failed = http1_client_write_head(c->io, t->x, t->x->try_deadline_us);
    t->written = !t->failed;
    if (t->failed && t->fiber != fiber_self())
        fiber_wake(t->fiber);
}

/* Others may have joined meanwhile: their requests are written here, in the order of their turns. */
static err connect_conn(struct shared_conn *c, struct shared_turn *mine)
{
    const struct exchange *x = mine->x;
    uint64_t us = deadline_in_ms(x->service->conf->connect_timeout_ms);
    err e = upstream_connect(c->upstream, false, us < x->try_deadline_us ? us : x->try_deadline_us, &c->io);
    if (e) {
        c->io = NULL;
        fail_turn(c, mine);
        return e;
    }
    LIST_EACH (at, &c->turns)
        write_turn(c, container_of(at, struct shared_turn, link));
    return OK;
}

static void join(struct shared_conn *c, struct shared_turn *t)
{
    if (c->parked) {
        c->parked = false;
        io_unpark(c->io);
    }
    list_push_back(&c->turns, &t->link);
    c->turns_count++;
    if (c->io)
        write_turn(c, t);
}

/* ---- waiting and reading ---- */

static bool first_is_stalled(const struct shared_conn *c)
{
    return c->progress_us && worker_now_us() >= c->progress_us + STALL_MS * 1000;
}

static err wait_turn(struct shared_conn *c, struct shared_turn *t, uint64_t deadline_us)
{
    while (!t->failed && !(first_turn(c) == t && t->written)) {
        uint64_t look_us = deadline_in_ms(STALL_MS);
        err e = fiber_wait(look_us < deadline_us ? look_us : deadline_us);
        if (t->failed)
            break;
        if (e == ERR_TIMEOUT && c->io && first_turn(c) != t && first_is_stalled(c)) {
            cut_at(c, container_of(first_turn(c)->link.next, struct shared_turn, link));
            break;
        }
        if (e == ERR_CANCELLED || (e == ERR_TIMEOUT && worker_now_us() >= deadline_us)) {
            fail_turn(c, t);
            return e;
        }
    }
    return t->failed;
}

static err read_response(struct shared_conn *c, struct shared_turn *t, uint64_t deadline_us,
                         bool *ret_answered)
{
    struct exchange *x = t->x;
    err e = http1_client_read_head(c->io, x, deadline_us, false, &c->head, ret_answered);
    if (!e && x->response.status == 101) { /* nobody asked for it */
        lease_drop(c->head);
        e = ERR_PROTOCOL;
    }
    if (e) {
        fail_turn(c, t);
        return e;
    }
    struct http_response *r = &x->response;
    http1_body_init(&c->body, c->io, r->framing, r->content_length, UINT64_MAX,
                    x->service->conf->idle_timeout_ms, &http1_response_limits, &x->arena);
    c->body.body.ops = &shared_body_ops;
    c->body.owner = t;
    c->keep_alive = r->keep_alive && r->framing != HTTP_BODY_CLOSE;
    c->progress_us = worker_now_us();
    if (!c->keep_alive && t->link.next != &c->turns) /* those behind will not be answered: let them go now */
        cut_at(c, container_of(t->link.next, struct shared_turn, link));
    c->ending |= !c->keep_alive;
    x->response_body = &c->body.body;
    return OK;
}

err upstream_shared_exchange(struct upstream *u, struct exchange *x, struct server *server,
                             struct attempt *ret_attempt, bool *ret_connecting)
{
    struct shared_turn *t = arena_get_zero(&x->arena, sizeof *t);
    if (!t)
        return ERR_LIMIT;
    const struct service_conf *conf = x->service->conf;
    uint64_t deadline_us = deadline_in_ms(conf->first_byte_timeout_ms);
    if (deadline_us > x->try_deadline_us)
        deadline_us = x->try_deadline_us;
    t->fiber = fiber_self();
    t->x = x;
    struct shared_conn *c = find_conn(u, conf);
    bool opens = !c;
    if (opens && u->shared_count >= (uint64_t)conf->connections_max)
        return ERR_AGAIN;
    if (opens)
        c = new_conn(u);
    join(c, t);
    if (opens) {
        *ret_connecting = true;
        err e = connect_conn(c, t);
        if (e)
            return e;
        *ret_connecting = false;
    }
    err e = wait_turn(c, t, deadline_us);
    ret_attempt->sent = t->written;
    if (e && list_linked(&t->link))
        leave_unwritten(c, t, conf);
    if (e)
        return e;
    x->server = server;
    return read_response(c, t, deadline_us, &ret_attempt->answered);
}

/* ---- the body ---- */

static err shared_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct shared_conn *c = container_of(b, struct shared_conn, body.body);
    c->progress_us = worker_now_us();
    return http1_body_pull(b, deadline_us, ret_bytes);
}

static void shared_close(struct body *b)
{
    struct shared_conn *c = container_of(b, struct shared_conn, body.body);
    struct shared_turn *t = c->body.owner;
    struct server *server = t->x->server;
    bool whole = http1_body_finish(&c->body, DISCARD_BYTES_MAX);
    lease_drop(c->head);
    c->head = NULL;
    server_end(server, t->x);
    if (whole && c->keep_alive)
        end_turn(c, t, t->x->service->conf);
    else
        fail_turn(c, t);
}

/* Never so much that it is spliced: then nobody would see whether the first reader goes on. */
static struct io *shared_raw(struct body *b, uint64_t *ret_left)
{
    struct io *io = http1_body_raw(b, ret_left);
    if (io && *ret_left > RAW_BYTES_MAX)
        *ret_left = RAW_BYTES_MAX;
    return io;
}

static const struct body_ops shared_body_ops = {
    .pull = shared_pull,
    .give = http1_body_give,
    .raw = shared_raw,
    .moved = http1_body_moved,
    .ready = http1_body_ready,
    .close = shared_close,
};

void upstream_shared_close_idle(struct upstream *u)
{
    struct link *at = u->shared.next;
    while (at != &u->shared) {
        struct shared_conn *c = container_of(at, struct shared_conn, link);
        at = at->next;
        if (!c->parked) {
            c->ending = true;
            continue;
        }
        io_unpark(c->io);
        conn_free(c);
    }
}
