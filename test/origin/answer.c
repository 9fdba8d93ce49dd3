#include "test/origin/answer.h"

#include <stdio.h>
#include <sys/socket.h>

struct path {
    struct bytes prefix;
    enum answer_kind kind;
    unsigned numbers; /* that must follow */
};

#define PATH(text, kind, numbers)                \
    {                                            \
        { text, sizeof text - 1 }, kind, numbers \
    }
static const struct path paths[] = {
    PATH("/bytes", ANSWER_BYTES, 1),       PATH("/chunked", ANSWER_CHUNKED, 2),
    PATH("/trailers", ANSWER_TRAILERS, 1), PATH("/stream", ANSWER_STREAM, 1),
    PATH("/delay", ANSWER_DELAY, 1),       PATH("/status", ANSWER_STATUS, 1),
    PATH("/close", ANSWER_CLOSE, 0),       PATH("/abort", ANSWER_ABORT, 0),
    PATH("/reset", ANSWER_RESET, 0),       PATH("/half", ANSWER_HALF, 1),
    PATH("/hang", ANSWER_HANG, 0),         PATH("/trickle", ANSWER_TRICKLE, 2),
    PATH("/early", ANSWER_EARLY, 0),       PATH("/healthz", ANSWER_HEALTH, 0),
    PATH("/echo", ANSWER_ECHO, 0),         PATH("/headers", ANSWER_FIELDS, 1),
    PATH("/raw", ANSWER_RAW, 0),
};

static void out_add(struct connection *c, struct bytes text)
{
    struct serve *s = c->listener->serve;
    memcpy(s->out + s->out_len, text.ptr, text.len);
    s->out_len += text.len;
}

static void out_number(struct connection *c, uint64_t value)
{
    struct serve *s = c->listener->serve;
    s->out_len += u64_to_text(value, s->out + s->out_len);
}

/* ---- what the answer will be ---- */

/* Reads "/N" or "/N/M" behind a prefix. */
static bool read_numbers(struct bytes rest, unsigned count, uint64_t numbers[2])
{
    for (unsigned i = 0; i < count; i++) {
        if (rest.len == 0 || rest.ptr[0] != '/')
            return false;
        rest = bytes_skip(rest, 1);
        struct bytes digits = { rest.ptr, bytes_index(rest, '/') };
        if (!bytes_to_u64(digits, &numbers[i]))
            return false;
        rest = bytes_skip(rest, digits.len);
    }
    return rest.len == 0;
}

static enum answer_kind kind_of(struct bytes path, uint64_t numbers[2])
{
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        const struct path *p = &paths[i];
        if (bytes_starts(path, p->prefix) &&
            read_numbers(bytes_skip(path, p->prefix.len), p->numbers, numbers))
            return p->kind;
    }
    return ANSWER_PLAIN;
}

/* A JSON string; bytes past ASCII are taken as Latin-1, so that all of them can be told apart. */
static void text_add_json(struct text *t, struct bytes raw)
{
    text_add(t, BYTES("\""));
    for (size_t i = 0; i < raw.len; i++) {
        uint8_t byte = (uint8_t)raw.ptr[i];
        if (byte == '"' || byte == '\\')
            text_print(t, "\\%c", byte);
        else if (byte < 0x20 || byte >= 0x7f)
            text_print(t, "\\u%04x", byte);
        else
            text_add(t, (struct bytes){ raw.ptr + i, 1 });
    }
    text_add(t, BYTES("\""));
}

static void plan_echo(struct connection *c, const struct request *r)
{
    struct text *t = &c->text;
    text_print(t, "{\"server\": \"%s\", \"request_on_connection\": %llu, \"version\": \"1.%u\", \"method\": ",
               c->listener->name, (unsigned long long)c->requests, r->version_minor);
    text_add_json(t, r->method);
    text_add(t, BYTES(", \"target\": "));
    text_add_json(t, r->target);
    text_add(t, BYTES(", \"fields\": ["));
    for (unsigned i = 0; i < r->fields_count; i++) {
        text_add(t, i ? BYTES(", [") : BYTES("["));
        text_add_json(t, r->fields[i].name);
        text_add(t, BYTES(", "));
        text_add_json(t, r->fields[i].value);
        text_add(t, BYTES("]"));
    }
    text_add(t, BYTES("], \"body\": \""));
}

