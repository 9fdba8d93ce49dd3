/* A struct that stands for a list (conf_struct.is_list). */
#include "core/conf_test.h"

struct item {
    struct conf_rate rate;
    struct bytes key;
};

struct items {
    struct conf_list items; /* struct item */
};

struct root {
    struct items *limit;
};

static const struct conf_struct item_struct = {
    .name = "item",
    .size = sizeof(struct item),
    .phrases = LIST_OF("{rate} per {key}", "{rate}"),
    .fields = (const struct conf_field[]){ { .name = "rate",
                                             .type = CONF_RATE,
                                             .offset = offsetof(struct item, rate),
                                             .required = true,
                                             .doc = "How much." },
                                           { .name = "key",
                                             .type = CONF_TEXT,
                                             .offset = offsetof(struct item, key),
                                             .preset = "all",
                                             .doc = "Of whom." },
                                           { 0 } },
    .doc = "One.",
};

static const struct conf_struct items_struct = {
    .name = "limit",
    .size = sizeof(struct items),
    .is_list = true,
    .fields = (const struct conf_field[]){ { .name = "items",
                                             .type = CONF_LIST,
                                             .offset = offsetof(struct items, items),
                                             .required = true,
                                             .max = 3,
                                             .sub = &item_struct,
                                             .doc = "All of them." },
                                           { 0 } },
    .doc = "Several.",
};

static const struct conf_struct root_struct = {
    .name = "root",
    .size = sizeof(struct root),
    .fields = (const struct conf_field[]){ { .name = "limit",
                                             .type = CONF_STRUCT,
                                             .offset = offsetof(struct root, limit),
                                             .sub = &items_struct,
                                             .doc = "Bounds." },
                                           { 0 } },
    .doc = "All.",
};

static void parses_as(const char *text, size_t count, const char *first_key, const char *last_key)
{
    struct parsed p;
    parse_as(&p, &root_struct, text);
    if (p.e)
        print_error("%s: %s\n", text, p.said);
    assert_int_equal(p.e, OK);
    const struct root *root = p.conf;
    const struct item *items = root->limit->items.items;
    assert_int_equal(root->limit->items.count, count);
    assert_string_equal(items[0].key.ptr, first_key);
    assert_string_equal(items[count - 1].key.ptr, last_key);
    parsed_close(&p);
}

static void one_or_several(void **state)
{
    (void)state;
    parses_as("limit: 5/s\n", 1, "all", "all");
    parses_as("limit: 5/s per ip\n", 1, "ip", "ip");
    parses_as("limit: {rate: 5/s, key: ip}\n", 1, "ip", "ip");
    parses_as("limit: [5/s per ip, {rate: 5/s, key: x}, 7/h]\n", 3, "ip", "all");
    parses_as("limit: {items: [5/s per ip, 7/h per x]}\n", 2, "ip", "x");
    parses_as("limit: {items: 5/s per ip}\n", 1, "ip", "ip");
}

static void refused(const char *text, const char *said)
{
    struct parsed p;
    parse_as(&p, &root_struct, text);
    assert_int_equal(p.e, ERR_CONF);
    assert_string_equal(p.said, said);
    parsed_close(&p);
}

static void mistakes_have_a_place(void **state)
{
    (void)state;
    refused("limit: [5/s, 5]\n", "weir.yaml:1:14: 5 is not a rate (like 50/s, 1000/m, 10/h)");
    refused("limit: []\n", "weir.yaml:1:8: \"items\" needs at least one item");
    refused("limit: [1/s, 2/s, 3/s, 4/s]\n", "weir.yaml:1:8: \"items\" has 4 items; at most 3 are allowed");
    refused("limit: {rate: 5/s, kay: ip}\n",
            "weir.yaml:1:20: unknown setting \"kay\" in item; did you mean \"key\"?");
    refused("limit: {key: ip}\n", "weir.yaml:1:8: \"rate\" is missing in item");
    refused("limit: [[5/s]]\n", "weir.yaml:1:9: item takes a mapping (setting: value), not a list");
}

static void off_is_none_and_what_is_written_reads_the_same(void **state)
{
    (void)state;
    struct parsed p;
    parse_as(&p, &root_struct, "limit: off\n");
    assert_int_equal(p.e, OK);
    assert_null(((const struct root *)p.conf)->limit);
    parsed_close(&p);
    parse_as(&p, &root_struct, "limit: [5/s per ip, 7/h]\n");
    assert_int_equal(p.e, OK);
    struct gathered text = yaml_of(&root_struct, p.conf);
    parses_as(text.text, 2, "ip", "all");
    free(text.text);
    parsed_close(&p);
}

static void the_schema_takes_a_list(void **state)
{
    (void)state;
    struct gathered g = { NULL, 0 };
    conf_write_schema(&root_struct, &(struct conf_writer){ gather, &g });
    assert_non_null(strstr(g.text, "\"type\":\"array\""));
    free(g.text);
    g = (struct gathered){ NULL, 0 };
    conf_write_reference(&items_struct, &(struct conf_writer){ gather, &g });
    assert_non_null(strstr(g.text, "Short form: one [item](#item), or a list of them."));
    free(g.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_or_several),
        cmocka_unit_test(mistakes_have_a_place),
        cmocka_unit_test(off_is_none_and_what_is_written_reads_the_same),
        cmocka_unit_test(the_schema_takes_a_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
