/* rate_limit: so many requests in a time, for each client, key or path, or for a route as a whole; the others
 * get 429.
 *
 *      rate_limit: 50/s per ip                              50 at once (the burst), then one every 20 ms
 *      rate_limit: [50/s per ip, 1000/m per header X-Api-Key burst 50]
 *
 * Each limit counts in a table of its own (gate/rate_table.h), which serves all workers and outlives reloads;
 * limits of one name on several routes count in one. Of several on a route all must admit a request: they are
 * asked first, then charged; when one of them refuses after all, because another worker took its last place
 * in between, those that were charged get it back.
 *
 * The fields on answers are those of draft-ietf-httpapi-ratelimit-headers-10. */
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/gate_conf.h"
#include "gate/rate_table.h"
#include "gate/request_key.h"

#define LIMITS_MAX 8 /* of one route */
#define NAME_BYTES_MAX 100
#define LABEL_BYTES_MAX 160

enum answer_fields { FIELDS_REFUSED, FIELDS_ALWAYS, FIELDS_OFF };
static const char *const fields_words[] = { "refused", "always", "off", NULL };

enum absent { ABSENT_COUNTS, ABSENT_PASSES };
static const char *const absent_words[] = { "counts", "passes", NULL };

struct limit_conf {
    struct conf_rate rate;
    struct bytes key_text;
    int64_t burst; /* 0: the rate's count */
    struct bytes name;
    int64_t keys_max;
    int absent;
    int fields;
    bool legacy_fields;
    struct request_key key;          /* from key_text */
    struct rate decided;             /* from rate and burst */
    char label[LABEL_BYTES_MAX + 1]; /* the name, or "50/s per ip": in fields, metrics and the report */
};

struct rate_limit_conf {
    struct conf_list limits; /* struct limit_conf */
};

/* ---- metrics ---- */

#define RATE_LIMIT_METRICS(X)                                                     \
    X(ALLOWED, "allowed_total", METRIC_COUNTER, "Requests that were let through") \
    X(LIMITED, "limited_total", METRIC_COUNTER, "Requests that got 429")          \
    X(FORGOTTEN, "forgotten_total", METRIC_COUNTER,                               \
      "Keys forgotten early because more than keys_max were active")

enum rate_limit_metric {
#define X(id, name, type, help) METRIC_##id,
    RATE_LIMIT_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "rate_limit",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            RATE_LIMIT_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", "limit", NULL },
};

/* ---- the filter ---- */

