#include "ledger/checkpoint.h"

#include <pthread.h>
#include <time.h>

#include "base/mem.h"
#include "base/must.h"

/* ---- what was frozen ---- */

static char *room_for(struct frozen *f, size_t bytes)
{
    if (f->room - f->bytes < bytes) {
        size_t room = f->room ? f->room : 1u << 20;
        while (room - f->bytes < bytes)
            room *= 2;
        f->data = mem_must_resize(f->data, room);
        f->room = room;
    }
    char *at = f->data + f->bytes;
    f->bytes += bytes;
    return at;
}

void frozen_add(struct frozen *f, const struct record_image *image, bool gone)
{
    const struct frozen_item i = { .due_ms = image->due_ms,
                                   .value_bytes = gone ? 0 : (uint32_t)image->value.len,
                                   .era = image->era,
                                   .rules = image->rules,
                                   .key_bytes = (uint8_t)image->key.len,
                                   .was_in = image->was_in,
                                   .goes_to = image->goes_to,
                                   .finished = image->finished,
                                   .gone = gone };
    char *at = room_for(f, sizeof i + frozen_padded(i.key_bytes) + frozen_padded(i.value_bytes));
    memcpy(at, &i, sizeof i);
    if (i.key_bytes % 8)
        memset(at + sizeof i + frozen_padded(i.key_bytes) - 8, 0, 8);
    if (i.key_bytes)
        memcpy(at + sizeof i, image->key.ptr, i.key_bytes);
    if (i.value_bytes)
        memcpy(at + sizeof i + frozen_padded(i.key_bytes), image->value.ptr, i.value_bytes);
    f->count++;
}

bool frozen_next(const struct frozen *f, size_t *at, struct record_image *ret_image, bool *ret_gone)
{
    struct frozen_item i;
    if (*at == f->bytes)
        return false;
    const char *data = f->data + *at;
    memcpy(&i, data, sizeof i);
    *ret_image =
        (struct record_image){ .rules = i.rules,
                               .finished = i.finished,
                               .was_in = i.was_in,
                               .goes_to = i.goes_to,
                               .era = i.era,
                               .due_ms = i.due_ms,
                               .key = { data + sizeof i, i.key_bytes },
                               .value = { data + sizeof i + frozen_padded(i.key_bytes), i.value_bytes } };
    *ret_gone = i.gone;
    *at += sizeof i + frozen_padded(i.key_bytes) + frozen_padded(i.value_bytes);
    return true;
}

/* ---- the thread ---- */

enum work { WORK_NONE, WORK_WANTED, WORK_DONE, WORK_STOP };

/* The mutex protects what follows it; nothing but the next work is waited for with it held. */
struct checkpoint {
    struct checkpoint_store *store;
    struct ledger_log *log;
    uint64_t log_keep_bytes;
    void (*on_done)(void *arg);
    void *arg;
    pthread_t thread;
    struct frozen frozen; /* the thread's while WORK_WANTED, else the writer's */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum work work;
    unsigned holds;
    err result;
    struct diag diag;
    struct checkpoint_stats stats;
};

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static bool is_held(struct checkpoint *c)
{
    pthread_mutex_lock(&c->mutex);
    bool held = c->holds > 0;
    pthread_mutex_unlock(&c->mutex);
    return held;
}

static err write_it(struct checkpoint *c, struct diag *reterr)
{
    err e = c->store->ops->commit(c->store, &c->frozen, reterr);
    if (!e && !is_held(c))
        e = ledger_log_drop_until(c->log, c->frozen.state.seq, c->log_keep_bytes, reterr);
    return e;
}

static void work(struct checkpoint *c)
{
    struct diag d = DIAG_NONE;
    uint64_t begun_us = now_us();
    err e = write_it(c, &d);
    pthread_mutex_lock(&c->mutex);
    c->result = e;
    c->diag = d;
    c->stats.duration_us = now_us() - begun_us;
    c->stats.count++;
    if (!e) {
        c->stats.seq = c->frozen.state.seq;
        c->stats.records = c->frozen.count;
    }
    c->work = WORK_DONE;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    c->on_done(c->arg);
}

static void *thread_main(void *arg)
{
    struct checkpoint *c = arg;
    pthread_setname_np(pthread_self(), "weir-checkpoint");
    pthread_mutex_lock(&c->mutex);
    while (c->work != WORK_STOP) {
        if (c->work != WORK_WANTED) {
            pthread_cond_wait(&c->changed, &c->mutex);
            continue;
        }
        pthread_mutex_unlock(&c->mutex);
        work(c);
        pthread_mutex_lock(&c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

bool checkpoint_is_busy(struct checkpoint *c)
{
    pthread_mutex_lock(&c->mutex);
    const bool busy = c->work != WORK_NONE;
    pthread_mutex_unlock(&c->mutex);
    return busy;
}

struct frozen *checkpoint_free(struct checkpoint *c)
{
    must(!checkpoint_is_busy(c));
    c->frozen.bytes = 0;
    c->frozen.count = 0;
    return &c->frozen;
}

void checkpoint_begin(struct checkpoint *c)
{
    pthread_mutex_lock(&c->mutex);
    must(c->work == WORK_NONE);
    c->work = WORK_WANTED;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

bool checkpoint_result(struct checkpoint *c, err *ret_e, struct diag *ret_diag)
{
    pthread_mutex_lock(&c->mutex);
    bool done = c->work == WORK_DONE;
    if (done) {
        *ret_e = c->result;
        *ret_diag = c->diag;
        c->work = WORK_NONE;
    }
    pthread_mutex_unlock(&c->mutex);
    return done;
}

bool checkpoint_has_result(struct checkpoint *c)
{
    if (!c)
        return false;
    pthread_mutex_lock(&c->mutex);
    const bool has = c->work == WORK_DONE;
    pthread_mutex_unlock(&c->mutex);
    return has;
}

void checkpoint_wait(struct checkpoint *c)
{
    pthread_mutex_lock(&c->mutex);
    while (c->work == WORK_WANTED)
        pthread_cond_wait(&c->changed, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
}

void checkpoint_hold(struct checkpoint *c, bool hold)
{
    pthread_mutex_lock(&c->mutex);
    c->holds = hold ? c->holds + 1 : c->holds - 1;
    pthread_mutex_unlock(&c->mutex);
}

struct checkpoint_stats checkpoint_stats(struct checkpoint *c)
{
    pthread_mutex_lock(&c->mutex);
    struct checkpoint_stats s = c->stats;
    pthread_mutex_unlock(&c->mutex);
    return s;
}

err checkpoint_start(struct checkpoint_store *s, struct ledger_log *log, uint64_t log_keep_bytes,
                     void (*on_done)(void *arg), void *arg, struct checkpoint **ret_checkpoint)
{
    struct checkpoint *c = mem_get(sizeof *c);
    if (!c)
        return ERR_MEMORY;
    *c = (struct checkpoint){
        .store = s, .log = log, .log_keep_bytes = log_keep_bytes, .on_done = on_done, .arg = arg
    };
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->changed, NULL);
    if (pthread_create(&c->thread, NULL, thread_main, c) != 0) {
        mem_free(c);
        return ERR_SYSTEM;
    }
    *ret_checkpoint = c;
    return OK;
}

void checkpoint_end(struct checkpoint *c)
{
    if (!c)
        return;
    checkpoint_wait(c);
    pthread_mutex_lock(&c->mutex);
    c->work = WORK_STOP;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    pthread_join(c->thread, NULL);
    pthread_mutex_destroy(&c->mutex);
    pthread_cond_destroy(&c->changed);
    mem_free(c->frozen.data);
    mem_free(c);
}
