/* Connections of clients of Redis.
 *
 *      PARKED ──bytes──▶ a fiber: read what is there, do it, answer, again ──nothing left──▶ PARKED */
#include <sys/socket.h>

#include "base/pool.h"
#include "gate/gate.h"
#include "gate/process.h"
#include "gate/resp.h"
#include "gate/resp_metrics.h"
#include "ledger/ledger_conf.h"
#include "ledger/watch.h"

/* The rest of a command, and room for what is to be sent. */
#define COMMAND_TIMEOUT_MS 60000
#define LINGER_US (5 * 1000000)
/* What a turn needs first stands on its fiber's stack. */
#define FIRST_BYTES (12 * 1024)

static _Thread_local struct pool clients;
static _Thread_local struct turn_hook clients_end;
static _Thread_local uint64_t next_id;

static void run(void *arg);

/* ---- the password ---- */

const struct ledger_conf *resp_conf(void)
{
    const struct gate *g = gate_current();
    return g ? g->generation->conf->ledger : NULL;
}

bool resp_has_password(void)
{
    const struct ledger_conf *l = resp_conf();
    return !l || l->secret_bytes;
}

/* In the same time, however much of it is right. */
bool resp_password_is(struct bytes user, struct bytes text)
{
    const struct ledger_conf *l = resp_conf();
    if (!l || !bytes_eq(user, BYTES("default")))
        return false;
    unsigned char differs = text.len != l->secret_bytes;
    for (uint32_t i = 0; i < l->secret_bytes; i++)
        differs |= (unsigned char)(l->secret[i] ^ (i < text.len ? text.ptr[i] : 0));
    if (l->secret_bytes && differs)
        resp_count(RESP_PASSWORDS_WRONG, 1);
    return !l->secret_bytes || !differs;
}

/* ---- life ---- */

static void client_free(struct resp_client *k)
{
    resp_tx_free(k);
    resp_locks_free(k);
    resp_uncount(RESP_CONNECTIONS_OPEN);
    clients_remove(&k->client);
    pool_give(&clients, k);
}

static void close_client(struct resp_client *k)
{
    io_close(k->io, LINGER_US, true);
    client_free(k);
}

static void woke(void *owner, err why)
{
    struct resp_client *k = owner;
    k->parked = false;
    k->client.clients->parked_count--;
    if (why == OK) {
        fiber_spawn(run, k);
        return;
    }
    io_close(k->io, 0, false);
    client_free(k);
}

static void park(struct resp_client *k)
{
    k->parked = true;
    k->client.clients->parked_count++;
    io_park(k->io, woke, k, DEADLINE_NONE);
}

