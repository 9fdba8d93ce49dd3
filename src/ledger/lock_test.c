/* Locks beside a naive model: random operations, leases that end, waiters that give up, crashes in between.
 * SEED=1 STEPS=1000000 in the environment: another, longer run. */
#include "ledger/lock.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/must.h"
#include "base/test.h"
#include "ledger/machine.h"

#define LOCKS 4
#define LINE 64
#define STEPS 40000
#define LOG_MAX 50000

struct waiter {
    uint64_t owner, lease_ms, until_ms;
};
struct model {
    uint64_t owner, until_ms;
    unsigned count;
    struct waiter line[LINE];
};

static struct model locks[LOCKS];
static struct machine machine;
static uint64_t now_ms, last_token[LOCKS], owners;
static struct bytes batches[LOG_MAX];
static unsigned batches_count;
static const struct ledger_rules *const rules[] = { &lock_rules, NULL };

static struct bytes name_of(unsigned i)
{
    static const char *const names[LOCKS] = { "a", "b", "ab", "lock" };
    return bytes_from(names[i]);
}

static struct lock_answer ask(unsigned i, struct lock_op op)
{
    char bytes[LOCK_OP_BYTES_MAX];
    struct lock_answer r = { 0 };
    size_t len;
    must(lock_write(bytes, &op, name_of(i), &len));
    struct ledger_op o = {
        .rules = LOCK_RULES_ID, .body = { bytes, len }, .answer = (char *)&r, .answer_size = sizeof r
    };
    struct ledger_call c = { .ops = &o, .ops_count = 1 };
    machine_begin(&machine, now_ms);
    machine_expire(&machine);
    machine_entry(&machine, &c, NULL);
    assert_int_equal(c.ret_refused, OK);
    if (machine_end(&machine)) {
        must(batches_count < LOG_MAX);
        char *copy = malloc(machine.head.bytes);
        memcpy(machine.batch, &machine.head, sizeof machine.head);
        memcpy(copy, machine.batch, machine.head.bytes);
        batches[batches_count++] = (struct bytes){ copy, machine.head.bytes };
    }
    return r;
}

static void crash(void)
{
    struct diag d = DIAG_NONE;
    machine_close(&machine);
    must(machine_open(&machine, rules, 64 << 20) == OK);
    for (unsigned i = 0; i < batches_count; i++) {
        struct batch_head head;
        memcpy(&head, batches[i].ptr, sizeof head);
        if (machine_replay(&machine, &head, bytes_skip(batches[i], sizeof head), &d) != OK)
            fail_msg("batch %u: %s", i, d.text);
    }
    if (machine_check(&machine, &d) != OK)
        fail_msg("%s", d.text);
}

static void close_all(void)
{
    machine_close(&machine);
    for (unsigned i = 0; i < batches_count; i++)
        free((char *)(uintptr_t)batches[i].ptr);
    batches_count = 0;
}

static void drop(struct model *m, unsigned at)
{
    memmove(&m->line[at], &m->line[at + 1], (m->count - at - 1) * sizeof m->line[0]);
    m->count--;
}

static void pass_on(struct model *m, uint64_t at_ms)
{
    m->owner = 0;
    while (m->count && !m->owner) {
        const struct waiter w = m->line[0];
        drop(m, 0);
        if (w.until_ms <= at_ms)
            continue;
        m->owner = w.owner;
        m->until_ms = at_ms + w.lease_ms;
    }
}

/* What ends now: the earliest first, as the ledger has it; a lease before a wait. */
static void forget_due(void)
{
    for (struct model *m = locks; m < locks + LOCKS; m++) {
        for (;;) {
            uint64_t first_ms = m->owner ? m->until_ms : UINT64_MAX;
            unsigned who = m->count;
            for (unsigned i = 0; i < m->count; i++) {
                if (m->line[i].until_ms < first_ms) {
                    first_ms = m->line[i].until_ms;
                    who = i;
                }
            }
            if (!m->owner || first_ms > now_ms)
                break;
            if (who < m->count)
                drop(m, who);
            else
                pass_on(m, now_ms);
        }
    }
}

static void same(unsigned i, const struct lock_answer *r)
{
    const struct model *m = &locks[i];
    assert_int_equal(r->owner, m->owner);
    assert_int_equal(r->waiting, m->count);
    if (!m->owner)
        return;
    assert_int_equal(r->left_ms, m->until_ms - now_ms);
    assert_true(r->token >= last_token[i]);
    last_token[i] = r->token;
}

