/* What the API's calls about topics share: asking, and answering. */
#include "admin/ledger_topics.h"
#include "base/mem.h"
#include "gate/problem.h"
#include "gate/stock_http.h"
#include "gate/topic_json.h"

#define JSON "application/json"
#define BY BYTES("ledger")

static unsigned status_of(enum queue_result result)
{
    switch (result) {
    case QUEUE_UNKNOWN_TOPIC:
    case QUEUE_UNKNOWN_GROUP:
    case QUEUE_UNKNOWN_HANDLE:
        return 404;
    case QUEUE_EXISTS:
    case QUEUE_ID_TOO_SMALL:
    case QUEUE_ENDED:
    case QUEUE_NO_PRIORITY:
        return 409;
    case QUEUE_MALFORMED:
        return 400;
    case QUEUE_TOO_SMALL:
        return 413;
    case QUEUE_FULL:
        return 503;
    case QUEUE_DONE:
    case QUEUE_RESULTS:
        break;
    }
    return 200;
}

void topic_answer_result(struct call *c, enum queue_result result)
{
    struct problem p;
    problem_begin(&p, c->x, status_of(result), bytes_from(queue_result_meanings[result]));
    json_text(&p.json, "reason", bytes_from(queue_result_words[result]));
    if (problem_end(&p, BY) != OK)
        call_problem(c->x, 503, "out of memory");
}

void topic_answer_failure(struct call *c, err e)
{
    if (stock_problem_failed(c->x, e, BY) != OK)
        call_problem(c->x, 503, "%s", err_text(e));
}

bool topic_asks(struct call *c, struct topic_ask *q, char *room, size_t size)
{
    const err e = topic_ask(q, room, size);
    if (e)
        topic_answer_failure(c, e);
    else if (q->answer.result != QUEUE_DONE)
        topic_answer_result(c, (enum queue_result)q->answer.result);
    return !e && q->answer.result == QUEUE_DONE;
}

void topic_call_end(struct call *c, unsigned status)
{
    json_end(c->out, '}');
    text_add(c->out, BYTES("\n"));
    call_answer_status(c, status, JSON);
}

void topic_ask_number(struct call *c, struct topic_ask *q, const char *name)
{
    char room[TOPIC_ASK_BYTES];
    if (!topic_asks(c, q, room, sizeof room))
        return;
    json_begin(c->out, NULL, '{');
    if (name)
        json_u64(c->out, name, q->answer.number);
    json_u64(c->out, "now_ms", q->now_ms);
    json_text(c->out, "durability", bytes_from(ledger_durability_words[q->durability]));
    topic_call_end(c, 200);
}

char *topic_take_room(struct call *c)
{
    char *room = mem_get(TOPIC_ROOM_BYTES);
    if (!room)
        call_problem(c->x, 503, "out of memory");
    return room;
}

void topic_answer_messages(struct call *c, const struct topic_ask *q)
{
    struct bytes rest = q->rest;
    struct queue_message m;
    json_begin(c->out, NULL, '{');
    json_begin(c->out, "messages", '[');
    while (queue_read_message(&rest, &m)) {
        json_begin(c->out, NULL, '{');
        topic_json_message(c->out, &m);
        json_end(c->out, '}');
    }
    json_end(c->out, ']');
    json_u64(c->out, "now_ms", q->now_ms);
    topic_call_end(c, 200);
}
