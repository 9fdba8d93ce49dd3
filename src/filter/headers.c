/* headers: adds, sets and removes fields of requests and answers.
 *
 *      headers:
 *        request:  { set: {X-Env: prod}, remove: [Cookie] }      before the server is asked
 *        response: { add: {Strict-Transport-Security: max-age=31536000} }      before the client is answered
 *
 * In this order: remove, set, add. Values may have variables (gate/variable.h). What frames a message or
 * belongs to one connection is not a field to edit: that is refused when the configuration is loaded. */
#include "base/mem.h"
#include "gate/filter.h"
#include "gate/variable.h"

struct edits {
    struct conf_list set, add; /* struct conf_pair */
    struct conf_list remove;   /* struct bytes */
};

struct headers_conf {
    struct edits *request, *response; /* NULL: none */
};

/* ---- checks, when the configuration is loaded ---- */

/* Framing and hop-by-hop fields (RFC 9110 7.6.1, RFC 9112 6), and Host, which the service says. */
static bool is_weirs_own(enum http_field_id id)
{
    static const enum http_field_id own[] = { FIELD_CONTENT_LENGTH,   FIELD_TRANSFER_ENCODING,
                                              FIELD_CONNECTION,       FIELD_KEEP_ALIVE,
                                              FIELD_PROXY_CONNECTION, FIELD_TE,
                                              FIELD_TRAILER,          FIELD_UPGRADE,
                                              FIELD_HTTP2_SETTINGS,   FIELD_EXPECT };
    for (unsigned i = 0; i < sizeof own / sizeof *own; i++) {
        if (own[i] == id)
            return true;
    }
    return false;
}

static err check_name(struct bytes name, struct diag *reterr)
{
    if (!http_is_token(name) || name.len > UINT16_MAX) {
        diag_set(reterr, "\"%.*s\" is not a field's name: expected letters, digits and !#$%%&'*+-.^_`|~",
                 BYTES_ARG(name));
        return ERR_CONF;
    }
    const enum http_field_id id = http_field_id_of(name);
    if (id == FIELD_HOST) {
        diag_set(reterr, "%.*s is not to be changed here: expected `host` in the service", BYTES_ARG(name));
        return ERR_CONF;
    }
    if (is_weirs_own(id)) {
        diag_set(reterr, "%.*s frames the message or belongs to one connection: weir itself sees to it",
                 BYTES_ARG(name));
        return ERR_CONF;
    }
    return OK;
}

static err check_value(const struct conf_pair *pair, const struct variable_scope *scope, struct diag *reterr)
{
    struct diag d = DIAG_NONE;
    err e = variable_check(pair->value, scope, &d);
    if (e)
        diag_set(reterr, "%.*s: %s", BYTES_ARG(pair->name), d.text);
    return e;
}

static err check_pairs(const struct conf_list *list, struct diag *reterr)
{
    static const struct variable_scope any = { 0 };
    const struct conf_pair *pairs = list->items;
    for (size_t i = 0; i < list->count; i++) {
        err e = check_name(pairs[i].name, reterr);
        if (e)
            return e;
        if (!http_is_field_value(pairs[i].value)) {
            diag_set(reterr, "%.*s: a field's value has no control characters", BYTES_ARG(pairs[i].name));
            return ERR_CONF;
        }
        e = check_value(&pairs[i], &any, reterr);
        if (e)
            return e;
    }
    return OK;
}

static err edits_check(void *conf, struct diag *reterr)
{
    const struct edits *edits = conf;
    const struct bytes *names = edits->remove.items;
    for (size_t i = 0; i < edits->remove.count; i++) {
        err e = check_name(names[i], reterr);
        if (e)
            return e;
    }
    err e = check_pairs(&edits->set, reterr);
    return e ? e : check_pairs(&edits->add, reterr);
}

/* What only the route shows: which captures there are. */
static err check_captures(const struct edits *edits, const struct filter_place *place, struct diag *reterr)
{
    const struct variable_scope scope = { .route = place->route };
    const struct conf_list *const lists[] = { &edits->set, &edits->add };
    for (unsigned i = 0; i < 2; i++) {
        const struct conf_pair *pairs = lists[i]->items;
        for (size_t j = 0; j < lists[i]->count; j++) {
            err e = check_value(&pairs[j], &scope, reterr);
            if (e)
                return e;
        }
    }
    return OK;
}

static err headers_check_route(const void *conf, const struct filter_place *place, struct diag *reterr)
{
    const struct headers_conf *c = conf;
    err e = c->request ? check_captures(c->request, place, reterr) : OK;
    return e || !c->response ? e : check_captures(c->response, place, reterr);
}

/* ---- the filter ---- */

