/* core_proxy_bench: what a proxied request costs over core/ alone. One worker; each message of a client is
 * one request, each message of a server is its answer, whatever is in them. As in the gate, an idle client is
 * parked and each request gets a fresh fiber; idle server connections are pooled and parked.
 *
 *      core_proxy_bench auto|uring|epoll PORT SERVER...      e.g.  uring 8081 127.0.0.1:9001 127.0.0.1:9002
 *
 * Prints its statistics once a second while it works. */
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/fiber.h"
#include "core/io.h"
#include "core/worker.h"

#define SERVERS_MAX 16
#define WAIT_MS 60000

struct upstream {
    struct io *io;
    struct upstream *next;
    unsigned server;
    bool ended;
};

struct client {
    struct io *io;
    struct client *next;
};

static struct addr servers[SERVERS_MAX];
static unsigned server_count, server_next;
static struct upstream *idle[SERVERS_MAX];
static struct client *free_clients;
static struct addr listen_at;

static void upstream_wakes(void *owner, err why)
{
    struct upstream *u = owner;
    (void)why; /* an idle server has nothing to say but good-bye */
    u->ended = true;
}

static struct upstream *upstream_take(void)
{
    unsigned server = server_next++ % server_count;
    struct upstream *u;
    while ((u = idle[server]) != NULL) {
        idle[server] = u->next;
        if (!u->ended) {
            io_unpark(u->io);
            return u;
        }
        io_abort(u->io, false);
        mem_free(u);
    }
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct io *io;
    if (fd < 0 || io_connect(fd, &servers[server], deadline_in_ms(WAIT_MS), &io))
        return NULL;
    u = mem_must_get(sizeof *u);
    u->io = io;
    u->server = server;
    return u;
}

static void upstream_give(struct upstream *u)
{
    io_park(u->io, upstream_wakes, u, DEADLINE_NONE);
    u->next = idle[u->server];
    idle[u->server] = u;
}

static err forward(struct io *from, struct io *to)
{
    struct bytes b;
    err e = io_pull(from, deadline_in_ms(WAIT_MS), &b);
    if (e)
        return e;
    if (b.len > IO_BUFFER_BYTES / 2)
        return io_lend(to, from, b.len, deadline_in_ms(WAIT_MS));
    memcpy(io_out(to, b.len), b.ptr, b.len);
    io_out_end(to, b.len);
    io_consume(from, b.len);
    return OK;
}

/* Bytes of the answer that begins in b and are not in it: as much HTTP as large bodies need. */
static uint64_t missing(struct bytes b)
{
    const char *head_end = memmem(b.ptr, b.len, "\r\n\r\n", 4);
    const char *length = head_end ? memmem(b.ptr, b.len, "ontent-Length: ", 15) : NULL;
    uint64_t total = length ? strtoull(length + 15, NULL, 10) : 0;
    uint64_t here = head_end ? (uint64_t)(b.ptr + b.len - head_end - 4) : 0;
    return total > here ? total - here : 0;
}

/* A client that closes after its answer must not make the server close as well. */
static bool hide_close(struct io *from)
{
    struct bytes b;
    if (io_pull(from, deadline_in_ms(WAIT_MS), &b))
        return true;
    char *name = memmem(b.ptr, b.len, "Connection: close", 17);
    if (name)
        memcpy(name, "X-idle", 6);
    return name != NULL;
}

static err forward_answer(struct io *from, struct io *to, bool last)
{
    struct bytes b;
    err e = io_pull(from, deadline_in_ms(WAIT_MS), &b);
    if (e)
        return e;
    uint64_t rest = missing(b), moved;
    int side;
    const char *line_end = memchr(b.ptr, '\n', b.len);
    if (last && line_end) { /* and say so to the client */
        size_t n = (size_t)(line_end + 1 - b.ptr);
        memcpy(io_out(to, n + 19), b.ptr, n);
        io_out_end(to, n);
        memcpy(io_out(to, 19), "Connection: close\r\n", 19);
        io_out_end(to, 19);
        io_consume(from, n);
    }
    e = forward(from, to);
    return e || !rest ? e : io_splice(from, to, rest, WAIT_MS * 1000, DEADLINE_NONE, &moved, &side);
}

static void client_wakes(void *owner, err why);

static void client_close(struct client *c)
{
    io_close(c->io, 1000000, false);
    c->next = free_clients;
    free_clients = c;
}

static void request(void *arg)
{
    struct client *c = arg;
    bool last = hide_close(c->io);
    struct upstream *u = upstream_take();
    err e = u ? forward(c->io, u->io) : ERR_UNAVAILABLE;
    if (!e)
        e = forward_answer(u->io, c->io, last);
    if (e) {
        fprintf(stderr, "%s\n", err_name(e));
        if (u) {
            io_abort(u->io, false);
            mem_free(u);
        }
        client_close(c);
        return;
    }
    upstream_give(u);
    if (last) {
        client_close(c);
        return;
    }
    io_park(c->io, client_wakes, c, deadline_in_ms(WAIT_MS));
}

static void client_wakes(void *owner, err why)
{
    if (why)
        client_close(owner);
    else
        fiber_spawn(request, owner);
}

static void on_accept(void *owner, struct io *io)
{
    (void)owner;
    struct client *c = free_clients;
    if (c)
        free_clients = c->next;
    else
        c = mem_must_get(sizeof *c);
    c->io = io;
    io_park(io, client_wakes, c, deadline_in_ms(WAIT_MS));
}

static void start(void *arg)
{
    (void)arg;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    must(bind(fd, &listen_at.sock.any, listen_at.len) == 0 && listen(fd, 4096) == 0);
    struct io_listener *l;
    must(io_listen(fd, on_accept, NULL, &l) == OK);
    struct worker_stats before = { 0 };
    while (fiber_sleep_us(1000000) == OK) {
        struct worker_stats s = worker_stats(worker_self());
        struct fiber_stats f = fiber_stats(worker_self());
        if (s.turns - before.turns > 1000)
            fprintf(stderr,
                    "turns %lu, calls %lu, busy %lu us, lag %lu us, buffers %lu KiB, starved %lu, fibers "
                    "%lu, stacks %u\n",
                    s.turns - before.turns, s.syscalls - before.syscalls, s.busy_us - before.busy_us,
                    s.lag_us_max, s.buffers_bytes / 1024, s.no_buffers - before.no_buffers, f.spawned,
                    f.pooled);
        before = s;
    }
}

int main(int argc, char **argv)
{
    if (argc < 4 || argc - 3 > SERVERS_MAX) {
        fprintf(stderr, "core_proxy_bench auto|uring|epoll PORT SERVER...\n");
        return 1;
    }
    char at[64], reason[128];
    snprintf(at, sizeof at, "127.0.0.1:%s", argv[2]);
    bool right = addr_parse(bytes_from(at), &listen_at) == OK;
    for (int i = 3; i < argc; i++)
        right = addr_parse(bytes_from(argv[i]), &servers[server_count++]) == OK && right;
    must(right);
    enum loop_kind kind = argv[1][0] == 'u' ? LOOP_URING : argv[1][0] == 'e' ? LOOP_EPOLL : LOOP_AUTO;
    struct worker_opts opts = { .loop = kind, .cpu = 0, .name = "proxy" };
    struct diag d = DIAG_NONE;
    fprintf(stderr, "%s\n", loop_name(loop_choose(kind, reason, sizeof reason)));
    err e = worker_run(&opts, start, NULL, &d);
    fprintf(stderr, "%s %s\n", err_text(e), d.text);
    return e != OK;
}
