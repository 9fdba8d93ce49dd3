#include "gate/topic_json.h"

#include "base/base64.h"
#include "base/mem.h"
#include "base/utf8.h"

#define HEADERS_MAX 64

void topic_json_id(struct text *t, const char *key, struct queue_id id)
{
    char text[QUEUE_ID_TEXT_BYTES];
    json_text(t, key, (struct bytes){ text, queue_id_text(id, text) });
}

/* ---- messages ---- */

static bool is_utf8(struct bytes text)
{
    uint32_t code;
    while (text.len) {
        const size_t len = utf8_take(text, &code);
        if (!len)
            return false;
        text = bytes_skip(text, len);
    }
    return true;
}

/* Names that JSON would have to escape are nobody's header. */
static bool is_plain_name(struct bytes name)
{
    bool good = name.len <= QUEUE_NAME_BYTES_MAX;
    for (size_t i = 0; good && i < name.len; i++)
        good = name.ptr[i] >= ' ' && name.ptr[i] < 0x7f && name.ptr[i] != '"' && name.ptr[i] != '\\';
    return good;
}

static void json_body(struct text *t, struct bytes body)
{
    if (is_utf8(body)) {
        json_text(t, "body", body);
        return;
    }
    char *out = mem_get(base64_text_bytes(body.len));
    if (out)
        json_text(t, "body_base64", (struct bytes){ out, base64_encode(body, out) });
    mem_free(out);
}

void topic_json_message(struct text *t, const struct queue_message *m)
{
    char name[QUEUE_NAME_BYTES_MAX + 1];
    struct bytes rest = m->fields, body = BYTES_NONE;
    struct queue_field f;
    topic_json_id(t, "id", m->id);
    if (m->key.len)
        json_text(t, "key", m->key);
    if (m->attempts)
        json_u64(t, "attempts", m->attempts);
    if (m->priority)
        json_u64(t, "priority", m->priority);
    json_u64(t, "published_ms", m->published_ms);
    json_begin(t, "headers", '{');
    while (queue_read_field(&rest, &f)) {
        if (bytes_eq(f.name, QUEUE_BODY)) {
            body = f.value;
        } else if (is_plain_name(f.name)) {
            if (f.name.len)
                memcpy(name, f.name.ptr, f.name.len);
            name[f.name.len] = 0;
            json_text(t, name, f.value);
        }
    }
    json_end(t, '}');
    json_body(t, body);
}

static const char *read_headers(const struct json *j, struct queue_field *fields, uint32_t *count)
{
    const struct json *headers = json_member(j, "headers");
    if (headers && headers->kind != JSON_OBJECT)
        return "headers: it is no object";
    JSON_EACH(at, headers)
    {
        if (*count == HEADERS_MAX)
            return "headers: there are more than 64";
        if (at->kind != JSON_TEXT || !at->key.len || at->key.len > QUEUE_NAME_BYTES_MAX ||
            bytes_eq(at->key, QUEUE_BODY))
            return "headers: a value is no text, or a name is not possible";
        fields[(*count)++] = (struct queue_field){ at->key, at->text };
    }
    return NULL;
}

static const char *read_body(const struct json *j, struct arena *a, struct bytes *ret_body)
{
    const struct json *text = json_member(j, "body"), *coded = json_member(j, "body_base64");
    if (text && text->kind != JSON_TEXT)
        return "body: it is no text";
    *ret_body = text ? text->text : BYTES("");
    if (!coded)
        return NULL;
    char *out = arena_get(a, base64_bytes_max(coded->text.len));
    if (!out || coded->kind != JSON_TEXT ||
        base64_decode(BASE64_STANDARD, coded->text, out, &ret_body->len) != OK)
        return "body_base64: it is no base64";
    ret_body->ptr = out;
    return NULL;
}

static bool read_number(const struct json *j, const char *key, uint64_t max, uint64_t *ret_value)
{
    const struct json *n = json_member(j, key);
    *ret_value = 0;
    return !n || (n->kind == JSON_NUMBER && bytes_to_u64(n->text, ret_value) && *ret_value <= max);
}

const char *topic_json_publish(const struct json *j, struct arena *a, struct queue_op *op)
{
    struct queue_field *fields = arena_get(a, (HEADERS_MAX + 1) * sizeof *fields);
    const struct json *half = json_member(j, "half"), *id = json_member(j, "id");
    struct bytes body;
    uint32_t count = 0;
    if (!fields)
        return "it is too large";
    if (j->kind != JSON_OBJECT)
        return "a message is an object";
    const char *wrong = read_headers(j, fields, &count);
    if (!wrong)
        wrong = read_body(j, a, &body);
    if (wrong)
        return wrong;
    op->what = QUEUE_PUBLISH;
    op->key = json_member_text(j, "key");
    if (op->key.len > QUEUE_NAME_BYTES_MAX)
        return "key: it has more than 128 bytes";
    if (!read_number(j, "priority", QUEUE_PRIORITIES - 1, &op->priority))
        return "priority: it is a number from 0 to 9";
    if (!read_number(j, "delay_ms", QUEUE_DELAY_MS_MAX, &op->delay_ms))
        return "delay_ms: it is a number of milliseconds, up to a year";
    if (half && half->kind != JSON_BOOL)
        return "half: it is true or false";
    if (half && half->number > 0)
        op->flags |= QUEUE_IS_HALF;
    if (op->flags & QUEUE_IS_HALF && op->delay_ms)
        return "half: a half message has no delay";
    if (id && (id->kind != JSON_TEXT || !queue_id_parse(id->text, 0, &op->id)))
        return "id: it is no id like \"1700000000000-0\"";
    if (id)
        op->flags |= QUEUE_ID_GIVEN;
    fields[count++] = (struct queue_field){ QUEUE_BODY, body };
    op->fields = fields;
    op->fields_count = count;
    return NULL;
}

/* ---- topics and groups ---- */

void topic_json_topic(struct text *t, const struct queue_topic_shown *s)
{
    json_text(t, "topic", s->name);
    json_u64(t, "messages", s->count);
    json_u64(t, "bytes", s->bytes);
    json_u64(t, "published", s->added);
    json_u64(t, "kept_aside", s->kept);
    topic_json_id(t, "first_id", s->first);
    topic_json_id(t, "last_id", s->last);
    json_u64(t, "keep_ms", s->keep_ms);
    json_u64(t, "keep_bytes", s->keep_bytes);
    json_bool(t, "order_by_key", s->is_ordered);
    if (s->dead_letter.len)
        json_text(t, "dead_letter", s->dead_letter);
    json_u64(t, "groups", s->groups);
}

void topic_json_group(struct text *t, const struct queue_group_shown *g)
{
    json_text(t, "group", g->name);
    json_u64(t, "lag", g->lag);
    json_u64(t, "pending", g->pending);
    json_u64(t, "again", g->ready + g->retry);
    json_u64(t, "waiting", g->waiting);
    json_u64(t, "consumers", g->consumers);
    topic_json_id(t, "last_id", g->last);
    json_u64(t, "lease_ms", g->lease_ms);
    json_u64(t, "attempts", g->attempts);
    json_u64(t, "back_off_ms", g->back_off_ms);
    json_u64(t, "back_off_ms_max", g->back_off_ms_max);
    if (g->dead_letter.len)
        json_text(t, "dead_letter", g->dead_letter);
    json_u64(t, "delivered", g->delivered);
    json_u64(t, "acked", g->acked);
    json_u64(t, "redelivered", g->redelivered);
    json_u64(t, "dead", g->dead);
    json_u64(t, "dropped", g->dropped);
}
