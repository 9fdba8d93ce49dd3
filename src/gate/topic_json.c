#include "gate/topic_json.h"

#include "base/base64.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "gate/topic_args.h"

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

static const char *read_headers(const struct json *j, struct topic_publish *p)
{
    const struct json *headers = json_member(j, "headers");
    const char *wrong = NULL;
    if (headers && headers->kind != JSON_OBJECT)
        return "headers: it is no object";
    JSON_EACH(at, headers)
    {
        if (!wrong)
            wrong = topic_publish_header(p, at->kind == JSON_TEXT ? at->key : BYTES_NONE, at->text);
    }
    return wrong;
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

static const char *read_words(const struct json *j, struct queue_op *op)
{
    for (unsigned i = 0; i < TOPIC_WORDS; i++) {
        const struct json *m = json_member(j, topic_members[i]);
        const bool is_text = i == TOPIC_KEY || i == TOPIC_OWN_ID;
        if (!m)
            continue;
        const bool good = m->kind == (is_text ? JSON_TEXT : JSON_NUMBER);
        const char *wrong = topic_publish_word(op, (enum topic_word)i, good ? m->text : BYTES("?"));
        if (wrong || !good)
            return wrong ? wrong : "key, idempotency_key: it is no text";
    }
    return NULL;
}

const char *topic_json_publish(const struct json *j, struct arena *a, struct queue_op *op)
{
    struct topic_publish *p = arena_get_zero(a, sizeof *p);
    const struct json *half = json_member(j, "half"), *id = json_member(j, "id");
    struct bytes body;
    if (!p)
        return "it is too large";
    if (j->kind != JSON_OBJECT)
        return "a message is an object";
    const char *wrong = read_headers(j, p);
    if (!wrong)
        wrong = read_body(j, a, &body);
    if (!wrong)
        wrong = read_words(j, op);
    if (wrong)
        return wrong;
    if (half && half->kind != JSON_BOOL)
        return "half: it is true or false";
    if (id && (id->kind != JSON_TEXT || !queue_id_parse(id->text, 0, &op->id)))
        return "id: it is no id like \"1700000000000-0\"";
    if (id)
        op->flags |= QUEUE_ID_GIVEN;
    return topic_publish_end(p, body, half && half->number > 0, op);
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
    json_u64(t, "duplicate_window_ms", s->duplicate_ms);
    json_bool(t, "order_by_key", s->is_ordered);
    if (s->dead_letter.len)
        json_text(t, "dead_letter", s->dead_letter);
    json_u64(t, "groups", s->groups);
}

void topic_json_group(struct text *t, const struct queue_group_shown *g)
{
    json_text(t, "group", g->name);
#define X(name, value) json_u64(t, name, value);
    TOPIC_GROUP_NUMBER_LIST(X)
#undef X
    topic_json_id(t, "last_id", g->last);
    if (g->dead_letter.len)
        json_text(t, "dead_letter", g->dead_letter);
}
