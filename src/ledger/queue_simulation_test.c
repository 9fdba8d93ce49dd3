/* The queue's rules beside a model that knows each message's fate in each group: random publishes, pulls,
 * acks, nacks, claims, time that passes, and starts from the log between any two steps. What must hold:
 *
 *      nothing is lost: in the end each message was acked, or is a dead letter, in each group
 *      nothing is given that was acked, or while its lease lasts; attempts count one by one
 *      an ordered topic gives no message while an earlier one of its key is not done
 *      what is published again with its publisher's own id within the window is there once
 *
 * SEED=1 STEPS=1000000 in the environment: another, longer run. */
#include "base/hash.h"
#include "ledger/queue_test.h"

#define STEPS 30000
#define MESSAGES_MAX 1000000
#define GROUPS 2
#define KEYS 6
#define ATTEMPTS 4
#define LEASE_MS 1000
#define CRASHES 6
#define OWN_IDS 30 /* of publishers, again and again */
#define WINDOW_MS 3000

enum fate { FATE_NEW, FATE_HAD, FATE_BACK, FATE_ACKED, FATE_DEAD };

struct message {
    struct queue_id id;
    unsigned key, priority;
    struct {
        enum fate fate;
        unsigned attempts;
        uint64_t until_ms; /* of FATE_HAD */
    } in[GROUPS];
};

static struct message *messages;
static unsigned messages_count, first_open; /* all before it are done in all groups */
static bool ordered;
static struct {
    struct queue_id id;
    uint64_t until_ms;
} known[OWN_IDS];
static uint64_t seed_state, dead[GROUPS];
static const char *const group_names[GROUPS] = { "shop", "mail" };

static uint64_t draw(uint64_t below)
{
    seed_state += 0x9e3779b97f4a7c15;
    uint64_t x = seed_state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return (x ^ (x >> 31)) % below;
}

static bool is_done(const struct message *m, unsigned g)
{
    return m->in[g].fate == FATE_ACKED || m->in[g].fate == FATE_DEAD;
}

/* Leases that have ended by now, as the rules see it at the next operation. */
static void expire(void)
{
    while (first_open < messages_count && is_done(&messages[first_open], 0) &&
           is_done(&messages[first_open], 1))
        first_open++;
    for (unsigned i = first_open; i < messages_count; i++) {
        for (unsigned g = 0; g < GROUPS; g++) {
            struct message *m = &messages[i];
            if (m->in[g].fate != FATE_HAD || m->in[g].until_ms > qt.now_ms)
                continue;
            m->in[g].fate = m->in[g].attempts >= ATTEMPTS ? FATE_DEAD : FATE_BACK;
            dead[g] += m->in[g].fate == FATE_DEAD;
        }
    }
}