/* Of one head: the values compiled, in the order of edits->set, then edits->add. */
struct side {
    const struct edits *edits; /* NULL: nothing to do */
    struct variable_text **values;
};

struct headers {
    struct side request, response;
};

static err apply(const struct side *side, struct http_fields *fields, struct exchange *x)
{
    const struct edits *edits = side->edits;
    const struct bytes *names = edits->remove.items;
    const struct conf_pair *set = edits->set.items;
    const struct conf_pair *add = edits->add.items;
    struct variable_text **text = side->values;
    for (size_t i = 0; i < edits->remove.count; i++)
        http_fields_remove(fields, names[i]);
    err e = OK;
    for (size_t i = 0; !e && i < edits->set.count; i++) {
        struct bytes value = variable_print(*text++, x, VARIABLE_FIELD, NULL);
        e = value.ptr ? http_fields_set(fields, &x->arena, set[i].name, value) : ERR_LIMIT;
    }
    for (size_t i = 0; !e && i < edits->add.count; i++) {
        struct bytes value = variable_print(*text++, x, VARIABLE_FIELD, NULL);
        e = value.ptr ? http_fields_add(fields, &x->arena, add[i].name, value) : ERR_LIMIT;
    }
    return e;
}

static err headers_handle(struct exchange *x, void *state, struct chain *next)
{
    const struct headers *h = state;
    err e = h->request.edits ? apply(&h->request, &x->request.fields, x) : OK;
    if (!e)
        e = chain_next(next, x);
    if (e || !h->response.edits)
        return e;
    return apply(&h->response, &x->response.fields, x);
}

static void side_close(struct side *side)
{
    size_t count = side->values ? side->edits->set.count + side->edits->add.count : 0;
    for (size_t i = 0; i < count; i++)
        variable_close(side->values[i]);
    mem_free(side->values);
}

static err side_open(struct side *side, const struct edits *edits)
{
    if (!edits)
        return OK;
    side->edits = edits;
    side->values = mem_get((edits->set.count + edits->add.count + 1) * sizeof(struct variable_text *));
    if (!side->values)
        return ERR_MEMORY;
    struct variable_text **text = side->values;
    const struct conf_list *const lists[] = { &edits->set, &edits->add };
    for (unsigned i = 0; i < 2; i++) {
        const struct conf_pair *pairs = lists[i]->items;
        for (size_t j = 0; j < lists[i]->count; j++) {
            err e = variable_open(pairs[j].value, text++);
            if (e)
                return e;
        }
    }
    return OK;
}

static void headers_close(void *state)
{
    struct headers *h = state;
    side_close(&h->request);
    side_close(&h->response);
    mem_free(h);
}

/* The configuration lives as long as the generation, and that as long as its exchanges. */
static err headers_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                        struct diag *reterr)
{
    (void)g;
    (void)scope;
    (void)reterr;
    const struct headers_conf *c = conf;
    struct headers *h = mem_get(sizeof *h);
    if (!h)
        return ERR_MEMORY;
    err e = side_open(&h->request, c->request);
    if (!e)
        e = side_open(&h->response, c->response);
    if (e) {
        headers_close(h);
        return e;
    }
    *ret_state = h;
    return OK;
}

static const struct conf_struct edits_struct = {
    .name = "edits",
    .size = sizeof(struct edits),
    .fields =
        (const struct conf_field[]){
            { .name = "set",
              .type = CONF_PAIRS,
              .offset = offsetof(struct edits, set),
              .doc = "fields that stand there once, with this value, whatever came" },
            { .name = "add",
              .type = CONF_PAIRS,
              .offset = offsetof(struct edits, add),
              .doc = "fields that are put beside those of the same name" },
            { .name = "remove",
              .type = CONF_LIST,
              .item = CONF_TEXT,
              .offset = offsetof(struct edits, remove),
              .doc = "names of fields that are taken out" },
            { 0 } },
    .check = edits_check,
    .doc = "What is done to the fields of a head: remove, then set, then add.",
};

const struct filter headers_filter = {
    .conf = { .name = "headers",
              .size = sizeof(struct headers_conf),
              .fields = (const struct conf_field[]){ { .name = "request",
                                                       .type = CONF_STRUCT,
                                                       .offset = offsetof(struct headers_conf, request),
                                                       .sub = &edits_struct,
                                                       .doc = "before the server is asked" },
                                                     { .name = "response",
                                                       .type = CONF_STRUCT,
                                                       .offset = offsetof(struct headers_conf, response),
                                                       .sub = &edits_struct,
                                                       .doc = "before the client is answered" },
                                                     { 0 } },
              .doc = "Adds, sets and removes fields of requests and answers." },
    .check_route = headers_check_route,
    .open = headers_open,
    .handle = headers_handle,
    .close = headers_close,
};
