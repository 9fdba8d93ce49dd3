/* rate_limit: so many requests in a time, for each client or for a route as a whole; the others get 429.
 *
 *      rate_limit: 50/s per ip        50 at once (the burst), then one every 20 ms
 *
 * The decision is the generic cell rate algorithm (ITU-T I.371 Annex A; Brandur Leach, "Rate limiting, cells,
 * and GCRA", 2015): of each key one number is kept, the time at which all that it was given would have been
 * due one by one (its "theoretical arrival time", tat). A tat that has passed is the same as none at all, so
 * what is forgotten then is not missed.
 *
 * One table serves all workers and outlives reloads. Memory that no key has touched is never resident. */
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>

#include "base/hash.h"
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"

#define NS_OF_MS 1000000ull

enum rate_limit_key { KEY_ALL, KEY_IP };
static const char *const key_words[] = { "all", "ip", NULL };

struct rate_limit_conf {
    struct conf_rate rate;
    int key;
    int64_t burst; /* 0: the rate's count */
    int64_t keys_max;
};

/* ---- the decision, pure ---- */

struct gcra {
    uint64_t interval_ns; /* between two requests at exactly the rate; rounded up: never more than the rate */
    uint64_t burst_ns;    /* how far ahead of the clock tat may run */
};

struct verdict {
    bool allowed;
    bool forgot;       /* another key had to be forgotten early */
    uint64_t tat_ns;   /* the new one, when allowed */
    uint64_t retry_ns; /* from now until one will be allowed, when not */
};

static struct gcra gcra_of(struct conf_rate rate, uint64_t burst)
{
    const uint64_t interval_ns = (rate.per_ms * NS_OF_MS + rate.count - 1) / rate.count;
    return (struct gcra){ interval_ns, interval_ns * burst };
}

static struct verdict gcra_decide(const struct gcra *g, uint64_t tat_ns, uint64_t now_ns)
{
    const uint64_t next = (tat_ns > now_ns ? tat_ns : now_ns) + g->interval_ns;
    if (next - now_ns > g->burst_ns)
        return (struct verdict){ .retry_ns = next - now_ns - g->burst_ns };
    return (struct verdict){ .allowed = true, .tat_ns = next };
}

/* ---- the table ----
 *
 *      bucket, two cache lines     turn │ key tat │ key tat │ ... (7 of them)
 *
 * A key (64 bits of its hash; 0: free) stands in the one bucket that the hash names. Nobody ever holds a lock
 * to charge a key that is there: tat is moved by compare-and-swap, and a slot's key changes only while its
 * tat changes too, so a swap that succeeds on the tat read before the key has charged that key. To enter a
 * key the bucket's turn is made odd for some ten instructions, so that two workers cannot enter the same key
 * twice; the turn has to be as it was before the bucket was searched. So the last free place of a key is
 * given once. */

#define BUCKET_SLOTS 7

struct slot {
    _Atomic uint64_t key;
    _Atomic uint64_t tat_ns;
};

struct bucket {
    _Atomic uint64_t turn;
    struct slot slots[BUCKET_SLOTS];
    uint64_t unused;
} __attribute__((aligned(128)));

struct table {
    struct bucket *buckets;
    uint64_t count;
};

/* Room for more than keys_max, since keys do not spread evenly over buckets. */
static uint64_t buckets_for(uint64_t keys_max)
{
    return keys_max / 4 + 1;
}

static struct bucket *bucket_of(const struct table *t, uint64_t key)
{
    return &t->buckets[(uint64_t)(((unsigned __int128)key * t->count) >> 64)];
}

/* The tat read twice around the key is that key's; when others charge it meanwhile it is read again, since a
 * key that is there must not be missed. */
static bool slot_read(struct slot *s, uint64_t key, uint64_t *ret_tat_ns)
{
    uint64_t again = s->tat_ns;
    do {
        *ret_tat_ns = again;
        if (s->key != key)
            return false;
        again = s->tat_ns;
    } while (again != *ret_tat_ns);
    return true;
}

static struct slot *bucket_find(struct bucket *b, uint64_t key, uint64_t *ret_tat_ns)
{
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        if (slot_read(&b->slots[i], key, ret_tat_ns))
            return &b->slots[i];
    }
    return NULL;
}

static struct slot *bucket_oldest(struct bucket *b, uint64_t *ret_tat_ns)
{
    struct slot *oldest = &b->slots[0];
    *ret_tat_ns = UINT64_MAX;
    for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
        const uint64_t tat = b->slots[i].tat_ns;
        if (tat < *ret_tat_ns) {
            *ret_tat_ns = tat;
            oldest = &b->slots[i];
        }
    }
    return oldest;
}

