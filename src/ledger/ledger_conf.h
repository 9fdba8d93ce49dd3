/* ledger_conf: the ledger's section of the configuration, and the one ledger of the process that comes of it.
 * Start, hand-over and stop: the control thread. */
#pragma once
#include "core/conf.h"
#include "ledger/ledger_open.h"
#include "net/api_conf.h"

struct ledger_durability_conf {
    int mode; /* enum ledger_durability */
    uint64_t every_ms;
};

#define LEDGER_PASSWORD_BYTES_MAX 512

struct ledger_conf {
    struct bytes path;
    struct conf_mark mark;
    struct ledger_durability_conf *durability;
    uint64_t memory_bytes_max;
    uint64_t segment_bytes;
    uint64_t log_keep_bytes;
    uint64_t checkpoint_interval_ms;
    uint64_t checkpoint_bytes_max;
    int64_t batch_entries_max;
    struct api_conf *http;                  /* NULL: none */
    struct bytes stock_file;                /* empty: none */
    struct addr listen;                     /* of clients that speak RESP; len 0: none */
    struct tls_listen_conf *tls;            /* of it; NULL: in the clear */
    struct bytes password;                  /* of theirs: a text, "file:/path", "env:NAME"; empty: none */
    char secret[LEDGER_PASSWORD_BYTES_MAX]; /* what password stands for, read with the configuration */
    uint32_t secret_bytes;
    struct conf_list topics; /* struct topic_conf */
    struct bytes key;        /* "file:/path", "env:NAME"; empty: not encrypted */
};

extern const struct conf_struct ledger_conf_struct;

/* Opens it, and it is ledger_here() from then on. conf NULL: there is none. later: another process still has
 * it: it is opened when that one lets go, and what is sent until then waits. */
err ledger_start(const struct ledger_conf *conf, bool later, struct diag *reterr) CHECK_RESULT;
/* Says in the log what of another configuration takes a restart. */
void ledger_compare(const struct ledger_conf *now, const struct ledger_conf *next);
/* From a fiber: a copy of it in a new folder. */
err ledger_copy(const char *folder, struct diag *reterr) CHECK_RESULT;
/* The process that takes over will be at the other end of that socket (ledger/pass_on.h), which is ours from
 * now on. */
void ledger_next_process(int fd);
/* From a fiber. The next process may have it: what was sent is answered and safe, what is sent from now on is
 * passed on to it or not accepted.
 */
void ledger_hand_over(void);
/* Any thread: it is the next process' (or about to be). Nothing is shown here any more. */
bool ledger_handed_over(void);
/* From a fiber, which stays: what the process before passes on over that socket is done. */
void ledger_serve_before(int fd);
/* The same, and all is freed: the workers have ended. */
void ledger_stop(void);
