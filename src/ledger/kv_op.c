/* Operations and answers of kv as bytes. */
#include "ledger/kv_internal.h"

const struct bytes kv_error_words[KV_ERRORS] = {
#define X(name, text) [KV_##name] = { text, sizeof(text) - 1 },
    KV_ERROR_LIST(X)
#undef X
};

char *kv_op_begin(char *out, uint32_t room)
{
    const uint32_t head[2] = { room, 0 };
    memcpy(out, head, sizeof head);
    return out + sizeof head;
}

static char *put(char *out, const void *data, size_t len)
{
    if (len)
        memcpy(out, data, len);
    return out + len;
}

char *kv_op_add(char *out, enum kv_what what, unsigned flags, int64_t number, const struct bytes *args,
                unsigned count)
{
    const uint16_t head[2] = { (uint16_t)what, (uint16_t)flags };
    const uint32_t args_count = count;
    out = put(out, head, sizeof head);
    out = put(out, &args_count, sizeof args_count);
    out = put(out, &number, sizeof number);
    for (unsigned i = 0; i < count; i++) {
        const uint32_t len = (uint32_t)args[i].len;
        out = put(out, &len, sizeof len);
        out = put(out, args[i].ptr, args[i].len);
    }
    return out;
}

/* ---- answers: a type, and 4 or 8 bytes of a number ---- */

static void say(struct kv_run *k, enum kv_type type, uint32_t n)
{
    char head[5] = { (char)type };
    memcpy(head + 1, &n, sizeof n);
    ledger_answer(k->a, head, sizeof head);
}

void kv_say(struct kv_run *k, enum kv_type type)
{
    say(k, type, 0);
}

void kv_say_many(struct kv_run *k, enum kv_type type, uint64_t count)
{
    say(k, type, (uint32_t)count);
}

void kv_say_error(struct kv_run *k, enum kv_error e)
{
    say(k, KV_ERROR, e);
}

void kv_say_int(struct kv_run *k, int64_t n)
{
    char all[9] = { KV_INT };
    memcpy(all + 1, &n, sizeof n);
    ledger_answer(k->a, all, sizeof all);
}

void kv_say_text(struct kv_run *k, struct bytes text)
{
    say(k, KV_TEXT, (uint32_t)text.len);
    if (text.len)
        ledger_answer(k->a, text.ptr, text.len);
}

uint32_t kv_say_begin(struct kv_run *k)
{
    const uint32_t at = k->a->answer_bytes;
    say(k, KV_TEXT, 0);
    return at;
}

void kv_say_end(struct kv_run *k, uint32_t at)
{
    struct ledger_apply *a = k->a;
    const uint32_t len = a->answer_bytes - at - 5;
    if (a->answer_bytes <= a->answer_size)
        memcpy(a->answer + at + 1, &len, sizeof len);
}

void kv_say_word(struct kv_run *k, struct bytes word)
{
    say(k, KV_WORD, (uint32_t)word.len);
    ledger_answer(k->a, word.ptr, word.len);
}

bool kv_read(struct bytes *rest, struct kv_value *ret_value)
{
    struct kv_value v = { 0 };
    uint32_t n;
    if (rest->len < 5)
        return false;
    v.type = (enum kv_type)rest->ptr[0];
    if (v.type == KV_INT) {
        if (rest->len < 9)
            return false;
        memcpy(&v.number, rest->ptr + 1, sizeof v.number);
        *rest = bytes_skip(*rest, 9);
        *ret_value = v;
        return true;
    }
    memcpy(&n, rest->ptr + 1, sizeof n);
    *rest = bytes_skip(*rest, 5);
    v.number = n;
    if (v.type == KV_TEXT || v.type == KV_WORD) {
        if (rest->len < n)
            return false;
        v.text = (struct bytes){ rest->ptr, n };
        *rest = bytes_skip(*rest, n);
    }
    *ret_value = v;
    return true;
}
