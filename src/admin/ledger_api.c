/* What the ledger's own address can be asked: the table, and stock's part of it. Every other kind of rules
 * adds its lines here and its functions in a file of its own. */
#include "admin/ledger_api.h"
#include "admin/call.h"
#include "admin/ledger_topics.h"
#include "base/must.h"
#include "core/log.h"
#include "gate/gate.h"
#include "gate/stock_csv.h"
#include "gate/stock_http.h"
#include "gate/stock_watch.h"
#include "ledger/ledger_conf.h"

#define AT(type, member) offsetof(struct type, member)
#define JSON "application/json"
#define CSV_BYTES_MAX (16u << 20)
#define BY BYTES("ledger")

/* ---- asking ---- */

/* Room for an answer of so many items or orders. */
#define ROOM_BYTES (sizeof(struct stock_answer) + STOCK_TAKE_MAX * STOCK_ORDER_SHOWN_BYTES_MAX)

/* false: it has been answered. */
static bool asks(struct call *c, struct stock_ask *q, char *room, size_t size)
{
    err e = stock_ask(q, room, size);
    if (e)
        e = stock_problem_failed(c->x, e, BY);
    else if (!stock_is_done(&q->answer))
        e = stock_problem(c->x, &q->answer, BYTES_NONE, BY);
    else
        return true;
    if (e)
        call_problem(c->x, 503, "%s", err_text(e));
    return false;
}

static bool good_name(struct call *c, struct bytes name)
{
    if (stock_name_is_good(name))
        return true;
    call_problem(c->x, 400, "a name has 1 to %d bytes, and no control characters", STOCK_NAME_BYTES_MAX);
    return false;
}

static void end(struct call *c, unsigned status)
{
    json_end(c->out, '}');
    text_add(c->out, BYTES("\n"));
    call_answer_status(c, status, JSON);
}

/* The same with what every answer of the ledger's has: when that was, and how safe it is. */
static void end_asked(struct call *c, const struct stock_ask *q, unsigned status)
{
    json_u64(c->out, "now_ms", q->now_ms);
    json_text(c->out, "durability", bytes_from(ledger_durability_words[q->durability]));
    end(c, status);
}

/* ---- items ---- */

static void answer_item(struct call *c, struct bytes name, unsigned status)
{
    char room[sizeof(struct stock_answer) + STOCK_ITEM_SHOWN_BYTES_MAX];
    struct stock_ask q = { 0 };
    struct stock_item_shown i;
    if (!good_name(c, name))
        return;
    stock_write_look_item(&q.op, name);
    if (!asks(c, &q, room, sizeof room))
        return;
    must(stock_read_item(&q.rest, &i));
    json_begin(c->out, NULL, '{');
    stock_json_item(c->out, &i);
    end_asked(c, &q, status);
}

static void item_get(struct call *c)
{
    answer_item(c, c->args[0], 200);
}

struct page_query {
    int64_t from, max;
};

static const struct conf_struct page_query = {
    .name = "query",
    .size = sizeof(struct page_query),
    .fields =
        (const struct conf_field[]){
            { .name = "from",
              .type = CONF_INT,
              .offset = AT(page_query, from),
              .preset = "0",
              .min = 0,
              .max = STOCK_ITEMS_MAX,
              .doc = "the first one's number; `next` of an answer says how it goes on" },
            { .name = "max",
              .type = CONF_INT,
              .offset = AT(page_query, max),
              .preset = "100",
              .min = 1,
              .max = STOCK_TAKE_MAX,
              .doc = "so many at most" },
            { 0 } },
};

static void items_get(struct call *c)
{
    const struct page_query *page = c->query;
    char *room = arena_get(&c->x->arena, ROOM_BYTES);
    struct stock_ask q = { 0 };
    struct stock_item_shown i;
    if (!room) {
        call_problem(c->x, 503, "out of memory");
        return;
    }
    stock_write_look_items(&q.op, (uint32_t)page->from, (uint32_t)page->max);
    if (!asks(c, &q, room, ROOM_BYTES))
        return;
    json_begin(c->out, NULL, '{');
    json_begin(c->out, "items", '[');
    while (stock_read_item(&q.rest, &i)) {
        json_begin(c->out, NULL, '{');
        stock_json_item(c->out, &i);
        json_end(c->out, '}');
    }
    json_end(c->out, ']');
    if (q.answer.count == page->max)
        json_i64(c->out, "next", page->from + page->max);
    end_asked(c, &q, 200);
}

struct item_body {
    int64_t total, price, per_user, per_order, if_total;
    bool if_new;
};