static void step(void)
{
    const unsigned i = random_below(LOCKS);
    struct model *m = &locks[i];
    struct lock_op op = { .what = random_below(LOCK_WHATS), .lease_ms = 1 + random_below(300) };
    const uint64_t before_owner = m->owner, before_token = last_token[i];
    struct lock_answer r;
    switch ((enum lock_what)op.what) {
    case LOCK_ACQUIRE:
        op.owner = ++owners;
        op.wait_ms = random_below(3) && m->count < LINE ? 1 + random_below(400) : 0;
        r = ask(i, op);
        assert_int_equal(r.result, !m->owner ? LOCK_HELD : op.wait_ms ? LOCK_WAITING : LOCK_BUSY);
        if (!m->owner) {
            m->owner = op.owner;
            m->until_ms = now_ms + op.lease_ms;
        } else if (op.wait_ms) {
            m->line[m->count++] = (struct waiter){ op.owner, op.lease_ms, now_ms + op.wait_ms };
        }
        break;
    case LOCK_RENEW:
    case LOCK_RELEASE: {
        r = ask(i, (struct lock_op){ .what = LOCK_STATUS });
        const bool right = m->owner && random_below(4);
        op.token = right ? r.token : random_below(2) ? r.token + 1 : r.token - 1; /* of who had it before */
        r = ask(i, op);
        assert_int_equal(r.result, !right ? LOCK_OTHER : op.what == LOCK_RENEW ? LOCK_HELD : LOCK_FREE);
        if (!right)
            break;
        if (op.what == LOCK_RENEW)
            m->until_ms = now_ms + op.lease_ms;
        else
            pass_on(m, now_ms);
        break;
    }
    case LOCK_LEAVE:
        op.owner = m->count && random_below(2) ? m->line[random_below(m->count)].owner : m->owner;
        r = ask(i, op);
        if (op.owner == m->owner) {
            pass_on(m, now_ms);
        } else {
            for (unsigned w = 0; w < m->count; w++) {
                if (m->line[w].owner == op.owner) {
                    drop(m, w);
                    break;
                }
            }
        }
        break;
    default:
        r = ask(i, op);
    }
    r = ask(i, (struct lock_op){ .what = LOCK_STATUS });
    if (m->owner && m->owner != before_owner) /* it has changed hands: only ever grows */
        assert_true(r.token > before_token);
    same(i, &r);
}

static uint64_t setting(const char *name, uint64_t preset)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : preset;
}

static void all_is_as_in_the_model(void **state)
{
    (void)state;
    const uint64_t seed = setting("SEED", random_u64()), steps = setting("STEPS", STEPS);
    print_message("SEED=%llu\n", (unsigned long long)seed);
    random_seed(seed);
    now_ms = 1700000000000;
    must(machine_open(&machine, rules, 64 << 20) == OK);
    for (uint64_t n = 0; n < steps; n++) {
        now_ms += random_below(3) ? random_below(20) : random_below(400);
        forget_due();
        if (random_below(4000) == 0)
            crash();
        step();
        if (batches_count < LOG_MAX - 8)
            continue;
        close_all();
        memset(locks, 0, sizeof locks);
        memset(last_token, 0, sizeof last_token);
        must(machine_open(&machine, rules, 64 << 20) == OK);
    }
    crash();
    close_all();
}

static void what_is_out_of_bounds_is_no_operation(void **state)
{
    (void)state;
    char out[LOCK_OP_BYTES_MAX + 8], name[LOCK_NAME_BYTES_MAX + 1];
    size_t len;
    memset(name, 'n', sizeof name);
    const struct lock_op good = { .what = LOCK_ACQUIRE, .owner = 1, .lease_ms = 1 };
    struct lock_op op = good;
    assert_true(lock_write(out, &op, (struct bytes){ name, LOCK_NAME_BYTES_MAX }, &len));
    assert_false(lock_write(out, &op, (struct bytes){ name, LOCK_NAME_BYTES_MAX + 1 }, &len));
    assert_false(lock_write(out, &op, BYTES(""), &len));
    assert_false(lock_write(out, &op, BYTES("a\0b"), &len));
    op.owner = 0;
    assert_false(lock_write(out, &op, BYTES("a"), &len));
    op = good;
    op.lease_ms = 0;
    assert_false(lock_write(out, &op, BYTES("a"), &len));
    op.lease_ms = LOCK_LEASE_MS_MAX + 1;
    assert_false(lock_write(out, &op, BYTES("a"), &len));
    op = good;
    op.what = LOCK_WHATS;
    assert_false(lock_write(out, &op, BYTES("a"), &len));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_out_of_bounds_is_no_operation),
        cmocka_unit_test(all_is_as_in_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
