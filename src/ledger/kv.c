#include "ledger/kv.h"

#include "base/must.h"
#include "ledger/kv_internal.h"
#include "ledger/queue.h"

#define KV_RULES_VERSION 2 /* 1: topics have no version */

/* ---- the sums ---- */

static struct kv_sums *sums(struct kv_run *k)
{
    struct records *rs = k->a->records;
    struct record *r = record_find(rs, KV_RULES_ID, KV_SUMS_KEY);
    if (!r)
        r = record_make(rs, KV_RULES_ID, KV_SUMS_KEY, sizeof(struct kv_sums));
    if (!r) {
        k->failed = ERR_LIMIT;
        return NULL;
    }
    record_write(rs, r);
    return record_value(r);
}

static void count_keys(struct kv_run *k, int by, int expiring)
{
    struct kv_sums *s = sums(k);
    if (!s)
        return;
    s->keys += (uint64_t)by;
    s->expiring += (uint64_t)expiring;
}

/* ---- keys ---- */

struct bytes kv_arg(struct kv_run *k)
{
    uint32_t len;
    if (!k->args || (size_t)(k->end - k->at) < sizeof len)
        goto missing;
    memcpy(&len, k->at, sizeof len);
    k->at += sizeof len;
    if ((size_t)(k->end - k->at) < len)
        goto missing;
    k->args--;
    k->at += len;
    return (struct bytes){ k->at - len, len };
missing:
    k->failed = ERR_SYNTAX;
    return BYTES_NONE;
}

static bool is_reserved(struct bytes key)
{
    return bytes_starts(key, KV_SUMS_KEY);
}

bool kv_key_is_good(struct kv_run *k, struct bytes key)
{
    if (key.len > KV_KEY_BYTES_MAX || is_reserved(key)) {
        kv_say_error(k, is_reserved(key) ? KV_KEY_RESERVED : KV_KEY_TOO_LONG);
        return false;
    }
    if (kv_is_topic(k, key)) {
        kv_say_error(k, KV_WRONG_TYPE);
        return false;
    }
    return true;
}

bool kv_is_topic(struct kv_run *k, struct bytes key)
{
    if (k->topics == KV_TOPICS_UNKNOWN)
        k->topics = queue_has_topics(k->a) ? KV_TOPICS_SOME : KV_TOPICS_NONE;
    return k->topics == KV_TOPICS_SOME && queue_is_topic(k->a, key);
}

bool kv_remove_topic(struct kv_run *k, struct bytes key)
{
    if (!kv_is_topic(k, key))
        return false;
    const err e = queue_drop_topic(k->a, key);
    if (e)
        k->failed = e;
    return !e;
}

/* One whose time is over may be there still, when many ended at once. */
struct record *kv_find(struct kv_run *k, struct bytes key)
{
    if (is_reserved(key))
        return NULL;
    const uint32_t hash = key.ptr == k->hashed ? k->hash : record_hash(KV_RULES_ID, key);
    struct record *r = record_find_hashed(k->a->records, KV_RULES_ID, key, hash);
    return r && r->due_ms && r->due_ms <= k->a->now_ms ? NULL : r;
}

bool kv_find_kind(struct kv_run *k, struct bytes key, enum kv_kind kind, struct record **ret_record)
{
    struct record *r = kv_find(k, key);
    if (r ? kv_head(r)->kind != kind : kv_is_topic(k, key)) {
        kv_say_error(k, KV_WRONG_TYPE);
        return false;
    }
    *ret_record = r;
    return true;
}

void kv_touch(struct kv_run *k, struct record *r)
{
    record_write(k->a->records, r);
    kv_head(r)->version = k->a->id;
}

static struct record *make(struct kv_run *k, struct bytes key, uint32_t bytes)
{
    struct record *late = record_find(k->a->records, KV_RULES_ID, key);
    if (late)
        kv_remove(k, late);
    count_keys(k, 1, 0);
    return record_make(k->a->records, KV_RULES_ID, key, bytes);
}

struct record *kv_put(struct kv_run *k, struct bytes key, struct record *r, enum kv_kind kind, size_t bytes)
{
    const uint32_t all = (uint32_t)(sizeof(struct kv_head) + bytes);
    r = r ? record_resize(k->a->records, r, all) : make(k, key, all);
    if (!r) {
        k->failed = ERR_LIMIT;
        return NULL;
    }
    kv_touch(k, r);
    kv_head(r)->kind = (uint8_t)kind;
    return r;
}

