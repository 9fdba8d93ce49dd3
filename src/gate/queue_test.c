#define QUEUE_LOOK_MS 100000000 /* so that a wake-up that is lost stays lost */
#include "gate/queue.c"

#include "core/io_test.h"
#include "gate/gate_test.h"

/* ---- decisions ---- */

static void who_is_first(void)
{
    must(urgency(QUEUE_OLDEST, 0, 0) > 0 && urgency(QUEUE_NEWEST, 0, 0) > 0);
    must(urgency(QUEUE_OLDEST, 1, 1000) > urgency(QUEUE_OLDEST, 1, 1001));
    must(urgency(QUEUE_NEWEST, 1, 1000) < urgency(QUEUE_NEWEST, 1, 1001));
    for (enum queue_order o = QUEUE_OLDEST; o <= QUEUE_NEWEST; o++) { /* the class before the time */
        must(urgency(o, 2, 1) > urgency(o, 1, 1000000000000) &&
             urgency(o, 2, 1000000000000) > urgency(o, 1, 1));
        must(urgency(o, 1, 1) > urgency(o, 0, 1000000000000) &&
             urgency(o, 1, 1000000000000) > urgency(o, 0, 1));
    }
}
TEST(who_is_first)

static void who_may_displace_whom(void)
{
    must(may_displace(QUEUE_OLDEST, 2, 1) && may_displace(QUEUE_OLDEST, 1, 0));
    must(!may_displace(QUEUE_OLDEST, 1, 1) && !may_displace(QUEUE_OLDEST, 0, 1));
    must(may_displace(QUEUE_NEWEST, 1, 1) && may_displace(QUEUE_NEWEST, 2, 0) &&
         !may_displace(QUEUE_NEWEST, 0, 1));
}
TEST(who_may_displace_whom)

/* ---- one worker ---- */

#define TEXT(more)                                                                           \
    "listen: :1\nroutes: [{match: /, service: a}]\nservices:\n  a: {servers: [10.0.0.1:80, " \
    "10.0.0.2:80], " more "}\n"

/* One that asks for a place, and gives it back when it is told to. */
struct asker {
    struct exchange x;
    unsigned class;
    err result;
    struct server *server;
    unsigned served; /* in which place of all */
    bool done;
};

static struct gate *gate;
static unsigned served;

static void ask(void *arg)
{
    struct asker *a = arg;
    exchange_open(&a->x, gate, NULL, 0);
    a->x.service = &gate->services[0];
    a->x.priority = (uint8_t)a->class;
    struct pick p = pick_begin(&a->x);
    a->result = queue_choose(&a->x, &p, &a->server);
    a->served = ++served;
    a->done = true;
    if (!a->result && a->server)
        server_begin(a->server, &a->x);
}

static void finish(struct asker *a)
{
    if (!a->result && a->server)
        server_end(a->server, &a->x);
    exchange_release(&a->x);
}

static void settle_down(void)
{
    for (int i = 0; i < 5; i++) {
        err e = fiber_sleep_us(1000);
        must(e == OK);
    }
}

static void begin(const char *text, struct asker *askers, unsigned count)
{
    gate = gate_test_use(text);
    served = 0;
    for (unsigned i = 0; i < count; i++) {
        fiber_spawn(ask, &askers[i]);
        settle_down();
    }
}

static uint64_t metric(enum queue_metric m)
{
    return metric_value(gate->services[0].queue->metrics, m);
}

static void end(struct asker *askers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        finish(&askers[i]);
        settle_down();
    }
    const struct queue *q = gate->services[0].queue;
    must(q->hub->waiting == 0 && q->line->waiting == 0 && q->line->head == 0);
    for (unsigned i = 0; i < 2; i++)
        must(gate->services[0].servers[i].places->taken == 0);
    must(metric(METRIC_WAITING) == 0);
    gate_test_end();
    must(list_empty(&hubs));
}

static void a_bound_without_a_line(void)
{
    struct asker a[5] = { 0 };
    begin(TEXT("requests_max: 2"), a, 5);
    for (unsigned i = 0; i < 4; i++)
        must(a[i].done && a[i].result == OK && a[i].server);
    must(a[4].done && a[4].result == ERR_LIMIT && metric(METRIC_FULL) == 1);
    end(a, 5);
}
TEST(a_bound_without_a_line)

