/* The queue's rules beside a model that knows each message's fate in each group: random publishes, delayed
 * and half ones, pulls, acks, nacks, deletions, replays, time that passes and clocks that are set back; with
 * checkpoints, messages that leave memory, and crashes between any two steps. What must hold:
 *
 *      nothing is lost: in the end each message was acked, or is a dead letter (once), in each group; but for
 *      those that were deleted, or dropped because there were too many
 *      nothing is given that was acked, or while its lease lasts; attempts count one by one
 *      an ordered topic gives no message while an earlier one of its key is not done
 *      a delayed one comes when it is due, a half one when it is committed, once; one that was rolled back
 *      never; a silent publisher is asked as often as was said, and then it is rolled back
 *      what is published again with its publisher's own id within the window is there once
 *
 * SEED=1 STEPS=1000000 in the environment: another, longer run of each of the three topics. */
#include "base/hash.h"
#include "ledger/queue_test.h"

#define STEPS 20000
#define LIFE_STEPS 10000 /* then all is checked, and a new ledger begins */
#define MESSAGES_MAX 8000
#define GROUPS 2
#define KEYS 6
#define ATTEMPTS 4
#define LEASE_MS 1000
#define CHECK_MS 400
#define CHECKS 3
#define KEEP_COUNT 200
#define OWN_IDS 30 /* of publishers, again and again */
#define WINDOW_MS 3000

enum fate { FATE_NEW, FATE_HAD, FATE_BACK, FATE_ACKED, FATE_DEAD };

/* In the order in which they were appended. */
struct message {
    struct queue_id id; /* 0-0: not known yet */
    unsigned serial, key, priority;
    bool is_gone;
    struct {
        enum fate fate;
        unsigned attempts, letters;
        bool may_come_again; /* it was in hand when the group was set back: acked or not, it is before it */
        uint64_t until_ms;   /* of FATE_HAD */
    } in[GROUPS];
};

enum kept_state { KEPT_DELAYED, KEPT_HALF, KEPT_COMMITTED, KEPT_ROLLED_BACK };

/* Its handle is its number in the list, from 1. */
struct kept {
    enum kept_state state;
    struct queue_id id; /* of KEPT_COMMITTED */
    unsigned serial, key, priority, checks;
    uint64_t due_ms; /* appended; asked for; or forgotten */
};

static struct model {
    struct {
        struct queue_id id;
        uint64_t until_ms;
    } known[OWN_IDS]; /* what a publisher's own id stands for, and how long */
    bool is_ordered, keeps_some;
    struct message messages[MESSAGES_MAX];
    struct kept kept[MESSAGES_MAX];
    unsigned where[MESSAGES_MAX]; /* serial -> number of its message + 1 */
    unsigned messages_count, kept_count, serials, alive;
    unsigned first_open; /* all before it are done in all groups, or gone */
    unsigned first_kept; /* all before it are gone */
    uint64_t clock_ms, now_ms, acked[GROUPS], dead[GROUPS];
} model;

static uint64_t checkpoints, crashes, evicted, loaded_back;
static const char *const group_names[GROUPS] = { "shop", "mail" };

static bool is_done(const struct message *m, unsigned g)
{
    return m->in[g].fate == FATE_ACKED || m->in[g].fate == FATE_DEAD;
}

/* Nothing becomes of it in any group any more. */
static bool is_over(const struct message *m)
{
    for (unsigned g = 0; g < GROUPS; g++) {
        if (!m->is_gone && (!is_done(m, g) || m->in[g].may_come_again))
            return false;
        if (m->in[g].fate == FATE_HAD)
            return false;
    }
    return true;
}

static void set_new(struct message *m, unsigned g)
{
    m->in[g].fate = FATE_NEW;
    m->in[g].attempts = 0;
    m->in[g].may_come_again = false;
}

/* ---- what happens in the model by itself ---- */

