/* queue: publishes to a queue and takes from it, as fast as it goes or at a given rate, and says how that
 * went in one line of JSON. bench/queue.py runs it.
 *
 *      queue PROTOCOL PORT --topic T [--group G] [--token T] [--publishers N] [--consumers N] [--count N]
 *            [--depth N] [--rate N] [--ms N] [--body N] [--messages N] [--pull N]
 *
 * Publishers alone publish --count messages, each with --depth on their way; consumers alone take --count
 * that are there. Both with --rate: an open loop of that many a second for --ms, and each message
 * carries when it was due to be sent: `delivered` is from then on until a consumer has it. The first second
 * does not count. It never sleeps, or waking its core would be paid by the queue. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/histogram.h"
#include "bench/queue.h"

#define CONNS_MAX 1024
#define DEPTH_MAX 65536
#define READ_BYTES 65536
#define PULLS_UNDER_WAY 1
#define WARM_NS 1000000000u
#define PATIENCE_NS 10000000000u /* for what is under way at the end, or when nothing comes */
#define TIME_DIGITS 16

struct queue_options queue_options = {
    .topic = "t", .group = "g", .token = "", .body_bytes = 100, .messages = 1, .pull = 100
};

static struct {
    const struct queue_protocol *protocol;
    unsigned port, publishers, consumers, depth;
    uint64_t count, rate, run_ms;
    int epoll_fd;
    struct queue_conn conns[CONNS_MAX];
    uint64_t begin_ns, end_ns, heard_ns;
    uint64_t sent, acked, delivered;
    struct histogram ack, delivery;
    char body[QUEUE_BODY_BYTES_MAX];
} bench = { .depth = 1 };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void queue_fail(const char *what, struct bytes value)
{
    fprintf(stderr, "queue: %s %.*s\n", what, value.len < 500 ? (int)value.len : 500, value.ptr);
    exit(1);
}

/* ---- buffers */

char *queue_room(struct queue_buffer *b, size_t bytes)
{
    if (b->size - b->len < bytes) {
        b->size = 2 * (b->len + bytes);
        b->at = realloc(b->at, b->size);
        if (!b->at)
            queue_fail("no memory", BYTES_NONE);
    }
    return b->at + b->len;
}

void queue_add(struct queue_buffer *b, struct bytes text)
{
    memcpy(queue_room(b, text.len + 1), text.ptr, text.len);
    b->len += text.len;
}

void queue_print(struct queue_buffer *b, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    const size_t room = QUEUE_BODY_BYTES_MAX * 2;
    const int n = vsnprintf(queue_room(b, room), room, format, list);
    va_end(list);
    b->len += (size_t)n;
}

struct bytes queue_line(struct bytes in)
{
    const char *end = in.len ? memchr(in.ptr, '\n', in.len) : NULL;
    return end && end > in.ptr ? (struct bytes){ in.ptr, (size_t)(end - in.ptr) - 1 } : BYTES_NONE;
}

/* ---- what is asked and answered */

static bool is_paced(void)
{
    return bench.rate > 0;
}

static bool counts(uint64_t sent_ns)
{
    return !is_paced() || sent_ns >= bench.begin_ns + WARM_NS;
}

static void publish(struct queue_conn *c, uint64_t due_ns)
{
    char text[TIME_DIGITS + 1];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)due_ns);
    memcpy(bench.body, text, TIME_DIGITS);
    c->sent_ns[c->sent++ % DEPTH_MAX] = due_ns;
    if (++c->in_flight > DEPTH_MAX)
        queue_fail("too much is not acknowledged: it is slower than the rate", BYTES_NONE);
    bench.sent += queue_options.messages;
    bench.protocol->publish(c, bench.body);
}

void queue_acked(struct queue_conn *c, unsigned messages)
{
    if (!c->in_flight)
        queue_fail("an acknowledgement of nothing", BYTES_NONE);
    const uint64_t sent_ns = c->sent_ns[c->answered++ % DEPTH_MAX];
    c->in_flight--;
    bench.acked += messages;
    bench.heard_ns = now_ns();
    if (counts(sent_ns))
        histogram_add(&bench.ack, bench.heard_ns - sent_ns);
    if (!is_paced() && bench.heard_ns < bench.end_ns)
        publish(c, bench.heard_ns);
}

