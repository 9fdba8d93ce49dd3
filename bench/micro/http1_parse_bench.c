/* Nanoseconds per parse and per put of typical request heads, both variants; the best of several rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/http1.h"

#define ROUNDS 15
#define PARSES 20000

static const char head_3[] = "GET /stock/42 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: load/1.0\r\n"
                             "Accept: */*\r\n\r\n";
static const char head_10[] =
    "GET /api/v1/items/4711?page=2&sort=price HTTP/1.1\r\nHost: shop.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: application/json, text/plain\r\nAccept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\nReferer: https://shop.example.com/items\r\nDNT: 1\r\n"
    "Connection: keep-alive\r\nCookie: session=0123456789abcdef\r\nCache-Control: no-cache\r\n\r\n";
static char head_large[4096];

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct bytes large_head(void)
{
    size_t len = sizeof head_10 - 3; /* without the empty line */
    memcpy(head_large, head_10, len);
    for (int i = 0; i < 6; i++)
        len += (size_t)snprintf(head_large + len, 400, "X-Custom-Field-%d: %0150d\r\n", i, i);
    len += (size_t)snprintf(head_large + len, 3, "\r\n");
    return (struct bytes){ head_large, len };
}

static void fail(void)
{
    fputs("a head that should parse does not\n", stderr);
    exit(1);
}

static void parse(struct bytes head, struct http_request *r)
{
    static const struct http1_limits limits = { 8192, 65536, 64 };
    size_t used;
    unsigned status;
    if (http1_parse_request(head, 0, &limits, r, &used, &status))
        fail();
}

static double parse_ns(struct bytes head, struct http_request *r)
{
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < PARSES; i++) {
            parse(head, r);
            __asm__ volatile("" ::: "memory");
        }
        double ns = (now_ns() - start) / PARSES;
        best = ns < best ? ns : best;
    }
    return best;
}

static double put_ns(const struct http_request *r)
{
    static char out[8192];
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < PARSES; i++) {
            http1_put_request(out, r, r->target, r->authority, HTTP1_CONNECTION_DEFAULT);
            __asm__ volatile("" ::: "memory");
        }
        double ns = (now_ns() - start) / PARSES;
        best = ns < best ? ns : best;
    }
    return best;
}

static void measure(const char *variant, struct bytes head)
{
    static struct http_field at[64];
    struct http_request r = { .fields = { at, 0, 64 } };
    double ns = parse_ns(head, &r);
    printf("%-8s %5zu bytes %3u fields   parse %6.1f ns   put %6.1f ns\n", variant, head.len, r.fields.count,
           ns, put_ns(&r));
}

int main(void)
{
    for (int scalar = 0; scalar < 2; scalar++) {
        const char *variant = http1_use_scalar(scalar);
        measure(variant, (struct bytes){ head_3, sizeof head_3 - 1 });
        measure(variant, (struct bytes){ head_10, sizeof head_10 - 1 });
        measure(variant, large_head());
    }
    return 0;
}
