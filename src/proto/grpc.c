#include "proto/grpc.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned http;
} statuses[] = {
#define X(id, code, name, http) [code] = { name, http },
    GRPC_STATUS_LIST(X)
#undef X
};

const char *grpc_status_name(unsigned status)
{
    return statuses[status < GRPC_STATUSES ? status : GRPC_UNKNOWN].name;
}

int grpc_status_of_name(struct bytes name)
{
    for (unsigned i = 0; i < GRPC_STATUSES; i++) {
        if (bytes_eq(name, bytes_from(statuses[i].name)))
            return (int)i;
    }
    return -1;
}

enum grpc_status grpc_status_read(struct bytes value)
{
    uint64_t code;
    if (!bytes_to_u64(value, &code) || code >= GRPC_STATUSES)
        return GRPC_UNKNOWN;
    return (enum grpc_status)code;
}

unsigned grpc_status_to_http(unsigned status)
{
    return statuses[status < GRPC_STATUSES ? status : GRPC_UNKNOWN].http;
}

enum grpc_status grpc_status_of_http(unsigned status)
{
    switch (status) {
    case 400:
        return GRPC_INTERNAL;
    case 401:
        return GRPC_UNAUTHENTICATED;
    case 403:
        return GRPC_PERMISSION_DENIED;
    case 404:
    case 405:
    case 501:
        return GRPC_UNIMPLEMENTED;
    case 408:
    case 504:
        return GRPC_DEADLINE_EXCEEDED;
    case 413:
    case 429:
    case 431:
        return GRPC_RESOURCE_EXHAUSTED;
    case 499:
        return GRPC_CANCELLED;
    case 502:
    case 503:
        return GRPC_UNAVAILABLE;
    default:
        return status >= 500 ? GRPC_INTERNAL : GRPC_UNKNOWN;
    }
}

bool grpc_is_type(struct bytes content_type)
{
    static const struct bytes grpc = BYTES("application/grpc");
    if (content_type.len < grpc.len || !bytes_eq_nocase((struct bytes){ content_type.ptr, grpc.len }, grpc))
        return false;
    return content_type.len == grpc.len || content_type.ptr[grpc.len] == '+' ||
           content_type.ptr[grpc.len] == ';';
}

/* ---- grpc-timeout ---- */

static const struct {
    char letter;
    uint64_t ns;
} units[] = {
    { 'n', 1 },
    { 'u', 1000 },
    { 'm', 1000000 },
    { 'S', 1000000000 },
    { 'M', UINT64_C(60) * 1000000000 },
    { 'H', UINT64_C(3600) * 1000000000 },
};
#define UNITS (sizeof units / sizeof *units)
#define TIMEOUT_NUMBER_MAX 99999999

err grpc_timeout_read(struct bytes value, uint64_t *ret_us)
{
    uint64_t number;
    if (value.len < 2 || value.len > GRPC_TIMEOUT_BYTES_MAX ||
        !bytes_to_u64((struct bytes){ value.ptr, value.len - 1 }, &number))
        return ERR_SYNTAX;
    for (unsigned i = 0; i < UNITS; i++) {
        if (units[i].letter != value.ptr[value.len - 1])
            continue;
        *ret_us = units[i].ns >= 1000 ? number * (units[i].ns / 1000) : (number + 999) / 1000;
        return OK;
    }
    return ERR_SYNTAX;
}

size_t grpc_timeout_put(char *out, uint64_t us)
{
    unsigned unit = 1; /* nothing is said finer than it is known */
    uint64_t number = us;
    while (number > TIMEOUT_NUMBER_MAX && unit + 1 < UNITS)
        number = us / (units[++unit].ns / 1000);
    if (number > TIMEOUT_NUMBER_MAX)
        number = TIMEOUT_NUMBER_MAX;
    if (!number) {
        number = 1;
        unit = 0;
    }
    size_t len = u64_to_text(number, out);
    out[len] = units[unit].letter;
    return len + 1;
}

/* ---- grpc-message ---- */

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c <= 0x7e && c != '%';
}

struct bytes grpc_message_encode(struct arena *a, struct bytes text)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t len = text.len;
    for (size_t i = 0; i < text.len; i++)
        len += is_plain((unsigned char)text.ptr[i]) ? 0 : 2;
    char *out = arena_get(a, len + 1);
    if (!out)
        return BYTES_NONE;
    char *at = out;
    for (size_t i = 0; i < text.len; i++) {
        const unsigned char c = (unsigned char)text.ptr[i];
        if (is_plain(c)) {
            *at++ = (char)c;
            continue;
        }
        *at++ = '%';
        *at++ = digits[c >> 4];
        *at++ = digits[c & 15];
    }
    return (struct bytes){ out, len };
}
