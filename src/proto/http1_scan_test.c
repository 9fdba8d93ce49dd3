/* Each variant must say exactly what the scalar one says: on every byte at every place of a vector, and on
 * some hundred thousand mutated heads. HTTP1_TEST_SEED repeats a run. */
#include "proto/http1_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#define FIELDS_MAX 32
#define MUTANTS 100000

static const struct http1_limits limits = { 200, 600, 24 };

static const char *const seeds[] = {
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a/long/path/that/is/longer/than/one/vector?with=a&query=too HTTP/1.1\r\nHost: example.com:8080\r\n"
    "User-Agent: something/1.0 (that is; longer) than/one vector\r\nAccept: */*\r\nConnection: keep-alive, "
    "x-foo\r\n"
    "X-Foo:  1 \t\r\nCookie: a=b\r\n\r\nGET ",
    "POST http://h:1/p HTTP/1.1\r\nhost: h\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\nabc",
    "PUT /x HTTP/1.0\r\nContent-Type: text/plain\r\nTransfer-Encoding: "
    "chunked\r\nX-Very-Long-Name-Of-A-Field-Indeed: "
    "\xe4\xb8\xad\r\nConnection: close\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: [::1]\r\nUpgrade: websocket\r\nConnection: upgrade\r\nTE: trailers\r\n\r\n",
};

static uint64_t random_state;

static uint32_t next_random(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % below;
}

struct result {
    err e;
    size_t used;
    unsigned status;
    struct http_request r;
    struct http_field at[FIELDS_MAX];
};

static void parse(struct bytes in, bool scalar, struct result *ret)
{
    memset(ret, 0, sizeof *ret);
    http1_use_scalar(scalar);
    ret->r.fields = (struct http_fields){ NULL, 0, FIELDS_MAX };
    ret->r.fields.at = ret->at;
    ret->e = http1_parse_request(in, 0, &limits, &ret->r, &ret->used, &ret->status);
    ret->r.fields.at = NULL; /* so that two of them can be compared whole */
}

static void check_same(struct bytes text)
{
    struct result a, b;
    char *copy = malloc(text.len ? text.len : 1); /* a sanitizer sees the first byte read too many */
    assert_non_null(copy);
    memcpy(copy, text.ptr, text.len);
    parse((struct bytes){ copy, text.len }, true, &a);
    parse((struct bytes){ copy, text.len }, false, &b);
    free(copy);
    bool same = a.e == b.e && a.used == b.used && a.status == b.status;
    if (same && a.e == OK)
        same = memcmp(&a.r, &b.r, sizeof a.r) == 0 && memcmp(a.at, b.at, sizeof a.at) == 0;
    if (!same)
        fail_msg("scalar says %s %u, the other %s %u, about: %.*s", err_name(a.e), a.status, err_name(b.e),
                 b.status, BYTES_ARG(text));
}

static size_t mutate(char *text, size_t len, size_t size)
{
    static const char interesting[] = "\r\n\t :;,\0\x7f\x80\xff#?%/0A-";
    char c = next_random(3) ? interesting[next_random(sizeof interesting - 1)] : (char)next_random(256);
    size_t at = next_random((uint32_t)len);
    switch (next_random(4)) {
    case 0:
        text[at] = c;
        return len;
    case 1:
        memmove(text + at, text + at + 1, len - at - 1);
        return len - 1;
    case 2:
        if (len == size)
            return len;
        memmove(text + at + 1, text + at, len - at);
        text[at] = c;
        return len + 1;
    default:
        return at + 1; /* cut */
    }
}

static void test_mutants(void **state)
{
    (void)state;
    for (unsigned i = 0; i < MUTANTS; i++) {
        char text[1024];
        const char *seed = seeds[next_random(sizeof seeds / sizeof seeds[0])];
        size_t len = strlen(seed);
        memcpy(text, seed, len);
        for (uint32_t n = next_random(5); n > 0 && len > 1; n--)
            len = mutate(text, len, sizeof text);
        check_same((struct bytes){ text, len });
    }
}

/* Every byte at every place of a name, a value and a target, at every distance from the end of the input. */
static void test_every_byte(void **state)
{
    (void)state;
    const char *head = seeds[1];
    char text[512];
    size_t len = strlen(head);
    for (size_t at = 0; at < len; at++) {
        for (unsigned c = 0; c < 256; c++) {
            memcpy(text, head, len);
            text[at] = (char)c;
            check_same((struct bytes){ text, len });
        }
    }
    for (size_t cut = 1; cut <= len; cut++)
        check_same((struct bytes){ head, cut });
}

static void test_forcing(void **state)
{
    (void)state;
    assert_string_equal(http1_use_scalar(true), "scalar");
    print_message("variant beside the scalar one: %s\n", http1_use_scalar(false));
    assert_string_equal(http1_scan->name, http1_use_scalar(false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forcing),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_mutants),
    };
    const char *given = getenv("HTTP1_TEST_SEED");
    random_state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 2654435761U + 1;
    print_message("HTTP1_TEST_SEED=%llu\n", (unsigned long long)random_state);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
