/* What goes in comes out, whatever it is cut into and wherever it waited. */
#include "gate/spool.h"

#include "base/hash.h"
#include "core/io_test.h"

#define MUCH 700000

static char content[MUCH];
static struct block_pool pool = { .kept_bytes_max = 1 << 20 };

static void fill(void)
{
    for (size_t i = 0; i < MUCH; i++)
        content[i] = (char)(i * 31 + (i >> 8) * 7);
}

static struct spool_opts opts_of(size_t memory, uint64_t file)
{
    return (struct spool_opts){ .pool = &pool,
                                .pool_bytes_max = 4 << 20,
                                .memory_bytes_max = memory,
                                .file_bytes_max = file,
                                .folder = "/tmp" };
}

static size_t add(struct spool *s, size_t at, size_t n)
{
    size_t taken;
    must(spool_add(s, (struct bytes){ content + at, n < MUCH - at ? n : MUCH - at }, &taken) == OK);
    return taken;
}

static size_t read_some(struct spool *s, size_t at, size_t n)
{
    struct bytes data;
    must(spool_peek(s, &data) == OK);
    if (data.len > n)
        data.len = n;
    must(data.len == 0 || memcmp(data.ptr, content + at, data.len) == 0);
    spool_skip(s, data.len);
    return data.len;
}

static void all_in_then_all_out(size_t memory, uint64_t file, size_t step)
{
    const struct spool_opts o = opts_of(memory, file);
    struct spool s;
    size_t in = 0;
    size_t out = 0;
    spool_open(&s, &o);
    while (in < MUCH)
        in += add(&s, in, step);
    must(s.bytes == MUCH && s.memory_bytes <= memory);
    while (out < MUCH) {
        size_t n = read_some(&s, out, step);
        must(n > 0);
        out += n;
    }
    must(s.bytes == 0);
    spool_close(&s);
    must(pool.used_bytes == 0);
}

static void in_memory_and_in_a_file(void)
{
    fill();
    static const size_t steps[] = { 777, 16384, MUCH };
    for (unsigned i = 0; i < 3; i++) {
        all_in_then_all_out(MUCH, 0, steps[i]);
        all_in_then_all_out(0, 1 << 20, steps[i]);
        all_in_then_all_out(100000, 1 << 20, steps[i]);
    }
}

static void a_full_one_takes_no_more(void)
{
    fill();
    struct spool_opts o = opts_of(10000, 0);
    struct spool s;
    spool_open(&s, &o);
    must(add(&s, 0, MUCH) == 10000 + SPOOL_BLOCK_BYTES);
    must(add(&s, 10000 + SPOOL_BLOCK_BYTES, 1) == 0);
    size_t out = 0;
    for (size_t n; (n = read_some(&s, out, 1000)) > 0;)
        out += n;
    must(out == 10000 + SPOOL_BLOCK_BYTES && s.bytes == 0);
    must(add(&s, out, 10) == 10);
    must(read_some(&s, out, 100) == 10);
    spool_close(&s);
    must(pool.used_bytes == 0);

    o.pool_bytes_max = 1000; /* nothing to be had */
    spool_open(&s, &o);
    must(spool_reserve(&s) == ERR_LIMIT);
    must(add(&s, 0, 100) == 0);
    spool_close(&s);
}

/* As a client that takes nothing: what it is to be sent next stays where it is, and all else goes on. */
static void what_is_lent_is_in_nobodys_way(void)
{
    fill();
    const struct spool_opts o = opts_of(0, 1 << 20);
    struct spool s;
    struct bytes lent;
    size_t out = 1000;
    spool_open(&s, &o);
    must(add(&s, 0, out) == out && spool_peek(&s, &lent) == OK && lent.len == out);
    must(add(&s, out, MUCH) == MUCH - out);
    must(memcmp(lent.ptr, content, out) == 0);
    spool_skip(&s, out);
    for (size_t n; (n = read_some(&s, out, 50000)) > 0;)
        out += n;
    must(out == MUCH && s.bytes == 0);
    spool_close(&s);
    must(pool.used_bytes == 0);
}

/* Adding and reading by turns, in lengths that are drawn. */
static void by_turns(void)
{
    fill();
    for (unsigned run = 0; run < 30; run++) {
        const struct spool_opts o = opts_of(run % 3 * 30000, run % 2 ? 300000 : 0);
        struct spool s;
        size_t in = 0;
        size_t out = 0;
        spool_open(&s, &o);
        must(spool_reserve(&s) == OK);
        while (out < MUCH) {
            for (unsigned k = random_below(4); k && in < MUCH; k--)
                in += add(&s, in, 1 + random_below(40000));
            for (unsigned k = random_below(4); k; k--)
                out += read_some(&s, out, 1 + random_below(40000));
            must(s.bytes == in - out);
        }
        spool_close(&s);
        must(pool.used_bytes == 0);
    }
    block_pool_close(&pool);
}

TEST(in_memory_and_in_a_file)
TEST(a_full_one_takes_no_more)
TEST(what_is_lent_is_in_nobodys_way)
TEST(by_turns)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_memory_and_in_a_file),
        cmocka_unit_test(test_a_full_one_takes_no_more),
        cmocka_unit_test(test_what_is_lent_is_in_nobodys_way),
        cmocka_unit_test(test_by_turns),
    };
    return run_both(tests, sizeof tests / sizeof *tests);
}