static void model_append(unsigned serial, unsigned key, unsigned priority, struct queue_id id)
{
    must(model.messages_count < MESSAGES_MAX);
    model.messages[model.messages_count++] =
        (struct message){ .id = id, .serial = serial, .key = key, .priority = priority };
    model.where[serial] = model.messages_count;
    model.alive++;
    while (model.keeps_some && model.alive > KEEP_COUNT) {
        struct message *m = &model.messages[model.first_kept++];
        model.alive -= !m->is_gone;
        m->is_gone = true;
    }
}

static void give_up_or_back(struct message *m, unsigned g)
{
    m->in[g].fate = m->in[g].attempts >= ATTEMPTS ? FATE_DEAD : FATE_BACK;
    model.dead[g] += m->in[g].fate == FATE_DEAD;
    m->in[g].letters += m->in[g].fate == FATE_DEAD && !m->is_gone;
}

static void end_leases(uint64_t until_ms)
{
    for (unsigned i = model.first_open; i < model.messages_count; i++) {
        for (unsigned g = 0; g < GROUPS; g++) {
            struct message *m = &model.messages[i];
            if (m->in[g].fate == FATE_HAD && m->in[g].until_ms <= until_ms)
                give_up_or_back(m, g);
        }
    }
}

static void kept_due(struct kept *k)
{
    const struct queue_id unknown = { 0, 0 };
    if (k->state == KEPT_DELAYED) {
        model_append(k->serial, k->key, k->priority, unknown);
        k->due_ms = 0;
    } else if (k->state != KEPT_HALF) {
        k->due_ms = 0;
    } else if (k->checks < CHECKS) {
        k->checks++;
        k->due_ms = model.now_ms + CHECK_MS;
    } else {
        k->state = KEPT_ROLLED_BACK;
        k->due_ms = model.now_ms + QUEUE_HALF_KNOWN_MS;
    }
}

/* Of those due at the same time the one that was kept first. */
static struct kept *first_due(void)
{
    struct kept *first = NULL;
    for (struct kept *k = model.kept; k < model.kept + model.kept_count; k++) {
        if (k->due_ms && k->due_ms <= model.now_ms && (!first || k->due_ms < first->due_ms))
            first = k;
    }
    return first;
}

/* What is due by the time of the operation that comes now; the ledger's never goes back. */
static void let_time_pass(void)
{
    struct kept *k;
    qt.now_ms = model.clock_ms - (random_below(50) ? 0 : random_below(5000));
    model.now_ms = qt.now_ms > qt.machine.now_ms ? qt.now_ms : qt.machine.now_ms;
    while (model.first_open < model.messages_count && is_over(&model.messages[model.first_open]))
        model.first_open++;
    while ((k = first_due())) {
        end_leases(k->due_ms - 1);
        kept_due(k);
    }
    end_leases(model.now_ms);
}

/* ---- steps ---- */

static struct queue_op op_of(enum queue_what what, unsigned g)
{
    return (struct queue_op){
        .what = what, .topic = BYTES("orders"), .group = bytes_from(group_names[g]), .consumer = BYTES("one")
    };
}

/* Whether it is there already, as it has to be. */
static bool check_known(unsigned own, struct queue_id id)
{
    const bool is_known = model.known[own].until_ms > model.now_ms;
    if (is_known != (qt.head.end.seq != 0) || (is_known && queue_id_compare(id, model.known[own].id) != 0))
        fail_msg("p%u is there again, or taken for known", own);
    model.known[own].id = id;
    if (!is_known)
        model.known[own].until_ms = model.now_ms + WINDOW_MS;
    return is_known;
}

static void publish_now(unsigned serial, unsigned number, unsigned priority, const char *key,
                        const char *body)
{
    char own_id[8] = "";
    const unsigned own = random_below(2 * OWN_IDS);
    if (own < OWN_IDS)
        snprintf(own_id, sizeof own_id, "p%u", own);
    const struct queue_id id = PUBLISH_KEY(body, key, .priority = priority, .own_id = bytes_from(own_id));
    if (own < OWN_IDS && check_known(own, id))
        return;
    if (model.messages_count && queue_id_compare(model.messages[model.messages_count - 1].id, id) >= 0)
        fail_msg("ids do not grow");
    model_append(serial, number, priority, id);
}