static void count_print(struct text *t, const struct counts *n)
{
    text_print(t,
               "\"requests\": %llu, \"malformed\": %llu, \"cut\": %llu, \"connections\": %llu, "
               "\"connections_open\": %llu, \"mistake\": \"%s\"",
               (unsigned long long)n->requests, (unsigned long long)n->malformed, (unsigned long long)n->cut,
               (unsigned long long)n->connections, (unsigned long long)n->connections_open,
               n->mistake ? n->mistake : "");
}

/* This listener's counters and the sum of all; ?reset sets this listener's to zero afterwards. */
static void plan_count(struct connection *c, struct bytes query)
{
    struct serve *s = c->listener->serve;
    struct counts all = { 0 };
    for (size_t i = 0; i < s->listeners_count; i++) {
        const struct counts *n = &s->listeners[i]->counts;
        all.requests += n->requests;
        all.malformed += n->malformed;
        all.cut += n->cut;
        all.connections += n->connections;
        all.connections_open += n->connections_open;
        all.mistake = n->mistake ? n->mistake : all.mistake;
    }
    text_print(&c->text, "{\"server\": \"%s\", ", c->listener->name);
    count_print(&c->text, &c->listener->counts);
    text_add(&c->text, BYTES(", \"all\": {"));
    count_print(&c->text, &all);
    text_add(&c->text, BYTES("}}\n"));
    if (bytes_eq(query, BYTES("reset")))
        c->listener->counts = (struct counts){ .connections_open = c->listener->counts.connections_open };
}

static bool control_set(struct behaviour *b, struct bytes key, struct bytes value)
{
    bool on = bytes_eq(value, BYTES("on"));
    uint64_t number = 0;
    if (bytes_eq(key, BYTES("health")))
        b->health_fail = bytes_eq(value, BYTES("fail"));
    else if (bytes_eq(key, BYTES("hang")))
        b->hang = on;
    else if (bytes_eq(key, BYTES("abort")))
        b->abort = on;
    else if (bytes_eq(key, BYTES("close")))
        b->close = on;
    else if (bytes_eq(key, BYTES("delay")) && bytes_to_u64(value, &number))
        b->delay_ms = number;
    else if (bytes_eq(key, BYTES("status")) && bytes_to_u64(value, &number))
        b->status = (unsigned)number;
    else
        return false;
    return true;
}

static void plan_control(struct connection *c, struct bytes query)
{
    struct serve *s = c->listener->serve;
    struct behaviour wanted = c->listener->behaviour;
    bool all = false;
    struct bytes part;
    while (bytes_split(&query, '&', &part)) {
        size_t equals = bytes_index(part, '=');
        struct bytes key = { part.ptr, equals };
        struct bytes value = equals < part.len ? bytes_skip(part, equals + 1) : BYTES_NONE;
        if (bytes_eq(part, BYTES("all")))
            all = true;
        else if (!control_set(&wanted, key, value))
            c->numbers[0] = 400;
    }
    if (c->numbers[0] == 0) {
        c->listener->behaviour = wanted;
        for (size_t i = 0; all && i < s->listeners_count; i++)
            s->listeners[i]->behaviour = wanted;
    }
    text_add(&c->text, c->numbers[0] ? BYTES("unknown key\n") : BYTES("ok\n"));
}

/* Paths that begin with "/_" speak to the origin itself. */
static void plan_own(struct connection *c, struct bytes path, struct bytes query)
{
    c->kind = ANSWER_TEXT;
    c->numbers[0] = 0; /* the status, if not 200 */
    if (bytes_eq(path, BYTES("/_count"))) {
        plan_count(c, query);
    } else if (bytes_eq(path, BYTES("/_control"))) {
        plan_control(c, query);
    } else {
        c->numbers[0] = 404;
        text_add(&c->text, BYTES("no such path\n"));
    }
}

static void plan_behaviour(struct connection *c, const struct behaviour *b)
{
    if (b->close)
        c->keep_alive = false;
    if (b->hang)
        c->kind = ANSWER_HANG;
    else if (b->abort)
        c->kind = ANSWER_ABORT;
    else if (b->status && c->kind != ANSWER_HEALTH) {
        c->kind = ANSWER_STATUS;
        c->numbers[0] = b->status;
    }
}

