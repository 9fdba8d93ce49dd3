/* split: divides a route's requests among services, in exact shares: a canary, or old against new.
 *
 *      service: shop
 *      split: 10% to shop-v2                                  the rest goes to shop
 *      split:
 *        services: [{service: shop-v2, percent: 10%, header: {X-Canary: present}}]
 *        sticky: cookie
 *
 *   a side's conditions fit? ─▶ that side
 *   sticky, and it is known where this client was? ─▶ there
 *   else: the next place of a schedule, which all workers walk together
 *
 * The schedule has each side as often as its share says, spread out as evenly as can be (the smooth weighted
 * round robin of nginx, commit 52327e0, worked out once), so the shares are exact over each turn of it. */
#include <stdatomic.h>

#include "base/hash.h"
#include "base/hex.h"
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/condition.h"
#include "gate/filter.h"
#include "gate/gate.h"
#include "gate/regex.h"
#include "gate/request_key.h"
#include "proto/http_cookie.h"

#define SIDES_MAX 16
#define UNITS 10000 /* of a share: hundredths of a percent */

struct side_conf {
    struct bytes service;
    double percent; /* 0 to 1 */
    struct condition_conf asks;
};

struct split_conf {
    struct conf_list services; /* struct side_conf */
    struct bytes sticky;
    struct request_key key; /* of sticky, unless it is a cookie or off */
    struct bytes cookie;
    uint64_t cookie_age_ms; /* CONF_MS_OFF: as long as the browser runs */
};

/* ---- metrics ---- */

#define SPLIT_METRICS(X)                                                                             \
    X(REQUESTS, "requests_total", METRIC_COUNTER, "Requests of the route that went to this service") \
    X(FORCED, "forced_total", METRIC_COUNTER, "Of these, those that a condition sent there")         \
    X(STUCK, "stuck_total", METRIC_COUNTER,                                                          \
      "Of these, those whose client had been there, or whose key said so")

enum split_metric {
#define X(id, name, type, help) METRIC_##id,
    SPLIT_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "split",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            SPLIT_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", "service", NULL },
};

/* ---- shares ---- */

static uint32_t units_of(double percent)
{
    return (uint32_t)(percent * UNITS + 0.5);
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* Which side each place has; returns how many places there are: UNITS at most, fewer where the shares have a
 * divisor. */
static uint32_t schedule(const uint32_t *units, unsigned sides, uint8_t *out)
{
    int64_t credit[SIDES_MAX] = { 0 };
    uint32_t divisor = 0, places = 0;
    for (unsigned i = 0; i < sides; i++)
        divisor = common_divisor(units[i], divisor);
    for (unsigned i = 0; i < sides; i++)
        places += divisor ? units[i] / divisor : 0;
    for (uint32_t at = 0; at < places; at++) {
        unsigned best = 0;
        for (unsigned i = 0; i < sides; i++) {
            credit[i] += units[i] / divisor;
            if (credit[i] > credit[best])
                best = i;
        }
        credit[best] -= places;
        out[at] = (uint8_t)best;
    }
    return places;
}

/* By a number of 0 to UNITS - 1; the first sides have the lowest, so a first side that grows keeps whom it
 * had. */
static unsigned side_of_unit(const uint32_t *units, unsigned sides, uint32_t unit)
{
    unsigned i = 0;
    while (i + 1 < sides && unit >= units[i])
        unit -= units[i++];
    return i;
}

/* The same in all processes and over restarts, so it is not the process's own key. */
static uint64_t hash_of(struct bytes text)
{
    return hash_sip13((struct hash_key){ 0x7765697273706c69ULL, 0x74206f6620726f75ULL }, text);
}

/* ---- checks, when the configuration is loaded ---- */

static bool is_cookie(const struct split_conf *c)
{
    return bytes_eq(c->sticky, BYTES("cookie"));
}

static bool is_off(const struct split_conf *c)
{
    return bytes_eq(c->sticky, BYTES("off"));
}

static err side_check(void *conf, struct diag *reterr)
{
    const struct side_conf *s = conf;
    double units = s->percent * UNITS;
    if (units - (double)units_of(s->percent) > 1e-6 || (double)units_of(s->percent) - units > 1e-6) {
        diag_set(reterr, "percent: shares are in hundredths of a percent");
        return ERR_CONF;
    }
    const struct condition_conf *a = &s->asks;
    if (s->percent == 0 && !a->method.count && !a->header.count && !a->query.count && !a->cookie.count) {
        diag_set(reterr, "%.*s gets nothing: expected a percent above 0%%, or a condition",
                 BYTES_ARG(s->service));
        return ERR_CONF;
    }
    return condition_check(a, reterr);
}

static uint32_t units_in_all(const struct split_conf *c)
{
    uint32_t units = 0;
    const struct side_conf *sides = c->services.items;
    for (size_t i = 0; i < c->services.count; i++)
        units += units_of(sides[i].percent);
    return units;
}

static err split_conf_check(void *conf, struct diag *reterr)
{
    struct split_conf *c = conf;
    const struct side_conf *sides = c->services.items;
    for (size_t i = 0; i < c->services.count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!bytes_eq(sides[i].service, sides[j].service))
                continue;
            diag_set(reterr, "services: %.*s stands twice", BYTES_ARG(sides[i].service));
            return ERR_CONF;
        }
    }
    if (units_in_all(c) > UNITS) {
        diag_set(reterr, "services: the shares are more than 100%%");
        return ERR_CONF;
    }
    if (c->cookie.len && (!http_is_token(c->cookie) || !is_cookie(c))) {
        diag_set(reterr, is_cookie(c) ? "cookie: not a name" : "cookie: expected `sticky: cookie` with it");
        return ERR_CONF;
    }
    return is_cookie(c) || is_off(c) ? OK : request_key_parse(c->sticky, &c->key, reterr);
}