static void publish(void)
{
    char key[8], body[12];
    const unsigned number = random_below(KEYS), priority = model.is_ordered ? 0 : random_below(3);
    const unsigned how = random_below(10), serial = model.serials++;
    const uint64_t delay_ms = how == 0 ? 1 + random_below(800) : 0;
    must(model.serials < MESSAGES_MAX);
    snprintf(key, sizeof key, "k%u", number);
    snprintf(body, sizeof body, "%u", serial);
    if (how > 1)
        return publish_now(serial, number, priority, key, body);
    PUBLISH_KEY(body, key, .priority = priority, .delay_ms = delay_ms, .flags = how == 1 ? QUEUE_IS_HALF : 0);
    model.kept[model.kept_count++] = (struct kept){ .state = how ? KEPT_HALF : KEPT_DELAYED,
                                                    .serial = serial,
                                                    .key = number,
                                                    .priority = priority,
                                                    .due_ms = model.now_ms + (how ? CHECK_MS : delay_ms) };
    assert_int_equal(qt.head.number, model.kept_count);
}

/* One of the last few, whatever became of it. */
static void end_kept(void)
{
    const bool commit = random_below(2);
    if (!model.kept_count)
        return;
    const unsigned back = random_below(model.kept_count < 8 ? model.kept_count : 8);
    struct kept *k = &model.kept[model.kept_count - 1 - back];
    const enum queue_result got =
        ASK(.what = commit ? QUEUE_COMMIT : QUEUE_ROLL_BACK, T, .number = model.kept_count - back);
    enum queue_result wanted = QUEUE_DONE;
    if (!k->due_ms)
        wanted = QUEUE_UNKNOWN_HANDLE;
    else if (k->state > KEPT_HALF && (k->state == KEPT_COMMITTED) != commit)
        wanted = QUEUE_ENDED;
    if (got != wanted)
        fail_msg("handle %u in state %u: %s", model.kept_count - back, k->state, queue_result_words[got]);
    if (got != QUEUE_DONE)
        return;
    if (k->state == KEPT_COMMITTED)
        assert_int_equal(queue_id_compare(k->id, qt.head.id), 0);
    if (k->state > KEPT_HALF)
        return;
    k->state = commit ? KEPT_COMMITTED : KEPT_ROLLED_BACK;
    k->id = qt.head.id;
    k->due_ms = model.now_ms + QUEUE_HALF_KNOWN_MS;
    if (commit)
        model_append(k->serial, k->key, k->priority, k->id);
}

/* The message of a body; it was appended. */
static struct message *message_of(const struct queue_message *m)
{
    struct bytes fields = m->fields;
    struct queue_field f;
    uint64_t serial;
    must(queue_read_field(&fields, &f));
    if (!bytes_to_u64(f.value, &serial) || serial >= model.serials || !model.where[serial])
        fail_msg("\"%.*s\" is given, which nobody has published", BYTES_ARG(f.value));
    return &model.messages[model.where[serial] - 1];
}

static void check_order(const struct message *m, unsigned g)
{
    for (const struct message *e = model.messages + model.first_open; model.is_ordered && e < m; e++) {
        if (e->key == m->key && !is_done(e, g) && !(e->is_gone && e->in[g].fate != FATE_HAD))
            fail_msg("message %u overtakes %u of its key", m->serial, e->serial);
    }
}

