/* zone: prefers the servers of one's own zone, or of the zone nearest to the client; others when these are
 * not well enough. Which server of the zone is another balancer's to say.
 *
 *      client ──▶ place (MaxMind database) ──▶ zones by distance     eu-1 ──▶ eu-2 ──▶ us-1
 *      or: own ──▶ the others                                        62%      38%       ·
 *
 *      a zone takes: well share / spill_below of what it is asked for, at most all; the rest goes down the
 * line
 *
 * Servers of a zone are neighbours in the service (gate/service.c sees to it), so each zone is a balancer's
 * slice. How many are well is counted every 100 ms at most. */
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "gate/gate_conf.h"
#include "gate/pick.h"
#if WEIR_HAVE_MAXMINDDB
#include <maxminddb.h>

#include "gate/exchange.h"
#endif

#define ZONES_MAX 64

/* Who can choose inside a zone: all balancers that are not themselves over others. */
#define BALANCER(name) extern const struct balancer name##_balancer;
#define BALANCER_OVER(name)
#include "modules.def"

static const struct conf_struct *const within_confs[] = {
#define BALANCER(name) &name##_balancer.conf,
#define BALANCER_OVER(name)
#include "modules.def"
    NULL,
};

static const struct balancer *const within_balancers[] = {
#define BALANCER(name) &name##_balancer,
#define BALANCER_OVER(name)
#include "modules.def"
};

struct zone_conf {
    struct bytes own;
    struct bytes database;
    struct conf_list places; /* struct conf_pair: zone, "latitude,longitude" */
    struct conf_module within;
    double spill_below;
};

struct zone {
    struct bytes name;
    uint32_t first, count;
    struct well_count well;
    float place[3]; /* on the unit sphere; all 0: not said */
    void *state;    /* of `within` */
};

struct zones {
    const struct balancer *within;
    double spill_below;
    uint32_t own; /* count: none is */
    uint32_t count;
    struct zone at[ZONES_MAX];
    bool by_client;
#if WEIR_HAVE_MAXMINDDB
    bool is_open;
    MMDB_s database;
#endif
    uint8_t zone_of[]; /* of each server */
};

/* ---- places ---- */

static bool parse_degrees(struct bytes text, double most, double *ret)
{
    char copy[32];
    char *end;
    text = bytes_trim(text);
    if (text.len == 0 || text.len >= sizeof copy)
        return false;
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = 0;
    *ret = strtod(copy, &end);
    return *end == 0 && *ret >= -most && *ret <= most;
}

static void place_of(double latitude, double longitude, float place[3])
{
    const double phi = latitude * M_PI / 180;
    const double lambda = longitude * M_PI / 180;
    place[0] = (float)(cos(phi) * cos(lambda));
    place[1] = (float)(cos(phi) * sin(lambda));
    place[2] = (float)sin(phi);
}

/* "52.52, 13.40" */
static bool parse_place(struct bytes text, float place[3])
{
    struct bytes first;
    double latitude, longitude;
    if (!bytes_split(&text, ',', &first) || !text.ptr || !parse_degrees(first, 90, &latitude) ||
        !parse_degrees(text, 180, &longitude))
        return false;
    place_of(latitude, longitude, place);
    return true;
}

static bool is_known(const float place[3])
{
    return fabsf(place[0]) + fabsf(place[1]) + fabsf(place[2]) > 0.5f;
}

/* The cosine of the angle between the two: 1 here, -1 on the other side. A zone without a place is last. */
static float nearness(const float a[3], const float b[3])
{
    return is_known(b) ? a[0] * b[0] + a[1] * b[1] + a[2] * b[2] : -2;
}

#if WEIR_HAVE_MAXMINDDB
static bool read_degrees(MMDB_entry_s *entry, const char *name, double *ret)
{
    MMDB_entry_data_s data;
    if (MMDB_get_value(entry, &data, "location", name, NULL) != MMDB_SUCCESS || !data.has_data ||
        data.type != MMDB_DATA_TYPE_DOUBLE)
        return false;
    *ret = data.double_value;
    return true;
}