static err split_check_route(const void *conf, const struct filter_place *place, struct diag *reterr)
{
    const struct split_conf *c = conf;
    const struct side_conf *sides = c->services.items;
    uint32_t units = units_in_all(c);
    if (units < UNITS && !place->route->service.len) {
        diag_set(reterr, "the shares are %.2f%%: expected 100%%, or a `service` in the route for the rest",
                 (double)units * 100 / UNITS);
        return ERR_CONF;
    }
    for (size_t i = 0; i < c->services.count; i++) {
        if (!bytes_eq(sides[i].service, place->route->service))
            continue;
        diag_set(reterr, "%.*s is the route's `service`, which gets the rest", BYTES_ARG(sides[i].service));
        return ERR_CONF;
    }
    return OK;
}

/* ---- the filter ---- */

#define TAG_BYTES 8

struct side {
    struct service *service;
    struct conditions *asks;
    char tag[TAG_BYTES]; /* what the cookie says */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* Of one route; all workers and generations walk through the schedule together. */
struct turn {
    _Atomic uint64_t next;
};

struct split {
    const struct split_conf *conf;
    struct side sides[SIDES_MAX]; /* the route's own service last, if it gets a share */
    uint32_t units[SIDES_MAX];
    unsigned count;
    struct bytes cookie;
    char cookie_text[24];
    struct turn *turn;
    uint32_t places;
    uint8_t *schedule;
    struct arena arena;
};

static bool find_by_tag(const struct split *s, struct bytes tag, unsigned *ret_side)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->units[i] && bytes_eq(tag, (struct bytes){ s->sides[i].tag, TAG_BYTES })) {
            *ret_side = i;
            return true;
        }
    }
    return false;
}

static bool find_forced(const struct split *s, struct exchange *x, unsigned *ret_side)
{
    struct asked asked = { &x->request, &x->arena, false };
    for (unsigned i = 0; i < s->count; i++) {
        if (s->sides[i].asks && conditions_fit(s->sides[i].asks, &asked) && !asked.stalled) {
            *ret_side = i;
            return true;
        }
    }
    return false;
}

static bool find_stuck(const struct split *s, struct exchange *x, unsigned *ret_side)
{
    if (is_off(s->conf))
        return false;
    if (is_cookie(s->conf)) {
        struct bytes tag;
        return http_cookie_find(&x->request.fields, s->cookie, &tag) && find_by_tag(s, tag, ret_side);
    }
    struct bytes key = request_key_of(&s->conf->key, x);
    if (!key.len)
        return false;
    *ret_side = side_of_unit(s->units, s->count, (uint32_t)(hash_of(key) % UNITS));
    return true;
}

static unsigned next_side(struct split *s)
{
    uint64_t at = atomic_fetch_add_explicit(&s->turn->next, 1, memory_order_relaxed);
    return s->schedule[at % s->places];
}

static err set_cookie(const struct split *s, struct exchange *x, unsigned side)
{
    const struct side *to = &s->sides[side];
    struct bytes age = BYTES("");
    if (s->conf->cookie_age_ms != CONF_MS_OFF)
        age = arena_print(&x->arena, "; Max-Age=%llu", (unsigned long long)(s->conf->cookie_age_ms / 1000));
    struct bytes value =
        arena_print(&x->arena, "%.*s=%.*s; Path=/; HttpOnly; SameSite=Lax%.*s%s", BYTES_ARG(s->cookie),
                    TAG_BYTES, to->tag, BYTES_ARG(age), strcmp(x->scheme, "https") == 0 ? "; Secure" : "");
    if (!age.ptr || !value.ptr)
        return ERR_LIMIT;
    return http_fields_add(&x->response.fields, &x->arena, BYTES("Set-Cookie"), value);
}

