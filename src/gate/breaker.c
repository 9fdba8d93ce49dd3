#include "gate/breaker.h"

#include "base/must.h"

/* ---- the decision ---- */

static const bool moves[4][4] = {
    [BREAKER_CLOSED] = { [BREAKER_OPEN] = true },
    [BREAKER_OPEN] = { [BREAKER_HALF_OPEN] = true, [BREAKER_RAMP] = true, [BREAKER_CLOSED] = true },
    [BREAKER_HALF_OPEN] = { [BREAKER_RAMP] = true, [BREAKER_CLOSED] = true, [BREAKER_OPEN] = true },
    [BREAKER_RAMP] = { [BREAKER_CLOSED] = true, [BREAKER_OPEN] = true },
};

#define TURN_BITS 22
#define UNTIL_BITS 40 /* of milliseconds: 34 years after the machine was started */
#define PROBE_BITS 20
#define RAMP_SHARE_MIN (BREAKER_SHARE_ONE / 50) /* that nobody at all passes would be no ramp */

static uint64_t low_bits(uint64_t value, unsigned bits)
{
    return value & ((UINT64_C(1) << bits) - 1);
}

static void phase_check(const struct breaker_phase *p, const struct breaker_limits *l)
{
    must(p->state == BREAKER_OPEN || p->state == BREAKER_RAMP || p->until_ms == 0);
    must(p->state == BREAKER_HALF_OPEN || p->sent == 0);
    must(p->succeeded <= p->sent && p->sent <= l->probes);
    must(p->succeeded < l->probes || l->probes == 0);
}

static struct breaker_phase phase_move(const struct breaker_phase *p, enum breaker_state to)
{
    must(moves[p->state][to]);
    return (struct breaker_phase){ .state = to, .turn = (uint32_t)low_bits(p->turn + 1, TURN_BITS) };
}

static struct breaker_phase phase_open(const struct breaker_phase *p, const struct breaker_limits *l,
                                       uint64_t now_ms)
{
    struct breaker_phase open = phase_move(p, BREAKER_OPEN);
    open.until_ms = low_bits(now_ms + l->open_ms, UNTIL_BITS);
    return open;
}

/* It looks well again. */
static struct breaker_phase phase_recover(const struct breaker_phase *p, const struct breaker_limits *l,
                                          uint64_t now_ms)
{
    if (!l->ramp_ms)
        return phase_move(p, BREAKER_CLOSED);
    struct breaker_phase ramp = phase_move(p, BREAKER_RAMP);
    ramp.until_ms = low_bits(now_ms + l->ramp_ms, UNTIL_BITS);
    return ramp;
}

/* Of RAMP: which share passes at that moment. */
static uint64_t ramp_share(const struct breaker_phase *p, const struct breaker_limits *l, uint64_t now_ms)
{
    const uint64_t left_ms = p->until_ms > now_ms ? p->until_ms - now_ms : 0;
    const uint64_t gone_ms = left_ms < l->ramp_ms ? l->ramp_ms - left_ms : 0;
    const uint64_t share = gone_ms * BREAKER_SHARE_ONE / l->ramp_ms;
    return share > RAMP_SHARE_MIN ? share : RAMP_SHARE_MIN;
}

static struct breaker_phase phase_ask(const struct breaker_phase *p, const struct breaker_limits *l,
                                      uint32_t chance, uint64_t now_ms, enum breaker_passage *ret_passage)
{
    struct breaker_phase next = *p;
    if (p->state == BREAKER_OPEN && now_ms >= p->until_ms)
        next = l->probes ? phase_move(p, BREAKER_HALF_OPEN) : phase_recover(p, l, now_ms);
    else if (p->state == BREAKER_RAMP && now_ms >= p->until_ms)
        next = phase_move(p, BREAKER_CLOSED);
    *ret_passage = next.state == BREAKER_CLOSED ? BREAKER_PASSES : BREAKER_REFUSED;
    if (next.state == BREAKER_RAMP &&
        ((uint64_t)chance * BREAKER_SHARE_ONE) >> 32 < ramp_share(&next, l, now_ms))
        *ret_passage = BREAKER_PASSES;
    if (next.state == BREAKER_HALF_OPEN && next.sent < l->probes) {
        next.sent++;
        *ret_passage = BREAKER_PROBES;
    }
    return next;
}

