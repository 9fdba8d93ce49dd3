/* round_robin: each server in turn, as often as its weight says.
 *
 *      weights 5, 1, 1     schedule  A A A B A A C     at ──▶
 *
 * The order is worked out once, when the service is opened, as a schedule of as many slots as the weights add
 * up to (after their common divisor is taken out); a pick reads the next slot. With equal weights the
 * schedule is just 0 1 2 .. n-1. In every run of slots from the schedule's beginning each server has its
 * share, rounded down or up (proportionate fairness: Baruah, Cohen, Plaxton and Varvel, "Proportionate
 * progress", 1996; on one processor the earliest deadline among the released jobs is enough for it).
 *
 * Each worker begins at a place of its own, so that workers do not send the same server their requests in
 * step. */
#include "base/hash.h"
#include "base/mem.h"
#include "gate/service.h"

struct round_robin {
    uint32_t at;           /* next slot */
    uint32_t scan;         /* where the next scan over servers begins */
    uint32_t slots;        /* of the schedule */
    uint32_t refusals_max; /* slots looked at in one pick */
    uint32_t schedule[];
};

#define NONE UINT32_MAX

/* ---- the schedule ---- */

/* The k-th turn (from 0) of a server of weight w among W slots is released at slot floor(k W / w) and has to
 * be over by slot ceil((k + 1) W / w). */
struct turn {
    uint64_t deadline;
    uint32_t server;
};

struct turn_heap {
    struct turn *at;
    uint32_t count;
};

static bool turn_before(const struct turn *a, const struct turn *b)
{
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->server < b->server;
}

static void heap_push(struct turn_heap *h, struct turn t)
{
    uint32_t i = h->count++;
    for (; i && turn_before(&t, &h->at[(i - 1) / 2]); i = (i - 1) / 2)
        h->at[i] = h->at[(i - 1) / 2];
    h->at[i] = t;
}

static struct turn heap_pop(struct turn_heap *h)
{
    const struct turn first = h->at[0];
    const struct turn last = h->at[--h->count];
    uint32_t i = 0;
    for (uint32_t child = 1; child < h->count; child = 2 * i + 1) {
        if (child + 1 < h->count && turn_before(&h->at[child + 1], &h->at[child]))
            child++;
        if (!turn_before(&h->at[child], &last))
            break;
        h->at[i] = h->at[child];
        i = child;
    }
    h->at[i] = last;
    return first;
}

/* What the making of a schedule knows of one server. */
struct entrant {
    uint32_t weight;
    uint32_t turns; /* given so far */
    uint32_t next;  /* released at the same slot */
};

static uint64_t deadline_of(const struct entrant *e, uint32_t slots)
{
    return ((uint64_t)(e->turns + 1) * slots + e->weight - 1) / e->weight;
}

/* Fills slots of schedule. A slot that is not decided yet holds the list of the servers released at it.
 * Of n servers and W slots: W log n steps. */
static void schedule_fill(uint32_t *schedule, uint32_t slots, struct entrant *entrants, uint32_t count,
                          struct turn_heap *heap)
{
    for (uint32_t i = 0; i < count; i++)
        heap_push(heap, (struct turn){ deadline_of(&entrants[i], slots), i });
    for (uint32_t slot = 0; slot < slots; slot++)
        schedule[slot] = NONE;
    for (uint32_t slot = 0; slot < slots; slot++) {
        for (uint32_t i = schedule[slot]; i != NONE; i = entrants[i].next)
            heap_push(heap, (struct turn){ deadline_of(&entrants[i], slots), i });
        const uint32_t chosen = heap_pop(heap).server;
        schedule[slot] = chosen;
        struct entrant *e = &entrants[chosen];
        if (++e->turns == e->weight)
            continue;
        const uint32_t release = (uint32_t)((uint64_t)e->turns * slots / e->weight);
        if (release <= slot) {
            heap_push(heap, (struct turn){ deadline_of(e, slots), chosen });
        } else {
            e->next = schedule[release];
            schedule[release] = chosen;
        }
    }
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b) {
        const uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* ---- the balancer ---- */

static err round_robin_open(const void *conf, const struct server *servers, uint32_t count, void **ret_state,
                            struct diag *reterr)
{
    (void)conf;
    (void)reterr;
    uint32_t divisor = 0;
    uint32_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        divisor = common_divisor(servers[i].weight, divisor);
        total += servers[i].weight;
    }
    const uint32_t slots = count ? total / divisor : 0;

    struct round_robin *r = mem_get(sizeof *r + slots * sizeof *r->schedule);
    struct entrant *entrants = mem_get(count * sizeof *entrants);
    struct turn_heap heap = { mem_get(count * sizeof *heap.at), 0 };
    const bool enough = r && entrants && heap.at;
    if (enough) {
        for (uint32_t i = 0; i < count; i++)
            entrants[i].weight = servers[i].weight / divisor;
        r->slots = slots;
        r->refusals_max = slots < 2 * count ? slots : 2 * count;
        r->at = slots ? random_below(slots) : 0;
        schedule_fill(r->schedule, slots, entrants, count, &heap);
        *ret_state = r;
    } else {
        mem_free(r);
    }
    mem_free(heap.at);
    mem_free(entrants);
    return enough ? OK : ERR_MEMORY;
}

/* The schedule gave only servers that are refused (a heavy one that is down fills most of it): anyone. */
static uint32_t scan(struct round_robin *r, const struct server *servers, uint32_t count,
                     const struct pick *p)
{
    for (uint32_t i = 0; i < count; i++) {
        r->scan = r->scan + 1 < count ? r->scan + 1 : 0;
        if (pick_allows(p, &servers[r->scan]))
            return r->scan;
    }
    return NONE;
}

static uint32_t round_robin_pick(void *state, const struct server *servers, uint32_t count,
                                 const struct pick *p)
{
    struct round_robin *r = state;
    for (uint32_t i = 0; i < r->refusals_max; i++) {
        const uint32_t chosen = r->schedule[r->at];
        r->at = r->at + 1 < r->slots ? r->at + 1 : 0;
        if (pick_allows(p, &servers[chosen]))
            return chosen;
    }
    return scan(r, servers, count, p);
}

const struct balancer round_robin_balancer = {
    .conf = { .name = "round_robin",
              .doc =
                  "Each server in turn, as often as its weight says, evenly spread over time. The default." },
    .open = round_robin_open,
    .pick = round_robin_pick,
    .close = mem_free,
};
