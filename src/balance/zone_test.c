#include "balance/zone.c"

#include <stdio.h>

#include "balance/servers_test.h"
#include "base/test.h"

static struct test_servers servers;
static struct server_conf confs[SERVERS_MAX];
static struct service_conf service;
static struct zones *zones;
static uint64_t now_us;

static const struct conf_pair places[] = { { BYTES("eu"), BYTES("52.5,13.4") },
                                           { BYTES("us"), BYTES("40.7, -74.0") },
                                           { BYTES("au"), BYTES("-33.9,151.2") } };

/* within: round_robin, which needs no settings. zones_of: a letter a server; "eeeuua" */
static err open_zones(const char *zones_of, const char *own, bool by_client, struct diag *reterr)
{
    static const struct bytes names[] = { BYTES("eu"), BYTES("us"), BYTES("au") };
    const uint32_t count = (uint32_t)strlen(zones_of);
    test_servers_init(&servers, count, NULL);
    service = (struct service_conf){ .name = BYTES("shop"), .servers = { confs, count } };
    for (uint32_t i = 0; i < count; i++) {
        confs[i] = (struct server_conf){ .zone = names[zones_of[i] == 'e' ? 0 : zones_of[i] == 'u' ? 1 : 2] };
        servers.at[i].conf = &confs[i];
    }
    struct zone_conf conf = { .own = bytes_from(own), .spill_below = 0.7 };
    if (by_client)
        conf.places = (struct conf_list){ (void *)(uintptr_t)places, 3 };
    void *state = NULL;
    err e = zone_check_service(&conf, &service, reterr);
    if (!e)
        e = zone_open(&conf, servers.at, count, &state, reterr);
    zones = state;
    if (!e)
        zones->by_client = by_client; /* the place is put into the pick: no database */
    now_us = 1;
    random_seed(1);
    return e;
}

static void begin(const char *zones_of, const char *own, bool by_client)
{
    assert_int_equal(open_zones(zones_of, own, by_client, NULL), OK);
}

static void set_down(uint32_t from, uint32_t to, bool down)
{
    test_servers_set_down(&servers, from, to, down);
    now_us += WELL_COUNT_US;
}

/* How many of 10,000 picks went to the servers of each zone, in the order of the file. */
static void pick_many(struct pick p, uint32_t got[3])
{
    memset(got, 0, 3 * sizeof *got);
    p.now_us = now_us;
    for (int i = 0; i < 10000; i++) {
        const uint32_t picked = zone_pick(zones, servers.at, servers.count, &p);
        assert_true(picked < servers.count);
        got[zones->zone_of[picked]]++;
    }
}

static void the_own_zone_is_preferred_and_spills_by_its_health(void **unused)
{
    (void)unused;
    uint32_t got[3];
    begin("eeeeuuuuaa", "eu", false);
    pick_many((struct pick){ 0 }, got);
    assert_int_equal(got[0], 10000);
    set_down(0, 1, true); /* 75% are enough */
    pick_many((struct pick){ 0 }, got);
    assert_int_equal(got[0], 10000);
    set_down(0, 2, true); /* 50 / 70; the rest by how many are well: 4 to 2 */
    pick_many((struct pick){ 0 }, got);
    assert_in_range(got[0], 7143 - 250, 7143 + 250);
    assert_in_range(got[1], 1905 - 250, 1905 + 250);
    assert_in_range(got[2], 952 - 200, 952 + 200);
    set_down(0, 4, true);
    pick_many((struct pick){ 0 }, got);
    assert_int_equal(got[0], 0);
    assert_in_range(got[1], 6667 - 300, 6667 + 300);
    set_down(4, 10, true); /* all are gone; in panic one's own are asked */
    const struct pick p = { .now_us = now_us };
    assert_int_equal(zone_pick(zones, servers.at, servers.count, &p), PICK_NONE);
    pick_many((struct pick){ .any = true }, got);
    assert_int_equal(got[0], 10000);
    zone_close(zones);
}

