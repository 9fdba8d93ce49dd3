/* Strings of kv. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "ledger/kv_internal.h"

/* ---- numbers ---- */

bool kv_to_float(struct bytes text, long double *ret_value)
{
    char copy[256], *end;
    if (text.len == 0 || text.len >= sizeof copy || memchr(text.ptr, 0, text.len) || text.ptr[0] == ' ' ||
        (text.ptr[0] >= '\t' && text.ptr[0] <= '\r'))
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    *ret_value = strtold(copy, &end);
    return *end == 0 && isfinite(*ret_value);
}

/* 17 digits behind the point, without what they end in that says nothing. */
struct bytes kv_float_text(long double value, char out[KV_FLOAT_BYTES_MAX])
{
    int n = snprintf(out, KV_FLOAT_BYTES_MAX, "%.17Lf", value);
    size_t len = n < KV_FLOAT_BYTES_MAX ? (size_t)n : KV_FLOAT_BYTES_MAX - 1;
    while (len && out[len - 1] == '0')
        len--;
    if (len && out[len - 1] == '.')
        len--;
    if (len == 2 && out[0] == '-' && out[1] == '0')
        return BYTES("0");
    return (struct bytes){ out, len };
}

/* ---- reading ---- */

static void say_value(struct kv_run *k, struct record *r)
{
    if (r)
        kv_say_text(k, kv_body(r));
    else
        kv_say(k, KV_NIL);
}

void kv_do_GET(struct kv_run *k)
{
    struct record *r;
    if (!kv_find_kind(k, kv_arg(k), KV_STRING, &r))
        return;
    say_value(k, r);
    if (r)
        kv_used(k, r);
}

void kv_do_MGET(struct kv_run *k)
{
    kv_say_many(k, KV_ARRAY, k->args);
    while (k->args && !k->failed) {
        struct record *r = kv_find(k, kv_arg(k));
        say_value(k, r && kv_head(r)->kind == KV_STRING ? r : NULL);
        if (r)
            kv_used(k, r);
    }
}

void kv_do_STRLEN(struct kv_run *k)
{
    struct record *r;
    if (kv_find_kind(k, kv_arg(k), KV_STRING, &r))
        kv_say_int(k, r ? (int64_t)kv_body(r).len : 0);
}

/* ---- writing ---- */

static bool fits(struct kv_run *k, size_t bytes)
{
    if (bytes <= KV_VALUE_BYTES_MAX)
        return true;
    kv_say_error(k, KV_VALUE_TOO_LONG);
    return false;
}

static struct record *store(struct kv_run *k, struct bytes key, struct record *r, struct bytes value)
{
    r = kv_put(k, key, r, KV_STRING, value.len);
    if (r && value.len)
        memcpy((char *)record_value(r) + sizeof(struct kv_head), value.ptr, value.len);
    return r;
}

/* As far as its conditions go. */
static bool may_set(const struct kv_run *k, const struct record *r, struct bytes wanted)
{
    if (k->flags & KV_IF_EQUAL)
        return r && bytes_eq(kv_body(r), wanted);
    return !(k->flags & (r ? KV_NX : KV_XX));
}

static bool wants_string(const struct kv_run *k)
{
    return k->flags & (KV_RETURN_OLD | KV_IF_EQUAL);
}

/* The answer stands before the change: the old value lies in what is changed. */
static void say_set(struct kv_run *k, struct record *r, bool sets)
{
    if (k->flags & KV_RETURN_OLD)
        say_value(k, r);
    else
        kv_say(k, sets ? KV_OK : KV_NIL);
}

void kv_do_SET(struct kv_run *k)
{
    const struct bytes key = kv_arg(k), value = kv_arg(k);
    const struct bytes wanted = k->flags & KV_IF_EQUAL ? kv_arg(k) : BYTES_NONE;
    struct record *r = NULL;
    uint64_t due_ms = 0;
    uint32_t sliding_s = 0;
    if (k->failed || !kv_key_is_good(k, key) || !fits(k, value.len) ||
        (k->flags & KV_EXPIRES && !kv_due(k, &due_ms, &sliding_s)))
        return;
    if (!wants_string(k))
        r = kv_find(k, key);
    else if (!kv_find_kind(k, key, KV_STRING, &r))
        return;
    const bool sets = may_set(k, r, wanted);
    say_set(k, r, sets);
    if (!sets)
        return;
    if (k->flags & KV_EXPIRES && due_ms <= k->a->now_ms) {
        if (r)
            kv_remove(k, r);
        return;
    }
    r = store(k, key, r, value);
    if (r && !(k->flags & KV_KEEP_TTL))
        kv_set_due(k, r, due_ms, sliding_s);
}

