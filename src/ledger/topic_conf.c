#include "ledger/topic_conf.h"

#include <stddef.h>

#include "ledger/queue.h"

#define AT(type, member) offsetof(struct type, member)

static const char *const auto_words[] = { "auto", NULL };

static err push_check(void *conf, struct diag *reterr)
{
    const struct topic_push_conf *p = conf;
    bool good = p->path.len > 0 && p->path.len <= TOPIC_PATH_BYTES_MAX && p->path.ptr[0] == '/';
    for (size_t i = 0; good && i < p->path.len; i++)
        good = p->path.ptr[i] > ' ' && p->path.ptr[i] < 0x7f && p->path.ptr[i] != '#';
    if (good)
        return OK;
    diag_set(reterr, "path: \"%.*s\" is no path", BYTES_ARG(p->path));
    return ERR_CONF;
}

static const struct conf_struct push_struct = {
    .name = "push",
    .size = sizeof(struct topic_push_conf),
    .phrases = (const char *const[]){ "{path} of {service}", "{service}", NULL },
    .fields = (const struct conf_field[]){ { .name = "service",
                                             .type = CONF_REF,
                                             .offset = AT(topic_push_conf, service),
                                             .required = true,
                                             .ref = "services",
                                             .doc = "who gets them: each by one of its servers" },
                                           { .name = "path",
                                             .type = CONF_TEXT,
                                             .offset = AT(topic_push_conf, path),
                                             .preset = "/",
                                             .doc = "what is POSTed to" },
                                           { .name = "concurrency",
                                             .type = CONF_INT,
                                             .offset = AT(topic_push_conf, concurrency),
                                             .preset = "auto",
                                             .min = 1,
                                             .max = TOPIC_CONCURRENCY_MAX,
                                             .words = auto_words,
                                             .doc = "so many at the same time; `auto` begins with the cores "
                                                    "of this machine + 1 and follows how "
                                                    "long the service takes" },
                                           { .name = "timeout",
                                             .type = CONF_MS,
                                             .offset = AT(topic_push_conf, timeout_ms),
                                             .preset = "5s",
                                             .min = 1,
                                             .max = 3600000,
                                             .doc = "of one delivery, retries of the service included" },
                                           { 0 } },
    .check = push_check,
    .doc = "Where messages go by POST, as CloudEvents.",
};

static err topic_check(void *conf, struct diag *reterr)
{
    const struct topic_conf *t = conf;
    if (t->name.len > QUEUE_NAME_BYTES_MAX - QUEUE_CHECK_SUFFIX.len) {
        diag_set(reterr, "the name of a topic has at most %zu bytes",
                 QUEUE_NAME_BYTES_MAX - QUEUE_CHECK_SUFFIX.len);
        return ERR_CONF;
    }
    if (bytes_eq(t->dead_letter, t->name)) {
        diag_set(reterr, "dead_letter: it is the topic itself");
        return ERR_CONF;
    }
    return OK;
}

bool topic_conf_has(const struct conf_list *topics, struct bytes name)
{
    const struct topic_conf *list = topics->items;
    for (size_t i = 0; i < topics->count; i++) {
        if (bytes_eq(list[i].name, name))
            return true;
    }
    return false;
}

err topic_conf_check(const struct conf_list *topics, struct diag *reterr)
{
    const struct topic_conf *list = topics->items;
    for (size_t i = 0; i < topics->count; i++) {
        if (!list[i].dead_letter.len || topic_conf_has(topics, list[i].dead_letter))
            continue;
        diag_set(reterr, "topics: %.*s: dead_letter: there is no topic \"%.*s\"", BYTES_ARG(list[i].name),
                 BYTES_ARG(list[i].dead_letter));
        return ERR_CONF;
    }
    return OK;
}

const struct conf_struct topic_conf_struct = {
    .name = "topic",
    .size = sizeof(struct topic_conf),
    .phrases = (const char *const[]){ "keep {keep}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "keep",
              .type = CONF_MS,
              .offset = AT(topic_conf, keep_ms),
              .preset = "7d",
              .min = 1000,
              .words = conf_word_off,
              .doc = "messages older than this go, whoever has not had them; `off`: they stay" },
            { .name = "keep_bytes",
              .type = CONF_BYTES,
              .offset = AT(topic_conf, keep_bytes),
              .preset = "0",
              .doc = "the oldest go when all are more than this; 0: no bound" },
            { .name = "order_by_key",
              .type = CONF_BOOL,
              .offset = AT(topic_conf, order_by_key),
              .preset = "false",
              .doc = "a message waits until the earlier ones of its key are done" },
            TOPIC_DUPLICATE_FIELD(topic_conf),
            TOPIC_RETRY_FIELDS(topic_conf),
            { .name = "dead_letter",
              .type = CONF_TEXT,
              .offset = AT(topic_conf, dead_letter),
              .doc = "the topic that gets what was given up; when not said it is dropped" },
            { .name = "push",
              .type = CONF_STRUCT,
              .offset = AT(topic_conf, push),
              .sub = &push_struct,
              .doc = "where its messages go by POST: `/orders of shop`" },
            { .name = "check",
              .type = CONF_STRUCT,
              .offset = AT(topic_conf, check),
              .sub = &push_struct,
              .doc = "who is asked what becomes of a half message, when its publisher is silent" },
            { .name = "check_after",
              .type = CONF_MS,
              .offset = AT(topic_conf, check_after_ms),
              .preset = "1m",
              .min = 100,
              .max = (double)QUEUE_DELAY_MS_MAX,
              .doc = "how long it may be silent, each time" },
            { .name = "checks",
              .type = CONF_INT,
              .offset = AT(topic_conf, checks),
              .preset = "15",
              .min = 1,
              .max = 1000,
              .doc = "then a half message is rolled back" },
            { 0 } },
    .check = topic_check,
    .doc = "A topic, by name: what it keeps, and where its messages go.",
};