void answer_plan(struct connection *c, const struct request *r)
{
    struct listener *l = c->listener;
    c->is_head = r->is_head;
    c->keep_alive = r->keep_alive;
    c->version_minor = r->version_minor;
    c->delayed = false;
    if (r->target.len == 1) {
        c->kind = ANSWER_PLAIN;
    } else {
        struct bytes path = { r->target.ptr, bytes_index(r->target, '?') };
        struct bytes query = path.len < r->target.len ? bytes_skip(r->target, path.len + 1) : BYTES_NONE;
        if (bytes_starts(path, BYTES("/_"))) {
            plan_own(c, path, query);
            return;
        }
        c->kind = kind_of(path, c->numbers);
        if (bytes_eq(path, BYTES("/headers"))) {
            c->kind = ANSWER_TEXT;
            c->numbers[0] = 0;
            text_add(&c->text, r->head);
        }
    }
    l->counts.requests++;
    plan_behaviour(c, &l->behaviour);
    if (c->kind == ANSWER_ECHO)
        plan_echo(c, r);
    if (r->expect_continue && r->version_minor == 1 && r->body != REQUEST_BODY_NONE)
        out_add(c, BYTES("HTTP/1.1 100 Continue\r\n\r\n"));
}

void answer_take_body(struct connection *c, struct bytes piece)
{
    bool room = c->body_bytes <= SERVE_ECHO_BYTES_MAX;
    if (c->kind == ANSWER_RAW && room) {
        text_add(&c->text, piece);
    } else if (c->kind == ANSWER_ECHO && room) {
        struct text quoted = { 0 };
        text_add_json(&quoted, piece);
        text_add(&c->text, (struct bytes){ quoted.ptr + 1, quoted.len - 2 });
        text_free(&quoted);
    }
}

/* ---- writing it ---- */

static const char *reason_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } reasons[] = {
        { 200, "OK" },
        { 204, "No Content" },
        { 304, "Not Modified" },
        { 400, "Bad Request" },
        { 404, "Not Found" },
        { 500, "Internal Server Error" },
        { 503, "Service Unavailable" },
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status)
            return reasons[i].reason;
    }
    return "Status";
}

enum framing {
    FRAMING_LENGTH,
    FRAMING_CHUNKED,
    FRAMING_CLOSE,
};

static void put_connection(struct connection *c)
{
    if (!c->keep_alive)
        out_add(c, BYTES("\r\nConnection: close"));
    else if (c->version_minor == 0)
        out_add(c, BYTES("\r\nConnection: keep-alive"));
}

/* The usual case first: 200 with a length is one copy and one number. */
static void put_head(struct connection *c, unsigned status, enum framing framing, uint64_t length)
{
    const struct listener *l = c->listener;
    if (status == 200 && framing == FRAMING_LENGTH) {
        out_add(c, (struct bytes){ l->ok_head, l->ok_head_len });
        out_number(c, length);
        put_connection(c);
        return;
    }
    char line[192];
    int n = snprintf(line, sizeof line, "HTTP/1.1 %u %s\r\nX-Server: %s", status, reason_of(status), l->name);
    out_add(c, (struct bytes){ line, (size_t)n });
    if (framing == FRAMING_CHUNKED) {
        out_add(c, BYTES("\r\nTransfer-Encoding: chunked"));
    } else if (framing == FRAMING_LENGTH && status != 204 && status != 304) {
        out_add(c, BYTES("\r\nContent-Length: "));
        out_number(c, length);
    }
    put_connection(c);
}

static void end_head(struct connection *c)
{
    out_add(c, BYTES("\r\n\r\n"));
}

static void set_source(struct connection *c, enum source source, uint64_t left)
{
    c->source = c->is_head ? SOURCE_NONE : source;
    c->left = c->is_head ? 0 : left;
    c->position = 0;
}

static void start_pattern(struct connection *c, unsigned status, uint64_t length)
{
    put_head(c, status, FRAMING_LENGTH, length);
    end_head(c);
    set_source(c, SOURCE_PATTERN, length);
}

static void start_chunked(struct connection *c, uint64_t length, uint64_t piece, bool trailers)
{
    if (c->version_minor == 0) {
        c->keep_alive = false;
        put_head(c, 200, FRAMING_CLOSE, 0);
        end_head(c);
        set_source(c, SOURCE_PATTERN, length);
        return;
    }
    put_head(c, 200, FRAMING_CHUNKED, 0);
    end_head(c);
    set_source(c, SOURCE_CHUNKED, length);
    c->piece = piece ? piece : 1;
    c->trailers = trailers;
    c->body_left = 0;
}

static void start_text(struct connection *c, unsigned status)
{
    put_head(c, status, FRAMING_LENGTH, c->text.len);
    end_head(c);
    set_source(c, SOURCE_TEXT, c->text.len);
}

