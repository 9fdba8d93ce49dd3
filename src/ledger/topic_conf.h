/* topic_conf: the ledger's topics as the configuration names them: what they keep, and where their messages
 * are pushed to. A part of ledger_conf. */
#pragma once
#include <stddef.h>

#include "core/conf.h"
#include "ledger/queue.h"

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
    uint64_t duplicate_ms;
};

/* The fields of how often a message is delivered, of any struct with these members: of the configuration,
 * and of a group that is made over HTTP. */
#define TOPIC_RETRY_FIELDS(struct_)                                                                         \
    { .name = "attempts",                                                                                   \
      .type = CONF_INT,                                                                                     \
      .offset = offsetof(struct struct_, attempts),                                                         \
      .preset = "16",                                                                                       \
      .min = 0,                                                                                             \
      .max = 1000000,                                                                                       \
      .doc = "deliveries, until a message is given up; 0: it never is" },                                   \
        { .name = "back_off",                                                                               \
          .type = CONF_MS,                                                                                  \
          .offset = offsetof(struct struct_, back_off_ms),                                                  \
          .preset = "1s",                                                                                   \
          .min = 1,                                                                                         \
          .max = (double)QUEUE_BACK_OFF_MS_MAX,                                                             \
          .doc = "before the second delivery; twice as long before each further one" },                     \
    {                                                                                                       \
        .name = "back_off_max", .type = CONF_MS, .offset = offsetof(struct struct_, back_off_ms_max),       \
        .preset = "5m", .min = 1, .max = (double)QUEUE_BACK_OFF_MS_MAX, .doc = "but never longer than this" \
    }

/* How long a publisher's own id is known, of any struct with duplicate_ms. */
#define TOPIC_DUPLICATE_FIELD(struct_)                                                                    \
    {                                                                                                     \
        .name = "duplicate_window", .type = CONF_MS, .offset = offsetof(struct struct_, duplicate_ms),    \
        .preset = "2m", .min = 100, .max = (double)QUEUE_DUPLICATE_WINDOW_MS_MAX,                         \
        .doc = "so long after a message with a publisher's own id, another one with it is not published " \
               "but answered as the first"                                                                \
    }

extern const struct conf_struct topic_conf_struct;

/* Those of a configuration (struct topic_conf) together. ERR_CONF. */
err topic_conf_check(const struct conf_list *topics, struct diag *reterr) CHECK_RESULT;
bool topic_conf_has(const struct conf_list *topics, struct bytes name);
