/* history: the last configurations that were in force, kept in state_dir.
 *
 *   state_dir/weir.yaml-1a2b3c4d/   12.yaml   the text          (the folder is of one configuration file:
 *                                   12.diff   against 11         its name and a hash of its path)
 *                                   12.about  time, author, reason
 *
 * Numbers go on over restarts and upgrades. Control thread; reads and writes files. */
#pragma once
#include "base/arena.h"
#include "base/diag.h"
#include "base/err.h"
#include "base/text.h"

#define HISTORY_KEPT 5
#define HISTORY_WORD_BYTES_MAX 256
#define STATE_DIR_AUTO "auto"

struct history_entry {
    uint64_t number;
    int64_t time_s; /* since 1970 */
    char author[HISTORY_WORD_BYTES_MAX];
    char reason[HISTORY_WORD_BYTES_MAX];
    uint64_t bytes; /* of the text */
};

/* Which folder from now on. state_dir: "auto", "off" or a path; conf_path: the configuration file. ERR_CONF
 * with words: it cannot be made or written to; then it stays as it was. */
err history_open(struct bytes state_dir, const char *conf_path, struct diag *reterr) CHECK_RESULT;
/* Empty: nothing is kept. */
const char *history_folder(void);
/* The newest number kept; 0: none. */
uint64_t history_newest(void);
/* Is that the newest one's text? */
bool history_is_newest(struct bytes text);
/* Oldest first; returns how many. */
unsigned history_list(struct history_entry out[HISTORY_KEPT]);
/* Keeps that text, unless it is the newest one's already; the oldest goes. */
err history_keep(const struct history_entry *e, struct bytes text, struct diag *reterr) CHECK_RESULT;
/* The text of one; ret_text is the arena's. ERR_NOT_FOUND. */
err history_text(uint64_t number, struct arena *a, struct bytes *ret_text) CHECK_RESULT;
/* What changed when it was kept. */
err history_diff(uint64_t number, struct arena *a, struct bytes *ret_text) CHECK_RESULT;
/* Replaces the configuration file (a rollback that shall last): whole or not at all, with its mode and
 * owner; a link goes on pointing where it did. */
err history_write_conf(const char *path, struct bytes text, struct diag *reterr) CHECK_RESULT;
/* Where a state directory is when the configuration does not say: what systemd gave (StateDirectory=), or
 * /var/lib/weir where that exists; "" else. */
const char *history_default(void);