static void check_given(const struct queue_message *given, unsigned g)
{
    struct message *m = message_of(given);
    const struct queue_id unknown = { 0, 0 };
    if (is_done(m, g) && m->in[g].may_come_again)
        set_new(m, g);
    if (m->in[g].fate != FATE_NEW && m->in[g].fate != FATE_BACK)
        fail_msg("message %u is given to %s though its fate is %u", m->serial, group_names[g], m->in[g].fate);
    if (m->is_gone)
        fail_msg("message %u is given to %s though it is gone", m->serial, group_names[g]);
    if (given->attempts != m->in[g].attempts + 1)
        fail_msg("message %u: attempt %u after %u", m->serial, given->attempts, m->in[g].attempts);
    if (queue_id_compare(m->id, unknown) != 0 && queue_id_compare(m->id, given->id) != 0)
        fail_msg("message %u has another id", m->serial);
    if (given->key.len != 2 || given->key.ptr[1] != (char)('0' + m->key) || given->priority != m->priority)
        fail_msg("message %u has another key or priority", m->serial);
    check_order(m, g);
    m->id = given->id;
    m->in[g].attempts = given->attempts;
    m->in[g].fate = FATE_HAD;
    m->in[g].until_ms = model.now_ms + LEASE_MS;
}

static unsigned pull(unsigned g, unsigned count)
{
    struct queue_op op = op_of(QUEUE_PULL, g);
    struct queue_message m;
    unsigned given = 0, priority = QUEUE_PRIORITIES;
    op.count = count;
    assert_int_equal(queue_test_ask(&op), QUEUE_DONE);
    for (; queue_read_message(&qt.rest, &m); given++) {
        check_given(&m, g);
        if (m.priority > priority)
            fail_msg("a message of priority %u is given behind one of %u", m.priority, priority);
        priority = m.priority;
    }
    return given;
}

/* Some message whose id is known: one that is had, if a few tries find one. NULL: none of them is. */
static struct message *some(unsigned g)
{
    const struct queue_id unknown = { 0, 0 };
    struct message *m = NULL;
    for (unsigned tries = 0; tries < 20 && model.messages_count; tries++) {
        const unsigned back = random_below(model.messages_count < 60 ? model.messages_count : 60);
        struct message *one = &model.messages[model.messages_count - 1 - back];
        if (queue_id_compare(one->id, unknown) != 0)
            m = one;
        if (m && m->in[g].fate == FATE_HAD)
            break;
    }
    return m;
}

static void ack(unsigned g, struct message *m)
{
    struct queue_op op = op_of(QUEUE_ACK, g);
    if (!m)
        return;
    const bool counts = m->in[g].attempts && !is_done(m, g);
    op.ids = &m->id;
    op.ids_count = 1;
    assert_int_equal(queue_test_ask(&op), QUEUE_DONE);
    /* a pull may have passed over one that is gone, or not */
    if (qt.head.number != counts && !(counts && m->is_gone && m->in[g].fate == FATE_BACK))
        fail_msg("ack of message %u counts %u", m->serial, (unsigned)qt.head.number);
    model.acked[g] += qt.head.number;
    if (counts)
        m->in[g].fate = FATE_ACKED;
}

static void nack(unsigned g, struct message *m)
{
    struct queue_op op = op_of(QUEUE_NACK, g);
    if (!m)
        return;
    const bool counts = m->in[g].fate == FATE_HAD;
    op.ids = &m->id;
    op.ids_count = 1;
    op.delay_ms = random_below(300);
    assert_int_equal(queue_test_ask(&op), QUEUE_DONE);
    if (qt.head.number != counts)
        fail_msg("nack of message %u counts %u", m->serial, (unsigned)qt.head.number);
    if (counts)
        give_up_or_back(m, g);
}

static void delete_some(void)
{
    struct message *m = some(0);
    if (!m)
        return;
    ASK_NUMBER(!m->is_gone, .what = QUEUE_DELETE, T, .ids = &m->id, .ids_count = 1);
    model.alive -= !m->is_gone;
    m->is_gone = true;
}

