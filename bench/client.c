#include "bench/client.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "base/mem.h"
#include "bench/client_tls.h"
#include "test/origin/pattern.h"

#define READ_BYTES (256u * 1024)
/* Of a large body only this much is copied out of the kernel, unless it is one that is checked. */
#define HEAD_READ_BYTES 4096u
#define SMALL_BODY_BYTES_MAX (64u * 1024)
#define CHECK_ONE_IN 16u
#define REST_BYTES_MAX 8192u
#define FAILURES_MAX 1000u
/* New connections come from so many loopback addresses in turn: one has 28,000 ports. */
#define SOURCES 16u

struct client {
    struct serve_handle handle;
    struct clients *all;
    struct client *next;  /* of all in the closed loop */
    int fd;               /* -1: rests without a connection */
    void *tls;            /* NULL: plain */
    unsigned outstanding; /* requests sent and not answered */
    unsigned first;       /* of them in sent_ns */
    bool connecting, half_closed, last, checked;
    uint64_t body_left;
    uint32_t rest_bytes;
    char *rest;        /* the front of a head that came in pieces; malloc'd */
    uint64_t begun_ns; /* the connection: its first requests are counted from then on */
    uint64_t sent_ns[];
};

struct clients {
    int epoll_fd;
    struct client_options options;
    struct client_results results;
    struct client *loop; /* the closed loop */
    unsigned opened;     /* in it */
    bool resting;        /* no more requests go out */
    bool holding;
    unsigned hold_wanted, hold_opened, hold_answered;
    unsigned sources;
    uint64_t answers; /* ever */
    size_t request_bytes;
    char *requests; /* options.pipeline times the request */
    char in[READ_BYTES];
};

static void client_ready(struct serve_handle *h, uint32_t events);
static void client_begin(struct clients *all, struct client *c);

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void failed(struct clients *all, const char *why)
{
    all->results.failures++;
    all->results.failure = why;
    if (all->results.failures > FAILURES_MAX) {
        fprintf(stderr, "load: too many failures: %s\n", why);
        exit(1);
    }
}

/* ---- connections ---- */

