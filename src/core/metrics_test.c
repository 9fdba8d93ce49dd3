#include "core/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

enum { REQUESTS, LATENCY, OPEN, METRICS_COUNT };
static const struct metric_def service_defs[METRICS_COUNT] = {
    [REQUESTS] = { "requests_total", METRIC_COUNTER, "Requests \\ in\nall." },
    [LATENCY] = { "latency_seconds", METRIC_HISTOGRAM, "From head to head." },
    [OPEN] = { "open_connections", METRIC_GAUGE, "Connections now." },
};
static const struct metric_group service = { "service", service_defs, METRICS_COUNT,
                                             (const char *const[]){ "service", "server", NULL } };
static const struct metric_def plain_defs[] = { { "reloads_total", METRIC_COUNTER, "Reloads." },
                                                { "wait_seconds", METRIC_HISTOGRAM, "Waiting." } };
static const struct metric_group plain = { "core", plain_defs, 2, NULL };

struct gathered {
    char *text;
    size_t len;
};

static void gather(void *arg, struct bytes text)
{
    struct gathered *g = arg;
    g->text = realloc(g->text, g->len + text.len + 1);
    assert_non_null(g->text);
    memcpy(g->text + g->len, text.ptr, text.len);
    g->len += text.len;
    g->text[g->len] = 0;
}

static struct gathered written(void)
{
    struct gathered g = { NULL, 0 };
    gather(&g, BYTES(""));
    metrics_write(&(struct metric_writer){ gather, &g });
    return g;
}

static struct metric_instance *open_service(const char *name, const char *server)
{
    struct metric_instance *m;
    const struct bytes values[] = { bytes_from(name), bytes_from(server) };
    assert_int_equal(metric_instance_open(&service, values, &m), OK);
    return m;
}

static void assert_has(const struct gathered *g, const char *part)
{
    if (!strstr(g->text, part))
        fail_msg("lacks: %s\nin: %s", part, g->text);
}

static int set_up(void **state)
{
    (void)state;
    metrics_init(3);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    metrics_close();
    return 0;
}

static void test_sums(void **state)
{
    (void)state;
    struct metric_instance *m = open_service("shop", "10.0.0.1:80");
    for (unsigned worker = 0; worker <= 3; worker++) { /* 3: the main thread's */
        struct metric_cells *cells = metric_cells(m, worker);
        assert_int_equal((uintptr_t)cells % 64, 0); /* no two workers on one cache line */
        metric_add(cells, REQUESTS, worker + 1);
        metric_inc(cells, REQUESTS);
        metric_observe_ns(cells, LATENCY, 1000000 * worker);
    }
    metric_add(metric_cells(m, 0), OPEN, 2);
    metric_sub(metric_cells(m, 1), OPEN, 5); /* one worker may take away what another added, and more */
    metric_set(metric_cells(m, 2), OPEN, -4);
    assert_int_equal(metric_value(m, REQUESTS), 14);
    assert_int_equal(metric_value(m, LATENCY), 4);
    assert_true((int64_t)metric_value(m, OPEN) == -7);
    struct gathered g = written();
    assert_has(&g, "# HELP weir_service_requests_total Requests \\\\ in\\nall.\n"
                   "# TYPE weir_service_requests_total counter\n"
                   "weir_service_requests_total{service=\"shop\",server=\"10.0.0.1:80\"} 14\n"
                   "# HELP weir_service_latency_seconds From head to head.\n"
                   "# TYPE weir_service_latency_seconds histogram\n"
                   "weir_service_latency_seconds_bucket{service=\"shop\",server=\"10.0.0.1:80\",le=\"0."
                   "000016384\"} 1\n");
    assert_has(&g, "le=\"0.000786432\"} 1\n");
    assert_has(&g, "le=\"0.001048576\"} 2\n");
    assert_has(&g, "le=\"0.002097152\"} 3\n");
    assert_has(&g, "le=\"0.003145728\"} 4\n");
    assert_has(&g, "le=\"68.719476736\"} 4\n");
    assert_has(&g, "le=\"+Inf\"} 4\n"
                   "weir_service_latency_seconds_sum{service=\"shop\",server=\"10.0.0.1:80\"} 0.006\n"
                   "weir_service_latency_seconds_count{service=\"shop\",server=\"10.0.0.1:80\"} 4\n");
    assert_has(&g, "# TYPE weir_service_open_connections gauge\n"
                   "weir_service_open_connections{service=\"shop\",server=\"10.0.0.1:80\"} -7\n");
    free(g.text);
    metric_instance_free(m);
}

static void test_no_labels(void **state)
{
    (void)state;
    struct metric_instance *m;
    assert_int_equal(metric_instance_open(&plain, NULL, &m), OK);
    metric_inc(metric_cells(m, 3), 0);
    metric_observe_ns(metric_cells(m, 3), 1, UINT64_C(100000000000));
    struct gathered g = written();
    assert_has(&g, "\nweir_core_reloads_total 1\n");
    assert_has(&g, "weir_core_wait_seconds_bucket{le=\"68.719476736\"} 0\n"
                   "weir_core_wait_seconds_bucket{le=\"+Inf\"} 1\n"
                   "weir_core_wait_seconds_sum 100\n"
                   "weir_core_wait_seconds_count 1\n");
    free(g.text);
    metric_instance_free(m);
    g = written();
    assert_string_equal(g.text, ""); /* a group without an instance says nothing */
    free(g.text);
}