static bool reached(const struct breaker_totals *t, const struct breaker_limits *l)
{
    if (t->requests < l->requests_min)
        return false;
    return t->errors * BREAKER_SHARE_ONE >= l->errors_share * t->requests ||
           (l->slow_share && t->slow * BREAKER_SHARE_ONE >= l->slow_share * t->requests);
}

static bool is_bad(enum breaker_verdict v)
{
    return v == BREAKER_FAILURE || v == BREAKER_SLOW;
}

/* t: what the window holds, this answer included; asked for only after a bad one in CLOSED or RAMP: a good
 * one never opens the breaker. */
static struct breaker_phase phase_answer(const struct breaker_phase *p, const struct breaker_limits *l,
                                         uint32_t turn, enum breaker_verdict verdict,
                                         const struct breaker_totals *t, uint64_t now_ms)
{
    struct breaker_phase next = *p;
    if (p->turn != turn)
        return next;
    if (p->state == BREAKER_CLOSED || p->state == BREAKER_RAMP)
        return is_bad(verdict) && reached(t, l) ? phase_open(p, l, now_ms) : next;
    must(p->state == BREAKER_HALF_OPEN && p->sent > p->succeeded);
    if (is_bad(verdict))
        return phase_open(p, l, now_ms);
    if (verdict == BREAKER_NOTHING)
        next.sent--;
    else if (++next.succeeded == l->probes)
        next = phase_recover(p, l, now_ms);
    return next;
}

/* ---- the window ---- */

/* At ten million answers a second 32 bits last for a slice of six minutes. */
static uint64_t count_next(uint64_t count, uint32_t number)
{
    return (uint32_t)(count >> 32) == number ? count + 1 : (uint64_t)number << 32 | 1;
}

/* Workers read the clock at different moments: a slice may have begun already that is not there yet here. */
static uint64_t count_value(uint64_t count, uint32_t number)
{
    return (int32_t)(number - (uint32_t)(count >> 32)) < BREAKER_SLICES ? (uint32_t)count : 0;
}

static uint32_t slice_number(const struct breaker_limits *l, uint64_t now_ms)
{
    return (uint32_t)(now_ms / l->slice_ms);
}

/* The owner only. What is bad is counted in the order of all workers' (not relaxed): of two workers that
 * count one at the same moment at least one sees both. */
static void window_count(struct breaker_window *w, uint32_t turn, uint32_t number,
                         enum breaker_verdict verdict)
{
    if (atomic_load_explicit(&w->turn, memory_order_relaxed) != turn) {
        for (unsigned i = 0; i < BREAKER_SLICES; i++)
            w->slices[i].requests = w->slices[i].errors = w->slices[i].slow = 0;
        w->turn = turn;
    }
    struct breaker_slice *s = &w->slices[number % BREAKER_SLICES];
    const uint64_t requests = atomic_load_explicit(&s->requests, memory_order_relaxed);
    atomic_store_explicit(&s->requests, count_next(requests, number), memory_order_relaxed);
    if (verdict == BREAKER_FAILURE)
        s->errors = count_next(s->errors, number);
    if (verdict == BREAKER_SLOW)
        s->slow = count_next(s->slow, number);
}

static void window_add(const struct breaker_window *w, uint32_t turn, uint32_t number,
                       struct breaker_totals *t)
{
    if (w->turn != turn)
        return;
    for (unsigned i = 0; i < BREAKER_SLICES; i++) {
        t->errors += count_value(w->slices[i].errors, number);
        t->slow += count_value(w->slices[i].slow, number);
        t->requests += count_value(w->slices[i].requests, number);
    }
}

/* ---- the breaker ---- */

