/* hash: the same server for the same client, cookie, header or path, on a ring, with a bound on how busy that
 * server may get.
 *
 *            A      key ──▶ clockwise ──▶ B, unless it is refused or full: then on to C, ...
 *         ·     B
 *        C   ·  A          full: load >= load_max_percent of its share of the load, rounded up
 *
 * When a server leaves, only its keys move, and each to another neighbour (Karger et al., "Consistent hashing
 * and random trees", 1997). The bound keeps a popular key from drowning its server, moving no more than it
 * has to (Mirrokni, Thorup and Zadimoghaddam, "Consistent hashing with bounded loads", 2018). Each worker
 * bounds the load that it gives itself; so all together are at most one request a worker above the bound.
 *
 * Points come from the servers' addresses: every worker, gateway and reload makes the same ring. */
#include "base/hash.h"
#include "base/mem.h"
#include "gate/gate_conf.h"
#include "gate/pick.h"
#include "gate/request_key.h"

#define LOAD_MAX_OFF CONF_INT_WORD(0)
/* Of refused or full servers, before they are looked at one by one. */
#define STEPS_MAX 4096
#define POINTS_MAX (1u << 22)

struct hash_conf {
    struct bytes by_text;
    struct request_key by;
    int64_t load_max_percent; /* or LOAD_MAX_OFF */
    int64_t points;           /* of a server of average weight */
    int64_t seed;
};

struct point {
    uint32_t at; /* on the ring */
    uint32_t server;
};

struct ring {
    struct request_key by;
    uint64_t load_max_percent; /* 0: no bound */
    uint64_t load;             /* of all servers */
    uint64_t weights;          /* of all servers */
    uint32_t count;
    unsigned shift; /* start[at >> shift]: the first point of that stretch or behind it */
    uint32_t *start;
    struct point *points;
};

/* ---- the ring ---- */

static void points_sift(struct point *points, uint32_t i, uint32_t count)
{
    const struct point p = points[i];
    for (uint32_t child = 2 * i + 1; child < count; child = 2 * i + 1) {
        if (child + 1 < count && points[child].at < points[child + 1].at)
            child++;
        if (points[child].at <= p.at)
            break;
        points[i] = points[child];
        i = child;
    }
    points[i] = p;
}

/* Heapsort: in place, never quadratic. */
static void points_sort(struct point *points, uint32_t count)
{
    for (uint32_t i = count / 2; i--;)
        points_sift(points, i, count);
    for (uint32_t left = count; left > 1;) {
        const struct point last = points[--left];
        points[left] = points[0];
        points[0] = last;
        points_sift(points, 0, left);
    }
}

static uint64_t points_of(const struct hash_conf *c, const struct server *s, uint32_t count, uint64_t weights)
{
    const uint64_t n = ((uint64_t)c->points * s->weight * count + weights / 2) / weights;
    return n ? n : 1;
}

static void points_place(struct ring *r, const struct server *servers, uint32_t i, uint64_t n, int64_t seed)
{
    const struct bytes name = bytes_from(servers[i].shared->text);
    const uint64_t base = hash_sip13((struct hash_key){ (uint64_t)seed, 0 }, name);
    for (uint64_t k = 0; k < n; k++) {
        const uint32_t at = (uint32_t)(hash_u64(base + k * 0x9e3779b97f4a7c15ULL) >> 32);
        r->points[r->count++] = (struct point){ at, i };
    }
}

static void starts_fill(struct ring *r)
{
    uint32_t point = 0;
    for (uint64_t i = 0; i < UINT64_C(1) << (32 - r->shift); i++) {
        while (point < r->count && r->points[point].at >> r->shift < i)
            point++;
        r->start[i] = point;
    }
}

static void hash_close(void *state)
{
    struct ring *r = state;
    mem_free(r->points);
    mem_free(r->start);
    mem_free(r);
}

static err hash_check_service(const void *conf, const struct service_conf *s, struct diag *reterr)
{
    const struct hash_conf *c = conf;
    const uint64_t points = (uint64_t)c->points * s->servers.count;
    if (points <= POINTS_MAX)
        return OK;
    diag_set(reterr, "hash: %zu servers with points: %lld make a ring of %llu points: at most %u",
             s->servers.count, (long long)c->points, (unsigned long long)points, POINTS_MAX);
    return ERR_CONF;
}