#define NOT_SAID CONF_INT_WORD(0)
static const char *const not_said[] = { "unchanged", NULL };
#define NUMBER(struct_, member, most, words_)                                                              \
    {                                                                                                      \
        .name = #member, .type = CONF_INT, .offset = AT(struct_, member), .preset = "unchanged", .min = 0, \
        .max = (double)(most), .words = not_said, .doc = words_                                            \
    }

static const struct conf_struct item_body = {
    .name = "item",
    .size = sizeof(struct item_body),
    .fields =
        (const struct conf_field[]){
            NUMBER(item_body, total, STOCK_TOTAL_MAX, "how many there are in all"),
            NUMBER(item_body, price, STOCK_PRICE_MAX, "of one, in the currency's smallest unit"),
            NUMBER(item_body, per_user, STOCK_QUANTITY_MAX, "how many one user may have; 0: no limit"),
            NUMBER(item_body, per_order, STOCK_QUANTITY_MAX, "how many one order may have; 0: no limit"),
            NUMBER(item_body, if_total, STOCK_TOTAL_MAX, "only if the total is this one now; else 412"),
            { .name = "if_new",
              .type = CONF_BOOL,
              .offset = AT(item_body, if_new),
              .preset = "false",
              .doc = "an item that exists already stays as it is" },
            { 0 } },
    .doc = "An item: what is not said stays as it is.",
};

static void item_put(struct call *c)
{
    const struct item_body *b = c->body;
    char room[sizeof(struct stock_answer)];
    struct stock_ask q = { 0 };
    struct stock_item_change change = { .item = c->args[0],
                                        .total = (uint64_t)b->total,
                                        .price = (uint64_t)b->price,
                                        .per_user = (uint32_t)b->per_user,
                                        .per_order = (uint32_t)b->per_order,
                                        .if_total = (uint64_t)b->if_total };
    if (!good_name(c, change.item))
        return;
    change.set =
        (uint8_t)((b->total != NOT_SAID ? STOCK_SET_TOTAL : 0) |
                  (b->price != NOT_SAID ? STOCK_SET_PRICE : 0) |
                  (b->per_user != NOT_SAID ? STOCK_SET_PER_USER : 0) |
                  (b->per_order != NOT_SAID ? STOCK_SET_PER_ORDER : 0) |
                  (b->if_total != NOT_SAID ? STOCK_SET_IF_TOTAL : 0) | (b->if_new ? STOCK_SET_IF_NEW : 0));
    if (!(change.set & STOCK_SET_TOTAL))
        change.total = 0;
    if (!(change.set & STOCK_SET_PRICE))
        change.price = 0;
    stock_write_item(&q.op, &change);
    if (!asks(c, &q, room, sizeof room))
        return;
    log_info("stock", "item=%.*s set by %s", BYTES_ARG(change.item), c->author);
    answer_item(c, change.item, 200);
}

struct add_body {
    int64_t add, if_total;
};

static const struct conf_struct add_body = {
    .name = "add",
    .size = sizeof(struct add_body),
    .fields =
        (const struct conf_field[]){ { .name = "add",
                                       .type = CONF_INT,
                                       .offset = AT(add_body, add),
                                       .required = true,
                                       .min = -(double)STOCK_TOTAL_MAX,
                                       .max = (double)STOCK_TOTAL_MAX,
                                       .doc = "how many more; less than 0 takes away what is free" },
                                     NUMBER(add_body, if_total, STOCK_TOTAL_MAX,
                                            "only if the total is this one now: a request that is sent twice "
                                            "adds once"),
                                     { 0 } },
};

static void item_add(struct call *c)
{
    const struct add_body *b = c->body;
    char room[sizeof(struct stock_answer)];
    struct stock_ask q = { 0 };
    const bool conditional = b->if_total != NOT_SAID;
    const struct stock_item_change change = { .item = c->args[0],
                                              .set = (uint8_t)(STOCK_SET_ADD | STOCK_SET_IF_KNOWN |
                                                               (conditional ? STOCK_SET_IF_TOTAL : 0)),
                                              .add = b->add,
                                              .if_total = conditional ? (uint64_t)b->if_total : 0 };
    if (!good_name(c, change.item))
        return;
    stock_write_item(&q.op, &change);
    if (!asks(c, &q, room, sizeof room))
        return;
    log_info("stock", "item=%.*s add=%lld by %s", BYTES_ARG(change.item), (long long)b->add, c->author);
    answer_item(c, change.item, 200);
}