static void of_one_server(void)
{
    struct asker a[4] = { 0 };
    gate = gate_test_use("listen: :1\nroutes: [{match: /, service: a}]\nservices:\n"
                         "  a: {servers: [{address: 10.0.0.1:80, requests_max: 1}, 10.0.0.2:80]}\n");
    must(gate->services[0].servers[0].requests_max == 1 && !gate->services[0].servers[1].taken);
    served = 0;
    unsigned first = 0;
    for (unsigned i = 0; i < 4; i++) {
        ask(&a[i]);
        must(a[i].result == OK);
        first += a[i].server->index == 0;
    }
    must(first == 1); /* the rest goes to the one that has no bound */
    for (unsigned i = 0; i < 4; i++)
        finish(&a[i]);
    gate_test_end();
}
TEST(of_one_server)

static void oldest_first(void)
{
    struct asker a[5] = { 0 };
    begin(TEXT("requests_max: 1, queue: {max: 10, timeout: 100s}"), a, 5);
    must(a[0].done && a[1].done && !a[2].done && !a[3].done && !a[4].done && metric(METRIC_WAITING) == 3);
    finish(&a[0]);
    settle_down();
    must(a[2].done && a[2].server == a[0].server && !a[3].done);
    finish(&a[1]);
    settle_down();
    must(a[3].done && !a[4].done);
    finish(&a[2]);
    settle_down();
    must(a[4].done && metric(METRIC_WAITED) == 3);
    end(&a[3], 2);
}
TEST(oldest_first)

static void newest_first(void)
{
    struct asker a[5] = { 0 };
    begin(TEXT("requests_max: 1, queue: {max: 2, timeout: 100s, order: newest}"), a, 5);
    must(a[2].done && a[2].result == ERR_LIMIT && metric(METRIC_DISPLACED) == 1); /* the fifth came */
    finish(&a[0]);
    settle_down();
    must(a[4].done && a[4].result == OK && !a[3].done);
    finish(&a[1]);
    finish(&a[2]);
    settle_down();
    must(a[3].done && a[3].result == OK);
    end(&a[3], 2);
}
TEST(newest_first)

static void high_before_low(void)
{
    struct asker a[7] = { 0 };
    static const unsigned classes[] = { 1, 1, 0, 1, 2, 1, 2 };
    static const unsigned places[] = { 1, 2, 7, 5, 3, 6, 4 };
    for (unsigned i = 0; i < 7; i++)
        a[i].class = classes[i];
    begin(TEXT("requests_max: 1, queue: {max: 10, timeout: 100s}"), a, 7);
    bool finished[7] = { false };
    for (unsigned round = 0; round < 7; round++) {
        for (unsigned i = 0; i < 7; i++) {
            if (!a[i].done || finished[i])
                continue;
            finished[i] = true;
            finish(&a[i]);
            settle_down();
            break;
        }
    }
    for (unsigned i = 0; i < 7; i++)
        must(finished[i] && a[i].served == places[i]);
    end(a, 0);
}
TEST(high_before_low)

static void a_full_line(void)
{
    struct asker a[6] = { 0 };
    a[5].class = 2;
    begin(TEXT("requests_max: 1, queue: {max: 2, timeout: 100s}"), a, 6);
    must(a[4].done && a[4].result == ERR_LIMIT && metric(METRIC_FULL) == 1);
    must(a[3].done && a[3].result == ERR_LIMIT &&
         metric(METRIC_DISPLACED) == 1); /* the last of the lower class */
    must(!a[2].done && !a[5].done);
    finish(&a[0]);
    settle_down();
    must(a[5].done && a[5].result == OK && !a[2].done);
    finish(&a[1]);
    settle_down();
    must(a[2].done);
    end(&a[2], 4);
}
TEST(a_full_line)

static void too_late(void)
{
    struct asker a[3] = { 0 };
    begin(TEXT("requests_max: 1, queue: {max: 2, timeout: 20ms}"), a, 3);
    while (!a[2].done)
        settle_down();
    must(a[2].result == ERR_LIMIT && metric(METRIC_LATE) == 1);
    end(a, 3);
}
TEST(too_late)

/* All that are well are full: those that are not well are no way out. */
static void full_is_no_panic(void)
{
    struct asker a[2] = { 0 };
    gate = gate_test_use(TEXT("requests_max: 1"));
    atomic_store(&gate->services[0].servers[1].shared->down, 1);
    ask(&a[0]);
    ask(&a[1]);
    must(a[0].result == OK && a[0].server->index == 0 && a[1].result == ERR_LIMIT);
    finish(&a[1]);
    atomic_store(&gate->services[0].servers[0].shared->down, 1); /* now nobody is well */
    ask(&a[1]);
    must(a[1].result == OK && a[1].server->index == 1);
    end(a, 2);
}
TEST(full_is_no_panic)

/* ---- many workers ---- */