static void test_escapes(void **state)
{
    (void)state;
    struct metric_instance *m = open_service("a\"b\\c\nd\xff\xc3\xa9", "");
    struct gathered g = written();
    assert_has(&g, "{service=\"a\\\"b\\\\c\\nd\xef\xbf\xbd\xc3\xa9\",server=\"\"} 0\n");
    free(g.text);
    metric_instance_free(m);
}

/* A reload opens the new before it frees the old: what is in both goes on counting, the rest vanishes. */
static void test_reload(void **state)
{
    (void)state;
    struct metric_instance *shop = open_service("shop", "a"), *gone = open_service("shop", "b");
    metric_add(metric_cells(shop, 0), REQUESTS, 7);
    struct metric_instance *again = open_service("shop", "a"), *fresh = open_service("shopa", "");
    assert_ptr_equal(again, shop);
    assert_ptr_not_equal(fresh, shop); /* the same letters, cut elsewhere */
    metric_instance_free(shop);
    metric_instance_free(gone);
    assert_int_equal(metric_value(again, REQUESTS), 7);
    struct gathered g = written();
    assert_has(&g, "weir_service_requests_total{service=\"shop\",server=\"a\"} 7\n"
                   "weir_service_requests_total{service=\"shopa\",server=\"\"} 0\n#");
    assert_null(strstr(g.text, "server=\"b\""));
    free(g.text);
    metric_instance_free(again);
    metric_instance_free(fresh);
    metric_instance_free(NULL);
    shop = open_service("shop", "a");
    assert_int_equal(metric_value(shop, REQUESTS), 0); /* nobody held it: it began anew */
    metric_instance_free(shop);
}

static void test_buckets(void **state)
{
    (void)state;
    assert_int_equal(metric_bucket(0), 0);
    assert_int_equal(metric_bucket(1), 0);
    assert_int_equal(metric_bucket(UINT64_MAX), METRIC_BUCKETS - 1);
    uint64_t below = 0;
    for (unsigned i = 0; i < METRIC_BUCKETS - 1; i++) {
        uint64_t bound = metric_bucket_bound_ns(i);
        assert_true(bound > below && (i == 0 || bound <= below + below / 2));
        assert_int_equal(metric_bucket(bound), i); /* le: the bound belongs to it */
        assert_int_equal(metric_bucket(bound + 1), i + 1);
        assert_int_equal(metric_bucket(below + 1), i);
        below = bound;
    }
    assert_true(below == UINT64_C(1) << 36);
    assert_true(metric_bucket_bound_ns(METRIC_BUCKETS - 1) == UINT64_MAX);
}

static void test_memory(void **state)
{
    (void)state;
    const struct bytes values[] = { BYTES("shop"), BYTES("x") };
    struct metric_instance *m;
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        metrics_close();
        metrics_init(2);
        mem_fail_at(n);
        e = metric_instance_open(&service, values, &m);
        mem_fail_at(0);
        assert_true(e == OK || e == ERR_MEMORY);
    }
    struct gathered g = written();
    assert_has(&g, "{service=\"shop\",server=\"x\"} 0\n");
    free(g.text);
}

static void *count_up(void *cells)
{
    for (int i = 0; i < 20000; i++) {
        metric_inc(cells, REQUESTS);
        metric_observe_ns(cells, LATENCY, (uint64_t)i * 1000);
    }
    return NULL;
}

/* Exports while workers count: nothing is lost, no value runs backwards. */
static void test_threads(void **state)
{
    (void)state;
    struct metric_instance *m = open_service("shop", "x");
    pthread_t threads[3];
    uint64_t before = 0;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_up, metric_cells(m, i)), 0);
    for (int i = 0; i < 20; i++) {
        struct gathered g = written();
        free(g.text);
        uint64_t now = metric_value(m, REQUESTS);
        assert_true(now >= before);
        before = now;
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(metric_value(m, REQUESTS), 60000);
    assert_int_equal(metric_value(m, LATENCY), 60000);
    metric_instance_free(m);
}

/* Prometheus' own checker, where it is installed. */
static void test_promtool(void **state)
{
    (void)state;
    if (system("command -v promtool >/dev/null 2>&1") != 0) {
        print_message("skipped: promtool (Debian package prometheus) is not installed\n");
        skip();
    }
    struct metric_instance *a = open_service("shop", "10.0.0.1:80"), *b = open_service("p\"a\\y\n", "x"), *c;
    assert_int_equal(metric_instance_open(&plain, NULL, &c), OK);
    metric_observe_ns(metric_cells(a, 1), LATENCY, 123456789);
    struct gathered g = written();
    FILE *f = popen("promtool check metrics >&2", "w");
    assert_non_null(f);
    assert_int_equal(fwrite(g.text, 1, g.len, f), g.len);
    assert_int_equal(pclose(f), 0);
    free(g.text);
    metric_instance_free(a);
    metric_instance_free(b);
    metric_instance_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_sums, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_labels, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_escapes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_reload, set_up, tear_down),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_threads, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_promtool, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
