#include "gate/trusted_proxies.h"

#include "base/mem.h"
#include "base/must.h"
#include "base/test.h"
#include "gate/exchange.h"

static struct trusted_proxies *opened(const char *from, enum forwarded_field header)
{
    static struct bytes texts[8];
    struct bytes rest = bytes_from(from);
    struct trusted_proxies_conf c = { .from = { texts, 0 }, .header = (int)header };
    struct trusted_proxies *t;
    struct diag d = DIAG_NONE;
    while (bytes_split(&rest, ' ', &texts[c.from.count]))
        c.from.count++;
    must(trusted_proxies_open(&c, &t, &d) == OK);
    return t;
}

static struct addr ip(const char *text)
{
    struct addr a;
    must(cidr_parse_ip(bytes_from(text), &a) == OK);
    return a;
}

/* A field for each line of text, of one name. */
static struct http_fields fields_of(struct http_field *room, const char *name, const char *text)
{
    struct http_fields f = { .at = room, .count_max = 8 };
    struct bytes rest = bytes_from(text);
    struct bytes line;
    while (bytes_split(&rest, '\n', &line))
        must(http_fields_add(&f, NULL, bytes_from(name), line) == OK);
    return f;
}

static const struct {
    const char *list, *client;
} x_cases[] = {
    { "", "10.0.0.5" },
    { "203.0.113.7", "203.0.113.7" },
    { "203.0.113.7, 10.0.0.9", "203.0.113.7" },
    { "1.1.1.1, 203.0.113.7", "203.0.113.7" }, /* what is further left anybody may have made up */
    { "10.0.0.1, 203.0.113.7, 10.0.0.9", "203.0.113.7" },
    { "10.0.0.1, 10.0.0.2", "10.0.0.1" },       /* all trusted: the first of them */
    { "203.0.113.7\n10.0.0.9", "203.0.113.7" }, /* several lines are one list */
    { "10.0.0.9\n203.0.113.7", "203.0.113.7" },
    { "203.0.113.7, unknown, 10.0.0.9", "10.0.0.9" }, /* nobody knows who asked 10.0.0.9 */
    { "203.0.113.7, unknown", "10.0.0.5" },
    { "unknown, 203.0.113.7", "203.0.113.7" },
    { "203.0.113.7:4711", "203.0.113.7" },
    { "[2001:db8::1]:4711", "2001:db8::1" },
    { "[2001:db8::1]", "2001:db8::1" },
    { "2001:db8::1", "2001:db8::1" },
    { ", ,203.0.113.7,, ", "203.0.113.7" },
    { "203.0.113.7:x", "10.0.0.5" },
    { "203.0.113.7:99999", "10.0.0.5" },
    { "[203.0.113.7]", "10.0.0.5" },
    { "203.0.113.7 10.0.0.9", "10.0.0.5" },
    { "203.0.113.256", "10.0.0.5" },
    { "[2001:db8::1", "10.0.0.5" },
    { "\"203.0.113.7\"", "10.0.0.5" },
    { "::ffff:10.0.0.7, 203.0.113.7, ::ffff:10.0.0.9", "203.0.113.7" },
};

static void check_client(const struct trusted_proxies *t, const char *name, const char *list,
                         const char *client)
{
    struct http_field room[8];
    struct http_fields fields = fields_of(room, name, list);
    struct addr peer = ip("10.0.0.5");
    struct forwarded f;
    char text[ADDR_TEXT_BYTES_MAX];
    assert_int_equal(forwarded_read(t, &fields, &peer, &f), OK);
    addr_print_ip(&f.client, text);
    if (strcmp(text, client) != 0)
        fail_msg("%s: %s gives %s, not %s", name, list, text, client);
}

static void the_rightmost_that_is_not_trusted(void **state)
{
    (void)state;
    struct trusted_proxies *t = opened("10.0.0.0/8", FORWARDED_BY_X);
    for (unsigned i = 0; i < sizeof x_cases / sizeof *x_cases; i++)
        check_client(t, "X-Forwarded-For", x_cases[i].list, x_cases[i].client);
    check_client(t, "Forwarded", "for=203.0.113.7", "10.0.0.5"); /* not the field that was named */
    trusted_proxies_close(t);
}

static const struct {
    const char *list, *client, *scheme;
} forwarded_cases[] = {
    { "for=203.0.113.7", "203.0.113.7", "" },
    { "For=203.0.113.7;proto=HTTPS;by=10.0.0.9", "203.0.113.7", "https" },
    { "proto=https; for=203.0.113.7, for=10.0.0.9;proto=http", "203.0.113.7", "https" },
    { "for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17", "" },
    { "for=1.1.1.1, for=\"203.0.113.7:80\", for=10.0.0.9", "203.0.113.7", "" },
    { "for=203.0.113.7;host=\"a,for=6.6.6.6;x=\"", "203.0.113.7", "" }, /* a separator in quotes is none */
    { "for=203.0.113.7;host=\"a\\\",for=6.6.6.6\"", "203.0.113.7", "" },
    { "for=203.0.113.7, for=_hidden, for=10.0.0.9", "10.0.0.9", "" },
    { "for=203.0.113.7, by=10.0.0.9", "10.0.0.5", "" },
    { "for=203.0.113.7, for=unknown", "10.0.0.5", "" },
    { "203.0.113.7", "10.0.0.5", "" },
    { "for=203.0.113.7;proto=ftp", "203.0.113.7", "" },
    { "for=203.0.113.7\nfor=10.0.0.9;proto=https", "203.0.113.7", "" },
};

