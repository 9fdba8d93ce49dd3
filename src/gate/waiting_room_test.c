#include "gate/waiting_room.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/test.h"

#define SECOND 1000000000ULL

static const struct waiting_rate thousand = { .interval_ns = SECOND / 1000, .burst = 10 };

static struct waiting_room *room(void)
{
    struct waiting_room *w = mem_get_aligned(sizeof *w, 64);
    assert_non_null(w);
    return w;
}

static void the_burst_comes_in_and_the_next_one_waits(void **unused)
{
    (void)unused;
    struct waiting_room *w = room();
    uint64_t now = 5 * SECOND;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(waiting_enter(w, &thousand, 100, now).word, WAITING_COME_IN);
    struct waiting_verdict v = waiting_enter(w, &thousand, 100, now);
    assert_int_equal(v.word, WAITING_WAIT);
    assert_int_equal(v.ticket, 1);
    assert_int_equal(v.position, 1);
    assert_int_equal(v.wait_ns, SECOND / 1000);
    v = waiting_enter(w, &thousand, 100, now);
    assert_int_equal(v.position, 2);
    assert_int_equal(v.wait_ns, 2 * SECOND / 1000);
    /* who comes now stands behind them, although a token is there again */
    now += thousand.interval_ns;
    v = waiting_enter(w, &thousand, 100, now);
    assert_int_equal(v.ticket, 3);
    assert_int_equal(v.position, 2);
    assert_int_equal(waiting_again(w, &thousand, 100, 2, now).word, WAITING_WAIT);
    assert_int_equal(waiting_again(w, &thousand, 100, 1, now).word, WAITING_COME_IN);
    /* once: then it stands at the end like anybody */
    v = waiting_again(w, &thousand, 100, 1, now);
    assert_int_equal(v.word, WAITING_WAIT);
    assert_int_equal(v.ticket, 4);
    /* a ticket that was never given out is none */
    assert_int_equal(waiting_again(w, &thousand, 100, 999, now).ticket, 5);
    mem_free(w);
}

static void the_line_has_an_end_and_may_be_none_at_all(void **unused)
{
    (void)unused;
    struct waiting_room *w = room();
    const uint64_t now = 5 * SECOND;
    for (unsigned i = 0; i < 12; i++)
        waiting_enter(w, &thousand, 2, now);
    assert_int_equal(waiting_count(w), 2);
    assert_int_equal(waiting_enter(w, &thousand, 2, now).word, WAITING_FULL);
    mem_free(w);
    w = room();
    for (unsigned i = 0; i < 10; i++)
        waiting_enter(w, &thousand, 0, now);
    const struct waiting_verdict v = waiting_enter(w, &thousand, 0, now);
    assert_int_equal(v.word, WAITING_FULL);
    assert_true(v.wait_ns >= SECOND / 1000);
    assert_int_equal(waiting_enter(w, &thousand, 0, now + v.wait_ns).word, WAITING_COME_IN);
    mem_free(w);
}

/* 3,000 clients want in at once and ask again when they were told to; a share of them never comes back. */
static void let_in(unsigned no_shows_percent, uint64_t *ret_ms, bool *ret_in_order)
{
    enum { CLIENTS = 3000 };
    static struct {
        uint64_t ticket, again_ns;
        bool in, gone;
    } clients[CLIENTS];
    struct waiting_room *w = room();
    uint64_t now = 7 * SECOND, first = now;
    unsigned in = 0, gone = 0, in_last_second = 0, last = 0, worst_jump = 0;
    memset(clients, 0, sizeof clients);
    for (unsigned i = 0; i < CLIENTS; i++) {
        const struct waiting_verdict v = waiting_enter(w, &thousand, UINT64_MAX, now);
        clients[i].in = v.word == WAITING_COME_IN;
        clients[i].ticket = v.ticket;
        clients[i].again_ns = now + (v.wait_ns < SECOND / 50 ? v.wait_ns : SECOND / 50);
        clients[i].gone = !clients[i].in && random_below(100) < no_shows_percent;
        in += clients[i].in;
        gone += clients[i].gone;
    }
    assert_int_equal(in, 10);
    for (; in + gone < CLIENTS; now += SECOND / 1000) {
        for (unsigned i = 0; i < CLIENTS; i++) {
            if (clients[i].in || clients[i].gone || clients[i].again_ns > now)
                continue;
            const struct waiting_verdict v = waiting_again(w, &thousand, UINT64_MAX, clients[i].ticket, now);
            if (v.word == WAITING_COME_IN) {
                clients[i].in = true;
                in++;
                in_last_second++;
                worst_jump = last > i && last - i > worst_jump ? last - i : worst_jump;
                last = i;
            } else {
                assert_int_equal(v.ticket, clients[i].ticket);
                clients[i].again_ns = now + (v.wait_ns < SECOND / 50 ? v.wait_ns : SECOND / 50);
            }
        }
        if ((now - first) % SECOND == 0) {
            assert_true(in_last_second <= 1000 + thousand.burst);
            in_last_second = 0;
        }
        assert_true(now < 100 * SECOND);
    }
    *ret_ms = (now - first) / (SECOND / 1000);
    *ret_in_order = worst_jump <= 100;
    mem_free(w);
}

static void all_get_in_at_the_rate_and_in_order(void **unused)
{
    (void)unused;
    uint64_t ms;
    bool in_order;
    let_in(0, &ms, &in_order);
    assert_true(ms >= 2900 && ms <= 3200);
    assert_true(in_order);
}

static void who_does_not_come_leaves_the_place_to_the_next(void **unused)
{
    (void)unused;
    uint64_t ms;
    bool in_order;
    random_seed(7);
    let_in(60, &ms, &in_order);
    assert_true(ms <= 1900); /* 1,200 of 3,000 come: not the 3 s that all of them take */
    assert_true(in_order);
}

static void the_highest_rate_is_kept(void **unused)
{
    (void)unused;
    const struct waiting_rate r = { .interval_ns = SECOND / WAITING_RATE_MAX, .burst = 1000 };
    struct waiting_room *w = room();
    unsigned in = 0;
    for (uint64_t now = SECOND; now < 2 * SECOND; now += 1000) /* a million ask */
        in += waiting_enter(w, &r, 0, now).word == WAITING_COME_IN;
    assert_in_range(in, WAITING_RATE_MAX - 1, WAITING_RATE_MAX + 1000);
    mem_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_burst_comes_in_and_the_next_one_waits),
        cmocka_unit_test(the_line_has_an_end_and_may_be_none_at_all),
        cmocka_unit_test(all_get_in_at_the_rate_and_in_order),
        cmocka_unit_test(who_does_not_come_leaves_the_place_to_the_next),
        cmocka_unit_test(the_highest_rate_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
