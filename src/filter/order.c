/* order: sells from the ledger's stock. A request becomes an order that holds its items, in one durable step,
 * or hears why not; others pay, give up, or look.
 *
 *      order: capture item for cookie uid          POST /buy/{item}     202, Location: /orders/7f3a...
 *      order: status capture id                    GET /orders/{id}     200
 *      order: {confirm: capture id}                POST /paid/{id}      200
 *
 *   request ─▶ waiting room (gate/waiting_room.h) ─▶ sold out, as all workers know it? ─▶ ledger: reserve
 *                 429 with a place in the line           410, 409                         202, or why not
 *
 * Rules and states are ledger/stock.h's. With `publish` the order's message is part of the reserve's entry.
 */
#include "base/mem.h"
#include "base/must.h"
#include "core/metrics.h"
#include "gate/admission.h"
#include "gate/gate_conf.h"
#include "gate/order_conf.h"
#include "gate/order_id.h"
#include "gate/order_message.h"
#include "gate/problem.h"
#include "gate/random_id.h"
#include "gate/request_value.h"
#include "gate/stock_http.h"
#include "ledger/ledger_conf.h"
#include "ledger/topic_conf.h"

#define BODY_BYTES_MAX_MAX (256 * 1024)
#define URL_BYTES_MAX 200

/* ---- metrics ---- */

#define ORDER_METRICS(X)                                                                                     \
    X(HELD, "held_total", METRIC_COUNTER, "Orders that hold their items")                                    \
    X(DONE_BEFORE, "done_before_total", METRIC_COUNTER, "Requests whose order was there already")            \
    X(SOLD_OUT, "sold_out_total", METRIC_COUNTER, "Requests that found the item sold out")                   \
    X(SOLD_OUT_SEEN, "sold_out_seen_total", METRIC_COUNTER, "Of those, answered without asking the ledger")  \
    X(LIMITED, "limited_total", METRIC_COUNTER, "Requests over the limit of a user or of an item")           \
    X(REFUSED, "refused_total", METRIC_COUNTER, "Requests refused for other reasons")                        \
    X(FAILED, "failed_total", METRIC_COUNTER, "Requests that the ledger could not decide")                   \
    X(WAITED, "waiting_total", METRIC_COUNTER, "Requests that were told their place in the line")            \
    X(TURNED_AWAY, "turned_away_total", METRIC_COUNTER, "Requests beyond the rate that could not even wait") \
    X(CONFIRMED, "confirmed_total", METRIC_COUNTER, "Orders paid")                                           \
    X(RELEASED, "released_total", METRIC_COUNTER, "Orders given up")                                         \
    X(LOOKED, "looked_total", METRIC_COUNTER, "Requests for an order's state or an item's stock")