struct limit {
    const struct limit_conf *conf;
    struct rate_table table;
    void *shared; /* the table's memory */
    struct bytes label;
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

struct rate_limit {
    unsigned count;
    bool tells; /* answers that pass get fields too */
    struct limit limits[];
};

/* What was found for one request. */
struct asked {
    struct rate_place places[LIMITS_MAX];
    struct rate_verdict verdicts[LIMITS_MAX];
    bool counts[LIMITS_MAX]; /* false: the limit has nothing to say of this request */
};

static void find_places(const struct rate_limit *r, struct exchange *x, struct asked *asked)
{
    for (unsigned i = 0; i < r->count; i++) {
        const struct limit *l = &r->limits[i];
        const struct bytes key = request_key_of(&l->conf->key, x);
        asked->counts[i] = key.len || l->conf->absent == ABSENT_COUNTS;
        asked->verdicts[i] = (struct rate_verdict){ .allowed = true };
        if (asked->counts[i])
            asked->places[i] = rate_table_find(&l->table, key);
    }
}

/* Index of the one that refuses and has the most to wait for; count: none does. */
static unsigned refusing(const struct rate_limit *r, const struct asked *asked)
{
    unsigned worst = r->count;
    for (unsigned i = 0; i < r->count; i++) {
        if (!asked->verdicts[i].allowed &&
            (worst == r->count || asked->verdicts[i].wait_ns > asked->verdicts[worst].wait_ns))
            worst = i;
    }
    return worst;
}

static void peek_all(const struct rate_limit *r, struct asked *asked, uint64_t cost, uint64_t now_ns)
{
    for (unsigned i = 0; i < r->count; i++) {
        if (asked->counts[i])
            asked->verdicts[i] = rate_table_peek(asked->places[i], &r->limits[i].conf->decided, cost, now_ns);
    }
}

/* All or none. */
static unsigned take_all(const struct rate_limit *r, struct asked *asked, uint64_t cost, uint64_t now_ns)
{
    for (unsigned i = 0; i < r->count; i++) {
        if (!asked->counts[i])
            continue;
        asked->verdicts[i] = rate_table_take(asked->places[i], &r->limits[i].conf->decided, cost, now_ns);
        if (asked->verdicts[i].allowed)
            continue;
        for (unsigned j = 0; j < i; j++) {
            if (asked->counts[j])
                rate_table_refund(asked->places[j], &r->limits[j].conf->decided, cost);
        }
        return i;
    }
    return r->count;
}

/* Index of the limit that refuses; count: it may pass, and is charged. */
static unsigned ask(const struct rate_limit *r, struct exchange *x, struct asked *asked)
{
    const uint64_t now_ns = worker_now_us() * 1000;
    const uint64_t cost = x->weight;
    find_places(r, x, asked);
    if (r->count > 1) {
        peek_all(r, asked, cost, now_ns);
        const unsigned refused = refusing(r, asked);
        if (refused < r->count)
            return refused;
    }
    return take_all(r, asked, cost, now_ns);
}

/* ---- what clients are told ---- */

static uint64_t seconds_up(uint64_t ns)
{
    return (ns + 999999999) / 1000000000;
}

static err field(struct exchange *x, struct bytes name, struct bytes value)
{
    return value.ptr ? http_fields_set(&x->response.fields, &x->arena, name, value) : ERR_LIMIT;
}

static err field_u64(struct exchange *x, struct bytes name, uint64_t value)
{
    return field(x, name, arena_print(&x->arena, "%" PRIu64, value));
}

/* "a";q=50;w=1, "b";q=1000;w=60: quota and window in seconds of all that say something. */
static err policy_field(const struct rate_limit *r, struct exchange *x)
{
    struct bytes list = BYTES_NONE;
    for (unsigned i = 0; i < r->count; i++) {
        const struct limit *l = &r->limits[i];
        if (l->conf->fields == FIELDS_OFF)
            continue;
        list = arena_print(&x->arena, "%.*s%s\"%.*s\";q=%" PRIu64 ";w=%" PRIu64, BYTES_ARG(list),
                           list.len ? ", " : "", BYTES_ARG(l->label), l->conf->rate.count,
                           (l->conf->rate.per_ms + 999) / 1000);
        if (!list.ptr)
            return ERR_LIMIT;
    }
    return list.len ? field(x, BYTES("RateLimit-Policy"), list) : OK;
}

/* What is left of the one limit that binds the most. */
static err remaining_fields(const struct limit *l, const struct rate_verdict *v, struct exchange *x)
{
    const uint64_t reset_s =
        seconds_up(v->allowed ? rate_full_ns(&l->conf->decided, v->remaining) : v->wait_ns);
    const uint64_t left = v->allowed ? v->remaining : 0;
    err e = OK;
    if (l->conf->fields != FIELDS_OFF)
        e = field(
            x, BYTES("RateLimit"),
            arena_print(&x->arena, "\"%.*s\";r=%" PRIu64 ";t=%" PRIu64, BYTES_ARG(l->label), left, reset_s));
    if (e || !l->conf->legacy_fields)
        return e;
    e = field_u64(x, BYTES("X-RateLimit-Limit"), l->conf->rate.count);
    if (!e)
        e = field_u64(x, BYTES("X-RateLimit-Remaining"), left);
    return e ? e : field_u64(x, BYTES("X-RateLimit-Reset"), reset_s);
}

/* Retry-After: RFC 9110 10.2.3. */
static err refuse(const struct rate_limit *r, struct exchange *x, const struct asked *asked, unsigned refused)
{
    const struct limit *l = &r->limits[refused];
    metric_inc(l->cells, METRIC_LIMITED);
    exchange_answer(x, 429, BYTES_NONE, BYTES_NONE, BYTES("rate_limit"));
    err e = field_u64(x, BYTES("Retry-After"), seconds_up(asked->verdicts[refused].wait_ns));
    if (!e)
        e = policy_field(r, x);
    return e ? e : remaining_fields(l, &asked->verdicts[refused], x);
}

/* Of those that tell, the one with the least left for its quota. */
static err tell(const struct rate_limit *r, struct exchange *x, const struct asked *asked)
{
    const struct limit *least = NULL;
    const struct rate_verdict *v = NULL;
    for (unsigned i = 0; i < r->count; i++) {
        const struct limit *l = &r->limits[i];
        if (!asked->counts[i] || l->conf->fields != FIELDS_ALWAYS)
            continue;
        if (!least ||
            asked->verdicts[i].remaining * least->conf->rate.count < v->remaining * l->conf->rate.count) {
            least = l;
            v = &asked->verdicts[i];
        }
    }
    if (!least)
        return OK;
    const err e = policy_field(r, x);
    return e ? e : remaining_fields(least, v, x);
}

static err rate_limit_handle(struct exchange *x, void *state, struct chain *next)
{
    struct rate_limit *r = state;
    struct asked asked;
    const unsigned refused = ask(r, x, &asked);
    if (refused < r->count)
        return refuse(r, x, &asked, refused);
    for (unsigned i = 0; i < r->count; i++) {
        metric_inc(r->limits[i].cells, METRIC_ALLOWED);
        if (asked.verdicts[i].forgot)
            metric_inc(r->limits[i].cells, METRIC_FORGOTTEN);
    }
    const err e = chain_next(next, x);
    return e || !r->tells ? e : tell(r, x, &asked);
}

#define EARLY_KEYS_MIN 10000 /* fewer stay in the cache by themselves */

/* What cannot tell requests apart needs no room for many. */
static uint64_t keys_of(const struct limit_conf *c)
{
    const bool one = c->key.kind == REQUEST_KEY_ALL || (c->key.kind == REQUEST_KEY_ROUTE && !c->name.len);
    return one ? 1 : (uint64_t)c->keys_max;
}

/* A miss of all caches is most of what a decision costs; it is over by the time that the head is parsed, and
 * most of it by the time that the route is found. */
static bool rate_limit_early(struct exchange *x, void *state, enum early when)
{
    const struct rate_limit *r = state;
    bool wished = false;
    for (unsigned i = 0; i < r->count; i++) {
        const struct limit *l = &r->limits[i];
        const bool suits = when == (l->conf->key.kind == REQUEST_KEY_IP ? EARLY_CLIENT : EARLY_HEAD);
        if (!suits || keys_of(l->conf) < EARLY_KEYS_MIN)
            continue;
        wished = true;
        if (x)
            (void)rate_table_find(&l->table, request_key_of(&l->conf->key, x));
    }
    return wished;
}

/* ---- opening ---- */

static void rate_limit_close(void *state)
{
    struct rate_limit *r = state;
    for (unsigned i = 0; i < r->count; i++) {
        metric_instance_free(r->limits[i].metrics);
        if (r->limits[i].shared)
            shared_put(r->limits[i].shared);
    }
    mem_free(r);
}

/* The same limit of the same route, or of the same name, finds its table again after a reload; another one
 * begins anew. */
static err table_open(struct limit *l, struct bytes scope, unsigned index)
{
    const struct limit_conf *c = l->conf;
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    const struct bytes whose = c->name.len ? arena_print(&a, "name %.*s", BYTES_ARG(c->name))
                                           : arena_print(&a, "route %u %.*s", index, BYTES_ARG(scope));
    const struct bytes name = arena_print(
        &a, "rate_limit/2 %" PRIu64 "/%" PRIu64 "ms burst %" PRIu64 " keys %" PRIu64 " per %.*s %.*s",
        c->rate.count, c->rate.per_ms, c->decided.burst_ticks >> c->decided.shift, keys_of(c),
        BYTES_ARG(c->key_text), BYTES_ARG(whose));
    l->shared = whose.ptr && name.ptr ? shared_get(name, rate_table_bytes(keys_of(c))) : NULL;
    arena_close(&a);
    if (!l->shared)
        return ERR_MEMORY;
    rate_table_open(&l->table, l->shared, keys_of(c));
    return OK;
}

static err limit_open(struct limit *l, const struct limit_conf *c, struct bytes scope, unsigned index)
{
    l->conf = c;
    l->label = bytes_from(c->label);
    err e = table_open(l, scope, index);
    if (!e)
        e = metric_instance_open(&metric_group, (const struct bytes[]){ scope, l->label }, &l->metrics);
    if (!e)
        l->cells = metric_cells(l->metrics, worker_index(worker_self()));
    return e;
}

static err rate_limit_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                           struct diag *reterr)
{
    (void)g;
    (void)reterr;
    const struct rate_limit_conf *c = conf;
    struct rate_limit *r = mem_get(sizeof *r + c->limits.count * sizeof *r->limits);
    if (!r)
        return ERR_MEMORY;
    for (size_t i = 0; i < c->limits.count; i++) {
        const struct limit_conf *l = (const struct limit_conf *)c->limits.items + i;
        r->count = (unsigned)i + 1;
        r->tells |= l->fields == FIELDS_ALWAYS;
        err e = limit_open(&r->limits[i], l, scope, (unsigned)i);
        if (e) {
            rate_limit_close(r);
            return e;
        }
    }
    *ret_state = r;
    return OK;
}