static err hash_open(const void *conf, const struct server *servers, uint32_t count, void **ret_state,
                     struct diag *reterr)
{
    (void)reterr;
    const struct hash_conf *c = conf;
    uint64_t points = 0;
    struct ring *r = mem_get(sizeof *r);
    if (!r)
        return ERR_MEMORY;
    r->by = c->by;
    r->load_max_percent = c->load_max_percent == LOAD_MAX_OFF ? 0 : (uint64_t)c->load_max_percent;
    for (uint32_t i = 0; i < count; i++)
        r->weights += servers[i].weight;
    for (uint32_t i = 0; i < count; i++)
        points += points_of(c, &servers[i], count, r->weights);
    for (r->shift = 31; r->shift > 8 && UINT64_C(1) << (32 - r->shift) < points;)
        r->shift--;
    r->points = mem_get((points + 1) * sizeof *r->points);
    r->start = mem_get((UINT64_C(1) << (32 - r->shift)) * sizeof *r->start);
    if (!r->points || !r->start) {
        hash_close(r);
        return ERR_MEMORY;
    }
    for (uint32_t i = 0; i < count; i++)
        points_place(r, servers, i, points_of(c, &servers[i], count, r->weights), c->seed);
    points_sort(r->points, r->count);
    starts_fill(r);
    *ret_state = r;
    return OK;
}

/* ---- the choice ---- */

static void hash_prepare(void *state, struct pick *p)
{
    const struct ring *r = state;
    p->hash = pick_hash(&r->by, p->x);
}

static uint32_t point_after(const struct ring *r, uint32_t at)
{
    uint32_t i = r->start[at >> r->shift];
    while (i < r->count && r->points[i].at < at)
        i++;
    return i < r->count ? i : 0;
}

/* load < ceil(percent / 100 × (all load, this request with it) × weight / all weights) */
static bool has_room(const struct ring *r, const struct server *s, const struct pick *p)
{
    if (!r->load_max_percent)
        return true;
    const uint64_t all = (r->load + pick_weight(p)) * r->load_max_percent * s->weight;
    return (uint64_t)s->load * 100 * r->weights < all;
}

/* So many are refused that the ring's neighbours do not help. */
static uint32_t scan(const struct ring *r, const struct server *servers, uint32_t count, const struct pick *p)
{
    uint32_t allowed = PICK_NONE;
    uint32_t at = (uint32_t)(p->hash % count);
    for (uint32_t i = 0; i < count; i++) {
        if (pick_allows(p, &servers[at])) {
            if (has_room(r, &servers[at], p))
                return at;
            if (allowed == PICK_NONE)
                allowed = at;
        }
        at = at + 1 < count ? at + 1 : 0;
    }
    return allowed;
}

static uint32_t hash_pick(void *state, const struct server *servers, uint32_t count, const struct pick *p)
{
    const struct ring *r = state;
    if (count == 0)
        return PICK_NONE;
    uint32_t i = point_after(r, (uint32_t)(p->hash >> 32));
    const uint32_t steps = r->count < STEPS_MAX ? r->count : STEPS_MAX;
    for (uint32_t step = 0; step < steps; step++) {
        const uint32_t server = r->points[i].server;
        if (pick_allows(p, &servers[server]) && has_room(r, &servers[server], p))
            return server;
        i = i + 1 < r->count ? i + 1 : 0;
    }
    return scan(r, servers, count, p);
}

static void hash_load(void *state, uint32_t i, int32_t change)
{
    (void)i;
    struct ring *r = state;
    r->load += (uint64_t)(int64_t)change;
}

static err hash_check(void *conf, struct diag *reterr)
{
    struct hash_conf *c = conf;
    return request_key_parse_late(c->by_text, &c->by, reterr);
}

static const char *const off_words[] = { "off", NULL };

const struct balancer hash_balancer = {
    .conf = { .name = "hash",
              .size = sizeof(struct hash_conf),
              .phrases = (const char *const[]){ "by {by}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "by",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct hash_conf, by_text),
                        .preset = "ip",
                        .doc = "what goes to the same server: " REQUEST_KEY_SESSION_DOC
                               ". A request that has none goes to any" },
                      { .name = "load_max_percent",
                        .type = CONF_INT,
                        .offset = offsetof(struct hash_conf, load_max_percent),
                        .preset = "125",
                        .min = 101,
                        .max = 100000,
                        .words = off_words,
                        .doc = "a server that has that much of its share of the load is passed over; `off`: "
                               "no bound" },
                      { .name = "points",
                        .type = CONF_INT,
                        .offset = offsetof(struct hash_conf, points),
                        .preset = "256",
                        .min = 1,
                        .max = 65536,
                        .doc =
                            "of a server of average weight on the ring; more: more even shares, more memory "
                            "(8 bytes each and worker)" },
                      { .name = "seed",
                        .type = CONF_INT,
                        .offset = offsetof(struct hash_conf, seed),
                        .preset = "0",
                        .max = 1e15,
                        .doc = "a number that nobody outside knows keeps clients from choosing keys of one "
                               "server; the same in all gateways" },
                      { 0 } },
              .check = hash_check,
              .doc = "The same server for the same key, on a ring of points; one that is too busy is passed "
                     "over." },
    .check = hash_check_service,
    .open = hash_open,
    .prepare = hash_prepare,
    .pick = hash_pick,
    .load = hash_load,
    .close = hash_close,
};