static void start_fields(struct connection *c)
{
    char line[64];
    put_head(c, 200, FRAMING_LENGTH, 0);
    for (uint64_t i = 0; i < c->numbers[0] && i < 1000; i++) {
        int n = snprintf(line, sizeof line, "\r\nX-Field-%llu: value %llu", (unsigned long long)i,
                         (unsigned long long)i);
        out_add(c, (struct bytes){ line, (size_t)n });
    }
    end_head(c);
    set_source(c, SOURCE_NONE, 0);
}

static void start_reset(struct connection *c)
{
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){ .l_onoff = 1 }, sizeof(struct linger));
    c->phase = PHASE_CLOSING;
}

static void start_status(struct connection *c)
{
    unsigned status = c->numbers[0] >= 200 && c->numbers[0] <= 999 ? (unsigned)c->numbers[0] : 400;
    bool bodiless = status == 204 || status == 304;
    start_pattern(c, status, bodiless ? 0 : c->listener->serve->options.body_bytes);
}

static void start_delay(struct connection *c, uint64_t after_ms)
{
    c->delayed = true;
    c->source = SOURCE_ANSWER;
    c->phase = PHASE_WAIT;
    serve_timer_set(c, after_ms);
}

void answer_start(struct connection *c)
{
    size_t plain = c->listener->serve->options.body_bytes;
    uint64_t delay_ms = c->kind == ANSWER_TEXT ? 0 : c->listener->behaviour.delay_ms;
    if (c->kind == ANSWER_DELAY)
        delay_ms += c->numbers[0];
    if (delay_ms && !c->delayed) {
        start_delay(c, delay_ms);
        return;
    }
    c->phase = PHASE_SEND;
    switch (c->kind) {
    case ANSWER_CLOSE:
        c->keep_alive = false;
        start_pattern(c, 200, plain);
        break;
    case ANSWER_PLAIN:
    case ANSWER_DELAY:
        start_pattern(c, 200, plain);
        break;
    case ANSWER_BYTES:
        start_pattern(c, 200, c->numbers[0]);
        break;
    case ANSWER_CHUNKED:
        start_chunked(c, c->numbers[0], c->numbers[1], false);
        break;
    case ANSWER_TRAILERS:
        start_chunked(c, c->numbers[0], 100, true);
        break;
    case ANSWER_STREAM:
        c->keep_alive = false;
        put_head(c, 200, FRAMING_CLOSE, 0);
        end_head(c);
        set_source(c, SOURCE_PATTERN, c->numbers[0]);
        break;
    case ANSWER_STATUS:
        start_status(c);
        break;
    case ANSWER_HEALTH:
        start_pattern(c, c->listener->behaviour.health_fail ? 503 : 200, 3);
        break;
    case ANSWER_ABORT:
        c->phase = PHASE_CLOSING;
        break;
    case ANSWER_RESET:
        start_reset(c);
        break;
    case ANSWER_HALF:
        start_pattern(c, 200, c->numbers[0]);
        c->left /= 2;
        c->keep_alive = false;
        break;
    case ANSWER_HANG:
        c->phase = PHASE_HANG;
        break;
    case ANSWER_TRICKLE:
        start_pattern(c, 200, c->numbers[0]);
        c->source = c->is_head ? SOURCE_NONE : SOURCE_TRICKLE;
        c->piece = c->numbers[1];
        break;
    case ANSWER_EARLY:
        if (c->version_minor == 1)
            out_add(c, BYTES("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"));
        start_pattern(c, 200, plain);
        break;
    case ANSWER_FIELDS:
        start_fields(c);
        break;
    case ANSWER_ECHO:
        text_print(&c->text, "\", \"body_bytes\": %llu}\n", (unsigned long long)c->body_bytes);
        start_text(c, 200);
        break;
    case ANSWER_RAW:
        set_source(c, SOURCE_TEXT, c->text.len);
        break;
    case ANSWER_TEXT:
        start_text(c, c->numbers[0] ? (unsigned)c->numbers[0] : 200);
        break;
    }
}

void answer_malformed(struct connection *c, const char *mistake)
{
    c->listener->counts.malformed++;
    c->listener->counts.mistake = mistake;
    c->keep_alive = false;
    c->is_head = false;
    c->version_minor = 1;
    text_free(&c->text);
    text_print(&c->text, "%s\n", mistake);
    start_text(c, 400);
    c->phase = PHASE_SEND;
}
