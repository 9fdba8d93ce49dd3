/* topic_conf: the ledger's topics as the configuration names them: what they keep, and where their messages
 * are pushed to. A part of ledger_conf. */
#pragma once
#include "core/conf.h"

#define TOPIC_AUTO CONF_INT_WORD(0)
#define TOPIC_CONCURRENCY_MAX 256 /* deliveries of a topic at the same time */
#define TOPIC_PATH_BYTES_MAX 512
#define TOPICS_MAX 1000 /* of the configuration */

/* Where messages go by POST. */
struct topic_push_conf {
    struct bytes service, path;
    int64_t concurrency; /* or TOPIC_AUTO */
    uint64_t timeout_ms;
};

struct topic_conf {
    struct bytes name;
    uint64_t keep_ms, keep_bytes; /* CONF_MS_OFF, 0: all */
    bool order_by_key;
    int64_t attempts; /* 0: for ever */
    uint64_t back_off_ms, back_off_ms_max;
    struct bytes dead_letter;      /* empty: none */
    struct topic_push_conf *push;  /* NULL: it is only pulled */
    struct topic_push_conf *check; /* of half messages whose publisher is silent; NULL: nobody is asked */
    uint64_t check_after_ms;
    int64_t checks;
};

extern const struct conf_struct topic_conf_struct;

/* Those of a configuration (struct topic_conf) together. ERR_CONF. */
err topic_conf_check(const struct conf_list *topics, struct diag *reterr) CHECK_RESULT;
bool topic_conf_has(const struct conf_list *topics, struct bytes name);
