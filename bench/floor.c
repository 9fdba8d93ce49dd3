/* floor: what a proxied request costs on this machine whatever stands between the two connections. The same
 * io_uring as weir's (core/uring.h), and nothing else: no parser, no chain, no fibers, no timers, no errors.
 *
 *      floor PORT own|shared SERVER...      e.g.  floor 8081 own 127.0.0.1:9001 127.0.0.1:9002
 *      floor check                          can it run here? (exit 0)
 *
 * What comes on a client's connection is one request and goes to the next server in turn as it is; what comes
 * from there goes back. own: over a kept connection that no other request has meanwhile, the last used one
 * first. shared: over the one connection to that server, behind the others of this turn.
 *
 *      client ──recv──▶ waiting ──(at most 64 a turn)──▶ server's connection ──recv──▶ client
 *
 * Where an answer ends is known from its length: one is asked for at the start, and all are taken to be as
 * long. All sends of a turn go out with the next wait; those of one connection are one send. For the bench
 * alone, whose requests are one small segment and whose answers are up to 16 KiB. */
#include "core/loop.h"

#include <stdio.h>

#if WEIR_HAVE_URING

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/mem.h"
#include "base/must.h"
#include "core/uring.h"

#define SERVERS_MAX 16
#define BUFFER_BYTES (16 * 1024)
#define RING_BUFFERS 128 /* that the kernel has to receive into */
#define RING_ENTRIES 256
#define SENDS_MAX 512 /* in one submission */
#define PARTS_MAX 64  /* of one send */
#define BEGUN_PER_TURN 64
#define LEARN_MS 200

enum kind { KIND_ACCEPT, KIND_RECV, KIND_SEND, KIND_MASK = 63 };

struct buffer {
    struct buffer *next;
    unsigned refs;
    char data[BUFFER_BYTES] __attribute__((aligned(64)));
    char gap[128]; /* so that the beginnings do not share one cache set */
};

/* Bytes on their way out of a buffer. */
struct piece {
    struct piece *next;
    struct buffer *buffer;
    struct iovec bytes;
};

struct conn {
    int fd;
    bool is_server, dirty, over;
    unsigned server;
    struct piece *out, **out_end;
    struct conn *next; /* of the idle ones of a server, or of the clients that wait */
    struct conn *next_dirty;
    struct piece *request;                       /* a client's, until it is its turn */
    struct conn *turns, **turns_end, *next_turn; /* a server's: whose answers come next */
    size_t left;                                 /* of the answer that is coming */
} __attribute__((aligned(64)));

static struct uring ring;
static struct uring_buffers provided;
static struct buffer *by_number[RING_ENTRIES], *free_buffers;
static unsigned in_ring;
static struct piece *free_pieces, *sent; /* sent: free when the submission has returned */
static struct conn *dirty, **dirty_end = &dirty, *waiting, **waiting_end = &waiting, *idle[SERVERS_MAX];
static struct addr servers[SERVERS_MAX];
static unsigned server_count, server_next;
static bool shared;
static size_t answer_bytes;
static struct {
    struct msghdr head;
    struct iovec parts[PARTS_MAX];
} messages[SENDS_MAX];

/* ---- buffers ---- */

static struct buffer *buffer_get(void)
{
    struct buffer *b = free_buffers;
    if (b)
        free_buffers = b->next;
    else
        must((b = mem_get_aligned(sizeof *b, 64)) != NULL);
    b->refs = 1;
    return b;
}

static void buffer_drop(struct buffer *b)
{
    if (--b->refs)
        return;
    b->next = free_buffers;
    free_buffers = b;
}

static struct piece *piece_get(struct buffer *b, char *at, size_t len)
{
    struct piece *p = free_pieces;
    if (p)
        free_pieces = p->next;
    else
        p = mem_must_get(sizeof *p);
    b->refs++;
    *p = (struct piece){ .buffer = b, .bytes = { at, len } };
    return p;
}

static void provide(void)
{
    if (in_ring == RING_BUFFERS)
        return;
    for (; in_ring < RING_BUFFERS; in_ring++) {
        struct buffer *b = buffer_get();
        by_number[uring_buffers_add(&provided, b->data, BUFFER_BYTES)] = b;
    }
    uring_buffers_publish(&provided);
}

