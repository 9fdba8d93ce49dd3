/* Hashes of kv: fields and values one behind the other, in the order in which they came. Made for what
 * belongs to one thing (a session, a cart): a field is found by looking through all of them.
 *
 *      count u32 │ field's length u16, value's length u32, field, value │ ... */
#include <math.h>

#include "ledger/kv_internal.h"

#define COUNT_BYTES sizeof(uint32_t)
#define PAIR_HEAD_BYTES 6

struct pair {
    size_t at; /* of its head, from the body's beginning */
    struct bytes field, value;
};

static uint32_t count_of(const struct record *r)
{
    uint32_t n = 0;
    if (r)
        memcpy(&n, kv_body(r).ptr, sizeof n);
    return n;
}

static char *body(struct record *r)
{
    return (char *)record_value(r) + sizeof(struct kv_head);
}

static void add_count(struct record *r, int by)
{
    const uint32_t n = count_of(r) + (uint32_t)by;
    memcpy(body(r), &n, sizeof n);
}

static struct pair pair_at(struct bytes all, size_t at)
{
    uint16_t field;
    uint32_t value;
    memcpy(&field, all.ptr + at, sizeof field);
    memcpy(&value, all.ptr + at + sizeof field, sizeof value);
    const char *p = all.ptr + at + PAIR_HEAD_BYTES;
    return (struct pair){ at, { p, field }, { p + field, value } };
}

static size_t pair_bytes(size_t field, size_t value)
{
    return PAIR_HEAD_BYTES + field + value;
}

static size_t end_of(const struct pair *p)
{
    return p->at + pair_bytes(p->field.len, p->value.len);
}

static bool find(const struct record *r, struct bytes field, struct pair *ret_pair)
{
    if (!r)
        return false;
    const struct bytes all = kv_body(r);
    for (size_t at = COUNT_BYTES; at < all.len; at = end_of(ret_pair)) {
        *ret_pair = pair_at(all, at);
        if (bytes_eq(ret_pair->field, field))
            return true;
    }
    return false;
}

/* ---- writing ---- */

static void write_pair(char *at, struct bytes field, struct bytes value)
{
    const uint16_t field_len = (uint16_t)field.len;
    const uint32_t value_len = (uint32_t)value.len;
    memcpy(at, &field_len, sizeof field_len);
    memcpy(at + sizeof field_len, &value_len, sizeof value_len);
    at += PAIR_HEAD_BYTES;
    if (field.len)
        memcpy(at, field.ptr, field.len);
    if (value.len)
        memcpy(at + field.len, value.ptr, value.len);
}

/* Says so if not. */
static bool may_grow(struct kv_run *k, const struct record *r, size_t by)
{
    if ((r ? kv_body(r).len : COUNT_BYTES) + by <= KV_VALUE_BYTES_MAX)
        return true;
    kv_say_error(k, KV_VALUE_TOO_LONG);
    return false;
}

static struct record *append(struct kv_run *k, struct bytes key, struct record *r, struct bytes field,
                             struct bytes value)
{
    const size_t len = r ? kv_body(r).len : COUNT_BYTES;
    r = kv_put(k, key, r, KV_HASH, len + pair_bytes(field.len, value.len));
    if (!r)
        return NULL;
    write_pair(body(r) + len, field, value);
    add_count(r, 1);
    return r;
}

/* Makes room for another value's length, or takes it away: the rest moves. */
static struct record *change(struct kv_run *k, struct record *r, const struct pair *old, struct bytes value)
{
    const struct bytes field = old->field;
    const size_t len = kv_body(r).len, end = end_of(old), rest = len - end;
    const size_t new_end = old->at + pair_bytes(field.len, value.len), new_len = new_end + rest;
    char name[KV_FIELD_BYTES_MAX + 1];
    if (value.len == old->value.len) {
        kv_touch(k, r);
        memcpy((char *)(uintptr_t)old->value.ptr, value.len ? value.ptr : "", value.len);
        return r;
    }
    memcpy(name, field.ptr, field.len);
    kv_touch(k, r);
    if (new_len < len)
        memmove(body(r) + new_end, body(r) + end, rest);
    struct record *n = kv_put(k, record_key(r), r, KV_HASH, new_len);
    if (!n)
        return NULL;
    if (new_len > len)
        memmove(body(n) + new_end, body(n) + end, rest);
    write_pair(body(n) + old->at, (struct bytes){ name, field.len }, value);
    return n;
}

