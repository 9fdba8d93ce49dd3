#include "gate/tls_ocsp.h"

#include "net/tls_staple.h"

#if WEIR_HAVE_OPENSSL

#include <netdb.h>
#include <openssl/crypto.h>
#include <openssl/http.h>
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "core/fiber.h"
#include "core/helper.h"
#include "core/log.h"
#include "net/tcp.h"
#include "proto/http1.h"

#define ASKING_MAX 4 /* at a time */
#define ASK_MS 10000
#define HEAD_BYTES_MAX 8192
#define HOST_BYTES_MAX 255

struct asking {
    struct tls_staple *staple;
    void (*told)(bool fine);
    char host[HOST_BYTES_MAX + 1], port[8], path[TLS_STAPLE_URL_BYTES_MAX + 1];
    struct addr to;
    bool found;
    struct diag why;
};

static unsigned asking_count;
static struct helper_pool resolvers = HELPER_POOL("ocsp", 1, ASKING_MAX, 0);

/* On a helper's thread. */
static void resolve(void *arg)
{
    struct asking *a = arg;
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found;
    const int why = getaddrinfo(a->host, a->port, &hints, &found);
    if (why) {
        diag_set(&a->why, "%s: %s", a->host, gai_strerror(why));
        return;
    }
    a->to = (struct addr){ .len = found->ai_addrlen };
    memcpy(&a->to.sock, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    a->found = true;
}

static err split_url(struct asking *a)
{
    char *host = NULL, *port = NULL, *path = NULL;
    int tls = 0;
    const bool ok = OSSL_HTTP_parse_url(tls_staple_responder(a->staple), &tls, NULL, &host, &port, NULL,
                                        &path, NULL, NULL) == 1 &&
                    !tls && strlen(host) <= HOST_BYTES_MAX && strlen(port) < sizeof a->port;
    if (ok) {
        snprintf(a->host, sizeof a->host, "%s", host);
        snprintf(a->port, sizeof a->port, "%s", port);
        snprintf(a->path, sizeof a->path, "%s%s", path[0] == '/' ? "" : "/", path);
    } else {
        diag_set(&a->why, "\"%s\" is no address", tls_staple_responder(a->staple));
    }
    OPENSSL_free(host);
    OPENSSL_free(port);
    OPENSSL_free(path);
    return ok ? OK : ERR_SYNTAX;
}

static err send_question(struct asking *a, struct io *io, uint64_t deadline_us)
{
    char head[TLS_STAPLE_URL_BYTES_MAX + HOST_BYTES_MAX + 256];
    size_t len;
    unsigned char *question = tls_staple_question(a->staple, &len);
    if (!question)
        return ERR_MEMORY;
    const int n =
        snprintf(head, sizeof head,
                 "POST %s HTTP/1.0\r\nHost: %s:%s\r\nContent-Type: application/ocsp-request\r\n"
                 "Accept: application/ocsp-response\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                 a->path, a->host, a->port, len);
    err e = io_write(io, (struct bytes){ head, (size_t)n }, deadline_us);
    if (!e)
        e = io_write(io, (struct bytes){ (const char *)question, len }, deadline_us);
    OPENSSL_free(question);
    return e;
}

/* To the connection's end, which is the answer's (HTTP/1.0). */
static err read_answer(struct asking *a, struct io *io, uint64_t deadline_us)
{
    static const struct http1_limits limits = { .line_bytes_max = HEAD_BYTES_MAX,
                                                .head_bytes_max = HEAD_BYTES_MAX,
                                                .fields_max = 64 };
    struct http_field fields[64];
    struct http_response r = { .fields = { fields, 0, limits.fields_max } };
    struct bytes in = BYTES_NONE;
    size_t used = 0;
    err e = io_pull(io, deadline_us, &in);
    while (!e && in.len <= HEAD_BYTES_MAX + TLS_STAPLE_BYTES_MAX)
        e = io_pull_more(io, in.len, deadline_us, &in);
    in = io_peek(io);
    if (e != ERR_CLOSED || !in.len)
        return e == OK ? ERR_LIMIT : e;
    e = http1_parse_response(in, 0, &limits, HTTP_POST, &r, &used);
    if (e || r.status != 200 || r.framing == HTTP_BODY_CHUNKED) {
        diag_set(&a->why, e ? "its answer is no HTTP" : "its answer is %u", r.status);
        return ERR_PROTOCOL;
    }
    return tls_staple_take(a->staple, bytes_skip(in, used), time(NULL), &a->why);
}

static err ask(struct asking *a)
{
    const uint64_t deadline_us = deadline_in_ms(ASK_MS);
    struct io *io;
    err e = split_url(a);
    if (!e)
        e = helper_run(&resolvers, resolve, a);
    if (!e && !a->found)
        e = ERR_UNAVAILABLE;
    if (!e)
        e = tcp_connect(&a->to, NULL, deadline_us, &io);
    if (e)
        return e;
    e = send_question(a, io, deadline_us);
    if (!e)
        e = read_answer(a, io, deadline_us);
    io_close(io, 0, false);
    return e;
}

static void run(void *arg)
{
    struct asking *a = arg;
    const err e = ask(a);
    if (e)
        log_warn("tls", "no OCSP answer name=%s responder=%s why=\"%s\"", tls_staple_name(a->staple),
                 tls_staple_responder(a->staple), a->why.set ? a->why.text : err_text(e));
    else
        log_info("tls", "OCSP answer fetched name=%s responder=%s", tls_staple_name(a->staple),
                 tls_staple_responder(a->staple));
    tls_staple_asked(a->staple, e == OK, time(NULL));
    if (e != ERR_CANCELLED)
        a->told(e == OK);
    tls_staple_drop(a->staple);
    asking_count--;
    mem_free(a);
}

void tls_ocsp_look(void (*told)(bool fine))
{
    while (asking_count < ASKING_MAX) {
        struct tls_staple *s = tls_staple_due(time(NULL));
        struct asking *a = s ? mem_get(sizeof *a) : NULL;
        if (!a) {
            tls_staple_drop(s);
            return;
        }
        a->staple = s;
        a->told = told;
        asking_count++;
        fiber_spawn(run, a);
    }
}

#endif