static void rate_limit_report(void *state, struct text *json)
{
    const struct rate_limit *r = state;
    json_begin(json, "limits", '[');
    for (unsigned i = 0; i < r->count; i++) {
        const struct limit *l = &r->limits[i];
        json_begin(json, NULL, '{');
        json_text(json, "name", l->label);
        json_text(json, "key", l->conf->key_text);
        json_u64(json, "count", l->conf->rate.count);
        json_u64(json, "per_ms", l->conf->rate.per_ms);
        json_u64(json, "burst", l->conf->decided.burst_ticks >> l->conf->decided.shift);
        json_u64(json, "allowed", metric_value(l->metrics, METRIC_ALLOWED));
        json_u64(json, "limited", metric_value(l->metrics, METRIC_LIMITED));
        json_u64(json, "forgotten", metric_value(l->metrics, METRIC_FORGOTTEN));
        json_end(json, '}');
    }
    json_end(json, ']');
}

/* ---- configuration ---- */

/* What may stand between quotes in a field (RFC 8941 3.3.3). */
static bool is_quotable(struct bytes text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < ' ' || text.ptr[i] > '~' || text.ptr[i] == '"' || text.ptr[i] == '\\')
            return false;
    }
    return true;
}

static err label_print(struct limit_conf *c, struct diag *reterr)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } units[] = { { 1000, "s" }, { 60000, "m" }, { 3600000, "h" } };
    char unit[32];
    snprintf(unit, sizeof unit, "%" PRIu64 "ms", c->rate.per_ms);
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (units[i].ms == c->rate.per_ms)
            snprintf(unit, sizeof unit, "%s", units[i].text);
    }
    if (c->name.len > NAME_BYTES_MAX || !is_quotable(c->name)) {
        diag_set(reterr,
                 "name: \"%.*s\" is not a text of at most %d ASCII letters, digits and signs without quotes",
                 BYTES_ARG(c->name), NAME_BYTES_MAX);
        return ERR_CONF;
    }
    const int len =
        c->name.len ? snprintf(c->label, sizeof c->label, "%.*s", BYTES_ARG(c->name))
                    : snprintf(c->label, sizeof c->label, "%" PRIu64 "/%s%s%.*s", c->rate.count, unit,
                               c->key.kind == REQUEST_KEY_ALL ? "" : " per ",
                               c->key.kind == REQUEST_KEY_ALL ? 0 : (int)c->key_text.len, c->key_text.ptr);
    if ((size_t)len < sizeof c->label && is_quotable(bytes_from(c->label)))
        return OK;
    diag_set(reterr, "this limit needs a `name`: clients are told \"%.60s\" else", c->label);
    return ERR_CONF;
}

