#include "load/emit.h"

#include "base/json.h"
#include "base/mem.h"
#include "load/hdr.h"

/* ---- writing ---- */

static void put_histogram(struct text *t, const char *key, const struct histogram *h)
{
    json_begin(t, key, '{');
    json_u64(t, "count", h->count);
    json_u64(t, "sum", h->sum_ns);
    json_u64(t, "min", h->min_ns);
    json_u64(t, "max", h->max_ns);
    hdr_json(t, "hdr", h);
    json_end(t, '}');
}

static void put_errors(struct text *t, const struct load_kind *k)
{
    json_begin(t, "errors", '{');
    for (unsigned i = 0; i < LOAD_ERRORS; i++)
        json_u64(t, load_error_word((enum load_error)i), k->errors[i]);
    json_end(t, '}');
    json_begin(t, "statuses", '[');
    for (unsigned i = 0; i < LOAD_STATUSES; i++) {
        if (!k->statuses[i])
            continue;
        json_u64(t, NULL, i + LOAD_STATUS_MIN);
        json_u64(t, NULL, k->statuses[i]);
    }
    json_end(t, ']');
}

static void put_kind(struct text *t, const struct load_kind *k)
{
    json_begin(t, NULL, '{');
    json_u64(t, "sent", k->sent);
    json_u64(t, "answers", k->answers);
    json_u64(t, "bad", k->bad);
    json_u64(t, "bytes_in", k->bytes_in);
    json_u64(t, "bytes_out", k->bytes_out);
    put_errors(t, k);
    put_histogram(t, "service", &k->service);
    put_histogram(t, "response", &k->response);
    json_end(t, '}');
}

void emit_interval(struct text *t, const struct load_report *r)
{
    static const struct load_point none;
    const struct load_point *p = r->points_count ? &r->points[r->points_count - 1] : &none;
    json_begin(t, NULL, '{');
    json_number(t, "seconds", p->seconds);
    json_number(t, "wanted", p->wanted);
    json_number(t, "busy", p->busy);
    json_u64(t, "connections", p->connections);
    json_u64(t, "in_flight", p->in_flight);
    json_bool(t, "warming", r->warming);
    json_u64(t, "connects", r->recent->connects);
    json_u64(t, "iterations", r->recent->iterations);
    json_u64(t, "messages_out", r->recent->messages_out);
    json_u64(t, "messages_in", r->recent->messages_in);
    put_histogram(t, "lag", &r->recent->lag);
    json_begin(t, "kinds", '[');
    for (unsigned i = 0; i < r->recent->kinds_count; i++)
        put_kind(t, &r->recent->kinds[i]);
    json_end(t, ']');
    json_end(t, '}');
    text_add(t, BYTES("\n"));
}

void emit_end(struct text *t, const struct load_report *r)
{
    json_begin(t, NULL, '{');
    json_bool(t, "end", true);
    json_number(t, "seconds", r->seconds);
    json_number(t, "busy", r->busy);
    json_u64(t, "abandoned", r->abandoned);
    json_bool(t, "interrupted", r->interrupted);
    json_end(t, '}');
    text_add(t, BYTES("\n"));
}

/* ---- reading ---- */

/* As it was written: a double would lose what is beyond 2^53. */
static uint64_t number_u64(const struct json *j)
{
    uint64_t n = 0;
    if (j && j->kind == JSON_NUMBER && bytes_to_u64(j->text, &n))
        return n;
    return 0;
}

static uint64_t member_u64(const struct json *j, const char *key)
{
    return number_u64(json_member(j, key));
}

static err read_histogram(const struct json *j, struct histogram *h)
{
    struct histogram *one = mem_must_get(sizeof *one);
    err e = hdr_decode(json_member_text(j, "hdr"), one);
    if (!e && one->count != member_u64(j, "count"))
        e = ERR_SYNTAX;
    if (!e && one->count) {
        one->sum_ns = member_u64(j, "sum");
        one->min_ns = member_u64(j, "min");
        one->max_ns = member_u64(j, "max");
        bool orderly = one->min_ns <= one->max_ns;
        if (orderly)
            histogram_merge(h, one);
        e = orderly ? OK : ERR_SYNTAX;
    }
    mem_free(one);
    return e;
}

static err read_kind(const struct json *j, struct load_kind *k)
{
    k->sent += member_u64(j, "sent");
    k->answers += member_u64(j, "answers");
    k->bad += member_u64(j, "bad");
    k->bytes_in += member_u64(j, "bytes_in");
    k->bytes_out += member_u64(j, "bytes_out");
    for (unsigned i = 0; i < LOAD_ERRORS; i++)
        k->errors[i] += member_u64(json_member(j, "errors"), load_error_word((enum load_error)i));
    for (const struct json *s = json_member(j, "statuses") ? json_member(j, "statuses")->first : NULL;
         s && s->next; s = s->next->next) {
        uint64_t status = number_u64(s);
        if (status < LOAD_STATUS_MIN || status >= LOAD_STATUS_MIN + LOAD_STATUSES)
            return ERR_SYNTAX;
        k->statuses[status - LOAD_STATUS_MIN] += number_u64(s->next);
    }
    err e = read_histogram(json_member(j, "service"), &k->service);
    return e ? e : read_histogram(json_member(j, "response"), &k->response);
}

err emit_read(const struct json *j, struct load_stats *s, struct emitted *ret_emitted)
{
    const struct json *kinds = json_member(j, "kinds");
    if (!kinds || kinds->kind != JSON_ARRAY || kinds->count != s->kinds_count)
        return ERR_SYNTAX;
    s->connects += member_u64(j, "connects");
    s->iterations += member_u64(j, "iterations");
    s->messages_out += member_u64(j, "messages_out");
    s->messages_in += member_u64(j, "messages_in");
    err e = read_histogram(json_member(j, "lag"), &s->lag);
    unsigned i = 0;
    JSON_EACH(k, kinds)
    {
        if (!e)
            e = read_kind(k, &s->kinds[i++]);
    }
    if (e)
        return e;
    *ret_emitted = (struct emitted){ .seconds = json_member_number(j, "seconds"),
                                     .wanted = json_member_number(j, "wanted"),
                                     .busy = json_member_number(j, "busy"),
                                     .connections = (uint32_t)member_u64(j, "connections"),
                                     .in_flight = (uint32_t)member_u64(j, "in_flight"),
                                     .warming = json_member_number(j, "warming") > 0 };
    return OK;
}