/* Are all keys and values good, and (NX) none of them there? false: that is said. */
static bool may_set_all(struct kv_run k)
{
    bool free = true;
    while (k.args && !k.failed) {
        const struct bytes key = kv_arg(&k), value = kv_arg(&k);
        if (!kv_key_is_good(&k, key) || !fits(&k, value.len))
            return false;
        free &= !(k.flags & KV_NX && kv_find(&k, key));
    }
    if (!free)
        kv_say_int(&k, 0);
    return free;
}

void kv_do_MSET(struct kv_run *k)
{
    if (!may_set_all(*k)) {
        while (k->args && !k->failed)
            (void)kv_arg(k);
        return;
    }
    while (k->args && !k->failed) {
        const struct bytes key = kv_arg(k), value = kv_arg(k);
        struct record *r = k->failed ? NULL : store(k, key, kv_find(k, key), value);
        if (r)
            kv_set_due(k, r, 0, 0);
    }
    if (k->flags & KV_NX)
        kv_say_int(k, 1);
    else
        kv_say(k, KV_OK);
}

void kv_do_GETDEL(struct kv_run *k)
{
    struct record *r;
    if (!kv_find_kind(k, kv_arg(k), KV_STRING, &r))
        return;
    say_value(k, r);
    if (r)
        kv_remove(k, r);
}

void kv_do_APPEND(struct kv_run *k)
{
    const struct bytes key = kv_arg(k), more = kv_arg(k);
    struct record *r;
    if (k->failed || !kv_key_is_good(k, key) || !kv_find_kind(k, key, KV_STRING, &r))
        return;
    const size_t len = r ? kv_body(r).len : 0;
    if (!fits(k, len + more.len))
        return;
    if (r && !more.len) {
        kv_say_int(k, (int64_t)len);
        return;
    }
    r = kv_put(k, key, r, KV_STRING, len + more.len);
    if (!r)
        return;
    if (more.len)
        memcpy((char *)record_value(r) + sizeof(struct kv_head) + len, more.ptr, more.len);
    kv_used(k, r);
    kv_say_int(k, (int64_t)(len + more.len));
}

void kv_do_INCR(struct kv_run *k)
{
    const struct bytes key = kv_arg(k);
    struct record *r;
    int64_t n = 0;
    char text[24];
    if (k->failed || !kv_key_is_good(k, key) || !kv_find_kind(k, key, KV_STRING, &r))
        return;
    if (r && !bytes_to_i64(kv_body(r), &n)) {
        kv_say_error(k, KV_NO_INTEGER);
        return;
    }
    if (!kv_add(n, k->number, &n)) {
        kv_say_error(k, KV_OVERFLOW);
        return;
    }
    r = store(k, key, r, (struct bytes){ text, i64_to_text(n, text) });
    if (r)
        kv_used(k, r);
    kv_say_int(k, n);
}

void kv_do_INCR_FLOAT(struct kv_run *k)
{
    const struct bytes key = kv_arg(k), by_text = kv_arg(k);
    struct record *r;
    long double n = 0, by;
    char text[KV_FLOAT_BYTES_MAX];
    if (k->failed || !kv_key_is_good(k, key) || !kv_find_kind(k, key, KV_STRING, &r))
        return;
    if (!kv_to_float(by_text, &by) || (r && !kv_to_float(kv_body(r), &n))) {
        kv_say_error(k, KV_NO_FLOAT);
        return;
    }
    if (!isfinite(n + by)) {
        kv_say_error(k, KV_NOT_FINITE);
        return;
    }
    const struct bytes sum = kv_float_text(n + by, text);
    r = store(k, key, r, sum);
    if (r)
        kv_used(k, r);
    kv_say_text(k, sum);
}
