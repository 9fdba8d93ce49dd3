#include "gate/grpc.h"

#include "base/mem.h"
#include "gate/carrier.h"
#include "gate/gate.h"

/* ---- the request ---- */

static struct bytes content_type(const struct http_fields *fields)
{
    const struct http_field *f = http_fields_get(fields, FIELD_CONTENT_TYPE);
    return f ? http_field_value(f) : BYTES_NONE;
}

static struct http_field *find_timeout(struct exchange *x)
{
    struct http_fields *fields = &x->request.fields;
    for (uint32_t i = 0; i < fields->count; i++) {
        struct http_field *f = &fields->at[i];
        if (f->id == FIELD_OTHER && !(f->flags & FIELD_REMOVED) &&
            bytes_eq_nocase(http_field_name(f), BYTES("grpc-timeout")))
            return f;
    }
    return NULL;
}

void grpc_take(struct exchange *x)
{
    uint64_t us;
    x->grpc = true;
    const struct http_field *f = find_timeout(x);
    if (!f || grpc_timeout_read(http_field_value(f), &us))
        return; /* one that cannot be read is none: the server may know better */
    const uint64_t deadline_us = us < DEADLINE_NONE - x->start_us ? x->start_us + us : DEADLINE_NONE;
    if (deadline_us < x->deadline_us)
        x->deadline_us = deadline_us;
}

/* HTTP/1 has no place for what gRPC needs, and its requests are not looked at. */
void grpc_begin(struct exchange *x)
{
    if (x->request.method == HTTP_POST && x->carrier && x->carrier->protocol &&
        grpc_is_type(content_type(&x->request.fields)))
        grpc_take(x);
}

err grpc_pass_timeout(struct exchange *x)
{
    struct http_field *f = find_timeout(x);
    const uint64_t now_us = worker_now_us();
    uint64_t said_us;
    if (!f || grpc_timeout_read(http_field_value(f), &said_us) || x->deadline_us == DEADLINE_NONE)
        return OK;
    if (x->deadline_us <= now_us)
        return ERR_TIMEOUT;
    char *text = arena_get(&x->arena, GRPC_TIMEOUT_BYTES_MAX);
    if (!text)
        return ERR_LIMIT;
    f->value_len = (uint32_t)grpc_timeout_put(text, x->deadline_us - now_us);
    f->value = text;
    return OK;
}

/* ---- the answer ---- */

static const struct http_field *status_field(const struct http_fields *fields)
{
    return fields ? http_fields_find(fields, BYTES("grpc-status")) : NULL;
}

int grpc_status(const struct exchange *x)
{
    if (x->grpc_known)
        return x->grpc_known - 1;
    const struct http_field *f = status_field(&x->response.fields);
    if (!f && x->response_body)
        f = status_field(x->response_body->trailers);
    return f ? (int)grpc_status_read(http_field_value(f)) : GRPC_NO_STATUS;
}

bool grpc_is_open(const struct exchange *x)
{
    return x->grpc && !x->answered_by.len && grpc_status(x) == GRPC_NO_STATUS;
}

unsigned grpc_late_outcome(const struct exchange *x, const struct body *b)
{
    const struct http_field *f =
        x->grpc && !status_field(&x->response.fields) ? status_field(b->trailers) : NULL;
    return f ? grpc_status_to_http(grpc_status_read(http_field_value(f))) : 0;
}

static bool is_kept(const struct http_field *f)
{
    return f->id == FIELD_DATE || f->id == FIELD_RETRY_AFTER || f->id == FIELD_X_REQUEST_ID;
}

/* Of words that were meant for HTTP only those stay that say something to anybody. */
static void drop_fields(struct http_fields *fields)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        if (!is_kept(&fields->at[i]))
            fields->at[i].flags |= FIELD_REMOVED;
    }
}

static struct bytes words_of(const struct exchange *x, unsigned http)
{
    return x->failed ? bytes_from(err_text(x->failed)) : http_reason(http);
}

static err say(struct exchange *x, enum grpc_status status, struct bytes words)
{
    struct http_fields *f = &x->response.fields;
    const struct bytes code = arena_print(&x->arena, "%d", (int)status);
    const struct bytes message = grpc_message_encode(&x->arena, words);
    if (!code.ptr || !message.ptr)
        return ERR_LIMIT;
    err e = http_fields_add(f, &x->arena, BYTES("content-type"), BYTES("application/grpc"));
    if (!e)
        e = http_fields_add(f, &x->arena, BYTES("grpc-status"), code);
    return e ? e : http_fields_add(f, &x->arena, BYTES("grpc-message"), message);
}

void grpc_answer(struct exchange *x)
{
    const unsigned http = x->response.status;
    if (!x->answered_by.len || http < 300 || status_field(&x->response.fields))
        return;
    body_close(x->response_body);
    x->response_body = NULL;
    drop_fields(&x->response.fields);
    if (say(x, grpc_status_of_http(http), words_of(x, http)) != OK)
        return; /* the HTTP status has to do, which clients know how to read */
    x->response.status = 200;
    x->response.reason = http_reason(200);
    x->response.framing = HTTP_BODY_NONE;
    x->response.has_content_length = false;
}

/* ---- metrics ---- */

static const struct metric_group group = {
    .module = "grpc",
    .defs = (const struct metric_def[]){ { "calls_total", METRIC_COUNTER,
                                           "Calls that have ended, by their status" } },
    .count = 1,
    .labels = (const char *const[]){ "service", "status", NULL },
};

err grpc_metrics_open(struct grpc_metrics **ret_metrics, struct bytes service)
{
    struct grpc_metrics *m = *ret_metrics = mem_get(sizeof *m);
    if (!m)
        return ERR_MEMORY;
    for (unsigned i = 0; i < GRPC_STATUSES; i++) {
        const struct bytes values[] = { service, bytes_from(grpc_status_name(i)) };
        const err e = metric_instance_open(&group, values, &m->instances[i]);
        if (e)
            return e;
        m->cells[i] = metric_cells(m->instances[i], worker_index(worker_self()));
    }
    return OK;
}

void grpc_metrics_close(struct grpc_metrics *m)
{
    for (unsigned i = 0; m && i < GRPC_STATUSES; i++)
        metric_instance_free(m->instances[i]);
    mem_free(m);
}

/* One that was cut has no status that anybody has said. */
void grpc_metrics_count(struct grpc_metrics *m, const struct exchange *x)
{
    int status = grpc_status(x);
    if (status == GRPC_NO_STATUS)
        status = exchange_client_gone(x)    ? GRPC_CANCELLED
                 : x->failed == ERR_TIMEOUT ? GRPC_DEADLINE_EXCEEDED
                                            : GRPC_UNKNOWN;
    metric_inc(m->cells[status], 0);
}
