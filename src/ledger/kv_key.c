/* Commands of kv on keys of any kind. */
#include "base/glob.h"
#include "ledger/kv_internal.h"
#include "ledger/queue.h"

void kv_do_DEL(struct kv_run *k)
{
    int64_t count = 0;
    if (k->flags & KV_IF_EQUAL) {
        const struct bytes key = kv_arg(k), wanted = kv_arg(k);
        struct record *r;
        if (!kv_find_kind(k, key, KV_STRING, &r))
            return;
        if (r && bytes_eq(kv_body(r), wanted)) {
            kv_remove(k, r);
            count++;
        }
    }
    while (k->args && !k->failed) {
        const struct bytes key = kv_arg(k);
        struct record *r = kv_find(k, key);
        if (r)
            kv_remove(k, r);
        count += r || kv_remove_topic(k, key);
    }
    kv_say_int(k, count);
}

void kv_do_EXISTS(struct kv_run *k)
{
    int64_t count = 0;
    while (k->args && !k->failed) {
        const struct bytes key = kv_arg(k);
        count += kv_find(k, key) || kv_is_topic(k, key);
    }
    kv_say_int(k, count);
}

void kv_do_TYPE(struct kv_run *k)
{
    const struct bytes key = kv_arg(k);
    const struct record *r = kv_find(k, key);
    if (!r && kv_is_topic(k, key))
        kv_say_word(k, BYTES("stream"));
    else
        kv_say_word(k, !r ? BYTES("none") : kv_head(r)->kind == KV_HASH ? BYTES("hash") : BYTES("string"));
}

/* ---- times ---- */

/* Never counts as the latest of all times. */
static bool may_expire(const struct kv_run *k, const struct record *r, uint64_t due_ms)
{
    if ((k->flags & KV_NX && r->due_ms) || (k->flags & KV_XX && !r->due_ms))
        return false;
    if (k->flags & KV_GT && (!r->due_ms || due_ms <= r->due_ms))
        return false;
    return !(k->flags & KV_LT && r->due_ms && due_ms >= r->due_ms);
}

static void expire(struct kv_run *k, struct record *r, uint64_t due_ms, uint32_t sliding_s)
{
    if (due_ms <= k->a->now_ms) {
        kv_remove(k, r);
        return;
    }
    kv_touch(k, r);
    kv_set_due(k, r, due_ms, sliding_s);
}

void kv_do_EXPIRE(struct kv_run *k)
{
    const struct bytes key = kv_arg(k);
    const struct bytes wanted = k->flags & KV_IF_EQUAL ? kv_arg(k) : BYTES_NONE;
    struct record *r = NULL;
    uint64_t due_ms;
    uint32_t sliding_s;
    if (!kv_due(k, &due_ms, &sliding_s))
        return;
    if (!(k->flags & KV_IF_EQUAL)) {
        r = kv_find(k, key);
        if (!r && kv_is_topic(k, key)) {
            kv_say_error(k, KV_TOPIC_TIME);
            return;
        }
    } else if (!kv_find_kind(k, key, KV_STRING, &r))
        return;
    if (r && k->flags & KV_FROM_DUE && r->due_ms)
        due_ms += r->due_ms - k->a->now_ms;
    const bool equal = r && (!(k->flags & KV_IF_EQUAL) || bytes_eq(kv_body(r), wanted));
    const bool does = equal && may_expire(k, r, due_ms);
    if (does)
        expire(k, r, due_ms, sliding_s);
    kv_say_int(k, does);
}

static bool persist(struct kv_run *k, struct record *r)
{
    if (!r || !r->due_ms)
        return false;
    kv_touch(k, r);
    kv_set_due(k, r, 0, 0);
    return true;
}

void kv_do_PERSIST(struct kv_run *k)
{
    kv_say_int(k, persist(k, kv_find(k, kv_arg(k))));
}

void kv_do_GETEX(struct kv_run *k)
{
    struct record *r;
    uint64_t due_ms = 0;
    uint32_t sliding_s = 0;
    const struct bytes key = kv_arg(k);
    if ((k->flags & KV_EXPIRES && !kv_due(k, &due_ms, &sliding_s)) || !kv_find_kind(k, key, KV_STRING, &r))
        return;
    if (!r) {
        kv_say(k, KV_NIL);
        return;
    }
    kv_say_text(k, kv_body(r));
    if (k->flags & KV_REMOVE_TTL)
        persist(k, r);
    else if (k->flags & KV_EXPIRES)
        expire(k, r, due_ms, sliding_s);
    else
        kv_used(k, r);
}