static struct breaker_phase phase_read(uint64_t word)
{
    struct breaker_phase p = { .state = (enum breaker_state)(word >> (TURN_BITS + UNTIL_BITS)),
                               .turn = (uint32_t)low_bits(word >> UNTIL_BITS, TURN_BITS) };
    if (p.state == BREAKER_OPEN || p.state == BREAKER_RAMP)
        p.until_ms = low_bits(word, UNTIL_BITS);
    if (p.state == BREAKER_HALF_OPEN) {
        p.sent = (uint32_t)low_bits(word >> PROBE_BITS, PROBE_BITS);
        p.succeeded = (uint32_t)low_bits(word, PROBE_BITS);
    }
    return p;
}

static uint64_t phase_word(const struct breaker_phase *p)
{
    return (uint64_t)p->state << (TURN_BITS + UNTIL_BITS) | (uint64_t)p->turn << UNTIL_BITS | p->until_ms |
           (uint64_t)p->sent << PROBE_BITS | p->succeeded;
}

/* False: another worker was faster; word is what it left. */
static bool breaker_take(struct breaker *b, const struct breaker_limits *l, uint64_t *word,
                         const struct breaker_step *s)
{
    const uint64_t after = phase_word(&s->after);
    phase_check(&s->after, l);
    return after == *word || atomic_compare_exchange_strong(&b->phase, word, after);
}

struct breaker_step breaker_ask(struct breaker *b, const struct breaker_limits *l, uint32_t chance,
                                uint64_t now_ms)
{
    struct breaker_step s = { 0 };
    uint64_t word = b->phase;
    do {
        s.before = phase_read(word);
        s.after = phase_ask(&s.before, l, chance, now_ms, &s.passage);
    } while (!breaker_take(b, l, &word, &s));
    return s;
}

static struct breaker_totals totals_of(const struct breaker *b, unsigned workers, uint32_t turn,
                                       uint32_t number)
{
    struct breaker_totals t = { 0 };
    for (unsigned i = 0; i < workers; i++)
        window_add(&b->windows[i], turn, number, &t);
    return t;
}

static bool counts(const struct breaker_phase *p)
{
    return p->state == BREAKER_CLOSED || p->state == BREAKER_RAMP;
}

struct breaker_step breaker_answer(struct breaker *b, const struct breaker_limits *l, unsigned workers,
                                   unsigned worker, uint32_t turn, enum breaker_verdict verdict,
                                   uint64_t now_ms)
{
    struct breaker_step s = { 0 };
    uint64_t word = b->phase;
    s.before = phase_read(word);
    if (counts(&s.before) && s.before.turn == turn && verdict != BREAKER_NOTHING) {
        const uint32_t number = slice_number(l, now_ms);
        window_count(&b->windows[worker], turn, number, verdict);
        if (is_bad(verdict))
            s.totals = totals_of(b, workers, turn, number);
    }
    do {
        s.before = phase_read(word);
        s.after = phase_answer(&s.before, l, turn, verdict, &s.totals, now_ms);
    } while (!breaker_take(b, l, &word, &s));
    return s;
}

struct breaker_step breaker_answer_since(struct breaker *b, const struct breaker_limits *l, unsigned workers,
                                         unsigned worker, uint64_t began_ms, enum breaker_verdict verdict,
                                         uint64_t now_ms)
{
    must(l->probes == 0);
    const struct breaker_phase p = phase_read(b->phase);
    const bool late =
        p.state == BREAKER_OPEN || (p.state == BREAKER_RAMP && began_ms + l->ramp_ms < p.until_ms);
    if (late)
        return (struct breaker_step){ .before = p, .after = p };
    return breaker_answer(b, l, workers, worker, p.turn, verdict, now_ms);
}

struct breaker_phase breaker_phase(const struct breaker *b)
{
    return phase_read(b->phase);
}

struct breaker_totals breaker_totals(const struct breaker *b, const struct breaker_limits *l,
                                     unsigned workers, uint64_t now_ms)
{
    return totals_of(b, workers, phase_read(b->phase).turn, slice_number(l, now_ms));
}

struct breaker_phase breaker_reset(struct breaker *b)
{
    return phase_read(atomic_exchange(&b->phase, 0));
}