/* With the bucket's turn odd. Takes the slot whose tat is the earliest: one that has passed, or, when all
 * are still running, the one that loses the least. Its key is taken off first, so that nobody charges the new
 * key for it; when it was charged in the meantime another slot is looked for. */
static void bucket_enter(struct bucket *b, uint64_t key, uint64_t tat_ns, uint64_t now_ns, bool *ret_forgot)
{
    for (;;) {
        uint64_t old_tat;
        struct slot *s = bucket_oldest(b, &old_tat);
        const uint64_t old_key = s->key;
        s->key = 0;
        if (atomic_compare_exchange_strong(&s->tat_ns, &old_tat, tat_ns)) {
            s->key = key;
            *ret_forgot = old_key && old_tat > now_ns;
            return;
        }
        s->key = old_key;
    }
}

static void pause_a_little(unsigned *spins)
{
    if (++*spins % 64 == 0)
        sched_yield();
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

/* Charges the key for one request, or says when it may come again. Any thread. */
static struct verdict table_take(const struct table *t, const struct gcra *g, uint64_t key, uint64_t now_ns)
{
    struct bucket *b = bucket_of(t, key);
    unsigned spins = 0;
    for (;; pause_a_little(&spins)) {
        uint64_t turn = b->turn;
        uint64_t tat;
        struct slot *s = bucket_find(b, key, &tat);
        struct verdict v = gcra_decide(g, s ? tat : 0, now_ns);
        if (s && (!v.allowed || atomic_compare_exchange_strong(&s->tat_ns, &tat, v.tat_ns)))
            return v;
        if (s || turn % 2 || !atomic_compare_exchange_strong(&b->turn, &turn, turn + 1))
            continue;
        bucket_enter(b, key, v.tat_ns, now_ns, &v.forgot);
        b->turn = turn + 2;
        return v;
    }
}

/* ---- metrics ---- */

#define RATE_LIMIT_METRICS(X)                                                     \
    X(ALLOWED, "allowed_total", METRIC_COUNTER, "Requests that were let through") \
    X(LIMITED, "limited_total", METRIC_COUNTER, "Requests that got 429")          \
    X(FORGOTTEN, "forgotten_total", METRIC_COUNTER,                               \
      "Keys forgotten early because more than keys_max were active")

enum rate_limit_metric {
#define X(id, name, type, help) METRIC_##id,
    RATE_LIMIT_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "rate_limit",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            RATE_LIMIT_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- the filter ---- */

struct rate_limit {
    struct gcra gcra;
    struct table table;
    int key;
    struct conf_rate rate;
    void *shared; /* the table's memory */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* An IPv6 client owns at least a /64 (RFC 6177): that is one client. Never 0. */
static uint64_t key_of_client(const struct addr *client)
{
    struct bytes text = BYTES("local");
    if (client->sock.any.sa_family == AF_INET)
        text = (struct bytes){ (const char *)&client->sock.v4.sin_addr, 4 };
    if (client->sock.any.sa_family == AF_INET6) {
        const char *ip = (const char *)&client->sock.v6.sin6_addr;
        const bool is_v4 = IN6_IS_ADDR_V4MAPPED(&client->sock.v6.sin6_addr);
        text = is_v4 ? (struct bytes){ ip + 12, 4 } : (struct bytes){ ip, 8 };
    }
    const uint64_t key = hash_bytes(text);
    return key ? key : 1;
}

static err answer_field(struct exchange *x, struct bytes name, struct bytes value)
{
    if (!value.ptr)
        return ERR_LIMIT;
    return http_fields_set(&x->response.fields, &x->arena, name, value);
}

/* Retry-After (RFC 9110 10.2.3) and the fields of draft-ietf-httpapi-ratelimit-headers. */
static err refuse(struct exchange *x, const struct rate_limit *r, const struct verdict *v)
{
    exchange_answer(x, 429, BYTES_NONE, BYTES_NONE, BYTES("rate_limit"));
    const uint64_t retry_s = (v->retry_ns + 999999999) / 1000000000;
    const uint64_t window_s = (r->rate.per_ms + 999) / 1000;
    struct arena *a = &x->arena;
    err e = answer_field(x, BYTES("Retry-After"), arena_print(a, "%" PRIu64, retry_s));
    if (e)
        return e;
    e = answer_field(x, BYTES("RateLimit-Policy"),
                     arena_print(a, "\"rate_limit\";q=%" PRIu64 ";w=%" PRIu64, r->rate.count, window_s));
    if (e)
        return e;
    return answer_field(x, BYTES("RateLimit"), arena_print(a, "\"rate_limit\";r=0;t=%" PRIu64, retry_s));
}

static err rate_limit_handle(struct exchange *x, void *state, struct chain *next)
{
    struct rate_limit *r = state;
    const uint64_t key = r->key == KEY_IP ? key_of_client(x->client) : 1;
    const struct verdict v = table_take(&r->table, &r->gcra, key, worker_now_us() * 1000);
    if (v.forgot)
        metric_inc(r->cells, METRIC_FORGOTTEN);
    metric_inc(r->cells, v.allowed ? METRIC_ALLOWED : METRIC_LIMITED);
    return v.allowed ? chain_next(next, x) : refuse(x, r, &v);
}

static void rate_limit_close(void *state)
{
    struct rate_limit *r = state;
    metric_instance_free(r->metrics);
    if (r->shared)
        shared_put(r->shared);
    mem_free(r);
}

/* The same limit of the same route finds its table again after a reload; another one begins anew. */
static err table_open(struct rate_limit *r, const struct rate_limit_conf *c, struct bytes scope)
{
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    const struct bytes name = arena_print(&a, "rate_limit %s %" PRIu64 "/%" PRIu64 "ms %.*s",
                                          key_words[c->key], c->rate.count, c->rate.per_ms, BYTES_ARG(scope));
    r->table.count = c->key == KEY_ALL ? 1 : buckets_for((uint64_t)c->keys_max);
    const size_t align = _Alignof(struct bucket);
    r->shared = name.ptr ? shared_get(name, r->table.count * sizeof(struct bucket) + align - 1) : NULL;
    arena_close(&a);
    if (!r->shared)
        return ERR_MEMORY;
    r->table.buckets = (struct bucket *)(((uintptr_t)r->shared + align - 1) & ~(uintptr_t)(align - 1));
    return OK;
}

static uint64_t burst_of(const struct rate_limit_conf *c)
{
    return c->burst ? (uint64_t)c->burst : c->rate.count;
}

static err rate_limit_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                           struct diag *reterr)
{
    (void)g;
    (void)reterr;
    const struct rate_limit_conf *c = conf;
    struct rate_limit *r = mem_get(sizeof *r);
    if (!r)
        return ERR_MEMORY;
    r->gcra = gcra_of(c->rate, burst_of(c));
    r->key = c->key;
    r->rate = c->rate;
    err e = table_open(r, c, scope);
    if (!e)
        e = metric_instance_open(&metric_group, &scope, &r->metrics);
    if (e) {
        rate_limit_close(r);
        return e;
    }
    r->cells = metric_cells(r->metrics, worker_index(worker_self()));
    *ret_state = r;
    return OK;
}

/* tat must not run over: 2^62 ns are 146 years. */
static err rate_limit_check(void *conf, struct diag *reterr)
{
    const struct rate_limit_conf *c = conf;
    const uint64_t interval_ns = gcra_of(c->rate, 1).interval_ns;
    if (burst_of(c) <= (UINT64_C(1) << 62) / interval_ns)
        return OK;
    diag_set(reterr, "burst: %" PRIu64 " requests at this rate take more than 146 years", burst_of(c));
    return ERR_CONF;
}

const struct filter rate_limit_filter = {
    .conf = { .name = "rate_limit",
              .size = sizeof(struct rate_limit_conf),
              .phrases = (const char *const[]){ "{rate} per {key}", "{rate}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "rate",
                        .type = CONF_RATE,
                        .offset = offsetof(struct rate_limit_conf, rate),
                        .required = true,
                        .min = 1,
                        .max = 10000000,
                        .doc = "how many requests in which time: `50/s`, `1000/m`, `10/h`" },
                      { .name = "key",
                        .type = CONF_WORD,
                        .offset = offsetof(struct rate_limit_conf, key),
                        .preset = "all",
                        .words = key_words,
                        .doc =
                            "whose requests are counted together: `ip`, those of one client address (of IPv6 "
                            "one /64); `all`, those of the route" },
                      { .name = "burst",
                        .type = CONF_INT,
                        .offset = offsetof(struct rate_limit_conf, burst),
                        .min = 1,
                        .max = 1e9,
                        .doc = "how many may come at once after a pause; when not said, the rate's count" },
                      { .name = "keys_max",
                        .type = CONF_INT,
                        .offset = offsetof(struct rate_limit_conf, keys_max),
                        .preset = "1000000",
                        .min = 1,
                        .max = 1e9,
                        .doc = "how many clients can be told apart at a time; each takes 32 bytes, once it "
                               "comes" },
                      { 0 } },
              .check = rate_limit_check,
              .doc = "Lets so many requests in a time pass, and answers the others with 429." },
    .open = rate_limit_open,
    .handle = rate_limit_handle,
    .close = rate_limit_close,
};
