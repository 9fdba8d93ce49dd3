#include "gate/topic_watch.h"

#include "base/mem.h"
#include "base/must.h"
#include "core/fiber.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gate/gate.h"
#include "gate/process.h"
#include "gate/topic_ask.h"
#include "gate/topic_push.h"
#include "ledger/ledger_conf.h"
#include "ledger/topic_conf.h"

#define LOOK_US 200000
#define SHOW_EVERY 5 /* looks */
/* Metrics of more topics than these say less than they cost. */
#define TOPICS_SHOWN_MAX 200
#define GROUPS_SHOWN_MAX 400
#define ROOM_BYTES (TOPIC_ASK_BYTES + 64 * 1024)
#define PUSHES_MAX (2 * TOPICS_MAX)

/* ---- metrics ---- */

enum { TOPIC_MESSAGES, TOPIC_BYTES, TOPIC_ADDED, TOPIC_KEPT, TOPIC_METRICS };
static const struct metric_group topic_group = {
    .module = "topic",
    .defs = (const struct metric_def[]){ { "messages", METRIC_GAUGE, "Messages that the topic has" },
                                         { "bytes", METRIC_GAUGE, "Bytes of these" },
                                         { "published_messages", METRIC_GAUGE, "Messages published so far" },
                                         { "kept_messages", METRIC_GAUGE, "Delayed and half messages" } },
    .count = TOPIC_METRICS,
    .labels = (const char *const[]){ "topic", NULL },
};

enum {
    GROUP_LAG,
    GROUP_PENDING,
    GROUP_READY,
    GROUP_WAITING,
    GROUP_ACKED,
    GROUP_REDELIVERED,
    GROUP_DEAD,
    GROUP_DROPPED,
    GROUP_METRICS
};
static const struct metric_group group_group = {
    .module = "topic_group",
    .defs =
        (const struct metric_def[]){
            { "lag_messages", METRIC_GAUGE, "Messages that the group has not had yet" },
            { "pending_messages", METRIC_GAUGE, "Messages delivered and not acknowledged" },
            { "again_messages", METRIC_GAUGE, "Messages that will be delivered again" },
            { "waiting_messages", METRIC_GAUGE, "Messages behind earlier ones of their key" },
            { "acked_messages", METRIC_GAUGE, "Messages acknowledged so far" },
            { "redelivered_messages", METRIC_GAUGE, "Deliveries made again so far" },
            { "dead_messages", METRIC_GAUGE, "Messages given up so far" },
            { "dropped_messages", METRIC_GAUGE, "Messages too old before they were done, so far" } },
    .count = GROUP_METRICS,
    .labels = (const char *const[]){ "topic", "group", NULL },
};

static struct {
    uint64_t generation; /* whose topics are in force; 0: none yet */
    struct topic_push *pushes[PUSHES_MAX];
    size_t pushes_count;
    struct metric_instance *topics[TOPICS_SHOWN_MAX], *groups[GROUPS_SHOWN_MAX];
    struct metric_instance *topics_now[TOPICS_SHOWN_MAX], *groups_now[GROUPS_SHOWN_MAX];
    unsigned topics_count, groups_count;
    bool runs, is_made; /* is_made: the topics of the first generation are there */
} watch;

/* ---- topics as the configuration names them ---- */

static bool ask(struct topic_ask *q)
{
    char room[TOPIC_ASK_BYTES];
    return topic_ask(q, room, sizeof room) == OK && q->answer.result == QUEUE_DONE;
}

static bool set_group(struct bytes topic, const struct topic_conf *c, const struct topic_push_conf *push)
{
    struct topic_ask q = { .op = { .what = QUEUE_GROUP,
                                   .topic = topic,
                                   .group = TOPIC_PUSH_GROUP,
                                   .lease_ms = topic_push_lease_ms(push),
                                   .attempts = (uint64_t)c->attempts,
                                   .back_off_ms = c->back_off_ms,
                                   .back_off_ms_max = c->back_off_ms_max } };
    return ask(&q);
}

