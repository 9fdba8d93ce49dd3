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

size_t u64_to_text(uint64_t value, char *out)
{
    char back[20];
    size_t n = 0;
    do {
        back[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    for (size_t i = 0; i < n; i++)
        out[i] = back[n - 1 - i];
    return n;
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