static unsigned find(struct queue_id id)
{
    unsigned low = 0, high = messages_count;
    while (low < high) {
        const unsigned mid = (low + high) / 2;
        if (queue_id_compare(messages[mid].id, id) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == messages_count || queue_id_compare(messages[low].id, id) != 0)
        fail_msg("a message that nobody has published");
    return low;
}

static struct queue_op op_of(enum queue_what what, unsigned g)
{
    return (struct queue_op){
        .what = what, .topic = BYTES("orders"), .group = bytes_from(group_names[g]), .consumer = BYTES("one")
    };
}

/* ---- steps ---- */

static void publish(void)
{
    char key[8], own_id[8] = "";
    struct message *m = &messages[messages_count];
    const unsigned own = (unsigned)draw(2 * OWN_IDS);
    must(messages_count < MESSAGES_MAX);
    *m = (struct message){ .key = (unsigned)draw(KEYS), .priority = ordered ? 0 : (unsigned)draw(3) };
    snprintf(key, sizeof key, "k%u", m->key);
    if (own < OWN_IDS)
        snprintf(own_id, sizeof own_id, "p%u", own);
    m->id = PUBLISH_KEY("body", key, .priority = m->priority, .own_id = bytes_from(own_id));
    if (own < OWN_IDS && known[own].until_ms > qt.now_ms) {
        if (queue_id_compare(m->id, known[own].id) != 0 || !qt.head.end.seq)
            fail_msg("what has its publisher's id %s is published again", own_id);
        return;
    }
    if (qt.head.end.seq)
        fail_msg("what is new is taken for what is known as %s", own_id);
    if (own < OWN_IDS) {
        known[own].id = m->id;
        known[own].until_ms = qt.now_ms + WINDOW_MS;
    }
    if (messages_count && queue_id_compare(messages[messages_count - 1].id, m->id) >= 0)
        fail_msg("ids do not grow");
    messages_count++;
}

static void check_given(unsigned i, unsigned g, unsigned attempts)
{
    struct message *m = &messages[i];
    if (m->in[g].fate != FATE_NEW && m->in[g].fate != FATE_BACK)
        fail_msg("message %u is given to %s though its fate is %u", i, group_names[g], m->in[g].fate);
    if (attempts != m->in[g].attempts + 1)
        fail_msg("message %u: attempt %u after %u", i, attempts, m->in[g].attempts);
    for (unsigned before = first_open; ordered && before < i; before++) {
        if (messages[before].key == m->key && !is_done(&messages[before], g))
            fail_msg("message %u overtakes %u of its key", i, before);
    }
    m->in[g].attempts = attempts;
    m->in[g].fate = FATE_HAD;
    m->in[g].until_ms = qt.now_ms + LEASE_MS;
}

static unsigned pull(unsigned g, unsigned count)
{
    struct queue_op op = op_of(QUEUE_PULL, g);
    struct queue_message m;
    unsigned given = 0;
    op.count = count;
    assert_int_equal(queue_test_ask(&op), QUEUE_DONE);
    for (; queue_read_message(&qt.rest, &m); given++)
        check_given(find(m.id), g, m.attempts);
    return given;
}

/* Some message: one that is had, if a few tries find one. */
static unsigned some(unsigned g)
{
    unsigned i = 0;
    for (unsigned tries = 0; tries < 20; tries++) {
        const unsigned back = (unsigned)draw(messages_count < 60 ? messages_count : 60);
        i = messages_count - 1 - back;
        if (messages[i].in[g].fate == FATE_HAD)
            break;
    }
    return i;
}

static void ack(unsigned g, unsigned i)
{
    struct queue_op op = op_of(QUEUE_ACK, g);
    struct message *m = &messages[i];
    const bool counts = m->in[g].attempts && !is_done(m, g);
    op.ids = &m->id;
    op.ids_count = 1;
    assert_int_equal(queue_test_ask(&op), QUEUE_DONE);
    if (qt.head.number != counts)
        fail_msg("ack of message %u counts %u", i, (unsigned)qt.head.number);
    if (counts)
        m->in[g].fate = FATE_ACKED;
}

static void nack(unsigned g, unsigned i)
{
    struct queue_op op = op_of(QUEUE_NACK, g);
    struct message *m = &messages[i];
    const bool counts = m->in[g].fate == FATE_HAD;
    op.ids = &m->id;
    op.ids_count = 1;
    op.delay_ms = draw(300);
    assert_int_equal(queue_test_ask(&op), QUEUE_DONE);
    if (qt.head.number != counts)
        fail_msg("nack of message %u counts %u", i, (unsigned)qt.head.number);
    if (!counts)
        return;
    m->in[g].fate = m->in[g].attempts >= ATTEMPTS ? FATE_DEAD : FATE_BACK;
    dead[g] += m->in[g].fate == FATE_DEAD;
}

static void step(void)
{
    const unsigned g = (unsigned)draw(GROUPS);
    const uint64_t what = draw(100);
    expire();
    if (what < 25 || !messages_count)
        publish();
    else if (what < 55)
        pull(g, 1 + (unsigned)draw(4));
    else if (what < 80)
        ack(g, some(g));
    else if (what < 88)
        nack(g, some(g));
    else
        qt.now_ms += draw(200);
}

/* ---- a run ---- */

static void check_dead(void)
{
    struct queue_op op = { .what = QUEUE_RANGE, .topic = BYTES("dead"), .end = QUEUE_ID_LAST };
    struct queue_message m;
    uint64_t count = 0;
    for (;;) {
        assert_int_equal(queue_test_ask(&op), QUEUE_DONE);
        if (!qt.head.count)
            break;
        for (; queue_read_message(&qt.rest, &m); count++)
            op.id = (struct queue_id){ m.id.ms, m.id.seq + 1 };
    }
    assert_int_equal(count, dead[0] + dead[1]);
}

/* Whatever is left is had and acked now. */
static void drain(void)
{
    for (unsigned quiet = 0; quiet < 50;) {
        unsigned given = 0;
        qt.now_ms += 100;
        expire();
        for (unsigned g = 0; g < GROUPS; g++)
            given += pull(g, 100);
        quiet = given ? 0 : quiet + 1;
        for (unsigned i = first_open; i < messages_count; i++) {
            for (unsigned g = 0; g < GROUPS; g++) {
                if (messages[i].in[g].fate == FATE_HAD)
                    ack(g, i);
            }
        }
    }
    for (unsigned i = 0; i < messages_count; i++) {
        for (unsigned g = 0; g < GROUPS; g++) {
            if (!is_done(&messages[i], g))
                fail_msg("message %u is lost for %s", i, group_names[g]);
        }
    }
}

static void simulate(bool keeps_order)
{
    const char *seed = getenv("SEED"), *steps = getenv("STEPS");
    const unsigned long count = steps ? strtoul(steps, NULL, 10) : STEPS;
    seed_state = seed ? strtoul(seed, NULL, 10) : 20261201;
    print_message("SEED=%llu STEPS=%lu\n", (unsigned long long)seed_state, count);
    ordered = keeps_order;
    messages = calloc(MESSAGES_MAX, sizeof *messages);
    messages_count = first_open = 0;
    dead[0] = dead[1] = 0;
    memset(known, 0, sizeof known);
    must(messages);
    queue_test_open();
    ASK_DONE(.what = QUEUE_TOPIC, .topic = BYTES("dead"));
    ASK_DONE(.what = QUEUE_TOPIC, T, .other = BYTES("dead"), .duplicate_ms = WINDOW_MS,
             .flags = ordered ? QUEUE_IS_ORDERED : 0);
    for (unsigned g = 0; g < GROUPS; g++)
        ASK_DONE(.what = QUEUE_GROUP, T, .group = bytes_from(group_names[g]), .lease_ms = LEASE_MS,
                 .attempts = ATTEMPTS, .back_off_ms = 50, .back_off_ms_max = 200);
    for (unsigned long i = 1; i <= count; i++) {
        step();
        if (i % (count / CRASHES) == draw(7))
            queue_test_crash();
    }
    queue_test_check();
    drain();
    check_dead();
    queue_test_crash();
    queue_test_close();
    free(messages);
}

static void a_topic(void **state)
{
    (void)state;
    simulate(false);
}

static void a_topic_that_keeps_the_order_of_keys(void **state)
{
    (void)state;
    simulate(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_topic),
        cmocka_unit_test(a_topic_that_keeps_the_order_of_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
