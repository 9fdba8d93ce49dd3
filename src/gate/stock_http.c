#include "gate/stock_http.h"

#include "gate/problem.h"
#include "ledger/ledger_conf.h"

err stock_ask(struct stock_ask *q, char *room, size_t room_size)
{
    struct ledger *l = ledger_here();
    struct ledger_op ops[STOCK_ASK_OPS_MAX];
    struct ledger_call c = { .ops = ops, .ops_count = 1 + q->others_count, .may_pass = true };
    ops[0] = (struct ledger_op){ .rules = stock_rules.id,
                                 .body = stock_op_bytes(&q->op),
                                 .answer = room,
                                 .answer_size = (uint32_t)room_size };
    if (!l)
        return ERR_UNAVAILABLE;
    for (unsigned i = 0; i < q->others_count; i++)
        ops[1 + i] = q->others[i];
    err e = ledger_submit(l, &c);
    if (e)
        return e;
    if (ops[0].ret_answer_bytes > room_size ||
        !stock_read_answer((struct bytes){ room, ops[0].ret_answer_bytes }, &q->answer, &q->rest))
        return ERR_LIMIT;
    q->durability = c.ret_durability;
    q->now_ms = c.ret_time_ms;
    /* another operation of the entry refused: nothing has happened */
    return c.ret_refused && stock_is_done(&q->answer) && q->answer.result == STOCK_DONE ? c.ret_refused : OK;
}

/* ---- answers ---- */

static unsigned status_of(const struct stock_answer *a)
{
    switch ((enum stock_result)a->result) {
    case STOCK_SOLD_OUT:
        return a->final ? 410 : 409;
    case STOCK_USER_LIMIT:
    case STOCK_ITEM_LIMIT:
    case STOCK_WRONG_STATE:
    case STOCK_TOO_FEW:
        return 409;
    case STOCK_OTHER_TOTAL:
        return 412;
    case STOCK_UNKNOWN_ITEM:
    case STOCK_UNKNOWN_ORDER:
        return 404;
    case STOCK_OTHER_ORDER:
        return 422;
    case STOCK_MALFORMED:
        return 400;
    case STOCK_FULL:
        return 503;
    case STOCK_DONE:
    case STOCK_DONE_BEFORE:
    case STOCK_RESULTS:
        break;
    }
    return 200;
}

static err refuse_for_now(struct exchange *x, err e, struct bytes seconds)
{
    return e ? e : http_fields_set(&x->response.fields, &x->arena, BYTES("Retry-After"), seconds);
}

err stock_problem(struct exchange *x, const struct stock_answer *a, struct bytes item, struct bytes by)
{
    struct problem p;
    const bool final = a->result == STOCK_SOLD_OUT && a->final;
    problem_begin(&p, x, status_of(a),
                  final ? BYTES("sold out") : bytes_from(stock_result_meanings[a->result]));
    json_text(&p.json, "reason", bytes_from(stock_result_words[a->result]));
    if (item.len)
        json_text(&p.json, "item", item);
    if (a->result == STOCK_SOLD_OUT)
        json_bool(&p.json, "may_come_back", !a->final);
    if (a->result == STOCK_WRONG_STATE)
        json_text(&p.json, "state", bytes_from(stock_state_words[a->state]));
    const err e = problem_end(&p, by);
    return a->result == STOCK_FULL ? refuse_for_now(x, e, BYTES("1")) : e;
}

err stock_problem_failed(struct exchange *x, err e, struct bytes by)
{
    struct problem p;
    const bool moved = e == ERR_UNAVAILABLE && ledger_handed_over();
    problem_begin(&p, x, 503,
                  e == ERR_LIMIT ? BYTES("the ledger has more to do than it can take")
                  : moved        ? BYTES("the next process has the ledger: it is found over a new connection")
                                 : BYTES("the ledger takes nothing at the moment"));
    json_text(&p.json, "reason", BYTES("unavailable"));
    return refuse_for_now(x, problem_end(&p, by), moved ? BYTES("0") : BYTES("1"));
}

/* ---- JSON ---- */

static void state(struct text *t, struct bytes order, unsigned state, uint64_t placed_ms, uint64_t due_ms,
                  uint64_t since_ms, uint64_t amount)
{
    json_text(t, "order", order);
    json_text(t, "state", bytes_from(stock_state_words[state]));
    json_u64(t, "placed_ms", placed_ms);
    json_u64(t, "due_ms", due_ms);
    json_u64(t, "since_ms", since_ms);
    json_u64(t, "amount", amount);
}

void stock_json_state(struct text *t, struct bytes order, const struct stock_answer *a)
{
    state(t, order, a->state, a->placed_ms, a->due_ms, a->since_ms, a->amount);
}

void stock_json_order(struct text *t, const struct stock_order_shown *o)
{
    state(t, o->id, o->state, o->placed_ms, o->due_ms, o->since_ms, o->amount);
    json_text(t, "user", o->user);
    json_begin(t, "items", '[');
    for (unsigned i = 0; i < o->count; i++) {
        json_begin(t, NULL, '{');
        json_text(t, "item", o->lines[i].item);
        json_u64(t, "quantity", o->lines[i].quantity);
        json_u64(t, "price", o->prices[i]);
        json_end(t, '}');
    }
    json_end(t, ']');
}

static void sums(struct text *t, const uint64_t s[STOCK_SUMS])
{
    for (unsigned i = 0; i < STOCK_SUMS; i++)
        json_u64(t, stock_sum_words[i], s[i]);
    /* of what was reserved, how much was paid; and what an order that was paid was worth */
    if (s[STOCK_SUM_RESERVED])
        json_number(t, "conversion", (double)s[STOCK_SUM_PAID] / (double)s[STOCK_SUM_RESERVED]);
    if (s[STOCK_SUM_PAID])
        json_number(t, "average_amount", (double)s[STOCK_SUM_PAID_AMOUNT] / (double)s[STOCK_SUM_PAID]);
}

void stock_json_item(struct text *t, const struct stock_item_shown *s)
{
    const struct stock_item *i = &s->item;
    json_text(t, "item", s->name);
    json_u64(t, "total", i->total);
    json_u64(t, "free", stock_free(i));
    json_u64(t, "held", i->held);
    json_u64(t, "sold", i->sold);
    json_u64(t, "price", i->price);
    json_u64(t, "per_user", i->per_user);
    json_u64(t, "per_order", i->per_order);
    json_begin(t, "orders", '{');
    sums(t, i->sums);
    json_end(t, '}');
}

void stock_json_sums(struct text *t, const struct stock_sums *s)
{
    json_u64(t, "items", s->items);
    json_u64(t, "total", s->total);
    json_u64(t, "free", s->total - s->held - s->sold);
    json_u64(t, "held", s->held);
    json_u64(t, "sold", s->sold);
    json_begin(t, "orders", '{');
    sums(t, s->sums);
    json_end(t, '}');
}
