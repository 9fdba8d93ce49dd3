/* kv_internal: what the files of kv share: finding keys, answering. The writer's thread. */
#pragma once
#include "ledger/kv.h"
#include "ledger/rules.h"

#define KV_SUMS_KEY BYTES("\0weir")

enum kv_kind { KV_STRING = 1, KV_HASH = 2 };

/* On disk. */
struct kv_head {
    uint64_t version; /* id of the entry that changed it last */
    uint32_t sliding_s;
    uint8_t kind;
    uint8_t zero[3];
};
_Static_assert(sizeof(struct kv_head) == 16, "no padding");

struct kv_sums {
    uint64_t keys, expiring;
};

/* Are there topics at all? Known until the operation does something to one, once it was asked. */
enum kv_topics { KV_TOPICS_UNKNOWN, KV_TOPICS_NONE, KV_TOPICS_SOME };

/* One command that is being done. */
struct kv_run {
    struct ledger_apply *a;
    const char *hashed; /* the key whose hash is known; NULL: of none */
    uint32_t hash;
    enum kv_topics topics;
    const char *at, *end; /* the arguments that are left */
    uint32_t args;
    uint32_t flags;
    int64_t number;
    bool stop; /* nothing after it */
    err failed;
};

/* The next argument; when there is none, empty, and the operation is refused. */
struct bytes kv_arg(struct kv_run *k);

void kv_say_int(struct kv_run *k, int64_t n);
void kv_say_text(struct kv_run *k, struct bytes text);
/* A text that is what is answered between them; its length is not in the answer's CRC. */
uint32_t kv_say_begin(struct kv_run *k);
void kv_say_end(struct kv_run *k, uint32_t at);
void kv_say_word(struct kv_run *k, struct bytes word);
void kv_say(struct kv_run *k, enum kv_type type);
void kv_say_many(struct kv_run *k, enum kv_type type, uint64_t count);
void kv_say_error(struct kv_run *k, enum kv_error e);

static inline struct kv_head *kv_head(const struct record *r)
{
    return record_value(r);
}
static inline struct bytes kv_body(const struct record *r)
{
    return (struct bytes){ (const char *)record_value(r) + sizeof(struct kv_head),
                           r->value_bytes - sizeof(struct kv_head) };
}

/* NULL: there is none, or its time is over. */
struct record *kv_find(struct kv_run *k, struct bytes key);
/* The same of that kind. false: it is of another, and that is said. */
bool kv_find_kind(struct kv_run *k, struct bytes key, enum kv_kind kind, struct record **ret_record);
/* Is it a topic of the queue? (Where a key of kv stands as well, that one is meant.) */
bool kv_is_topic(struct kv_run *k, struct bytes key);
/* false: it is none, or it cannot be: the operation is refused. */
bool kv_remove_topic(struct kv_run *k, struct bytes key);
/* May there be a key of that name? Said if not. */
bool kv_key_is_good(struct kv_run *k, struct bytes key);
/* A new one, or r with so many bytes and another kind; its version is this entry's. NULL: no memory. r: what
 * kv_find gave for the key; its time to live is as it was. */
struct record *kv_put(struct kv_run *k, struct bytes key, struct record *r, enum kv_kind kind, size_t bytes);
/* Before it is changed in place. */
void kv_touch(struct kv_run *k, struct record *r);
void kv_remove(struct kv_run *k, struct record *r);
/* It is used: a sliding time begins again. */
void kv_used(struct kv_run *k, struct record *r);
/* 0: never; not in the past. */
void kv_set_due(struct kv_run *k, struct record *r, uint64_t due_ms, uint32_t sliding_s);
/* The flags' and number's time. false: no such time, and that is said. */
bool kv_due(struct kv_run *k, uint64_t *ret_due_ms, uint32_t *ret_sliding_s);

/* Numbers in strings, as Redis has them. */
#define KV_FLOAT_BYTES_MAX 5120
bool kv_to_float(struct bytes text, long double *ret_value);
struct bytes kv_float_text(long double value, char out[KV_FLOAT_BYTES_MAX]);
/* n + by. false: it overflows. */
static inline bool kv_add(int64_t n, int64_t by, int64_t *ret_sum)
{
    return !__builtin_add_overflow(n, by, ret_sum);
}

/* ---- by file */

typedef void kv_command_fn(struct kv_run *k);
#define X(name) kv_command_fn kv_do_##name;
KV_COMMAND_LIST(X)
#undef X
