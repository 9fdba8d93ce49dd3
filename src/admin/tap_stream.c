/* A tap as the body of an answer that does not end. */
#include "admin/call.h"
#include "gate/carrier.h"
#include "gate/tap.h"

#define AT(type, member) offsetof(struct type, member)
#define CHUNK_BYTES (4 * TAP_LINE_BYTES_MAX)
/* A sign of life, for what stands between, and to tell of lost lines. */
#define SIGN_MS 5000
#define LOOK_MS 250 /* whether the reader is there still */

struct tap_query {
    struct bytes match;
    bool fields;
};

const struct conf_struct tap_query = {
    .name = "tap",
    .size = sizeof(struct tap_query),
    .fields = (const struct conf_field[]){ { .name = "match",
                                             .type = CONF_TEXT,
                                             .offset = AT(tap_query, match),
                                             .doc = "conditions that all must fit, separated by spaces: "
                                                    "`status=5xx path=/api/* ms>=100`" },
                                           { .name = "fields",
                                             .type = CONF_BOOL,
                                             .offset = AT(tap_query, fields),
                                             .preset = "false",
                                             .doc = "with the fields of both heads (secrets left out)" },
                                           { 0 } },
    .doc = "Which exchanges are shown.",
};

struct stream {
    struct body body;
    struct tap *tap;
    const struct exchange *x;
    size_t at, len;
    char chunk[CHUNK_BYTES];
};

static void put_dropped(struct stream *s, uint64_t dropped)
{
    struct text t = { 0 };
    json_begin(&t, NULL, '{');
    json_u64(&t, "dropped", dropped);
    json_end(&t, '}');
    text_add(&t, BYTES("\n"));
    memcpy(s->chunk + s->len, t.at, t.len);
    s->len += t.len;
    text_free(&t);
}

/* Lines, as soon as there are some; ERR_TIMEOUT: it is time for a sign. */
static err read_lines(struct stream *s, uint64_t deadline_us)
{
    uint64_t sign_us = deadline_in_ms(SIGN_MS);
    for (;;) {
        uint64_t look_us = deadline_in_ms(LOOK_MS);
        err e = tap_read(s->tap, look_us, s->chunk, sizeof s->chunk - 64, &s->len);
        if (e != ERR_TIMEOUT || look_us >= sign_us || look_us >= deadline_us)
            return e;
        if (exchange_client_gone(s->x))
            return ERR_CANCELLED;
    }
}

static err stream_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    struct stream *s = container_of(b, struct stream, body);
    if (s->at == s->len) {
        s->at = s->len = 0;
        err e = read_lines(s, deadline_us);
        if (e == ERR_CLOSED)
            s->len = 0; /* the end */
        else if (e && e != ERR_TIMEOUT)
            return e;
        uint64_t dropped = e == ERR_CLOSED ? 0 : tap_dropped(s->tap);
        if (dropped || e == ERR_TIMEOUT)
            put_dropped(s, dropped);
    }
    *ret_bytes = (struct bytes){ s->chunk + s->at, s->len - s->at };
    return OK;
}

static void stream_give(struct body *b, size_t n)
{
    container_of(b, struct stream, body)->at += n;
}

static void stream_close(struct body *b)
{
    tap_close(container_of(b, struct stream, body)->tap);
}

static const struct body_ops stream_ops = { .pull = stream_pull, .give = stream_give, .close = stream_close };

void tap_get(struct call *c)
{
    const struct tap_query *q = c->query;
    struct exchange *x = c->x;
    struct tap_match match;
    struct diag d = DIAG_NONE;
    err e = tap_match_parse(q->match, &match, &d);
    if (e) {
        call_failed(c, 400, e, &d);
        return;
    }
    if (x->request.method == HTTP_HEAD) {
        call_answer(c, "application/x-ndjson");
        return;
    }
    struct stream *s = arena_get_zero(&x->arena, sizeof *s);
    e = s ? tap_open(&match, q->fields, &s->tap) : ERR_MEMORY;
    if (e) {
        call_problem(x, 503, e == ERR_LIMIT ? "%d taps are open already" : "out of memory", TAPS_MAX);
        return;
    }
    s->x = x;
    exchange_answer(x, 200, BYTES("application/x-ndjson"), BYTES("\n"), BYTES("admin"));
    if (!x->response_body) { /* no room for an answer */
        tap_close(s->tap);
        return;
    }
    body_close(x->response_body);
    s->body = (struct body){ .ops = &stream_ops, .length = BODY_LENGTH_UNKNOWN };
    x->response_body = &s->body;
    x->response.has_content_length = false;
    x->response.content_length = 0;
}