static err limit_check(void *conf, struct diag *reterr)
{
    struct limit_conf *c = conf;
    c->key_text = bytes_trim(c->key_text);
    err e = request_key_parse(c->key_text, &c->key, reterr);
    if (e)
        return e;
    const uint64_t burst = c->burst ? (uint64_t)c->burst : c->rate.count;
    if (rate_init(&c->decided, c->rate.count, c->rate.per_ms, burst))
        return label_print(c, reterr);
    diag_set(reterr, "burst: %" PRIu64 " requests at this rate take longer than can be counted", burst);
    return ERR_CONF;
}

static err rate_limit_list_check(void *conf, struct diag *reterr)
{
    const struct rate_limit_conf *c = conf;
    const struct limit_conf *limits = c->limits.items;
    for (size_t i = 1; i < c->limits.count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(limits[i].label, limits[j].label) != 0)
                continue;
            diag_set(reterr, "two limits of one route are called \"%s\": give one of them another `name`",
                     limits[i].label);
            return ERR_CONF;
        }
    }
    return OK;
}

static bool same_limit(const struct limit_conf *a, const struct limit_conf *b)
{
    return a->rate.count == b->rate.count && a->rate.per_ms == b->rate.per_ms &&
           a->decided.burst_ticks == b->decided.burst_ticks && keys_of(a) == keys_of(b) &&
           bytes_eq(a->key_text, b->key_text);
}

static const struct conf_module *module_of(const struct gate_conf *conf, size_t route, unsigned index)
{
    const struct route_conf *r = (const struct route_conf *)conf->routes.items + route;
    for (size_t i = 0; i < r->filters.count; i++) {
        const struct conf_module *m = (const struct conf_module *)r->filters.items + i;
        if (m->index == index)
            return m;
    }
    return NULL;
}

/* The limit of that name on one of the first routes. */
static const struct limit_conf *find_named(const struct gate_conf *conf, unsigned index, size_t routes,
                                           struct bytes name)
{
    for (size_t i = 0; i < routes; i++) {
        const struct conf_module *m = module_of(conf, i, index);
        const struct rate_limit_conf *c = m ? m->conf : NULL;
        for (size_t j = 0; c && j < c->limits.count; j++) {
            const struct limit_conf *l = (const struct limit_conf *)c->limits.items + j;
            if (bytes_eq(l->name, name))
                return l;
        }
    }
    return NULL;
}

