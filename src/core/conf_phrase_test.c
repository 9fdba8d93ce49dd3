#include "core/conf_test.h"

#include "core/conf_part.h"

struct thing {
    struct bytes a, b;
    int64_t n;
    uint64_t wait_ms;
    struct sample_health *health;
};

static const struct conf_field thing_fields[] = {
    { .name = "a", .type = CONF_TEXT, .offset = offsetof(struct thing, a), .preset = "none" },
    { .name = "b", .type = CONF_TEXT, .offset = offsetof(struct thing, b) },
    { .name = "n", .type = CONF_INT, .offset = offsetof(struct thing, n), .preset = "7", .max = 100 },
    { .name = "wait", .type = CONF_MS, .offset = offsetof(struct thing, wait_ms) },
    { .name = "health",
      .type = CONF_STRUCT,
      .offset = offsetof(struct thing, health),
      .sub = &sample_health },
    { .name = NULL },
};
static const struct conf_struct thing = {
    .name = "thing",
    .size = sizeof(struct thing),
    .fields = thing_fields,
    .phrases = (const char *const[]){ "{n} after {wait}", "{wait} after {n}", "{a} -> {b}", "({a})",
                                      "{a} -> {b} at {n}!", "seen by {health}", NULL },
};
struct root {
    struct conf_mark pad;
    struct thing *thing;
};
static const struct conf_field root_fields[] = {
    { .name = "thing", .type = CONF_STRUCT, .offset = offsetof(struct root, thing), .sub = &thing },
    { .name = NULL },
};
static const struct conf_struct root = { .name = "root", .size = sizeof(struct root), .fields = root_fields };

static const struct {
    const char *text, *a, *b;
    int n;
    unsigned wait_ms;
} good[] = {
    { "5 after 2s", "none", NULL, 5, 2000 },
    { "2s after 5", "none", NULL, 5, 2000 }, /* same literals: the types decide */
    { "  5   after   2s  ", "none", NULL, 5, 2000 },
    { "x -> y", "x", "y", 7, 0 },
    { "x y  -> z", "x y", "z", 7, 0 },
    { "x -> y -> z", "x", "y -> z", 7, 0 }, /* ends where the next literal begins */
    { "x -> y at 3!", "x", "y", 3, 0 },     /* the longest that fits */
    { "x -> y at 3", "x", "y at 3", 7, 0 },
    { "(x)", "x", NULL, 7, 0 },
    { "((x))", "(x)", NULL, 7, 0 },
};

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        char text[100];
        struct parsed p;
        snprintf(text, sizeof text, "thing: \"%s\"", good[i].text);
        parse_as(&p, &root, text);
        assert_string_equal(p.said, "");
        const struct thing *t = ((const struct root *)p.conf)->thing;
        assert_string_equal(t->a.ptr, good[i].a);
        assert_true(good[i].b ? strcmp(t->b.ptr, good[i].b) == 0 : t->b.ptr == NULL);
        assert_int_equal(t->n, good[i].n);
        assert_int_equal(t->wait_ms, good[i].wait_ms);
        parsed_close(&p);
    }
}

static void test_nested(void **state)
{
    (void)state;
    struct parsed p;
    parse_as(&p, &root, "thing: seen by HEAD /x every 3s");
    assert_int_equal(p.e, OK);
    const struct thing *t = ((const struct root *)p.conf)->thing;
    assert_int_equal(t->health->method, 1);
    assert_int_equal(t->health->interval_ms, 3000);
    parsed_close(&p);
}

#define SHAPES                                                                                            \
    "write it as \"{n} after {wait}\", \"{wait} after {n}\", \"{a} -> {b}\", \"({a})\", \"{a} -> {b} at " \
    "{n}!\", \"seen by {health}\", or as a mapping"

