#include "load/serve.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/text.h"
#include "core/fiber.h"
#include "net/tcp.h"
#include "proto/http1.h"

#define WAIT_MS 30000
#define LINGER_US 2000000u
#define FIELDS_MAX 64

static const struct http1_limits limits = { .line_bytes_max = 8192,
                                            .head_bytes_max = 32768,
                                            .fields_max = FIELDS_MAX };

err serve_begin(struct serve_call *c, unsigned status, const char *type)
{
    char head[160];
    struct bytes reason = http_reason(status);
    int len = snprintf(head, sizeof head, "HTTP/1.1 %u %.*s\r\nContent-Type: %s\r\nConnection: close\r\n\r\n",
                       status, BYTES_ARG(reason), type);
    return io_write(c->io, (struct bytes){ head, (size_t)len }, deadline_in_ms(WAIT_MS));
}

void serve_answer(struct serve_call *c, unsigned status, const char *type, struct bytes body)
{
    if (serve_begin(c, status, type) == OK && body.len)
        (void)!io_write(c->io, body, deadline_in_ms(WAIT_MS));
}

static err read_head(struct serve_call *c, struct http_field *fields, size_t *ret_used)
{
    struct bytes in = io_peek(c->io);
    unsigned status;
    for (size_t seen = 0;;) {
        c->request = (struct http_request){ .fields = { .at = fields, .count_max = FIELDS_MAX } };
        err e = in.len ? http1_parse_request(in, seen, &limits, &c->request, ret_used, &status) : ERR_AGAIN;
        if (e != ERR_AGAIN)
            return e;
        seen = in.len;
        e = io_pull_more(c->io, seen, deadline_in_ms(WAIT_MS), &in);
        if (e)
            return e;
    }
}

static err read_body(struct serve_call *c, struct text *body)
{
    uint64_t left = c->request.framing == HTTP_BODY_LENGTH ? c->request.content_length : 0;
    if (left > SERVE_BODY_BYTES_MAX || c->request.framing == HTTP_BODY_CHUNKED)
        return ERR_LIMIT;
    while (left) {
        struct bytes in;
        err e = io_pull(c->io, deadline_in_ms(WAIT_MS), &in);
        if (e)
            return e;
        in.len = in.len < left ? in.len : (size_t)left;
        text_add(body, in);
        left -= in.len;
        io_consume(c->io, in.len);
    }
    return OK;
}

struct calling {
    struct serve *serve;
    struct io *io;
};

static void call_run(void *arg)
{
    struct calling *calling = arg;
    struct serve *s = calling->serve;
    struct serve_call c = { .io = calling->io };
    mem_free(calling);
    struct http_field fields[FIELDS_MAX];
    struct text body = { 0 };
    struct lease *head = NULL;
    size_t used = 0;
    err e = read_head(&c, fields, &used);
    if (!e) {
        head = io_hold(c.io);
        io_consume(c.io, used);
        e = read_body(&c, &body);
    }
    c.body = (struct bytes){ body.at, body.len };
    if (!e)
        s->handle(s, &c);
    else if (e == ERR_SYNTAX || e == ERR_LIMIT || e == ERR_UNSUPPORTED)
        serve_answer(&c, 400, "text/plain", BYTES("not understood\n"));
    if (head)
        lease_drop(head);
    text_free(&body);
    io_close(c.io, LINGER_US, true);
    s->calls--;
}

static void accepted(void *owner, struct io *io)
{
    struct serve *s = owner;
    if (s->calls == SERVE_CALLS_MAX) {
        io_abort(io, true);
        return;
    }
    s->calls++;
    struct calling *c = mem_must_get(sizeof *c);
    *c = (struct calling){ s, io };
    fiber_spawn(call_run, c);
}

err serve_open(struct serve *s, const struct addr *at, struct diag *reterr)
{
    static const struct tcp_options plain = { .nodelay = true };
    int fd;
    err e = tcp_listen(at, &plain, false, &fd, reterr);
    if (e)
        return e;
    s->bound = *at;
    s->bound.len = sizeof s->bound.sock;
    (void)!getsockname(fd, &s->bound.sock.any, &s->bound.len);
    return io_listen(fd, accepted, s, &s->listener);
}

void serve_close(struct serve *s)
{
    if (s->listener)
        io_listener_close(s->listener, true);
    s->listener = NULL;
}