enum order_metric {
#define X(id, name, type, help) METRIC_##id,
    ORDER_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "order",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            ORDER_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- the filter ---- */

struct order {
    const struct order_conf *conf;
    enum order_does does;
    struct request_value values[ORDER_TEXTS]; /* in the order of the conf's texts */
    bool wants_json, user_is_json;
    struct admission admission;
    struct metric_instance *metrics;
    struct metric_cells *cells;
    struct random_ids ids;
};

/* One request. */
struct order_request {
    struct order *o;
    struct exchange *x;
    const struct json *json;
    struct bytes user;
    struct stock_reserve reserve;
    bool own_id; /* made here: nobody can have used it before */
};

static struct bytes value_of(const struct order_request *a, unsigned at)
{
    return request_value_of(&a->o->values[at], a->x, a->json);
}

static err problem(struct order_request *a, unsigned status, const char *reason, const char *detail)
{
    struct problem p;
    metric_inc(a->o->cells, METRIC_REFUSED);
    problem_begin(&p, a->x, status, bytes_from(detail));
    json_text(&p.json, "reason", bytes_from(reason));
    return problem_end(&p, BYTES("order"));
}

static err no_store(struct exchange *x, err e)
{
    return e ? e : http_fields_set(&x->response.fields, &x->arena, BYTES("Cache-Control"), BYTES("no-store"));
}

static err ledger_failed(struct order_request *a, err e)
{
    metric_inc(a->o->cells, METRIC_FAILED);
    return stock_problem_failed(a->x, e, BYTES("order"));
}

/* Who buys: what the configuration names, else whom an earlier filter has found. */
static struct bytes user_of(const struct order_request *a)
{
    return a->o->values[ORDER_AT_USER].kind == REQUEST_VALUE_NONE ? a->x->user : value_of(a, ORDER_AT_USER);
}

/* ---- what is ordered ---- */

/* Idempotency-Key is a string of RFC 8941: in quotes. */
static struct bytes without_quotes(struct bytes text)
{
    if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"')
        return (struct bytes){ text.ptr + 1, text.len - 2 };
    return text;
}

static bool read_quantity(struct bytes text, uint32_t *ret_quantity)
{
    uint64_t quantity;
    if (!bytes_to_u64(text, &quantity) || !quantity || quantity > STOCK_QUANTITY_MAX)
        return false;
    *ret_quantity = (uint32_t)quantity;
    return true;
}

/* [{"item": "radio", "quantity": 2}, "case"] */
static const char *read_items(struct order_request *a)
{
    const struct json *list = json_pointer(a->json, a->o->values[ORDER_AT_ITEMS].pointer);
    if (!list || list->kind != JSON_ARRAY || !list->count || list->count > STOCK_LINES_MAX)
        return "a list of 1 to 16 items is missing";
    JSON_EACH(at, list)
    {
        struct stock_line *l = &a->reserve.lines[a->reserve.count++];
        const struct json *quantity = json_member(at, "quantity");
        *l = (struct stock_line){ at->kind == JSON_TEXT ? at->text : json_member_text(at, "item"), 1 };
        if (!stock_name_is_good(l->item))
            return "an item has no name, or none that is possible";
        if (quantity && !read_quantity(quantity->text, &l->quantity))
            return "a quantity is no number from 1 on";
        for (const struct stock_line *before = a->reserve.lines; before < l; before++) {
            if (bytes_eq(before->item, l->item))
                return "an item stands there twice";
        }
    }
    return NULL;
}

/* NULL: all is there. */
static const char *read_order(struct order_request *a)
{
    struct stock_reserve *r = &a->reserve;
    r->hold_ms = a->o->conf->hold_ms;
    r->user = a->user;
    r->order = without_quotes(value_of(a, ORDER_AT_ID));
    a->own_id = !r->order.len;
    if (a->own_id)
        r->order = random_id_make_sorted(&a->o->ids, worker_wall_us() / 1000, &a->x->arena);
    if (!stock_name_is_good(r->order))
        return "the order's id is longer than 64 bytes, or has control characters";
    if (r->user.len && !stock_name_is_good(r->user))
        return "the user's name is longer than 64 bytes, or has control characters";
    if (!r->user.len && a->o->values[ORDER_AT_USER].kind != REQUEST_VALUE_NONE)
        return "it does not say who the user is";
    if (a->o->values[ORDER_AT_ITEMS].kind != REQUEST_VALUE_NONE)
        return read_items(a);
    const struct bytes quantity = value_of(a, ORDER_AT_QUANTITY);
    r->count = 1;
    r->lines[0] = (struct stock_line){ value_of(a, ORDER_AT_ITEM), 1 };
    if (!stock_name_is_good(r->lines[0].item))
        return "the item has no name, or none that is possible";
    return quantity.len && !read_quantity(quantity, &r->lines[0].quantity)
               ? "the quantity is no number from 1 on"
               : NULL;
}

/* *ret_answered: the body was not what it should be, and the client knows. */
static err read_json(struct order_request *a, bool *ret_answered)
{
    const err e = a->o->wants_json ? request_json(a->x, a->o->conf->body_bytes_max, &a->json) : OK;
    *ret_answered = e == ERR_LIMIT || e == ERR_SYNTAX;
    if (a->x->request_failed || !*ret_answered)
        return e;
    return e == ERR_LIMIT ? problem(a, 413, "too_large", "the body is too large")
                          : problem(a, 400, "malformed", "the body is no JSON");
}

/* false: it has been answered, *ret_e says how that went. */
static bool come_in(struct order_request *a, err *ret_e)
{
    if (!a->o->conf->admit)
        return true;
    const enum waiting_word word = admission_ask(&a->o->admission, a->x, a->user, BYTES("order"), ret_e);
    if (word != WAITING_COME_IN)
        metric_inc(a->o->cells, word == WAITING_WAIT ? METRIC_WAITED : METRIC_TURNED_AWAY);
    return word == WAITING_COME_IN;
}

/* ---- reserve ---- */

static err answer_order(struct order_request *a, const struct stock_ask *q, unsigned status, struct bytes id)
{
    struct exchange *x = a->x;
    struct text t = text_within(arena_get(&x->arena, PROBLEM_BYTES_MAX), PROBLEM_BYTES_MAX);
    const struct bytes url = status == 202 ? order_id_url(a->o->conf->url, id, &x->arena) : BYTES_NONE;
    json_begin(&t, NULL, '{');
    stock_json_state(&t, id, &q->answer);
    if (url.len)
        json_text(&t, "url", url);
    json_u64(&t, "now_ms", q->now_ms);
    json_text(&t, "durability", bytes_from(ledger_durability_words[q->durability]));
    json_end(&t, '}');
    text_add(&t, BYTES("\n"));
    if (t.cut || (status == 202 && !url.len))
        return ERR_LIMIT;
    exchange_answer(x, status, BYTES("application/json"), text_bytes(&t), BYTES("order"));
    const err e = url.len ? http_fields_set(&x->response.fields, &x->arena, BYTES("Location"), url) : OK;
    return no_store(x, e);
}

static void count_reserve(const struct order_request *a, const struct stock_answer *s)
{
    static const struct {
        enum stock_result result;
        enum order_metric metric;
    } known[] = { { STOCK_DONE, METRIC_HELD },          { STOCK_DONE_BEFORE, METRIC_DONE_BEFORE },
                  { STOCK_SOLD_OUT, METRIC_SOLD_OUT },  { STOCK_USER_LIMIT, METRIC_LIMITED },
                  { STOCK_ITEM_LIMIT, METRIC_LIMITED }, { STOCK_FULL, METRIC_FAILED } };
    enum order_metric metric = METRIC_REFUSED;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        metric = known[i].result == s->result ? known[i].metric : metric;
    metric_inc(a->o->cells, metric);
}

static err answer_refusal(struct order_request *a, const struct stock_answer *s)
{
    const struct bytes item = s->line < a->reserve.count ? a->reserve.lines[s->line].item : BYTES_NONE;
    return no_store(a->x, stock_problem(a->x, s, item, BYTES("order")));
}

/* What every worker knows of the shelves. An order that may be there already has its answer from the ledger,
 * sold out or not. */
static bool is_sold_out(const struct order_request *a, struct stock_answer *ret_answer)
{
    const struct ledger *l = ledger_handed_over() ? NULL : ledger_here();
    for (unsigned i = 0; l && a->own_id && i < a->reserve.count; i++) {
        struct stock_key key;
        uint64_t shown;
        stock_item_key(&key, a->reserve.lines[i].item);
        if (!ledger_look(l, stock_rules.id, stock_key_bytes(&key), &shown) ||
            stock_shown_free(shown) >= a->reserve.lines[i].quantity)
            continue;
        *ret_answer = (struct stock_answer){ .result = STOCK_SOLD_OUT,
                                             .line = (uint8_t)i,
                                             .final = stock_shown_final(shown) };
        return true;
    }
    return false;
}

static err reserve(struct order_request *a)
{
    char room[sizeof(struct stock_answer)];
    struct stock_ask q; /* not zeroed: its operation is large */
    q.others_count = 0;
    if (is_sold_out(a, &q.answer)) {
        metric_inc(a->o->cells, METRIC_SOLD_OUT);
        metric_inc(a->o->cells, METRIC_SOLD_OUT_SEEN);
        return answer_refusal(a, &q.answer);
    }
    if (a->o->conf->publish.len && !order_message_add(a->x, a->o->conf->publish, &a->reserve, &q))
        return ERR_LIMIT;
    stock_write_reserve(&q.op, &a->reserve);
    const err e = stock_ask(&q, room, sizeof room);
    if (e)
        return ledger_failed(a, e);
    count_reserve(a, &q.answer);
    return stock_is_done(&q.answer) ? answer_order(a, &q, 202, a->reserve.order)
                                    : answer_refusal(a, &q.answer);
}

static err handle_reserve(struct order_request *a)
{
    bool answered = false;
    err e = a->o->user_is_json ? read_json(a, &answered) : OK;
    if (e || answered)
        return e;
    a->user = user_of(a);
    if (!come_in(a, &e))
        return e;
    e = a->o->user_is_json ? OK : read_json(a, &answered);
    if (e || answered)
        return e;
    const char *wrong = read_order(a);
    return wrong ? problem(a, 400, "malformed", wrong) : reserve(a);
}

/* ---- status, confirm, release, stock ---- */

static err answer_json(struct order_request *a, struct text *t)
{
    json_end(t, '}');
    text_add(t, BYTES("\n"));
    if (t->cut)
        return ERR_LIMIT;
    exchange_answer(a->x, 200, BYTES("application/json"), text_bytes(t), BYTES("order"));
    return no_store(a->x, OK);
}

static err look(struct order_request *a, struct bytes name)
{
    char room[sizeof(struct stock_answer) + STOCK_ORDER_SHOWN_BYTES_MAX];
    struct stock_ask q = { 0 };
    const bool order = a->o->does == ORDER_STATUS;
    if (order)
        stock_write_look_order(&q.op, name);
    else
        stock_write_look_item(&q.op, name);
    const err e = stock_ask(&q, room, sizeof room);
    if (e)
        return ledger_failed(a, e);
    metric_inc(a->o->cells, METRIC_LOOKED);
    if (!stock_is_done(&q.answer))
        return no_store(a->x, stock_problem(a->x, &q.answer, BYTES_NONE, BYTES("order")));
    struct text t =
        text_within(arena_get(&a->x->arena, STOCK_JSON_ORDER_BYTES_MAX), STOCK_JSON_ORDER_BYTES_MAX);
    struct stock_order_shown o;
    struct stock_item_shown i;
    json_begin(&t, NULL, '{');
    if (order) {
        must(stock_read_order(&q.rest, &o));
        /* another user's order is none */
        if (a->user.len && !bytes_eq(a->user, o.user)) {
            const struct stock_answer none = { .result = STOCK_UNKNOWN_ORDER };
            return no_store(a->x, stock_problem(a->x, &none, BYTES_NONE, BYTES("order")));
        }
        stock_json_order(&t, &o);
    } else {
        must(stock_read_item(&q.rest, &i));
        stock_json_item(&t, &i);
    }
    json_u64(&t, "now_ms", q.now_ms);
    return answer_json(a, &t);
}

static err move(struct order_request *a, struct bytes id, enum stock_move move)
{
    char room[sizeof(struct stock_answer)];
    struct stock_ask q = { 0 };
    stock_write_move(&q.op, id, move);
    const err e = stock_ask(&q, room, sizeof room);
    if (e)
        return ledger_failed(a, e);
    if (!stock_is_done(&q.answer)) {
        metric_inc(a->o->cells, METRIC_REFUSED);
        return no_store(a->x, stock_problem(a->x, &q.answer, BYTES_NONE, BYTES("order")));
    }
    if (q.answer.result == STOCK_DONE)
        metric_inc(a->o->cells, move == STOCK_MOVE_CONFIRM ? METRIC_CONFIRMED : METRIC_RELEASED);
    return answer_order(a, &q, 200, id);
}

static err order_handle(struct exchange *x, void *state, struct chain *next)
{
    (void)next;
    struct order_request a; /* not zeroed: its lines are many */
    a.o = state;
    a.x = x;
    a.json = NULL;
    a.user = BYTES_NONE;
    a.reserve.count = 0;
    a.own_id = false;
    if (a.o->does == ORDER_RESERVE)
        return handle_reserve(&a);
    bool answered;
    const err e = read_json(&a, &answered);
    if (e || answered)
        return e;
    a.user = user_of(&a);
    const struct bytes name = value_of(&a, ORDER_AT_STATUS + (unsigned)a.o->does - ORDER_STATUS);
    if (!stock_name_is_good(name))
        return problem(&a, 400, "malformed", "it does not say which one, or as no name can be");
    if (a.o->does == ORDER_CONFIRM || a.o->does == ORDER_RELEASE)
        return move(&a, name, a.o->does == ORDER_CONFIRM ? STOCK_MOVE_CONFIRM : STOCK_MOVE_RELEASE);
    return look(&a, name);
}

/* ---- opening ---- */

static void order_close(void *state)
{
    struct order *o = state;
    for (unsigned i = 0; i < ORDER_TEXTS; i++)
        request_value_close(&o->values[i]);
    admission_close(&o->admission);
    metric_instance_free(o->metrics);
    mem_free(o);
}

static err open_values(struct order *o)
{
    for (unsigned i = 0; i < ORDER_TEXTS; i++) {
        const err e = request_value_open(order_texts(o->conf)[i], &o->values[i]);
        if (e)
            return e;
        o->wants_json |= o->values[i].kind == REQUEST_VALUE_JSON;
    }
    o->user_is_json = o->values[ORDER_AT_USER].kind == REQUEST_VALUE_JSON;
    return OK;
}

static err order_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                      struct diag *reterr)
{
    (void)g;
    struct order *o = mem_get(sizeof *o);
    if (!o)
        return ERR_MEMORY;
    o->conf = conf;
    o->does = order_does(conf);
    err e = open_values(o);
    if (!e && o->conf->admit)
        e = admission_open(&o->admission, o->conf->admit, scope, reterr);
    if (!e)
        e = metric_instance_open(&metric_group, &scope, &o->metrics);
    if (e) {
        order_close(o);
        return e;
    }
    o->cells = metric_cells(o->metrics, worker_index(worker_self()));
    *ret_state = o;
    return OK;
}