/* What was done is new again; what is in hand stays there. */
static void replay(unsigned g)
{
    struct queue_op op = op_of(QUEUE_SET_ID, g);
    if (!model.keeps_some)
        return;
    assert_int_equal(queue_test_ask(&op), QUEUE_DONE);
    model.first_open = model.first_kept < model.first_open ? model.first_kept : model.first_open;
    for (unsigned i = model.first_kept; i < model.messages_count; i++) {
        struct message *m = &model.messages[i];
        if (is_done(m, g) && !m->is_gone)
            set_new(m, g);
        else if (m->in[g].fate != FATE_NEW)
            m->in[g].may_come_again = true;
    }
}

static void any_operation(uint32_t what)
{
    const unsigned g = random_below(GROUPS);
    let_time_pass();
    qt.answer_bytes = 0;
    if (what < 28)
        publish();
    else if (what < 60)
        pull(g, 1 + random_below(4));
    else if (what < 85)
        ack(g, some(g));
    else if (what < 92)
        nack(g, some(g));
    else if (what < 97)
        end_kept();
    else if (what < 99)
        delete_some();
    else if (random_below(5) == 0)
        replay(g);
    if (!qt.answer_bytes)
        queue_test_pass(0); /* nothing was asked, and what is due happens all the same */
}

static void step(void)
{
    const uint32_t what = random_below(130);
    if (what < 100)
        any_operation(what);
    else if (what < 114)
        model.clock_ms += random_below(200);
    else
        durable_checkpoint_step(&qt.durable, random_below(2) ? 0 : random_below(1u << 20));
    if (random_below(400) == 0)
        queue_test_crash();
}

/* ---- in the end ---- */

/* All messages of a topic, one after the other. */
static void each_message(const char *topic, void (*fn)(const struct queue_message *m))
{
    struct queue_op op = { .what = QUEUE_RANGE, .topic = bytes_from(topic), .end = QUEUE_ID_LAST };
    struct queue_message m;
    for (;;) {
        assert_int_equal(queue_test_ask(&op), QUEUE_DONE);
        if (!qt.head.count)
            break;
        while (queue_read_message(&qt.rest, &m)) {
            fn(&m);
            op.id = (struct queue_id){ m.id.ms, m.id.seq + 1 };
        }
    }
}

static struct bytes field_of(const struct queue_message *m, struct bytes name)
{
    struct bytes fields = m->fields;
    struct queue_field f;
    while (queue_read_field(&fields, &f)) {
        if (bytes_eq(f.name, name))
            return f.value;
    }
    fail_msg("a message has no %.*s", BYTES_ARG(name));
    return BYTES_NONE;
}

static void take_letter(const struct queue_message *letter)
{
    struct message *m = message_of(letter);
    const unsigned g = bytes_eq(field_of(letter, QUEUE_DEAD_GROUP), bytes_from(group_names[1]));
    if (m->in[g].letters-- == 0)
        fail_msg("a dead letter too many of message %u", m->serial);
}

static void take_check(const struct queue_message *check)
{
    uint64_t handle = 0;
    assert_true(bytes_to_u64(field_of(check, QUEUE_CHECK_HANDLE), &handle));
    assert_in_range(handle, 1, model.kept_count);
    if (model.kept[handle - 1].checks-- == 0)
        fail_msg("handle %u is asked for once too often", (unsigned)handle);
}

static void check_groups(void)
{
    struct queue_group_shown s;
    ASK_DONE(.what = QUEUE_GROUPS, T);
    while (queue_read_group(&qt.rest, &s)) {
        const unsigned g = bytes_eq(s.name, bytes_from(group_names[1]));
        if (s.acked != model.acked[g] || s.dead != model.dead[g])
            fail_msg("%s counts %u acked and %u dead", group_names[g], (unsigned)s.acked, (unsigned)s.dead);
    }
}

