#include "ledger/checkpoint_walk.h"

#if WEIR_HAVE_LMDB
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/must.h"

#define TOGETHER_MIN 100000 /* entries that are worth more than one thread */
#define TURN 256            /* entries that a thread takes at a time */
#define WARM_BYTES (4u << 20)

struct walk {
    const struct checkpoint_visit *visit;
    MDB_env *env;
    pthread_mutex_t lock; /* the cursor and all below; nothing else is waited for with it held */
    MDB_cursor *cursor;
    bool ended;
    int code; /* of the cursor */
    err result;
    struct diag diag;
    atomic_bool warm_ends;
};

struct walker {
    struct walk *walk;
    unsigned number;
    pthread_t thread;
    bool runs;
    MDB_val keys[TURN], values[TURN];
};

unsigned checkpoint_walkers(uint64_t count)
{
    cpu_set_t cpus;
    if (count < TOGETHER_MIN || sched_getaffinity(0, sizeof cpus, &cpus) != 0)
        return 1;
    const unsigned n = (unsigned)CPU_COUNT(&cpus);
    return n < CHECKPOINT_WALKERS_MAX ? n : CHECKPOINT_WALKERS_MAX;
}

/* 0: there are no more, or somebody has failed. */
static unsigned take_turn(struct walker *me)
{
    struct walk *w = me->walk;
    unsigned n = 0;
    pthread_mutex_lock(&w->lock);
    while (!w->ended && n < TURN) {
        w->code = mdb_cursor_get(w->cursor, &me->keys[n], &me->values[n], MDB_NEXT);
        w->ended = w->code != 0;
        n += !w->ended;
    }
    pthread_mutex_unlock(&w->lock);
    return n;
}

/* The first one to fail says why. */
static void fail(struct walk *w, err e, const struct diag *d)
{
    pthread_mutex_lock(&w->lock);
    w->ended = true;
    if (!w->result) {
        w->result = e;
        w->diag = *d;
    }
    pthread_mutex_unlock(&w->lock);
}

static void *walk_on(void *arg)
{
    struct walker *me = arg;
    const struct checkpoint_visit *v = me->walk->visit;
    for (unsigned n; (n = take_turn(me));) {
        struct diag d = DIAG_NONE;
        err e = OK;
        for (unsigned i = 0; !e && i < n; i++)
            e = v->fn(v->arg, me->number, me->keys[i], me->values[i], &d);
        if (e)
            fail(me->walk, e, &d);
    }
    return NULL;
}

/* Pages of the file come one by one when they are touched; asked for beforehand they come in long reads. */
static void *warm(void *arg)
{
    struct walk *w = arg;
    mdb_filehandle_t fd;
    MDB_envinfo info;
    MDB_stat stat;
    if (mdb_env_get_fd(w->env, &fd) != 0 || mdb_env_info(w->env, &info) != 0 ||
        mdb_env_stat(w->env, &stat) != 0)
        return NULL;
    const off_t end = (off_t)(info.me_last_pgno + 1) * stat.ms_psize;
    for (off_t at = 0; at < end && !atomic_load(&w->warm_ends); at += WARM_BYTES) {
        if (readahead(fd, at, WARM_BYTES) != 0)
            break;
    }
    return NULL;
}

static void walk_together(struct walk *w, struct walker *walkers, unsigned threads)
{
    pthread_t warming;
    const bool warms = threads > 1 && pthread_create(&warming, NULL, warm, w) == 0;
    for (unsigned i = 0; i < threads; i++) {
        walkers[i].walk = w;
        walkers[i].number = i;
        walkers[i].runs = i > 0 && pthread_create(&walkers[i].thread, NULL, walk_on, &walkers[i]) == 0;
    }
    walk_on(&walkers[0]);
    for (unsigned i = 1; i < threads; i++) {
        if (walkers[i].runs)
            pthread_join(walkers[i].thread, NULL);
    }
    atomic_store(&w->warm_ends, true);
    if (warms)
        pthread_join(warming, NULL);
}

err checkpoint_walk(MDB_txn *txn, MDB_dbi table, unsigned threads, const struct checkpoint_visit *visit,
                    struct diag *reterr)
{
    struct walker walkers[CHECKPOINT_WALKERS_MAX];
    struct walk w = {
        .visit = visit, .env = mdb_txn_env(txn), .lock = PTHREAD_MUTEX_INITIALIZER, .diag = DIAG_NONE
    };
    must(threads > 0 && threads <= CHECKPOINT_WALKERS_MAX);
    w.code = mdb_cursor_open(txn, table, &w.cursor);
    if (!w.code) {
        walk_together(&w, walkers, threads);
        mdb_cursor_close(w.cursor);
    }
    if (!w.result && w.code != MDB_NOTFOUND) {
        diag_set(&w.diag, "the checkpoint: cannot read: %s", mdb_strerror(w.code));
        w.result = ERR_IO;
    }
    if (w.result)
        *reterr = w.diag;
    return w.result;
}
#endif