static err split_handle(struct exchange *x, void *state, struct chain *next)
{
    struct split *s = state;
    unsigned side;
    bool drawn = false;
    bool forced = find_forced(s, x, &side);
    bool stuck = !forced && find_stuck(s, x, &side);
    if (!forced && !stuck) {
        side = next_side(s);
        drawn = true;
    }
    struct side *to = &s->sides[side];
    x->service = to->service;
    metric_inc(to->cells, METRIC_REQUESTS);
    if (!drawn)
        metric_inc(to->cells, forced ? METRIC_FORCED : METRIC_STUCK);
    err e = chain_next(next, x);
    if (e || !drawn || !is_cookie(s->conf) || !x->response.status)
        return e;
    return set_cookie(s, x, side);
}

/* ---- opening ---- */

static void split_close(void *state)
{
    struct split *s = state;
    for (unsigned i = 0; i < s->count; i++) {
        conditions_close(s->sides[i].asks);
        metric_instance_free(s->sides[i].metrics);
    }
    if (s->turn)
        shared_put(s->turn);
    mem_free(s->schedule);
    arena_close(&s->arena);
    mem_free(s);
}

static err add_side(struct split *s, struct gate *g, struct bytes scope, struct bytes service, uint32_t units,
                    const struct condition_conf *asks, struct diag *reterr)
{
    struct side *side = &s->sides[s->count];
    const struct bytes labels[] = { scope, service };
    side->service = gate_service(g, service);
    hex_put(side->tag, hash_of(service), TAG_BYTES);
    s->units[s->count++] = units;
    err e = asks ? conditions_open(asks, &s->arena, &side->asks, reterr) : OK;
    for (uint32_t i = 0; !e && side->asks && i < side->asks->count; i++)
        e = side->asks->at[i].regex ? regex_ready() : OK;
    if (!e)
        e = metric_instance_open(&metric_group, labels, &side->metrics);
    if (!e)
        side->cells = metric_cells(side->metrics, worker_index(worker_self()));
    return e;
}

static err add_sides(struct split *s, struct gate *g, struct bytes scope, struct bytes rest,
                     struct diag *reterr)
{
    const struct side_conf *sides = s->conf->services.items;
    for (size_t i = 0; i < s->conf->services.count; i++) {
        err e = add_side(s, g, scope, sides[i].service, units_of(sides[i].percent), &sides[i].asks, reterr);
        if (e)
            return e;
    }
    uint32_t left = UNITS - units_in_all(s->conf);
    return left ? add_side(s, g, scope, rest, left, NULL, reterr) : OK;
}

static struct turn *turn_get(struct split *s, struct bytes scope)
{
    struct bytes name = arena_print(&s->arena, "split 1 %.*s", BYTES_ARG(scope));
    return name.ptr ? shared_get(name, sizeof(struct turn)) : NULL;
}

/* Another cookie for each route that names none, or they would take each other's. */
static void choose_cookie(struct split *s, struct bytes scope)
{
    memcpy(s->cookie_text, "weir-split-", 11);
    hex_put(s->cookie_text + 11, hash_of(scope), 8);
    s->cookie = s->conf->cookie.len ? s->conf->cookie : (struct bytes){ s->cookie_text, 19 };
}

static err split_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                      struct diag *reterr)
{
    struct split *s = mem_get(sizeof *s);
    if (!s)
        return ERR_MEMORY;
    s->conf = conf;
    arena_open(&s->arena, &arena_heap, 1 << 20, NULL, 0);
    choose_cookie(s, scope);
    s->turn = turn_get(s, scope);
    s->schedule = mem_get(UNITS);
    err e = s->turn && s->schedule ? OK : ERR_MEMORY;
    if (!e)
        e = add_sides(s, g, scope, gate_opening(g)->service, reterr);
    if (e) {
        split_close(s);
        return e;
    }
    s->places = schedule(s->units, s->count, s->schedule);
    *ret_state = s;
    return OK;
}

/* ---- explaining ---- */

static struct service *named(const struct filter_place *place, struct bytes name)
{
    for (size_t i = 0; i < place->root->services.count; i++) {
        if (bytes_eq(place->services[i].name, name))
            return &place->services[i];
    }
    return NULL;
}

