#include "core/conf_test.h"

struct root {
    struct conf_mark pad;
    struct conf_list pairs; /* struct conf_pair */
    struct conf_list more;
    struct conf_list texts; /* struct bytes */
};
static const struct conf_field root_fields[] = {
    { .name = "pairs", .type = CONF_PAIRS, .offset = offsetof(struct root, pairs) },
    { .name = "more", .type = CONF_PAIRS, .offset = offsetof(struct root, more) },
    { .name = "texts", .type = CONF_LIST, .item = CONF_TEXT, .offset = offsetof(struct root, texts) },
    { .name = NULL },
};
static const struct conf_struct root = { .name = "root", .size = sizeof(struct root), .fields = root_fields };

static void expect(const char *text, const char *said)
{
    struct parsed p;
    parse_as(&p, &root, text);
    assert_string_equal(p.said, said);
    assert_int_equal(p.e, said[0] ? ERR_CONF : OK);
    parsed_close(&p);
}

static void test_syntax(void **state)
{
    (void)state;
    expect("pairs: {a: b",
           "weir.yaml:2:1: not YAML: did not find expected ',' or '}' while parsing a flow mapping");
    expect("pairs:\n  a: b\n c: d",
           "weir.yaml:3:2: not YAML: did not find expected key while parsing a block mapping");
    expect("pairs:\n\ta: b", "weir.yaml:2:1: not YAML: found character that cannot start any token while "
                             "scanning for the next token");
    expect("pairs: {}\n---\npairs: {}\n", "weir.yaml:2:1: one document only: a second begins here");
    expect("--- {}\n", "");
    expect("---\n...\n", "weir.yaml:2:1: root takes a mapping (setting: value), not a text");
    expect("\xef\xbb\xbfpairs: {}", "");
    expect("? [a]\n: b\n", "weir.yaml:1:3: a name (key) must be a plain text");
    expect("texts: !!str a",
           "weir.yaml:1:8: tags are not used here (tag:yaml.org,2002:str): write the value alone");
    expect("texts: !x [a]", "weir.yaml:1:8: tags are not used here (!x): write the value alone");
    expect("pairs: !x {a: b}", "weir.yaml:1:8: tags are not used here (!x): write the value alone");
}

static void expect_bytes(struct bytes text, const char *said)
{
    struct arena a;
    struct diag d = DIAG_NONE;
    char got[640];
    void *conf;
    arena_open(&a, &arena_heap, 1 << 26, NULL, 0);
    assert_int_equal(conf_parse(text, "f", &root, &a, NULL, &conf, &d), ERR_CONF);
    assert_string_equal(diag_print(&d, got, sizeof got), said);
    arena_close(&a);
}

static void test_bytes(void **state)
{
    (void)state;
    expect_bytes((struct bytes){ "texts: a\n\0", 10 }, "f:2:1: a NUL byte: this is not a YAML text");
    expect("texts: \"a\\0b\"", "weir.yaml:1:8: a NUL character cannot stand in a value");
    expect("pairs: {\"a\\0b\": c}", "weir.yaml:1:9: a NUL character cannot stand in a value");
    expect("texts: [a,\n  \xff]", "weir.yaml:2:3: not YAML in UTF-8: invalid leading UTF-8 octet (0xff)");
    expect("texts: \xc3", "weir.yaml:1:8: not YAML in UTF-8: incomplete UTF-8 octet sequence");
    expect("texts: \x01", "weir.yaml:1:8: not YAML in UTF-8: control characters are not allowed (0x01)");
    char *large = calloc(1, CONF_FILE_BYTES_MAX + 1);
    assert_non_null(large);
    memset(large, '#', CONF_FILE_BYTES_MAX + 1);
    expect_bytes((struct bytes){ large, CONF_FILE_BYTES_MAX + 1 }, "f: larger than 16 MiB");
    free(large);
}

static void test_duplicates(void **state)
{
    (void)state;
    expect("pairs: {a: 1, b: 2, \"a\": 3}", "weir.yaml:1:21: \"a\" is set twice; it stood already in line 1");
    char many[2000];
    size_t at = (size_t)snprintf(many, sizeof many, "pairs:\n");
    for (int i = 0; i < 40; i++) /* enough to be hashed */
        at += (size_t)snprintf(&many[at], sizeof many - at, "  k%d: v\n", i);
    expect(many, "");
    snprintf(&many[at], sizeof many - at, "  k7: v\n");
    expect(many, "weir.yaml:42:3: \"k7\" is set twice; it stood already in line 9");
}