static int connect_from(struct clients *all)
{
    int on = 1;
    const struct addr *target = &all->options.target;
    int fd = socket(target->sock.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (target->sock.any.sa_family != AF_UNIX && !all->options.close)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (all->options.congestion)
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, all->options.congestion,
                   (socklen_t)strlen(all->options.congestion));
    if ((all->options.close || all->holding) && target->sock.any.sa_family == AF_INET) {
        struct sockaddr_in source = { .sin_family = AF_INET };
        source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + all->sources++ % SOURCES);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&source, sizeof source) != 0) {
            close(fd);
            return -1;
        }
    }
    if (connect(fd, &target->sock.any, target->len) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Sends so many requests in one go. false: the connection does not stand yet, or no more. */
static bool client_send(struct client *c, unsigned count)
{
    struct clients *all = c->all;
    size_t size = count * all->request_bytes;
    uint64_t now_ns = clock_ns();
    ssize_t n = c->tls ? client_tls_send(c->tls, all->requests, size)
                       : send(c->fd, all->requests, size, MSG_NOSIGNAL);
    if (n < 0)
        return false;
    if ((size_t)n < size) {
        failed(all, "requests did not fit into the socket's buffer");
        return false;
    }
    for (unsigned i = 0; i < count; i++)
        c->sent_ns[(c->first + c->outstanding++) % all->options.pipeline] = now_ns;
    return true;
}

/* Over loopback a connection stands before connect returns, as a rule: then its first requests go out at
 * once. */
static void client_begin(struct clients *all, struct client *c)
{
    c->outstanding = c->first = 0;
    c->half_closed = c->last = false;
    c->body_left = 0;
    c->rest_bytes = 0;
    c->begun_ns = clock_ns();
    c->fd = connect_from(all);
    if (c->fd < 0) {
        failed(all, "cannot connect");
        return;
    }
    c->tls = all->options.tls ? client_tls_begin(c->fd) : NULL;
    c->connecting = !client_send(c, all->options.pipeline);
    c->sent_ns[0] = c->begun_ns;
    struct epoll_event event = { EPOLLIN | EPOLLRDHUP | EPOLLET, { .ptr = &c->handle } };
    if (c->connecting)
        event.events |= EPOLLOUT;
    if (epoll_ctl(all->epoll_fd, EPOLL_CTL_ADD, c->fd, &event) != 0)
        failed(all, "cannot watch");
}

static struct client *client_new(struct clients *all)
{
    struct client *c = mem_must_get(sizeof *c + all->options.pipeline * sizeof c->sent_ns[0]);
    c->handle.ready = client_ready;
    c->all = all;
    return c;
}

static void client_close(struct client *c)
{
    if (c->tls)
        client_tls_end(c->tls);
    c->tls = NULL;
    close(c->fd);
    c->fd = -1;
}

static void client_again(struct client *c, const char *failure)
{
    client_close(c);
    if (failure)
        failed(c->all, failure);
    else if (!c->all->options.close)
        c->all->results.reconnects++;
    client_begin(c->all, c);
}

/* Between two windows: what is in flight comes in, no more goes out. */
static void client_rest(struct client *c, bool close_it)
{
    if (close_it)
        client_close(c);
}

/* ---- answers ---- */

struct head {
    size_t bytes;
    uint64_t content_length;
    bool has_length, close;
};

/* One field line; only what frames the answer matters. */
static void head_take_line(struct head *h, struct bytes line)
{
    struct bytes name = { line.ptr, bytes_index(line, ':') };
    struct bytes value = name.len < line.len ? bytes_trim(bytes_skip(line, name.len + 1)) : BYTES_NONE;
    if (name.len == 14 && bytes_eq_nocase(name, BYTES("content-length")))
        h->has_length = bytes_to_u64(value, &h->content_length);
    else if (name.len == 10 && bytes_eq_nocase(name, BYTES("connection")))
        h->close = bytes_eq_nocase(value, BYTES("close"));
}

/* false: not all there. */
static bool head_read(struct bytes in, struct head *h)
{
    struct bytes rest = in;
    for (;;) {
        size_t end = bytes_index(rest, '\n');
        if (end == rest.len)
            return false;
        struct bytes line = { rest.ptr, end > 0 && rest.ptr[end - 1] == '\r' ? end - 1 : end };
        rest = bytes_skip(rest, end + 1);
        if (line.len == 0)
            break;
        if ((line.ptr[0] | 0x20) == 'c')
            head_take_line(h, line);
    }
    h->bytes = in.len - rest.len;
    return true;
}

static void client_answered(struct client *c, uint64_t now_ns)
{
    struct clients *all = c->all;
    histogram_add(&all->results.latency, now_ns - c->sent_ns[c->first]);
    c->first = (c->first + 1) % all->options.pipeline;
    c->outstanding--;
    all->results.answers++;
    all->answers++;
}

/* Takes what is in of one answer; returns how much it took, 0: a whole head is not there yet. */
static size_t client_take(struct client *c, struct bytes in, const char **ret_failure)
{
    struct clients *all = c->all;
    uint64_t length = all->options.body_bytes;
    size_t taken = 0;
    if (c->body_left == 0) {
        struct head head = { 0 };
        if (!head_read(in, &head))
            return 0;
        if (c->outstanding == 0)
            *ret_failure = "an answer to nothing";
        else if (!bytes_starts(in, BYTES("HTTP/1.1 200")))
            *ret_failure = "status is not 200";
        else if (!head.has_length || head.content_length != length)
            *ret_failure = "wrong length";
        if (*ret_failure)
            return 0;
        taken = head.bytes;
        c->last = head.close;
        c->body_left = length;
        c->checked = length <= SMALL_BODY_BYTES_MAX || all->answers % CHECK_ONE_IN == 0;
    }
    struct bytes body = bytes_skip(in, taken);
    if (body.len > c->body_left)
        body.len = (size_t)c->body_left;
    if (!pattern_matches(length - c->body_left, body))
        *ret_failure = "wrong body";
    c->body_left -= body.len;
    return taken + body.len;
}

static bool client_take_all(struct client *c, struct bytes in, const char **ret_failure)
{
    uint64_t now_ns = clock_ns();
    while (in.len) {
        size_t taken = client_take(c, in, ret_failure);
        if (*ret_failure)
            return false;
        if (taken == 0)
            break;
        in = bytes_skip(in, taken);
        if (c->body_left == 0)
            client_answered(c, now_ns);
    }
    if (in.len > REST_BYTES_MAX) {
        *ret_failure = "head too long";
        return false;
    }
    if (in.len && !c->rest)
        c->rest = mem_must_get(REST_BYTES_MAX);
    if (in.len)
        memcpy(c->rest, in.ptr, in.len);
    c->rest_bytes = (uint32_t)in.len;
    return true;
}

/* The middle of a large body that is not checked: counted and thrown away inside the kernel. */
static ssize_t client_skip_body(struct client *c)
{
    ssize_t n = recv(c->fd, NULL, (size_t)c->body_left, MSG_TRUNC);
    if (n <= 0)
        return n;
    c->body_left -= (uint64_t)n;
    if (c->body_left == 0)
        client_answered(c, clock_ns());
    return n;
}

/* Reads until the socket is empty. ret_end: the peer has closed or broken the connection. */
static const char *client_read(struct client *c, bool *ret_end)
{
    struct clients *all = c->all;
    size_t room_max = all->options.body_bytes > SMALL_BODY_BYTES_MAX ? HEAD_READ_BYTES : READ_BYTES;
    const char *failure = NULL;
    for (;;) {
        ssize_t n;
        size_t asked;
        if (c->body_left > 0 && !c->checked && !c->tls) {
            asked = (size_t)c->body_left;
            n = client_skip_body(c);
        } else {
            asked = (c->body_left > 0 ? READ_BYTES : room_max) - c->rest_bytes;
            if (c->rest_bytes)
                memcpy(all->in, c->rest, c->rest_bytes);
            n = c->tls ? client_tls_receive(c->tls, all->in + c->rest_bytes, asked)
                       : recv(c->fd, all->in + c->rest_bytes, asked, 0);
            if (n > 0 && !client_take_all(c, (struct bytes){ all->in, c->rest_bytes + (size_t)n }, &failure))
                return failure;
        }
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            *ret_end = true;
            return NULL;
        }
        if (n < 0 || ((size_t)n < asked && !c->half_closed && !c->tls))
            return NULL;
    }
}

