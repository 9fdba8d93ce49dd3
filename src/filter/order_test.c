#include <stdio.h>

#include "filter/fakes_test.h"
/* first the fakes, some of them our own: answers are looked into, and the ledger is a little one */
#undef exchange_answer
#define exchange_answer kept_exchange_answer
#define worker_wall_us fake_worker_wall_us
#define ledger_here fake_ledger_here
#define ledger_look fake_ledger_look
#define ledger_submit fake_ledger_submit

uint64_t worker_wall_us(void);
void exchange_answer(struct exchange *x, unsigned status, struct bytes content_type, struct bytes body,
                     struct bytes by);
#include "filter/order.c"
#include "gate/admission.c"
#include "gate/problem.c"
#include "gate/stock_http.c"
/* then what stands on both */
#include "filter/variables_test.h"
#include "ledger/stock_test.h"

static struct little ledger;
static bool ledger_gone, ledger_full;
static char said[9000];

uint64_t fake_worker_wall_us(void)
{
    return 1700000000000000 + fake.now_us;
}

void kept_exchange_answer(struct exchange *x, unsigned status, struct bytes content_type, struct bytes body,
                          struct bytes by)
{
    fake_exchange_answer(x, status, content_type, body, by);
    snprintf(said, sizeof said, "%.*s", BYTES_ARG(body));
}

struct ledger *fake_ledger_here(void)
{
    return (struct ledger *)&ledger;
}

err fake_ledger_submit(struct ledger *l, struct ledger_call *c)
{
    struct ledger_op *op = c->ops;
    (void)l;
    if (ledger_gone)
        return ERR_UNAVAILABLE;
    assert_int_equal(c->ops_count, 1);
    if (ledger_full) {
        const struct stock_answer full = { .result = STOCK_FULL };
        memcpy(op->answer, &full, sizeof full);
        op->ret_answer_bytes = sizeof full;
        c->ret_refused = ERR_LIMIT;
        return OK;
    }
    assert_int_equal(op->rules, stock_rules.id);
    c->ret_refused = little_apply(&ledger, op->body);
    assert_true(ledger.answer_bytes <= op->answer_size);
    memcpy(op->answer, ledger.answer, ledger.answer_bytes);
    op->ret_answer_bytes = ledger.answer_bytes;
    c->ret_time_ms = ledger.now_ms;
    return OK;
}

bool fake_ledger_look(const struct ledger *l, uint8_t rules, struct bytes key, uint64_t *ret_value)
{
    (void)l;
    const struct record *r = record_find(ledger.records, rules, key);
    return r && stock_rules.shown(r, ret_value);
}

/* ---- a route, and what it answers ---- */

struct route {
    struct loaded loaded;
    void *state;
};

static struct route opened(const char *match, const char *conf)
{
    char text[512];
    struct route r;
    struct diag d = DIAG_NONE;
    snprintf(text, sizeof text, "match: %s\norder: %s\n", match, conf);
    loaded_open(&r.loaded, &order_filter, text);
    if (r.loaded.words[0])
        fail_msg("%s: %s", conf, r.loaded.words);
    assert_int_equal(order_open(r.loaded.conf, NULL, BYTES("shop/buy"), &r.state, &d), OK);
    return r;
}

static void closed(struct route *r)
{
    order_close(r->state);
    loaded_close(&r->loaded);
}

static char location[300], cookie[300], retry_after[20];

static void copy_field(const struct exchange *x, const char *name, char *out, size_t size)
{
    const struct http_field *f = http_fields_find(&x->response.fields, bytes_from(name));
    snprintf(out, size, "%.*s", f ? (int)f->value_len : 0, f ? f->value : "");
}

/* Asks; the status, and the body in `answer`. fields: name, value, ..., NULL. */
static unsigned asks(struct route *r, const char *url, const char *body, const char *const *fields)
{
    struct exchange x;
    struct body_memory m;
    fake_exchange_open(&x);
    x.deadline_us = DEADLINE_NONE;
    ask(&x, url);
    for (; fields && *fields; fields += 2)
        assert_int_equal(
            http_fields_add(&x.request.fields, &x.arena, bytes_from(fields[0]), bytes_from(fields[1])), OK);
    for (uint32_t i = 0; i < x.request.fields.count; i++)
        x.request.fields.at[i].id = (uint8_t)http_field_id_of(http_field_name(&x.request.fields.at[i]));
    if (body)
        x.request_body = body_memory_init(&m, bytes_from(body));
    assert_int_equal(order_handle(&x, r->state, NULL), OK);
    copy_field(&x, "Location", location, sizeof location);
    copy_field(&x, "Set-Cookie", cookie, sizeof cookie);
    copy_field(&x, "Retry-After", retry_after, sizeof retry_after);
    fake_exchange_close(&x);
    return x.response.status;
}

