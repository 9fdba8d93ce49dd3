/* condition: what a route (or one side of a split) asks of a request besides host and path.
 *
 *      method: [GET, PUT]   header: {X-Version: v2, X-Debug: absent}   query: {page: ~ [0-9]+}   cookie:
 * {plan: "gold*"}
 *
 * All of them must fit. A value is written so:
 *
 *      v2        is exactly that            present   is there, whatever it says
 *      v2*       begins with that           absent    is not there
 *      ~ v[23]   fits the regex, whole      not X     what X says does not hold (so absent fits `not v2`)
 *      = v2*     is exactly "v2*"
 *
 * A field that stands there several times fits when one of its lines does. Values of the query are decoded.
 * Compiled when the file is loaded; immutable; any thread. */
#pragma once
#include "core/conf.h"
#include "proto/http.h"

struct regex;

struct condition_conf {
    struct conf_list method;                /* struct bytes */
    struct conf_list header, query, cookie; /* struct conf_pair */
};

/* Fields of a table whose struct has a condition_conf at offset base. */
#define CONDITION_FIELDS(base)                                                                               \
    { .name = "method",                                                                                      \
      .type = CONF_LIST,                                                                                     \
      .item = CONF_TEXT,                                                                                     \
      .offset = (base) + offsetof(struct condition_conf, method),                                            \
      .doc = "methods that it takes; `GET` takes HEAD too; all when not said" },                             \
        { .name = "header",                                                                                  \
          .type = CONF_PAIRS,                                                                                \
          .offset = (base) + offsetof(struct condition_conf, header),                                        \
          .doc = "fields of the request: `v2`, `v2*`, `present`, `absent`, `~ regex`, `not v2`, `= text`" }, \
        { .name = "query",                                                                                   \
          .type = CONF_PAIRS,                                                                                \
          .offset = (base) + offsetof(struct condition_conf, query),                                         \
          .doc = "parameters of the query, written in the same way" },                                       \
    {                                                                                                        \
        .name = "cookie", .type = CONF_PAIRS, .offset = (base) + offsetof(struct condition_conf, cookie),    \
        .doc = "cookies, written in the same way"                                                            \
    }

enum condition_of { CONDITION_HEADER, CONDITION_COOKIE, CONDITION_QUERY };
/* the more exact before the less */
enum condition_how { CONDITION_IS, CONDITION_BEGINS, CONDITION_FITS, CONDITION_THERE };

struct condition {
    enum condition_of of;
    enum condition_how how;
    bool negated;
    enum http_field_id id; /* of a header */
    struct bytes name, text;
    struct regex *regex; /* of CONDITION_FITS */
};

struct conditions {
    uint32_t methods;       /* bits of enum http_method; 0: any */
    struct conf_list other; /* struct bytes: methods without a bit */
    uint32_t count;
    struct condition at[];
};

/* Whether all is written as it should be, with the place in words. ERR_CONF, ERR_MEMORY. */
err condition_check(const struct condition_conf *conf, struct diag *reterr) CHECK_RESULT;
/* Compiles; NULL when nothing is asked. Memory is a's but for the regexes. */
err conditions_open(const struct condition_conf *conf, struct arena *a, struct conditions **ret_conditions,
                    struct diag *reterr) CHECK_RESULT;
void conditions_close(struct conditions *c);
/* More conditions first, the method being one; then those that are more exact. Below 0: a is more specific.
 */
int conditions_compare(const struct conditions *a, const struct conditions *b);
/* The same text for the same set, in whatever order it was written: " GET,PUT header x-version=v2". Empty for
 * NULL. */
struct bytes conditions_text(const struct conditions *c, struct arena *a);
struct bytes condition_text(const struct condition *c, struct arena *a);

/* A request that is asked, and memory for what has to be decoded. */
struct asked {
    const struct http_request *request;
    struct arena *arena;
    bool stalled; /* a regex ran into its bound, or the arena into its cap: that condition did not fit, and
                     the request is not to be trusted */
};

bool condition_method_fits(const struct conditions *c, const struct http_request *q);
bool condition_fits(const struct condition *c, struct asked *asked);
/* All of them; NULL fits everything. */
bool conditions_fit(const struct conditions *c, struct asked *asked);
