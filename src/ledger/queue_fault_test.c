/* Topics on a disk that fills up, whose writes and syncs fail, and by a clock that is set back: no message is
 * lost whose publishing was answered, none comes again whose ack was; what was delayed, leased or kept for a
 * time has its time. */
#include "base/hash.h"
#include "core/log.h"
#include "ledger/faults_test.h"
#include "ledger/folder_test.h"
#include "ledger/queue_clients_test.h"

static const struct ledger_rules *const rules[] = { &queue_rules, NULL };

static struct ledger_opts options(enum ledger_durability durability)
{
    struct ledger_opts o = LEDGER_OPTS_DEFAULT;
    o.path = folder;
    o.rules = rules;
    o.segment_bytes = 1u << 20;
    o.checkpoint_interval_ms = 15;
    o.durability = durability;
    o.interval_ms = 5;
    return o;
}

static int set_up(void **state)
{
    log_set_level(LOG_ERROR + 1);
    no_faults();
    queue_wrong[0] = 0;
    memset(&queue_clients, 0, sizeof queue_clients);
    queue_clients.tell = queue_history_add;
    return folder_make(state);
}

static _Atomic int64_t *fault_at;
static int64_t fault_value;

static void load_with_fault(void *arg)
{
    (void)arg;
    queue_clients_begin();
    while (!queue_clients.acked && fiber_sleep_us(500) == OK)
        ;
    if (fiber_sleep_us(1000 * (5 + random_below(30))) == OK)
        atomic_store(fault_at, fault_value);
}

static void check(void *arg)
{
    (void)arg;
    queue_clients_check();
    worker_stop(worker_self());
}

static void look(void)
{
    struct ledger_opts o = options(LEDGER_COMMIT);
    no_faults();
    queue_clients.ledger = folder_open(&o);
    on_worker(check, NULL);
    ledger_close(queue_clients.ledger);
    assert_string_equal(queue_wrong, "");
}

/* A ledger of its own each time. */
static void run_into(_Atomic int64_t *at, int64_t value, enum ledger_durability durability,
                     const char *expected)
{
    struct ledger_opts o = options(durability);
    void *state = NULL;
    assert_int_equal(folder_remove(&state), 0);
    assert_int_equal(set_up(&state), 0);
    o.path = folder;
    fault_at = at;
    fault_value = value;
    queue_clients.ledger = folder_open(&o);
    on_worker(load_with_fault, NULL);
    assert_string_equal(queue_wrong, "");
    assert_non_null(ledger_stopped(queue_clients.ledger));
    assert_non_null(strstr(ledger_stopped(queue_clients.ledger), expected));
    ledger_close(queue_clients.ledger);
    assert_true(queue_clients.told > 0);
    if (durability == LEDGER_COMMIT)
        look();
}

static void a_full_disk(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        run_into(&fault.bytes_left, random_below(600000), LEDGER_COMMIT, "No space left on device");
}

static void a_failed_write(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        run_into(&fault.writes_left, random_below(20), LEDGER_COMMIT, "Input/output error");
}

static void a_failed_sync(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 3; i++)
        run_into(&fault.syncs_left, random_below(4), LEDGER_COMMIT, "Input/output error");
    run_into(&fault.log_syncs_left, random_below(4), LEDGER_INTERVAL, "Input/output error");
}

/* ---- the clock ---- */

static struct queue_asked here;

static struct queue_id publish(const char *topic, const char *body, uint64_t delay_ms)
{
    const struct queue_field f = { QUEUE_BODY, bytes_from(body) };
    if (QUEUE_ASK(&here, .what = QUEUE_PUBLISH, .topic = bytes_from(topic), .delay_ms = delay_ms,
                  .fields = &f, .fields_count = 1) != OK)
        queue_say("not published");
    return here.head.id;
}

/* A message comes that is given so often now, within 20 s of the monotonic clock. */
static bool comes(const char *topic, unsigned attempts)
{
    const uint64_t end_us = worker_now_us() + 20000000;
    struct queue_message m;
    while (worker_now_us() < end_us) {
        if (QUEUE_ASK(&here, .what = QUEUE_PULL, .topic = bytes_from(topic), .group = BYTES("g"),
                      .consumer = BYTES("c")) != OK)
            break;
        if (queue_read_message(&here.rest, &m) && m.attempts == attempts)
            return true;
        if (fiber_sleep_us(2000) != OK)
            break;
    }
    return false;
}

static uint64_t count_of(const char *topic)
{
    struct queue_topic_shown t = { 0 };
    if (QUEUE_ASK(&here, .what = QUEUE_LOOK_TOPIC, .topic = bytes_from(topic)) != OK ||
        !queue_read_topic(&here.rest, &t))
        queue_say("no topic");
    return t.count;
}

/* What was promised for 50 ms from now comes then, though the wall clock is an hour behind. */
static void set_back(void *arg)
{
    const uint64_t end_us = worker_now_us() + 20000000;
    static const char *const names[] = { "delays", "leases", "keeps" };
    for (unsigned i = 0; i < 3; i++) {
        const struct bytes topic = bytes_from(names[i]);
        if (QUEUE_ASK(&here, .what = QUEUE_TOPIC, .topic = topic, .keep_ms = i == 2 ? 50 : 0) != OK ||
            QUEUE_ASK(&here, .what = QUEUE_GROUP, .topic = topic, .group = BYTES("g"), .lease_ms = 50) != OK)
            queue_say("no topic");
    }
    publish("delays", "late", 50);
    const struct queue_id first = publish("leases", "one", 0);
    publish("keeps", "short", 0);
    if (!comes("leases", 1))
        queue_say("it is not given");
    fault.clock_ms = -3600000;
    const struct queue_id second = publish("leases", "two", 0);
    if (queue_id_compare(second, first) <= 0)
        queue_say("ids went back with the clock");
    *(struct queue_id *)arg = second;
    if (!comes("delays", 1))
        queue_say("what was delayed does not come");
    if (!comes("leases", 2))
        queue_say("a lease does not end");
    while (count_of("keeps") && worker_now_us() < end_us && fiber_sleep_us(2000) == OK)
        ;
    if (count_of("keeps"))
        queue_say("what is too old stays");
    publish("delays", "over a restart", 3600000);
    worker_stop(worker_self());
}

/* Started by the clock that is behind: what was put off for an hour is not due, and ids go on growing. */
static void after_a_restart(void *arg)
{
    struct queue_id *last = arg;
    const struct queue_id id = publish("leases", "three", 0);
    if (queue_id_compare(id, *last) <= 0)
        queue_say("ids went back over a restart");
    *last = id;
    if (count_of("delays") != 1)
        queue_say("what was put off for an hour has come");
    worker_stop(worker_self());
}

static void a_clock_that_is_set_back(void **state)
{
    (void)state;
    struct ledger_opts o = options(LEDGER_COMMIT);
    static struct queue_id last;
    queue_clients.ledger = folder_open(&o);
    on_worker(set_back, &last);
    ledger_close(queue_clients.ledger);
    assert_string_equal(queue_wrong, "");
    for (unsigned i = 0; i < 2; i++) {
        fault.clock_ms -= 3600000;
        queue_clients.ledger = folder_open(&o);
        on_worker(after_a_restart, &last);
        ledger_close(queue_clients.ledger);
        assert_string_equal(queue_wrong, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_disk, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_failed_write, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_failed_sync, set_up, folder_remove),
        cmocka_unit_test_setup_teardown(a_clock_that_is_set_back, set_up, folder_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
