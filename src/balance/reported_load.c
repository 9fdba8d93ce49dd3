/* reported_load: shares by what the servers say that they can do: requests a second for their utilisation.
 *
 *      answer:  endpoint-load-metrics: TEXT rps_fractional=200,cpu_utilization=0.4,eps=2
 *                                            │
 *      capacity = rps / (utilisation + eps / rps × error_penalty)          200 / 0.41 = 488
 *                                            │  once a second
 *      two servers drawn in proportion to their capacities; the one that is less busy for its capacity wins
 *
 * The report is ORCA's (Open Request Cost Aggregation: xds.data.orca.v3.OrcaLoadReport), the weights are
 * those of gRPC's A58 (client-side weighted round robin) and Envoy's: capacity at full utilisation, not used
 * during a blackout after the first report, forgotten when nothing comes for a while; who has none counts as
 * the average of the others for its weight. Each worker goes by the reports that it sees; they are about the
 * whole server. */
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "gate/pick.h"
#include "proto/http.h"

#define REPORT_FIELD BYTES("endpoint-load-metrics")
#define REPORT_BYTES_MAX 4096
#define NUMBER_BYTES_MAX 32
/* Weights are scaled so that the largest is this, or less where there are many servers. */
#define SCALE_MAX 100000

struct reported_load_conf {
    uint64_t update_ms, blackout_ms, expire_ms;
    double error_penalty;
    bool pass_on;
};

/* ---- the report ---- */

struct report {
    double rps, eps;
    double cpu, application; /* utilisation: 1 is all of it; may be more */
};

static double *report_member(struct report *r, struct bytes name)
{
    static const struct {
        const char *name;
        size_t offset;
    } members[] = {
        { "rps_fractional", offsetof(struct report, rps) },
        { "rpsFractional", offsetof(struct report, rps) },
        { "rps", offsetof(struct report, rps) },
        { "qps", offsetof(struct report, rps) },
        { "eps", offsetof(struct report, eps) },
        { "cpu_utilization", offsetof(struct report, cpu) },
        { "cpuUtilization", offsetof(struct report, cpu) },
        { "cpu", offsetof(struct report, cpu) },
        { "application_utilization", offsetof(struct report, application) },
        { "applicationUtilization", offsetof(struct report, application) },
    };
    for (unsigned i = 0; i < sizeof members / sizeof *members; i++) {
        if (bytes_eq(name, bytes_from(members[i].name)))
            return (double *)((char *)r + members[i].offset);
    }
    return NULL;
}

