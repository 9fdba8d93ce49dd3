/* maglev: the same server for the same client, cookie, header or path, by one look-up in a table.
 *
 *      table   [B][A][C][A][B][C][A] ...       key ──▶ table[hash mod size]
 *
 * Each server has an order of its own in which it would take the table's places, and they take turns until
 * none is left: shares are even to within a place or two, which a ring's are not; a server that leaves the
 * configuration moves its own keys and very few others (Eisenbud et al., "Maglev: a fast and reliable
 * software network load balancer", 2016, section 3.4). A server that is refused for a while moves its own
 * keys only: each goes to the place that the key's next hash says, and comes back with the server.
 *
 * Orders come from the servers' addresses: every worker, gateway and reload makes the same table. */
#include "base/hash.h"
#include "base/mem.h"
#include "gate/gate_conf.h"
#include "gate/pick.h"
#include "gate/request_key.h"

#define FITTING_MAX 65535
/* Further places for a key whose server is refused, before servers are looked at one by one. */
#define REHASHES_MAX 8

struct maglev_conf {
    struct bytes by_text;
    struct request_key by;
    int64_t table_size;
    int64_t seed;
};

struct maglev {
    struct request_key by;
    uint32_t size;
    uint16_t table[];
};

/* ---- the table ---- */

struct entrant {
    uint32_t offset, skip; /* its order: offset, offset + skip, offset + 2 skip, ... mod size */
    uint32_t at;           /* the next place that it would take */
    uint64_t owed;         /* in parts of a turn: a turn costs as much as the heaviest server weighs */
};

static bool is_prime(int64_t n)
{
    for (int64_t i = 2; i * i <= n; i++) {
        if (n % i == 0)
            return false;
    }
    return n > 1;
}

static void entrant_init(struct entrant *e, const struct server *s, uint32_t size, int64_t seed)
{
    const struct bytes name = bytes_from(s->shared->text);
    const uint64_t h = hash_sip13((struct hash_key){ (uint64_t)seed, 1 }, name);
    *e = (struct entrant){ .offset = (uint32_t)(h % size), .skip = (uint32_t)((h >> 32) % (size - 1)) + 1 };
    e->at = e->offset;
}

#define FREE UINT16_MAX

static void take_place(struct maglev *m, struct entrant *e, uint32_t server)
{
    while (m->table[e->at] != FREE)
        e->at = (e->at + e->skip) % m->size;
    m->table[e->at] = (uint16_t)server;
}

/* In each round the heaviest server takes a place and the others as often as they are owed one. */
static void table_fill(struct maglev *m, struct entrant *entrants, const struct server *servers,
                       uint32_t count)
{
    uint32_t heaviest = 1;
    for (uint32_t i = 0; i < count; i++)
        heaviest = servers[i].weight > heaviest ? servers[i].weight : heaviest;
    for (uint32_t i = 0; i < m->size; i++)
        m->table[i] = FREE;
    uint32_t taken = 0;
    while (count && taken < m->size) {
        for (uint32_t i = 0; i < count && taken < m->size; i++) {
            entrants[i].owed += servers[i].weight;
            if (entrants[i].owed < heaviest)
                continue;
            entrants[i].owed -= heaviest;
            take_place(m, &entrants[i], i);
            taken++;
        }
    }
}

static err maglev_check_service(const void *conf, const struct service_conf *s, struct diag *reterr)
{
    const struct maglev_conf *c = conf;
    if (s->servers.count <= (size_t)c->table_size && s->servers.count <= FITTING_MAX)
        return OK;
    diag_set(reterr, "maglev: %zu servers do not fit into a table of %lld (and at most %d do into any)",
             s->servers.count, (long long)c->table_size, FITTING_MAX);
    return ERR_CONF;
}

static err maglev_open(const void *conf, const struct server *servers, uint32_t count, void **ret_state,
                       struct diag *reterr)
{
    (void)reterr;
    const struct maglev_conf *c = conf;
    const uint32_t size = (uint32_t)c->table_size;
    struct maglev *m = mem_get(sizeof *m + size * sizeof *m->table);
    struct entrant *entrants = mem_get((count + 1) * sizeof *entrants);
    const bool enough = m && entrants;
    if (enough) {
        m->by = c->by;
        m->size = size;
        for (uint32_t i = 0; i < count; i++)
            entrant_init(&entrants[i], &servers[i], size, c->seed);
        table_fill(m, entrants, servers, count);
        *ret_state = m;
    } else {
        mem_free(m);
    }
    mem_free(entrants);
    return enough ? OK : ERR_MEMORY;
}

/* ---- the choice ---- */

static void maglev_prepare(void *state, struct pick *p)
{
    const struct maglev *m = state;
    p->hash = pick_hash(&m->by, p->x);
}

static uint32_t maglev_pick(void *state, const struct server *servers, uint32_t count, const struct pick *p)
{
    const struct maglev *m = state;
    if (count == 0)
        return PICK_NONE;
    uint64_t hash = p->hash;
    for (uint32_t i = 0; i <= REHASHES_MAX; i++) {
        const uint32_t server = m->table[hash % m->size];
        if (pick_allows(p, &servers[server]))
            return server;
        hash = hash_u64(hash + 0x9e3779b97f4a7c15ULL);
    }
    uint32_t at = (uint32_t)(hash % count);
    for (uint32_t i = 0; i < count; i++) {
        if (pick_allows(p, &servers[at]))
            return at;
        at = at + 1 < count ? at + 1 : 0;
    }
    return PICK_NONE;
}

static err maglev_check(void *conf, struct diag *reterr)
{
    struct maglev_conf *c = conf;
    if (!is_prime(c->table_size)) {
        diag_set(reterr, "table_size: %lld is not a prime number: expected like 2039, 16381, 65537 or 655373",
                 (long long)c->table_size);
        return ERR_CONF;
    }
    return request_key_parse_late(c->by_text, &c->by, reterr);
}

const struct balancer maglev_balancer = {
    .conf = { .name = "maglev",
              .size = sizeof(struct maglev_conf),
              .phrases = (const char *const[]){ "by {by}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "by",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct maglev_conf, by_text),
                        .preset = "ip",
                        .doc = "what goes to the same server: " REQUEST_KEY_SESSION_DOC
                               ". A request that has none goes to any" },
                      { .name = "table_size",
                        .type = CONF_INT,
                        .offset = offsetof(struct maglev_conf, table_size),
                        .preset = "65537",
                        .min = 3,
                        .max = 5000000,
                        .doc = "places in the table, a prime number; a hundred times as many as servers make "
                               "their shares even to 1% (2 bytes each and worker)" },
                      { .name = "seed",
                        .type = CONF_INT,
                        .offset = offsetof(struct maglev_conf, seed),
                        .preset = "0",
                        .max = 1e15,
                        .doc = "a number that nobody outside knows keeps clients from choosing keys of one "
                               "server; the same in all gateways" },
                      { 0 } },
              .check = maglev_check,
              .doc = "The same server for the same key, by one look-up in a table that the servers share "
                     "evenly." },
    .check = maglev_check_service,
    .open = maglev_open,
    .prepare = maglev_prepare,
    .pick = maglev_pick,
    .close = mem_free,
};
