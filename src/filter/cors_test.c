#include "filter/fakes_test.h"
/* first the fakes */
#include "filter/cors.c"

#include <stdio.h>

#include "base/test.h"

static struct cors_conf conf_of(struct bytes *origins, size_t count)
{
    static struct bytes methods[] = { { "GET", 3 }, { "PUT", 3 } };
    return (
        struct cors_conf){ .origins = { origins, count }, .methods = { methods, 2 }, .max_age_ms = 600000 };
}

static struct cors *opened(const struct cors_conf *c)
{
    void *state;
    struct diag d = DIAG_NONE;
    if (cors_open(c, NULL, BYTES("/*"), &state, &d) != OK)
        fail_msg("%s", d.text);
    return state;
}

struct asked_fields {
    const char *origin, *method, *headers, *network;
};

static struct http_field room[16];

static void server_answers(struct exchange *x)
{
    x->response = (struct http_response){ .status = 200, .fields = { .at = room, .count_max = 16 } };
    must(http_fields_add(&x->response.fields, NULL, BYTES("access-control-allow-origin"), BYTES("*")) == OK);
    must(http_fields_add(&x->response.fields, NULL, BYTES("Vary"), BYTES("Accept")) == OK);
}

static void add(struct exchange *x, const char *name, const char *value)
{
    if (value)
        must(http_fields_add(&x->request.fields, &x->arena, bytes_from(name), bytes_from(value)) == OK);
}

static void ask(struct exchange *x, struct cors *c, enum http_method method, const struct asked_fields *f)
{
    fake_exchange_open(x);
    fake.on_chain = server_answers;
    x->request.method = method;
    add(x, "Origin", f->origin);
    add(x, "Access-Control-Request-Method", f->method);
    add(x, "Access-Control-Request-Headers", f->headers);
    add(x, "Access-Control-Request-Private-Network", f->network);
    assert_int_equal(cors_handle(x, c, NULL), OK);
}

/* All values of a field, joined by bars. */
static const char *values(const struct exchange *x, const char *name)
{
    static char text[600];
    text[0] = 0;
    for (uint32_t i = 0; i < x->response.fields.count; i++) {
        const struct http_field *f = &x->response.fields.at[i];
        if (f->flags & FIELD_REMOVED || !bytes_eq_nocase(http_field_name(f), bytes_from(name)))
            continue;
        size_t len = strlen(text);
        snprintf(text + len, sizeof text - len, "%s%.*s", len ? "|" : "", BYTES_ARG(http_field_value(f)));
    }
    return text;
}

static bool allows(struct cors *c, const char *origin)
{
    struct exchange x;
    ask(&x, c, HTTP_GET, &(struct asked_fields){ .origin = origin });
    const char *got = values(&x, "Access-Control-Allow-Origin");
    bool fine = strcmp(got, origin) == 0;
    assert_true(fine || !*got);
    assert_string_equal(values(&x, "Vary"), "Accept|Origin");
    fake_exchange_close(&x);
    return fine;
}

static void origins_are_told_apart(void **state)
{
    (void)state;
    struct bytes origins[] = {
        BYTES("https://shop.example"),
        BYTES("https://*.shop.example"),
        BYTES("http://localhost:*"),
        BYTES("null"),
        BYTES("https://a-*.b:8443"),
#if WEIR_HAVE_PCRE2
        BYTES("~https://pr-[0-9]+\\.preview\\.example")
#endif
    };
    struct cors_conf conf = conf_of(origins, sizeof origins / sizeof *origins);
    struct cors *c = opened(&conf);
    static const char *const good[] = {
        "https://shop.example",
        "https://a.shop.example",
        "https://a.b.shop.example",
        "http://localhost:8080",
        "null",
        "https://a-x.b:8443",
#if WEIR_HAVE_PCRE2
        "https://pr-12.preview.example"
#endif
    };
    static const char *const bad[] = {
        "http://shop.example",
        "https://shop.example:8443",
        "https://evil.example",
        "https://shop.example.evil",
        "https://evilshop.example",
        "https://.shop.example",
        "https://evil/.shop.example",
        "https://evil:1.shop.example",
        "http://localhost",
        "http://localhost:",
        "http://localhost:80@evil",
        "https://a-.b:8443",
        "NULL",
        "*",
        "https://pr-.preview.example",
        "https://pr-1.preview.example.evil",
        "xhttps://pr-1.preview.example",
        "https://pr-1.preview.example\n",
        "https://pr-1xpreview.example",
    };
    for (unsigned i = 0; i < sizeof good / sizeof *good; i++) {
        if (!allows(c, good[i]))
            fail_msg("%s", good[i]);
    }
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (allows(c, bad[i]))
            fail_msg("%s", bad[i]);
    }
    assert_int_equal(metric_value(c->metrics, METRIC_REFUSED), sizeof bad / sizeof *bad);
    cors_close(c);
}

