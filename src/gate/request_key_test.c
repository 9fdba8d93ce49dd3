#include "gate/request_key.h"

#include "base/test.h"
#include "gate/gate.h"

/* ---- as it is written ---- */

static struct request_key key_of(const char *text)
{
    struct request_key key;
    struct diag d = DIAG_NONE;
    const err e = request_key_parse(bytes_from(text), &key, &d);
    if (e)
        print_error("%s\n", d.text);
    assert_int_equal(e, OK);
    return key;
}

static void words_and_names(void **state)
{
    (void)state;
    assert_int_equal(key_of("all").kind, REQUEST_KEY_ALL);
    assert_int_equal(key_of(" route ").kind, REQUEST_KEY_ROUTE);
    assert_int_equal(key_of("ip").prefix_bytes, 8);
    assert_int_equal(key_of("ip/48").prefix_bytes, 6);
    assert_int_equal(key_of("ip/128").kind, REQUEST_KEY_IP);
    assert_int_equal(key_of("header  cookie").field, FIELD_COOKIE);
    assert_int_equal(key_of("header X-Api-Key").field, FIELD_OTHER);
    assert_bytes_equal(key_of("header X-Api-Key").name, BYTES("X-Api-Key"));
    assert_bytes_equal(key_of("cookie SID").name, BYTES("SID"));
    assert_bytes_equal(key_of("query a b").name, BYTES("a b"));
}

static void refused(const char *text, const char *words)
{
    struct request_key key;
    struct diag d = DIAG_NONE;
    assert_int_equal(request_key_parse(bytes_from(text), &key, &d), ERR_CONF);
    if (!strstr(d.text, words))
        print_error("\"%s\": %s\n", text, d.text);
    assert_non_null(strstr(d.text, words));
}

static void mistakes_are_named(void **state)
{
    (void)state;
    refused("", "expected ip");
    refused("ipp", "expected ip");
    refused("IP", "expected ip");
    refused("ip 3", "takes no name");
    refused("ip/", "multiple of 8");
    refused("ip/8", "multiple of 8");
    refused("ip/63", "multiple of 8");
    refused("ip/136", "multiple of 8");
    refused("header", "header NAME");
    refused("cookie ", "cookie NAME");
    refused("header X Y", "cannot be the name");
    refused("cookie a;b", "cannot be the name");
}

/* ---- of a request ---- */

static struct exchange x;
static struct addr client;

static void exchange_of(const char *address)
{
    static const struct route_conf conf = { .match = { "shop/api/*", 10 } };
    static const struct route route = { .conf = &conf };
    x = (struct exchange){ .route = &route };
    arena_open(&x.arena, &arena_heap, 1 << 16, NULL, 0);
    if (address) {
        assert_int_equal(addr_parse(bytes_from(address), &client), OK);
        x.client = &client;
    }
    x.request.path = BYTES("/a/b");
    x.request.query = BYTES("user=ann%20b&v=1");
    x.request.authority = BYTES("Shop.example:8080");
    assert_int_equal(http_fields_add(&x.request.fields, &x.arena, BYTES("x-api-key"), BYTES("k1")), OK);
    assert_int_equal(http_fields_add(&x.request.fields, &x.arena, BYTES("Cookie"), BYTES("SID=s1")), OK);
}

static void gives(const char *key_text, struct bytes wanted)
{
    const struct request_key key = key_of(key_text);
    assert_bytes_equal(request_key_of(&key, &x), wanted);
}

static void each_kind_gives_its_bytes(void **state)
{
    (void)state;
    exchange_of("10.1.2.3:4");
    gives("all", BYTES("all"));
    gives("route", BYTES("shop/api/*"));
    gives("ip", BYTES("\12\1\2\3"));
    gives("host", BYTES("shop.example"));
    gives("path", BYTES("/a/b"));
    gives("header X-Api-Key", BYTES("k1"));
    gives("header Cookie", BYTES("SID=s1"));
    gives("cookie SID", BYTES("s1"));
    gives("query user", BYTES("ann b"));
    gives("query v", BYTES("1"));
    arena_close(&x.arena);
}

static void what_is_not_there_is_empty(void **state)
{
    (void)state;
    exchange_of(NULL);
    gives("ip", BYTES_NONE);
    gives("header X-Other", BYTES_NONE);
    gives("header Referer", BYTES_NONE);
    gives("cookie sid", BYTES_NONE);
    gives("query User", BYTES_NONE);
    x.request.authority = BYTES_NONE;
    gives("host", BYTES_NONE);
    x.route = NULL;
    gives("route", BYTES_NONE);
    arena_close(&x.arena);
    exchange_of("unix:/run/x");
    gives("ip", BYTES_NONE);
    arena_close(&x.arena);
}

static void an_ipv6_client_is_its_prefix(void **state)
{
    (void)state;
    exchange_of("[2001:db8:1:2:3:4:5:6]:7");
    gives("ip", BYTES("\x20\x01\x0d\xb8\0\1\0\2"));
    gives("ip/48", BYTES("\x20\x01\x0d\xb8\0\1"));
    gives("ip/128", BYTES("\x20\x01\x0d\xb8\0\1\0\2\0\3\0\4\0\5\0\6"));
    arena_close(&x.arena);
    exchange_of("[::ffff:10.1.2.3]:7");
    gives("ip", BYTES("\12\1\2\3"));
    arena_close(&x.arena);
}

static void a_host_loses_its_port_and_case(void **state)
{
    (void)state;
    exchange_of(NULL);
    x.request.authority = BYTES("shop");
    gives("host", BYTES("shop"));
    x.request.authority = BYTES("[::1]:80");
    gives("host", BYTES("[::1"));
    arena_close(&x.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_names),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(each_kind_gives_its_bytes),
        cmocka_unit_test(what_is_not_there_is_empty),
        cmocka_unit_test(an_ipv6_client_is_its_prefix),
        cmocka_unit_test(a_host_loses_its_port_and_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