static void items_post(struct call *c)
{
    struct stock_csv csv = { .text = c->text };
    struct diag d = DIAG_NONE;
    const err e = stock_csv_load(&csv, &d);
    if (e == ERR_UNAVAILABLE || e == ERR_LIMIT) {
        if (stock_problem_failed(c->x, e, BY) != OK)
            call_problem(c->x, 503, "%s", err_text(e));
        return;
    }
    if (e) {
        call_failed(c, 422, e, &d);
        return;
    }
    log_info("stock", "items=%u loaded by %s", csv.items, c->author);
    json_begin(c->out, NULL, '{');
    json_u64(c->out, "items", csv.items);
    json_text(c->out, "durability", bytes_from(ledger_durability_words[csv.durability]));
    end(c, 200);
}

/* ---- orders ---- */

struct order_body_line {
    struct bytes item;
    int64_t quantity;
};

struct order_body {
    struct bytes order, user;
    uint64_t hold_ms;
    struct conf_list items; /* struct order_body_line */
};

static const struct conf_struct order_line = {
    .name = "line",
    .size = sizeof(struct order_body_line),
    .phrases = (const char *const[]){ "{item}", NULL },
    .fields = (const struct conf_field[]){ { .name = "item",
                                             .type = CONF_TEXT,
                                             .offset = AT(order_body_line, item),
                                             .required = true,
                                             .doc = "its name" },
                                           { .name = "quantity",
                                             .type = CONF_INT,
                                             .offset = AT(order_body_line, quantity),
                                             .preset = "1",
                                             .min = 1,
                                             .max = STOCK_QUANTITY_MAX,
                                             .doc = "how many" },
                                           { 0 } },
};

static const struct conf_struct order_body = {
    .name = "order",
    .size = sizeof(struct order_body),
    .fields =
        (const struct conf_field[]){
            { .name = "order",
              .type = CONF_TEXT,
              .offset = AT(order_body, order),
              .required = true,
              .doc = "the client's id of it: the same id is the same order" },
            { .name = "user", .type = CONF_TEXT, .offset = AT(order_body, user), .doc = "who orders" },
            { .name = "hold",
              .type = CONF_MS,
              .offset = AT(order_body, hold_ms),
              .preset = "10m",
              .min = 1,
              .max = (double)STOCK_HOLD_MS_MAX,
              .doc = "until it has to be paid, like `10m`" },
            { .name = "items",
              .type = CONF_LIST,
              .offset = AT(order_body, items),
              .sub = &order_line,
              .required = true,
              .max = STOCK_LINES_MAX,
              .doc = "`[{\"item\": \"radio\", \"quantity\": 2}, ...]`" },
            { 0 } },
    .doc = "An order that holds all of its items, or none.",
};

static void orders_post(struct call *c)
{
    const struct order_body *b = c->body;
    char room[sizeof(struct stock_answer)];
    struct stock_ask q = { 0 };
    struct stock_reserve r = {
        .order = b->order, .user = b->user, .hold_ms = b->hold_ms, .count = (unsigned)b->items.count
    };
    const struct order_body_line *lines = b->items.items;
    for (unsigned i = 0; i < r.count; i++)
        r.lines[i] = (struct stock_line){ lines[i].item, (uint32_t)lines[i].quantity };
    stock_write_reserve(&q.op, &r);
    if (!asks(c, &q, room, sizeof room))
        return;
    json_begin(c->out, NULL, '{');
    stock_json_state(c->out, b->order, &q.answer);
    json_bool(c->out, "done_before", q.answer.result == STOCK_DONE_BEFORE);
    end_asked(c, &q, q.answer.result == STOCK_DONE ? 201 : 200);
}

static void order_get(struct call *c)
{
    char room[sizeof(struct stock_answer) + STOCK_ORDER_SHOWN_BYTES_MAX];
    struct stock_ask q = { 0 };
    struct stock_order_shown o;
    if (!good_name(c, c->args[0]))
        return;
    stock_write_look_order(&q.op, c->args[0]);
    if (!asks(c, &q, room, sizeof room))
        return;
    must(stock_read_order(&q.rest, &o));
    json_begin(c->out, NULL, '{');
    stock_json_order(c->out, &o);
    end_asked(c, &q, 200);
}

