/* exchange: one request and its answer, whatever protocol carried them.
 *
 *   life:   read head ─▶ route ─▶ chain of filters ─▶ proxy (or a filter answers) ─▶ back through the chain
 *           ─▶ head and body go to the client ─▶ exchange_end: bodies closed, counted, logged
 *
 * It lives on its fiber's stack, its memory in its arena. Everything in it is dead after the end.
 * A filter sees the request before chain_next and the response's head after it; the response's body has not
 * been pulled then. One fiber; a filter that spawns others copies what they need. */
#pragma once
#include "base/addr.h"
#include "base/arena.h"
#include "core/worker.h"
#include "gate/body.h"
#include "proto/http.h"

struct carrier;
struct gate;
struct route;
struct service;
struct server;
struct session;
struct exchange_hook;

#define REQUEST_ID_BYTES_MAX 64

struct exchange {
    struct gate *gate; /* the configuration generation on this worker that it runs under; kept alive by it */
    const struct route *route;
    struct service *service; /* who shall answer; a filter may change it before the proxy is reached */
    struct server *server;   /* who answered or was asked last; NULL: nobody */

    struct http_request request;
    struct http_response response; /* status 0: there is none yet */
    struct body *request_body;     /* NULL: none */
    struct body *response_body;    /* NULL: none */

    const struct addr *client; /* the peer of the connection, or whom a trusted proxy speaks for */
    const char *scheme;        /* "http", "https" */
    struct bytes request_id;   /* taken from the client's X-Request-Id when sane, else made; passed on */
    char request_id_text[REQUEST_ID_BYTES_MAX];

    uint64_t start_us;                      /* first byte of the head, worker_now_us() */
    uint64_t deadline_us;                   /* of the whole exchange */
    uint64_t try_deadline_us;               /* of the attempt at hand, up to its answer's head */
    uint64_t request_bytes, response_bytes; /* of bodies, as passed on */
    uint32_t attempts;                      /* servers tried */
    uint32_t weight; /* how many ordinary requests it counts as, for balancers and limits; stays as it is once
                      * the proxy is reached */
    err failed;      /* why the answer is one of our own, or was cut */
    err request_failed; /* the request's body broke, grew too long or stopped coming: the client's fault */
    struct bytes answered_by; /* name of the filter that answered by itself; empty: a server did */
    uint8_t priority;         /* enum priority (gate/priority.h) */
    bool grpc;                /* a gRPC call: it has a status of its own (gate/grpc.h) */
    uint8_t grpc_known;       /* that status + 1, where it is found in no field any more; 0: look there */
    uint16_t close_code;      /* of a WebSocket that has ended: the first Close's; 0: it was none */
    bool client_gone; /* it left while its answer was waited for: nobody is answered (499 in the log) */
    bool replayable;  /* the request's body (if any) has not been touched: another server may be asked */

    const struct carrier *carrier; /* the client's protocol (gate/carrier.h); NULL: a request of weir's own */
    void *carried;                 /* what that protocol keeps of it */
    struct io *tunnel; /* after a 101: the server's side of the connection, taken over; NULL otherwise */

    struct bytes path;                     /* the request's, as its route was found: without dot segments */
    struct bytes rest;                     /* of path: what the * of its match stands for */
    const struct route_captures *captures; /* of its match; NULL: none */

    const struct addr *peer; /* of the connection, where it is a trusted proxy; NULL: it is the client */
    struct bytes user; /* who the client is, as a filter has found (basic_auth, jwt); empty: nobody knows */
    struct session *session; /* gate/session.h, in the arena; NULL: the route keeps none */
    struct exchange_hook *hooks;
    struct arena arena;
};

/* What a match captured, in the exchange's arena. A value's ptr is NULL when that part of a regex took none.
 */
struct route_captures {
    unsigned count;
    const struct bytes *names;
    struct bytes values[];
};

/* Empty, in generation g, which it holds; first: memory of the caller's for what is needed first, may be
 * NULL. exchange_release (gate/filter.h) ends it. */
void exchange_open(struct exchange *x, struct gate *g, void *first, size_t first_bytes);

/* Sets x->request_id: the client's X-Request-Id when it is sane, else a new one. */
void exchange_take_id(struct exchange *x);

/* As configured; empty: there is none (yet). */
struct bytes exchange_route_name(const struct exchange *x);
struct bytes exchange_service_name(const struct exchange *x);
struct bytes exchange_server_name(const struct exchange *x);

/* Called at the exchange's end, last added first; the hook's memory is in the arena. */
struct exchange_hook {
    struct exchange_hook *next;
    void (*run)(struct exchange *x, void *arg);
    void *arg;
};
err exchange_on_end(struct exchange *x, void (*run)(struct exchange *x, void *arg), void *arg) CHECK_RESULT;

/* An answer of our own, instead of what there was: status, a content type and a body (both borrowed until the
 * end; an empty body gets the status's reason as one line of text). by: the filter's name. Add fields to
 * x->response afterwards. Closes an earlier response body. */
void exchange_answer(struct exchange *x, unsigned status, struct bytes content_type, struct bytes body,
                     struct bytes by);
/* The same with a body of known length that is closed at the end; NULL: there is none, and no words either
 * (304). */
void exchange_answer_body(struct exchange *x, unsigned status, struct bytes content_type, struct body *body,
                          struct bytes by);