static void find_client(const struct zones *z, struct pick *p)
{
    const struct addr *client = p->x ? p->x->client : NULL;
    if (!client || (client->sock.any.sa_family != AF_INET && client->sock.any.sa_family != AF_INET6))
        return;
    int failed;
    double latitude, longitude;
    MMDB_lookup_result_s found = MMDB_lookup_sockaddr(&z->database, &client->sock.any, &failed);
    if (!failed && found.found_entry && read_degrees(&found.entry, "latitude", &latitude) &&
        read_degrees(&found.entry, "longitude", &longitude))
        place_of(latitude, longitude, p->place);
}

static err open_database(MMDB_s *database, const struct zone_conf *c, struct diag *reterr)
{
    int failed = MMDB_open(c->database.ptr, MMDB_MODE_MMAP, database);
    if (failed) {
        diag_set(reterr, "zone: cannot read the database \"%s\": %s", c->database.ptr, MMDB_strerror(failed));
        return ERR_CONF;
    }
    return OK;
}
#endif

/* ---- opening ---- */

static bool has_zone(const struct service_conf *s, struct bytes name)
{
    const struct server_conf *servers = s->servers.items;
    for (size_t i = 0; i < s->servers.count; i++) {
        if (bytes_eq(servers[i].zone, name))
            return true;
    }
    return false;
}

static err zone_check_service(const void *conf, const struct service_conf *s, struct diag *reterr)
{
    const struct zone_conf *c = conf;
    if (c->own.len && !has_zone(s, c->own)) {
        diag_set(reterr, "zone: no server of \"%.*s\" is in the zone \"%s\"", BYTES_ARG(s->name), c->own.ptr);
        return ERR_CONF;
    }
    const struct conf_pair *places = c->places.items;
    for (size_t i = 0; i < c->places.count; i++) {
        if (!has_zone(s, places[i].name)) {
            diag_set(reterr, "zone: places: no server of \"%.*s\" is in the zone \"%s\"", BYTES_ARG(s->name),
                     places[i].name.ptr);
            return ERR_CONF;
        }
    }
    const struct balancer *within = within_balancers[c->within.index];
    err e = within->check ? within->check(c->within.conf, s, reterr) : OK;
#if WEIR_HAVE_MAXMINDDB
    MMDB_s database;
    if (!e && c->database.len) {
        e = open_database(&database, c, reterr);
        if (!e)
            MMDB_close(&database);
    }
#endif
    return e;
}

static err open_zone(struct zones *z, const struct zone_conf *c, const struct server *servers, uint32_t first,
                     uint32_t count, struct diag *reterr)
{
    if (z->count == ZONES_MAX) {
        diag_set(reterr, "zone: at most %d zones in one service", ZONES_MAX);
        return ERR_CONF;
    }
    struct zone *zone = &z->at[z->count];
    *zone = (struct zone){ .name = servers[first].conf->zone, .first = first, .count = count };
    const struct conf_pair *places = c->places.items;
    for (size_t i = 0; i < c->places.count; i++) {
        if (bytes_eq(places[i].name, zone->name))
            parse_place(places[i].value, zone->place);
    }
    if (c->own.len && bytes_eq(c->own, zone->name))
        z->own = z->count;
    for (uint32_t i = 0; i < count; i++)
        z->zone_of[first + i] = (uint8_t)z->count;
    err e = z->within->open(c->within.conf, servers + first, count, &zone->state, reterr);
    if (!e)
        z->count++;
    return e;
}

static void zone_close(void *state)
{
    struct zones *z = state;
    for (uint32_t i = 0; i < z->count; i++)
        z->within->close(z->at[i].state);
#if WEIR_HAVE_MAXMINDDB
    if (z->is_open)
        MMDB_close(&z->database);
#endif
    mem_free(z);
}