#define WORKERS 4
#define FIBERS 40
#define ROUNDS 80
#define PLACES 3 /* at each of two servers */

static struct generation *generation;
static _Atomic uint32_t inside[2];
static _Atomic uint32_t most, asked, failed, open_workers, closed_workers;
static _Thread_local unsigned fibers_left;
static _Thread_local struct gate *my_gate;

static void rush(void *arg)
{
    uint64_t state = (uintptr_t)arg;
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct exchange x;
        struct server *server = NULL;
        exchange_open(&x, my_gate, NULL, 0);
        x.service = &my_gate->services[0];
        state = state * 6364136223846793005u + 1442695040888963407u;
        x.priority = (uint8_t)(state >> 33) % PRIORITY_COUNT;
        struct pick p = pick_begin(&x);
        err e = queue_choose(&x, &p, &server);
        if (e || !server) {
            failed++;
        } else {
            server_begin(server, &x);
            const uint32_t now = ++inside[server->index];
            for (uint32_t was = most; was < now && !atomic_compare_exchange_weak(&most, &was, now);)
                ;
            if (state >> 40 & 1)
                fiber_yield();
            else
                e = fiber_sleep_us(state >> 41 & 255);
            inside[server->index]--;
            server_end(server, &x);
        }
        asked++;
        exchange_release(&x);
    }
    fibers_left--;
}

static void rush_worker(void *arg)
{
    struct diag d = DIAG_NONE;
    struct worker *w = worker_self();
    err e = gate_open(generation, &my_gate, &d);
    must(e == OK);
    open_workers++;
    while (open_workers < WORKERS)
        must(fiber_sleep_us(1000) == OK);
    fibers_left = FIBERS;
    for (unsigned i = 0; i < FIBERS; i++)
        fiber_spawn(rush, (void *)((uintptr_t)arg * FIBERS + i + 1));
    while (fibers_left)
        must(fiber_sleep_us(1000) == OK);
    closed_workers++;
    while (closed_workers < WORKERS) /* the others' bells ring here too */
        must(fiber_sleep_us(1000) == OK);
    must(fiber_sleep_us(5000) == OK);
    gate_drop(my_gate);
    upstream_close_idle();
    worker_stop(w);
}

/* 160 fibers on four workers want six places, 12,800 times: all get one, never one too many, and none waits
 * for ever although nobody looks by the clock. */
static void nobody_is_forgotten(void **state)
{
    (void)state;
    static const enum loop_kind kinds[] = { LOOP_EPOLL, LOOP_AUTO };
    for (unsigned k = 0; k < 2; k++) {
        struct worker *workers[WORKERS];
        struct diag d = DIAG_NONE;
        err e = generation_load(
            BYTES("listen: :1\nroutes: [{match: /, service: a}]\nservices:\n  a: {servers: "
                  "[10.0.0.1:80, 10.0.0.2:80], balance: least_request, requests_max: 3, queue: "
                  "{max: 1000, timeout: 10m}}\n"),
            "weir.yaml", NULL, &generation, &d);
        must(e == OK);
        generation->workers = WORKERS;
        most = asked = failed = open_workers = closed_workers = 0;
        for (unsigned i = 0; i < WORKERS; i++) {
            const struct worker_opts opts = { .index = i, .loop = kinds[k], .cpu = -1, .name = "rush" };
            e = worker_start(&opts, rush_worker, (void *)(uintptr_t)(i + 1), &workers[i], &d);
            must(e == OK);
        }
        for (unsigned i = 0; i < WORKERS; i++)
            worker_join(workers[i]);
        assert_int_equal(asked, WORKERS * FIBERS * ROUNDS);
        assert_int_equal(failed, 0);
        assert_in_range(most, 1, PLACES);
        generation_drop(generation);
        assert_true(list_empty(&hubs));
    }
}

static int setup(void **state)
{
    gate_test_setup(state);
    metrics_close();
    metrics_init(WORKERS);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_who_is_first),
        cmocka_unit_test(test_who_may_displace_whom),
        cmocka_unit_test(test_a_bound_without_a_line),
        cmocka_unit_test(test_of_one_server),
        cmocka_unit_test(test_oldest_first),
        cmocka_unit_test(test_newest_first),
        cmocka_unit_test(test_high_before_low),
        cmocka_unit_test(test_a_full_line),
        cmocka_unit_test(test_too_late),
        cmocka_unit_test(test_full_is_no_panic),
        cmocka_unit_test(nobody_is_forgotten),
    };
    return cmocka_run_group_tests(tests, setup, gate_test_teardown);
}
