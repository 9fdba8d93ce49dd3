#include "filter/fakes_test.h"
/* first the fakes */

/* What the auth service does with what it is asked. */
static struct {
    unsigned asked;
    err result;
    unsigned status;
    struct bytes body;
    const char *fields[8]; /* name, value, name, value ... */
    struct http_field room[8];
    struct body_memory memory;
    void (*look)(const struct exchange *ask);
} auth;

static err fake_proxy_handle(struct exchange *x)
{
    auth.asked++;
    if (auth.look)
        auth.look(x);
    if (auth.result)
        return auth.result;
    x->response =
        (struct http_response){ .status = auth.status, .fields = { .at = auth.room, .count_max = 8 } };
    for (unsigned i = 0; i < 8 && auth.fields[i]; i += 2)
        must(http_fields_add(&x->response.fields, NULL, bytes_from(auth.fields[i]),
                             bytes_from(auth.fields[i + 1])) == OK);
    x->response_body = body_memory_init(&auth.memory, auth.body);
    return OK;
}

static void fake_exchange_prepare(struct exchange *x, struct gate *g)
{
    (void)g;
    *x = (struct exchange){ 0 };
    arena_open(&x->arena, &arena_heap, 1 << 20, NULL, 0);
}

static void fake_exchange_release(struct exchange *x)
{
    arena_close(&x->arena);
}

static struct service *fake_gate_service(struct gate *g, struct bytes name)
{
    static char service;
    (void)g;
    (void)name;
    return (struct service *)(void *)&service;
}

#define proxy_handle fake_proxy_handle
#define exchange_prepare fake_exchange_prepare
#define exchange_release fake_exchange_release
#define gate_service fake_gate_service

#include "filter/forward_auth.c"

#include "base/test.h"

static struct bytes copy_names[] = { { "X-User", 6 }, { "X-Group", 7 } };
static struct bytes answer_names[] = { { "Set-Cookie", 10 } };

static struct forward_auth_conf conf_of(void)
{
    return (struct forward_auth_conf){ .service = BYTES("auth"),
                                       .path = BYTES("/verify"),
                                       .copy = { copy_names, 2 },
                                       .answer = { answer_names, 1 },
                                       .timeout_ms = 1000,
                                       .cache_ms = CONF_MS_OFF,
                                       .cache_entries = 16,
                                       .answer_bytes_max = 64 };
}

static struct forward_auth *opened(const struct forward_auth_conf *c)
{
    void *state;
    assert_int_equal(forward_auth_open(c, NULL, BYTES("/*"), &state, NULL), OK);
    return state;
}

static struct http_field server_room[4];

static void server_answers(struct exchange *x)
{
    x->response = (struct http_response){ .status = 200, .fields = { .at = server_room, .count_max = 4 } };
}

static void give(struct exchange *x, const char *name, const char *value)
{
    must(http_fields_add(&x->request.fields, &x->arena, bytes_from(name), bytes_from(value)) == OK);
}

static void ask(struct exchange *x, struct forward_auth *f)
{
    fake_exchange_open(x);
    fake.on_chain = server_answers;
    x->scheme = "http";
    x->request = (struct http_request){ .method = HTTP_POST,
                                        .method_text = BYTES("POST"),
                                        .target = BYTES("/buy?a=b"),
                                        .path = BYTES("/buy"),
                                        .query = BYTES("a=b"),
                                        .authority = BYTES("shop.example") };
    give(x, "Authorization", "Bearer t");
    give(x, "Content-Length", "5");
    give(x, "X-User", "root");
    give(x, "X-Forwarded-Uri", "/harmless");
    assert_int_equal(forward_auth_handle(x, f, NULL), OK);
}

static const char *field(const struct http_fields *f, const char *name)
{
    static char text[1000];
    const struct http_field *found = http_fields_find(f, bytes_from(name));
    text[0] = 0;
    if (found)
        memcpy(text, found->value, found->value_len);
    text[found ? found->value_len : 0] = 0;
    return found ? text : NULL;
}

static void look_at_question(const struct exchange *q)
{
    assert_int_equal(q->request.method, HTTP_GET);
    assert_bytes_equal(q->request.target, BYTES("/verify"));
    assert_bytes_equal(q->request.authority, BYTES("shop.example"));
    assert_string_equal(field(&q->request.fields, "Authorization"), "Bearer t");
    assert_string_equal(field(&q->request.fields, "X-Forwarded-Method"), "POST");
    assert_string_equal(field(&q->request.fields, "X-Forwarded-Uri"), "/buy?a=b");
    assert_null(field(&q->request.fields, "Content-Length"));
    assert_null(field(&q->request.fields, "X-User"));
    assert_int_equal(q->request.framing, HTTP_BODY_NONE);
    assert_null(q->request_body);
}

static void say(unsigned status, const char *body)
{
    memset(&auth, 0, sizeof auth);
    auth.status = status;
    auth.body = bytes_from(body);
}

static void two_hundred_passes_with_its_fields(void **state)
{
    (void)state;
    struct forward_auth_conf conf = conf_of();
    struct forward_auth *f = opened(&conf);
    struct exchange x;
    say(204, "");
    auth.look = look_at_question;
    auth.fields[0] = "x-user", auth.fields[1] = "alice";
    auth.fields[2] = "set-cookie", auth.fields[3] = "s=1";
    auth.fields[4] = "x-other", auth.fields[5] = "no";
    fake.chained = 0;
    ask(&x, f);
    assert_int_equal(fake.chained, 1);
    assert_string_equal(field(&x.request.fields, "X-User"), "alice");
    assert_int_equal(http_fields_remove(&x.request.fields, BYTES("X-User")), 1);
    assert_null(field(&x.request.fields, "X-Other"));
    assert_string_equal(field(&x.response.fields, "Set-Cookie"), "s=1");
    assert_null(field(&x.response.fields, "X-User"));
    fake_exchange_close(&x);
    assert_int_equal(metric_value(f->metrics, METRIC_ALLOWED), 1);
    forward_auth_close(f);
}

