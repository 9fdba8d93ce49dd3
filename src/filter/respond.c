/* respond: a fixed answer; no server is asked.
 *
 *      respond: 204
 *      respond: 503 we are back at noon
 *      respond: {status: 200, text: '{"you": "$client"}', content_type: application/json}
 *      respond: {status: 503, file: sorry.html}
 *
 * Variables in the text are escaped for its content type (HTML, JSON); a file is sent as it is. */
#include <fcntl.h>
#include <unistd.h>

#include "base/file_read.h"
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/variable.h"

#define FILE_BYTES_MAX (1024 * 1024)

struct respond_conf {
    int64_t status;
    struct bytes text, file, content_type;
};

/* ---- metrics ---- */

#define RESPOND_METRICS(X) X(SENT, "sent_total", METRIC_COUNTER, "Requests that got the fixed answer")

enum respond_metric {
#define X(id, name, type, help) METRIC_##id,
    RESPOND_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "respond",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            RESPOND_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- the file ---- */

static struct bytes type_of_file(struct bytes path)
{
    static const char *const types[][2] = {
        { ".html", "text/html; charset=utf-8" },
        { ".htm", "text/html; charset=utf-8" },
        { ".json", "application/json" },
        { ".css", "text/css; charset=utf-8" },
        { ".js", "text/javascript" },
        { ".xml", "application/xml" },
        { ".svg", "image/svg+xml" },
        { ".png", "image/png" },
        { ".ico", "image/x-icon" },
        { ".txt", "text/plain; charset=utf-8" },
    };
    for (unsigned i = 0; i < sizeof types / sizeof *types; i++) {
        struct bytes end = bytes_from(types[i][0]);
        if (path.len >= end.len && bytes_eq_nocase(bytes_skip(path, path.len - end.len), end))
            return bytes_from(types[i][1]);
    }
    return BYTES("application/octet-stream");
}

/* ---- checks, when the configuration is loaded ---- */

static bool has_no_body(int64_t status)
{
    return status == 204 || status == 304; /* RFC 9110 15.3.5, 15.4.5 */
}

static err respond_conf_check(void *conf, struct diag *reterr)
{
    static const struct variable_scope any = { 0 };
    const struct respond_conf *c = conf;
    if (c->text.len && c->file.len) {
        diag_set(reterr, "text and file: expected one of them");
        return ERR_CONF;
    }
    if (has_no_body(c->status) && (c->text.len || c->file.len)) {
        diag_set(reterr, "an answer with status %d has no body", (int)c->status);
        return ERR_CONF;
    }
    if (!http_is_field_value(c->content_type)) {
        diag_set(reterr, "content_type: a field's value has no control characters");
        return ERR_CONF;
    }
    if (!c->file.len)
        return variable_check(c->text, &any, reterr);
    struct bytes file;
    const err e = file_read_whole(c->file.ptr, FILE_BYTES_MAX, &file, reterr);
    if (!e)
        file_read_free(file);
    return e;
}

static err respond_check_route(const void *conf, const struct filter_place *place, struct diag *reterr)
{
    const struct variable_scope scope = { .route = place->route };
    const struct respond_conf *c = conf;
    return variable_check(c->text, &scope, reterr);
}

/* ---- the filter ---- */

struct respond {
    unsigned status;
    struct bytes content_type;
    enum variable_form form;
    struct variable_text *text; /* NULL: the file, or nothing */
    struct bytes file;
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

static bool contains(struct bytes text, struct bytes part)
{
    for (; text.len >= part.len; text = bytes_skip(text, 1)) {
        if (bytes_eq_nocase((struct bytes){ text.ptr, part.len }, part))
            return true;
    }
    return false;
}

/* So that what a client sends cannot become markup or end a string. */
static enum variable_form form_for(struct bytes content_type)
{
    if (contains(content_type, BYTES("json")))
        return VARIABLE_JSON;
    if (contains(content_type, BYTES("html")) || contains(content_type, BYTES("xml")))
        return VARIABLE_HTML;
    return VARIABLE_PLAIN;
}

static struct bytes content_type_of(const struct respond_conf *c)
{
    if (c->content_type.len)
        return c->content_type;
    return c->file.len ? type_of_file(c->file) : BYTES("text/plain; charset=utf-8");
}

static err respond_handle(struct exchange *x, void *state, struct chain *next)
{
    (void)next;
    struct respond *r = state;
    struct bytes body = r->file;
    if (r->text)
        body = variable_print(r->text, x, r->form, NULL);
    if (r->text && !body.ptr)
        return ERR_LIMIT;
    exchange_answer(x, r->status, r->content_type, body, BYTES("respond"));
    if (has_no_body(r->status))
        http_fields_remove_id(&x->response.fields, FIELD_CONTENT_TYPE);
    metric_inc(r->cells, METRIC_SENT);
    return OK;
}

static void respond_close(void *state)
{
    struct respond *r = state;
    variable_close(r->text);
    file_read_free(r->file);
    metric_instance_free(r->metrics);
    mem_free(r);
}

static err respond_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                        struct diag *reterr)
{
    (void)g;
    const struct respond_conf *c = conf;
    struct respond *r = mem_get(sizeof *r);
    if (!r)
        return ERR_MEMORY;
    r->status = (unsigned)c->status;
    r->content_type = content_type_of(c);
    r->form = form_for(r->content_type);
    err e = c->text.len ? variable_open(c->text, &r->text) : OK;
    if (!e && c->file.len)
        e = file_read_whole(c->file.ptr, FILE_BYTES_MAX, &r->file, reterr);
    if (!e)
        e = metric_instance_open(&metric_group, &scope, &r->metrics);
    if (e) {
        respond_close(r);
        return e;
    }
    r->cells = metric_cells(r->metrics, worker_index(worker_self()));
    *ret_state = r;
    return OK;
}

static bool respond_explain(const void *conf, const struct filter_place *place, struct exchange *x,
                            const struct conf_writer *w)
{
    (void)place;
    const struct respond_conf *c = conf;
    struct bytes line = arena_print(&x->arena, "answers %u by itself, %.*s\n", (unsigned)c->status,
                                    BYTES_ARG(content_type_of(c)));
    if (line.ptr)
        w->write(w->arg, line);
    return true;
}

#define AT(member) offsetof(struct respond_conf, member)

const struct filter respond_filter = {
    .conf = { .name = "respond",
              .size = sizeof(struct respond_conf),
              .phrases = (const char *const[]){ "{status} {text}", "{status}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "status",
                        .type = CONF_INT,
                        .offset = AT(status),
                        .preset = "200",
                        .min = 200,
                        .max = 599,
                        .doc = "of the answer" },
                      { .name = "text",
                        .type = CONF_TEXT,
                        .offset = AT(text),
                        .doc = "the body, with variables; the status in words when neither it nor `file` is "
                               "said" },
                      { .name = "file",
                        .type = CONF_TEXT,
                        .offset = AT(file),
                        .doc = "the body, as it is in that file when the configuration is loaded; 1 MiB at "
                               "most" },
                      { .name = "content_type",
                        .type = CONF_TEXT,
                        .offset = AT(content_type),
                        .doc = "`text/plain; charset=utf-8` for a text, by its name for a file" },
                      { 0 } },
              .check = respond_conf_check,
              .doc = "A fixed answer, without a server." },
    .ends = true,
    .check_route = respond_check_route,
    .explain = respond_explain,
    .open = respond_open,
    .handle = respond_handle,
    .close = respond_close,
};