/* ---- connections ---- */

static struct io_uring_sqe *prepare(uint8_t opcode, int fd, void *object, enum kind kind)
{
    struct io_uring_sqe *sqe = uring_sqe(&ring);
    sqe->opcode = opcode;
    sqe->fd = fd;
    sqe->user_data = (uint64_t)(uintptr_t)object | (uint64_t)kind;
    return sqe;
}

static void receive(struct conn *c)
{
    struct io_uring_sqe *sqe = prepare(IORING_OP_RECV, c->fd, c, KIND_RECV);
    sqe->ioprio = IORING_RECV_MULTISHOT;
    sqe->flags = IOSQE_BUFFER_SELECT;
}

static struct conn *conn_get(int fd)
{
    struct conn *c = mem_get_aligned(sizeof *c, 64);
    must(c != NULL);
    *c = (struct conn){ .fd = fd };
    c->out_end = &c->out;
    c->turns_end = &c->turns;
    receive(c);
    return c;
}

static int server_connect(unsigned server)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    must(fd >= 0 && connect(fd, &servers[server].sock.any, servers[server].len) == 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static struct conn *server_take(void)
{
    unsigned server = server_next++ % server_count;
    struct conn *s = idle[server];
    while (s && s->over) /* it closed */
        s = s->next;
    if (!s) {
        s = conn_get(server_connect(server));
        s->is_server = true;
        s->server = server;
    }
    idle[server] = shared ? s : s->next;
    return s;
}

static void queue_piece(struct conn *c, struct piece *p)
{
    *c->out_end = p;
    c->out_end = &p->next;
    if (c->dirty)
        return;
    c->dirty = true;
    c->next_dirty = NULL;
    *dirty_end = c;
    dirty_end = &c->next_dirty;
}

/* ---- requests and answers ---- */

static void client_received(struct conn *c, struct piece *p)
{
    c->request = p;
    c->next = NULL;
    *waiting_end = c;
    waiting_end = &c->next;
}

static void begin_requests(void)
{
    for (unsigned i = 0; i < BEGUN_PER_TURN && waiting; i++) {
        struct conn *c = waiting, *s = server_take();
        waiting = c->next;
        queue_piece(s, c->request);
        c->next_turn = NULL;
        *s->turns_end = c;
        s->turns_end = &c->next_turn;
    }
    if (!waiting)
        waiting_end = &waiting;
}

static void server_received(struct conn *s, struct buffer *b, size_t len)
{
    for (char *at = b->data; len && s->turns;) {
        if (!s->left)
            s->left = answer_bytes;
        size_t n = len < s->left ? len : s->left;
        queue_piece(s->turns, piece_get(b, at, n));
        at += n;
        len -= n;
        s->left -= n;
        if (s->left)
            continue;
        s->turns = s->turns->next_turn;
        if (s->turns)
            continue;
        s->turns_end = &s->turns;
        if (!shared) {
            s->next = idle[s->server];
            idle[s->server] = s;
        }
    }
}

static void received(struct conn *c, const struct io_uring_cqe *cqe)
{
    struct buffer *b = NULL;
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        unsigned number = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        b = by_number[number];
        in_ring--;
    }
    if (cqe->res > 0 && c->is_server)
        server_received(c, b, (size_t)cqe->res);
    else if (cqe->res > 0)
        client_received(c, piece_get(b, b->data, (size_t)cqe->res));
    else if (cqe->res != -ENOBUFS) {
        close(c->fd); /* who asked whether the floor stands, and the server's connection for it */
        c->over = true;
    }
    if (b)
        buffer_drop(b);
    if (!(cqe->flags & IORING_CQE_F_MORE) && !c->over) {
        provide();
        receive(c);
    }
}

/* ---- sending ---- */

