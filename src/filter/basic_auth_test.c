#include "filter/fakes_test.h"
/* first the fakes */
#include "core/helper.h"

static struct {
    unsigned calls;
    err result;
} fake_helpers;

/* On the spot, without a thread. */
static err fake_helper_run(struct helper_pool *p, void (*fn)(void *arg), void *arg)
{
    (void)p;
    fake_helpers.calls++;
    if (fake_helpers.result)
        return fake_helpers.result;
    fn(arg);
    return OK;
}
#define helper_run fake_helper_run

#include "filter/basic_auth.c"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/test.h"

#define HASH "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/" /* of "secret" */

static char path[] = "weir-basic-auth-test-XXXXXX";

static struct basic_auth_conf conf_of(void)
{
    return (struct basic_auth_conf){
        .file = bytes_from(path), .realm = BYTES("shop"), .cache_ms = 60000, .cache_entries = 16
    };
}

static struct basic_auth *opened(const struct basic_auth_conf *c)
{
    void *state;
    struct diag d = DIAG_NONE;
    if (basic_auth_open(c, NULL, BYTES("/*"), &state, &d) != OK)
        fail_msg("%s", d.text);
    return state;
}

/* The status; 200 when the chain went on. value NULL: no Authorization. */
static unsigned ask(struct basic_auth *b, const char *value, struct exchange *x)
{
    unsigned chained = fake.chained;
    fake_exchange_open(x);
    if (value)
        must(http_fields_add(&x->request.fields, &x->arena, BYTES("Authorization"), bytes_from(value)) == OK);
    must(http_fields_add(&x->request.fields, &x->arena, BYTES("X-User"), BYTES("root")) == OK);
    assert_int_equal(basic_auth_handle(x, b, NULL), OK);
    return fake.chained > chained ? 200 : x->response.status;
}

static unsigned asked(struct basic_auth *b, const char *value)
{
    struct exchange x;
    unsigned status = ask(b, value, &x);
    fake_exchange_close(&x);
    return status;
}

#define ALICE "Basic YWxpY2U6c2VjcmV0" /* alice:secret */

static void a_right_password_passes_and_is_remembered(void **state)
{
    (void)state;
    struct basic_auth_conf conf = conf_of();
    struct basic_auth *b = opened(&conf);
    struct exchange x;
    fake_helpers.calls = 0;
    assert_int_equal(ask(b, ALICE, &x), 200);
    assert_bytes_equal(x.user, BYTES("alice"));
    fake_exchange_close(&x);
    assert_int_equal(asked(b, "bASIC  YWxpY2U6c2VjcmV0"), 200);
    assert_int_equal(fake_helpers.calls, 1);
    fake.now_us += 60000000;
    assert_int_equal(asked(b, ALICE), 200);
    assert_int_equal(fake_helpers.calls, 2);
    assert_int_equal(metric_value(b->metrics, METRIC_ACCEPTED), 3);
    assert_int_equal(metric_value(b->metrics, METRIC_CACHED), 1);
    basic_auth_close(b);
}

static void anything_else_is_401(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        NULL,
        "",
        "Basic",
        "Basic ",
        "Bearer YWxpY2U6c2VjcmV0",
        "Basic YWxpY2U6c2VjcmV1",
        "Basic YWxpY2U6",
        "Basic YWxpY2U",
        "Basic OnNlY3JldA==",
        "Basic Ym9iOnNlY3JldA==",
        "Basic YWxpY2U6c2VjcmV0AA==",
        "Basic !!!!",
        "BasicYWxpY2U6c2VjcmV0",
        "Basic AAAA",
    };
    struct basic_auth_conf conf = conf_of();
    struct basic_auth *b = opened(&conf);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct exchange x;
        if (ask(b, wrong[i], &x) != 401)
            fail_msg("%s", wrong[i]);
        assert_bytes_equal(http_field_value(http_fields_find(&x.response.fields, BYTES("WWW-Authenticate"))),
                           BYTES("Basic realm=\"shop\", charset=\"UTF-8\""));
        assert_int_equal(x.user.len, 0);
        fake_exchange_close(&x);
    }
    char longest[4000] = "Basic ";
    memset(longest + 6, 'A', sizeof longest - 7);
    assert_int_equal(asked(b, longest), 401);
    basic_auth_close(b);
}