/* One at a time: what a proxy needs for a request in flight is not what an idle connection costs. */
static void hold_more(struct clients *all)
{
    if (all->hold_opened < all->hold_wanted && all->hold_opened == all->hold_answered) {
        all->hold_opened++;
        client_begin(all, client_new(all));
    }
}

static void hold_ready(struct client *c, bool end)
{
    struct clients *all = c->all;
    if (end) {
        failed(all, "an idle connection was closed");
        epoll_ctl(all->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
        return;
    }
    if (c->outstanding > 0)
        return;
    all->hold_answered++;
    hold_more(all);
}

static void client_ready(struct serve_handle *h, uint32_t events)
{
    struct client *c = container_of(h, struct client, handle);
    struct clients *all = c->all;
    if (c->connecting && events & (c->tls ? EPOLLOUT | EPOLLIN : EPOLLOUT)) {
        c->connecting = !client_send(c, all->options.pipeline);
        if (c->connecting && c->tls && errno == EAGAIN)
            return; /* in the middle of the handshake */
        if (c->connecting) {
            client_again(c, "connection refused");
            return;
        }
        c->sent_ns[0] = c->begun_ns;
    }
    if (events & EPOLLRDHUP)
        c->half_closed = true;
    if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        return;
    bool end = (events & (EPOLLHUP | EPOLLERR)) != 0;
    const char *failure = client_read(c, &end);
    if (failure) {
        client_again(c, failure);
        return;
    }
    if (all->holding) {
        hold_ready(c, end);
        return;
    }
    bool between = c->body_left == 0 && c->rest_bytes == 0;
    if (all->resting && between && c->outstanding == 0)
        client_rest(c, c->last || end);
    else if (c->last && between)
        client_again(c, NULL);
    else if (end)
        client_again(c, "closed in the middle of an answer");
    else if (!all->resting && !c->connecting && between && c->outstanding < all->options.pipeline &&
             !client_send(c, all->options.pipeline - c->outstanding))
        client_again(c, "closed without an answer");
}

/* ---- all of them ---- */

struct clients *clients_open(int epoll_fd, const struct client_options *options)
{
    static const char keep[] = "GET / HTTP/1.1\r\nHost: bench.example\r\n\r\n";
    static const char once[] = "GET / HTTP/1.1\r\nHost: bench.example\r\nConnection: close\r\n\r\n";
    struct clients *all = mem_must_get(sizeof *all);
    all->epoll_fd = epoll_fd;
    all->options = *options;
    struct bytes request = bytes_from(options->close ? once : keep);
    all->request_bytes = request.len;
    all->requests = mem_must_get(request.len * options->pipeline);
    for (unsigned i = 0; i < options->pipeline; i++)
        memcpy(all->requests + i * request.len, request.ptr, request.len);
    return all;
}

void clients_start(struct clients *all)
{
    all->resting = false;
    for (struct client *c = all->loop; c; c = c->next) {
        if (c->fd < 0)
            client_begin(all, c);
        else if (!client_send(c, all->options.pipeline))
            client_again(c, "closed while it rested");
    }
    for (; all->opened < all->options.connections; all->opened++) {
        struct client *c = client_new(all);
        c->next = all->loop;
        all->loop = c;
        client_begin(all, c);
    }
}

void clients_rest(struct clients *all)
{
    all->resting = true;
}

bool clients_are_resting(const struct clients *all)
{
    for (const struct client *c = all->loop; c; c = c->next) {
        if (c->fd >= 0 && (c->outstanding > 0 || c->connecting))
            return false;
    }
    return true;
}

void clients_hold(struct clients *all, unsigned count)
{
    all->holding = true;
    all->hold_wanted = count;
    hold_more(all);
}

unsigned clients_held(const struct clients *all)
{
    return all->hold_answered;
}

const struct client_results *clients_results(const struct clients *all)
{
    return &all->results;
}

void clients_reset(struct clients *all)
{
    memset(&all->results, 0, sizeof all->results);
}
