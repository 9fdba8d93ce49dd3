#include "base/bytes.h"

bool bytes_eq_nocase(struct bytes a, struct bytes b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i]))
            return false;
    }
    return true;
}

size_t bytes_index(struct bytes a, char c)
{
    const char *hit = a.len ? memchr(a.ptr, c, a.len) : NULL;
    return hit ? (size_t)(hit - a.ptr) : a.len;
}

struct bytes bytes_trim(struct bytes a)
{
    while (a.len && (a.ptr[0] == ' ' || a.ptr[0] == '\t'))
        a = bytes_skip(a, 1);
    while (a.len && (a.ptr[a.len - 1] == ' ' || a.ptr[a.len - 1] == '\t'))
        a.len--;
    return a;
}

bool bytes_split(struct bytes *rest, char sep, struct bytes *ret_part)
{
    if (!rest->ptr)
        return false;
    size_t at = bytes_index(*rest, sep);
    *ret_part = (struct bytes){ rest->ptr, at };
    *rest = at < rest->len ? bytes_skip(*rest, at + 1) : BYTES_NONE;
    return true;
}

bool bytes_to_u64(struct bytes a, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (a.len == 0)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (a.ptr[i] < '0' || a.ptr[i] > '9')
            return false;
        if (__builtin_mul_overflow(value, 10, &value))
            return false;
        if (__builtin_add_overflow(value, (uint64_t)(a.ptr[i] - '0'), &value))
            return false;
    }
    *ret_value = value;
    return true;
}

/* Two digits a step, from the last to the first. */
size_t u64_to_text(uint64_t value, char *out)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
        "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";
    char back[20], *at = back + sizeof back;
    for (; value >= 10; value /= 100) {
        at -= 2;
        memcpy(at, pairs + value % 100 * 2, 2);
    }
    if (value || at == back + sizeof back)
        *--at = (char)('0' + value);
    const size_t n = (size_t)(back + sizeof back - at);
    memcpy(out, at, n);
    return n;
}

/* Eight at a time: in a word that has one, a top bit is left. */
bool bytes_have_controls(struct bytes a)
{
    uint64_t word, any = 0;
    size_t i = 0;
    for (; i + sizeof word <= a.len; i += sizeof word) {
        memcpy(&word, a.ptr + i, sizeof word);
        any |= word_below(word, ' ') | word_equal(word, 127);
    }
    for (; i < a.len; i++)
        any |= (unsigned char)a.ptr[i] < ' ' || a.ptr[i] == 127;
    return any;
}

bool bytes_to_i64(struct bytes a, int64_t *ret_value)
{
    const bool negative = a.len > 0 && a.ptr[0] == '-';
    const struct bytes digits = bytes_skip(a, negative);
    uint64_t n;
    if (digits.len == 0 || digits.len > 19 || (digits.ptr[0] == '0' && a.len > 1) ||
        !bytes_to_u64(digits, &n) || n > (uint64_t)INT64_MAX + negative)
        return false;
    *ret_value = negative ? (int64_t)(0 - n) : (int64_t)n;
    return true;
}

size_t i64_to_text(int64_t value, char *out)
{
    *out = '-';
    return value < 0 ? 1 + u64_to_text(0 - (uint64_t)value, out + 1) : u64_to_text((uint64_t)value, out);
}
