/* queue_clients_test: fibers that publish to a topic that keeps the order of keys, and one that pulls and
 * acks, until the ledger answers no more; what they were told becomes the history that is checked. For tests
 * in which the disk fails or the process is killed, and another one goes on. */
#pragma once
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "base/test.h"
#include "core/worker.h"
#include "ledger/ledger_open.h"
#include "ledger/queue.h"

#define PUBLISHERS 8 /* each has a key of its own */
#define NUMBERS_MAX 200000
#define PULLED_MAX 64
#define ASK_BYTES_MAX 2048
#define QUEUE_ANSWER_BYTES (64u * 1024)

/* ASKED and ACKING are told before they are asked for. */
enum queue_event { QUEUE_ASKED = 1, QUEUE_TOLD = 2, QUEUE_HAD = 4, QUEUE_ACKING = 8, QUEUE_ACKED = 16 };

struct queue_told {
    uint32_t event, publisher, number;
};

static struct {
    struct ledger *ledger;
    void (*tell)(const struct queue_told *t);
    unsigned living;
    uint32_t last[PUBLISHERS]; /* numbers from 1 */
    uint8_t history[PUBLISHERS][NUMBERS_MAX];
    uint64_t told, acked;
} queue_clients;
static char queue_wrong[256];

static inline void queue_say(const char *text)
{
    if (!queue_wrong[0])
        snprintf(queue_wrong, sizeof queue_wrong, "%s", text);
}

/* The next event: given again only when its ack was not answered; each publisher's in order. */
static inline void queue_history_add(const struct queue_told *t)
{
    uint8_t *of = queue_clients.history[t->publisher];
    const uint8_t before = of[t->number];
    of[t->number] |= (uint8_t)t->event;
    if (t->event == QUEUE_ASKED)
        queue_clients.last[t->publisher] = t->number;
    queue_clients.told += t->event == QUEUE_TOLD;
    queue_clients.acked += t->event == QUEUE_ACKED;
    if (t->event != QUEUE_HAD)
        return;
    if (!(before & QUEUE_ASKED))
        queue_say("a message comes that nobody has published");
    if (before & QUEUE_ACKED)
        queue_say("a message comes again though its ack was answered");
    for (uint32_t i = t->number; i-- > 1 && !(of[i] & QUEUE_HAD);) {
        if (of[i] & QUEUE_TOLD)
            queue_say("a message comes before an earlier one of its key");
    }
}

struct queue_asked {
    char bytes[QUEUE_ANSWER_BYTES];
    struct queue_answer head;
    struct bytes rest;
};

/* ERR_UNAVAILABLE: the writer has stopped. The topic is "orders" when none is said. */
static inline err queue_ask(const struct queue_op *asked, struct queue_asked *a)
{
    char bytes[ASK_BYTES_MAX];
    struct queue_op op = *asked;
    op.topic = op.topic.len ? op.topic : BYTES("orders");
    op.room = sizeof a->bytes;
    must(queue_op_bytes(&op) <= sizeof bytes);
    queue_write(&op, bytes);
    struct ledger_op o = { .rules = QUEUE_RULES_ID,
                           .body = { bytes, queue_op_bytes(&op) },
                           .answer = a->bytes,
                           .answer_size = sizeof a->bytes };
    struct ledger_call c = { .ops = &o, .ops_count = 1 };
    const err e = ledger_submit(queue_clients.ledger, &c);
    if (e)
        return e;
    must(queue_read_answer((struct bytes){ a->bytes, o.ret_answer_bytes }, &a->head, &a->rest));
    return c.ret_refused;
}
#define QUEUE_ASK(a, ...) queue_ask(&(const struct queue_op){ __VA_ARGS__ }, a)

static inline void queue_tell(enum queue_event event, unsigned publisher, uint32_t number)
{
    const struct queue_told t = { .event = event, .publisher = publisher, .number = number };
    queue_clients.tell(&t);
}

static inline void queue_client_ends(err e)
{
    if (e != ERR_UNAVAILABLE)
        queue_say(err_name(e));
    if (--queue_clients.living == 0)
        worker_stop(worker_self());
}

static inline void queue_publisher(void *arg)
{
    const unsigned me = (unsigned)(uintptr_t)arg;
    const char key[] = { (char)('a' + me), 0 };
    struct queue_asked *a = malloc(sizeof *a);
    char body[300];
    err e = OK;
    for (uint32_t number = queue_clients.last[me] + 1; !e && number < NUMBERS_MAX; number++) {
        memset(body, 'x', sizeof body);
        body[snprintf(body, sizeof body, "%u.%u.", me, number)] = 'x';
        const struct queue_field f = { QUEUE_BODY, { body, sizeof body } };
        queue_tell(QUEUE_ASKED, me, number);
        e = QUEUE_ASK(a, .what = QUEUE_PUBLISH, .key = bytes_from(key), .fields = &f, .fields_count = 1);
        if (!e)
            queue_tell(QUEUE_TOLD, me, number);
    }
    free(a);
    queue_client_ends(e);
}