/* Whatever is left is had and acked now; halves are rolled back by themselves. */
static void drain(void)
{
    for (unsigned quiet = 0; quiet < 50;) {
        unsigned given = 0;
        model.clock_ms += 100;
        for (unsigned g = 0; g < GROUPS; g++) {
            let_time_pass();
            given += pull(g, 100);
        }
        quiet = given ? 0 : quiet + 1;
        for (unsigned i = model.first_open; i < model.messages_count; i++) {
            for (unsigned g = 0; g < GROUPS; g++) {
                if (model.messages[i].in[g].fate == FATE_HAD) {
                    let_time_pass();
                    ack(g, &model.messages[i]);
                }
            }
        }
    }
}

static void check_all(void)
{
    check_groups();
    each_message("dead", take_letter);
    if (model.kept_count)
        each_message("orders.check", take_check);
    for (unsigned i = 0; i < model.messages_count; i++) {
        const struct message *m = &model.messages[i];
        for (unsigned g = 0; g < GROUPS; g++) {
            if (!is_done(m, g) && !m->is_gone)
                fail_msg("message %u is lost for %s", m->serial, group_names[g]);
            if (m->in[g].letters)
                fail_msg("the dead letter of message %u is lost", m->serial);
        }
    }
    for (unsigned i = 0; i < model.kept_count; i++) {
        if (model.kept[i].checks || (model.kept[i].state < KEPT_COMMITTED && model.kept[i].due_ms))
            fail_msg("handle %u is not ended, or was not asked for", i + 1);
    }
}

static void one_life(void)
{
    model =
        (struct model){ .is_ordered = model.is_ordered, .keeps_some = model.keeps_some, .clock_ms = 10000 };
    queue_test_open();
    ASK_DONE(.what = QUEUE_TOPIC, .topic = BYTES("dead"));
    ASK_DONE(.what = QUEUE_TOPIC, T, .other = BYTES("dead"), .check_ms = CHECK_MS, .attempts = CHECKS,
             .duplicate_ms = WINDOW_MS, .flags = model.is_ordered ? QUEUE_IS_ORDERED : 0,
             .keep_count = model.keeps_some ? KEEP_COUNT : 0);
    for (unsigned g = 0; g < GROUPS; g++)
        ASK_DONE(.what = QUEUE_GROUP, T, .group = bytes_from(group_names[g]), .lease_ms = LEASE_MS,
                 .attempts = ATTEMPTS, .back_off_ms = 50, .back_off_ms_max = 200);
    for (unsigned i = 0; i < LIFE_STEPS; i++)
        step();
    queue_test_check();
    drain();
    queue_test_crash();
    check_all();
    queue_test_close();
    checkpoints += qt.durable.checkpoints;
    crashes += qt.durable.crashes;
    evicted += qt.durable.evicted;
    loaded_back += qt.durable.loaded_back;
}

static void simulate(bool is_ordered, bool keeps_some)
{
    const uint64_t seed = test_setting("SEED", 20261201), steps = test_setting("STEPS", STEPS);
    print_message("SEED=%llu STEPS=%llu\n", (unsigned long long)seed, (unsigned long long)steps);
    random_seed(seed);
    model.is_ordered = is_ordered;
    model.keeps_some = keeps_some;
    checkpoints = crashes = evicted = loaded_back = 0;
    for (uint64_t done = 0; done < steps; done += LIFE_STEPS)
        one_life();
    print_message("%llu checkpoints, %llu crashes, %llu records left memory, %llu came back\n",
                  (unsigned long long)checkpoints, (unsigned long long)crashes, (unsigned long long)evicted,
                  (unsigned long long)loaded_back);
    assert_true(checkpoints > 0 && crashes > 0 && evicted > 0 && loaded_back > 0);
}

static void a_topic(void **state)
{
    (void)state;
    simulate(false, false);
}

static void a_topic_that_keeps_the_order_of_keys(void **state)
{
    (void)state;
    simulate(true, false);
}

static void a_topic_that_keeps_some(void **state)
{
    (void)state;
    simulate(false, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_topic),
        cmocka_unit_test(a_topic_that_keeps_the_order_of_keys),
        cmocka_unit_test(a_topic_that_keeps_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
