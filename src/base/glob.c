#include "base/glob.h"

/* Of a class: p stands behind '['. Moves behind ']', or to the end where there is none. */
static bool class_has(struct bytes pattern, size_t *p, char c)
{
    size_t i = *p;
    const bool not = i < pattern.len && pattern.ptr[i] == '^';
    bool found = false;
    for (i += not ; i < pattern.len && pattern.ptr[i] != ']'; i++) {
        if (pattern.ptr[i] == '\\' && i + 1 < pattern.len) {
            found |= pattern.ptr[++i] == c;
        } else if (i + 2 < pattern.len && pattern.ptr[i + 1] == '-') {
            const unsigned char a = (unsigned char)pattern.ptr[i], b = (unsigned char)pattern.ptr[i + 2];
            const unsigned char is = (unsigned char)c;
            found |= a <= b ? is >= a && is <= b : is >= b && is <= a;
            i += 2;
        } else {
            found |= pattern.ptr[i] == c;
        }
    }
    *p = i < pattern.len ? i + 1 : i;
    return found != not ;
}

/* One that is not '*', against one byte. Moves behind it. */
static bool one_matches(struct bytes pattern, size_t *p, char c)
{
    const char want = pattern.ptr[(*p)++];
    if (want == '?')
        return true;
    if (want == '[')
        return class_has(pattern, p, c);
    if (want == '\\' && *p < pattern.len)
        return pattern.ptr[(*p)++] == c;
    return want == c;
}

bool glob_match(struct bytes pattern, struct bytes name)
{
    size_t p = 0, n = 0, star = SIZE_MAX, from = 0; /* after the last '*', and what it has eaten up to */
    while (n < name.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = ++p;
            from = n;
        } else if (p < pattern.len && one_matches(pattern, &p, name.ptr[n])) {
            n++;
        } else if (star != SIZE_MAX) {
            p = star;
            n = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}
