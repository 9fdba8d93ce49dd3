#include "gate/access_log.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/must.h"
#include "core/log.h"
#include "core/timer.h"
#include "gate/access_log_format.h"
#include "gate/access_log_sink.h"
#include "gate/gate.h"
#include "gate/grpc.h"

/* A generation's, and held by every buffer that has lines for it. */
struct access_log {
    struct access_log_format *format;
    uint64_t flush_us, slow_us;
    double sample;
    int64_t errors; /* the lowest status that is one */
    _Atomic uint32_t holds;
    struct access_log *next;      /* of all there are; protected by lock */
    struct access_log_sink *sink; /* the log thread's own once it is open */
};

struct buffer {
    struct buffer *next;
    struct access_log *log;
    size_t len;
    char text[ACCESS_LOG_BUFFER_BYTES];
};

#define SPARE_MAX 64

/* Protects out but dropped, and the list of logs. Held for the time of a few pointer moves, by workers once a
 * buffer. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;

static struct {
    _Atomic uint64_t dropped;
    bool running, stop, reopen;
    struct buffer *first, **last;
    struct buffer *spare; /* written, to be filled again; up to SPARE_MAX */
    unsigned spare_count;
    size_t bytes; /* handed over and not yet written */
    struct access_log *logs;
    pthread_t thread;
} out;

static _Thread_local struct {
    struct buffer *buffer;
    struct timer timer;
    bool ready;
} here;

static void count_dropped(uint64_t lines)
{
    atomic_fetch_add_explicit(&out.dropped, lines, memory_order_relaxed);
}

uint64_t access_log_dropped(void)
{
    return atomic_load_explicit(&out.dropped, memory_order_relaxed);
}

/* ---- a log's life ---- */

static void log_free(struct access_log *log)
{
    access_log_format_close(log->format);
    access_log_sink_close(log->sink);
    mem_free(log);
}

void access_log_drop(struct access_log *log)
{
    if (!log || atomic_fetch_sub(&log->holds, 1) != 1)
        return;
    pthread_mutex_lock(&lock);
    struct access_log **at = &out.logs;
    while (*at != log)
        at = &(*at)->next;
    *at = log->next;
    pthread_mutex_unlock(&lock);
    log_free(log);
}

static void buffer_free(struct buffer *b)
{
    access_log_drop(b->log);
    pthread_mutex_lock(&lock);
    const bool kept = out.spare_count < SPARE_MAX;
    if (kept) {
        b->next = out.spare;
        out.spare = b;
        out.spare_count++;
    }
    pthread_mutex_unlock(&lock);
    if (!kept)
        mem_free(b);
}

static struct buffer *buffer_get(void)
{
    pthread_mutex_lock(&lock);
    struct buffer *b = out.spare;
    if (b) {
        out.spare = b->next;
        out.spare_count--;
    }
    pthread_mutex_unlock(&lock);
    if (!b)
        return mem_must_get(sizeof *b);
    b->len = 0;
    return b;
}

static void free_spare(void)
{
    struct buffer *b;
    while ((b = out.spare)) {
        out.spare = b->next;
        mem_free(b);
    }
    out.spare_count = 0;
}

/* ---- the log thread ---- */

static void reopen_locked(void)
{
    out.reopen = false;
    for (struct access_log *log = out.logs; log; log = log->next)
        access_log_sink_reopen(log->sink);
}

static struct buffer *take_locked(void)
{
    struct buffer *b = out.first;
    out.first = b->next;
    if (!out.first)
        out.last = &out.first;
    out.bytes -= b->len;
    return b;
}

static void *run(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    for (;;) {
        if (out.reopen)
            reopen_locked();
        if (!out.first && out.stop)
            break;
        if (!out.first) {
            pthread_cond_wait(&work, &lock);
            continue;
        }
        struct buffer *b = take_locked();
        pthread_mutex_unlock(&lock);
        count_dropped(access_log_sink_write(b->log->sink, (struct bytes){ b->text, b->len }));
        buffer_free(b);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* ---- the control thread ---- */

static err start_thread_locked(struct diag *reterr)
{
    if (out.running)
        return OK;
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

static err fill(struct access_log *log, const struct access_log_conf *conf, struct diag *reterr)
{
    const int facility = access_log_sink_is_syslog(conf->path) ? conf->facility : ACCESS_LOG_NO_SYSLOG;
    log->flush_us = conf->flush_interval_ms * 1000;
    log->slow_us = conf->slow_ms == CONF_MS_OFF ? UINT64_MAX : conf->slow_ms * 1000;
    log->sample = conf->sample;
    log->errors = conf->errors;
    log->holds = 1;
    err e = access_log_format_open(conf->format, facility, &log->format, reterr);
    return e ? e : access_log_sink_open(conf->path, &log->sink, reterr);
}

err access_log_open(const struct access_log_conf *conf, struct access_log **ret_log, struct diag *reterr)
{
    *ret_log = NULL;
    if (!conf)
        return OK;
    struct access_log *log = mem_get(sizeof *log);
    if (!log)
        return ERR_MEMORY;
    err e = fill(log, conf, reterr);
    if (!e) {
        pthread_mutex_lock(&lock);
        e = start_thread_locked(reterr);
        log->next = out.logs;
        if (!e)
            out.logs = log;
        pthread_mutex_unlock(&lock);
    }
    if (e) {
        log_free(log);
        return e;
    }
    *ret_log = log;
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
    if (!out.running)
        return;
    pthread_mutex_lock(&lock);
    out.stop = true;
    pthread_cond_signal(&work);
    pthread_mutex_unlock(&lock);
    pthread_join(out.thread, NULL);
    out.running = false;
    free_spare();
}

/* ---- workers ---- */

static uint64_t lines_in(const struct buffer *b)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < b->len; i++)
        lines += b->text[i] == '\n';
    return lines;
}

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
    count_dropped(lines_in(b));
    buffer_free(b);
}

static void flush_due(struct timer *t)
{
    (void)t;
    access_log_flush();
}

/* This worker's buffer for lines of that log, with room for one. */
static struct buffer *buffer_for(struct access_log *log)
{
    struct buffer *b = here.buffer;
    if (b && (b->log != log || b->len + ACCESS_LOG_LINE_BYTES_MAX > sizeof b->text)) {
        access_log_flush();
        b = NULL;
    }
    if (b)
        return b;
    if (!here.ready) {
        timer_init(&here.timer, flush_due);
        here.ready = true;
    }
    b = here.buffer = buffer_get();
    b->log = log;
    atomic_fetch_add(&log->holds, 1);
    timer_set(&here.timer, worker_now_us() + log->flush_us);
    return b;
}

static bool is_wanted(const struct access_log *log, const struct exchange *x)
{
    if (log->sample >= 1 || x->failed || (int64_t)exchange_outcome(x) >= log->errors ||
        worker_now_us() - x->start_us >= log->slow_us)
        return true;
    return (double)(random_u64() >> 11) < log->sample * 0x1p53;
}

void access_log_exchange(const struct exchange *x)
{
    struct access_log *log = x->gate->generation->access_log;
    if (!log || !is_wanted(log, x))
        return;
    struct buffer *b = buffer_for(log);
    b->len = (size_t)(access_log_format_put(log->format, b->text + b->len, x) - b->text);
}