void queue_delivered(struct queue_conn *c, struct bytes body)
{
    (void)c;
    char text[TIME_DIGITS + 1] = { 0 };
    if (body.len != queue_options.body_bytes)
        queue_fail("a body of another length:", body);
    memcpy(text, body.ptr, TIME_DIGITS);
    const uint64_t sent_ns = strtoull(text, NULL, 16);
    bench.delivered++;
    bench.heard_ns = now_ns();
    if (counts(sent_ns))
        histogram_add(&bench.delivery, bench.heard_ns - sent_ns);
}

static bool wants_more(void)
{
    return is_paced() || bench.delivered < bench.count;
}

void queue_pulled(struct queue_conn *c)
{
    c->pulled = 0;
    c->in_flight--;
    if (!wants_more())
        return;
    c->in_flight++;
    bench.protocol->pull(c);
}

/* ---- sockets */

static void write_out(struct queue_conn *c)
{
    size_t done = 0;
    while (done < c->out.len) {
        const ssize_t n = send(c->fd, c->out.at + done, c->out.len - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            queue_fail("send:", bytes_from(strerror(errno)));
        done += (size_t)n;
    }
    c->out.len -= done;
    if (c->out.len)
        memmove(c->out.at, c->out.at + done, c->out.len);
    if (c->is_written == (c->out.len > 0))
        return;
    c->is_written = c->out.len > 0;
    struct epoll_event e = { .events = c->is_written ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c };
    epoll_ctl(bench.epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

static void take_in(struct queue_conn *c)
{
    size_t done = 0, n;
    while (done < c->in.len &&
           (n = bench.protocol->take(c, (struct bytes){ c->in.at + done, c->in.len - done })) > 0)
        done += n;
    c->in.len -= done;
    if (c->in.len && done)
        memmove(c->in.at, c->in.at + done, c->in.len);
}

static void read_in(struct queue_conn *c)
{
    const ssize_t n = recv(c->fd, queue_room(&c->in, READ_BYTES), READ_BYTES, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0)
        queue_fail("the connection ended:", bytes_from(n ? strerror(errno) : ""));
    c->in.len += (size_t)n;
    take_in(c);
}

static void open_conn(struct queue_conn *c, unsigned number)
{
    const struct sockaddr_in to = { .sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)bench.port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
    const int on = 1;
    c->number = number;
    c->consumes = number >= bench.publishers;
    c->sent_ns = c->consumes ? NULL : calloc(DEPTH_MAX, sizeof *c->sent_ns);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&to, sizeof to) < 0)
        queue_fail("connect:", bytes_from(strerror(errno)));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(bench.epoll_fd, EPOLL_CTL_ADD, c->fd, &e) < 0 || (!c->consumes && !c->sent_ns))
        queue_fail("a connection:", bytes_from(strerror(errno)));
    if (bench.protocol->greet)
        bench.protocol->greet(c);
}

/* ---- the loop */

static void turn(void)
{
    struct epoll_event events[CONNS_MAX];
    const int n = epoll_wait(bench.epoll_fd, events, CONNS_MAX, 0);
    for (int i = 0; i < n; i++) {
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            read_in(events[i].data.ptr);
    }
    for (unsigned i = 0; i < bench.publishers + bench.consumers; i++) {
        struct queue_conn *c = &bench.conns[i];
        if (c->out.len)
            write_out(c);
    }
}

static void begin(void)
{
    bench.begin_ns = bench.heard_ns = now_ns();
    bench.end_ns = bench.begin_ns + bench.run_ms * 1000000u;
    for (unsigned i = 0; i < bench.publishers + bench.consumers; i++) {
        struct queue_conn *c = &bench.conns[i];
        for (unsigned n = 0; c->consumes && n < PULLS_UNDER_WAY; n++) {
            c->in_flight++;
            bench.protocol->pull(c);
        }
        for (unsigned n = 0; !c->consumes && !is_paced() && n < bench.depth; n++)
            publish(c, bench.begin_ns);
    }
}

/* Those that are due by now. */
static void publish_due(uint64_t now)
{
    const uint64_t until_ns = now < bench.end_ns ? now : bench.end_ns;
    const uint64_t due = (until_ns - bench.begin_ns) * bench.rate / 1000000000u;
    while (bench.sent < due)
        publish(&bench.conns[bench.sent % bench.publishers],
                bench.begin_ns + bench.sent * 1000000000u / bench.rate);
}