static struct bytes check_name(const struct topic_conf *c, char out[QUEUE_NAME_BYTES_MAX])
{
    const size_t len = c->name.len;
    must(len + QUEUE_CHECK_SUFFIX.len <= QUEUE_NAME_BYTES_MAX);
    memcpy(out, c->name.ptr, len);
    memcpy(out + len, QUEUE_CHECK_SUFFIX.ptr, QUEUE_CHECK_SUFFIX.len);
    return (struct bytes){ out, len + QUEUE_CHECK_SUFFIX.len };
}

static bool set_topic(const struct topic_conf *c)
{
    char name[QUEUE_NAME_BYTES_MAX];
    struct topic_ask q = { .op = { .what = QUEUE_TOPIC,
                                   .topic = c->name,
                                   .keep_ms = c->keep_ms == CONF_MS_OFF ? 0 : c->keep_ms,
                                   .keep_bytes = c->keep_bytes,
                                   .other = c->dead_letter,
                                   .check_ms = c->check_after_ms,
                                   .duplicate_ms = c->duplicate_ms,
                                   .attempts = (uint64_t)c->checks,
                                   .flags = c->order_by_key ? QUEUE_IS_ORDERED : 0 } };
    if (!ask(&q) || (c->push && !set_group(c->name, c, c->push)))
        return false;
    if (!c->check)
        return true;
    struct topic_ask check = {
        .op = { .what = QUEUE_TOPIC, .topic = check_name(c, name), .keep_ms = QUEUE_CHECK_KEEP_MS }
    };
    return ask(&check) && set_group(check.op.topic, c, c->check);
}

/* ---- pushes ---- */

/* From the running ones into the next ones; or a new one. */
static void want_push(struct topic_push **next, size_t *count, struct bytes topic,
                      const struct topic_push_conf *conf, bool is_check)
{
    for (size_t i = 0; i < watch.pushes_count; i++) {
        if (!watch.pushes[i] || !topic_push_is(watch.pushes[i], topic, conf))
            continue;
        next[(*count)++] = watch.pushes[i];
        watch.pushes[i] = NULL;
        return;
    }
    const err e = topic_push_start(topic, conf, is_check, !watch.generation, &next[*count]);
    if (e)
        log_error("topic", "%.*s: cannot be pushed: %s", BYTES_ARG(topic), err_text(e));
    else
        ++*count;
}

static void set_pushes(const struct conf_list *topics)
{
    struct topic_push **next = mem_must_get(PUSHES_MAX * sizeof(struct topic_push *));
    const struct topic_conf *c = topics->items;
    char name[QUEUE_NAME_BYTES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < topics->count; i++) {
        if (c[i].push)
            want_push(next, &count, c[i].name, c[i].push, false);
        if (c[i].check)
            want_push(next, &count, check_name(&c[i], name), c[i].check, true);
    }
    for (size_t i = 0; i < watch.pushes_count; i++) {
        if (watch.pushes[i])
            topic_push_stop(watch.pushes[i]);
    }
    memcpy(watch.pushes, next, count * sizeof(struct topic_push *));
    watch.pushes_count = count;
    mem_free(next);
}

/* false: the ledger does not take it yet. */
static bool make_topics(const struct conf_list *topics)
{
    const struct topic_conf *c = topics->items;
    for (size_t i = 0; i < topics->count; i++) {
        if (!set_topic(&c[i]))
            return false;
    }
    return true;
}

void topic_watch_make(const struct ledger_conf *c)
{
    watch.is_made = make_topics(&c->topics);
}

/* false: the ledger does not take it yet. */
static bool follow(const struct generation *g)
{
    static const struct conf_list none;
    const struct conf_list *topics = g->conf->ledger ? &g->conf->ledger->topics : &none;
    if (!watch.is_made && !make_topics(topics))
        return false;
    watch.is_made = false;
    if (process_state() != PROCESS_SERVING) /* fibers of workers are cancelled, or will be: pushes too */
        return false;
    set_pushes(topics);
    return true;
}

/* The generation is held: asking the ledger takes a while. */
static void follow_reloads(void)
{
    struct gate *g = gate_current();
    if (!g || g->generation->number == watch.generation)
        return;
    gate_hold(g);
    if (follow(g->generation))
        watch.generation = g->generation->number;
    gate_drop(g);
}

