#include "load/script.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/test.h"

#if WEIR_HAVE_LUAJIT

static struct arena arena;
static struct scenario *scenario;

static struct script *opened(const char *text)
{
    struct script *s;
    struct diag d = DIAG_NONE;
    if (script_open(bytes_from(text), "hooks.lua", &s, &d) != OK)
        fail_msg("%s", d.text);
    return s;
}

static void what_is_no_script(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } wrong[] = { { "function request(", "hooks.lua:1:" },
                  { "x = 1\n\nerror('no')", "hooks.lua:3: no" },
                  { "x = 1", "neither a function request nor" } };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct script *s;
        struct diag d = DIAG_NONE;
        assert_int_equal(script_open(bytes_from(wrong[i].text), "hooks.lua", &s, &d), ERR_CONF);
        if (!strstr(d.text, wrong[i].says))
            fail_msg("%s", d.text);
    }
}

static void a_request_is_changed(void **state)
{
    (void)state;
    struct script *s =
        opened("function request(r)\n"
               "  assert(r.kind == 'buy' and r.method == 'POST' and r.vars.a == '1' and r.vars.b == nil)\n"
               "  r.path = r.path .. '?n=' .. #r.body\n"
               "  r.fields['X-New'] = 7\n"
               "  r.fields['X-Old'] = nil\n"
               "  r.vars.b = 'two'\n"
               "  r.vars.c = 'unknown'\n"
               "end");
    struct bytes slots[2] = { BYTES("1"), BYTES_NONE };
    struct scenario_part_field fields[] = { { BYTES("X-Old"), BYTES("x") }, { BYTES("X-Kept"), BYTES("y") } };
    struct scenario_parts p = { BYTES("POST"), BYTES("/a"), BYTES("body"), fields, 2 };
    const struct script_call call = { scenario, BYTES("buy"), slots, &arena };
    assert_true(script_has_request(s) && !script_has_response(s));
    assert_true(script_request(s, &call, &p));
    assert_bytes_equal(p.path, BYTES("/a?n=4"));
    assert_bytes_equal(p.body, BYTES("body"));
    assert_int_equal(p.fields_count, 2);
    for (size_t i = 0; i < 2; i++)
        assert_bytes_equal(p.fields[i].value, p.fields[i].name.len == 5 ? BYTES("7") : BYTES("y"));
    assert_bytes_equal(slots[1], BYTES("two"));
    script_close(s);
}

static void what_is_no_request_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = { "r.path = 'x'",
                                         "r.path = '/ x'",
                                         "r.path = nil",
                                         "r.body = {}",
                                         "r.fields['a b'] = 1",
                                         "r.fields.x = 'a\\nb'",
                                         "r.fields['content-length'] = '3'",
                                         "error('x')",
                                         "x.y = 1" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[128];
        snprintf(text, sizeof text, "function request(r) %s end", wrong[i]);
        struct script *s = opened(text);
        struct bytes slots[2] = { BYTES_NONE, BYTES_NONE };
        struct scenario_parts p = { BYTES("GET"), BYTES("/"), BYTES(""), NULL, 0 };
        const struct script_call call = { scenario, BYTES("a"), slots, &arena };
        if (script_request(s, &call, &p))
            fail_msg("%s", wrong[i]);
        script_close(s);
    }
}

static void a_response_is_judged(void **state)
{
    (void)state;
    struct script *s = opened("n = 0\nfunction response(r)\n"
                              "  n = n + 1\n  r.vars.a = r.body .. n .. r.fields['x-a']\n"
                              "  if r.status == 500 then return false end\n"
                              "  if r.ms > 3 then return 'slow' end\n"
                              "  if r.status == 501 then error('x') end\n"
                              "  return n == 1 or nil\n"
                              "end");
    struct http_field field = { .name = "X-A", .name_len = 3, .value = "v", .value_len = 1 };
    struct http_response head = { .status = 200, .fields = { &field, 1, 1 } };
    struct expect_answer a = { .head = &head, .body = BYTES("b"), .ns = 2000000, .arena = &arena };
    struct bytes slots[2] = { BYTES_NONE, BYTES_NONE };
    const struct script_call call = { scenario, BYTES("a"), slots, &arena };
    assert_true(script_response(s, &call, &a));
    assert_bytes_equal(slots[0], BYTES("b1v"));
    assert_true(script_response(s, &call, &a));
    a.ns = 4000000;
    assert_false(script_response(s, &call, &a));
    a.ns = 0;
    head.status = 500;
    assert_false(script_response(s, &call, &a));
    head.status = 501;
    assert_false(script_response(s, &call, &a));
    assert_bytes_equal(slots[0], BYTES("b4v")); /* what failed has set nothing */
    script_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_script),
        cmocka_unit_test(a_request_is_changed),
        cmocka_unit_test(what_is_no_request_is_refused),
        cmocka_unit_test(a_response_is_judged),
    };
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    scenario = mem_must_get(sizeof *scenario);
    scenario->slots[0] = BYTES("a");
    scenario->slots[1] = BYTES("b");
    scenario->slots_count = 2;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    mem_free(scenario);
    arena_close(&arena);
    return failed;
}

#else

int main(void)
{
    struct script *s;
    struct diag d = DIAG_NONE;
    return script_open(BYTES("x"), "x", &s, &d) != ERR_CONF || !d.set;
}

#endif
