/* regex: regular expressions (PCRE2's), bounded: no pattern and no subject can stall a worker.
 *
 *      compile (load) ──▶ struct regex, immutable ──▶ any number of threads match with it at once
 *
 * What a match needs besides (frames, a stack for compiled code) belongs to the thread: made when a worker
 * opens a generation that has regexes (regex_ready), given back when the thread ends. A match stops after
 * REGEX_STEPS_MAX steps, which is under two milliseconds, with ERR_LIMIT. Without PCRE2 in the build
 * compiling is ERR_CONF, with words. */
#pragma once
#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

#define REGEX_STEPS_MAX 100000
#define REGEX_GROUPS_MAX 10 /* the whole match (0) and $1 to $9 */
#define REGEX_BYTES_MAX 4096

struct regex;

enum regex_anchor {
    REGEX_WHOLE,    /* the subject from its first to its last byte */
    REGEX_ANYWHERE, /* a part of it */
};

/* ERR_CONF (what is wrong and where in the pattern), ERR_MEMORY. */
err regex_compile(struct bytes pattern, enum regex_anchor anchor, struct regex **ret_regex,
                  struct diag *reterr) CHECK_RESULT;
void regex_free(struct regex *r);
/* This thread can match from now on without asking for memory; main thread or worker. ERR_MEMORY. */
err regex_ready(void) CHECK_RESULT;

struct regex_match {
    unsigned count;                        /* of groups, up to REGEX_GROUPS_MAX; 0: it does not fit */
    struct bytes groups[REGEX_GROUPS_MAX]; /* slices of the subject; ptr NULL: took no part */
};
/* From byte `from` of the subject on. OK whether it fits or not; ERR_LIMIT: REGEX_STEPS_MAX passed, nothing
 * is known. */
err regex_match(const struct regex *r, struct bytes subject, size_t from,
                struct regex_match *ret_match) CHECK_RESULT;

/* Groups of the pattern, the whole not counted. */
unsigned regex_groups(const struct regex *r);
/* The name of group i (from 1); empty: it has none. */
struct bytes regex_group_name(const struct regex *r, unsigned i);
/* The literal text that everything it matches begins with, as far as that is easily seen: "/img/" of
 * "/img/[0-9]+\.png". Written to out (at most size bytes); returns its length. */
size_t regex_literal_head(struct bytes pattern, char *out, size_t size);