/* Limits of one name count together, so they have to be the same. */
static err rate_limit_check(const struct gate_conf *conf, unsigned index, struct diag *reterr)
{
    for (size_t i = 1; i < conf->routes.count; i++) {
        const struct conf_module *m = module_of(conf, i, index);
        const struct rate_limit_conf *c = m ? m->conf : NULL;
        for (size_t j = 0; c && j < c->limits.count; j++) {
            const struct limit_conf *l = (const struct limit_conf *)c->limits.items + j;
            const struct limit_conf *before = l->name.len ? find_named(conf, index, i, l->name) : NULL;
            if (!before || same_limit(l, before))
                continue;
            diag_set(reterr,
                     "the limit \"%s\" is another one on a route before: limits of one name count together, "
                     "so rate, "
                     "key, burst and keys_max have to be the same",
                     l->label);
            reterr->line = m->mark.line;
            reterr->column = m->mark.column;
            return ERR_CONF;
        }
    }
    return OK;
}

static const struct conf_struct limit_struct = {
    .name = "limit",
    .size = sizeof(struct limit_conf),
    .phrases =
        (const char *const[]){ "{rate} per {key} burst {burst} as {name}", "{rate} per {key} burst {burst}",
                               "{rate} per {key} as {name}", "{rate} per {key}", "{rate} burst {burst}",
                               "{rate} as {name}", "{rate}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "rate",
              .type = CONF_RATE,
              .offset = offsetof(struct limit_conf, rate),
              .required = true,
              .min = 1,
              .max = RATE_COUNT_MAX,
              .doc = "how many requests in which time: `50/s`, `1000/m`, `10/h`" },
            { .name = "key",
              .type = CONF_TEXT,
              .offset = offsetof(struct limit_conf, key_text),
              .preset = "all",
              .doc = "what is counted together: " REQUEST_KEY_DOC },
            { .name = "burst",
              .type = CONF_INT,
              .offset = offsetof(struct limit_conf, burst),
              .min = 1,
              .max = RATE_BURST_MAX,
              .doc = "how many may come at once after a pause; when not said, the rate's count" },
            { .name = "name",
              .type = CONF_TEXT,
              .offset = offsetof(struct limit_conf, name),
              .doc = "routes whose limits have the same name count together" },
            { .name = "keys_max",
              .type = CONF_INT,
              .offset = offsetof(struct limit_conf, keys_max),
              .preset = "100000",
              .min = 2,
              .max = 1e9,
              .doc = "how many clients can be told apart at a time; each takes 32 bytes" },
            { .name = "absent",
              .type = CONF_WORD,
              .offset = offsetof(struct limit_conf, absent),
              .preset = "counts",
              .words = absent_words,
              .doc = "a request without the header, cookie or parameter: `counts`, all such together; "
                     "`passes`, this "
                     "limit is not for it" },
            { .name = "fields",
              .type = CONF_WORD,
              .offset = offsetof(struct limit_conf, fields),
              .preset = "refused",
              .words = fields_words,
              .doc = "which answers get `RateLimit` and `RateLimit-Policy`: those that are `refused`, "
                     "`always` all, "
                     "or none (`off`)" },
            { .name = "legacy_fields",
              .type = CONF_BOOL,
              .offset = offsetof(struct limit_conf, legacy_fields),
              .doc = "where those go also `X-RateLimit-Limit`, `-Remaining` and `-Reset`" },
            { 0 } },
    .check = limit_check,
    .doc = "One limit.",
};

const struct filter rate_limit_filter = {
    .conf = { .name = "rate_limit",
              .size = sizeof(struct rate_limit_conf),
              .is_list = true,
              .fields = (const struct conf_field[]){ { .name = "limits",
                                                       .type = CONF_LIST,
                                                       .offset = offsetof(struct rate_limit_conf, limits),
                                                       .required = true,
                                                       .max = LIMITS_MAX,
                                                       .sub = &limit_struct,
                                                       .doc = "all of them must let a request pass" },
                                                     { 0 } },
              .check = rate_limit_list_check,
              .doc = "Lets so many requests in a time pass, and answers the others with 429." },
    .open = rate_limit_open,
    .handle = rate_limit_handle,
    .early = rate_limit_early,
    .close = rate_limit_close,
    .check = rate_limit_check,
    .report = rate_limit_report,
};
