/* headers: adds, sets and removes fields of requests and answers.
 *
 *      headers:
 *        request:  { set: {X-Env: prod}, remove: [Cookie] }      before the server is asked
 *        response: { add: {Strict-Transport-Security: max-age=31536000} }      before the client is answered
 *
 * In this order: remove, set, add. What frames a message or belongs to one connection is not a field to edit:
 * that is refused when the configuration is loaded. */
#include "gate/filter.h"

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

static err check_pairs(const struct conf_list *list, struct diag *reterr)
{
    const struct conf_pair *pairs = list->items;
    for (size_t i = 0; i < list->count; i++) {
        err e = check_name(pairs[i].name, reterr);
        if (e)
            return e;
        if (!http_is_field_value(pairs[i].value)) {
            diag_set(reterr, "%.*s: a field's value has no control characters", BYTES_ARG(pairs[i].name));
            return ERR_CONF;
        }
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

/* ---- the filter ---- */

static err apply(const struct edits *edits, struct http_fields *fields, struct arena *a)
{
    const struct bytes *names = edits->remove.items;
    for (size_t i = 0; i < edits->remove.count; i++)
        http_fields_remove(fields, names[i]);
    err e = OK;
    const struct conf_pair *set = edits->set.items;
    for (size_t i = 0; !e && i < edits->set.count; i++)
        e = http_fields_set(fields, a, set[i].name, set[i].value);
    const struct conf_pair *add = edits->add.items;
    for (size_t i = 0; !e && i < edits->add.count; i++)
        e = http_fields_add(fields, a, add[i].name, add[i].value);
    return e;
}

static err headers_handle(struct exchange *x, void *state, struct chain *next)
{
    const struct headers_conf *c = state;
    err e = c->request ? apply(c->request, &x->request.fields, &x->arena) : OK;
    if (!e)
        e = chain_next(next, x);
    if (e || !c->response)
        return e;
    return apply(c->response, &x->response.fields, &x->arena);
}

/* The configuration lives as long as the generation, and that as long as its exchanges. */
static err headers_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                        struct diag *reterr)
{
    (void)g;
    (void)scope;
    (void)reterr;
    *ret_state = (void *)(uintptr_t)conf;
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
    .open = headers_open,
    .handle = headers_handle,
};