static void order_report(void *state, struct text *json)
{
    const struct order *o = state;
    json_u64(json, "held", metric_value(o->metrics, METRIC_HELD));
    json_u64(json, "sold_out", metric_value(o->metrics, METRIC_SOLD_OUT));
    if (o->conf->admit)
        json_u64(json, "waiting", waiting_count(o->admission.room));
}

/* ---- configuration ---- */

static err check_texts(const struct order_conf *c, const struct route_conf *route, struct diag *reterr)
{
    const struct variable_scope scope = { .route = route };
    for (unsigned i = 0; i < ORDER_TEXTS; i++) {
        const err e = order_texts(c)[i].len ? request_value_check(order_texts(c)[i], &scope, reterr) : OK;
        if (e)
            return e;
    }
    return OK;
}

static err order_check(void *conf, struct diag *reterr)
{
    struct order_conf *c = conf;
    const char *wrong = NULL;
    unsigned ways = c->item.len ? 1 : 0;
    ways += c->items.len != 0;
    for (unsigned i = ORDER_AT_STATUS; i <= ORDER_AT_STOCK; i++)
        ways += order_texts(c)[i].len != 0;
    if (ways != 1)
        wrong = "expected one of item, items, status, confirm, release and stock";
    else if (c->items.len && !bytes_starts(c->items, BYTES("json ")))
        wrong = "items: expected where the list stands in the body, like `json /items`";
    else if (order_does(c) != ORDER_RESERVE && c->admit)
        wrong = "admit: only where something is ordered";
    else if (order_does(c) != ORDER_RESERVE && c->publish.len)
        wrong = "publish: only where something is ordered";
    else if (order_does(c) != ORDER_RESERVE && order_does(c) != ORDER_STATUS && c->user.len)
        wrong = "user: only where something is ordered, or an order is shown";
    else if (c->url.len > URL_BYTES_MAX || c->url.ptr[0] != '/')
        wrong = "url: expected a path of at most 200 bytes";
    for (size_t i = 0; !wrong && i < c->url.len; i++)
        wrong = c->url.ptr[i] > ' ' && c->url.ptr[i] < 127 && c->url.ptr[i] != '"' ? NULL
                                                                                   : "url: no URL has that";
    if (!wrong)
        return check_texts(c, NULL, reterr);
    diag_set(reterr, "%s", wrong);
    return ERR_CONF;
}

