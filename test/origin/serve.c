#include "test/origin/serve.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "test/origin/answer.h"
#include "test/origin/pattern.h"

#define LISTEN_BACKLOG 4096
#define ACCEPTS_A_TURN_MAX 64u
/* Room that an answer's head and an inlined body always find in out. */
#define OUT_ROOM_BYTES (64u * 1024)
#define INLINE_BODY_BYTES_MAX (32u * 1024)
#define PATTERN_SLICES_MAX 8

enum step {
    STEP_MORE,    /* something was done: go on */
    STEP_INPUT,   /* nothing can be done without more input */
    STEP_BLOCKED, /* the peer does not take more now, or a timer must pass */
    STEP_CLOSE,   /* at once */
};

void text_add(struct text *t, struct bytes more)
{
    if (t->len + more.len + 1 > t->size) {
        t->size = (t->len + more.len + 1) * 2;
        t->ptr = realloc(t->ptr, t->size);
        if (!t->ptr)
            abort();
    }
    if (more.len)
        memcpy(t->ptr + t->len, more.ptr, more.len);
    t->len += more.len;
    t->ptr[t->len] = 0;
}

void text_print(struct text *t, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    text_add(t, (struct bytes){ line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1 });
}

void text_free(struct text *t)
{
    free(t->ptr);
    *t = (struct text){ 0 };
}

/* ---- timers: a binary heap, the earliest first ---- */

static uint64_t clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void timer_place(struct serve *s, struct connection *c, unsigned at)
{
    s->timers[at] = c;
    c->timer = at + 1;
}

static void timer_up(struct serve *s, struct connection *c, unsigned at)
{
    while (at > 0 && s->timers[(at - 1) / 2]->due_ms > c->due_ms) {
        timer_place(s, s->timers[(at - 1) / 2], at);
        at = (at - 1) / 2;
    }
    timer_place(s, c, at);
}

static void timer_down(struct serve *s, struct connection *c, unsigned at)
{
    for (;;) {
        unsigned child = at * 2 + 1;
        if (child >= s->timers_count)
            break;
        if (child + 1 < s->timers_count && s->timers[child + 1]->due_ms < s->timers[child]->due_ms)
            child++;
        if (s->timers[child]->due_ms >= c->due_ms)
            break;
        timer_place(s, s->timers[child], at);
        at = child;
    }
    timer_place(s, c, at);
}

void serve_timer_set(struct connection *c, uint64_t after_ms)
{
    struct serve *s = c->listener->serve;
    if (s->timers_count == s->timers_size) {
        s->timers_size = s->timers_size * 2 + 64;
        s->timers = realloc(s->timers, s->timers_size * sizeof *s->timers);
        if (!s->timers)
            abort();
    }
    c->due_ms = clock_ms() + after_ms;
    timer_up(s, c, s->timers_count++);
}

static void timer_remove(struct serve *s, struct connection *c)
{
    if (!c->timer)
        return;
    unsigned at = c->timer - 1;
    c->timer = 0;
    struct connection *last = s->timers[--s->timers_count];
    if (last == c)
        return;
    timer_up(s, last, at);
    timer_down(s, last, last->timer - 1);
}

/* ---- bytes in and out ---- */

static void connection_close(struct connection *c)
{
    struct serve *s = c->listener->serve;
    timer_remove(s, c);
    c->listener->counts.connections_open--;
    close(c->fd);
    text_free(&c->text);
    text_free(&c->rest);
    text_free(&c->unsent);
    free(c);
}