static void a_further_try_leaves_the_zone_when_it_must(void **unused)
{
    (void)unused;
    begin("eeu", "eu", false);
    struct pick p = { .now_us = 1, .tried = { 0 }, .tried_count = 1 };
    assert_int_equal(zone_pick(zones, servers.at, 3, &p), 1);
    p.tried[p.tried_count++] = 1;
    assert_int_equal(zone_pick(zones, servers.at, 3, &p), 2);
    p.tried[p.tried_count++] = 2;
    assert_int_equal(zone_pick(zones, servers.at, 3, &p), PICK_NONE);
    zone_close(zones);
}

static struct pick client_at(double latitude, double longitude)
{
    struct pick p = { 0 };
    place_of(latitude, longitude, p.place);
    return p;
}

static void the_nearest_to_the_client_is_preferred(void **unused)
{
    (void)unused;
    uint32_t got[3];
    begin("eeuuaa", "", true);
    pick_many(client_at(48.9, 2.3), got); /* Paris */
    assert_int_equal(got[0], 10000);
    pick_many(client_at(19.4, -99.1), got); /* Mexico City */
    assert_int_equal(got[1], 10000);
    pick_many(client_at(35.7, 139.7), got); /* Tokyo: Sydney is nearer than Berlin */
    assert_int_equal(got[2], 10000);
    pick_many(client_at(-17.7, -179.9), got); /* Fiji, behind the date line */
    assert_int_equal(got[2], 10000);
    set_down(0, 1, true); /* half of Berlin: the rest goes to the next nearest, and no further */
    pick_many(client_at(48.9, 2.3), got);
    assert_in_range(got[0], 7143 - 250, 7143 + 250);
    assert_int_equal(got[0] + got[1], 10000);
    set_down(0, 4, true);
    pick_many(client_at(48.9, 2.3), got);
    assert_int_equal(got[2], 10000);
    set_down(0, 4, false);
    pick_many((struct pick){ 0 }, got); /* a client of no known place: by how many are well */
    for (int i = 0; i < 3; i++)
        assert_in_range(got[i], 3333 - 300, 3333 + 300);
    zone_close(zones);
    begin("eeuuaa", "us", true); /* ... or one's own */
    pick_many((struct pick){ 0 }, got);
    assert_int_equal(got[1], 10000);
    pick_many(client_at(48.9, 2.3), got);
    assert_int_equal(got[0], 10000);
    zone_close(zones);
}

static void places_are_read(void **unused)
{
    (void)unused;
    float place[3];
    assert_true(parse_place(BYTES("0,0"), place) && place[0] > 0.999f);
    assert_true(parse_place(BYTES(" -90 , 17.5 "), place) && place[2] < -0.999f);
    static const char *const wrong[] = { "",    "1",   "1,",    ",1",   "91,0",    "0,181",    "1,2,3",
                                         "1;2", "a,b", "nan,0", "0x,1", "1e999,1", "52.5 13.4" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(parse_place(bytes_from(wrong[i]), place));
}

static void mistakes_are_named(void **unused)
{
    (void)unused;
    struct diag d = DIAG_NONE;
    assert_int_equal(open_zones("eeu", "au", false, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "no server of \"shop\" is in the zone \"au\""));
    d = DIAG_NONE;
    assert_int_equal(open_zones("eeu", "eu", true, &d), ERR_CONF); /* au has a place and no server */
    assert_non_null(strstr(d.text, "places"));
    d = DIAG_NONE;
    struct zone_conf conf = { 0 };
    assert_int_equal(zone_check(&conf, &d), ERR_CONF);
}

static void no_memory_is_said(void **unused)
{
    (void)unused;
    begin("eeuu", "eu", false);
    zone_close(zones);
    for (uint64_t n = 1; n <= 5; n++) {
        mem_fail_at(n);
        assert_int_equal(open_zones("eeuu", "eu", false, NULL), ERR_MEMORY);
        mem_fail_at(0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_own_zone_is_preferred_and_spills_by_its_health),
        cmocka_unit_test(a_further_try_leaves_the_zone_when_it_must),
        cmocka_unit_test(the_nearest_to_the_client_is_preferred),
        cmocka_unit_test(places_are_read),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