static struct record *set(struct kv_run *k, struct bytes key, struct record *r, struct bytes field,
                          struct bytes value, bool *ret_new)
{
    struct pair old;
    *ret_new = !find(r, field, &old);
    return *ret_new ? append(k, key, r, field, value) : change(k, r, &old, value);
}

static void take_out(struct kv_run *k, struct record **r, const struct pair *p)
{
    const size_t len = kv_body(*r).len, end = end_of(p);
    if (count_of(*r) == 1) {
        kv_remove(k, *r);
        *r = NULL;
        return;
    }
    kv_touch(k, *r);
    memmove(body(*r) + p->at, body(*r) + end, len - end);
    add_count(*r, -1);
    *r = kv_put(k, record_key(*r), *r, KV_HASH, len - (end - p->at));
}

/* Of all that will be added, before anything is. */
static bool pairs_fit(struct kv_run k, const struct record *r)
{
    size_t more = 0;
    while (k.args && !k.failed) {
        const struct bytes field = kv_arg(&k), value = kv_arg(&k);
        if (field.len > KV_FIELD_BYTES_MAX) {
            kv_say_error(&k, KV_FIELD_TOO_LONG);
            return false;
        }
        more += pair_bytes(field.len, value.len);
    }
    return may_grow(&k, r, more);
}

void kv_do_HSET(struct kv_run *k)
{
    const struct bytes key = kv_arg(k);
    struct record *r;
    struct pair old;
    int64_t count = 0;
    bool is_new;
    if (k->failed || !kv_key_is_good(k, key) || !kv_find_kind(k, key, KV_HASH, &r) || !pairs_fit(*k, r))
        return;
    if (!r && k->flags & KV_XX) {
        kv_say(k, KV_NIL);
        return;
    }
    while (k->args && !k->failed) {
        const struct bytes field = kv_arg(k), value = kv_arg(k);
        if (k->failed || (k->flags & KV_NX && find(r, field, &old)))
            continue;
        r = set(k, key, r, field, value, &is_new);
        count += is_new;
    }
    if (r && !k->failed)
        kv_used(k, r);
    kv_say_int(k, count);
}

void kv_do_HDEL(struct kv_run *k)
{
    struct record *r;
    struct pair p;
    int64_t count = 0;
    if (!kv_find_kind(k, kv_arg(k), KV_HASH, &r))
        return;
    while (k->args && !k->failed) {
        const struct bytes field = kv_arg(k);
        if (!find(r, field, &p))
            continue;
        take_out(k, &r, &p);
        count++;
    }
    if (r)
        kv_used(k, r);
    kv_say_int(k, count);
}

void kv_do_HINCR(struct kv_run *k)
{
    const struct bytes key = kv_arg(k), field = kv_arg(k);
    struct record *r;
    struct pair old;
    int64_t n = 0;
    char text[24];
    bool is_new;
    if (k->failed || !kv_key_is_good(k, key) || !kv_find_kind(k, key, KV_HASH, &r))
        return;
    if (field.len > KV_FIELD_BYTES_MAX) {
        kv_say_error(k, KV_FIELD_TOO_LONG);
        return;
    }
    if (find(r, field, &old) && !bytes_to_i64(old.value, &n)) {
        kv_say_error(k, KV_FIELD_NO_INTEGER);
        return;
    }
    if (!kv_add(n, k->number, &n)) {
        kv_say_error(k, KV_OVERFLOW);
        return;
    }
    const struct bytes sum = { text, i64_to_text(n, text) };
    if (!may_grow(k, r, pair_bytes(field.len, sum.len)))
        return;
    r = set(k, key, r, field, sum, &is_new);
    if (r)
        kv_used(k, r);
    kv_say_int(k, n);
}