static void says(const char *words)
{
    if (!strstr(said, words))
        fail_msg("%s does not say %s", said, words);
}

static void put(const char *item, uint64_t total, uint32_t per_user)
{
    assert_int_equal(
        set_item(&ledger, &(struct stock_item_change){ .item = bytes_from(item),
                                                       .set = STOCK_SET_TOTAL | STOCK_SET_PER_USER,
                                                       .total = total,
                                                       .per_user = per_user }),
        STOCK_DONE);
}

static int setup(void **unused)
{
    (void)unused;
    little_open(&ledger);
    ledger_gone = ledger_full = false;
    return 0;
}

static int teardown(void **unused)
{
    (void)unused;
    little_close(&ledger);
    return fake.shared_held == 0 ? 0 : -1;
}

#define FIELDS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* ---- what clients see ---- */

static void an_order_is_held_and_the_same_key_is_the_same_order(void **unused)
{
    (void)unused;
    put("radio", 2, 0);
    struct route r = opened("/buy", "{item: query item, quantity: query n, user: cookie uid, url: /mine/}");
    const char *const *ann = FIELDS("Cookie", "uid=ann", "Idempotency-Key", "\"k 1\"");
    assert_int_equal(asks(&r, "http://h/buy?item=radio", NULL, ann), 202);
    says("\"order\":\"k 1\",\"state\":\"held\"");
    assert_string_equal(location, "/mine/k%201");
    assert_int_equal(asks(&r, "http://h/buy?item=radio", NULL, ann), 202);
    assert_string_equal(location, "/mine/k%201");
    assert_int_equal(asks(&r, "http://h/buy?item=radio&n=2", NULL, ann), 422);
    says("\"reason\":\"other_order\"");
    assert_int_equal(item_now(&ledger, "radio").held, 1);
    assert_int_equal(asks(&r, "http://h/buy?item=radio", NULL, FIELDS("Cookie", "uid=bob")), 202);
    assert_int_equal(strlen(location), strlen("/mine/") + RANDOM_ID_BYTES);
    closed(&r);
}

static void why_not(void **unused)
{
    (void)unused;
    put("radio", 3, 2);
    struct route r = opened("/buy", "{item: query item, quantity: query n, user: cookie uid}");
    const char *const *ann = FIELDS("Cookie", "uid=ann");
    assert_int_equal(asks(&r, "http://h/buy?item=lamp", NULL, ann), 404);
    says("\"reason\":\"unknown_item\"");
    assert_int_equal(asks(&r, "http://h/buy?item=radio&n=3", NULL, ann), 409);
    says("\"reason\":\"user_limit\",\"item\":\"radio\"");
    assert_int_equal(asks(&r, "http://h/buy?item=radio&n=x", NULL, ann), 400);
    assert_int_equal(asks(&r, "http://h/buy?item=radio&n=0", NULL, ann), 400);
    assert_int_equal(asks(&r, "http://h/buy?n=1", NULL, ann), 400);
    assert_int_equal(asks(&r, "http://h/buy?item=radio", NULL, NULL), 400);
    says("who the user is");
    assert_int_equal(asks(&r, "http://h/buy?item=radio&n=2", NULL, ann), 202);
    const char *const *bob = FIELDS("Cookie", "uid=bob", "Idempotency-Key", "b");
    assert_int_equal(asks(&r, "http://h/buy?item=radio&n=2", NULL, bob), 409);
    says("\"reason\":\"sold_out\",\"item\":\"radio\",\"may_come_back\":true");
    assert_int_equal(asks(&r, "http://h/buy?item=radio", NULL, bob), 202);
    ledger.now_ms += 600000;
    assert_int_equal(asks(&r, "http://h/buy?item=radio", NULL, bob), 202); /* expired: and still the same */
    says("\"state\":\"expired\"");
    ledger_full = true;
    assert_int_equal(asks(&r, "http://h/buy?item=radio", NULL, ann), 503);
    says("\"reason\":\"full\"");
    assert_string_equal(retry_after, "1");
    ledger_gone = true;
    assert_int_equal(asks(&r, "http://h/buy?item=radio", NULL, ann), 503);
    says("\"reason\":\"unavailable\"");
    assert_string_equal(retry_after, "1");
    closed(&r);
}

