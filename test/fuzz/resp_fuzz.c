/* resp: the arguments of a command lie inside what they were read from, every beginning of it says "more" and
 * how much at least, and read bit by bit it is the same. */
#include "base/must.h"
#include "proto/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_args(const struct resp_command *c, struct bytes in)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        struct bytes arg = resp_arg(c, i);
        sum += arg.len;
        if (c->base == in.ptr)
            must((size_t)c->args[i].at + arg.len + 2 <= c->bytes);
    }
    must(sum <= c->bytes);
}

static void check_cuts(const struct resp_command *whole, struct bytes in, struct arena *a)
{
    struct resp_command c = { 0 };
    size_t len = 0, steps = 0;
    err e;
    while ((e = resp_parse(&c, (struct bytes){ in.ptr, len }, &RESP_LIMITS, a)) == ERR_AGAIN) {
        must(len < whole->bytes && c.need > len && c.need <= whole->bytes);
        len = steps++ < 64 ? len + 1 : whole->bytes;
    }
    must(e == OK && c.bytes == whole->bytes && c.count == whole->count);
    for (uint32_t i = 0; i < c.count; i++)
        must(bytes_eq(resp_arg(&c, i), resp_arg(whole, i)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct bytes in = { (const char *)data, size };
    struct resp_command c = { 0 };
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    err e = resp_parse(&c, in, &RESP_LIMITS, &a);
    if (e == OK) {
        must(c.bytes <= size && c.count <= RESP_ARGS_MAX);
        check_args(&c, in);
        check_cuts(&c, in, &a);
    }
    must(e != ERR_AGAIN || c.need > size);
    must(e != ERR_SYNTAX || c.mistake);
    arena_close(&a);
    return 0;
}