static void test_aliases(void **state)
{
    (void)state;
    struct parsed p;
    parse_as(&p, &root,
             "pairs: &p {a: &v one, b: two}\nmore: {<<: *p, b: mine, c: *v}\ntexts: [*v, &w x, *w]");
    assert_string_equal(p.said, "");
    const struct root *r = p.conf;
    const struct conf_pair *more = r->more.items;
    assert_int_equal(r->more.count, 3);
    assert_string_equal(more[0].value.ptr, "mine"); /* what stands here wins over what is merged */
    assert_string_equal(more[1].value.ptr, "one");
    assert_string_equal(more[2].name.ptr, "a");
    assert_int_equal(r->texts.count, 3);
    assert_string_equal(((struct bytes *)r->texts.items)[2].ptr, "x");
    parsed_close(&p);

    parse_as(&p, &root, "pairs: &p {a: 1}\ntexts: [&q x]\nmore: {<<: [*p, {a: 2, z: 3}], \"<<\": 4}");
    assert_string_equal(p.said, "weir.yaml:3:32: \"<<\" is set twice; it stood already in line 3");
    parsed_close(&p);

    parse_as(&p, &root, "pairs: &p {a: 1}\nmore: {<<: [*p, {a: 2, z: 3}]}");
    assert_string_equal(p.said, "");
    more = ((const struct root *)p.conf)->more.items;
    assert_int_equal(((const struct root *)p.conf)->more.count, 2);
    assert_string_equal(more[0].value.ptr, "1");
    parsed_close(&p);

    expect("more: {\"<<\": quoted}", "");
    expect("texts: *no", "weir.yaml:1:8: the alias *no has no anchor (&no) before it");
    expect("texts: &t [*t]", "weir.yaml:1:12: the alias *t has no anchor (&t) before it");
    expect("pairs: {<<: a}", "weir.yaml:1:13: a merge key (<<) takes a mapping or a list of mappings");
}

static void test_bounds(void **state)
{
    (void)state;
    char deep[200] = "texts: ";
    memset(deep + 7, '[', CONF_DEPTH_MAX);
    expect(deep, "weir.yaml:1:71: nested more than 64 deep");

    /* a billion laughs: each line ten times the one before it */
    char text[2000];
    size_t at = (size_t)snprintf(text, sizeof text, "texts:\n- &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 10; i++) {
        at += (size_t)snprintf(&text[at], sizeof text - at, "- &a%d [", i);
        for (int j = 0; j < 10; j++)
            at += (size_t)snprintf(&text[at], sizeof text - at, "%s*a%d", j ? "," : "", i - 1);
        at += (size_t)snprintf(&text[at], sizeof text - at, "]\n");
    }
    expect(text, "weir.yaml:7:40: more than 1048576 values, aliases counted as often as they are used");

    /* as deep as wide: an alias is as deep as what it names */
    at = (size_t)snprintf(text, sizeof text, "texts:\n- &a0 [x]\n");
    for (int i = 1; i < 70; i++)
        at += (size_t)snprintf(&text[at], sizeof text - at, "- &a%d [*a%d]\n", i, i - 1);
    expect(text, "weir.yaml:63:9: nested more than 64 deep");

    struct gathered anchors = { NULL, 0 };
    gather(&anchors, BYTES("texts:\n"));
    for (int i = 0; i <= 1024; i++) {
        char line[32];
        int n = snprintf(line, sizeof line, "- &a%d x\n", i);
        gather(&anchors, (struct bytes){ line, (size_t)n });
    }
    expect(anchors.text, "weir.yaml:1026:3: more than 1024 anchors (&name)");
    free(anchors.text);

    struct gathered merged = { NULL, 0 };
    gather(&merged, BYTES("pairs: &p\n"));
    for (int i = 0; i <= 1024; i++) {
        char line[32];
        int n = snprintf(line, sizeof line, "  k%d: x\n", i);
        gather(&merged, (struct bytes){ line, (size_t)n });
    }
    gather(&merged, BYTES("more: {<<: *p}\n"));
    expect(merged.text, "weir.yaml:1027:12: a merge key (<<) gives more than 1024 settings");
    free(merged.text);
}

static void test_memory(void **state)
{
    (void)state;
    static const char text[] =
        "pairs: &p {a: &v one, b: two, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1, j: 1, k: 1, "
        "l: 1, m: 1, n: 1, o: 1, p: 1, q: 1, r: 1}\n"
        "more: {<<: *p, b: mine, c: *v}\n";
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        struct parsed p;
        mem_fail_at(n);
        parse_as(&p, &root, text);
        mem_fail_at(0);
        e = p.e;
        parsed_close(&p);
        assert_true(e == OK || e == ERR_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_syntax),  cmocka_unit_test(test_bytes),  cmocka_unit_test(test_duplicates),
        cmocka_unit_test(test_aliases), cmocka_unit_test(test_bounds), cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
