/* QUEUE.PULL: what is next for a group, and waiting for it: in one line with those of XREADGROUP. */
#include "gate/resp_queue.h"
#include "ledger/board.h"
#include "ledger/watch.h"

#define BLOCK_MS_MAX (366ULL * 24 * 3600 * 1000)

const char *queue_read_pull(const struct resp_command *c, struct queue_op *op, uint64_t *ret_block_ms)
{
    *op = (struct queue_op){ .what = QUEUE_PULL,
                             .topic = resp_arg(c, 1),
                             .group = resp_arg(c, 2),
                             .consumer = resp_arg(c, 3),
                             .count = 1,
                             .room = STREAM_ROOM_BYTES };
    *ret_block_ms = QUEUE_BLOCK_NONE;
    for (uint32_t i = 4; i < c->count; i += 2) {
        const struct bytes name = resp_arg(c, i);
        uint64_t n;
        if (i + 1 == c->count)
            return "syntax error";
        const bool is_number = bytes_to_u64(resp_arg(c, i + 1), &n);
        if (bytes_eq_nocase(name, BYTES("COUNT"))) {
            if (!is_number || n < 1 || n > QUEUE_COUNT_MAX)
                return "COUNT: it is a number from 1 to 10000";
            op->count = n;
        } else if (bytes_eq_nocase(name, BYTES("BLOCK"))) {
            if (!is_number)
                return "BLOCK: it is a number of milliseconds";
            *ret_block_ms = n && n < BLOCK_MS_MAX ? n : BLOCK_MS_MAX;
        } else if (bytes_eq_nocase(name, BYTES("LEASE"))) {
            if (!is_number || n > QUEUE_LEASE_MS_MAX)
                return "LEASE: it is a number of milliseconds, up to a day";
            op->lease_ms = n;
        } else {
            return "syntax error";
        }
    }
    return NULL;
}

/* ---- answers ---- */

void queue_out_text(struct resp_out *o, const char *name, struct bytes text)
{
    resp_out_text(o, bytes_from(name));
    resp_out_text(o, text);
}

void queue_out_number(struct resp_out *o, const char *name, uint64_t n)
{
    resp_out_text(o, bytes_from(name));
    stream_out_int(o, n);
}

void queue_out_message(struct resp_out *o, const struct queue_message *m)
{
    struct bytes rest = m->fields, body = BYTES("");
    struct queue_field f;
    uint64_t headers = 0;
    while (queue_read_field(&rest, &f)) {
        const bool is_body = bytes_eq(f.name, QUEUE_BODY);
        headers += !is_body;
        body = is_body ? f.value : body;
    }
    stream_out_map(o, 7);
    resp_out_text(o, BYTES("id"));
    stream_out_id(o, m->id);
    queue_out_text(o, "key", m->key);
    queue_out_number(o, "attempts", m->attempts);
    queue_out_number(o, "priority", m->priority);
    queue_out_number(o, "published_ms", m->published_ms);
    resp_out_text(o, BYTES("headers"));
    stream_out_map(o, headers);
    for (rest = m->fields; !o->failed && queue_read_field(&rest, &f);) {
        if (bytes_eq(f.name, QUEUE_BODY))
            continue;
        resp_out_text(o, f.name);
        resp_out_text(o, f.value);
    }
    queue_out_text(o, "body", body);
}

static void out_pulled(struct resp_out *o, const struct stream_call *g)
{
    struct queue_message m;
    struct bytes rest = g->rest;
    stream_out_head(o, '*', g->a.count);
    while (!o->failed && queue_read_message(&rest, &m))
        queue_out_message(o, &m);
}

/* ---- waiting ---- */

/* Until there is one, or the time is over. false: said, or the client is gone. */
static bool wait_and_ask(struct resp_client *k, struct stream_call *g, uint64_t block_ms)
{
    const uint64_t until_us = deadline_in_ms(block_ms);
    char key[QUEUE_TOPIC_KEY_BYTES_MAX];
    struct waiter w;
    struct watch news;
    bool good = true;
    err e = OK;
    waiter_open(&w);
    watch_begin(&news, &w, QUEUE_RULES_ID, queue_topic_key(g->op.topic, key),
                board_hash(QUEUE_RULES_ID, g->op.group) | 1);
    while (!e) {
        if (watch_is_first(&news))
            good = stream_ask(k, &g->op, &g->room, &g->a, &g->rest);
        if (!good || g->a.result != QUEUE_DONE || g->a.count)
            break;
        e = resp_wait(k, &w, until_us);
    }
    k->closing |= e == ERR_CLOSED;
    watch_end(&news);
    waiter_close(&w);
    return good && !k->closing;
}

/* See queue_read_pull. */
void resp_do_queue_pull(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    struct stream_call g = { .out = out_pulled, .own_words = true };
    uint64_t block_ms;
    struct resp_out o;
    (void)d;
    const char *wrong = queue_read_pull(c, &g.op, &block_ms);
    if (wrong) {
        resp_fail(k->batch, "ERR %s", wrong);
        return;
    }
    if (k->batch->puts_off || block_ms == QUEUE_BLOCK_NONE) {
        stream_do(k, &g);
        return;
    }
    if (!wait_and_ask(k, &g, block_ms))
        return;
    stream_out_begin(&o, k);
    if (g.a.result == QUEUE_DONE)
        out_pulled(&o, &g);
    else
        stream_out_word(&o, g.a.result);
    stream_out_end(&o, k);
}
