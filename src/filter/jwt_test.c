#include "filter/fakes_test.h"
/* first the fakes */

static uint64_t fake_wall_us = UINT64_C(1800000000000000); /* 2027 */

static uint64_t fake_worker_wall_us(void)
{
    return fake_wall_us;
}

static unsigned fake_gate_workers(const struct gate *g)
{
    (void)g;
    return 1; /* this is no control worker */
}
#define worker_wall_us fake_worker_wall_us
#define gate_workers fake_gate_workers

#include "filter/jwt.c"

#include <stdlib.h>
#include <unistd.h>

#include "base/test.h"

#if WEIR_HAVE_OPENSSL && WEIR_HAVE_JANSSON
#include "proto/jwt_vectors_test.h"

static char keys_path[] = "weir-jwt-test-XXXXXX";
static char secret_path[] = "weir-jwt-test-XXXXXX";

static struct bytes public_algs[] = { { "RS256", 5 }, { "ES256", 5 }, { "EdDSA", 5 } };
static struct bytes secret_algs[] = { { "HS256", 5 } };
static struct conf_pair headers[] = { { { "X-User", 6 }, { "sub", 3 } },
                                      { { "X-Roles", 7 }, { "roles", 5 } },
                                      { { "X-Evil", 6 }, { "evil", 4 } } };

static struct jwt_conf conf_of(void)
{
    struct jwt_conf c = { .source = { .file = bytes_from(keys_path) },
                          .algorithms = { public_algs, 3 },
                          .headers = { headers, 3 },
                          .realm = BYTES("weir"),
                          .required = true,
                          .expiry = true,
                          .leeway_ms = 30000,
                          .cache_ms = 60000,
                          .cache_entries = 16 };
    return c;
}

static struct jwt_filter *opened(struct jwt_conf *c)
{
    void *state = NULL;
    struct diag d = DIAG_NONE;
    if (jwt_conf_check(c, &d) != OK || jwt_open(c, NULL, BYTES("/*"), &state, &d) != OK)
        fail_msg("%s", d.text);
    return state;
}

static void give(struct exchange *x, const char *name, const char *value)
{
    must(http_fields_add(&x->request.fields, &x->arena, bytes_from(name), bytes_from(value)) == OK);
}

static const char *field(const struct http_fields *f, const char *name)
{
    static char text[4096];
    const struct http_field *found = http_fields_find(f, bytes_from(name));
    if (!found)
        return NULL;
    memcpy(text, found->value, found->value_len);
    text[found->value_len] = 0;
    return text;
}

/* The status; 200 when the chain went on. */
static unsigned ask(struct exchange *x, struct jwt_filter *j, const char *name, const char *value)
{
    unsigned chained = fake.chained;
    fake_exchange_open(x);
    if (name)
        give(x, name, value);
    give(x, "X-User", "root");
    give(x, "x-roles", "god");
    assert_int_equal(jwt_handle(x, j, NULL), OK);
    return fake.chained > chained ? 200 : x->response.status;
}

static unsigned asked(struct jwt_filter *j, const char *value)
{
    struct exchange x;
    unsigned status = ask(&x, j, "Authorization", value);
    fake_exchange_close(&x);
    return status;
}

static void a_good_token_passes_with_its_claims(void **state)
{
    (void)state;
    struct jwt_conf c = conf_of();
    struct jwt_filter *j = opened(&c);
    for (unsigned i = 0; i < 3; i++) { /* the second and third from memory */
        struct exchange x;
        assert_int_equal(ask(&x, j, "Authorization", "bearer " TOKEN_RS256), 200);
        assert_string_equal(field(&x.request.fields, "X-User"), "alice");
        assert_string_equal(field(&x.request.fields, "X-Roles"), "admin,dev");
        assert_null(field(&x.request.fields, "X-Evil"));
        assert_int_equal(http_fields_remove(&x.request.fields, BYTES("X-User")), 1);
        assert_bytes_equal(x.user, BYTES("alice"));
        assert_non_null(field(&x.request.fields, "Authorization"));
        fake_exchange_close(&x);
    }
    assert_int_equal(asked(j, "Bearer " TOKEN_ES256), 200);
    assert_int_equal(asked(j, "Bearer " TOKEN_EDDSA), 200);
    assert_int_equal(metric_value(j->metrics, METRIC_ACCEPTED), 5);
    assert_int_equal(metric_value(j->metrics, METRIC_CACHED), 2);
    jwt_filter_close(j);
}

