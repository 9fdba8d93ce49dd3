/* gather: when a batch that has its first entry waits for more, so that they share its sync.
 *
 *      half of what is about ──▶ in a sync
 *      the other half ─────────▶ being answered; their clients come back meanwhile
 *
 * So the disk, the workers and the clients all have something to do all the time. What is about is what was
 * answered a moment ago and what waited then. A batch waits until half of that is there, but never longer
 * than two syncs take; where it did not come in that time the next 1, 3, 7 ... batches do not wait. Compare
 * MySQL's binlog_group_commit_sync_delay and ..._no_delay_count, PostgreSQL's commit_delay and
 * commit_siblings: this is learned, and not set. Pure; the writer's thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct gather {
    uint32_t about;      /* entries that were answered a moment ago, or waited then */
    uint32_t commit_us;  /* that a sync takes, smoothed */
    uint32_t rest;       /* batches that do not wait, after waiting has brought nothing */
    uint32_t rests_left; /* of them */
    uint64_t begun_us;
};

#define GATHER_US_MAX 2000      /* no batch waits longer, however slow the disk is */
#define GATHER_COMMIT_US_MIN 20 /* what is quicker is not worth waiting for */
#define GATHER_RESTS_MAX 63     /* batches */
#define GATHER_AT_ONCE_MAX 64   /* entries: for more a look for others is cheap, and makes fewer syncs */

/* A batch of so many was answered, its write took so long, and so many waited already. */
void gather_answered(struct gather *g, uint32_t entries, uint32_t waiting, uint64_t commit_us);
/* The next one has so many: it goes now, without a look for more. Not where a write costs next to nothing. */
bool gather_is_enough(const struct gather *g, uint32_t entries);
/* Else: how long it may wait for gather_missing more; 0: not at all. */
uint64_t gather_begin(struct gather *g, uint32_t entries, uint64_t now_us);
/* The same again, after it has waited. */
uint64_t gather_look(struct gather *g, uint32_t entries, uint64_t now_us);
/* More than there are: at least 1. */
uint32_t gather_missing(const struct gather *g, uint32_t entries);
