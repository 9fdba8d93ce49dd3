#include "gate/exchange.h"

#include <time.h>

#include "base/hash.h"
#include "gate/filter.h"
#include "gate/gate.h"
#include "gate/priority.h"

/* An exchange's own memory: fields, filters' words, trailers; beyond that it is answered with an error. */
#define ARENA_BYTES_MAX (1024 * 1024)

void exchange_open(struct exchange *x, struct gate *g, void *first, size_t first_bytes)
{
    memset(x, 0, sizeof *x);
    x->gate = g;
    gate_hold(g);
    x->start_us = worker_now_us();
    x->deadline_us = x->try_deadline_us = DEADLINE_NONE;
    x->scheme = "http";
    x->replayable = true;
    x->priority = PRIORITY_NORMAL;
    x->weight = 1;
    arena_open(&x->arena, &arena_worker, ARENA_BYTES_MAX, first, first_bytes);
}

void exchange_prepare(struct exchange *x, struct gate *g)
{
    exchange_open(x, g, NULL, 0);
}

void exchange_release(struct exchange *x)
{
    body_close(x->response_body);
    body_close(x->request_body);
    for (struct exchange_hook *h = x->hooks; h; h = h->next)
        h->run(x, h->arg);
    arena_close(&x->arena);
    gate_drop(x->gate);
}

err exchange_on_end(struct exchange *x, void (*run)(struct exchange *x, void *arg), void *arg)
{
    struct exchange_hook *h = arena_get(&x->arena, sizeof *h);
    if (!h)
        return ERR_LIMIT;
    *h = (struct exchange_hook){ .next = x->hooks, .run = run, .arg = arg };
    x->hooks = h;
    return OK;
}

/* Eight hex digits at a time: each nibble of x becomes one byte of text, all of them at once. */
static void put_hex8(char *out, uint32_t x)
{
    uint64_t n = x;
    n = (n | n << 16) & 0x0000ffff0000ffffULL; /* halves, bytes, nibbles apart */
    n = (n | n << 8) & 0x00ff00ff00ff00ffULL;
    n = (n | n << 4) & 0x0f0f0f0f0f0f0f0fULL;
    uint64_t letters = ((n + 0x0606060606060606ULL) >> 4) & 0x0101010101010101ULL; /* 1 where a..f */
    n += 0x3030303030303030ULL + letters * ('a' - '0' - 10);
    memcpy(out, &n, 8);
}

struct bytes exchange_route_name(const struct exchange *x)
{
    return x->route ? x->route->conf->match : BYTES_NONE;
}

struct bytes exchange_service_name(const struct exchange *x)
{
    return x->service ? x->service->name : BYTES_NONE;
}

struct bytes exchange_server_name(const struct exchange *x)
{
    return x->server ? bytes_from(x->server->shared->text) : BYTES_NONE;
}

static bool id_is_sane(struct bytes id)
{
    return id.len >= 8 && id.len <= REQUEST_ID_BYTES_MAX && http_is_token(id);
}

void exchange_take_id(struct exchange *x)
{
    const struct http_field *f = http_fields_get(&x->request.fields, FIELD_X_REQUEST_ID);
    if (f && id_is_sane(http_field_value(f))) {
        x->request_id = http_field_value(f);
        return;
    }
    for (unsigned i = 0; i < 32; i += 16) {
        uint64_t word = random_u64();
        put_hex8(x->request_id_text + i, (uint32_t)word);
        put_hex8(x->request_id_text + i + 8, (uint32_t)(word >> 32));
    }
    x->request_id = (struct bytes){ x->request_id_text, 32 };
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 5.6.7), worked out once a second. */
static struct bytes http_date(void)
{
    static _Thread_local time_t second;
    static _Thread_local char text[32];
    time_t now = (time_t)(worker_wall_us() / 1000000);
    if (now != second) {
        struct tm tm;
        gmtime_r(&now, &tm);
        strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        second = now;
    }
    return bytes_from(text);
}

/* RFC 9110 6.6.1: who makes an answer dates it. The request's id lets a person find it in the log. */
static err add_own_fields(struct exchange *x, struct bytes content_type)
{
    struct http_fields *f = &x->response.fields;
    struct bytes date = arena_copy(&x->arena, http_date());
    err e = date.ptr ? http_fields_add(f, &x->arena, BYTES("Date"), date) : ERR_LIMIT;
    if (!e && content_type.len)
        e = http_fields_add(f, &x->arena, BYTES("Content-Type"), content_type);
    if (!e && x->request_id.len)
        e = http_fields_add(f, &x->arena, BYTES("X-Request-Id"), x->request_id);
    return e;
}

static void begin_answer(struct exchange *x, unsigned status, struct bytes by)
{
    body_close(x->response_body);
    x->response_body = NULL;
    x->response = (struct http_response){
        .status = status, .reason = http_reason(status), .version_minor = 1, .keep_alive = true
    };
    x->answered_by = by;
}

static void set_body(struct exchange *x, struct body *body)
{
    x->response_body = body;
    x->response.framing = body->length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    x->response.content_length = body->length;
    x->response.has_content_length = true;
}

void exchange_answer(struct exchange *x, unsigned status, struct bytes content_type, struct bytes body,
                     struct bytes by)
{
    begin_answer(x, status, by);
    if (!body.len) {
        content_type = BYTES("text/plain; charset=utf-8");
        body = arena_print(&x->arena, "%u %.*s\n", status, BYTES_ARG(http_reason(status)));
    }
    struct body_memory *m = arena_get(&x->arena, sizeof *m);
    if (!m) /* no room even for words: the status alone has to do */
        return;
    if (add_own_fields(x, content_type) != OK)
        return;
    set_body(x, body_memory_init(m, body));
}

void exchange_answer_body(struct exchange *x, unsigned status, struct bytes content_type, struct body *body,
                          struct bytes by)
{
    begin_answer(x, status, by);
    if (body)
        set_body(x, body);
    (void)!add_own_fields(x, content_type); /* without room for all of them it goes out with those it has */
}

/* ---- a body in memory ---- */

static err memory_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    (void)deadline_us;
    *ret_bytes = container_of(b, struct body_memory, body)->left;
    return OK;
}

static void memory_give(struct body *b, size_t n)
{
    struct body_memory *m = container_of(b, struct body_memory, body);
    m->left = bytes_skip(m->left, n);
}

static bool memory_ready(struct body *b)
{
    (void)b;
    return true;
}

static const struct body_ops memory_ops = {
    .pull = memory_pull,
    .give = memory_give,
    .ready = memory_ready,
};

struct body *body_memory_init(struct body_memory *m, struct bytes content)
{
    *m = (struct body_memory){ .body = { .ops = &memory_ops, .length = content.len }, .left = content };
    return &m->body;
}