static void everything_else_is_refused_with_a_challenge(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *challenge;
    } cases[] = {
        { NULL, "Bearer realm=\"weir\"" },
        { "Basic " TOKEN_RS256, "Bearer realm=\"weir\"" },
        { TOKEN_RS256, "Bearer realm=\"weir\"" },
        { "Bearer ", "malformed" },
        { "Bearer x.y.z", "malformed" },
        { "Bearer " TOKEN_NONE, "malformed" },
        { "Bearer " TOKEN_NONE_SIGNED, "algorithm or an extension of it is not known" },
        { "Bearer " TOKEN_RS384, "algorithm is not allowed" },
        { "Bearer " TOKEN_HS256, "algorithm is not allowed" },
        { "Bearer " TOKEN_CONFUSED, "algorithm is not allowed" },
        { "Bearer " TOKEN_RS256 "=", "malformed" },
        { "Bearer " TOKEN_RS256 "AAAA", "signature is wrong" },
    };
    struct jwt_conf c = conf_of();
    struct jwt_filter *j = opened(&c);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct exchange x;
        if (ask(&x, j, cases[i].value ? "Authorization" : NULL, cases[i].value) != 401)
            fail_msg("%s", cases[i].value);
        assert_non_null(strstr(field(&x.response.fields, "WWW-Authenticate"), cases[i].challenge));
        bool invalid = strstr(field(&x.response.fields, "WWW-Authenticate"), "error=\"invalid_token\"");
        assert_int_equal(invalid, i > 2);
        assert_null(field(&x.request.fields, "X-User"));
        fake_exchange_close(&x);
    }
    assert_int_equal(metric_value(j->metrics, METRIC_ABSENT), 3);
    assert_int_equal(metric_value(j->metrics, METRIC_REFUSED), sizeof cases / sizeof *cases - 3);
    jwt_filter_close(j);
}

static void time_issuer_audience_and_claims_are_asked(void **state)
{
    (void)state;
    struct bytes login = BYTES("login"), other = BYTES("other"), shop = BYTES("shop");
    struct conf_pair scope = { BYTES("scope"), BYTES("read") };
    struct jwt_conf c = conf_of();
    c.issuer = (struct conf_list){ &login, 1 };
    c.audience = (struct conf_list){ &shop, 1 };
    c.claims = (struct conf_list){ &scope, 1 };
    struct jwt_filter *j = opened(&c);
    struct exchange x;
    assert_int_equal(asked(j, "Bearer " TOKEN_RS256), 200);
    jwt_filter_close(j);

    c.issuer.items = &other;
    j = opened(&c);
    assert_int_equal(asked(j, "Bearer " TOKEN_RS256), 401);
    jwt_filter_close(j);

    c.issuer.items = &login;
    c.audience.items = &other;
    j = opened(&c);
    assert_int_equal(asked(j, "Bearer " TOKEN_RS256), 401);
    jwt_filter_close(j);

    c.audience.items = &shop;
    scope.value = BYTES("delete");
    j = opened(&c);
    assert_int_equal(ask(&x, j, "Authorization", "Bearer " TOKEN_RS256), 403);
    assert_non_null(strstr(field(&x.response.fields, "WWW-Authenticate"), "error=\"insufficient_scope\""));
    fake_exchange_close(&x);
    jwt_filter_close(j);

    scope.value = BYTES("read");
    c.typ = BYTES("at+jwt");
    j = opened(&c);
    assert_int_equal(asked(j, "Bearer " TOKEN_RS256), 401);
    jwt_filter_close(j);
}

/* It is remembered, and still ends when it ends. */
static void a_remembered_one_expires_all_the_same(void **state)
{
    (void)state;
    struct jwt_conf c = conf_of();
    struct jwt_filter *j = opened(&c);
    fake_wall_us = UINT64_C(4102444800000000) + 29000000; /* a second before the end of the leeway */
    assert_int_equal(asked(j, "Bearer " TOKEN_RS256), 200);
    fake.now_us += 900000;
    fake_wall_us += 900000;
    assert_int_equal(asked(j, "Bearer " TOKEN_RS256), 200);
    fake.now_us += 200000;
    fake_wall_us += 200000;
    assert_int_equal(asked(j, "Bearer " TOKEN_RS256), 401);
    assert_int_equal(metric_value(j->metrics, METRIC_CACHED), 1);
    fake_wall_us = UINT64_C(1600000000000000); /* before iat */
    assert_int_equal(asked(j, "Bearer " TOKEN_ES256), 401);
    fake_wall_us = UINT64_C(1800000000000000);
    jwt_filter_close(j);
}