static void sold_out_is_known_without_the_ledger(void **unused)
{
    (void)unused;
    put("radio", 1, 0);
    struct route r = opened("/buy", "{item: radio}");
    const char *const *key = FIELDS("Idempotency-Key", "a");
    assert_int_equal(asks(&r, "http://h/buy", NULL, key), 202);
    const uint64_t entries = ledger.id;
    assert_int_equal(asks(&r, "http://h/buy", NULL, NULL), 409);
    assert_int_equal(ledger.id, entries);
    /* one that may have been there before: the ledger says */
    assert_int_equal(asks(&r, "http://h/buy", NULL, key), 202);
    assert_int_equal(ledger.id, entries + 1);
    assert_int_equal(move_to(&ledger, "a", STOCK_MOVE_CONFIRM), STOCK_DONE);
    assert_int_equal(asks(&r, "http://h/buy", NULL, NULL), 410);
    says("\"detail\":\"sold out\"");
    closed(&r);
}

static void several_items_come_in_the_body(void **unused)
{
    (void)unused;
    put("radio", 5, 0);
    put("case", 5, 0);
    struct route r = opened("/buy", "{items: json /basket, user: json /who, id: json /id}");
    assert_int_equal(
        asks(&r, "http://h/buy",
             "{\"id\":\"a\",\"who\":\"ann\",\"basket\":[{\"item\":\"radio\",\"quantity\":2},\"case\"]}",
             NULL),
        202);
    assert_int_equal(item_now(&ledger, "radio").held, 2);
    assert_int_equal(item_now(&ledger, "case").held, 1);
    static const char *const wrong[] = {
        "{\"id\":\"b\",\"who\":\"ann\",\"basket\":[]}",
        "{\"id\":\"b\",\"who\":\"ann\",\"basket\":{}}",
        "{\"id\":\"b\",\"who\":\"ann\",\"basket\":[{\"quantity\":2}]}",
        "{\"id\":\"b\",\"who\":\"ann\",\"basket\":[{\"item\":\"radio\",\"quantity\":1.5}]}",
        "{\"id\":\"b\",\"who\":\"ann\",\"basket\":[\"radio\",\"radio\"]}",
        "{\"id\":\"b\",\"who\":\"ann\"",
        "",
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(asks(&r, "http://h/buy", wrong[i], NULL), 400);
    char large[17000];
    memset(large, ' ', sizeof large - 1);
    large[sizeof large - 1] = 0;
    assert_int_equal(asks(&r, "http://h/buy", large, NULL), 413);
    assert_int_equal(item_now(&ledger, "radio").held, 2);
    closed(&r);
}

static void an_order_is_looked_at_paid_and_given_up(void **unused)
{
    (void)unused;
    put("radio", 5, 0);
    assert_int_equal(reserve_one(&ledger, "a", "ann", "radio", 2), STOCK_DONE);
    assert_int_equal(reserve_one(&ledger, "b", "ann", "radio", 1), STOCK_DONE);
    struct route status = opened("/orders", "{status: query id, user: cookie uid}");
    struct route confirm = opened("/paid", "confirm query id");
    struct route release = opened("/gone", "release query id");
    struct route stock = opened("/stock", "stock query item");
    const char *const *ann = FIELDS("Cookie", "uid=ann");
    assert_int_equal(asks(&status, "http://h/orders?id=a", NULL, ann), 200);
    says("\"state\":\"held\"");
    says("\"items\":[{\"item\":\"radio\",\"quantity\":2,\"price\":0}]");
    assert_int_equal(asks(&status, "http://h/orders?id=a", NULL, FIELDS("Cookie", "uid=bob")), 404);
    assert_int_equal(asks(&status, "http://h/orders?id=c", NULL, ann), 404);
    assert_int_equal(asks(&status, "http://h/orders", NULL, ann), 400);
    assert_int_equal(asks(&confirm, "http://h/paid?id=a", NULL, NULL), 200);
    says("\"state\":\"paid\"");
    assert_int_equal(asks(&confirm, "http://h/paid?id=a", NULL, NULL), 200);
    assert_int_equal(asks(&release, "http://h/gone?id=a", NULL, NULL), 409);
    says("\"reason\":\"wrong_state\",\"state\":\"paid\"");
    assert_int_equal(asks(&release, "http://h/gone?id=b", NULL, NULL), 200);
    assert_int_equal(asks(&confirm, "http://h/paid?id=b", NULL, NULL), 409);
    assert_int_equal(asks(&stock, "http://h/stock?item=radio", NULL, NULL), 200);
    says("\"total\":5,\"free\":3,\"held\":0,\"sold\":2");
    says("\"reserved\":2,\"paid\":1");
    assert_int_equal(asks(&stock, "http://h/stock?item=lamp", NULL, NULL), 404);
    closed(&status);
    closed(&confirm);
    closed(&release);
    closed(&stock);
}

#if WEIR_HAVE_OPENSSL
static void who_waits_has_a_place_that_nobody_else_can_use(void **unused)
{
    (void)unused;
    put("radio", 100, 0);
    struct route r =
        opened("/buy", "{item: radio, user: cookie uid, admit: {rate: 10/s, burst: 1, waiting_room: on}}");
    char mine[400], changed[400];
    assert_int_equal(asks(&r, "http://h/buy", NULL, FIELDS("Cookie", "uid=ann")), 202);
    assert_int_equal(asks(&r, "http://h/buy", NULL, FIELDS("Cookie", "uid=bob")), 429);
    says("\"reason\":\"waiting\",\"position\":1,\"wait_ms\":100");
    assert_string_equal(retry_after, "1");
    assert_non_null(strstr(cookie, "HttpOnly"));
    snprintf(mine, sizeof mine, "uid=bob; %.*s", (int)strcspn(cookie, ";"), cookie);
    assert_int_equal(asks(&r, "http://h/buy", NULL, FIELDS("Cookie", "uid=eve")), 429);
    says("\"position\":2");
    /* before its turn it stays where it is */
    assert_int_equal(asks(&r, "http://h/buy", NULL, FIELDS("Cookie", mine)), 429);
    says("\"position\":1");
    fake.now_us += 100000;
    snprintf(changed, sizeof changed, "uid=eve%s", mine + 7);
    assert_int_equal(asks(&r, "http://h/buy", NULL, FIELDS("Cookie", changed)), 429); /* stolen */
    says("\"position\":2");
    memcpy(changed, mine, sizeof mine);
    changed[strlen(changed) - 45] ^= 1; /* another number in it */
    assert_int_equal(asks(&r, "http://h/buy", NULL, FIELDS("Cookie", changed)), 429);
    assert_int_equal(asks(&r, "http://h/buy", NULL, FIELDS("Cookie", mine)), 202);
    assert_int_equal(asks(&r, "http://h/buy", NULL, FIELDS("Cookie", mine)), 429); /* once */
    closed(&r);
}
#endif

static void beyond_the_rate_without_a_room(void **unused)
{
    (void)unused;
    put("radio", 100, 0);
    struct route r = opened("/buy", "{item: radio, admit: 2/s burst 1}");
    assert_int_equal(asks(&r, "http://h/buy", NULL, NULL), 202);
    assert_int_equal(asks(&r, "http://h/buy", NULL, NULL), 429);
    says("\"reason\":\"busy\"");
    assert_string_equal(cookie, "");
    fake.now_us += 500000;
    assert_int_equal(asks(&r, "http://h/buy", NULL, NULL), 202);
    closed(&r);
}

static void mistakes(void **unused)
{
    (void)unused;
    static const char *const cases[][2] = {
        { "{}", "expected one of item" },
        { "{item: a, status: b}", "expected one of item" },
        { "{items: query x}", "like `json /items`" },
        { "{item: json x}", "expected a JSON pointer" },
        { "{item: $nothing}", "nothing" },
        { "{item: capture shop}", "shop" },
        { "{item: 'cookie a;b'}", "cannot be the name" },
        { "{item: a, url: x}", "url: expected a path" },
        { "{item: a, url: '/a b'}", "url: no URL" },
        { "{status: query id, admit: 5/s}", "admit: only where" },
        { "{release: query id, user: cookie uid}", "user: only where" },
        { "{confirm: query id, user: cookie uid}", "user: only where" },
        { "{item: a, admit: 500001/s}", "at most 500000/s" },
        { "{item: a, hold: 1ms}", "out of bounds" },
        { "{item: a, admit: {rate: 1/s, waiting_room: {cookie: 'a b'}}}", "name of a cookie" },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct loaded l;
        char text[512];
        snprintf(text, sizeof text, "match: /*\norder: %s\n", cases[i][0]);
        loaded_open(&l, &order_filter, text);
        if (!strstr(l.words, cases[i][1]))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i][0], l.words, cases[i][1]);
        loaded_close(&l);
    }
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_order_is_held_and_the_same_key_is_the_same_order, setup, teardown),
        cmocka_unit_test_setup_teardown(why_not, setup, teardown),
        cmocka_unit_test_setup_teardown(sold_out_is_known_without_the_ledger, setup, teardown),
        cmocka_unit_test_setup_teardown(several_items_come_in_the_body, setup, teardown),
        cmocka_unit_test_setup_teardown(an_order_is_looked_at_paid_and_given_up, setup, teardown),
#if WEIR_HAVE_OPENSSL
        cmocka_unit_test_setup_teardown(who_waits_has_a_place_that_nobody_else_can_use, setup, teardown),
#endif
        cmocka_unit_test_setup_teardown(beyond_the_rate_without_a_room, setup, teardown),
        cmocka_unit_test(mistakes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
