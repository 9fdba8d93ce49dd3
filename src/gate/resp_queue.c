/* QUEUE.PUBLISH, PREPARE, COMMIT, ROLLBACK, ACK, NACK, EXTEND. */
#include "gate/resp_queue.h"

#define SYNTAX "syntax error"

/* ---- publishing ---- */

static int word_of(struct bytes option)
{
    for (int i = 0; topic_options[i]; i++) {
        if (bytes_eq_nocase(option, bytes_from(topic_options[i])))
            return i;
    }
    return TOPIC_WORDS;
}

const char *queue_read_publish(const struct resp_command *c, bool is_half, struct topic_publish *p,
                               struct queue_op *op)
{
    op->topic = resp_arg(c, 1);
    for (uint32_t i = 3; i < c->count;) {
        const char *wrong;
        if (stream_word(c, i, BYTES("HEADER")) && i + 2 < c->count) {
            wrong = topic_publish_header(p, resp_arg(c, i + 1), resp_arg(c, i + 2));
            i += 3;
        } else {
            const int word = word_of(resp_arg(c, i));
            if (word == TOPIC_WORDS || i + 1 == c->count)
                return SYNTAX;
            wrong = topic_publish_word(op, (enum topic_word)word, resp_arg(c, i + 1));
            i += 2;
        }
        if (wrong)
            return wrong;
    }
    return topic_publish_end(p, resp_arg(c, 2), is_half, op);
}

/* DONE, or it is said why not. */
static bool read_done(struct resp_out *o, const struct resp_ask *q, struct queue_answer *a)
{
    if (!stream_read_ask(o, q, a))
        return false;
    if (a->result != QUEUE_DONE)
        stream_out_word(o, a->result);
    return a->result == QUEUE_DONE;
}

/* Its id; of what is kept aside the handle. */
static void say_published(struct resp_out *o, const struct resp_ask *q)
{
    struct queue_answer a;
    if (!read_done(o, q, &a))
        return;
    if (a.number)
        stream_out_int(o, a.number);
    else
        stream_out_id(o, a.id);
}

static void say_number(struct resp_out *o, const struct resp_ask *q)
{
    struct queue_answer a;
    if (read_done(o, q, &a))
        stream_out_int(o, a.number);
}

static void say_committed(struct resp_out *o, const struct resp_ask *q)
{
    struct queue_answer a;
    if (read_done(o, q, &a))
        stream_out_id(o, a.id);
}

static void say_rolled_back(struct resp_out *o, const struct resp_ask *q)
{
    struct queue_answer a;
    if (read_done(o, q, &a))
        resp_out_line(o, '+', BYTES("OK"));
}

/* See queue_read_publish; d->number: a half message. */
void resp_do_queue_publish(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct queue_op op = { 0 };
    struct topic_publish *p = arena_get_zero(k->batch->arena, sizeof *p);
    const char *wrong =
        p ? queue_read_publish(c, d->number, p, &op) : "too much in one go for a connection's memory";
    if (wrong)
        resp_fail(k->batch, "ERR %s", wrong);
    else
        stream_send(k, &op, 1, false, say_published);
}

/* topic, handle; d->number: 1 commits it */
void resp_do_queue_end(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct queue_op op = { .what = d->number ? QUEUE_COMMIT : QUEUE_ROLL_BACK, .topic = resp_arg(c, 1) };
    if (bytes_to_u64(resp_arg(c, 2), &op.number))
        stream_send(k, &op, 1, false, d->number ? say_committed : say_rolled_back);
    else
        resp_fail(k->batch, "ERR a handle is a number");
}

/* ---- what was pulled ---- */

static void send_ids(struct resp_client *k, const struct resp_command *c, uint32_t at, struct queue_op *op)
{
    op->topic = resp_arg(c, 1);
    op->group = resp_arg(c, 2);
    op->ids_count = c->count - at;
    op->ids = stream_ids(k, c, at, op->ids_count);
    if (op->ids)
        stream_send(k, op, 1, false, say_number);
}

/* topic, group, id ... */
void resp_do_queue_ack(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct queue_op op = { .what = QUEUE_ACK };
    (void)d;
    send_ids(k, c, 3, &op);
}

static bool read_ms(struct resp_client *k, struct bytes text, uint64_t max, uint64_t *ret_ms)
{
    if (bytes_to_u64(text, ret_ms) && *ret_ms <= max)
        return true;
    resp_fail(k->batch, "ERR value is not an integer or out of range");
    return false;
}

/* topic, group [DELAY ms] id ...; without DELAY as the group's back-off says */
void resp_do_queue_nack(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct queue_op op = { .what = QUEUE_NACK, .flags = QUEUE_BACK_OFF };
    uint32_t at = 3;
    (void)d;
    if (stream_word(c, 3, BYTES("DELAY")) && c->count > 5) {
        op.flags = 0;
        at = 5;
        if (!read_ms(k, resp_arg(c, 4), QUEUE_BACK_OFF_MS_MAX, &op.delay_ms))
            return;
    }
    send_ids(k, c, at, &op);
}

/* topic, group, consumer, lease in ms (0: the group's), id ... */
void resp_do_queue_extend(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct queue_op op = { .what = QUEUE_EXTEND, .consumer = resp_arg(c, 3) };
    (void)d;
    if (!queue_name_is_good(op.consumer))
        resp_fail(k->batch, "ERR a consumer has a name of 1 to %d bytes", QUEUE_NAME_BYTES_MAX);
    else if (read_ms(k, resp_arg(c, 4), QUEUE_LEASE_MS_MAX, &op.lease_ms))
        send_ids(k, c, 5, &op);
}