static void order_move(struct call *c)
{
    char room[sizeof(struct stock_answer)];
    struct stock_ask q = { 0 };
    unsigned m = 0;
    if (!good_name(c, c->args[0]))
        return;
    while (m < STOCK_MOVES && !bytes_eq(c->args[1], bytes_from(stock_move_words[m])))
        m++;
    if (m == STOCK_MOVES || m == STOCK_MOVE_TAKE || m == STOCK_MOVE_EXPIRE) {
        call_problem(c->x, 404, "an order can be told confirm, release, deliver, return, put_back");
        return;
    }
    stock_write_move(&q.op, c->args[0], (enum stock_move)m);
    if (!asks(c, &q, room, sizeof room))
        return;
    json_begin(c->out, NULL, '{');
    stock_json_state(c->out, c->args[0], &q.answer);
    json_bool(c->out, "done_before", q.answer.result == STOCK_DONE_BEFORE);
    end_asked(c, &q, 200);
}

static void answer_orders(struct call *c, struct stock_ask *q)
{
    char *room = arena_get(&c->x->arena, ROOM_BYTES);
    struct stock_order_shown o;
    if (!room) {
        call_problem(c->x, 503, "out of memory");
        return;
    }
    if (!asks(c, q, room, ROOM_BYTES))
        return;
    json_begin(c->out, NULL, '{');
    json_begin(c->out, "orders", '[');
    while (stock_read_order(&q->rest, &o)) {
        json_begin(c->out, NULL, '{');
        stock_json_order(c->out, &o);
        json_end(c->out, '}');
    }
    json_end(c->out, ']');
    end_asked(c, q, 200);
}

struct line_query {
    int64_t max;
};

static const struct conf_struct line_query = {
    .name = "query",
    .size = sizeof(struct line_query),
    .fields = (const struct conf_field[]){ { .name = "max",
                                             .type = CONF_INT,
                                             .offset = AT(line_query, max),
                                             .preset = "100",
                                             .min = 1,
                                             .max = STOCK_TAKE_MAX,
                                             .doc = "so many at most" },
                                           { 0 } },
};

static void orders_get(struct call *c)
{
    struct stock_ask q = { 0 };
    stock_write_look_line(&q.op, (uint32_t)((const struct line_query *)c->query)->max);
    answer_orders(c, &q);
}

struct take_body {
    int64_t max;
    uint64_t hold_ms;
};

static const struct conf_struct take_body = {
    .name = "take",
    .size = sizeof(struct take_body),
    .fields = (const struct conf_field[]){ { .name = "max",
                                             .type = CONF_INT,
                                             .offset = AT(take_body, max),
                                             .preset = "1",
                                             .min = 1,
                                             .max = STOCK_TAKE_MAX,
                                             .doc = "so many at most" },
                                           { .name = "hold",
                                             .type = CONF_MS,
                                             .offset = AT(take_body, hold_ms),
                                             .preset = "1m",
                                             .min = 1,
                                             .max = (double)STOCK_HOLD_MS_MAX,
                                             .doc = "what is not delivered by then goes back into the line" },
                                           { 0 } },
    .doc = "The next of the paid orders.",
};

static void orders_take(struct call *c)
{
    const struct take_body *b = c->body;
    struct stock_ask q = { 0 };
    stock_write_take(&q.op, (uint32_t)b->max, b->hold_ms);
    answer_orders(c, &q);
}

static void sales_get(struct call *c)
{
    char room[sizeof(struct stock_answer) + sizeof(struct stock_sums)];
    struct stock_ask q = { 0 };
    struct stock_sums s;
    stock_write_look_sums(&q.op);
    if (!asks(c, &q, room, sizeof room))
        return;
    must(stock_read_sums(&q.rest, &s));
    json_begin(c->out, NULL, '{');
    stock_json_sums(c->out, &s);
    json_number(c->out, "orders_per_second", stock_watch_rate());
    end_asked(c, &q, 200);
}

/* ---- the table ---- */