static const struct {
    const char *text, *said;
} bad[] = {
    { "thing: hm", "weir.yaml:1:8: \"hm\" does not fit thing; " SHAPES },
    { "thing: \"\"", "weir.yaml:1:8: thing has no value; " SHAPES },
    { "thing:", "weir.yaml:1:7: thing has no value; " SHAPES },
    { "thing: ()", "weir.yaml:1:8: \"()\" does not fit thing; " SHAPES },
    { "thing: -> y", "weir.yaml:1:8: \"-> y\" does not fit thing; " SHAPES },
    { "thing: 500 after 2s", "weir.yaml:1:8: 500 is out of bounds: 0 to 100" },
    { "thing: 5 after never", "weir.yaml:1:16: never is not a duration (like 500ms, 10s, 2m, 1h)" },
    { "thing: x -> y at noon!", /* the shorter one could take it */
      "weir.yaml:1:18: noon is not a whole number (like 42)" },
    { "thing: \"5\\x20after 2x\"", "weir.yaml:1:8: 2x is not a duration (like 500ms, 10s, 2m, 1h)" },
    { "thing: seen by HEAD /x every 3x", "weir.yaml:1:30: 3x is not a duration (like 500ms, 10s, 2m, 1h)" },
};

static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct parsed p;
        parse_as(&p, &root, bad[i].text);
        assert_string_equal(p.said, bad[i].said ? bad[i].said : "");
        parsed_close(&p);
    }
}

static void test_split(void **state)
{
    (void)state;
    struct conf_phrase_part parts[CONF_PHRASE_PARTS_MAX];
    assert_int_equal(conf_phrase_split("({a}) to {bc}", parts), 4);
    assert_false(parts[0].field);
    assert_true(bytes_eq(parts[2].text, BYTES(") to ")));
    assert_true(parts[3].field && bytes_eq(parts[3].text, BYTES("bc")));
    assert_int_equal(conf_phrase_split("", parts), 0);
}

/* ---- a list for the phrase that is one list */

struct names {
    struct conf_list names;
    bool strict;
};
static const struct conf_field names_fields[] = {
    { .name = "names",
      .type = CONF_LIST,
      .item = CONF_TEXT,
      .offset = offsetof(struct names, names),
      .required = true },
    { .name = "strict", .type = CONF_BOOL, .offset = offsetof(struct names, strict), .preset = "true" },
    { .name = NULL },
};
static const struct conf_struct names = {
    .name = "names",
    .size = sizeof(struct names),
    .fields = names_fields,
    .phrases = (const char *const[]){ "only {names}", "{names}", NULL },
};
struct names_root {
    struct names *names;
};
static const struct conf_field names_root_fields[] = {
    { .name = "names", .type = CONF_STRUCT, .offset = offsetof(struct names_root, names), .sub = &names },
    { .name = NULL },
};
static const struct conf_struct names_root = { .name = "root",
                                               .size = sizeof(struct names_root),
                                               .fields = names_root_fields };

static void test_list(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t count;
    } cases[] = { { "names: [a, b]", 2 },
                  { "names: a", 1 },
                  { "names: {names: [a, b, c]}", 3 },
                  { "names:\n- a\n- b", 2 } };
    struct parsed p;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        parse_as(&p, &names_root, cases[i].text);
        assert_int_equal(p.e, OK);
        const struct names *n = ((struct names_root *)p.conf)->names;
        assert_int_equal(n->names.count, cases[i].count);
        assert_true(bytes_eq(((struct bytes *)n->names.items)[0], BYTES("a")));
        assert_true(n->strict);
        parsed_close(&p);
    }
    parse_as(&p, &names_root, "names: [a, {b: c}]");
    assert_string_equal(p.said, "weir.yaml:1:12: \"names\" takes a text, not a mapping");
    parsed_close(&p);
    parse_as(&p, &names_root, "names: []");
    assert_string_equal(p.said, "weir.yaml:1:8: \"names\" needs at least one item");
    parsed_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),  cmocka_unit_test(test_nested), cmocka_unit_test(test_bad),
        cmocka_unit_test(test_split), cmocka_unit_test(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