static bool is_done(uint64_t now)
{
    if (!bench.publishers)
        return bench.delivered >= bench.count;
    return now >= bench.end_ns && bench.acked == bench.sent &&
           (!bench.consumers || bench.delivered >= bench.sent);
}

static void run(void)
{
    begin();
    for (uint64_t now = bench.begin_ns; !is_done(now); now = now_ns()) {
        if (is_paced())
            publish_due(now);
        else if (now > bench.heard_ns + PATIENCE_NS)
            queue_fail("nothing comes any more", BYTES_NONE);
        if (is_paced() && now > bench.end_ns + PATIENCE_NS)
            break;
        turn();
    }
}

static void print_times(const char *name, const struct histogram *h)
{
    printf(", \"%s_p50_us\": %.1f, \"%s_p99_us\": %.1f, \"%s_max_us\": %.1f", name,
           (double)histogram_quantile_ns(h, 0.5) / 1e3, name, (double)histogram_quantile_ns(h, 0.99) / 1e3,
           name, (double)h->max_ns / 1e3);
}

static uint64_t number(const char *text, uint64_t max)
{
    uint64_t n;
    if (!text || !bytes_to_u64(bytes_from(text), &n) || n > max)
        queue_fail("a number is wrong:", bytes_from(text));
    return n;
}

static void read_option(const char *name, const char *value)
{
    if (!value)
        queue_fail("a value is missing behind", bytes_from(name));
    if (strcmp(name, "--topic") == 0)
        queue_options.topic = value;
    else if (strcmp(name, "--group") == 0)
        queue_options.group = value;
    else if (strcmp(name, "--token") == 0)
        queue_options.token = value;
    else if (strcmp(name, "--publishers") == 0)
        bench.publishers = (unsigned)number(value, CONNS_MAX / 2);
    else if (strcmp(name, "--consumers") == 0)
        bench.consumers = (unsigned)number(value, CONNS_MAX / 2);
    else if (strcmp(name, "--count") == 0)
        bench.count = number(value, UINT64_MAX);
    else if (strcmp(name, "--depth") == 0)
        bench.depth = (unsigned)number(value, DEPTH_MAX);
    else if (strcmp(name, "--rate") == 0)
        bench.rate = number(value, 10000000);
    else if (strcmp(name, "--ms") == 0)
        bench.run_ms = number(value, 600000);
    else if (strcmp(name, "--body") == 0)
        queue_options.body_bytes = (unsigned)number(value, QUEUE_BODY_BYTES_MAX);
    else if (strcmp(name, "--messages") == 0)
        queue_options.messages = (unsigned)number(value, 64);
    else if (strcmp(name, "--pull") == 0)
        queue_options.pull = (unsigned)number(value, QUEUE_PULL_MAX);
    else
        queue_fail("no such option:", bytes_from(name));
}

int main(int argc, char **argv)
{
    static const struct queue_protocol *const protocols[] = { &queue_resp, &queue_nats, &queue_http };
    if (argc < 3)
        queue_fail("PROTOCOL PORT", BYTES_NONE);
    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(argv[1], protocols[i]->name) == 0)
            bench.protocol = protocols[i];
    }
    bench.port = (unsigned)number(argv[2], 65535);
    for (int i = 3; i < argc; i += 2)
        read_option(argv[i], argv[i + 1]);
    if (!bench.protocol || (bench.consumers && !bench.protocol->pull) ||
        queue_options.body_bytes < TIME_DIGITS || !queue_options.messages || !queue_options.pull ||
        (is_paced() && (!bench.publishers || !bench.consumers)))
        queue_fail("that cannot be done", BYTES_NONE);
    memset(bench.body, 'x', sizeof bench.body);
    queue_options.waits = is_paced();
    bench.epoll_fd = epoll_create1(0);
    for (unsigned i = 0; i < bench.publishers + bench.consumers; i++)
        open_conn(&bench.conns[i], i);
    run();
    printf("{\"seconds\": %.4f, \"sent\": %llu, \"acked\": %llu, \"delivered\": %llu",
           (double)(bench.heard_ns - bench.begin_ns) / 1e9, (unsigned long long)bench.sent,
           (unsigned long long)bench.acked, (unsigned long long)bench.delivered);
    print_times("ack", &bench.ack);
    print_times("delivery", &bench.delivery);
    printf("}\n");
    return 0;
}