/* What it does not say nobody has said. */
static void the_clients_own_fields_are_taken_out(void **state)
{
    (void)state;
    struct forward_auth_conf conf = conf_of();
    struct forward_auth *f = opened(&conf);
    struct exchange x;
    say(200, "");
    ask(&x, f);
    assert_null(field(&x.request.fields, "X-User"));
    fake_exchange_close(&x);
    forward_auth_close(f);
}

static void its_refusal_goes_to_the_client(void **state)
{
    (void)state;
    static const unsigned statuses[] = { 302, 401, 403, 500 };
    struct forward_auth_conf conf = conf_of();
    struct forward_auth *f = opened(&conf);
    fake.chained = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct exchange x;
        say(statuses[i], "who are you?");
        auth.fields[0] = "Location", auth.fields[1] = "https://login/";
        auth.fields[2] = "Content-Length", auth.fields[3] = "12";
        ask(&x, f);
        assert_int_equal(x.response.status, statuses[i]);
        assert_string_equal(field(&x.response.fields, "Location"), "https://login/");
        assert_null(field(&x.response.fields, "Content-Length"));
        fake_exchange_close(&x);
    }
    assert_int_equal(fake.chained, 0);
    assert_int_equal(metric_value(f->metrics, METRIC_REFUSED), 4);
    forward_auth_close(f);
}

static void in_doubt_it_is_closed(void **state)
{
    (void)state;
    static const struct {
        err result;
        unsigned status;
        const char *body;
    } cases[] = {
        { ERR_TIMEOUT, 0, "" },
        { ERR_REFUSED, 0, "" },
        { OK, 101, "" },
        { OK, 403, "an answer that is longer than the sixty-four bytes that were said to be the most" },
    };
    struct forward_auth_conf conf = conf_of();
    struct forward_auth *f = opened(&conf);
    fake.chained = 0;
    for (unsigned i = 0; i < 4; i++) {
        struct exchange x;
        say(cases[i].status, cases[i].body);
        auth.result = cases[i].result;
        ask(&x, f);
        assert_int_equal(x.response.status, 503);
        assert_bytes_equal(x.answered_by, BYTES("forward_auth"));
        fake_exchange_close(&x);
    }
    assert_int_equal(fake.chained, 0);
    assert_int_equal(metric_value(f->metrics, METRIC_FAILED), 4);
    forward_auth_close(f);
}

static void with_a_cache_it_is_asked_once(void **state)
{
    (void)state;
    struct forward_auth_conf conf = conf_of();
    conf.cache_ms = 5000;
    struct forward_auth *f = opened(&conf);
    struct exchange x;
    say(200, "");
    auth.fields[0] = "X-User", auth.fields[1] = "alice";
    for (unsigned i = 0; i < 3; i++) {
        ask(&x, f);
        assert_string_equal(field(&x.request.fields, "X-User"), "alice");
        fake_exchange_close(&x);
    }
    assert_int_equal(auth.asked, 1);
    fake.now_us += 5000000;
    ask(&x, f);
    fake_exchange_close(&x);
    assert_int_equal(auth.asked, 2);
    say(403, "no"); /* a refusal is not remembered */
    fake.now_us += 5000000;
    ask(&x, f);
    fake_exchange_close(&x);
    ask(&x, f);
    fake_exchange_close(&x);
    assert_int_equal(auth.asked, 2);
    forward_auth_close(f);
}

static void another_secret_is_another_question(void **state)
{
    (void)state;
    struct forward_auth_conf conf = conf_of();
    conf.cache_ms = 5000;
    struct forward_auth *f = opened(&conf);
    struct exchange x;
    say(200, "");
    ask(&x, f);
    struct verdict_key before = key_of(f, &x);
    http_fields_remove_id(&x.request.fields, FIELD_AUTHORIZATION);
    give(&x, "Authorization", "Bearer u");
    struct verdict_key after = key_of(f, &x);
    assert_true(before.a != after.a);
    give(&x, "Cookie", "s=1");
    assert_true(key_of(f, &x).a != after.a);
    fake_exchange_close(&x);
    forward_auth_close(f);
}

static void mistakes_are_said(void **state)
{
    (void)state;
    struct forward_auth_conf conf = conf_of();
    struct bytes bad = BYTES("X User");
    struct diag d = DIAG_NONE;
    assert_int_equal(forward_auth_check(&conf, &d), OK);
    conf.path = BYTES("verify");
    assert_int_equal(forward_auth_check(&conf, &d), ERR_CONF);
    assert_string_equal(d.text, "path: \"verify\" is no path");
    conf = conf_of();
    conf.copy = (struct conf_list){ &bad, 1 };
    assert_int_equal(forward_auth_check(&conf, NULL), ERR_CONF);
    err e = ERR_MEMORY;
    conf = conf_of();
    conf.cache_ms = 5000;
    for (uint64_t n = 1; e; n++) {
        void *f = NULL;
        mem_fail_at(n);
        e = forward_auth_open(&conf, NULL, BYTES("/"), &f, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 20));
        if (f)
            forward_auth_close(f);
    }
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_hundred_passes_with_its_fields),
        cmocka_unit_test(the_clients_own_fields_are_taken_out),
        cmocka_unit_test(its_refusal_goes_to_the_client),
        cmocka_unit_test(in_doubt_it_is_closed),
        cmocka_unit_test(with_a_cache_it_is_asked_once),
        cmocka_unit_test(another_secret_is_another_question),
        cmocka_unit_test(mistakes_are_said),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