/* What a pull got, and its ack. *ret_count 0: there was nothing. */
static inline err queue_pull_and_ack(struct queue_asked *a, unsigned *ret_count)
{
    struct queue_message m;
    struct queue_id ids[PULLED_MAX];
    unsigned publisher[PULLED_MAX], number[PULLED_MAX], count = 0;
    *ret_count = 0;
    err e =
        QUEUE_ASK(a, .what = QUEUE_PULL, .group = BYTES("g"), .consumer = BYTES("c"), .count = PULLED_MAX);
    for (; !e && queue_read_message(&a->rest, &m); count++) {
        struct bytes fields = m.fields;
        struct queue_field f;
        char text[24] = "";
        must(queue_read_field(&fields, &f) && f.value.len >= sizeof text);
        memcpy(text, f.value.ptr, sizeof text - 1);
        must(sscanf(text, "%u.%u.", &publisher[count], &number[count]) == 2 &&
             publisher[count] < PUBLISHERS && number[count] < NUMBERS_MAX);
        queue_tell(QUEUE_HAD, publisher[count], number[count]);
        queue_tell(QUEUE_ACKING, publisher[count], number[count]);
        ids[count] = m.id;
    }
    if (!e && count)
        e = QUEUE_ASK(a, .what = QUEUE_ACK, .group = BYTES("g"), .ids = ids, .ids_count = count);
    for (unsigned i = 0; i < count && !e; i++)
        queue_tell(QUEUE_ACKED, publisher[i], number[i]);
    *ret_count = count;
    return e;
}

static inline void queue_consumer(void *arg)
{
    (void)arg;
    struct queue_asked *a = malloc(sizeof *a);
    unsigned count;
    err e;
    while ((e = queue_pull_and_ack(a, &count)) == OK) {
        if (!count && fiber_sleep_us(500) != OK)
            break;
    }
    free(a);
    queue_client_ends(e);
}

/* What a consumer before this one had in hand is to be had again. */
static inline void queue_clients_begin(void)
{
    struct queue_asked *a = malloc(sizeof *a);
    err e = QUEUE_ASK(a, .what = QUEUE_TOPIC, .flags = QUEUE_IS_ORDERED);
    if (!e)
        e = QUEUE_ASK(a, .what = QUEUE_GROUP, .group = BYTES("g"), .lease_ms = 600000);
    if (!e)
        e = QUEUE_ASK(a, .what = QUEUE_DELETE_CONSUMER, .group = BYTES("g"), .consumer = BYTES("c"));
    free(a);
    if (e)
        queue_say("there is no topic");
    queue_clients.living = PUBLISHERS + 1;
    for (uintptr_t i = 0; i < PUBLISHERS; i++)
        fiber_spawn(queue_publisher, (void *)i);
    fiber_spawn(queue_consumer, NULL);
}

/* All that is left is had: nothing whose publishing was answered is missing, and nothing else is there. */
static inline void queue_clients_check(void)
{
    struct queue_asked *a = malloc(sizeof *a);
    struct queue_topic_shown t = { 0 };
    unsigned count = 1;
    uint64_t asked = 0;
    queue_clients.tell = queue_history_add;
    err e = QUEUE_ASK(a, .what = QUEUE_DELETE_CONSUMER, .group = BYTES("g"), .consumer = BYTES("c"));
    while (!e && count)
        e = queue_pull_and_ack(a, &count);
    if (!e)
        e = QUEUE_ASK(a, .what = QUEUE_LOOK_TOPIC);
    if (e || !queue_read_topic(&a->rest, &t))
        queue_say("what is left cannot be had");
    free(a);
    for (unsigned p = 0; p < PUBLISHERS; p++) {
        asked += queue_clients.last[p];
        for (uint32_t i = 1; i <= queue_clients.last[p]; i++) {
            const uint8_t h = queue_clients.history[p][i];
            if (h & QUEUE_TOLD && !(h & (QUEUE_ACKED | QUEUE_ACKING)))
                queue_say("a message is lost");
        }
    }
    if (t.count < queue_clients.told || t.count > asked)
        queue_say("there are fewer messages than were told, or more than were asked for");
}