void kv_remove(struct kv_run *k, struct record *r)
{
    count_keys(k, -1, r->due_ms ? -1 : 0);
    record_remove(k->a->records, r);
}

/* ---- times ---- */

void kv_set_due(struct kv_run *k, struct record *r, uint64_t due_ms, uint32_t sliding_s)
{
    const int more = (due_ms != 0) - (r->due_ms != 0);
    if (more)
        count_keys(k, 0, more);
    record_set_due(k->a->records, r, due_ms);
    if (kv_head(r)->sliding_s == sliding_s)
        return;
    record_write(k->a->records, r);
    kv_head(r)->sliding_s = sliding_s;
}

void kv_used(struct kv_run *k, struct record *r)
{
    const uint64_t ms = (uint64_t)kv_head(r)->sliding_s * 1000;
    if (ms && k->a->now_ms + ms - r->due_ms >= ms / 16)
        record_set_due(k->a->records, r, k->a->now_ms + ms);
}

/* Times beyond the year 9999 are mistakes (and would overflow). */
#define DUE_MS_MAX INT64_C(253402300799999)

bool kv_due(struct kv_run *k, uint64_t *ret_due_ms, uint32_t *ret_sliding_s)
{
    const int64_t now = (int64_t)k->a->now_ms, n = k->number;
    const bool sliding = k->flags & KV_SLIDING;
    if (sliding && (n < 1000 || n / 1000 > KV_SLIDING_S_MAX)) {
        kv_say_error(k, KV_SLIDING_TOO_LONG);
        return false;
    }
    if (n > DUE_MS_MAX || (!(k->flags & KV_ABSOLUTE) && n > DUE_MS_MAX - now)) {
        kv_say_error(k, KV_EXPIRE_TIME);
        return false;
    }
    int64_t due = k->flags & KV_ABSOLUTE ? n : n < -now ? 1 : now + n;
    *ret_sliding_s = sliding ? (uint32_t)(n / 1000) : 0;
    if (sliding)
        due = now + n / 1000 * 1000;
    *ret_due_ms = due > 0 ? (uint64_t)due : 1;
    return true;
}

static void kv_due_now(struct ledger_apply *a, struct record *r)
{
    struct kv_run k = { .a = a };
    kv_remove(&k, r);
    must(!k.failed);
}

/* ---- an operation ---- */

static kv_command_fn *const commands[KV_WHATS] = {
#define X(name) [KV_##name] = kv_do_##name,
    KV_COMMAND_LIST(X)
#undef X
};

struct op_head {
    uint32_t room, zero;
};
struct command_head {
    uint16_t what, flags;
    uint32_t args;
    int64_t number;
};

/* SCAN's answer depends on where records lie in memory: it is never part of what is replayed. */
static bool stands_alone(uint16_t what)
{
    return what == KV_SCAN || what == KV_KEYS;
}

/* The commands that come next: where their first keys begin, and the hashes of those. */
#define AHEAD_MAX 32
struct ahead {
    unsigned count, next;
    const char *keys[AHEAD_MAX];
    uint32_t hashes[AHEAD_MAX];
};

/* The first argument of the command at *at, which moves behind it. false: there is no whole one. */
static bool first_argument(const char **at, const char *end, struct bytes *ret_key)
{
    struct command_head h;
    uint32_t len;
    if ((size_t)(end - *at) < sizeof h)
        return false;
    memcpy(&h, *at, sizeof h);
    *at += sizeof h;
    *ret_key = BYTES_NONE;
    for (uint32_t i = 0; i < h.args; i++) {
        if ((size_t)(end - *at) < sizeof len)
            return false;
        memcpy(&len, *at, sizeof len);
        *at += sizeof len;
        if ((size_t)(end - *at) < len)
            return false;
        if (i == 0)
            *ret_key = (struct bytes){ *at, len };
        *at += len;
    }
    return true;
}

/* Records lie here and there: those of all commands to come are fetched at the same time. */
static void look_ahead(struct ahead *n, const struct records *rs, const char *at, const char *end)
{
    struct bytes key;
    n->count = n->next = 0;
    while (n->count < AHEAD_MAX && first_argument(&at, end, &key)) {
        n->keys[n->count] = key.ptr;
        n->hashes[n->count] = record_hash(KV_RULES_ID, key);
        record_fetch_bucket(rs, n->hashes[n->count++]);
    }
    for (unsigned i = 0; i < n->count; i++)
        record_fetch(rs, n->hashes[i]);
}

