#define gate_answer_failure fake_gate_answer_failure
#include "filter/fakes_test.h"
/* first the fakes */
static err failed_with;

void fake_gate_answer_failure(struct exchange *x, err e)
{
    failed_with = e;
    x->response.status = 502;
}

#include "filter/security_headers.c"

#include "base/test.h"

static struct exchange x;
static struct security_headers_conf conf;

static void defaults(void)
{
    static struct bytes remove[] = { { "X-Powered-By", 12 } };
    conf = (struct security_headers_conf){ .remove = { remove, 1 } };
#define X(member, name, preset, doc) conf.values[HEADER_##member] = bytes_from(preset);
    SECURITY_HEADERS_LIST(X)
#undef X
}

static void add(struct exchange *of, const char *name, const char *value)
{
    assert_int_equal(http_fields_add(&of->response.fields, &of->arena, bytes_from(name), bytes_from(value)),
                     OK);
}

static void on_chain(struct exchange *of)
{
    of->response.status = 200;
    add(of, "x-frame-options", "DENY");
    add(of, "X-Powered-By", "abacus");
}

/* The value of the only field of that name; NULL: there is none. */
static struct bytes value_of(const char *name)
{
    struct bytes value = BYTES_NONE;
    for (uint32_t i = 0; i < x.response.fields.count; i++) {
        const struct http_field *f = &x.response.fields.at[i];
        if (f->flags & FIELD_REMOVED || !bytes_eq_nocase(http_field_name(f), bytes_from(name)))
            continue;
        assert_null(value.ptr);
        value = http_field_value(f);
    }
    return value;
}

static void *state;

static void run(const char *scheme)
{
    struct diag d;
    assert_int_equal(security_headers_filter.conf.check(&conf, &d), OK);
    assert_int_equal(security_headers_filter.open(&conf, NULL, BYTES("/"), &state, NULL), OK);
    fake_exchange_open(&x);
    x.scheme = scheme;
    assert_int_equal(security_headers_filter.handle(&x, state, NULL), OK);
}

static void finish(void)
{
    fake_exchange_close(&x);
    security_headers_filter.close(state);
}

static void what_the_server_said_counts(void **unused)
{
    (void)unused;
    defaults();
    fake.on_chain = on_chain;
    run("http");
    assert_bytes_equal(value_of("X-Frame-Options"), BYTES("DENY"));
    assert_bytes_equal(value_of("X-Content-Type-Options"), BYTES("nosniff"));
    assert_bytes_equal(value_of("Cross-Origin-Opener-Policy"), BYTES("same-origin"));
    assert_null(value_of("Content-Security-Policy").ptr);
    assert_null(value_of("Strict-Transport-Security").ptr);
    assert_null(value_of("X-Powered-By").ptr);
    finish();

    conf.force = true;
    run("https");
    assert_bytes_equal(value_of("X-Frame-Options"), BYTES("SAMEORIGIN"));
    assert_bytes_equal(value_of("Strict-Transport-Security"), BYTES("max-age=31536000; includeSubDomains"));
    finish();
}

static void each_can_be_said_otherwise(void **unused)
{
    (void)unused;
    defaults();
    conf.values[HEADER_frame_options] = BYTES("off");
    conf.values[HEADER_csp] = BYTES("default-src 'self'");
    fake.on_chain = NULL;
    run("http");
    assert_null(value_of("X-Frame-Options").ptr);
    assert_bytes_equal(value_of("Content-Security-Policy"), BYTES("default-src 'self'"));
    finish();
}

static void an_answer_that_failed_gets_them_too(void **unused)
{
    (void)unused;
    defaults();
    fake.on_chain = NULL;
    fake.chain_result = ERR_REFUSED;
    run("http");
    assert_int_equal(failed_with, ERR_REFUSED);
    assert_bytes_equal(value_of("X-Content-Type-Options"), BYTES("nosniff"));
    finish();
    fake.chain_result = OK;
}

static void a_value_is_checked(void **unused)
{
    (void)unused;
    struct diag d = { 0 };
    defaults();
    conf.values[HEADER_csp] = BYTES("a\r\nb");
    assert_int_equal(security_headers_filter.conf.check(&conf, &d), ERR_CONF);
    conf.values[HEADER_csp] = BYTES("");
    assert_int_equal(security_headers_filter.conf.check(&conf, &d), ERR_CONF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_server_said_counts),
        cmocka_unit_test(each_can_be_said_otherwise),
        cmocka_unit_test(an_answer_that_failed_gets_them_too),
        cmocka_unit_test(a_value_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