/* ---- once a second ---- */

static void show_group(struct bytes topic, const struct queue_group_shown *g)
{
    struct metric_instance *m;
    if (watch.groups_count == GROUPS_SHOWN_MAX ||
        metric_instance_open(&group_group, (const struct bytes[]){ topic, g->name }, &m) != OK)
        return;
    watch.groups_now[watch.groups_count++] = m;
    struct metric_cells *cells = metric_cells(m, worker_index(worker_self()));
    metric_set(cells, GROUP_LAG, (int64_t)g->lag);
    metric_set(cells, GROUP_PENDING, (int64_t)g->pending);
    metric_set(cells, GROUP_READY, (int64_t)(g->ready + g->retry));
    metric_set(cells, GROUP_WAITING, (int64_t)g->waiting);
    metric_set(cells, GROUP_ACKED, (int64_t)g->acked);
    metric_set(cells, GROUP_REDELIVERED, (int64_t)g->redelivered);
    metric_set(cells, GROUP_DEAD, (int64_t)g->dead);
    metric_set(cells, GROUP_DROPPED, (int64_t)g->dropped);
}

static void show_topic(const struct queue_topic_shown *t, char *room)
{
    struct topic_ask q = { .op = { .what = QUEUE_GROUPS, .topic = t->name } };
    struct queue_group_shown g;
    struct metric_instance *m;
    if (metric_instance_open(&topic_group, &t->name, &m) != OK)
        return;
    watch.topics_now[watch.topics_count++] = m;
    struct metric_cells *cells = metric_cells(m, worker_index(worker_self()));
    metric_set(cells, TOPIC_MESSAGES, (int64_t)t->count);
    metric_set(cells, TOPIC_BYTES, (int64_t)t->bytes);
    metric_set(cells, TOPIC_ADDED, (int64_t)t->added);
    metric_set(cells, TOPIC_KEPT, (int64_t)t->kept);
    if (!t->groups || topic_ask(&q, room, ROOM_BYTES) != OK)
        return;
    while (queue_read_group(&q.rest, &g))
        show_group(t->name, &g);
}

/* Those of before are given back behind the new ones: what goes on keeps its cells. */
static void swap(struct metric_instance **before, struct metric_instance **now, unsigned max)
{
    for (unsigned i = 0; i < max; i++) {
        metric_instance_free(before[i]);
        before[i] = now[i];
        now[i] = NULL;
    }
}

static void show(char *room, char *groups_room)
{
    struct topic_ask q = { .op = { .what = QUEUE_TOPICS, .count = TOPICS_SHOWN_MAX } };
    struct queue_topic_shown t;
    watch.topics_count = watch.groups_count = 0;
    if (topic_ask(&q, room, ROOM_BYTES) == OK) {
        while (queue_read_topic(&q.rest, &t) && watch.topics_count < TOPICS_SHOWN_MAX)
            show_topic(&t, groups_room);
    }
    swap(watch.topics, watch.topics_now, TOPICS_SHOWN_MAX);
    swap(watch.groups, watch.groups_now, GROUPS_SHOWN_MAX);
}

static void run(void *arg)
{
    char *room = arg;
    unsigned looks = 0;
    do {
        follow_reloads();
        if (looks++ % SHOW_EVERY == 0)
            show(room, room + ROOM_BYTES);
    } while (fiber_sleep_us(LOOK_US) == OK);
    for (size_t i = 0; i < watch.pushes_count; i++)
        topic_push_leave(watch.pushes[i]);
    swap(watch.topics, watch.topics_now, TOPICS_SHOWN_MAX);
    swap(watch.groups, watch.groups_now, GROUPS_SHOWN_MAX);
    memset(&watch, 0, sizeof watch);
    mem_free(room);
}

void topic_watch_start(void)
{
    char *room = mem_get(2 * ROOM_BYTES);
    if (watch.runs || !room) {
        mem_free(room);
        return;
    }
    watch.runs = true;
    fiber_spawn(run, room);
}
