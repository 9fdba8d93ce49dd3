#include "gate/order_message.h"

#include "ledger/queue.h"

#define MESSAGE_BYTES_MAX \
    (128 + (STOCK_LINES_MAX + 2) * (64 + 6 * STOCK_NAME_BYTES_MAX)) /* escaped, at worst */

static struct bytes message_of(struct exchange *x, const struct stock_reserve *r)
{
    struct text t = text_within(arena_get(&x->arena, MESSAGE_BYTES_MAX), MESSAGE_BYTES_MAX);
    json_begin(&t, NULL, '{');
    json_text(&t, "order", r->order);
    if (r->user.len)
        json_text(&t, "user", r->user);
    json_begin(&t, "items", '[');
    for (unsigned i = 0; i < r->count; i++) {
        json_begin(&t, NULL, '{');
        json_text(&t, "item", r->lines[i].item);
        json_u64(&t, "quantity", r->lines[i].quantity);
        json_end(&t, '}');
    }
    json_end(&t, ']');
    json_u64(&t, "hold_ms", r->hold_ms);
    json_end(&t, '}');
    return t.cut ? BYTES_NONE : text_bytes(&t);
}

bool order_message_add(struct exchange *x, struct bytes topic, const struct stock_reserve *r,
                       struct stock_ask *q)
{
    const struct queue_field fields[] = { { BYTES("ce-type"), BYTES("weir.order") },
                                          { BYTES("content-type"), BYTES("application/json") },
                                          { QUEUE_BODY, message_of(x, r) } };
    const struct queue_op op = { .what = QUEUE_PUBLISH,
                                 .flags = QUEUE_MAKE,
                                 .topic = topic,
                                 .key = r->order,
                                 .fields = fields,
                                 .fields_count = sizeof fields / sizeof *fields };
    const size_t bytes = queue_op_bytes(&op);
    char *out = arena_get(&x->arena, bytes);
    if (!out || !fields[2].value.ptr)
        return false;
    queue_write(&op, out);
    q->others[q->others_count++] = (struct ledger_op){ .rules = QUEUE_RULES_ID, .body = { out, bytes } };
    return true;
}
