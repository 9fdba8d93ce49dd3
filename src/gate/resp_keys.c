/* Commands on keys, as Redis has them, made into commands of kv. */
#include "gate/resp.h"

#define ARGS_HERE 8

static void syntax(struct resp_client *k)
{
    resp_fail(k->batch, "ERR syntax error");
}

/* An argument as a number, or its error is said. */
static bool number(struct resp_client *k, struct bytes text, int64_t *ret_n)
{
    if (bytes_to_i64(text, ret_n))
        return true;
    resp_fail(k->batch, "%s", kv_error_words[KV_NO_INTEGER].ptr);
    return false;
}

/* The arguments go to kv as they are. */
void resp_do_plain(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct bytes here[ARGS_HERE], *args = here;
    const uint32_t count = c->count - 1;
    if (count > ARGS_HERE)
        args = arena_get(k->batch->arena, count * sizeof *args);
    if (!args) {
        k->batch->full = true;
        return;
    }
    for (uint32_t i = 0; i < count; i++)
        args[i] = resp_arg(c, 1 + i);
    resp_add(k->batch, d->shape, d->name, d->what, d->kv_flags, d->number, args, count);
}

/* Keys (or fields) and values by turns; d->number: where they begin. */
void resp_do_pairs(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    if ((c->count - (uint32_t)d->number) % 2) {
        resp_fail_arity(k, d);
        return;
    }
    resp_do_plain(k, c, d);
}

/* ---- numbers */

void resp_do_incrby(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    const struct bytes key = resp_arg(c, 1);
    int64_t by;
    if (!number(k, resp_arg(c, 2), &by))
        return;
    if (d->number < 0 && by == INT64_MIN) {
        resp_fail(k->batch, "ERR decrement would overflow");
        return;
    }
    resp_add(k->batch, RESP_PLAIN, d->name, KV_INCR, 0, by * d->number, &key, 1);
}

void resp_do_hincrby(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    const struct bytes args[] = { resp_arg(c, 1), resp_arg(c, 2) };
    int64_t by;
    if (number(k, resp_arg(c, 3), &by))
        resp_add(k->batch, RESP_PLAIN, d->name, KV_HINCR, 0, by, args, 2);
}

/* ---- times */

/* In milliseconds. */
static bool time_of(struct resp_client *k, const struct resp_def *d, struct bytes text, int64_t unit_ms,
                    bool positive, int64_t *ret_ms)
{
    int64_t n;
    if (!number(k, text, &n))
        return false;
    if ((positive && n <= 0) || __builtin_mul_overflow(n, unit_ms, ret_ms)) {
        resp_fail_time(k, d);
        return false;
    }
    return true;
}

struct option {
    const char *word;
    unsigned flags, not_with;
    int64_t unit_ms; /* it has an argument, a time; 0: it has none */
};

#define TIMES (KV_EXPIRES | KV_KEEP_TTL | KV_REMOVE_TTL)
static const struct option set_options[] = { { "EX", KV_EXPIRES, TIMES, 1000 },
                                             { "PX", KV_EXPIRES, TIMES, 1 },
                                             { "EXAT", KV_EXPIRES | KV_ABSOLUTE, TIMES | KV_SLIDING, 1000 },
                                             { "PXAT", KV_EXPIRES | KV_ABSOLUTE, TIMES | KV_SLIDING, 1 },
                                             { "KEEPTTL", KV_KEEP_TTL, TIMES, 0 },
                                             { "NX", KV_NX, KV_XX | KV_IF_EQUAL, 0 },
                                             { "XX", KV_XX, KV_NX | KV_IF_EQUAL, 0 },
                                             { "GET", KV_RETURN_OLD, 0, 0 },
                                             { "IFEQ", KV_IF_EQUAL, KV_NX | KV_XX, 0 },
                                             { "SLIDING", KV_SLIDING, KV_ABSOLUTE | KV_KEEP_TTL, 0 },
                                             { 0 } };
static const struct option getex_options[] = { { "EX", KV_EXPIRES, TIMES, 1000 },
                                               { "PX", KV_EXPIRES, TIMES, 1 },
                                               { "EXAT", KV_EXPIRES | KV_ABSOLUTE, TIMES | KV_SLIDING, 1000 },
                                               { "PXAT", KV_EXPIRES | KV_ABSOLUTE, TIMES | KV_SLIDING, 1 },
                                               { "PERSIST", KV_REMOVE_TTL, TIMES | KV_SLIDING, 0 },
                                               { "SLIDING", KV_SLIDING, KV_ABSOLUTE | KV_REMOVE_TTL, 0 },
                                               { 0 } };
static const struct option expire_options[] = {
    { "NX", KV_NX, KV_XX | KV_GT | KV_LT, 0 }, { "XX", KV_XX, KV_NX, 0 },
    { "GT", KV_GT, KV_NX | KV_LT, 0 },         { "LT", KV_LT, KV_NX | KV_GT, 0 },
    { "SLIDING", KV_SLIDING, KV_ABSOLUTE, 0 }, { 0 }
};

static const struct option *find_option(const struct option *options, struct bytes word)
{
    for (; options->word; options++) {
        if (bytes_eq_nocase(word, bytes_from(options->word)))
            return options;
    }
    return NULL;
}

