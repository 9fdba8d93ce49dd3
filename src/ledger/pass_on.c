#include "ledger/pass_on.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "core/io.h"
#include "core/log.h"
#include "ledger/pack.h"

/* How it is written: the layout, and a number that changes with the meaning of an err. */
#define PASS_ON_LAYOUT (1u << 16 | ERR_COUNT)

/* entries: bytes, entries, operations, room for answers u32 │ operations u32, each: rules, answer's size,
 * bytes u32, body │ ... answers: bytes, entries, 0, 0 u32 │ failed, refused, operation, durability u32, id,
 * time u64, of each operation: answer's bytes u32, what fits of it │ ... */
struct head {
    uint32_t bytes; /* behind the head */
    uint32_t calls, ops, answers;
};
#define CALL_BYTES 4
#define OP_BYTES 12
#define ANSWER_BYTES 32
#define OP_ANSWER_BYTES 4
#define CALLS_MAX 256
#define FRAME_BYTES_MAX (LEDGER_ENTRY_BYTES_MAX + CALL_BYTES + LEDGER_OPS_MAX * OP_BYTES)
#define ANSWERS_BYTES_MAX (LEDGER_ANSWER_BYTES_MAX + ANSWER_BYTES + LEDGER_OPS_MAX * OP_ANSWER_BYTES)

static size_t call_bytes(const struct ledger_call *c)
{
    size_t bytes = CALL_BYTES;
    for (uint32_t i = 0; i < c->ops_count; i++)
        bytes += OP_BYTES + c->ops[i].body.len;
    return bytes;
}

static size_t answer_bytes(const struct ledger_call *c)
{
    size_t bytes = ANSWER_BYTES;
    for (uint32_t i = 0; i < c->ops_count; i++)
        bytes += OP_ANSWER_BYTES + c->ops[i].answer_size;
    return bytes;
}

/* ---- the old process: a thread that may block ---- */

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool wait_for(int fd, short events, uint64_t end_ms)
{
    const uint64_t now = now_ms();
    struct pollfd p = { .fd = fd, .events = events };
    return now < end_ms && (poll(&p, 1, (int)(end_ms - now)) > 0 || errno == EINTR);
}

static bool send_all(int fd, struct bytes data, uint64_t end_ms)
{
    while (data.len) {
        const ssize_t n = send(fd, data.ptr, data.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            data = bytes_skip(data, (size_t)n);
        else if ((n == 0 || (errno != EAGAIN && errno != EINTR)) || !wait_for(fd, POLLOUT, end_ms))
            return false;
    }
    return true;
}

static bool receive_all(int fd, char *out, size_t size, uint64_t end_ms)
{
    while (size) {
        const ssize_t n = recv(fd, out, size, MSG_DONTWAIT);
        if (n > 0) {
            out += n;
            size -= (size_t)n;
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR) || !wait_for(fd, POLLIN, end_ms)) {
            return false;
        }
    }
    return true;
}

static struct ledger_call *next_that_may(struct ledger_call *c)
{
    while (c && !c->may_pass)
        c = c->next;
    return c;
}

/* As many as go into one frame; at least one. */
struct frame {
    struct ledger_call *calls[CALLS_MAX];
    struct head head;
};

static struct ledger_call *fill(struct frame *f, struct ledger_call *c)
{
    struct head *h = &f->head;
    *h = (struct head){ 0 };
    for (; c && h->calls < CALLS_MAX; c = next_that_may(c->next)) {
        const size_t bytes = call_bytes(c), answers = answer_bytes(c);
        if (h->calls && (h->bytes + bytes > FRAME_BYTES_MAX || h->answers + answers > FRAME_BYTES_MAX))
            break;
        h->bytes += (uint32_t)bytes;
        h->answers += (uint32_t)answers;
        h->ops += c->ops_count;
        f->calls[h->calls++] = c;
    }
    return c;
}

static void pack_calls(const struct frame *f, struct pack *p)
{
    pack_raw(p, (struct bytes){ (const char *)&f->head, sizeof f->head });
    for (unsigned n = 0; n < f->head.calls; n++) {
        const struct ledger_call *c = f->calls[n];
        pack_u32(p, c->ops_count);
        for (uint32_t i = 0; i < c->ops_count; i++) {
            const struct ledger_op *op = &c->ops[i];
            pack_u32(p, op->rules);
            pack_u32(p, op->answer_size);
            pack_u32(p, (uint32_t)op->body.len);
            pack_raw(p, op->body);
        }
    }
}

