/* Priorities, panic and slow start, over the balancers. */
#include "gate/gate_test.h"
#include "gate/pick.h"
#include "gate/service_open.h"

#include "base/test.h"

static struct service *service;
static uint64_t now_us;
static unsigned times[64];

static void begin(const char *settings)
{
    char text[2000];
    snprintf(text, sizeof text, "listen: :1\nroutes: [{match: /, service: a}]\nservices: {a: {%s}}\n",
             settings);
    service = &gate_test_use(text)->services[0];
    now_us = worker_now_us();
    random_seed(1);
}

static void end(void)
{
    for (uint32_t i = 0; i < service->servers_count; i++)
        atomic_store(&service->servers[i].shared->down, 0);
    gate_test_end();
}

static void set_down(uint32_t from, uint32_t to, bool down)
{
    for (uint32_t i = from; i < to; i++)
        atomic_store(&service->servers[i].shared->down, down);
    now_us += WELL_COUNT_US; /* it is seen */
}

/* picked of the servers from .. to - 1, in 1/10,000 of n picks */
static unsigned share(uint32_t from, uint32_t to)
{
    unsigned sum = 0, all = 0;
    for (uint32_t i = 0; i < service->servers_count; i++) {
        all += times[i];
        sum += i >= from && i < to ? times[i] : 0;
    }
    return (unsigned)((uint64_t)sum * 10000 / all);
}

static void pick_many(unsigned n, bool any)
{
    memset(times, 0, sizeof times);
    for (unsigned i = 0; i < n; i++) {
        struct pick p = { .now_us = now_us };
        struct server *s = service_pick(service, &p);
        must(s != NULL && p.any == any);
        times[s->index]++;
    }
}

/* ---- pure ---- */

static void in_line(void **unused)
{
    (void)unused;
    assert_int_equal(pick_in_line((const double[]){ 1, 1 }, 2, 0.999), 0);
    assert_int_equal(pick_in_line((const double[]){ 0.5, 1 }, 2, 0.499), 0);
    assert_int_equal(pick_in_line((const double[]){ 0.5, 1 }, 2, 0.5), 1);
    assert_int_equal(pick_in_line((const double[]){ 0, 0.2, 0.2 }, 3, 0.49),
                     1); /* half and half of what there is */
    assert_int_equal(pick_in_line((const double[]){ 0, 0.2, 0.2 }, 3, 0.51), 2);
    assert_int_equal(pick_in_line((const double[]){ 0, 0.2, 0 }, 3, 0.9999999), 1);
    assert_int_equal(pick_in_line((const double[]){ 0, 0 }, 2, 0.5), 2);
    assert_true(pick_capacity(7, 10, 0.7) > 0.999 && pick_capacity(10, 10, 0.7) <= 1);
    assert_true(pick_capacity(5, 10, 0.7) > 0.71 && pick_capacity(5, 10, 0.7) < 0.72);
    assert_true(pick_capacity(0, 0, 0.7) <= 0);
}

static double slow_share(uint64_t back_ms, uint64_t at_ms)
{
    const struct slow_start_conf c = { .over_ms = 10000, .from = 0.1 };
    return (double)slow_start_share(&c, back_ms * 1000, at_ms * 1000) * 0x1p-32;
}

static void a_ramp(void **unused)
{
    (void)unused;
    assert_true(slow_share(0, 1000) >= 1); /* was never away */
    assert_true(slow_share(1000, 1000) > 0.099 && slow_share(1000, 1000) < 0.101);
    assert_true(slow_share(1000, 1500) < 0.101);
    assert_true(slow_share(1000, 6000) > 0.499 && slow_share(1000, 6000) < 0.501);
    assert_true(slow_share(1000, 11000) >= 1);
    assert_true(slow_share(2000, 1000) >= 1); /* is still ejected: not this one's to say */
}

/* ---- priorities ---- */

#define TEN                                                                                      \
    "servers: [{address: '10.0.0.9:1', priority: 3}, '10.0.0.1:1', '10.0.0.2:1', '10.0.0.3:1', " \
    "'10.0.0.4:1', "                                                                             \
    "'10.0.0.5:1', '10.0.0.6:1', '10.0.0.7:1', '10.0.0.8:1', {address: '10.0.0.10:1', priority: 3}]"

static void the_next_priority_takes_what_the_first_cannot(void)
{
    begin(TEN);
    must(service->groups_count == 2 && service->groups[0].count == 8 && service->groups[1].first == 8);
    must(service->servers[0].conf == (const struct server_conf *)service->conf->servers.items + 1);
    must(strcmp(service->servers[8].shared->text, "10.0.0.9:1") == 0 && service->servers[9].index == 9);
    pick_many(1000, false);
    must(share(8, 10) == 0);
    set_down(0, 2, true); /* 6 of 8 are 75%: they take it all */
    pick_many(1000, false);
    must(share(8, 10) == 0 && share(0, 2) == 0);
    set_down(0, 4, true); /* half of them well: 50 / 70 of it */
    pick_many(100000, false);
    must(share(0, 4) == 0 && share(4, 8) > 7143 - 100 && share(4, 8) < 7143 + 100);
    set_down(0, 8, true);
    pick_many(1000, false);
    must(share(8, 10) == 10000);
    set_down(0, 10, true); /* nobody: anybody of the first */
    pick_many(1000, true);
    must(share(0, 8) == 10000);
    set_down(0, 10, false);
    end();
}
TEST(the_next_priority_takes_what_the_first_cannot)