static void take_hash(struct kv_run *k, struct ahead *n)
{
    if (n->next == n->count)
        look_ahead(n, k->a->records, k->at, k->end);
    k->hashed = n->next < n->count ? n->keys[n->next] : NULL;
    k->hash = n->next < n->count ? n->hashes[n->next++] : 0;
}

static err run_one(struct kv_run *k, bool first, const char *end)
{
    struct command_head h;
    if ((size_t)(end - k->at) < sizeof h)
        return ERR_SYNTAX;
    memcpy(&h, k->at, sizeof h);
    k->at += sizeof h;
    if (h.what >= KV_WHATS)
        return ERR_SYNTAX;
    k->args = h.args;
    k->flags = h.flags;
    k->number = h.number;
    if (stands_alone(h.what) && !first)
        return ERR_SYNTAX;
    commands[h.what](k);
    while (!k->failed && k->args)
        (void)kv_arg(k);
    return !k->failed && stands_alone(h.what) && k->at != end ? ERR_SYNTAX : k->failed;
}

static err kv_apply(struct ledger_apply *a, struct bytes op)
{
    struct op_head h;
    if (op.len < sizeof h)
        return ERR_SYNTAX;
    memcpy(&h, op.ptr, sizeof h);
    const char *begin = op.ptr + sizeof h, *end = op.ptr + op.len;
    struct kv_run k = { .a = a, .at = begin, .end = end };
    struct ahead ahead;
    ahead.count = ahead.next = 0;
    while (k.at < end && !k.stop) {
        take_hash(&k, &ahead);
        err e = run_one(&k, k.at == begin, end);
        if (e)
            return e;
        if (a->answer_bytes > h.room)
            return ERR_AGAIN;
    }
    return OK;
}

/* ---- operations that only look ---- */

#define LOOK_BYTES_MAX 16384
#define KV_BIT(name) (1ull << KV_##name)
#define KV_LOOKS                                                                                     \
    (KV_BIT(GET) | KV_BIT(MGET) | KV_BIT(EXISTS) | KV_BIT(TTL) | KV_BIT(TYPE) | KV_BIT(STRLEN) |     \
     KV_BIT(HGET) | KV_BIT(HMGET) | KV_BIT(HGETALL) | KV_BIT(HKEYS) | KV_BIT(HVALS) | KV_BIT(HLEN) | \
     KV_BIT(HEXISTS) | KV_BIT(HSTRLEN) | KV_BIT(VERSION))
_Static_assert(KV_WHATS <= 64, "a bit each");

static bool kv_looks(struct bytes op)
{
    const char *at = op.ptr + sizeof(struct op_head), *end = op.ptr + op.len;
    struct command_head h;
    struct bytes key;
    if (op.len < sizeof(struct op_head) + sizeof h || op.len > LOOK_BYTES_MAX)
        return false;
    while (at < end) {
        if ((size_t)(end - at) < sizeof h)
            return false;
        memcpy(&h, at, sizeof h);
        if (h.what >= KV_WHATS || !(KV_LOOKS >> h.what & 1) || !first_argument(&at, end, &key))
            return false;
    }
    return true;
}

/* ---- what they promise ---- */

static void count_record(void *arg, const struct record *r)
{
    struct kv_sums *s = arg;
    if (is_reserved(record_key(r)))
        return;
    s->keys++;
    s->expiring += r->due_ms != 0;
}

static bool kv_check(struct records *rs, struct diag *reterr)
{
    struct kv_sums counted = { 0 }, said = { 0 };
    const struct record *r = record_find(rs, KV_RULES_ID, KV_SUMS_KEY);
    if (r)
        memcpy(&said, record_value((struct record *)(uintptr_t)r), sizeof said);
    record_each(rs, KV_RULES_ID, count_record, &counted);
    if (counted.keys == said.keys && counted.expiring == said.expiring)
        return true;
    diag_set(reterr, "there are %llu keys, %llu of them for a time; the sums say %llu and %llu",
             (unsigned long long)counted.keys, (unsigned long long)counted.expiring,
             (unsigned long long)said.keys, (unsigned long long)said.expiring);
    return false;
}

const struct ledger_rules kv_rules = {
    .name = "kv",
    .id = KV_RULES_ID,
    .version = KV_RULES_VERSION,
    .apply = kv_apply,
    .looks = kv_looks,
    .due = kv_due_now,
    .check = kv_check,
};