static void unpack_answer(struct unpack *u, struct ledger_call *c)
{
    const uint32_t failed = unpack_u32(u), refused = unpack_u32(u);
    c->ret_op = unpack_u32(u);
    c->ret_durability = unpack_u32(u);
    c->ret_id = unpack_u64(u);
    c->ret_time_ms = unpack_u64(u);
    for (uint32_t i = 0; i < c->ops_count; i++) {
        struct ledger_op *op = &c->ops[i];
        op->ret_answer_bytes = unpack_u32(u);
        const uint32_t len = op->ret_answer_bytes < op->answer_size ? op->ret_answer_bytes : op->answer_size;
        u->bad |= (size_t)(u->end - u->at) < len;
        if (u->bad)
            return;
        if (len)
            memcpy(op->answer, u->at, len);
        u->at += len;
    }
    u->bad |= failed >= ERR_COUNT || refused >= ERR_COUNT || c->ret_op >= c->ops_count;
    if (u->bad)
        return;
    c->ret_failed = (err)failed;
    c->ret_refused = (err)refused;
}

static bool ask(int fd, const struct frame *f, char *room)
{
    const uint64_t end_ms = now_ms() + PASS_ON_WAIT_MS;
    const size_t size = sizeof f->head + f->head.bytes;
    struct pack p = { .at = room, .end = room + size };
    struct head h;
    pack_calls(f, &p);
    if (!send_all(fd, (struct bytes){ room, size }, end_ms) ||
        !receive_all(fd, (char *)&h, sizeof h, end_ms) || h.bytes > f->head.answers ||
        h.calls != f->head.calls || !receive_all(fd, room, h.bytes, end_ms))
        return false;
    struct unpack u = { .at = room, .end = room + h.bytes };
    for (unsigned i = 0; i < h.calls && !u.bad; i++)
        unpack_answer(&u, f->calls[i]);
    return !u.bad;
}

static bool is_of_our_kind(int fd)
{
    uint32_t layout;
    return receive_all(fd, (char *)&layout, sizeof layout, now_ms() + PASS_ON_WAIT_MS) &&
           layout == PASS_ON_LAYOUT;
}

static bool pass_all(struct pass_on *p, struct ledger_call *c)
{
    struct frame f;
    if (!p->known && !is_of_our_kind(p->fd))
        return false;
    p->known = true;
    while (c) {
        c = fill(&f, c);
        char *room =
            mem_must_get(sizeof f.head + (f.head.bytes > f.head.answers ? f.head.bytes : f.head.answers));
        const bool good = ask(p->fd, &f, room);
        mem_free(room);
        if (!good)
            return false;
    }
    return true;
}

bool pass_on_calls(struct pass_on *p, struct ledger_call *first)
{
    struct ledger_call *c = next_that_may(first);
    if (p->fd < 0)
        return false;
    if (!c || pass_all(p, c))
        return true;
    log_warn("ledger", "the next process does not take what still comes here: that is refused");
    pass_on_close(p);
    return false;
}

