/* folder_test: a ledger's folder that each test has for itself, and a worker to ask the ledger from. */
#pragma once
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/test.h"
#include "core/worker.h"
#include "ledger/ledger_open.h"
#include "ledger/segment.h"

static char folder[64];

static inline int folder_make(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-ledger-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

/* And what stands beside it by a longer name. */
static inline int folder_remove(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s*", folder);
    return system(command);
}

static inline struct ledger *folder_open(const struct ledger_opts *o)
{
    struct diag d = DIAG_NONE;
    struct ledger *l = NULL;
    err e = ledger_open(o, &l, &d);
    if (e)
        print_error("%s: %s\n", err_name(e), d.text);
    assert_int_equal(e, OK);
    return l;
}

/* Until fn, on a fiber of it, or what it began calls worker_stop. */
static inline void on_worker(void (*fn)(void *arg), void *arg)
{
    struct diag d = DIAG_NONE;
    struct worker_opts w = { .loop = LOOP_EPOLL, .cpu = -1 };
    assert_int_equal(worker_run(&w, fn, arg, &d), OK);
}

/* The last segment's path. */
static inline void folder_last_segment(const char *path, char out[512])
{
    char name[DISK_NAME_BYTES_MAX];
    uint64_t first, last = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        if (segment_parse_name(e->d_name, &first) && first > last)
            last = first;
    }
    closedir(dir);
    assert_true(last > 0);
    segment_name(name, last);
    snprintf(out, 512, "%s/%s", path, name);
}
