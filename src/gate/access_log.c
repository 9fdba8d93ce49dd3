#include "gate/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "core/log.h"
#include "core/timer.h"
#include "gate/gate.h"

/* A line is cut to what fits: the longest texts in it are bounded by the limits on a head. */
#define LINE_BYTES_MAX (32 * 1024)
#define TEXT_BYTES_MAX 1024

struct buffer {
    struct buffer *next;
    size_t len;
    char text[ACCESS_LOG_BUFFER_BYTES];
};

/* Protects all of log but enabled and dropped. Held for the time of a few pointer moves, by workers once a
 * buffer. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;

static struct {
    _Atomic bool enabled;
    _Atomic uint64_t dropped;
    _Atomic uint64_t flush_us;
    bool running, stop, reopen;
    int fd;     /* the log thread's own while that runs */
    int fd_new; /* what it shall go on with; -1: nothing */
    char path[4096];
    struct buffer *first, **last;
    size_t bytes; /* handed over and not yet written */
    pthread_t thread;
} out = { .fd = -1, .fd_new = -1 };

static _Thread_local struct {
    struct buffer *buffer;
    struct timer timer;
    bool ready;
} here;

/* ---- the log thread ---- */

static int open_path(const char *path)
{
    if (strcmp(path, "stdout") == 0)
        return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

static void write_all(int fd, const struct buffer *b)
{
    static struct log_limit limit = LOG_LIMIT(1);
    size_t at = 0;
    while (at < b->len) {
        ssize_t n = write(fd, b->text + at, b->len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) { /* a full disk: the service goes on, the lines do not */
            log_limited(&limit, LOG_ERROR, "access_log", "cannot write: %s", strerror(errno));
            return;
        }
        at += (size_t)n;
    }
}

static void set_fd(int fd)
{
    if (out.fd >= 0)
        close(out.fd);
    out.fd = fd;
}

static void reopen_locked(void)
{
    out.reopen = false;
    int fd = open_path(out.path);
    if (fd < 0) {
        log_error("access_log", "cannot open %s again: %s; going on with the old file", out.path,
                  strerror(errno));
        return;
    }
    set_fd(fd);
}

static void *run(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    for (;;) {
        if (out.fd_new >= 0) {
            set_fd(out.fd_new);
            out.fd_new = -1;
        }
        if (out.reopen)
            reopen_locked();
        struct buffer *b = out.first;
        if (!b && out.stop)
            break;
        if (!b) {
            pthread_cond_wait(&work, &lock);
            continue;
        }
        out.first = b->next;
        if (!out.first)
            out.last = &out.first;
        out.bytes -= b->len;
        int fd = out.fd;
        pthread_mutex_unlock(&lock);
        write_all(fd, b);
        mem_free(b);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* ---- the control thread ---- */

static err start_thread(struct diag *reterr)
{
    out.last = &out.first;
    out.stop = false;
    if (pthread_create(&out.thread, NULL, run, NULL) != 0) {
        diag_set(reterr, "access_log: cannot start its thread");
        return ERR_SYSTEM;
    }
    pthread_setname_np(out.thread, "weir-log");
    out.running = true;
    return OK;
}

err access_log_use(const struct access_log_conf *conf, struct diag *reterr)
{
    if (!conf) {
        atomic_store(&out.enabled, false);
        return OK;
    }
    int fd = open_path(conf->path.ptr);
    if (fd < 0 || conf->path.len >= sizeof out.path) {
        diag_set(reterr, "access_log: cannot open \"%s\": %s", conf->path.ptr, strerror(errno));
        return ERR_CONF;
    }
    pthread_mutex_lock(&lock);
    if (out.fd_new >= 0)
        close(out.fd_new);
    out.fd_new = fd;
    snprintf(out.path, sizeof out.path, "%s", conf->path.ptr);
    err e = out.running ? OK : start_thread(reterr);
    pthread_mutex_unlock(&lock);
    if (e)
        return e;
    atomic_store(&out.flush_us, conf->flush_interval_ms * 1000);
    atomic_store(&out.enabled, true);
    return OK;
}

void access_log_reopen(void)
{
    pthread_mutex_lock(&lock);
    out.reopen = out.running;
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&lock);
}

void access_log_close(void)
{
    atomic_store(&out.enabled, false);
    if (out.running) {
        pthread_mutex_lock(&lock);
        out.stop = true;
        pthread_cond_signal(&work);
        pthread_mutex_unlock(&lock);
        pthread_join(out.thread, NULL);
        out.running = false;
    }
    set_fd(-1);
}

uint64_t access_log_dropped(void)
{
    return atomic_load_explicit(&out.dropped, memory_order_relaxed);
}

/* ---- workers ---- */

void access_log_flush(void)
{
    struct buffer *b = here.buffer;
    if (here.ready)
        timer_stop(&here.timer);
    if (!b)
        return;
    here.buffer = NULL;
    b->next = NULL;
    pthread_mutex_lock(&lock);
    bool full = !out.running || out.bytes + b->len > ACCESS_LOG_BYTES_MAX;
    if (!full) {
        *out.last = b;
        out.last = &b->next;
        out.bytes += b->len;
        pthread_cond_signal(&work);
    }
    pthread_mutex_unlock(&lock);
    if (!full)
        return;
    uint64_t lines = 0;
    for (size_t i = 0; i < b->len; i++)
        lines += b->text[i] == '\n';
    atomic_fetch_add_explicit(&out.dropped, lines, memory_order_relaxed);
    mem_free(b);
}

static void flush_due(struct timer *t)
{
    (void)t;
    access_log_flush();
}

static char *put(char *at, struct bytes text)
{
    memcpy(at, text.ptr, text.len);
    return at + text.len;
}

/* As the inside of a JSON string (RFC 8259 7). What is not ASCII is escaped byte by byte: nothing from
 * outside can break a line or an encoding. */
static char *put_escaped(char *at, struct bytes text)
{
    static const char hex[] = "0123456789abcdef";
    if (text.len > TEXT_BYTES_MAX)
        text.len = TEXT_BYTES_MAX;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c == '"' || c == '\\') {
            *at++ = '\\';
            *at++ = (char)c;
        } else if (c < 0x20 || c >= 0x7f) {
            at = put(at, BYTES("\\u00"));
            *at++ = hex[c >> 4];
            *at++ = hex[c & 15];
        } else {
            *at++ = (char)c;
        }
    }
    return at;
}