/* A finite number that is not negative. */
static bool parse_number(struct bytes text, double *ret)
{
    char copy[NUMBER_BYTES_MAX + 1];
    char *end;
    if (text.len == 0 || text.len > NUMBER_BYTES_MAX)
        return false;
    for (size_t i = 0; i < text.len; i++) { /* no nan, no inf, no hexadecimal */
        const char c = text.ptr[i];
        if (!((c >= '0' && c <= '9') || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-'))
            return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    *ret = strtod(copy, &end);
    return *end == 0 && *ret >= 0 && *ret < 1e15;
}

/* Names that nobody here knows are passed over, whatever they are worth. */
static bool report_set(struct report *r, struct bytes name, struct bytes value)
{
    double *member = report_member(r, name);
    return !member || parse_number(value, member);
}

/* cpu_utilization=0.3,mem_utilization=0.8,rps_fractional=100 */
static bool parse_text(struct bytes text, struct report *r)
{
    struct bytes pair;
    while (bytes_split(&text, ',', &pair)) {
        const size_t equals = bytes_index(pair, '=');
        if (equals == pair.len || !report_set(r, bytes_trim((struct bytes){ pair.ptr, equals }),
                                              bytes_trim(bytes_skip(pair, equals + 1))))
            return false;
    }
    return true;
}

static void skip_space(struct bytes *text)
{
    size_t n = 0;
    while (n < text->len && (text->ptr[n] == ' ' || text->ptr[n] == '\t'))
        n++;
    *text = bytes_skip(*text, n);
}

static bool take(struct bytes *text, char c)
{
    skip_space(text);
    if (text->len == 0 || text->ptr[0] != c)
        return false;
    *text = bytes_skip(*text, 1);
    return true;
}

/* Up to the quote behind it; what is escaped stays as it is: no name that counts has an escape. */
static bool take_string(struct bytes *text, struct bytes *ret)
{
    if (!take(text, '"'))
        return false;
    for (size_t i = 0; i < text->len; i++) {
        if (text->ptr[i] == '\\') {
            i++;
        } else if (text->ptr[i] == '"') {
            *ret = (struct bytes){ text->ptr, i };
            *text = bytes_skip(*text, i + 1);
            return true;
        }
    }
    return false;
}

/* A number or word as it stands; an object or a list is passed over whole, and gives nothing. */
static bool take_value(struct bytes *text, struct bytes *ret)
{
    unsigned depth = 0;
    *ret = BYTES_NONE;
    skip_space(text);
    if (text->len && text->ptr[0] == '"')
        return take_string(text, ret);
    size_t n = 0;
    while (n < text->len) {
        const char c = text->ptr[n];
        if (c == '"') {
            struct bytes rest = bytes_skip(*text, n), inside;
            if (!take_string(&rest, &inside))
                return false;
            n = text->len - rest.len;
            continue;
        }
        if (depth == 0 && (c == ',' || c == '}' || c == ']'))
            break;
        if (c == '{' || c == '[')
            depth++;
        else if (c == '}' || c == ']')
            depth--;
        n++;
    }
    if (depth || n == 0)
        return false;
    *ret = bytes_trim((struct bytes){ text->ptr, n });
    *text = bytes_skip(*text, n);
    return true;
}

/* {"cpu_utilization": 0.3, "rps_fractional": 100, "utilization": {"disk": 0.1}} */
static bool parse_json(struct bytes text, struct report *r)
{
    struct bytes name, value;
    if (!take(&text, '{'))
        return false;
    if (take(&text, '}'))
        return true;
    do {
        if (!take_string(&text, &name) || !take(&text, ':') || !take_value(&text, &value) ||
            !report_set(r, name, value))
            return false;
    } while (take(&text, ','));
    return take(&text, '}');
}

static bool report_parse(struct bytes text, struct report *ret)
{
    *ret = (struct report){ 0 };
    text = bytes_trim(text);
    if (text.len > REPORT_BYTES_MAX)
        return false;
    if (bytes_starts(text, BYTES("TEXT ")))
        return parse_text(bytes_skip(text, 5), ret);
    if (bytes_starts(text, BYTES("JSON ")))
        return parse_json(bytes_skip(text, 5), ret);
    return text.len && text.ptr[0] == '{' ? parse_json(text, ret) : parse_text(text, ret);
}

/* ---- what it means, pure ---- */

/* Requests a second that the server could answer with all of it in use; 0: the report does not say. */
static double capacity_of(const struct report *r, double error_penalty)
{
    double utilization = r->application > 0 ? r->application : r->cpu;
    if (r->rps <= 0 || utilization <= 0)
        return 0;
    return r->rps / (utilization + r->eps / r->rps * error_penalty);
}

struct reported {
    double capacity;   /* of the last report; 0: none */
    uint64_t first_us; /* of those that came without a long pause */
    uint64_t last_us;
};

struct reported_load {
    struct alias alias;
    const struct reported_load_conf *conf;
    uint64_t updated_us;
    uint32_t *weights; /* of each server, as they are drawn now */
    struct reported reported[];
};

static void note(struct reported *s, double capacity, uint64_t now_us, uint64_t expire_us)
{
    if (s->capacity <= 0 || now_us - s->last_us > expire_us)
        s->first_us = now_us;
    s->capacity = capacity;
    s->last_us = now_us;
}

static double usable(const struct reported_load *l, uint32_t i, uint64_t now_us)
{
    const struct reported *s = &l->reported[i];
    if (s->capacity <= 0 || now_us - s->first_us < l->conf->blackout_ms * 1000 ||
        now_us - s->last_us > l->conf->expire_ms * 1000)
        return 0;
    return s->capacity;
}

/* Capacities become weights: those known as they are, the others as the average for their configured weight.
 */
static void update(struct reported_load *l, const struct server *servers, uint64_t now_us)
{
    const uint32_t count = l->alias.count;
    double sum = 0, weights = 0, largest = 0;
    for (uint32_t i = 0; i < count; i++) {
        const double capacity = usable(l, i, now_us);
        sum += capacity;
        weights += capacity > 0 ? servers[i].weight : 0;
    }
    const double average = weights > 0 ? sum / weights : 1;
    for (uint32_t i = 0; i < count; i++) {
        const double capacity = usable(l, i, now_us);
        const double is = capacity > 0 ? capacity : average * servers[i].weight;
        largest = is > largest ? is : largest;
    }
    const double fits = (double)(1u << 31) / count;
    const double scale = (fits < SCALE_MAX ? fits : SCALE_MAX) / largest;
    for (uint32_t i = 0; i < count; i++) {
        const double capacity = usable(l, i, now_us);
        const double is = (capacity > 0 ? capacity : average * servers[i].weight) * scale;
        l->weights[i] = is < 1 ? 1 : (uint32_t)is; /* so little is heard of a server that gets nothing */
    }
    alias_fill(&l->alias, l->weights);
    l->updated_us = now_us;
}

/* ---- the balancer ---- */

static void reported_load_close(void *state)
{
    struct reported_load *l = state;
    alias_close(&l->alias);
    mem_free(l->weights);
    mem_free(l);
}

static err reported_load_open(const void *conf, const struct server *servers, uint32_t count,
                              void **ret_state, struct diag *reterr)
{
    (void)reterr;
    struct reported_load *l = mem_get(sizeof *l + count * sizeof *l->reported);
    if (!l)
        return ERR_MEMORY;
    l->conf = conf;
    l->weights = mem_get((count + 1) * sizeof *l->weights);
    if (!l->weights || !alias_open(&l->alias, count)) {
        reported_load_close(l);
        return ERR_MEMORY;
    }
    if (count)
        update(l, servers, 0);
    *ret_state = l;
    return OK;
}

static uint32_t reported_load_pick(void *state, const struct server *servers, uint32_t count,
                                   const struct pick *p)
{
    struct reported_load *l = state;
    if (count && p->now_us - l->updated_us >= l->conf->update_ms * 1000)
        update(l, servers, p->now_us);
    const uint32_t first = pick_draw(p, &l->alias, servers, PICK_NONE);
    if (first == PICK_NONE)
        return PICK_NONE;
    const uint32_t second = pick_draw(p, &l->alias, servers, first);
    if (second == PICK_NONE)
        return first;
    const uint64_t first_busy = (uint64_t)servers[first].load * l->weights[second];
    const uint64_t second_busy = (uint64_t)servers[second].load * l->weights[first];
    return first_busy > second_busy ? second : first;
}

static void reported_load_done(void *state, const struct server *servers, uint32_t i, const struct outcome *o)
{
    (void)servers;
    struct reported_load *l = state;
    const struct http_field *f = o->response ? http_fields_find(&o->response->fields, REPORT_FIELD) : NULL;
    if (!f)
        return;
    struct report r;
    const double capacity =
        report_parse(http_field_value(f), &r) ? capacity_of(&r, l->conf->error_penalty) : 0;
    if (capacity > 0)
        note(&l->reported[i], capacity, o->now_us, l->conf->expire_ms * 1000);
    if (!l->conf->pass_on)
        http_fields_remove(&o->response->fields, REPORT_FIELD);
}

static void reported_load_report(void *state, const struct server *servers, uint32_t count, struct text *json)
{
    const struct reported_load *l = state;
    json_begin(json, "reported_load", '[');
    for (uint32_t i = 0; i < count; i++) {
        json_begin(json, NULL, '{');
        json_text(json, "address", bytes_from(servers[i].shared->text));
        json_number(json, "reported_capacity", l->reported[i].capacity);
        json_u64(json, "drawn_weight", l->weights[i]);
        json_end(json, '}');
    }
    json_end(json, ']');
}

const struct balancer reported_load_balancer = {
    .conf = { .name = "reported_load",
              .size = sizeof(struct reported_load_conf),
              .fields =
                  (const struct conf_field[]){
                      { .name = "update",
                        .type = CONF_MS,
                        .offset = offsetof(struct reported_load_conf, update_ms),
                        .preset = "1s",
                        .min = 100,
                        .max = 600000,
                        .doc = "how often the reports become shares" },
                      { .name = "blackout",
                        .type = CONF_MS,
                        .offset = offsetof(struct reported_load_conf, blackout_ms),
                        .preset = "10s",
                        .max = 600000,
                        .doc = "a server's first reports are not used that long: it is warming up" },
                      { .name = "expire",
                        .type = CONF_MS,
                        .offset = offsetof(struct reported_load_conf, expire_ms),
                        .preset = "3m",
                        .min = 1000,
                        .max = 3600000,
                        .doc = "a report counts that long" },
                      { .name = "error_penalty",
                        .type = CONF_PERCENT,
                        .offset = offsetof(struct reported_load_conf, error_penalty),
                        .preset = "100%",
                        .doc =
                            "how much of its error ratio (`eps` / `rps_fractional`) counts as utilisation" },
                      { .name = "pass_on",
                        .type = CONF_BOOL,
                        .offset = offsetof(struct reported_load_conf, pass_on),
                        .preset = "false",
                        .doc = "let the client see the report" },
                      { 0 } },
              .doc =
                  "Shares by what the servers report (ORCA's endpoint-load-metrics): requests a second for "
                  "their utilisation." },
    .open = reported_load_open,
    .pick = reported_load_pick,
    .done = reported_load_done,
    .report = reported_load_report,
    .close = reported_load_close,
};