static void a_preflight_is_answered_here(void **state)
{
    (void)state;
    struct bytes origins[] = { BYTES("https://shop.example") };
    struct bytes headers[] = { BYTES("X-Token"), BYTES("X-Other") };
    struct cors_conf conf = conf_of(origins, 1);
    conf.headers = (struct conf_list){ headers, 2 };
    conf.credentials = true;
    struct cors *c = opened(&conf);
    struct exchange x;
    fake.chained = 0;
    ask(&x, c, HTTP_OPTIONS, &(struct asked_fields){ "https://shop.example", "PUT", "x-token", "true" });
    assert_int_equal(x.response.status, 204);
    assert_string_equal(values(&x, "Access-Control-Allow-Origin"), "https://shop.example");
    assert_string_equal(values(&x, "Access-Control-Allow-Credentials"), "true");
    assert_string_equal(values(&x, "Access-Control-Allow-Methods"), "GET, PUT");
    assert_string_equal(values(&x, "Access-Control-Allow-Headers"), "X-Token, X-Other");
    assert_string_equal(values(&x, "Access-Control-Max-Age"), "600");
    assert_string_equal(values(&x, "Access-Control-Allow-Private-Network"), "");
    assert_true(strncmp(values(&x, "Vary"), "Origin, Access-Control-Request-Method", 36) == 0);
    fake_exchange_close(&x);

    ask(&x, c, HTTP_OPTIONS, &(struct asked_fields){ "https://evil.example", "PUT", NULL, NULL });
    assert_int_equal(x.response.status, 403);
    assert_string_equal(values(&x, "Access-Control-Allow-Origin"), "");
    assert_string_equal(values(&x, "Access-Control-Allow-Credentials"), "");
    assert_true(strncmp(values(&x, "Vary"), "Origin", 6) == 0);
    fake_exchange_close(&x);
    assert_int_equal(fake.chained, 0);
    assert_int_equal(metric_value(c->metrics, METRIC_PREFLIGHTS), 1);
    assert_int_equal(metric_value(c->metrics, METRIC_REFUSED), 1);
    cors_close(c);
}

static void other_options_go_to_the_server(void **state)
{
    (void)state;
    struct bytes origins[] = { BYTES("https://shop.example") };
    struct cors_conf conf = conf_of(origins, 1);
    struct cors *c = opened(&conf);
    static const struct asked_fields plain[] = { { "https://shop.example", NULL, NULL, NULL },
                                                 { NULL, "PUT", NULL, NULL },
                                                 { "https://shop.example", "no token", NULL, NULL } };
    fake.chained = 0;
    for (unsigned i = 0; i < 3; i++) {
        struct exchange x;
        ask(&x, c, HTTP_OPTIONS, &plain[i]);
        assert_int_equal(x.response.status, 200);
        fake_exchange_close(&x);
    }
    assert_int_equal(fake.chained, 3);
    cors_close(c);
}

