#include "gate/topic_args.h"

const char *const topic_members[] = {
#define X(name, member, option) member,
    TOPIC_WORD_LIST(X)
#undef X
        NULL
};
const char *const topic_options[] = {
#define X(name, member, option) option,
    TOPIC_WORD_LIST(X)
#undef X
        NULL
};

static bool is_number(struct bytes text, uint64_t max, uint64_t *ret_value)
{
    return bytes_to_u64(text, ret_value) && *ret_value <= max;
}

const char *topic_publish_word(struct queue_op *op, enum topic_word word, struct bytes value)
{
    switch (word) {
    case TOPIC_KEY:
        op->key = value;
        return value.len > QUEUE_NAME_BYTES_MAX ? "key: it has more than 128 bytes" : NULL;
    case TOPIC_PRIORITY:
        return is_number(value, QUEUE_PRIORITIES - 1, &op->priority) ? NULL
                                                                     : "priority: it is a number from 0 to 9";
    case TOPIC_DELAY:
        return is_number(value, QUEUE_DELAY_MS_MAX, &op->delay_ms)
                   ? NULL
                   : "delay: it is a number of milliseconds, up to a year";
    case TOPIC_OWN_ID:
        op->own_id = value;
        return queue_name_is_good(value) ? NULL : "the publisher's id: it has 1 to 128 bytes";
    case TOPIC_WORDS:
        break;
    }
    return "there is no such option";
}

const char *topic_publish_header(struct topic_publish *p, struct bytes name, struct bytes value)
{
    if (p->fields_count == TOPIC_HEADERS_MAX)
        return "headers: there are more than 64";
    if (!queue_name_is_good(name) || bytes_eq(name, QUEUE_BODY))
        return "headers: a value is no text, or a name is not possible";
    p->fields[p->fields_count++] = (struct queue_field){ name, value };
    return NULL;
}

const char *topic_publish_end(struct topic_publish *p, struct bytes body, bool is_half, struct queue_op *op)
{
    op->what = QUEUE_PUBLISH;
    if (is_half && op->delay_ms)
        return "half: a half message has no delay";
    op->flags |= is_half ? QUEUE_IS_HALF : 0;
    p->fields[p->fields_count] = (struct queue_field){ QUEUE_BODY, body };
    op->fields = p->fields;
    op->fields_count = p->fields_count + 1;
    return NULL;
}

bool topic_args_from(struct bytes from, struct queue_op *op)
{
    if (bytes_eq_nocase(from, BYTES("end")))
        op->flags |= QUEUE_FROM_END;
    else if (bytes_eq_nocase(from, BYTES("begin")))
        op->id = QUEUE_ID_FIRST;
    else if (!queue_id_parse(from, 0, &op->id))
        return false;
    else if (bytes_index(from, '-') == from.len)
        op->flags |= QUEUE_BY_TIME;
    return true;
}
