/* stats: what a run has seen, by kind of request. A worker fills one of its own; the control worker takes it
 * every interval and adds it up. Merging is exact: counts and histograms are sums.
 *
 *      due ──────────▶ sent ──────────▶ answered
 *       └ waits for its turn ┘└── service ──┘
 *       └─────────── response ──────────┘
 *
 * In a closed loop nothing is due before it is sent: only the service time is kept. One thread. */
#pragma once
#include "base/err.h"
#include "base/histogram.h"

/*    id        word        meaning */
#define LOAD_ERROR_LIST(X)                                            \
    X(CONNECT, "connect", "no connection was to be had")              \
    X(CLOSED, "closed", "the connection ended before the answer did") \
    X(TIMEOUT, "timeout", "no whole answer in time")                  \
    X(PROTOCOL, "protocol", "the answer was no HTTP")                 \
    X(STATUS, "status", "a status that is not expected")              \
    X(BODY, "body", "a body that is not as expected")                 \
    X(TIME, "time", "slower than its step allows")                    \
    X(EXTRACT, "extract", "the answer lacks what a later step needs") \
    X(SCRIPT, "script", "a hook of the script failed or said no")     \
    X(UNSENT, "unsent", "due, but no connection or user was free before the end")

enum load_error {
#define X(id, word, meaning) LOAD_ERROR_##id,
    LOAD_ERROR_LIST(X)
#undef X
        LOAD_ERRORS,
    LOAD_NO_ERROR = LOAD_ERRORS
};

const char *load_error_word(enum load_error e);
/* Of an answer that did not come. */
enum load_error load_error_of(err e);
const char *load_error_meaning(enum load_error e);

#define LOAD_STATUS_MIN 100u
#define LOAD_STATUSES 500u

struct load_kind {
    uint64_t sent;
    uint64_t answers; /* whole ones, whatever they said */
    uint64_t bad;     /* of them: not what they should be */
    uint64_t bytes_in, bytes_out;
    uint64_t errors[LOAD_ERRORS];
    uint64_t statuses[LOAD_STATUSES];   /* from LOAD_STATUS_MIN on */
    struct histogram service, response; /* of answers, and of timeouts with the time that they waited */
};

struct load_stats {
    unsigned kinds_count;
    uint64_t connects;                  /* connections that were opened */
    uint64_t iterations;                /* of scenarios that ended, well or not */
    uint64_t messages_out, messages_in; /* of WebSockets, all of them */
    struct histogram lag; /* how late the generator itself was: due and a connection free, but not sent */
    struct load_kind kinds[];
};

/* ERR_MEMORY. */
err load_stats_open(unsigned kinds_count, struct load_stats **ret_stats) CHECK_RESULT;
void load_stats_close(struct load_stats *s);
void load_stats_reset(struct load_stats *s);
/* Both of the same kinds. */
void load_stats_merge(struct load_stats *s, const struct load_stats *from);
/* All kinds as one: into, a struct load_stats of one kind, is emptied first. */
void load_stats_total(const struct load_stats *s, struct load_stats *into);
uint64_t load_kind_errors(const struct load_kind *k);
/* Requests that were meant to be: sent, and those that could not be. */
uint64_t load_kind_tried(const struct load_kind *k);
/* Whole answers without an error. */
uint64_t load_kind_good(const struct load_kind *k);

static inline void load_count_status(struct load_kind *k, unsigned status)
{
    if (status - LOAD_STATUS_MIN < LOAD_STATUSES)
        k->statuses[status - LOAD_STATUS_MIN]++;
}

/* Of a whole answer, once. */
static inline void load_count_bad(struct load_kind *k, enum load_error why)
{
    k->errors[why]++;
    k->bad++;
}