static void it_may_stand_elsewhere_and_be_missing(void **state)
{
    (void)state;
    struct jwt_conf c = conf_of();
    struct exchange x;
    c.cookie = BYTES("session");
    c.hide = true;
    c.required = false;
    struct jwt_filter *j = opened(&c);
    assert_int_equal(ask(&x, j, "Cookie", "a=b; session=" TOKEN_ES256), 200);
    assert_string_equal(field(&x.request.fields, "X-User"), "alice");
    fake_exchange_close(&x);
    assert_int_equal(ask(&x, j, NULL, NULL), 200);
    assert_null(field(&x.request.fields, "X-User")); /* what the client says is taken out all the same */
    fake_exchange_close(&x);
    assert_int_equal(asked(j, "Bearer " TOKEN_RS256 "AAAA"), 401);
    assert_int_equal(ask(&x, j, "Authorization", "Bearer " TOKEN_RS256), 200);
    assert_null(field(&x.request.fields, "Authorization"));
    fake_exchange_close(&x);
    jwt_filter_close(j);

    c = conf_of();
    c.header = BYTES("X-Token");
    j = opened(&c);
    assert_int_equal(ask(&x, j, "X-Token", TOKEN_RS256), 200);
    fake_exchange_close(&x);
    assert_int_equal(asked(j, "Bearer " TOKEN_RS256), 401);
    jwt_filter_close(j);
}

static void a_secret_only_where_it_is_named(void **state)
{
    (void)state;
    struct jwt_conf c = conf_of();
    c.source.file = BYTES("");
    c.source.secret_file = bytes_from(secret_path);
    c.algorithms = (struct conf_list){ secret_algs, 1 };
    struct jwt_filter *j = opened(&c);
    assert_int_equal(asked(j, "Bearer " TOKEN_HS256), 200);
    assert_int_equal(asked(j, "Bearer " TOKEN_HS512), 401);
    assert_int_equal(asked(j, "Bearer " TOKEN_RS256), 401);
    jwt_filter_close(j);
}

static void mistakes_are_said(void **state)
{
    (void)state;
    struct bytes mixed[] = { BYTES("RS256"), BYTES("HS256") };
    struct bytes none = BYTES("none");
    struct conf_pair bad = { BYTES("X User"), BYTES("sub") };
    const struct jwt_conf usual = conf_of();
    struct jwt_conf c;
#define CHECK(words)                                        \
    do {                                                    \
        struct diag d = DIAG_NONE;                          \
        assert_int_equal(jwt_conf_check(&c, &d), ERR_CONF); \
        if (!strstr(d.text, words))                         \
            fail_msg("%s", d.text);                         \
    } while (0)
    c = usual, c.source.file = BYTES("");
    CHECK("keys come from one of");
    c = usual, c.source.secret_file = bytes_from(secret_path);
    CHECK("keys come from one of");
    c = usual, c.source.file = BYTES("/does/not/exist");
    CHECK("cannot read /does/not/exist");
    c = usual, c.source.file = bytes_from(secret_path);
    CHECK("no key set");
    c = usual, c.algorithms = (struct conf_list){ &none, 1 };
    CHECK("\"none\" is none of");
    c = usual, c.algorithms = (struct conf_list){ mixed, 2 };
    CHECK("go with a secret in a file of your own");
    c = usual, c.source.file = BYTES(""), c.source.secret_file = bytes_from(secret_path);
    CHECK("nothing else goes with a secret");
    c = usual, c.headers = (struct conf_list){ &bad, 1 };
    CHECK("\"X User\" is no name");
    c = usual, c.realm = BYTES("a\"");
    CHECK("realm");
#undef CHECK
}

static void no_memory_is_said(void **state)
{
    (void)state;
    struct jwt_conf c = conf_of();
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        void *j = NULL;
        mem_fail_at(n);
        e = jwt_open(&c, NULL, BYTES("/"), &j, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 40));
        if (j)
            jwt_filter_close(j);
    }
}

static int write_file(char *path, const char *text, size_t len)
{
    int fd = mkstemp(path);
    return fd >= 0 && write(fd, text, len) == (ssize_t)len && close(fd) == 0 ? 0 : -1;
}

static int write_files(void **state)
{
    (void)state;
    char secret[64];
    for (unsigned i = 0; i < sizeof secret; i++)
        secret[i] = (char)i;
    return write_file(keys_path, KEYS, sizeof KEYS - 1) || write_file(secret_path, secret, sizeof secret);
}

static int remove_files(void **state)
{
    (void)state;
    return unlink(keys_path) || unlink(secret_path);
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_token_passes_with_its_claims),
        cmocka_unit_test(everything_else_is_refused_with_a_challenge),
        cmocka_unit_test(time_issuer_audience_and_claims_are_asked),
        cmocka_unit_test(a_remembered_one_expires_all_the_same),
        cmocka_unit_test(it_may_stand_elsewhere_and_be_missing),
        cmocka_unit_test(a_secret_only_where_it_is_named),
        cmocka_unit_test(mistakes_are_said),
        cmocka_unit_test(no_memory_is_said),
    };
    int failed = cmocka_run_group_tests(tests, write_files, remove_files);
    metrics_close();
    return failed;
}
#else
int main(void)
{
    (void)fake_worker_wall_us;
    (void)fake_gate_workers;
    return 0;
}
#endif
