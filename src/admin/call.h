/* call: one request to an API of weir's own (the operators', the ledger's), and the tables of what can be
 * asked. Control worker, on the exchange's fiber.
 *
 *   exchange ─▶ auth ─▶ endpoint by method and path ─▶ query and body checked against its tables ─▶ run
 *
 * Whatever goes wrong is answered by a problem (RFC 9457). */
#pragma once
#include "base/json.h"
#include "core/conf.h"
#include "gate/exchange.h"
#include "gate/process.h"

#define CALL_ARGS_MAX 2
#define CALL_BODY_BYTES_MAX (64 * 1024)

struct api_conf;
struct api;

struct call {
    const struct api *api;
    struct exchange *x;
    struct text *out;                 /* the answer; freed with the exchange */
    struct bytes args[CALL_ARGS_MAX]; /* what stands for {..} in the path, decoded */
    const void *query;                /* the endpoint's structs, filled; NULL where it has none */
    const void *body;
    struct bytes text;                  /* the body as it came, of an endpoint that takes it so */
    char author[ORIGIN_WORD_BYTES_MAX]; /* who asks */
};

struct endpoint {
    enum http_method method;
    const char *path;    /* "/v1/services/{service}/servers/{server}" */
    const char *summary; /* for the manual and the OpenAPI page */
    const char *type;    /* of a good answer */
    bool changes;        /* needs the right to */
    const struct conf_struct *query, *body;
    const char *text_type; /* the body is taken as it is, and is said to be of this type; NULL: it is not */
    size_t text_bytes_max; /* of it */
    void (*run)(struct call *c);
};

struct api {
    const char *title;
    const char *note;                 /* a sentence of HTML for the page */
    const struct endpoint *endpoints; /* ends with path NULL */
    /* Who may ask, in this configuration; NULL: the address is no longer there. */
    const struct api_conf *(*conf)(const struct exchange *x);
};
extern const struct api admin_api;

void call_serve(const struct api *api, struct exchange *x);

/* What is in c->out; 204 when that is nothing. */
void call_answer(struct call *c, const char *type);
/* The same with a status of one's own. */
void call_answer_status(struct call *c, unsigned status, const char *type);
/* RFC 9457: status, its words, and what in particular is wrong. */
void call_problem(struct exchange *x, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The words of a diag, or those of e. */
void call_failed(struct call *c, unsigned status, err e, const struct diag *d);

enum admin_right { RIGHT_NONE, RIGHT_READ, RIGHT_CHANGE };
/* What who sent c->x may do; c->author gets who that is. *ret_why: what is missing for more. */
enum admin_right auth_right(struct call *c, const char **ret_why);

/* ---- endpoints in files of their own */

void openapi_get(struct call *c);
void page_get(struct call *c);
void tap_get(struct call *c);
void services_get(struct call *c);
void service_get(struct call *c);
void server_change(struct call *c);
void filters_get(struct call *c);
void generations_get(struct call *c);
void generation_get(struct call *c);
void generation_diff_get(struct call *c);
void diff_get(struct call *c);
void rollback_post(struct call *c);
void ledger_get(struct call *c);
void ledger_backup_post(struct call *c);
extern const struct conf_struct tap_query, server_body, diff_query, rollback_body, ledger_backup_body;
