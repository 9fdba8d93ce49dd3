/* ledger_internal: what the writer's thread and the workers' side share. */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "ledger/ledger_log.h"
#include "ledger/ledger_open.h"
#include "ledger/machine.h"

struct ledger {
    struct ledger_opts opts;
    struct machine machine;
    struct board board;
    struct disk *disk;
    int lock_fd;
    struct ledger_log *log;
    unsigned char id[16];
    pthread_t thread;
    /* the writer's own */
    struct ledger_call *waiting; /* taken from the mailbox, oldest first */
    struct ledger_call **waiting_last;
    struct ledger_call *done, **done_last; /* of this batch */
    uint64_t synced_us;                    /* of `interval` */
    uint64_t clock_us;                     /* when machine.now_ms was last set */
    struct diag why;                       /* it stopped; written once, before stopped is set */

    /* what other threads touch, on lines of their own */
    _Alignas(64) _Atomic(struct ledger_call *) mailbox; /* the newest first */
    _Atomic uint32_t asleep;
    _Atomic bool stop;
    _Alignas(64) _Atomic(const char *) stopped;
};

/* The writer's thread. */
void *ledger_writer(void *arg);
/* Any thread: it looks at its mailbox. */
void ledger_wake(struct ledger *l);
/* Gives the calls in this chain back to their workers. */
void ledger_answer_all(struct ledger_call *first);
