#include "gate/request_value.h"

#include "base/mem.h"
#include "base/test.h"

/* ---- a request, its body in pieces */

struct pieces {
    struct body body;
    const char *left;
    size_t piece;
};

static err pieces_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    const struct pieces *p = (struct pieces *)b;
    const size_t len = strlen(p->left);
    (void)deadline_us;
    *ret_bytes = (struct bytes){ p->left, len < p->piece ? len : p->piece };
    return OK;
}

static void pieces_give(struct body *b, size_t n)
{
    ((struct pieces *)b)->left += n;
}

static const struct body_ops pieces_ops = { .pull = pieces_pull, .give = pieces_give };

static struct exchange x;
static struct pieces pieces;

static int setup(void **unused)
{
    (void)unused;
    x = (struct exchange){ 0 };
    arena_open(&x.arena, &arena_heap, 1 << 20, NULL, 0);
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    arena_close(&x.arena);
    return 0;
}

static err read_json(const char *text, size_t piece, bool known_length, size_t bytes_max,
                     const struct json **ret_json)
{
    pieces = (struct pieces){
        .body = { .ops = &pieces_ops, .length = known_length ? strlen(text) : BODY_LENGTH_UNKNOWN },
        .left = text,
        .piece = piece,
    };
    x.request_body = &pieces.body;
    x.replayable = true;
    return request_json(&x, bytes_max, ret_json);
}

static void a_body_is_read_whole_or_refused(void **unused)
{
    (void)unused;
    const struct json *json;
    static const char text[] = "{\"order\": {\"item\": \"radio\", \"n\": 2}}";
    for (size_t piece = 1; piece <= sizeof text; piece += 7) {
        for (unsigned known = 0; known < 2; known++) {
            assert_int_equal(read_json(text, piece, known, 100, &json), OK);
            assert_bytes_equal(json_pointer(json, BYTES("/order/item"))->text, BYTES("radio"));
            assert_false(x.replayable);
            assert_int_equal(read_json(text, piece, known, sizeof text - 1, &json), OK);
            assert_int_equal(read_json(text, piece, known, sizeof text - 2, &json), ERR_LIMIT);
        }
    }
    assert_int_equal(read_json("{\"order\"", 3, true, 100, &json), ERR_SYNTAX);
    assert_int_equal(read_json("  ", 3, true, 100, &json), OK);
    assert_null(json);
    x.request_body = NULL;
    assert_int_equal(request_json(&x, 100, &json), OK);
    assert_null(json);
}

static struct bytes value(const char *conf, const struct json *json)
{
    struct request_value v;
    const struct variable_scope scope = { 0 };
    struct diag d = DIAG_NONE;
    if (request_value_check(bytes_from(conf), &scope, &d) != OK)
        fail_msg("%s: %s", conf, d.text);
    assert_int_equal(request_value_open(bytes_from(conf), &v), OK);
    const struct bytes b = request_value_of(&v, &x, json);
    request_value_close(&v);
    return b;
}

static void values_come_from_where_they_are_said_to(void **unused)
{
    (void)unused;
    const struct json *json;
    assert_int_equal(
        read_json("{\"who\": \"ann\", \"n\": 17, \"list\": [1, \"b\"], \"no\": null}", 5, true, 100, &json),
        OK);
    x.request.query = BYTES("item=a%20b");
    assert_int_equal(http_fields_add(&x.request.fields, &x.arena, BYTES("X-User"), BYTES("eve")), OK);
    assert_bytes_equal(value("json /who", json), BYTES("ann"));
    assert_bytes_equal(value("json /n", json), BYTES("17"));
    assert_bytes_equal(value("json /list/1", json), BYTES("b"));
    assert_int_equal(value("json /list", json).len, 0);
    assert_int_equal(value("json /no", json).len, 0);
    assert_int_equal(value("json /who", NULL).len, 0);
    assert_bytes_equal(value("query item", NULL), BYTES("a b"));
    assert_bytes_equal(value("header X-User", NULL), BYTES("eve"));
    assert_int_equal(value("cookie uid", NULL).len, 0);
    assert_bytes_equal(value("radio", NULL), BYTES("radio"));
    assert_bytes_equal(value("shop-$arg.item", NULL), BYTES("shop-a b"));
    struct route_captures *c = arena_get(&x.arena, sizeof *c + sizeof(struct bytes));
    const struct bytes names[] = { BYTES("item") };
    *c = (struct route_captures){ .count = 1, .names = names };
    c->values[0] = BYTES("lamp");
    x.captures = c;
    assert_bytes_equal(value("capture item", NULL), BYTES("lamp"));
}

static void mistakes_are_named(void **unused)
{
    (void)unused;
    static const char *const wrong[] = { "json who", "json x/y", "cookie a;b", "$nothing" };
    const struct variable_scope scope = { 0 };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct diag d = DIAG_NONE;
        assert_int_equal(request_value_check(bytes_from(wrong[i]), &scope, &d), ERR_CONF);
        assert_true(d.set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_body_is_read_whole_or_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(values_come_from_where_they_are_said_to, setup, teardown),
        cmocka_unit_test(mistakes_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
