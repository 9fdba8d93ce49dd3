#include "gate/retry.h"

#include <time.h>

#include "core/metrics.h"
#include "gate/budget.h"
#include "gate/gate.h"
#include "gate/grpc.h"

/* ---- settings ---- */

#define AT(member) offsetof(struct retry_conf, member)
/* An arena of an exchange has room for a few of them. */
#define BODY_BYTES_MAX (256 * 1024)

static err backoff_check(void *conf, struct diag *reterr)
{
    const struct backoff_conf *b = conf;
    if (b->from_ms <= b->to_ms)
        return OK;
    diag_set(reterr, "backoff: it ends below where it begins: expected like 25ms..250ms");
    return ERR_CONF;
}

static const struct conf_struct backoff_struct = {
    .name = "backoff",
    .size = sizeof(struct backoff_conf),
    .phrases = (const char *const[]){ "{from}..{to}", NULL },
    .fields = (const struct conf_field[]){ { .name = "from",
                                             .type = CONF_MS,
                                             .offset = offsetof(struct backoff_conf, from_ms),
                                             .required = true,
                                             .min = 1,
                                             .max = 60000,
                                             .doc = "the longest first pause; it doubles with each attempt" },
                                           { .name = "to",
                                             .type = CONF_MS,
                                             .offset = offsetof(struct backoff_conf, to_ms),
                                             .required = true,
                                             .min = 1,
                                             .max = 60000,
                                             .doc = "the longest of all" },
                                           { 0 } },
    .check = backoff_check,
    .doc = "How long the next attempt waits: any part of it, at random (full jitter).",
};

static bool add_cause(struct retry_conf *c, struct bytes word)
{
    static const char *const words[] = {
#define X(name, text) text,
        RETRY_CAUSE_LIST(X)
#undef X
    };
    for (unsigned i = 0; i < RETRY_STATUS; i++) {
        if (bytes_eq(word, bytes_from(words[i]))) {
            c->causes |= 1u << i;
            return true;
        }
    }
    const int status = grpc_status_of_name(word);
    if (status > GRPC_OK) {
        c->causes |= 1u << RETRY_GRPC;
        c->grpc_statuses |= 1u << status;
        return true;
    }
    uint64_t first, last;
    if (bytes_eq(word, BYTES("5xx"))) {
        first = 500;
        last = 599;
    } else if (bytes_to_u64(word, &first) && first >= RETRY_STATUS_FIRST && first <= 599) {
        last = first;
    } else {
        return false;
    }
    c->causes |= 1u << RETRY_STATUS;
    for (uint64_t status = first; status <= last; status++)
        c->statuses[(status - RETRY_STATUS_FIRST) / 64] |= UINT64_C(1)
                                                           << ((status - RETRY_STATUS_FIRST) % 64);
    return true;
}

static err retry_check(void *conf, struct diag *reterr)
{
    struct retry_conf *c = conf;
    const struct bytes *on = c->on.items;
    for (size_t i = 0; i < c->on.count; i++) {
        if (!add_cause(c, on[i])) {
            diag_set(reterr,
                     "on: \"%.*s\" is nothing to try again on: expected connect, reset, timeout, 5xx, a "
                     "status of 400 to 599, or one of gRPC's like unavailable",
                     BYTES_ARG(on[i]));
            return ERR_CONF;
        }
    }
    return OK;
}

const struct conf_struct retry_struct = {
    .name = "retry",
    .size = sizeof(struct retry_conf),
    .phrases = (const char *const[]){ "{attempts}", "{attempts} within {budget}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "attempts",
              .type = CONF_INT,
              .offset = AT(attempts),
              .preset = "2",
              .min = 0,
              .max = 10,
              .doc = "beyond the first; 0: never" },
            { .name = "on",
              .type = CONF_LIST,
              .item = CONF_TEXT,
              .offset = AT(on),
              .preset = "[connect, reset, timeout, 502, 503, 504]",
              .doc =
                  "`connect`: no connection could be had; `reset`: it ended before any answer; `timeout`: "
                  "no answer in time; a status of 400 to 599; `5xx`; a gRPC status like `unavailable`. What "
                  "a "
                  "server may have acted on is only asked again if the method is idempotent, whatever stands "
                  "here; but for gRPC statuses that came without any message, which say it themselves" },
            { .name = "budget",
              .type = CONF_PERCENT,
              .offset = AT(budget),
              .preset = "20%",
              .max = 1,
              .doc = "further attempts of the last 10 s against requests of the last 10 s, of this service, "
                     "over all "
                     "workers" },
            { .name = "budget_per_second",
              .type = CONF_INT,
              .offset = AT(budget_per_s),
              .preset = "3",
              .max = 1000000,
              .doc =
                  "so many a second are allowed in any case, so that few requests can be tried again too" },
            { .name = "per_try_timeout",
              .type = CONF_MS,
              .offset = AT(per_try_timeout_ms),
              .preset = "off",
              .min = 1,
              .words = conf_word_off,
              .doc = "of one attempt, from choosing a server to the head of its answer" },
            { .name = "backoff",
              .type = CONF_STRUCT,
              .offset = AT(backoff),
              .preset = "25ms..250ms",
              .sub = &backoff_struct,
              .doc = "how long the next attempt waits; `off`: not at all" },
            { .name = "retry_after_max",
              .type = CONF_MS,
              .offset = AT(retry_after_max_ms),
              .preset = "1s",
              .max = 600000,
              .doc = "an answer's Retry-After is waited for up to that; one that asks for more goes to the "
                     "client" },
            { .name = "body_bytes_max",
              .type = CONF_BYTES,
              .offset = AT(body_bytes_max),
              .preset = "64k",
              .max = BODY_BYTES_MAX,
              .doc = "of an idempotent request's body so much is kept, so that it can be sent again; one "
                     "that is "
                     "longer is sent once" },
            { 0 } },
    .check = retry_check,
    .doc = "Asks again what went wrong, where that is harmless, and never much more than there are requests.",
};

