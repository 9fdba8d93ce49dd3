#include "load/emit.h"

#include <stdlib.h>

#include "base/test.h"

static struct load l = { .kinds_count = 3, .open_loop = true };

static void fill(struct load_stats *s, uint64_t x)
{
    s->connects = x;
    s->iterations = x + 1;
    s->messages_out = x + 2;
    s->messages_in = x + 3;
    histogram_add(&s->lag, x);
    for (unsigned i = 0; i < s->kinds_count; i++) {
        struct load_kind *k = &s->kinds[i];
        k->sent = UINT64_C(1) << 60 | x;
        k->answers = x * i;
        k->bad = i;
        k->bytes_in = x << 20;
        k->errors[i] = x;
        k->statuses[200 + i] = x;
        for (unsigned n = 0; n < 500; n++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            histogram_add(&k->service, x >> 40);
            if (i)
                histogram_add(&k->response, x >> 30);
        }
    }
}

static struct json *line_of(struct load_stats *s, struct arena *a, struct text *t)
{
    struct load_point p = { .seconds = 1.5, .wanted = 10, .busy = 0.5, .connections = 7, .in_flight = 3 };
    struct load_report r = { .load = &l, .recent = s, .points = &p, .points_count = 1, .warming = true };
    struct json *j;
    emit_interval(t, &r);
    assert_int_equal(t->at[t->len - 1], '\n');
    assert_int_equal(json_read((struct bytes){ t->at, t->len - 1 }, a, &j), OK);
    return j;
}

/* Two that are sent and added are, to the last byte, what one that saw everything is. */
static void what_is_added_up_is_exact(void **state)
{
    (void)state;
    if (!WEIR_HAVE_ZLIB)
        skip();
    struct load_stats *parts[2], *sum, *received;
    struct arena a;
    arena_open(&a, &arena_heap, 64 << 20, NULL, 0);
    assert_int_equal(load_stats_open(3, &sum), OK);
    assert_int_equal(load_stats_open(3, &received), OK);
    for (unsigned i = 0; i < 2; i++) {
        struct text t = { 0 };
        struct emitted e;
        assert_int_equal(load_stats_open(3, &parts[i]), OK);
        fill(parts[i], 1000 + i * 77);
        load_stats_merge(sum, parts[i]);
        assert_int_equal(emit_read(line_of(parts[i], &a, &t), received, &e), OK);
        assert_true(e.seconds == 1.5 && e.wanted == 10 && e.busy == 0.5 && e.warming);
        assert_true(e.connections == 7 && e.in_flight == 3);
        text_free(&t);
        load_stats_close(parts[i]);
    }
    assert_memory_equal(sum, received, sizeof *sum + 3 * sizeof sum->kinds[0]);
    load_stats_close(sum);
    load_stats_close(received);
    arena_close(&a);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = { "{}", "[]", "{\"kinds\":[]}", "{\"kinds\":[{},{},{}]}",
                                         "{\"kinds\":[1,2,3],\"lag\":{\"hdr\":\"x\"}}" };
    struct load_stats *s;
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    assert_int_equal(load_stats_open(3, &s), OK);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct json *j;
        struct emitted e;
        assert_int_equal(json_read(bytes_from(wrong[i]), &a, &j), OK);
        assert_true(emit_read(j, s, &e) != OK);
    }
    load_stats_close(s);
    arena_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_added_up_is_exact),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