static void forwarded_is_read_as_well(void **state)
{
    (void)state;
    struct trusted_proxies *t = opened("10.0.0.0/8 ::1", FORWARDED_BY_RFC7239);
    for (unsigned i = 0; i < sizeof forwarded_cases / sizeof *forwarded_cases; i++) {
        struct http_field room[8];
        struct http_fields fields = fields_of(room, "Forwarded", forwarded_cases[i].list);
        struct addr peer = ip("10.0.0.5");
        struct forwarded f;
        check_client(t, "Forwarded", forwarded_cases[i].list, forwarded_cases[i].client);
        assert_int_equal(forwarded_read(t, &fields, &peer, &f), OK);
        assert_bytes_equal(f.scheme, bytes_from(forwarded_cases[i].scheme));
    }
    check_client(t, "X-Forwarded-For", "203.0.113.7", "10.0.0.5");
    trusted_proxies_close(t);
}

/* A client that leaves a quote open would hide what the proxy behind it has appended. */
static void an_open_quote_is_refused(void **state)
{
    (void)state;
    static const char *const lists[] = { "for=\", for=203.0.113.7", "for=\"a, for=\"[2001:db8::1]\"",
                                         "for=\"\\\", for=1.1.1.1", "for=\"\\" };
    struct trusted_proxies *t = opened("10.0.0.0/8", FORWARDED_BY_RFC7239);
    for (unsigned i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct http_field room[8];
        struct http_fields fields = fields_of(room, "Forwarded", lists[i]);
        struct addr peer = ip("10.0.0.5");
        struct forwarded f;
        assert_int_equal(forwarded_read(t, &fields, &peer, &f), ERR_SYNTAX);
    }
    trusted_proxies_close(t);
}

static void open_exchange(struct exchange *x, struct http_field *room, const struct addr *peer)
{
    *x = (struct exchange){ .client = peer,
                            .scheme = "http",
                            .request.fields = { .at = room, .count_max = 8 } };
    arena_open(&x->arena, &arena_heap, 1 << 20, NULL, 0);
    must(http_fields_add(&x->request.fields, NULL, BYTES("X-Forwarded-For"), BYTES("203.0.113.7")) == OK);
    must(http_fields_add(&x->request.fields, NULL, BYTES("X-Forwarded-Proto"), BYTES("http, https")) == OK);
    must(http_fields_add(&x->request.fields, NULL, BYTES("X-Forwarded-Host"), BYTES("shop.example")) == OK);
    must(http_fields_add(&x->request.fields, NULL, BYTES("Forwarded"), BYTES("for=203.0.113.7")) == OK);
}

static void an_exchange_gets_its_client(void **state)
{
    (void)state;
    struct trusted_proxies *t = opened("10.0.0.0/8", FORWARDED_BY_X);
    struct http_field room[8];
    struct exchange x;
    struct addr trusted = ip("10.0.0.5");
    struct addr other = ip("192.0.2.1");
    char text[ADDR_TEXT_BYTES_MAX];

    open_exchange(&x, room, &trusted);
    assert_int_equal(trusted_proxies_apply(t, &x), OK);
    addr_print_ip(x.client, text);
    assert_string_equal(text, "203.0.113.7");
    assert_ptr_equal(x.peer, &trusted);
    assert_string_equal(x.scheme, "https");
    assert_non_null(http_fields_get(&x.request.fields, FIELD_X_FORWARDED_FOR));
    arena_close(&x.arena);

    open_exchange(&x, room, &other);
    assert_int_equal(trusted_proxies_apply(t, &x), OK);
    assert_ptr_equal(x.client, &other);
    assert_null(x.peer);
    assert_string_equal(x.scheme, "http");
    for (uint32_t i = 0; i < x.request.fields.count; i++)
        assert_true(x.request.fields.at[i].flags & FIELD_REMOVED);
    arena_close(&x.arena);
    trusted_proxies_close(t);
}

static void settings_are_checked(void **state)
{
    (void)state;
    struct bytes wrong = BYTES("10.0.0.1/8");
    struct trusted_proxies_conf c = { .from = { &wrong, 1 } };
    struct trusted_proxies *t;
    struct diag d = DIAG_NONE;
    assert_int_equal(trusted_proxies_struct.check(&c, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "10.0.0.0/8"));
    assert_int_equal(trusted_proxies_open(NULL, &t, &d), OK);
    assert_null(t);
    wrong = BYTES("private");
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        mem_fail_at(n);
        e = trusted_proxies_open(&c, &t, &d);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 20));
    }
    trusted_proxies_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rightmost_that_is_not_trusted),
        cmocka_unit_test(forwarded_is_read_as_well),
        cmocka_unit_test(an_open_quote_is_refused),
        cmocka_unit_test(an_exchange_gets_its_client),
        cmocka_unit_test(settings_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