/* ---- decisions, pure ---- */

enum retry_cause retry_cause(const struct retry_outcome *o)
{
    if (!o->failed && o->grpc_status > GRPC_OK)
        return RETRY_GRPC;
    if (!o->failed)
        return o->status >= RETRY_STATUS_FIRST && o->status < 600 ? RETRY_STATUS : RETRY_NEVER;
    if (o->answered || o->failed == ERR_CANCELLED)
        return RETRY_NEVER;
    if (!o->sent)
        return RETRY_CONNECT;
    return o->failed == ERR_TIMEOUT ? RETRY_TIMEOUT : RETRY_RESET;
}

static bool has_status(const struct retry_conf *c, unsigned status)
{
    const unsigned bit = status - RETRY_STATUS_FIRST;
    return c->statuses[bit / 64] >> (bit % 64) & 1;
}

bool retry_wanted(const struct retry_conf *c, const struct retry_outcome *o)
{
    const enum retry_cause cause = retry_cause(o);
    if (cause == RETRY_NEVER || !(c->causes >> cause & 1) || (int64_t)o->attempts > c->attempts)
        return false;
    if (cause == RETRY_STATUS && !has_status(c, o->status))
        return false;
    if (cause == RETRY_GRPC && !(c->grpc_statuses >> o->grpc_status & 1))
        return false;
    /* a status of gRPC is named by who knows that such calls may be made again (gRFC A6) */
    return o->replayable && (!o->sent || o->idempotent || cause == RETRY_GRPC);
}

uint64_t retry_pause_us(const struct retry_conf *c, const struct retry_outcome *o, bool other_left,
                        uint64_t after_ms, uint64_t random)
{
    uint64_t pause_us = 0;
    if (after_ms > c->retry_after_max_ms)
        return UINT64_MAX;
    if (c->backoff && !(other_left && retry_cause(o) == RETRY_CONNECT)) {
        uint64_t most_us = c->backoff->from_ms * 1000;
        for (uint32_t i = 1; i < o->attempts && most_us < c->backoff->to_ms * 1000; i++)
            most_us *= 2;
        if (most_us > c->backoff->to_ms * 1000)
            most_us = c->backoff->to_ms * 1000;
        pause_us = random % (most_us + 1);
    }
    return pause_us > after_ms * 1000 ? pause_us : after_ms * 1000;
}

/* Of the three forms of a date that RFC 9110 5.6.7 names the one that is sent today. */
static bool parse_date(struct bytes text, uint64_t *ret_s)
{
    struct tm tm = { 0 };
    char copy[32];
    if (text.len >= sizeof copy)
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    const char *end = strptime(copy, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (!end || *end)
        return false;
    const time_t s = timegm(&tm);
    *ret_s = s > 0 ? (uint64_t)s : 0;
    return s > 0;
}

#define RETRY_AFTER_S_MAX 1000000

uint64_t retry_after_ms(const struct http_response *r, uint64_t now_s)
{
    const struct http_field *f = http_fields_get(&r->fields, FIELD_RETRY_AFTER);
    uint64_t s = 0;
    if (!f)
        return 0;
    if (!bytes_to_u64(http_field_value(f), &s)) {
        if (!parse_date(http_field_value(f), &s))
            return 0;
        s = s > now_s ? s - now_s : 0;
    }
    return (s < RETRY_AFTER_S_MAX ? s : RETRY_AFTER_S_MAX) * 1000;
}

/* ---- of a service on one worker ---- */

static const struct metric_group metric_group = {
    .module = "retry",
    .defs =
        (const struct metric_def[]){
#define X(index, name, type, help) { name, type, help },
            RETRY_METRIC_LIST(X)
#undef X
        },
    .count = RETRY_REFUSED + 1,
    .labels = (const char *const[]){ "service", NULL },
};

err retry_open(struct retry *r, struct bytes service, unsigned workers)
{
    r->workers = workers + 1;
    r->worker = worker_index(worker_self());
    r->budget = budget_open("retry", service, r->workers);
    if (!r->budget)
        return ERR_MEMORY;
    err e = metric_instance_open(&metric_group, &service, &r->metrics);
    if (!e)
        r->cells = metric_cells(r->metrics, r->worker);
    return e;
}

void retry_close(struct retry *r)
{
    metric_instance_free(r->metrics);
    budget_close(r->budget);
}

const struct retry_conf *retry_of(const struct exchange *x)
{
    const struct retry_conf *of_route = x->route ? x->route->conf->retry : NULL;
    return of_route ? of_route : x->service->conf->retry;
}