static void say(struct exchange *x, const struct conf_writer *w, const char *before, struct bytes name,
                double percent)
{
    struct bytes line = arena_print(&x->arena, "%s%.*s", before, BYTES_ARG(name));
    if (line.ptr && percent >= 0)
        line = arena_print(&x->arena, "%.*s (%g%%)", BYTES_ARG(line), percent);
    if (line.ptr)
        w->write(w->arg, line);
}

static void explain_draw(const struct split_conf *c, const struct filter_place *place, struct exchange *x,
                         const struct conf_writer *w)
{
    const struct side_conf *sides = c->services.items;
    const char *before = "one of ";
    for (size_t i = 0; i < c->services.count; i++, before = ", ")
        say(x, w, before, sides[i].service, sides[i].percent * 100);
    uint32_t left = UNITS - units_in_all(c);
    if (left)
        say(x, w, ", ", place->route->service, (double)left * 100 / UNITS);
    struct service *likely = left ? named(place, place->route->service) : NULL;
    uint32_t most = left;
    for (size_t i = 0; i < c->services.count; i++) {
        if (units_of(sides[i].percent) <= most)
            continue;
        most = units_of(sides[i].percent);
        likely = named(place, sides[i].service);
    }
    x->service = likely;
    w->write(w->arg, is_off(c) ? BYTES("; below: the likeliest\n")
                               : BYTES("; a client stays where it was; below: the likeliest\n"));
}

static bool split_explain(const void *conf, const struct filter_place *place, struct exchange *x,
                          const struct conf_writer *w)
{
    const struct split_conf *c = conf;
    const struct side_conf *sides = c->services.items;
    struct asked asked = { &x->request, &x->arena, false };
    for (size_t i = 0; i < c->services.count; i++) {
        struct conditions *asks;
        if (conditions_open(&sides[i].asks, &x->arena, &asks, NULL) != OK)
            return false;
        bool fits = asks && conditions_fit(asks, &asked) && !asked.stalled;
        conditions_close(asks);
        if (!fits)
            continue;
        say(x, w, "its conditions send it to ", sides[i].service, -1);
        w->write(w->arg, BYTES("\n"));
        x->service = named(place, sides[i].service);
        return false;
    }
    explain_draw(c, place, x, w);
    return false;
}

/* ---- tables ---- */

static const struct conf_struct side_struct = {
    .name = "side",
    .size = sizeof(struct side_conf),
    .phrases = (const char *const[]){ "{percent} to {service}", NULL },
    .fields = (const struct conf_field[]){ { .name = "service",
                                             .type = CONF_REF,
                                             .offset = offsetof(struct side_conf, service),
                                             .required = true,
                                             .ref = "services",
                                             .doc = "who gets them" },
                                           { .name = "percent",
                                             .type = CONF_PERCENT,
                                             .offset = offsetof(struct side_conf, percent),
                                             .preset = "0%",
                                             .doc = "its share of the requests, in hundredths of a percent; "
                                                    "0%: only what its conditions send there" },
                                           CONDITION_FIELDS(offsetof(struct side_conf, asks)),
                                           { 0 } },
    .check = side_check,
    .doc = "One side of a split. What fits all of its conditions goes there, whatever the shares and the "
           "cookie say.",
};

#define AT(member) offsetof(struct split_conf, member)

const struct filter split_filter = {
    .conf = { .name = "split",
              .size = sizeof(struct split_conf),
              .phrases = (const char *const[]){ "{services}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "services",
                        .type = CONF_LIST,
                        .offset = AT(services),
                        .required = true,
                        .min = 1,
                        .max = SIDES_MAX - 1,
                        .sub = &side_struct,
                        .doc = "`10% to shop-v2`, or the long form; what they leave goes to the route's "
                               "`service`" },
                      { .name = "sticky",
                        .type = CONF_TEXT,
                        .offset = AT(sticky),
                        .preset = "off",
                        .doc = "a client stays at its side: `cookie` (weir sets one), or by a hash "
                               "of " REQUEST_KEY_DOC },
                      { .name = "cookie",
                        .type = CONF_TEXT,
                        .offset = AT(cookie),
                        .doc = "the cookie's name; one for each route when not said" },
                      { .name = "cookie_age",
                        .type = CONF_MS,
                        .offset = AT(cookie_age_ms),
                        .preset = "1d",
                        .min = 1000,
                        .max = 31536000000.0,
                        .words = conf_word_off,
                        .doc = "how long the cookie is kept; `off`: until the browser is closed" },
                      { 0 } },
              .check = split_conf_check,
              .doc = "Divides the requests of a route among services, in exact shares." },
    .ends = true,
    .check_route = split_check_route,
    .explain = split_explain,
    .open = split_open,
    .handle = split_handle,
    .close = split_close,
};