static void everybody_and_no_credentials(void **state)
{
    (void)state;
    struct bytes any[] = { BYTES("*") };
    struct cors_conf conf = conf_of(any, 1);
    conf.methods = conf.headers = conf.expose = (struct conf_list){ any, 1 };
    conf.private_network = true;
    struct cors *c = opened(&conf);
    struct exchange x;
    ask(&x, c, HTTP_GET, &(struct asked_fields){ .origin = "https://any.example" });
    assert_string_equal(values(&x, "Access-Control-Allow-Origin"), "*");
    assert_string_equal(values(&x, "Access-Control-Expose-Headers"), "*");
    assert_string_equal(values(&x, "Access-Control-Allow-Credentials"), "");
    assert_string_equal(values(&x, "Vary"), "Accept"); /* it is the same for all */
    fake_exchange_close(&x);
    ask(&x, c, HTTP_OPTIONS, &(struct asked_fields){ "https://any.example", "BREW", "x-a, x-b", "true" });
    assert_string_equal(values(&x, "Access-Control-Allow-Methods"), "BREW");
    assert_string_equal(values(&x, "Access-Control-Allow-Headers"), "x-a, x-b");
    assert_string_equal(values(&x, "Access-Control-Allow-Private-Network"), "true");
    fake_exchange_close(&x);
    cors_close(c);
}

/* A cache must not give the answer that it got without an origin to a page that has one. */
static void without_an_origin_it_varies_as_well(void **state)
{
    (void)state;
    struct bytes origins[] = { BYTES("https://shop.example") };
    struct cors_conf conf = conf_of(origins, 1);
    struct cors *c = opened(&conf);
    struct exchange x;
    ask(&x, c, HTTP_GET, &(struct asked_fields){ 0 });
    assert_string_equal(values(&x, "Vary"), "Accept|Origin");
    assert_string_equal(values(&x, "Access-Control-Allow-Origin"), ""); /* the server's is taken out */
    fake_exchange_close(&x);
    assert_int_equal(metric_value(c->metrics, METRIC_REFUSED), 0);
    fake.chain_result = ERR_TIMEOUT;
    fake_exchange_open(&x);
    assert_int_equal(cors_handle(&x, c, NULL), ERR_TIMEOUT);
    fake_exchange_close(&x);
    fake.chain_result = OK;
    cors_close(c);
}

static void mistakes_are_said(void **state)
{
    (void)state;
    static const struct {
        const char *origin;
        bool credentials;
        const char *words;
    } cases[] = {
        { "*", true, "name the origins" },
        { "shop.example", false, "is no origin" },
        { "https://shop.example/", false, "is no origin" },
        { "https://Shop.example", false, "is no origin" },
        { "https://*.*.example", false, "is no origin" },
        { "https://", false, "is no origin" },
        { "", false, "is no origin" },
        { "~https://(", false, WEIR_HAVE_PCRE2 ? "at character" : "without pcre2" },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bytes origin = bytes_from(cases[i].origin);
        struct cors_conf conf = conf_of(&origin, 1);
        struct diag d = DIAG_NONE;
        conf.credentials = cases[i].credentials;
        assert_int_equal(cors_check(&conf, &d), ERR_CONF);
        if (!strstr(d.text, cases[i].words))
            fail_msg("%s: %s", cases[i].origin, d.text);
    }
    struct bytes origin = BYTES("https://shop.example");
    struct bytes bad = BYTES("X Y");
    struct cors_conf conf = conf_of(&origin, 1);
    struct diag d = DIAG_NONE;
    conf.headers = (struct conf_list){ &bad, 1 };
    assert_int_equal(cors_check(&conf, &d), ERR_CONF);
    assert_string_equal(d.text, "headers: \"X Y\" is no name");
    bad = BYTES("*");
    conf = conf_of(&origin, 1);
    conf.expose = (struct conf_list){ &bad, 1 };
    assert_int_equal(cors_check(&conf, NULL), OK);
    conf.credentials = true;
    assert_int_equal(cors_check(&conf, NULL), ERR_CONF);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    struct bytes origin = BYTES("https://shop.example");
    struct cors_conf conf = conf_of(&origin, 1);
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        void *c = NULL;
        mem_fail_at(n);
        e = cors_open(&conf, NULL, BYTES("/"), &c, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 20));
        if (c)
            cors_close(c);
    }
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origins_are_told_apart),
        cmocka_unit_test(a_preflight_is_answered_here),
        cmocka_unit_test(other_options_go_to_the_server),
        cmocka_unit_test(everybody_and_no_credentials),
        cmocka_unit_test(without_an_origin_it_varies_as_well),
        cmocka_unit_test(mistakes_are_said),
        cmocka_unit_test(no_memory_is_said),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