static void send_all(void)
{
    unsigned count = 0;
    for (struct conn *c = dirty; c; c = c->next_dirty) {
        struct msghdr *m = &messages[count % SENDS_MAX].head;
        struct iovec *parts = messages[count++ % SENDS_MAX].parts;
        *m = (struct msghdr){ .msg_iov = parts };
        for (struct piece *p = c->out; p; p = p->next) {
            must(m->msg_iovlen < PARTS_MAX);
            parts[m->msg_iovlen++] = p->bytes;
        }
        struct io_uring_sqe *sqe =
            prepare(m->msg_iovlen > 1 ? IORING_OP_SENDMSG : IORING_OP_SEND, c->fd, c, KIND_SEND);
        sqe->addr = (uint64_t)(uintptr_t)(m->msg_iovlen > 1 ? (void *)m : parts->iov_base);
        sqe->len = m->msg_iovlen > 1 ? 1 : (unsigned)parts->iov_len;
        sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT;
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
        *c->out_end = sent;
        sent = c->out;
        c->out = NULL;
        c->out_end = &c->out;
        c->dirty = false;
    }
    must(count <= SENDS_MAX);
    dirty = NULL;
    dirty_end = &dirty;
}

/* What was submitted went out whole: else it has a completion, and that ends the floor. */
static void forget_sent(void)
{
    for (struct piece *p; (p = sent);) {
        sent = p->next;
        buffer_drop(p->buffer);
        p->next = free_pieces;
        free_pieces = p;
    }
}

/* ---- the turn ---- */

static void complete(const struct io_uring_cqe *cqe)
{
    struct conn *c = (struct conn *)(uintptr_t)(cqe->user_data & ~(uint64_t)KIND_MASK);
    switch (cqe->user_data & KIND_MASK) {
    case KIND_ACCEPT:
        must(cqe->res >= 0);
        conn_get(cqe->res);
        break;
    case KIND_RECV:
        received(c, cqe);
        break;
    default: /* to somebody who has gone */
        must(cqe->res == -EPIPE || cqe->res == -ECONNRESET || cqe->res == -EBADF);
    }
}

static void turn(void)
{
    struct io_uring_cqe cqe;
    unsigned count, portions = 0;
    do { /* the kernel gives what has come in portions of 20 */
        provide();
        uring_enter(&ring, !portions && !waiting, UINT64_MAX);
        forget_sent();
        count = uring_cqes_ready(&ring);
        for (unsigned left = count; left && uring_cqe(&ring, &cqe); left--)
            complete(&cqe);
    } while (count >= 16 && ++portions < 64);
    begin_requests();
    send_all();
}

/* ---- start ---- */

static size_t learn_answer_bytes(void)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: bench.example\r\n\r\n";
    static char answer[BUFFER_BYTES];
    struct pollfd p = { server_connect(0), POLLIN, 0 };
    size_t bytes = 0;
    must(write(p.fd, request, sizeof request - 1) == sizeof request - 1);
    while (poll(&p, 1, bytes ? LEARN_MS : -1) > 0) {
        ssize_t n = read(p.fd, answer, sizeof answer);
        must(n > 0);
        bytes += (size_t)n;
    }
    close(p.fd);
    return bytes;
}

static int listen_at(const char *port)
{
    char text[64];
    struct addr at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    snprintf(text, sizeof text, "127.0.0.1:%s", port);
    must(addr_parse(bytes_from(text), &at) == OK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    must(bind(fd, &at.sock.any, at.len) == 0 && listen(fd, 4096) == 0);
    return fd;
}

int main(int argc, char **argv)
{
    char reason[128];
    if (argc == 2 && strcmp(argv[1], "check") == 0)
        return !loop_uring_probe(reason, sizeof reason);
    if (argc < 4 || argc - 3 > SERVERS_MAX) {
        fprintf(stderr, "floor PORT own|shared SERVER...\n");
        return 1;
    }
    shared = strcmp(argv[2], "shared") == 0;
    for (int i = 3; i < argc; i++)
        must(addr_parse(bytes_from(argv[i]), &servers[server_count++]) == OK);
    answer_bytes = learn_answer_bytes();
    must(uring_open(&ring, SENDS_MAX, 4096) == OK);
    must(uring_buffers_open(&ring, &provided, RING_ENTRIES, 0) == OK);
    prepare(IORING_OP_ACCEPT, listen_at(argv[1]), NULL, KIND_ACCEPT)->ioprio = IORING_ACCEPT_MULTISHOT;
    for (;;)
        turn();
}

#else

int main(void)
{
    fprintf(stderr, "floor: built without io_uring\n");
    return 1;
}

#endif
