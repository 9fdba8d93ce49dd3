#include "load/hdr.h"

#include "base/test.h"

static struct histogram h, again;

static void it_is_read_as_it_was_written(void **state)
{
    (void)state;
    if (WEIR_HAVE_ZLIB == 0)
        skip();
    for (uint64_t i = 1, x = 99; i < 5000; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        histogram_add(&h, x >> (24 + i % 30));
    }
    for (unsigned i = 0; i < 300; i++)
        histogram_add(&h, 7);
    struct text t = { 0 };
    assert_int_equal(hdr_encode(&t, &h), OK);
    assert_int_equal(hdr_decode((struct bytes){ t.at, t.len }, &again), OK);
    assert_memory_equal(again.buckets, h.buckets, sizeof h.buckets);
    assert_int_equal(again.count, h.count);
    assert_int_equal(histogram_bucket(again.min_ns), histogram_bucket(h.min_ns));
    assert_int_equal(histogram_bucket(again.max_ns), histogram_bucket(h.max_ns));
    text_free(&t);
}

static void what_is_damaged_is_refused(void **state)
{
    (void)state;
    if (WEIR_HAVE_ZLIB == 0)
        skip();
    static const char *const wrong[] = { "", "HISTFAAAAA", "AAAA",
                                         "HISTFQAAABl4nJNpmSzMgADMUJoRyHQz2LGAwf4DRAAATjkESw==" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(hdr_decode(bytes_from(wrong[i]), &again), ERR_SYNTAX);
    struct text t = { 0 };
    assert_int_equal(hdr_encode(&t, &h), OK);
    for (size_t i = 12; i + 4 < t.len; i += 7) {
        char was = t.at[i];
        t.at[i] = was == 'A' ? 'B' : 'A';
        assert_int_equal(hdr_decode((struct bytes){ t.at, t.len }, &again), ERR_SYNTAX);
        t.at[i] = was;
    }
    text_free(&t);
}

static void a_log_has_its_lines(void **state)
{
    (void)state;
    if (WEIR_HAVE_ZLIB == 0)
        skip();
    struct text t = { 0 };
    hdr_log_begin(&t, 1700000000.5);
    assert_int_equal(hdr_log_interval(&t, BYTES("response"), 1, 0.5, &h), OK);
    text_add(&t, (struct bytes){ "", 1 });
    assert_non_null(strstr(t.at, "#[StartTime: 1700000000.500 (seconds since epoch)]\n"));
    assert_non_null(strstr(t.at, "\nTag=response,1.000,0.500,"));
    assert_non_null(strstr(t.at, ",HISTFAAA"));
    text_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_read_as_it_was_written),
        cmocka_unit_test(what_is_damaged_is_refused),
        cmocka_unit_test(a_log_has_its_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
