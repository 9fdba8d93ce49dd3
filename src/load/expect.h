/* expect: what an answer must be, and what is taken from it for later steps. Compiled when the scenario is
 * loaded; pure then; any thread that is regex_ready. */
#pragma once
#include "base/arena.h"
#include "base/diag.h"
#include "gate/regex.h"
#include "load/stats.h"
#include "proto/http.h"

#define EXPECT_STATUSES_MAX 16u

struct json;

/* What has come. json is read from the body the first time that somebody asks. */
struct expect_answer {
    const struct http_response *head;
    struct bytes body;
    uint64_t ns; /* that it took */
    struct arena *arena;
    struct json *json;
    bool json_tried;
};

struct expect_status {
    unsigned from, to;
};

struct expect_json {
    struct bytes pointer, value;
};

struct expect {
    struct expect_status statuses[EXPECT_STATUSES_MAX];
    unsigned statuses_count; /* 0: 100 to 399 */
    struct bytes contains;   /* ptr NULL: anything */
    struct regex *matches;   /* NULL: anything */
    const struct expect_json *json;
    size_t json_count;
    uint64_t within_ns; /* 0: any time */
};

/* "200", "2xx", "200-299". */
err expect_status_parse(struct bytes text, struct expect *into, struct diag *reterr) CHECK_RESULT;
/* Does it need the body? */
static inline bool expect_body(const struct expect *e)
{
    return e->contains.ptr || e->matches || e->json_count;
}
/* LOAD_NO_ERROR, or the first thing that is not so. */
enum load_error expect_look(const struct expect *e, struct expect_answer *a);

/*    id       word */
#define TAKE_LIST(X)    \
    X(JSON, "json")     \
    X(HEADER, "header") \
    X(COOKIE, "cookie") \
    X(REGEX, "regex")

enum take_kind {
#define X(id, word) TAKE_##id,
    TAKE_LIST(X)
#undef X
};

struct take {
    enum take_kind kind;
    struct bytes what; /* a pointer (RFC 6901), a name, a pattern */
    struct regex *regex;
    unsigned slot; /* of the user's variables */
};

/* "json /order/id", "header X-Token", "cookie SID", "regex id=([0-9]+)" (its first group). ERR_CONF. */
err take_parse(struct bytes text, struct take *ret_take, struct diag *reterr) CHECK_RESULT;
/* ptr NULL: the answer has it not. A slice of the answer, or in its arena. */
struct bytes take_from(const struct take *t, struct expect_answer *a);