static char *put_text(char *at, struct bytes key, struct bytes value)
{
    at = put(put(put(at, BYTES(",\"")), key), BYTES("\":\""));
    return put(put_escaped(at, value), BYTES("\""));
}

static char *put_number(char *at, struct bytes key, uint64_t value)
{
    at = put(put(put(at, BYTES(",\"")), key), BYTES("\":"));
    return at + u64_to_text(value, at);
}

/* 2026-01-02T03:04:05.678901Z; the calendar's part is worked out once a second */
static char *put_time(char *at, uint64_t wall_us)
{
    static _Thread_local uint64_t second = UINT64_MAX;
    static _Thread_local char text[32];
    if (wall_us / 1000000 != second) {
        second = wall_us / 1000000;
        time_t t = (time_t)second;
        struct tm tm;
        gmtime_r(&t, &tm);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.", &tm);
    }
    at = put(at, bytes_from(text));
    uint64_t us = wall_us % 1000000;
    for (uint64_t unit = 100000; unit; unit /= 10)
        *at++ = (char)('0' + us / unit % 10);
    *at++ = 'Z';
    return at;
}

static char *put_exchange(char *at, const struct exchange *x)
{
    const struct http_request *q = &x->request;
    char ip[ADDR_TEXT_BYTES_MAX];
    at = put_time(put(at, BYTES("{\"time\":\"")), worker_wall_us() - (worker_now_us() - x->start_us));
    *at++ = '"';
    at = put_text(at, BYTES("id"), x->request_id);
    if (x->client)
        at = put_text(at, BYTES("client"), (struct bytes){ ip, addr_print_ip(x->client, ip) });
    at = put_text(at, BYTES("method"), q->method_text);
    at = put_text(at, BYTES("host"), q->authority);
    at = put_text(at, BYTES("target"), q->target);
    at = put_number(at, BYTES("status"), x->response.status);
    at = put_number(at, BYTES("us"), worker_now_us() - x->start_us);
    at = put_number(at, BYTES("request_bytes"), x->request_bytes);
    at = put_number(at, BYTES("response_bytes"), x->response_bytes);
    if (x->service)
        at = put_text(at, BYTES("service"), x->service->name);
    if (x->server)
        at = put_text(at, BYTES("server"), bytes_from(x->server->shared->text));
    if (x->attempts > 1)
        at = put_number(at, BYTES("tries"), x->attempts);
    if (x->answered_by.len)
        at = put_text(at, BYTES("answered_by"), x->answered_by);
    if (x->failed)
        at = put_text(at, BYTES("error"), bytes_from(err_text(x->failed)));
    return put(at, BYTES("}\n"));
}

void access_log_exchange(const struct exchange *x)
{
    if (!atomic_load_explicit(&out.enabled, memory_order_relaxed))
        return;
    if (here.buffer && here.buffer->len + LINE_BYTES_MAX > sizeof here.buffer->text)
        access_log_flush();
    if (!here.ready) {
        timer_init(&here.timer, flush_due);
        here.ready = true;
    }
    if (!here.buffer) {
        here.buffer = mem_must_get(sizeof *here.buffer);
        timer_set(&here.timer, worker_now_us() + atomic_load_explicit(&out.flush_us, memory_order_relaxed));
    }
    struct buffer *b = here.buffer;
    b->len = (size_t)(put_exchange(b->text + b->len, x) - b->text);
}