/* So that the time tells nobody which names there are. */
static void a_name_that_nobody_has_is_as_slow(void **state)
{
    (void)state;
    struct basic_auth_conf conf = conf_of();
    struct basic_auth *b = opened(&conf);
    fake_helpers.calls = 0;
    assert_int_equal(asked(b, "Basic Ym9iOnNlY3JldA=="), 401); /* bob, with alice's password */
    assert_int_equal(asked(b, "Basic Ym9iOnNlY3JldA=="), 401);
    assert_int_equal(fake_helpers.calls, 2);
    basic_auth_close(b);
}

static void a_wrong_password_is_not_remembered_for_a_right_one(void **state)
{
    (void)state;
    struct basic_auth_conf conf = conf_of();
    conf.cache_ms = CONF_MS_OFF;
    struct basic_auth *b = opened(&conf);
    fake_helpers.calls = 0;
    assert_int_equal(asked(b, ALICE), 200);
    assert_int_equal(asked(b, ALICE), 200);
    assert_int_equal(fake_helpers.calls, 2);
    fake_helpers.result = ERR_LIMIT;
    struct exchange x;
    assert_int_equal(ask(b, ALICE, &x), 503);
    assert_non_null(http_fields_find(&x.response.fields, BYTES("Retry-After")));
    fake_exchange_close(&x);
    fake_helpers.result = OK;
    assert_int_equal(metric_value(b->metrics, METRIC_BUSY), 1);
    basic_auth_close(b);
}

static void servers_get_the_name_and_not_the_password(void **state)
{
    (void)state;
    struct basic_auth_conf conf = conf_of();
    conf.user_header = BYTES("X-User");
    conf.hide = true;
    struct basic_auth *b = opened(&conf);
    struct exchange x;
    assert_int_equal(ask(b, ALICE, &x), 200);
    assert_null(http_fields_get(&x.request.fields, FIELD_AUTHORIZATION));
    assert_bytes_equal(http_field_value(http_fields_find(&x.request.fields, BYTES("X-User"))),
                       BYTES("alice"));
    assert_int_equal(http_fields_remove(&x.request.fields, BYTES("X-User")), 1);
    fake_exchange_close(&x);
    basic_auth_close(b);
}

static void mistakes_are_said(void **state)
{
    (void)state;
    struct basic_auth_conf conf = conf_of();
    struct diag d = DIAG_NONE;
    assert_int_equal(basic_auth_check(&conf, &d), OK);
    conf.realm = BYTES("a\"b");
    assert_int_equal(basic_auth_check(&conf, &d), ERR_CONF);
    conf = conf_of();
    conf.user_header = BYTES("X User");
    assert_int_equal(basic_auth_check(&conf, NULL), ERR_CONF);
    conf = conf_of();
    conf.file = BYTES("/does/not/exist");
    d = DIAG_NONE;
    assert_int_equal(basic_auth_check(&conf, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "cannot read"));
}

static void no_memory_is_said(void **state)
{
    (void)state;
    struct basic_auth_conf conf = conf_of();
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        void *b = NULL;
        mem_fail_at(n);
        e = basic_auth_open(&conf, NULL, BYTES("/"), &b, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 30));
        if (b)
            basic_auth_close(b);
    }
}

static int write_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    const char *text = "alice:" HASH "\n";
    bool fine = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0;
    return fine ? 0 : -1;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_right_password_passes_and_is_remembered),
        cmocka_unit_test(anything_else_is_401),
        cmocka_unit_test(a_name_that_nobody_has_is_as_slow),
        cmocka_unit_test(a_wrong_password_is_not_remembered_for_a_right_one),
        cmocka_unit_test(servers_get_the_name_and_not_the_password),
        cmocka_unit_test(mistakes_are_said),
        cmocka_unit_test(no_memory_is_said),
    };
    int failed = WEIR_HAVE_OPENSSL ? cmocka_run_group_tests(tests, write_file, remove_file) : 0;
    metrics_close();
    return failed;
}
