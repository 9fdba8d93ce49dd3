/* ledger_internal: what the writer's thread and the workers' side share. */
#pragma once
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "ledger/checkpoint.h"
#include "ledger/gather.h"
#include "ledger/ledger_log.h"
#include "ledger/ledger_metrics.h"
#include "ledger/ledger_open.h"
#include "ledger/machine.h"
#include "ledger/pass_on.h"

/* The file that says: this folder is a ledger. It is also the lock. */
#define LEDGER_IDENTITY_NAME "ledger"
#define LEDGER_CHECKPOINT_NAME "checkpoint" /* a folder */

struct ledger {
    struct ledger_opts opts;
    struct machine machine;
    struct board board;
    struct disk *disk;
    int lock_fd;
    struct ledger_log *log;
    struct checkpoint_store *store;
    struct checkpoint *checkpoint;
    struct crypt *crypt;
    struct ledger_metrics metrics;
    unsigned char id[16];
    uint64_t recovered_seq; /* the checkpoint that was found */
    bool had_left;          /* it had records that were left on disk */
    pthread_t thread;
    sem_t left; /* posted when it has been left */
    /* Protects the machine, the store's reader and what follows here. The writer has it from the first entry
     * of a batch until all is durable and answered; while it rests or gathers a worker may take it to look
     * (ledger_do_look), which never waits for it. */
    pthread_mutex_t resting;
    bool missed; /* a look wanted what has left memory */
    bool looking;
    /* the writer's own */
    struct ledger_call *waiting; /* taken from the mailbox, oldest first */
    struct ledger_call **waiting_last;
    uint32_t waiting_count;
    struct gather gather;
    struct ledger_call *done, **done_last; /* of this batch */
    uint64_t synced_us;                    /* of `interval` */
    uint64_t clock_us;                     /* when machine.now_ms was last set */
    uint64_t frozen_us, frozen_bytes;      /* the last checkpoint was begun then; log written since */
    uint16_t era;                          /* of the last freeze */
    struct diag why;                       /* it stopped; written once, before stopped is set */
    struct pass_on next;                   /* who has it after us; set before leave */

    /* what other threads touch, on lines of their own */
    _Alignas(64) _Atomic(struct ledger_call *) mailbox; /* the newest first */
    _Atomic int32_t mailed;                             /* entries in it; for a moment less */
    _Atomic uint32_t asleep; /* the writer sleeps until so many are in it; 0: it does not */
    _Atomic bool leave, stop;
    _Alignas(64) _Atomic(const char *) stopped;
    _Atomic bool passes; /* it has left, and the next process does what may be passed on */
    /* what ledger_status tells */
    _Atomic bool open;
    _Atomic uint64_t told_evicted, told_seq, told_checkpoint_seq, told_records, told_record_bytes,
        told_log_bytes, told_time_ms;
};

/* The worker's thread: does an entry that only looks. false: it has to go to the writer. */
bool ledger_do_look(struct ledger *l, struct ledger_call *c);
uint64_t ledger_time_ms(struct ledger *l);
/* The writer's thread. */
void *ledger_writer(void *arg);
/* The folder, whose it is, what is in it: ready to write. */
err ledger_recover(struct ledger *l, struct diag *reterr) CHECK_RESULT;
/* All files; the lock last. */
void ledger_release_files(struct ledger *l);
/* It takes nothing any more; d or e say why. */
void ledger_fail(struct ledger *l, err e, const struct diag *d);

/* ---- tend.c: the checkpoint, seen from the writer */

/* After each batch: takes what came out, begins the next. */
err ledger_tend(struct ledger *l, struct diag *reterr) CHECK_RESULT;
/* How long it can wait for that; UINT64_MAX: for ever. */
uint64_t ledger_tend_idle_us(const struct ledger *l);
/* Everything into the checkpoint, and waits for it: a clean stop. */
err ledger_tend_last(struct ledger *l, struct diag *reterr) CHECK_RESULT;
uint64_t ledger_clock_us(void);
/* Any thread: it looks at its mailbox. */
void ledger_wake(struct ledger *l);
/* Gives the calls in this chain back to their workers. */
void ledger_answer_all(struct ledger_call *first);