static void a_further_try_goes_on_to_the_next_priority(void)
{
    begin("servers: [{address: '10.0.0.1:1', priority: 1}, '10.0.0.2:1']");
    struct pick p = { .now_us = now_us };
    struct server *s = service_pick(service, &p);
    must(s && s->index == 0 && s->conf->priority == 0);
    p.tried[p.tried_count++] = s->index;
    s = service_pick(service, &p);
    must(s && s->index == 1 && s->conf->priority == 1 && !p.any);
    p.tried[p.tried_count++] = s->index;
    must(service_pick(service, &p) == NULL);
    end();
}
TEST(a_further_try_goes_on_to_the_next_priority)

/* ---- panic ---- */

static void with_too_few_all_are_used(void)
{
    begin(TEN ", panic: 50%");
    set_down(0, 6, true); /* 2 of 8 are 25%, and the two backups are well: they take it */
    pick_many(10000, false);
    must(share(0, 6) == 0);
    set_down(8, 10, true); /* 2 / 8 / 0.7 = 36% of what is wanted: too little, and of 8 too few */
    pick_many(10000, true);
    must(share(0, 6) > 7000);
    set_down(0, 10, false);
    end();

    begin("servers: ['10.0.0.1:1', '10.0.0.2:1', '10.0.0.3:1', '10.0.0.4:1'], panic: 50%");
    set_down(0, 2, true); /* half is enough */
    pick_many(1000, false);
    must(share(0, 2) == 0);
    set_down(0, 3, true);
    pick_many(1000, true);
    must(share(0, 3) == 7500);
    set_down(0, 4, false);
    end();
}
TEST(with_too_few_all_are_used)

/* ---- slow start ---- */

static void a_server_that_came_back_gets_a_growing_share(void)
{
    static const char *const balancers[] = { "round_robin", "random", "least_request", "peak_ewma" };
    for (unsigned i = 0; i < sizeof balancers / sizeof *balancers; i++) {
        char text[300];
        snprintf(
            text, sizeof text,
            "servers: ['10.0.0.1:1', '10.0.0.2:1', '10.0.0.3:1', '10.0.0.4:1'], balance: %s, slow_start: "
            "30s from 10%%",
            balancers[i]);
        begin(text);
        struct server_shared *shared = service->servers[1].shared;
        server_shared_set_down(shared, true, now_us);
        pick_many(10000, false);
        must(share(1, 2) == 0);
        server_shared_set_down(shared, false, now_us);
        /* between a tenth of its quarter and 0.1 / 3.1; then half of it and 0.5 / 3.5 */
        pick_many(20000, false);
        must(share(1, 2) > 200 && share(1, 2) < 450);
        now_us += 15000000;
        pick_many(20000, false);
        must(share(1, 2) > 1100 && share(1, 2) < 1610);
        now_us += 15000000;
        pick_many(20000, false);
        must(share(1, 2) > 2300 && share(1, 2) < 2700);
        atomic_store(&shared->ejected_until_us, now_us + 1); /* an ejection that is over is a return, too */
        now_us += 1;
        pick_many(20000, false);
        must(share(1, 2) > 200 && share(1, 2) < 450);
        end();
    }
}
TEST(a_server_that_came_back_gets_a_growing_share)

static void all_that_came_back_share_evenly(void)
{
    begin("servers: ['10.0.0.1:1', '10.0.0.2:1'], slow_start: 30s from 1%");
    for (uint32_t i = 0; i < 2; i++)
        server_shared_set_down(service->servers[i].shared, false, now_us);
    pick_many(10000, false); /* and none is refused for it */
    must(share(0, 1) > 4500 && share(0, 1) < 5500);
    end();
}
TEST(all_that_came_back_share_evenly)

static void keys_come_back_one_after_the_other(void)
{
    begin("servers: ['10.0.0.1:1', '10.0.0.2:1', '10.0.0.3:1'], balance: maglev by path, slow_start: 30s");
    unsigned home[1000], back_before = 0;
    for (unsigned key = 0; key < 1000; key++) {
        struct pick p = { .now_us = now_us, .hash = hash_u64(key) };
        home[key] = service_pick(service, &p)->index;
    }
    server_shared_set_down(service->servers[0].shared, false, now_us);
    bool was_back[1000] = { false };
    for (unsigned step = 0; step < 7; step++, now_us += 5000000) {
        unsigned back = 0;
        for (unsigned key = 0; key < 1000; key++) {
            struct pick p = { .now_us = now_us, .hash = hash_u64(key) };
            const bool is_back = service_pick(service, &p)->index == 0 && home[key] == 0;
            must(is_back || !was_back[key]); /* who is back stays */
            was_back[key] = is_back;
            back += is_back;
        }
        must(back > back_before);
        back_before = back;
        if (step == 6) {
            unsigned all = 0;
            for (unsigned key = 0; key < 1000; key++)
                all += home[key] == 0;
            must(back == all);
        }
    }
    end();
}
TEST(keys_come_back_one_after_the_other)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(in_line),
    cmocka_unit_test(a_ramp),
    cmocka_unit_test(test_the_next_priority_takes_what_the_first_cannot),
    cmocka_unit_test(test_a_further_try_goes_on_to_the_next_priority),
    cmocka_unit_test(test_with_too_few_all_are_used),
    cmocka_unit_test(test_a_server_that_came_back_gets_a_growing_share),
    cmocka_unit_test(test_all_that_came_back_share_evenly),
    cmocka_unit_test(test_keys_come_back_one_after_the_other),
};

int main(void)
{
    gate_test_setup(NULL);
    int failed = run_both(tests, sizeof tests / sizeof *tests);
    gate_test_teardown(NULL);
    return failed;
}
