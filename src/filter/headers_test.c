#include "filter/fakes_test.h"
/* first the fakes */
#include "filter/headers.c"

#include "base/test.h"

static const struct conf_struct *const modules[] = { &headers_filter.conf, NULL };

struct root {
    struct conf_list filters;
};

static const struct conf_struct root_struct = {
    .name = "route",
    .size = sizeof(struct root),
    .fields = (const struct conf_field[]){ { .name = "filters",
                                             .type = CONF_MODULES,
                                             .offset = offsetof(struct root, filters),
                                             .modules = modules },
                                           { 0 } },
};

static struct arena conf_arena;
static char words[sizeof((struct diag *)0)->text];

/* NULL when it is refused: then `words` says why. */
static void *loaded(const char *text)
{
    arena_close(&conf_arena);
    arena_open(&conf_arena, &arena_heap, 1 << 20, NULL, 0);
    void *conf = NULL;
    struct diag d = DIAG_NONE;
    if (conf_parse(bytes_from(text), "test", &root_struct, &conf_arena, NULL, &conf, &d)) {
        memcpy(words, d.text, sizeof words);
        return NULL;
    }
    const struct root *root = conf;
    const struct conf_module *module = root->filters.items;
    assert_int_equal(root->filters.count, 1);
    void *state;
    assert_int_equal(headers_open(module->conf, NULL, BYTES("r"), &state, NULL), OK);
    return state;
}

static void add_field(struct exchange *x, struct http_fields *f, const char *name, const char *value)
{
    assert_int_equal(http_fields_add(f, &x->arena, bytes_from(name), bytes_from(value)), OK);
}

/* All values of that name, one after the other */
static const char *values(const struct http_fields *f, const char *name)
{
    static char out[256];
    size_t len = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        const struct http_field *field = &f->at[i];
        if (field->flags & FIELD_REMOVED || !bytes_eq_nocase(http_field_name(field), bytes_from(name)))
            continue;
        memcpy(out + len, field->value, field->value_len);
        len += field->value_len;
        out[len++] = ';';
    }
    out[len] = 0;
    return out;
}

static void server_answers(struct exchange *x)
{
    x->response.status = 200;
    add_field(x, &x->response.fields, "Server", "old");
    add_field(x, &x->response.fields, "Set-Cookie", "a=1");
    /* what the server saw */
    assert_string_equal(values(&x->request.fields, "X-Env"), "prod;");
    assert_string_equal(values(&x->request.fields, "Cookie"), "");
    assert_string_equal(values(&x->request.fields, "X-Tag"), "one;two;");
}

static void both_ways(void **state)
{
    (void)state;
    void *conf = loaded("headers:\n"
                        "  request:\n"
                        "    set: {X-Env: prod}\n"
                        "    add: {X-Tag: two}\n"
                        "    remove: [cookie]\n"
                        "  response:\n"
                        "    set: {server: weir}\n"
                        "    add: {Set-Cookie: b=2}\n"
                        "    remove: X-Powered-By\n");
    assert_non_null(conf);
    struct exchange x;
    fake_exchange_open(&x);
    add_field(&x, &x.request.fields, "x-env", "from outside");
    add_field(&x, &x.request.fields, "X-ENV", "twice");
    add_field(&x, &x.request.fields, "Cookie", "c");
    add_field(&x, &x.request.fields, "X-Tag", "one");
    fake.on_chain = server_answers;
    assert_int_equal(headers_handle(&x, conf, NULL), OK);
    fake.on_chain = NULL;
    assert_string_equal(values(&x.response.fields, "Server"), "weir;");
    assert_string_equal(values(&x.response.fields, "Set-Cookie"), "a=1;b=2;");
    fake_exchange_close(&x);
    headers_close(conf);
}

static void without_an_answer_there_is_nothing_to_edit(void **state)
{
    (void)state;
    void *conf = loaded("headers: {response: {set: {X-Env: prod}}}");
    struct exchange x;
    fake_exchange_open(&x);
    fake.chain_result = ERR_TIMEOUT;
    assert_int_equal(headers_handle(&x, conf, NULL), ERR_TIMEOUT);
    fake.chain_result = OK;
    assert_int_equal(x.response.fields.count, 0);
    fake_exchange_close(&x);
    headers_close(conf);
}

static void an_arena_without_room_is_a_limit(void **state)
{
    (void)state;
    void *conf = loaded("headers: {request: {set: {X-Env: prod}}}");
    struct exchange x;
    fake_exchange_open(&x);
    arena_close(&x.arena);
    arena_open(&x.arena, &arena_heap, 0, NULL, 0);
    assert_int_equal(headers_handle(&x, conf, NULL), ERR_LIMIT);
    fake_exchange_close(&x);
    headers_close(conf);
}

static void what_is_not_ours_to_edit_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } refused[] = {
        { "headers: {request: {set: {Content-Length: 3}}}", "Content-Length frames" },
        { "headers: {request: {remove: [transfer-encoding]}}", "transfer-encoding frames" },
        { "headers: {response: {add: {Connection: close}}}", "Connection frames" },
        { "headers: {response: {remove: [Upgrade]}}", "Upgrade frames" },
        { "headers: {request: {set: {Host: a.example}}}", "`host` in the service" },
        { "headers: {request: {set: {'X Env': a}}}", "not a field's name" },
        { "headers: {request: {add: {X-Env: \"a\\r\\nEvil: b\"}}}", "control characters" },
        { "headers: {request: {remove: ['']}}", "not a field's name" },
        { "headers: {request: {set: {X-A: a$hots}}}", "X-A: $hots is no variable; did you mean \"host\"?" },
        { "headers: {request: {set: {X-A: 5$}}}", "a $ is written $$" },
    };
    for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_null(loaded(refused[i].text));
        if (!strstr(words, refused[i].why))
            fail_msg("%s: %s", refused[i].text, words);
    }
}

static void server_answers_with_variables(struct exchange *x)
{
    x->response.status = 201;
    assert_string_equal(values(&x->request.fields, "X-A"), "GET /p ?Evil;");
}

static void variables_are_filled_in(void **state)
{
    (void)state;
    void *conf = loaded("headers:\n"
                        "  request: {set: {X-A: $method $path $arg.q}}\n"
                        "  response: {add: {X-B: $status$$}}\n");
    assert_non_null(conf);
    struct exchange x;
    fake_exchange_open(&x);
    x.request = (struct http_request){ .method_text = BYTES("GET"),
                                       .path = BYTES("/p"),
                                       .query = BYTES("q=%0aEvil") };
    fake.on_chain = server_answers_with_variables;
    assert_int_equal(headers_handle(&x, conf, NULL), OK);
    fake.on_chain = NULL;
    assert_string_equal(values(&x.response.fields, "X-B"), "201$;");
    fake_exchange_close(&x);
    headers_close(conf);
}

static int end(void **state)
{
    (void)state;
    arena_close(&conf_arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),
        cmocka_unit_test(without_an_answer_there_is_nothing_to_edit),
        cmocka_unit_test(an_arena_without_room_is_a_limit),
        cmocka_unit_test(what_is_not_ours_to_edit_is_refused),
        cmocka_unit_test(variables_are_filled_in),
    };
    return cmocka_run_group_tests(tests, NULL, end);
}