static err zone_open(const void *conf, const struct server *servers, uint32_t count, void **ret_state,
                     struct diag *reterr)
{
    const struct zone_conf *c = conf;
    err e = OK;
    struct zones *z = mem_get(sizeof *z + count);
    if (!z)
        return ERR_MEMORY;
    z->within = within_balancers[c->within.index];
    z->spill_below = c->spill_below;
    z->own = UINT32_MAX;
    z->by_client = c->database.len > 0;
    for (uint32_t first = 0, end = 1; !e && first < count; first = end++) {
        while (end < count && bytes_eq(servers[end].conf->zone, servers[first].conf->zone))
            end++;
        e = open_zone(z, c, servers, first, end - first, reterr);
    }
#if WEIR_HAVE_MAXMINDDB
    if (!e && z->by_client)
        e = open_database(&z->database, c, reterr);
    z->is_open = !e && z->by_client;
#endif
    if (e) {
        zone_close(z);
        return e;
    }
    *ret_state = z;
    return OK;
}

/* ---- the choice ---- */

static double capacity_of(struct zones *z, uint32_t i, const struct server *servers, const struct pick *p)
{
    struct zone *zone = &z->at[i];
    const uint32_t well = pick_count_well(&zone->well, servers + zone->first, zone->count, p->now_us);
    return pick_capacity(well, zone->count, z->spill_below);
}

/* By distance from the client, nearest first; the same places in the order of the file. */
static void order_by_distance(const struct zones *z, const struct pick *p, uint8_t *order)
{
    for (uint32_t i = 0; i < z->count; i++) {
        uint32_t at = i;
        const float near = nearness(p->place, z->at[i].place);
        for (; at && near > nearness(p->place, z->at[order[at - 1]].place); at--)
            order[at] = order[at - 1];
        order[at] = (uint8_t)i;
    }
}

/* The own one first; then all others, in an order drawn anew each time, by how many are well in them. */
static void order_by_own(const struct zones *z, uint8_t *order)
{
    uint32_t filled = 0;
    uint64_t left = 0;
    for (uint32_t i = 0; i < z->count; i++) {
        order[i] = (uint8_t)i;
        left += i == z->own ? 0 : z->at[i].well.well;
    }
    if (z->own < z->count) {
        order[z->own] = order[0];
        order[0] = (uint8_t)z->own;
        filled = 1;
    }
    for (; filled < z->count && left; filled++) {
        uint64_t drawn = random_u64() % left;
        uint32_t i = filled;
        for (; i + 1 < z->count && drawn >= z->at[order[i]].well.well; i++)
            drawn -= z->at[order[i]].well.well;
        const uint8_t chosen = order[i];
        order[i] = order[filled];
        order[filled] = chosen;
        left -= z->at[chosen].well.well;
    }
}

static uint32_t pick_within(struct zones *z, uint32_t i, const struct server *servers, const struct pick *p)
{
    const struct zone *zone = &z->at[i];
    const uint32_t picked = z->within->pick(zone->state, servers + zone->first, zone->count, p);
    return picked == PICK_NONE ? PICK_NONE : zone->first + picked;
}

static uint32_t zone_pick(void *state, const struct server *servers, uint32_t count, const struct pick *p)
{
    (void)count;
    struct zones *z = state;
    const bool by_client = z->by_client && is_known(p->place);
    uint8_t order[ZONES_MAX];
    double capacity[ZONES_MAX];
    uint32_t picked = PICK_NONE;
    if (!by_client && z->own < z->count && !p->any && capacity_of(z, z->own, servers, p) >= 1)
        picked = pick_within(z, z->own, servers, p); /* the usual case */
    if (picked != PICK_NONE)
        return picked;
    for (uint32_t i = 0; i < z->count; i++)
        capacity[i] = capacity_of(z, i, servers, p);
    if (by_client)
        order_by_distance(z, p, order);
    else
        order_by_own(z, order);
    double in_order[ZONES_MAX];
    for (uint32_t i = 0; i < z->count; i++)
        in_order[i] = capacity[order[i]];
    const uint32_t chosen = p->any ? z->count : pick_in_line(in_order, z->count, pick_random());
    if (chosen < z->count)
        picked = pick_within(z, order[chosen], servers, p);
    for (uint32_t i = 0; picked == PICK_NONE && i < z->count; i++)
        picked = pick_within(z, order[i], servers, p);
    return picked;
}