static err order_check_route(const void *conf, const struct filter_place *place, struct diag *reterr)
{
    if (place->root && !place->root->ledger) {
        diag_set(reterr, "order: it sells from the ledger, and there is none: expected `ledger: /PATH`");
        return ERR_CONF;
    }
    const struct order_conf *c = conf;
    if (place->root && c->publish.len && !topic_conf_has(&place->root->ledger->topics, c->publish)) {
        diag_set(reterr, "publish: \"%.*s\" is none of the ledger's topics", BYTES_ARG(c->publish));
        return ERR_CONF;
    }
    return check_texts(c, place->route, reterr);
}

#define TEXT(member, words)                                                                             \
    {                                                                                                   \
        .name = #member, .type = CONF_TEXT, .offset = offsetof(struct order_conf, member), .doc = words \
    }

const struct filter order_filter = {
    .conf = { .name = "order",
              .size = sizeof(struct order_conf),
              .phrases = (const char *const[]){ "{item} for {user}", "status {status}", "confirm {confirm}",
                                                "release {release}", "stock {stock}", NULL },
              .fields =
                  (const struct conf_field[]){
                      TEXT(item, "what is ordered: " REQUEST_VALUE_DOC),
                      TEXT(quantity, "how many of it; 1 where the request does not say"),
                      TEXT(items, "several at once instead: where in the body `[{\"item\": \"radio\", "
                                  "\"quantity\": 2}, ...]` stands, like `json /items`; all are held or none"),
                      TEXT(user, "who orders; without it whom `basic_auth` or `jwt` has found"),
                      { .name = "id",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct order_conf, id),
                        .preset = "header Idempotency-Key",
                        .doc = "the client's id of the order: the same id is the same order, for ever; where "
                               "the request has none a new one is made" },
                      { .name = "hold",
                        .type = CONF_MS,
                        .offset = offsetof(struct order_conf, hold_ms),
                        .preset = "10m",
                        .min = 100,
                        .max = (double)STOCK_HOLD_MS_MAX,
                        .doc = "until it has to be paid; then the items are free again" },
                      { .name = "url",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct order_conf, url),
                        .preset = "/orders/",
                        .doc = "what `Location` begins with; the order's id follows" },
                      { .name = "admit",
                        .type = CONF_STRUCT,
                        .offset = offsetof(struct order_conf, admit),
                        .sub = &admission_conf_struct,
                        .doc = "how many orders come in a second, and a waiting room for the others" },
                      TEXT(publish, "a topic of the ledger that gets each order, in the same durable step: "
                                    "`{order, user, items, hold_ms}` as JSON, the order's id as key"),
                      TEXT(status, "instead of ordering: shows the order with this id"),
                      TEXT(confirm, "the order with this id is paid"),
                      TEXT(release, "the order with this id is given up"),
                      TEXT(stock, "shows the item of this name"),
                      { .name = "body_bytes_max",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct order_conf, body_bytes_max),
                        .preset = "16k",
                        .min = 64,
                        .max = BODY_BYTES_MAX_MAX,
                        .doc = "of a body that is looked into" },
                      { 0 } },
              .check = order_check,
              .doc = "Sells from the ledger's stock." },
    .ends = true,
    .check_route = order_check_route,
    .explain = order_explain,
    .open = order_open,
    .handle = order_handle,
    .close = order_close,
    .report = order_report,
};
