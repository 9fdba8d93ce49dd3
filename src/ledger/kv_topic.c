/* Operations of the queue among commands of kv: what a transaction does to streams. */
#include "ledger/kv_internal.h"
#include "ledger/queue.h"

static bool do_one(struct kv_run *k, struct bytes key, struct bytes op)
{
    bool done;
    if (key.len <= KV_KEY_BYTES_MAX && kv_find(k, key)) {
        kv_say_error(k, KV_WRONG_TYPE);
        return false;
    }
    const uint32_t at = kv_say_begin(k);
    k->failed = queue_apply_among(k->a, op, &done);
    k->topics = KV_TOPICS_UNKNOWN; /* the first may have been made, the last deleted */
    kv_say_end(k, at);
    return done;
}

void kv_do_TOPIC(struct kv_run *k)
{
    const uint32_t count = k->args / 2;
    bool goes_on = true;
    kv_say_many(k, KV_ARRAY, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct bytes key = kv_arg(k), op = kv_arg(k);
        if (k->failed)
            return;
        if (!goes_on)
            kv_say(k, KV_NIL);
        else
            goes_on = do_one(k, key, op) || !(k->flags & KV_ALL);
    }
}