static void close_idle(struct client_conn *client, bool used_only)
{
    struct resp_client *k = container_of(client, struct resp_client, client);
    char first;
    (void)used_only;
    if (!k->parked || recv(io_fd(k->io), &first, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
        return; /* a command is there, that the loop has not told yet */
    io_unpark(k->io);
    woke(k, ERR_CANCELLED);
}

static void abort_client(struct client_conn *client)
{
    shutdown(io_fd(container_of(client, struct resp_client, client)->io), SHUT_RDWR);
}

static void drain(struct client_conn *client)
{
    struct resp_client *k = container_of(client, struct resp_client, client);
    if (k->waiter)
        waiter_wake(k->waiter);
}

static const struct client_protocol protocol = { .drain = drain,
                                                 .close_idle = close_idle,
                                                 .abort = abort_client };

/* ---- blocking commands ---- */

static void peer_ended(void *owner, err why)
{
    struct resp_client *k = owner;
    (void)why;
    k->ended = true;
    waiter_wake(k->waiter);
}

err resp_wait(struct resp_client *k, struct waiter *w, uint64_t deadline_us)
{
    resp_answer_before(k);
    if (k->client.clients->draining)
        return ERR_CLOSED;
    k->waiter = w;
    resp_count(RESP_BLOCKED, 1);
    io_watch(k->io, peer_ended, k);
    err e = waiter_wait(w, deadline_us);
    io_unwatch(k->io);
    k->waiter = NULL;
    resp_uncount(RESP_BLOCKED);
    return k->ended || io_failed(k->io) || k->client.clients->draining ? ERR_CLOSED : e;
}

static void end_pool(struct turn_hook *h)
{
    (void)h;
    pool_close(&clients);
    clients.object_bytes = 0;
}

void resp_accept(void *owner, struct io *io)
{
    (void)owner;
    if (!clients.object_bytes) {
        pool_init(&clients, sizeof(struct resp_client));
        clients_end.run = end_pool;
        worker_on_end(&clients_end);
    }
    struct clients *all = process_clients();
    if (all->full) {
        resp_count(RESP_CONNECTIONS_REFUSED, 1);
        (void)!io_write(io, BYTES("-ERR max number of clients reached\r\n"), DEADLINE_NONE);
        io_close(io, LINGER_US, true);
        return;
    }
    struct resp_client *k = pool_take(&clients);
    *k = (struct resp_client){ .io = io,
                               .protocol = RESP_2,
                               .trusted = !resp_has_password(),
                               .id = ++next_id * 256 + worker_index(worker_self()) };
    resp_count(RESP_CONNECTIONS, 1);
    resp_count(RESP_CONNECTIONS_OPEN, 1);
    clients_add(all, &k->client, &protocol);
    park(k);
}

/* ---- reading ---- */

/* One turn's commands: they lie in `in`, which is the connection's, or a copy of what is too long for it. */
struct reading {
    struct bytes in;
    size_t done; /* of in */
    size_t past; /* that were before in */
    char *copy;  /* NULL: in is the connection's */
    size_t copy_size;
};

static err copy_more(struct resp_client *k, struct reading *r, size_t need)
{
    if (need > r->copy_size) {
        size_t size = need * 2 < RESP_COMMAND_BYTES_MAX ? need * 2 : RESP_COMMAND_BYTES_MAX;
        char *larger = arena_get(k->batch->arena, size);
        if (!larger)
            return ERR_LIMIT;
        memcpy(larger, r->in.ptr, r->in.len);
        if (!r->copy)
            io_consume(k->io, r->in.len);
        r->copy = larger;
        r->copy_size = size;
        r->in.ptr = larger;
    }
    const uint64_t deadline_us = deadline_in_ms(COMMAND_TIMEOUT_MS);
    while (r->in.len < need) {
        struct bytes more;
        err e = io_pull(k->io, deadline_us, &more);
        if (e)
            return e;
        const size_t n = more.len < need - r->in.len ? more.len : need - r->in.len;
        memcpy(r->copy + r->in.len, more.ptr, n);
        r->in.len += n;
        io_consume(k->io, n);
    }
    return OK;
}

/* At least `need` bytes of the command that begins at r->done, which becomes the first. */
static err read_more(struct resp_client *k, struct reading *r, size_t need)
{
    if (r->done && !r->copy)
        io_consume(k->io, r->done);
    r->in = bytes_skip(r->in, r->done);
    r->past += r->done;
    r->done = 0;
    if (r->copy || need > IO_CONTIGUOUS_BYTES_MAX / 2)
        return copy_more(k, r, need);
    return io_pull_more(k->io, r->in.len, deadline_in_ms(COMMAND_TIMEOUT_MS), &r->in);
}

static const struct resp_limits *limits_of(const struct resp_client *k)
{
    static const struct resp_limits trusted = { RESP_ARGS_MAX, RESP_ARG_BYTES_MAX };
    static const struct resp_limits stranger = { RESP_STRANGER_ARGS_MAX, RESP_STRANGER_ARG_BYTES_MAX };
    return k->trusted ? &trusted : &stranger;
}

static bool is_enough(const struct resp_client *k)
{
    const struct resp_batch *b = k->batch;
    return b->count >= RESP_BATCH_COMMANDS_MAX || b->op_bytes >= RESP_BATCH_BYTES_MAX;
}

/* Gathers what is there. ERR_AGAIN: a command is not whole yet. */
static err do_commands(struct resp_client *k, struct reading *r, struct resp_command *c)
{
    while (r->done < r->in.len && !k->closing) {
        err e = resp_parse(c, bytes_skip(r->in, r->done), limits_of(k), k->batch->arena);
        if (e == ERR_SYNTAX) {
            resp_count(RESP_MALFORMED, 1);
            resp_fail(k->batch, "ERR %s", c->mistake);
        }
        if (e)
            return e;
        if (c->count) {
            resp_count(RESP_COMMANDS, 1);
            resp_do(k, c);
        }
        r->done += c->bytes;
        *c = (struct resp_command){ 0 };
        if (is_enough(k)) {
            e = resp_flush(k);
            if (e)
                return e;
        }
    }
    return OK;
}

/* What has come, and the rest of its last command, is done and answered. */
static err turn(struct resp_client *k)
{
    char first[FIRST_BYTES] __attribute__((aligned(8)));
    struct arena a;
    struct resp_batch b;
    struct resp_command c = { 0 };
    struct reading r = { .in = io_peek(k->io) };
    arena_open(&a, &arena_worker, RESP_TURN_BYTES_MAX, first, sizeof first);
    resp_batch_open(&b, &a);
    k->batch = &b;
    err e;
    for (;;) {
        e = do_commands(k, &r, &c);
        err sent = resp_flush(k);
        if (sent || e != ERR_AGAIN) {
            e = sent ? sent : e;
            break;
        }
        e = read_more(k, &r, c.need);
        if (e)
            break;
        fiber_yield(); /* what only looks waits for nobody */
    }
    if (!r.copy)
        io_consume(k->io, r.done);
    resp_count(RESP_RECEIVED, r.past + r.done);
    k->batch = NULL;
    arena_close(&a);
    return e;
}

static void run(void *arg)
{
    struct resp_client *k = arg;
    err e = OK;
    while (!e && !k->closing && io_peek(k->io).len) {
        e = io_drain(k->io, IO_SEND_BYTES_MAX, deadline_in_ms(COMMAND_TIMEOUT_MS));
        if (!e)
            e = turn(k);
    }
    if (e || k->closing)
        close_client(k);
    else
        park(k);
}
