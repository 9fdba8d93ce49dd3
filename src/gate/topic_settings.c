#include "gate/topic_settings.h"

#include "gate/topic_args.h"
#include "ledger/topic_conf.h"

#define AT(type, member) offsetof(struct type, member)

struct topic_settings {
    uint64_t keep_ms, keep_bytes, check_after_ms, duplicate_ms;
    bool order_by_key;
    struct bytes dead_letter;
};

const struct conf_struct topic_body = {
    .name = "topic",
    .size = sizeof(struct topic_settings),
    .fields =
        (const struct conf_field[]){
            { .name = "keep",
              .type = CONF_MS,
              .offset = AT(topic_settings, keep_ms),
              .preset = "7d",
              .min = 1000,
              .words = conf_word_off,
              .doc = "older messages go; `off`: they stay" },
            { .name = "keep_bytes",
              .type = CONF_BYTES,
              .offset = AT(topic_settings, keep_bytes),
              .preset = "0",
              .doc = "the oldest go when all are more than this; 0: no bound" },
            { .name = "order_by_key",
              .type = CONF_BOOL,
              .offset = AT(topic_settings, order_by_key),
              .preset = "false",
              .doc = "a message waits until the earlier ones of its key are done" },
            TOPIC_DUPLICATE_FIELD(topic_settings),
            { .name = "check_after",
              .type = CONF_MS,
              .offset = AT(topic_settings, check_after_ms),
              .preset = "1m",
              .min = 100,
              .max = (double)QUEUE_DELAY_MS_MAX,
              .doc = "how long the publisher of a half message may be silent, until it is asked" },
            { .name = "dead_letter",
              .type = CONF_TEXT,
              .offset = AT(topic_settings, dead_letter),
              .doc = "the topic for what was given up" },
            { 0 } },
    .doc = "A topic; one that the configuration names is set anew by it at the next start or reload.",
};

struct group_settings {
    uint64_t lease_ms, back_off_ms, back_off_ms_max;
    int64_t attempts;
    struct bytes from, dead_letter;
};

const struct conf_struct topic_group_body = {
    .name = "group",
    .size = sizeof(struct group_settings),
    .fields =
        (const struct conf_field[]){
            { .name = "from",
              .type = CONF_TEXT,
              .offset = AT(group_settings, from),
              .preset = "begin",
              .doc = "where a new group begins: `begin`, `end`, an id (the next one is behind it), a time in "
                     "ms since 1970" },
            { .name = "lease",
              .type = CONF_MS,
              .offset = AT(group_settings, lease_ms),
              .preset = "30s",
              .min = 1,
              .max = (double)QUEUE_LEASE_MS_MAX,
              .doc = "how long a consumer may have a message, until it comes again" },
            TOPIC_RETRY_FIELDS(group_settings),
            { .name = "dead_letter",
              .type = CONF_TEXT,
              .offset = AT(group_settings, dead_letter),
              .doc = "the topic for what was given up; the topic's own when not said" },
            { 0 } },
    .doc = "A group of consumers that share a topic's messages.",
};

static const struct conf_field *field_of(const struct conf_struct *s, struct bytes name)
{
    for (const struct conf_field *f = s->fields; f->name; f++) {
        if (bytes_eq_nocase(name, bytes_from(f->name)))
            return f;
    }
    return NULL;
}

err topic_settings_read(const struct conf_struct *s, const struct bytes *words, uint32_t count,
                        struct arena *a, void *out, struct diag *reterr)
{
    memset(out, 0, s->size);
    for (const struct conf_field *f = s->fields; f->name; f++) {
        const err e =
            f->preset ? conf_parse_scalar(bytes_from(f->preset), f, a, (char *)out + f->offset, reterr) : OK;
        if (e)
            return e;
    }
    for (uint32_t i = 0; i < count; i += 2) {
        const struct conf_field *f = field_of(s, words[i]);
        if (!f || i + 1 == count) {
            diag_set(reterr, f ? "a value is missing for %.*s" : "%.*s is no setting of a %s",
                     (int)(words[i].len < 64 ? words[i].len : 64), words[i].ptr, s->name);
            return ERR_CONF;
        }
        const err e = conf_parse_scalar(words[i + 1], f, a, (char *)out + f->offset, reterr);
        if (e)
            return e;
    }
    return OK;
}

void topic_settings_topic(const void *body, struct queue_op *op)
{
    const struct topic_settings *s = body;
    op->what = QUEUE_TOPIC;
    op->keep_ms = s->keep_ms == CONF_MS_OFF ? 0 : s->keep_ms;
    op->keep_bytes = s->keep_bytes;
    op->check_ms = s->check_after_ms;
    op->duplicate_ms = s->duplicate_ms;
    op->other = s->dead_letter;
    op->flags = s->order_by_key ? QUEUE_IS_ORDERED : 0;
}

bool topic_settings_group(const void *body, struct queue_op *op)
{
    const struct group_settings *s = body;
    op->what = QUEUE_GROUP;
    op->lease_ms = s->lease_ms;
    op->attempts = (uint64_t)s->attempts;
    op->back_off_ms = s->back_off_ms;
    op->back_off_ms_max = s->back_off_ms_max;
    op->other = s->dead_letter;
    return topic_args_from(s->from, op);
}