void kv_do_TTL(struct kv_run *k)
{
    const struct bytes key = kv_arg(k);
    const struct record *r = kv_find(k, key);
    if (!r && kv_is_topic(k, key)) {
        kv_say_int(k, -1);
        return;
    }
    const uint64_t from_ms = k->flags & KV_ABSOLUTE ? 0 : k->a->now_ms;
    kv_say_int(k, !r ? -2 : !r->due_ms ? -1 : (int64_t)(r->due_ms - from_ms));
}

void kv_do_FREE(struct kv_run *k)
{
    if (kv_find(k, kv_arg(k)))
        k->failed = ERR_EXISTS;
    else
        kv_say(k, KV_OK);
}

/* ---- optimistic locking ---- */

static int64_t version_of(struct kv_run *k, struct bytes key)
{
    const struct record *r = kv_find(k, key);
    if (r || k->a->version < 2)
        return r ? (int64_t)kv_head(r)->version : 0;
    return (int64_t)queue_version(k->a, key);
}

void kv_do_VERSION(struct kv_run *k)
{
    kv_say_int(k, version_of(k, kv_arg(k)));
}

void kv_do_UNLESS(struct kv_run *k)
{
    k->stop = version_of(k, kv_arg(k)) != k->number;
    if (k->stop)
        kv_say(k, KV_CHANGED);
}

/* ---- all keys ---- */

static struct kv_sums sums_of(struct kv_run *k)
{
    struct kv_sums s = { 0 };
    struct record *r = record_find(k->a->records, KV_RULES_ID, KV_SUMS_KEY);
    if (r)
        memcpy(&s, record_value(r), sizeof s);
    return s;
}

void kv_do_SIZE(struct kv_run *k)
{
    const struct kv_sums s = sums_of(k);
    kv_say_int(k, (int64_t)s.keys);
    kv_say_int(k, (int64_t)s.expiring);
}

struct search {
    struct kv_run *k;
    struct bytes pattern;
    uint8_t kind; /* 0: any */
    bool counts;  /* only counts */
    uint64_t count;
};

static void look(void *arg, const struct record *r)
{
    struct search *s = arg;
    const struct bytes key = record_key(r);
    if (bytes_starts(key, KV_SUMS_KEY) || (r->due_ms && r->due_ms <= s->k->a->now_ms) ||
        (s->kind && kv_head(r)->kind != s->kind) || (s->pattern.len && !glob_match(s->pattern, key)))
        return;
    s->count++;
    if (!s->counts)
        kv_say_text(s->k, key);
}

/* The answer's head says how many follow: they are counted first. */
void kv_do_SCAN(struct kv_run *k)
{
    const struct bytes pattern = kv_arg(k), kind = kv_arg(k), wanted_text = kv_arg(k);
    struct search s = { .k = k, .pattern = pattern, .counts = true };
    uint64_t cursor = (uint64_t)k->number, wanted;
    if (k->failed || pattern.len > KV_PATTERN_BYTES_MAX || !bytes_to_u64(wanted_text, &wanted)) {
        k->failed = ERR_SYNTAX;
        return;
    }
    s.kind = bytes_eq(kind, BYTES("hash")) ? KV_HASH : bytes_eq(kind, BYTES("string")) ? KV_STRING : 0;
    const uint32_t most = wanted < KV_SCAN_MAX ? (uint32_t)(wanted ? wanted : 1) : KV_SCAN_MAX;
    if (kind.len && !s.kind) { /* there is none of that kind */
        kv_say_int(k, 0);
        kv_say_many(k, KV_ARRAY, 0);
        return;
    }
    record_scan(k->a->records, KV_RULES_ID, &cursor, most, look, &s);
    kv_say_int(k, (int64_t)cursor);
    kv_say_many(k, KV_ARRAY, s.count);
    s.counts = false;
    cursor = (uint64_t)k->number;
    record_scan(k->a->records, KV_RULES_ID, &cursor, most, look, &s);
}

void kv_do_KEYS(struct kv_run *k)
{
    struct search s = { .k = k, .pattern = kv_arg(k), .counts = true };
    if (k->failed || s.pattern.len > KV_PATTERN_BYTES_MAX) {
        k->failed = ERR_SYNTAX;
        return;
    }
    if (sums_of(k).keys > KV_KEYS_MAX) {
        kv_say_error(k, KV_TOO_MANY_KEYS);
        return;
    }
    record_each(k->a->records, KV_RULES_ID, look, &s);
    kv_say_many(k, KV_ARRAY, s.count);
    s.counts = false;
    record_each(k->a->records, KV_RULES_ID, look, &s);
}