static const struct endpoint endpoints[] = {
    { HTTP_GET, "/", "this list, for people", "text/html; charset=utf-8", .run = page_get },
    { HTTP_GET, "/openapi.json", "the same as OpenAPI 3.1", JSON, .run = openapi_get },
    { HTTP_GET, "/v1/stock", "the items", JSON, .query = &page_query, .run = items_get },
    { HTTP_POST, "/v1/stock", "load items: lines of item,total,price,per_user,per_order", JSON,
      .changes = true, .text_type = "text/csv", .text_bytes_max = CSV_BYTES_MAX, .run = items_post },
    { HTTP_GET, "/v1/stock/{item}", "one of them", JSON, .run = item_get },
    { HTTP_PUT, "/v1/stock/{item}", "make or change an item", JSON, .changes = true, .body = &item_body,
      .run = item_put },
    { HTTP_POST, "/v1/stock/{item}/add", "more of an item, while the sale runs", JSON, .changes = true,
      .body = &add_body, .run = item_add },
    { HTTP_GET, "/v1/orders", "paid orders that nobody has taken, first paid first", JSON,
      .query = &line_query, .run = orders_get },
    { HTTP_POST, "/v1/orders", "reserve: 201, or 200 when it was done before", JSON, .changes = true,
      .body = &order_body, .run = orders_post },
    { HTTP_POST, "/v1/orders/take", "the next paid orders, for whoever delivers them", JSON, .changes = true,
      .body = &take_body, .run = orders_take },
    { HTTP_GET, "/v1/orders/{order}", "one order", JSON, .run = order_get },
    { HTTP_POST, "/v1/orders/{order}/{move}", "confirm, release, deliver, return or put_back", JSON,
      .changes = true, .run = order_move },
    { HTTP_GET, "/v1/sales", "sums over all orders: conversion, average amount, orders a second", JSON,
      .run = sales_get },
    { HTTP_GET, "/v1/topics", "the topics", JSON, .run = topics_get },
    { HTTP_GET, "/v1/topics/{topic}", "one of them, and its groups", JSON, .run = topic_get },
    { HTTP_PUT, "/v1/topics/{topic}", "make a topic, or set it anew", JSON, .changes = true,
      .body = &topic_body, .run = topic_put },
    { HTTP_DELETE, "/v1/topics/{topic}", "delete it with its messages and groups", JSON, .changes = true,
      .run = topic_delete },
    { HTTP_GET, "/v1/topics/{topic}/messages", "messages, whoever has had them", JSON,
      .query = &topic_messages_query, .run = topic_messages_get },
    { HTTP_POST, "/v1/topics/{topic}/messages",
      "publish {key, headers, body or body_base64, priority, delay_ms, half, id}, or {messages: [...]}: all "
      "or none",
      JSON, .changes = true, .text_type = "application/json", .text_bytes_max = TOPIC_TEXT_BYTES_MAX,
      .run = topic_messages_post },
    { HTTP_POST, "/v1/topics/{topic}/commit", "a half message is published now", JSON, .changes = true,
      .body = &topic_handle_body, .run = topic_commit_post },
    { HTTP_POST, "/v1/topics/{topic}/rollback", "a half or delayed message never is", JSON, .changes = true,
      .body = &topic_handle_body, .run = topic_rollback_post },
    { HTTP_GET, "/v1/topics/{topic}/kept/{handle}", "a half or delayed message", JSON,
      .run = topic_kept_get },
    { HTTP_PUT, "/v1/topics/{topic}/groups/{group}", "make a group of consumers, or set it anew", JSON,
      .changes = true, .body = &topic_group_body, .run = topic_group_put },
    { HTTP_GET, "/v1/topics/{topic}/groups/{group}", "how far it is", JSON, .run = topic_group_get },
    { HTTP_DELETE, "/v1/topics/{topic}/groups/{group}", "delete it", JSON, .changes = true,
      .run = topic_group_delete },
    { HTTP_POST, "/v1/topics/{topic}/groups/{group}/pull", "the next messages", JSON, .changes = true,
      .body = &topic_pull_body, .run = topic_pull_post },
    { HTTP_POST, "/v1/topics/{topic}/groups/{group}/ack", "they are done", JSON, .changes = true,
      .body = &topic_ids_body, .run = topic_ack_post },
    { HTTP_POST, "/v1/topics/{topic}/groups/{group}/nack", "they are not: they come again", JSON,
      .changes = true, .body = &topic_nack_body, .run = topic_nack_post },
    { HTTP_POST, "/v1/topics/{topic}/groups/{group}/extend", "whoever has them needs longer", JSON,
      .changes = true, .body = &topic_extend_body, .run = topic_extend_post },
    { HTTP_POST, "/v1/topics/{topic}/groups/{group}/replay", "go on from there", JSON, .changes = true,
      .body = &topic_replay_body, .run = topic_replay_post },
    { 0 },
};

static const struct api_conf *conf_of(const struct exchange *x)
{
    const struct ledger_conf *l = x->gate->generation->conf->ledger;
    return l ? l->http : NULL;
}

static const struct api ledger_api = {
    .title = "weir ledger",
    .note = "See <code>doc/stock.md</code> and <code>doc/topic.md</code>.",
    .endpoints = endpoints,
    .conf = conf_of,
};

void ledger_api_serve(struct exchange *x)
{
    call_serve(&ledger_api, x);
}
