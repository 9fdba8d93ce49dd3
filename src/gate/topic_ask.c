#include "gate/topic_ask.h"

err topic_ask(struct topic_ask *q, char *room, size_t size)
{
    struct ledger *l = ledger_here();
    const size_t bytes = queue_op_bytes(&q->op) + sizeof q->op.room; /* its room is still to be said */
    if (!l)
        return ERR_UNAVAILABLE;
    if (size < bytes + sizeof(struct queue_answer))
        return ERR_LIMIT;
    q->op.room = size - bytes;
    queue_write(&q->op, room);
    struct ledger_op op = { .rules = QUEUE_RULES_ID,
                            .body = { room, queue_op_bytes(&q->op) },
                            .answer = room + bytes,
                            .answer_size = (uint32_t)(size - bytes) };
    struct ledger_call c = { .ops = &op, .ops_count = 1 };
    err e = ledger_submit(l, &c);
    if (e)
        return e;
    if (op.ret_answer_bytes > op.answer_size ||
        !queue_read_answer((struct bytes){ op.answer, op.ret_answer_bytes }, &q->answer, &q->rest))
        return ERR_LIMIT;
    q->durability = c.ret_durability;
    q->now_ms = c.ret_time_ms;
    return OK;
}