/* What an earlier turn left unsent. */
static enum step send_unsent(struct connection *c)
{
    while (c->unsent_at < c->unsent.len) {
        ssize_t n = send(c->fd, c->unsent.ptr + c->unsent_at, c->unsent.len - c->unsent_at, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? STEP_BLOCKED : STEP_CLOSE;
        c->unsent_at += (size_t)n;
    }
    text_free(&c->unsent);
    c->unsent_at = 0;
    return STEP_MORE;
}

/* out, and behind it the slices of the body (slices[0] is free for out). Moves position and left by what was
 * sent of the body; what was not sent of out becomes unsent. */
static enum step send_out(struct connection *c, struct iovec *slices, int count)
{
    struct serve *s = c->listener->serve;
    slices[0] = (struct iovec){ s->out, s->out_len };
    struct msghdr message = { .msg_iov = slices, .msg_iovlen = (size_t)count };
    ssize_t n = sendmsg(c->fd, &message, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN)
        return STEP_CLOSE;
    size_t sent = n < 0 ? 0 : (size_t)n, wanted = 0;
    for (int i = 0; i < count; i++)
        wanted += slices[i].iov_len;
    if (sent < s->out_len) {
        text_add(&c->unsent, (struct bytes){ s->out + sent, s->out_len - sent });
        s->out_len = 0;
        return STEP_BLOCKED;
    }
    sent -= s->out_len;
    s->out_len = 0;
    c->position += sent;
    c->left -= sent;
    /* the kernel took less than there was: it says when it has room again */
    return n < 0 || (size_t)n < wanted ? STEP_BLOCKED : STEP_MORE;
}

static enum step flush(struct connection *c)
{
    struct iovec slice;
    struct serve *s = c->listener->serve;
    if (s->out_len == 0)
        return STEP_MORE;
    return send_out(c, &slice, 1);
}

static void out_add(struct serve *s, struct bytes text)
{
    memcpy(s->out + s->out_len, text.ptr, text.len);
    s->out_len += text.len;
}

static enum step read_input(struct connection *c)
{
    struct serve *s = c->listener->serve;
    if (!c->readable)
        return STEP_BLOCKED;
    if (s->in_at > 0) {
        memmove(s->in, s->in + s->in_at, s->in_end - s->in_at);
        s->in_end -= s->in_at;
        s->in_at = 0;
    }
    size_t room = SERVE_IN_BYTES - s->in_end;
    ssize_t n = recv(c->fd, s->in + s->in_end, room, 0);
    if (n < 0) {
        c->readable = false;
        return errno == EAGAIN ? STEP_BLOCKED : STEP_CLOSE;
    }
    if (n == 0) {
        if (s->in_end > 0 || c->phase == PHASE_BODY)
            c->listener->counts.cut++;
        return STEP_CLOSE;
    }
    /* a short read has emptied the socket: the next event says when there is more, but for an end seen
     * already */
    c->readable = (size_t)n == room || c->half_closed;
    s->in_end += (size_t)n;
    return STEP_MORE;
}

/* ---- one request ---- */

static struct bytes input(const struct serve *s)
{
    return (struct bytes){ s->in + s->in_at, s->in_end - s->in_at };
}

static enum step step_head(struct connection *c)
{
    struct serve *s = c->listener->serve;
    if (s->in_at == s->in_end)
        return STEP_INPUT;
    if (SERVE_OUT_BYTES - s->out_len < OUT_ROOM_BYTES) {
        enum step step = flush(c);
        if (step != STEP_MORE)
            return step;
    }
    size_t used;
    err e = request_parse(input(s), &s->request, &used);
    if (e == ERR_AGAIN)
        return STEP_INPUT;
    if (e) {
        answer_malformed(c, s->request.mistake);
        return STEP_MORE;
    }
    s->in_at += used;
    c->requests++;
    c->body = s->request.body;
    c->body_left = s->request.content_length;
    c->body_bytes = 0;
    c->chunk_state = 0;
    bool has_body = c->body == REQUEST_BODY_CHUNKED || c->body_left > 0;
    answer_plan(c, &s->request);
    if (has_body)
        c->phase = PHASE_BODY;
    else
        answer_start(c);
    return STEP_MORE;
}

static enum step step_body(struct connection *c)
{
    struct serve *s = c->listener->serve;
    struct bytes data, in = input(s);
    size_t used;
    bool done = false;
    if (c->body == REQUEST_BODY_LENGTH) {
        used = in.len < c->body_left ? in.len : (size_t)c->body_left;
        data = (struct bytes){ in.ptr, used };
        c->body_left -= used;
        done = c->body_left == 0;
        if (used == 0)
            return STEP_INPUT;
    } else {
        const char *mistake;
        err e = request_chunk(in, &c->body_left, &c->chunk_state, &data, &used, &done, &mistake);
        if (e == ERR_AGAIN)
            return STEP_INPUT;
        if (e) {
            answer_malformed(c, mistake);
            return STEP_MORE;
        }
    }
    s->in_at += used;
    c->body_bytes += data.len;
    answer_take_body(c, data);
    if (done)
        answer_start(c);
    return STEP_MORE;
}

static enum step send_pattern(struct connection *c)
{
    struct serve *s = c->listener->serve;
    if (c->left <= INLINE_BODY_BYTES_MAX && s->out_len + c->left <= SERVE_OUT_BYTES) {
        while (c->left > 0) {
            size_t at = (size_t)(c->position % PATTERN_BYTES);
            size_t n = PATTERN_BYTES - at < c->left ? PATTERN_BYTES - at : (size_t)c->left;
            out_add(s, (struct bytes){ pattern + at, n });
            c->position += n;
            c->left -= n;
        }
        return STEP_MORE;
    }
    struct iovec slices[PATTERN_SLICES_MAX];
    int count = 1;
    uint64_t position = c->position, left = c->left;
    while (left > 0 && count < PATTERN_SLICES_MAX) {
        size_t at = (size_t)(position % PATTERN_BYTES);
        size_t n = PATTERN_BYTES - at < left ? PATTERN_BYTES - at : (size_t)left;
        slices[count++] = (struct iovec){ pattern + at, n };
        position += n;
        left -= n;
    }
    return send_out(c, slices, count);
}

static enum step send_chunks(struct connection *c)
{
    struct serve *s = c->listener->serve;
    while (c->left > 0) {
        /* a piece may be larger than out: what is left of the chunk is then in body_left */
        if (SERVE_OUT_BYTES - s->out_len < OUT_ROOM_BYTES)
            return flush(c);
        if (c->body_left == 0) {
            char line[24];
            c->body_left = c->piece < c->left ? c->piece : c->left;
            int n = snprintf(line, sizeof line, "%llx\r\n", (unsigned long long)c->body_left);
            out_add(s, (struct bytes){ line, (size_t)n });
        }
        size_t at = (size_t)(c->position % PATTERN_BYTES);
        size_t n = PATTERN_BYTES - at < c->body_left ? PATTERN_BYTES - at : (size_t)c->body_left;
        n = n < OUT_ROOM_BYTES / 2 ? n : OUT_ROOM_BYTES / 2;
        out_add(s, (struct bytes){ pattern + at, n });
        c->position += n;
        c->left -= n;
        c->body_left -= n;
        if (c->body_left == 0)
            out_add(s, BYTES("\r\n"));
    }
    out_add(s, c->trailers ? BYTES("0\r\nX-Trailer: first\r\nX-Trailer-Bytes: all\r\n\r\n")
                           : BYTES("0\r\n\r\n"));
    c->source = SOURCE_NONE;
    return STEP_MORE;
}

static enum step send_text(struct connection *c)
{
    struct serve *s = c->listener->serve;
    if (SERVE_OUT_BYTES - s->out_len < OUT_ROOM_BYTES)
        return flush(c);
    size_t n = c->left < OUT_ROOM_BYTES / 2 ? (size_t)c->left : OUT_ROOM_BYTES / 2;
    out_add(s, (struct bytes){ c->text.ptr + c->position, n });
    c->position += n;
    c->left -= n;
    return STEP_MORE;
}

/* One byte, then the timer; the byte must leave before the wait. */
static enum step send_trickle(struct connection *c)
{
    out_add(c->listener->serve, (struct bytes){ pattern + c->position % PATTERN_BYTES, 1 });
    c->position++;
    c->left--;
    if (c->left == 0)
        return STEP_MORE;
    c->phase = PHASE_WAIT;
    serve_timer_set(c, c->piece);
    return STEP_MORE;
}

static enum step step_send(struct connection *c)
{
    if (c->source == SOURCE_ANSWER) {
        answer_start(c);
        return STEP_MORE;
    }
    if (c->source == SOURCE_CHUNKED)
        return send_chunks(c);
    if (c->source != SOURCE_NONE && c->left > 0) {
        if (c->source == SOURCE_TRICKLE)
            return send_trickle(c);
        return c->source == SOURCE_TEXT ? send_text(c) : send_pattern(c);
    }
    c->source = SOURCE_NONE;
    if (c->text.ptr)
        text_free(&c->text);
    c->phase = c->keep_alive ? PHASE_HEAD : PHASE_CLOSING;
    return STEP_MORE;
}

static enum step step_run(struct connection *c)
{
    switch (c->phase) {
    case PHASE_HEAD:
        return step_head(c);
    case PHASE_BODY:
        return step_body(c);
    case PHASE_SEND:
        return step_send(c);
    case PHASE_WAIT:
    case PHASE_HANG:
        return c->half_closed ? STEP_CLOSE : STEP_BLOCKED;
    case PHASE_CLOSING:
        break;
    }
    enum step step = flush(c);
    if (step == STEP_BLOCKED)
        return step;
    /* what the peer has sent meanwhile is taken, or closing would reset the connection under the answer */
    while (recv(c->fd, NULL, 1 << 20, MSG_TRUNC | MSG_DONTWAIT) > 0)
        ;
    return STEP_CLOSE;
}

static void connection_run(struct connection *c)
{
    struct serve *s = c->listener->serve;
    s->in_at = s->in_end = s->out_len = 0;
    enum step step = send_unsent(c);
    if (step == STEP_BLOCKED)
        return;
    if (c->rest.len) {
        memcpy(s->in, c->rest.ptr, c->rest.len);
        s->in_end = c->rest.len;
        text_free(&c->rest);
    }
    while (step == STEP_MORE) {
        step = step_run(c);
        if (step == STEP_INPUT)
            step = read_input(c);
    }
    if (flush(c) == STEP_CLOSE || step == STEP_CLOSE) {
        connection_close(c);
        return;
    }
    if (s->in_end > s->in_at)
        text_add(&c->rest, input(s));
}

static void connection_ready(struct serve_handle *h, uint32_t events)
{
    struct connection *c = container_of(h, struct connection, handle);
    if (events & (EPOLLHUP | EPOLLERR)) {
        connection_close(c);
        return;
    }
    if (events & (EPOLLIN | EPOLLRDHUP))
        c->readable = true;
    if (events & EPOLLRDHUP)
        c->half_closed = true;
    connection_run(c);
}

/* ---- listeners ---- */

static void listener_ready(struct serve_handle *h, uint32_t events)
{
    (void)events;
    struct listener *l = container_of(h, struct listener, handle);
    for (unsigned i = 0; i < ACCEPTS_A_TURN_MAX; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        struct connection *c = mem_must_get(sizeof *c);
        c->handle.ready = connection_ready;
        c->listener = l;
        c->fd = fd;
        l->counts.connections++;
        l->counts.connections_open++;
        struct epoll_event event = { EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, { .ptr = &c->handle } };
        if (epoll_ctl(l->serve->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
            connection_close(c);
    }
}

static err listener_open(struct listener *l, const char *congestion)
{
    int on = 1;
    l->fd = socket(l->address.sock.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return ERR_LIMIT;
    if (l->address.sock.any.sa_family == AF_UNIX) {
        unlink(l->address.sock.local.sun_path);
    } else {
        /* accepted sockets inherit both */
        setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (congestion)
            setsockopt(l->fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion));
    }
    if (bind(l->fd, &l->address.sock.any, l->address.len) != 0 || listen(l->fd, LISTEN_BACKLOG) != 0)
        return ERR_REFUSED;
    l->address.len = sizeof l->address.sock;
    if (getsockname(l->fd, &l->address.sock.any, &l->address.len) != 0)
        return ERR_REFUSED;
    struct epoll_event event = { EPOLLIN, { .ptr = &l->handle } };
    return epoll_ctl(l->serve->epoll_fd, EPOLL_CTL_ADD, l->fd, &event) == 0 ? OK : ERR_LIMIT;
}

err serve_listen(struct serve *s, const struct addr *address, struct bytes name, struct addr *ret_bound)
{
    struct listener **listeners = realloc(s->listeners, (s->listeners_count + 1) * sizeof *listeners);
    if (!listeners)
        return ERR_MEMORY;
    s->listeners = listeners;
    struct listener *l = mem_get(sizeof *l);
    if (!l)
        return ERR_MEMORY;
    l->handle.ready = listener_ready;
    l->serve = s;
    l->address = *address;
    err e = listener_open(l, s->options.congestion);
    if (e) {
        if (l->fd >= 0)
            close(l->fd);
        mem_free(l);
        return e;
    }
    char text[ADDR_TEXT_BYTES_MAX];
    if (name.len == 0)
        name = (struct bytes){ text, addr_print(&l->address, text) };
    snprintf(l->name, sizeof l->name, "%.*s", BYTES_ARG(name));
    l->ok_head_len = (size_t)snprintf(
        l->ok_head, sizeof l->ok_head,
        "HTTP/1.1 200 OK\r\nX-Server: %s\r\nContent-Type: text/plain\r\nContent-Length: ", l->name);
    s->listeners[s->listeners_count++] = l;
    if (ret_bound)
        *ret_bound = l->address;
    return OK;
}

err serve_open(int epoll_fd, const struct serve_options *options, struct serve **ret)
{
    struct serve *s = mem_get(sizeof *s);
    if (!s)
        return ERR_MEMORY;
    s->epoll_fd = epoll_fd;
    s->options = *options;
    *ret = s;
    return OK;
}

int serve_wait_ms(const struct serve *s)
{
    if (s->timers_count == 0)
        return -1;
    uint64_t now_ms = clock_ms(), due_ms = s->timers[0]->due_ms;
    return due_ms <= now_ms ? 0 : (int)(due_ms - now_ms);
}

void serve_turn(struct serve *s)
{
    if (s->timers_count == 0)
        return;
    uint64_t now_ms = clock_ms();
    while (s->timers_count > 0 && s->timers[0]->due_ms <= now_ms) {
        struct connection *c = s->timers[0];
        timer_remove(s, c);
        c->phase = PHASE_SEND;
        connection_run(c);
    }
}

void serve_totals(const struct serve *s, uint64_t *ret_requests, uint64_t *ret_malformed,
                  uint64_t *ret_connections)
{
    *ret_requests = *ret_malformed = *ret_connections = 0;
    for (size_t i = 0; i < s->listeners_count; i++) {
        *ret_requests += s->listeners[i]->counts.requests;
        *ret_malformed += s->listeners[i]->counts.malformed;
        *ret_connections += s->listeners[i]->counts.connections;
    }
}

void serve_close(struct serve *s)
{
    for (size_t i = 0; i < s->listeners_count; i++) {
        struct listener *l = s->listeners[i];
        close(l->fd);
        if (l->address.sock.any.sa_family == AF_UNIX)
            unlink(l->address.sock.local.sun_path);
        mem_free(l);
    }
    free(s->listeners);
    free(s->timers);
    mem_free(s);
}
