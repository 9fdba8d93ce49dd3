#include "gate/request_value.h"

#include "base/mem.h"

#define POINTER_BYTES_MAX 200
#define CAPTURE_BYTES_MAX 80

static bool takes(struct bytes *text, struct bytes word)
{
    if (!bytes_starts(*text, word) || text->len == word.len || text->ptr[word.len] != ' ')
        return false;
    *text = bytes_trim(bytes_skip(*text, word.len));
    return true;
}

static bool is_key(struct bytes text)
{
    return takes(&text, BYTES("cookie")) || takes(&text, BYTES("header")) || takes(&text, BYTES("query"));
}

/* "capture item" is the variable of that name. */
static bool is_capture(struct bytes text, char out[CAPTURE_BYTES_MAX], struct bytes *ret_variable)
{
    static const char front[] = "${capture.";
    const size_t front_len = sizeof front - 1;
    if (!takes(&text, BYTES("capture")) || text.len + front_len + 1 > CAPTURE_BYTES_MAX)
        return false;
    memcpy(out, front, front_len);
    memcpy(out + front_len, text.ptr, text.len);
    out[front_len + text.len] = '}';
    *ret_variable = (struct bytes){ out, front_len + text.len + 1 };
    return true;
}

err request_value_check(struct bytes text, const struct variable_scope *scope, struct diag *reterr)
{
    char room[CAPTURE_BYTES_MAX];
    struct bytes rest = text;
    struct request_key key;
    if (takes(&rest, BYTES("json"))) {
        if (rest.ptr[0] == '/' && rest.len <= POINTER_BYTES_MAX)
            return OK;
        diag_set(reterr, "\"%.*s\": expected a JSON pointer, like `json /order/id`", BYTES_ARG(text));
        return ERR_CONF;
    }
    if (is_key(text))
        return request_key_parse(text, &key, reterr);
    if (is_capture(text, room, &rest))
        return variable_check(rest, scope, reterr);
    return variable_check(text, scope, reterr);
}

err request_value_open(struct bytes text, struct request_value *v)
{
    char room[CAPTURE_BYTES_MAX];
    struct bytes rest = text;
    *v = (struct request_value){ 0 };
    if (!text.len)
        return OK;
    if (takes(&rest, BYTES("json"))) {
        v->kind = REQUEST_VALUE_JSON;
        v->pointer = rest;
        return OK;
    }
    if (is_key(text)) {
        v->kind = REQUEST_VALUE_KEY;
        return request_key_parse(text, &v->key, NULL);
    }
    v->kind = REQUEST_VALUE_TEXT;
    if (!is_capture(text, room, &rest))
        return variable_open(text, &v->text);
    v->made = mem_get(rest.len);
    if (!v->made)
        return ERR_MEMORY;
    memcpy(v->made, rest.ptr, rest.len);
    return variable_open((struct bytes){ v->made, rest.len }, &v->text);
}

void request_value_close(struct request_value *v)
{
    variable_close(v->text);
    mem_free(v->made);
    *v = (struct request_value){ 0 };
}

struct bytes request_value_of(const struct request_value *v, struct exchange *x, const struct json *json)
{
    switch (v->kind) {
    case REQUEST_VALUE_KEY:
        return request_key_of(&v->key, x);
    case REQUEST_VALUE_TEXT:
        return variable_print(v->text, x, VARIABLE_PLAIN, NULL);
    case REQUEST_VALUE_JSON: {
        const struct json *at = json_pointer(json, v->pointer);
        return at && (at->kind == JSON_TEXT || at->kind == JSON_NUMBER) ? at->text : BYTES_NONE;
    }
    case REQUEST_VALUE_NONE:
        break;
    }
    return BYTES_NONE;
}

/* ---- the body ---- */

static err pull_all(struct exchange *x, size_t bytes_max, struct bytes *ret_text)
{
    struct body *b = x->request_body;
    size_t room = b->length != BODY_LENGTH_UNKNOWN ? b->length : bytes_max;
    if (room > bytes_max)
        return ERR_LIMIT;
    char *text = arena_get(&x->arena, room + 1);
    size_t len = 0;
    if (!text)
        return ERR_LIMIT;
    x->replayable = false;
    for (;;) {
        struct bytes part;
        const err e = body_pull(b, x->deadline_us, &part);
        if (e)
            return e;
        if (!part.len)
            break;
        if (part.len > room - len)
            return ERR_LIMIT;
        memcpy(text + len, part.ptr, part.len);
        len += part.len;
        body_give(b, part.len);
    }
    *ret_text = (struct bytes){ text, len };
    return OK;
}

err request_json(struct exchange *x, size_t bytes_max, const struct json **ret_json)
{
    struct bytes text;
    struct json *json;
    *ret_json = NULL;
    if (!x->request_body)
        return OK;
    err e = pull_all(x, bytes_max, &text);
    if (e || !bytes_trim(text).len)
        return e;
    e = json_read(text, &x->arena, &json);
    if (e)
        return e == ERR_SYNTAX ? e : ERR_LIMIT;
    *ret_json = json;
    return OK;
}