void kv_do_HINCR_FLOAT(struct kv_run *k)
{
    const struct bytes key = kv_arg(k), field = kv_arg(k), by_text = kv_arg(k);
    struct record *r;
    struct pair old;
    long double n = 0, by;
    char text[KV_FLOAT_BYTES_MAX];
    bool is_new;
    if (k->failed || !kv_key_is_good(k, key) || !kv_find_kind(k, key, KV_HASH, &r))
        return;
    if (field.len > KV_FIELD_BYTES_MAX) {
        kv_say_error(k, KV_FIELD_TOO_LONG);
        return;
    }
    if (!kv_to_float(by_text, &by)) {
        kv_say_error(k, KV_NO_FLOAT);
        return;
    }
    if (find(r, field, &old) && !kv_to_float(old.value, &n)) {
        kv_say_error(k, KV_FIELD_NO_FLOAT);
        return;
    }
    if (!isfinite(n + by)) {
        kv_say_error(k, KV_NOT_FINITE);
        return;
    }
    const struct bytes sum = kv_float_text(n + by, text);
    if (!may_grow(k, r, pair_bytes(field.len, sum.len)))
        return;
    r = set(k, key, r, field, sum, &is_new);
    if (r)
        kv_used(k, r);
    kv_say_text(k, sum);
}

/* ---- reading ---- */

static void say_field(struct kv_run *k, const struct record *r, struct bytes field)
{
    struct pair p;
    if (find(r, field, &p))
        kv_say_text(k, p.value);
    else
        kv_say(k, KV_NIL);
}

/* The key's hash, which is used by that. false: all is said. */
static bool open_hash(struct kv_run *k, struct record **ret_record)
{
    if (!kv_find_kind(k, kv_arg(k), KV_HASH, ret_record))
        return false;
    if (*ret_record)
        kv_used(k, *ret_record);
    return true;
}

void kv_do_HGET(struct kv_run *k)
{
    struct record *r;
    if (open_hash(k, &r))
        say_field(k, r, kv_arg(k));
}

void kv_do_HMGET(struct kv_run *k)
{
    struct record *r;
    if (!open_hash(k, &r))
        return;
    kv_say_many(k, KV_ARRAY, k->args);
    while (k->args && !k->failed)
        say_field(k, r, kv_arg(k));
}

static void say_all(struct kv_run *k, enum kv_type type, bool fields, bool values)
{
    struct record *r;
    if (!open_hash(k, &r))
        return;
    kv_say_many(k, type, count_of(r));
    if (!r)
        return;
    const struct bytes all = kv_body(r);
    struct pair p;
    for (size_t at = COUNT_BYTES; at < all.len; at = end_of(&p)) {
        p = pair_at(all, at);
        if (fields)
            kv_say_text(k, p.field);
        if (values)
            kv_say_text(k, p.value);
    }
}

void kv_do_HGETALL(struct kv_run *k)
{
    say_all(k, KV_MAP, true, true);
}

void kv_do_HKEYS(struct kv_run *k)
{
    say_all(k, KV_ARRAY, true, false);
}

void kv_do_HVALS(struct kv_run *k)
{
    say_all(k, KV_ARRAY, false, true);
}

void kv_do_HLEN(struct kv_run *k)
{
    struct record *r;
    if (open_hash(k, &r))
        kv_say_int(k, count_of(r));
}

void kv_do_HEXISTS(struct kv_run *k)
{
    struct record *r;
    struct pair p;
    if (open_hash(k, &r))
        kv_say_int(k, find(r, kv_arg(k), &p));
}

void kv_do_HSTRLEN(struct kv_run *k)
{
    struct record *r;
    struct pair p;
    if (open_hash(k, &r))
        kv_say_int(k, find(r, kv_arg(k), &p) ? (int64_t)p.value.len : 0);
}