void pass_on_close(struct pass_on *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

/* ---- the new process: a fiber ---- */

/* All of a frame in one piece of memory: its calls, operations, bytes, and where the answers go. */
struct served {
    struct head head;
    struct ledger_call *calls;
    struct ledger_op *ops;
    char *bytes, *answers;
};

static err read_all(struct io *io, char *out, size_t size)
{
    while (size) {
        struct bytes b;
        const err e = io_pull(io, DEADLINE_NONE, &b);
        if (e)
            return e;
        const size_t n = b.len < size ? b.len : size;
        memcpy(out, b.ptr, n);
        io_consume(io, n);
        out += n;
        size -= n;
    }
    return OK;
}

static bool is_possible(const struct head *h)
{
    return h->calls && h->calls <= CALLS_MAX && h->ops && h->ops <= h->calls * LEDGER_OPS_MAX &&
           h->bytes <= FRAME_BYTES_MAX && h->answers <= ANSWERS_BYTES_MAX;
}

static void *get_served(struct served *s)
{
    const struct head *h = &s->head;
    const size_t calls = h->calls * sizeof *s->calls, ops = h->ops * sizeof *s->ops;
    char *room = mem_must_get(calls + ops + h->bytes + h->answers);
    s->calls = (struct ledger_call *)room;
    s->ops = (struct ledger_op *)(room + calls);
    s->bytes = room + calls + ops;
    s->answers = s->bytes + h->bytes;
    return room;
}

static bool unpack_calls(struct served *s)
{
    struct unpack u = { .at = s->bytes, .end = s->bytes + s->head.bytes };
    size_t left = s->head.answers; /* more than the answers alone */
    uint32_t ops = 0;
    char *answer = s->answers;
    for (uint32_t n = 0; n < s->head.calls && !u.bad; n++) {
        struct ledger_call *c = &s->calls[n];
        *c = (struct ledger_call){ .ops = &s->ops[ops], .ops_count = unpack_u32(&u), .may_pass = true };
        if (c->ops_count > s->head.ops - ops)
            return false;
        for (uint32_t i = 0; i < c->ops_count && !u.bad; i++) {
            struct ledger_op *op = &s->ops[ops++];
            *op = (struct ledger_op){ .rules = (uint8_t)unpack_u32(&u), .answer = answer };
            op->answer_size = unpack_u32(&u);
            op->body.len = unpack_u32(&u);
            op->body.ptr = u.at;
            if (op->answer_size > left || op->body.len > (size_t)(u.end - u.at))
                return false;
            u.at += op->body.len;
            left -= op->answer_size;
            answer += op->answer_size;
        }
    }
    return !u.bad && u.at == u.end && ops == s->head.ops;
}

static void do_all(struct ledger *l, const struct served *s)
{
    for (uint32_t n = 0; n < s->head.calls; n++)
        ledger_send(l, &s->calls[n]);
    for (uint32_t n = 0; n < s->head.calls; n++)
        (void)!ledger_wait(&s->calls[n]); /* the other side is told */
}

static void pack_answer(struct pack *p, const struct ledger_call *c)
{
    pack_u32(p, c->ret_failed);
    pack_u32(p, c->ret_refused);
    pack_u32(p, c->ret_op);
    pack_u32(p, c->ret_durability);
    pack_u64(p, c->ret_id);
    pack_u64(p, c->ret_time_ms);
    for (uint32_t i = 0; i < c->ops_count; i++) {
        const struct ledger_op *op = &c->ops[i];
        const uint32_t n = op->ret_answer_bytes;
        pack_u32(p, n);
        pack_raw(p, (struct bytes){ op->answer, n < op->answer_size ? n : op->answer_size });
    }
}

static err answer_all(struct io *io, const struct served *s)
{
    struct head h = { .calls = s->head.calls };
    char *room = mem_must_get(sizeof h + s->head.answers);
    struct pack p = { .at = room + sizeof h, .end = room + sizeof h + s->head.answers };
    for (uint32_t n = 0; n < h.calls; n++)
        pack_answer(&p, &s->calls[n]);
    h.bytes = (uint32_t)((size_t)(p.at - room) - sizeof h);
    memcpy(room, &h, sizeof h);
    const err e = io_write(io, (struct bytes){ room, sizeof h + h.bytes }, DEADLINE_NONE);
    mem_free(room);
    return e;
}

static err serve_one(struct ledger *l, struct io *io)
{
    struct served s;
    err e = read_all(io, (char *)&s.head, sizeof s.head);
    if (!e && !is_possible(&s.head))
        e = ERR_SYNTAX;
    if (e)
        return e;
    void *room = get_served(&s);
    e = read_all(io, s.bytes, s.head.bytes);
    if (!e && !unpack_calls(&s))
        e = ERR_SYNTAX;
    if (!e) {
        do_all(l, &s);
        e = answer_all(io, &s);
    }
    mem_free(room);
    return e;
}

void pass_on_serve(struct ledger *l, int fd)
{
    const uint32_t layout = PASS_ON_LAYOUT;
    struct io *io = io_open(fd);
    err e = io_write(io, (struct bytes){ (const char *)&layout, sizeof layout }, DEADLINE_NONE);
    while (!e)
        e = serve_one(l, io);
    if (e == ERR_SYNTAX)
        log_warn("ledger", "the process before passes on what is malformed");
    io_abort(io, false);
}