struct options {
    unsigned flags;
    int64_t ms;
    struct bytes equal; /* of IFEQ */
};

/* From argument i on. false: said. */
static bool read_options(struct resp_client *k, const struct resp_command *c, const struct resp_def *d,
                         uint32_t i, const struct option *options, struct options *o)
{
    for (; i < c->count; i++) {
        const struct option *found = find_option(options, resp_arg(c, i));
        const bool wants = found && (found->unit_ms || found->flags == KV_IF_EQUAL);
        if (!found || o->flags & found->not_with || (wants && i + 1 == c->count)) {
            syntax(k);
            return false;
        }
        o->flags |= found->flags;
        if (wants && !found->unit_ms)
            o->equal = resp_arg(c, i + 1);
        else if (wants && !time_of(k, d, resp_arg(c, i + 1), found->unit_ms, true, &o->ms))
            return false;
        i += wants;
    }
    if (o->flags & KV_SLIDING && d->what != KV_EXPIRE && !(o->flags & KV_EXPIRES)) {
        syntax(k);
        return false;
    }
    return true;
}

void resp_do_set(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct options o = { 0 };
    if (!read_options(k, c, d, 3, set_options, &o))
        return;
    const struct bytes args[] = { resp_arg(c, 1), resp_arg(c, 2), o.equal };
    resp_add(k->batch, RESP_PLAIN, d->name, KV_SET, o.flags, o.ms, args, o.flags & KV_IF_EQUAL ? 3 : 2);
}

void resp_do_setex(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    const struct bytes args[] = { resp_arg(c, 1), resp_arg(c, 3) };
    int64_t ms;
    if (time_of(k, d, resp_arg(c, 2), d->number, true, &ms))
        resp_add(k->batch, RESP_PLAIN, d->name, KV_SET, KV_EXPIRES, ms, args, 2);
}

void resp_do_getex(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    const struct bytes key = resp_arg(c, 1);
    struct options o = { 0 };
    if (read_options(k, c, d, 2, getex_options, &o))
        resp_add(k->batch, RESP_PLAIN, d->name, KV_GETEX, o.flags, o.ms, &key, 1);
}

void resp_do_expire(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    const struct bytes key = resp_arg(c, 1);
    struct options o = { .flags = d->kv_flags };
    int64_t ms;
    for (uint32_t i = 3; i < c->count; i++) {
        const struct bytes word = resp_arg(c, i);
        if (find_option(expire_options, word))
            continue;
        resp_fail(k->batch, "ERR Unsupported option %.*s", (int)(word.len < 64 ? word.len : 64), word.ptr);
        return;
    }
    if (!time_of(k, d, resp_arg(c, 2), d->number, false, &ms))
        return;
    for (uint32_t i = 3; i < c->count; i++) {
        const struct option *found = find_option(expire_options, resp_arg(c, i));
        if (o.flags & found->not_with) {
            resp_fail(k->batch, o.flags & (KV_GT | KV_LT) && found->flags & (KV_GT | KV_LT)
                                    ? "ERR GT and LT options at the same time are not compatible"
                                : found->flags == KV_SLIDING || o.flags & KV_SLIDING
                                    ? "ERR SLIDING is for times from now on"
                                    : "ERR NX and XX, GT or LT options at the same time are not compatible");
            return;
        }
        o.flags |= found->flags;
    }
    resp_add(k->batch, RESP_PLAIN, d->name, KV_EXPIRE, o.flags, ms, &key, 1);
}

/* ---- all keys: what depends on where they lie in memory is an operation by itself */

void resp_do_keys(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    if (resp_arg(c, 1).len > KV_PATTERN_BYTES_MAX) {
        resp_fail(k->batch, "ERR a pattern has at most 1024 bytes");
        return;
    }
    resp_do_plain(k, c, d);
    k->closing |= resp_flush(k) != OK;
}

void resp_do_scan(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct bytes args[] = { BYTES_NONE, BYTES_NONE, BYTES("10") };
    uint64_t cursor;
    int64_t count;
    if (!bytes_to_u64(resp_arg(c, 1), &cursor)) {
        resp_fail(k->batch, "ERR invalid cursor");
        return;
    }
    for (uint32_t i = 2; i < c->count; i += 2) {
        const struct bytes word = resp_arg(c, i);
        const bool match = bytes_eq_nocase(word, BYTES("MATCH")), type = bytes_eq_nocase(word, BYTES("TYPE"));
        if (i + 1 == c->count || (!match && !type && !bytes_eq_nocase(word, BYTES("COUNT")))) {
            syntax(k);
            return;
        }
        if (!match && !type && !number(k, resp_arg(c, i + 1), &count))
            return;
        if (!match && !type && count < 1) {
            syntax(k);
            return;
        }
        args[match ? 0 : type ? 1 : 2] = resp_arg(c, i + 1);
    }
    if (args[0].len > KV_PATTERN_BYTES_MAX) {
        resp_fail(k->batch, "ERR a pattern has at most 1024 bytes");
        return;
    }
    resp_add(k->batch, d->shape, d->name, KV_SCAN, 0, (int64_t)cursor, args, 3);
    k->closing |= resp_flush(k) != OK;
}