static void zone_prepare(void *state, struct pick *p)
{
    struct zones *z = state;
#if WEIR_HAVE_MAXMINDDB
    if (z->by_client)
        find_client(z, p);
#endif
    if (z->within->prepare && z->count)
        z->within->prepare(z->at[0].state, p);
}

static void zone_load(void *state, uint32_t i, int32_t change)
{
    struct zones *z = state;
    const struct zone *zone = &z->at[z->zone_of[i]];
    if (z->within->load)
        z->within->load(zone->state, i - zone->first, change);
}

static void zone_done(void *state, const struct server *servers, uint32_t i, const struct outcome *o)
{
    struct zones *z = state;
    const struct zone *zone = &z->at[z->zone_of[i]];
    if (z->within->done)
        z->within->done(zone->state, servers + zone->first, i - zone->first, o);
}

static void zone_report(void *state, const struct server *servers, uint32_t count, struct text *json)
{
    (void)count;
    const struct zones *z = state;
    json_begin(json, "zones", '[');
    for (uint32_t i = 0; i < z->count; i++) {
        const struct zone *zone = &z->at[i];
        json_begin(json, NULL, '{');
        json_text(json, "zone", zone->name);
        json_bool(json, "own", i == z->own);
        json_u64(json, "servers", zone->count);
        json_u64(json, "well", zone->well.well);
        if (z->within->report)
            z->within->report(zone->state, servers + zone->first, zone->count, json);
        json_end(json, '}');
    }
    json_end(json, ']');
}

static err zone_check(void *conf, struct diag *reterr)
{
    const struct zone_conf *c = conf;
    if (!c->own.len && !c->database.len) {
        diag_set(reterr, "zone wants to know what is near: `own`, or `database` and `places`");
        return ERR_CONF;
    }
    if (c->database.len && !c->places.count) {
        diag_set(reterr, "zone: with a database `places` says where the zones are");
        return ERR_CONF;
    }
#if !WEIR_HAVE_MAXMINDDB
    if (c->database.len) {
        diag_set(reterr, "zone: database: this weir was built without libmaxminddb");
        return ERR_UNSUPPORTED;
    }
#endif
    const struct conf_pair *places = c->places.items;
    for (size_t i = 0; i < c->places.count; i++) {
        float place[3];
        if (!parse_place(places[i].value, place)) {
            diag_set(reterr, "zone: \"%s\" is not a place: expected latitude,longitude like 52.52,13.40",
                     places[i].value.ptr);
            return ERR_CONF;
        }
    }
    return OK;
}

const struct balancer zone_balancer = {
    .conf = { .name = "zone",
              .size = sizeof(struct zone_conf),
              .phrases = (const char *const[]){ "{own}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "own",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct zone_conf, own),
                        .doc = "the zone that weir itself is in: preferred, unless the client's place is "
                               "known" },
                      { .name = "database",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct zone_conf, database),
                        .doc =
                            "a MaxMind database (GeoLite2-City.mmdb) with the places of clients: the nearest "
                            "zone is preferred" },
                      { .name = "places",
                        .type = CONF_PAIRS,
                        .offset = offsetof(struct zone_conf, places),
                        .max = ZONES_MAX,
                        .doc = "where the zones are: `{eu-1: \"52.52,13.40\"}`, latitude and longitude" },
                      { .name = "within",
                        .type = CONF_MODULE,
                        .offset = offsetof(struct zone_conf, within),
                        .preset = "least_request",
                        .modules = within_confs,
                        .doc = "how to choose inside the zone" },
                      { .name = "spill_below",
                        .type = CONF_PERCENT,
                        .offset = offsetof(struct zone_conf, spill_below),
                        .preset = "70%",
                        .min = 0.01,
                        .max = 1,
                        .doc =
                            "with a smaller share of its servers well, a zone gives requests to the next" },
                      { 0 } },
              .check = zone_check,
              .doc =
                  "The servers of one's own zone, or of the one nearest to the client; others when these are "
                  "not well enough." },
    .check = zone_check_service,
    .open = zone_open,
    .prepare = zone_prepare,
    .pick = zone_pick,
    .load = zone_load,
    .done = zone_done,
    .report = zone_report,
    .close = zone_close,
};
