/* security_headers: the usual fields that tell browsers to be careful, on every answer of a route.
 *
 *      security_headers: on                    security_headers: {frame_options: DENY, csp: "default-src
 * 'self'"}
 *
 *   open:    one block of text  "X-Content-Type-Options: nosniff CRLF X-Frame-Options: SAMEORIGIN CRLF ..."
 *   handle:  chain_next; one walk over the answer's fields says which are there; the others are added as
 *            slices of the block, so that the writer copies them in one run
 *
 * It stands first in the chain: what weir answers by itself (429, 502, 503) passes it too. */
#include "base/mem.h"
#include "gate/filter.h"

/*    member                  field's name                             default
 * Sources: RFC 6797 (HSTS), the WHATWG's Fetch and HTML (nosniff, X-Frame-Options, COOP, CORP), W3C Referrer
 * Policy, CSP 3 and Permissions Policy; the defaults are those of OWASP's secure headers project, without the
 * ones that break pages which do not know of them. */
#define SECURITY_HEADERS_LIST(X)                                                                        \
    X(hsts, "Strict-Transport-Security", "max-age=31536000; includeSubDomains",                         \
      "Strict-Transport-Security; on https only (RFC 6797 7.2)")                                        \
    X(content_type_options, "X-Content-Type-Options", "nosniff", "X-Content-Type-Options")              \
    X(frame_options, "X-Frame-Options", "SAMEORIGIN", "X-Frame-Options: who may show it in a frame")    \
    X(referrer_policy, "Referrer-Policy", "strict-origin-when-cross-origin",                            \
      "Referrer-Policy: how much a link tells where it was followed")                                   \
    X(cross_domain_policies, "X-Permitted-Cross-Domain-Policies", "none",                               \
      "X-Permitted-Cross-Domain-Policies")                                                              \
    X(opener_policy, "Cross-Origin-Opener-Policy", "same-origin",                                       \
      "Cross-Origin-Opener-Policy: whether pages of others keep hold of its window")                    \
    X(resource_policy, "Cross-Origin-Resource-Policy", "same-origin",                                   \
      "Cross-Origin-Resource-Policy: whose pages may load it")                                          \
    X(embedder_policy, "Cross-Origin-Embedder-Policy", "off", "Cross-Origin-Embedder-Policy")           \
    X(csp, "Content-Security-Policy", "off", "Content-Security-Policy: what the page may load and run") \
    X(permissions_policy, "Permissions-Policy", "off", "Permissions-Policy: which devices it may use")

enum security_header {
#define X(member, name, preset, doc) HEADER_##member,
    SECURITY_HEADERS_LIST(X)
#undef X
        HEADER_COUNT
};

static const struct bytes names[HEADER_COUNT] = {
#define X(member, name, preset, doc) { name, sizeof(name) - 1 },
    SECURITY_HEADERS_LIST(X)
#undef X
};

struct security_headers_conf {
    struct bytes values[HEADER_COUNT]; /* "off": not sent */
    struct conf_list remove;           /* struct bytes */
    bool force;
};

struct security_headers {
    const struct security_headers_conf *conf;
    struct http_field fields[HEADER_COUNT]; /* name NULL: off */
    unsigned count;
    size_t len_min, len_max; /* of the names that are on */
    char text[];
};

/* ---- the filter ---- */

/* Which of ours an answer's field is; HEADER_COUNT: none. */
static unsigned header_of(const struct security_headers *s, struct bytes name)
{
    if (name.len < s->len_min || name.len > s->len_max)
        return HEADER_COUNT;
    for (unsigned i = 0; i < HEADER_COUNT; i++) {
        if (s->fields[i].name && bytes_eq_nocase(name, names[i]))
            return i;
    }
    return HEADER_COUNT;
}

/* Bits of those that the answer has, or (force) that were taken out of it. */
static unsigned look_at(const struct security_headers *s, struct http_fields *f)
{
    unsigned there = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->at[i].flags & FIELD_REMOVED)
            continue;
        unsigned h = header_of(s, http_field_name(&f->at[i]));
        if (h == HEADER_COUNT)
            continue;
        if (s->conf->force)
            f->at[i].flags |= FIELD_REMOVED;
        else
            there |= 1u << h;
    }
    return there;
}

static err edit(const struct security_headers *s, struct exchange *x)
{
    struct http_fields *f = &x->response.fields;
    const struct bytes *remove = s->conf->remove.items;
    for (size_t i = 0; i < s->conf->remove.count; i++)
        http_fields_remove(f, remove[i]);
    unsigned there = look_at(s, f);
    if (strcmp(x->scheme, "https") != 0)
        there |= 1u << HEADER_hsts;
    err e = http_fields_reserve(f, &x->arena, HEADER_COUNT);
    if (e)
        return e;
    for (unsigned i = 0; i < HEADER_COUNT; i++) {
        if (s->fields[i].name && !(there & 1u << i))
            f->at[f->count++] = s->fields[i];
    }
    return OK;
}

/* Where nobody gave an answer the gate's own is made here already, so that it gets the fields as well. */
static err security_headers_handle(struct exchange *x, void *state, struct chain *next)
{
    err e = chain_next(next, x);
    if (e)
        gate_answer_failure(x, e);
    return edit(state, x);
}

static bool is_off(struct bytes value)
{
    return bytes_eq(value, BYTES("off"));
}

static void write_line(struct security_headers *s, unsigned i, char **at)
{
    const struct bytes value = s->conf->values[i];
    struct http_field *f = &s->fields[i];
    *f = (struct http_field){ .name = *at,
                              .name_len = (uint16_t)names[i].len,
                              .value = *at + names[i].len + 2,
                              .value_len = (uint32_t)value.len,
                              .id = (uint8_t)http_field_id_of(names[i]) };
    memcpy(*at, names[i].ptr, names[i].len);
    memcpy(*at + names[i].len, ": ", 2);
    memcpy(*at + names[i].len + 2, value.ptr, value.len);
    *at += names[i].len + 2 + value.len;
    memcpy(*at, "\r\n", 2);
    *at += 2;
    s->len_min = names[i].len < s->len_min ? names[i].len : s->len_min;
    s->len_max = names[i].len > s->len_max ? names[i].len : s->len_max;
}

static void security_headers_close(void *state)
{
    mem_free(state);
}

static err security_headers_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                                 struct diag *reterr)
{
    (void)g;
    (void)scope;
    (void)reterr;
    const struct security_headers_conf *c = conf;
    size_t size = 0;
    for (unsigned i = 0; i < HEADER_COUNT; i++)
        size += names[i].len + c->values[i].len + 4;
    struct security_headers *s = mem_get(sizeof *s + size);
    if (!s)
        return ERR_MEMORY;
    s->conf = c;
    s->len_min = SIZE_MAX;
    char *at = s->text;
    for (unsigned i = 0; i < HEADER_COUNT; i++) {
        if (!is_off(c->values[i]))
            write_line(s, i, &at);
    }
    *ret_state = s;
    return OK;
}

static err security_headers_check(void *conf, struct diag *reterr)
{
    const struct security_headers_conf *c = conf;
    for (unsigned i = 0; i < HEADER_COUNT; i++) {
        if (!c->values[i].len || !http_is_field_value(c->values[i])) {
            diag_set(reterr, "%s: expected a value without control characters, or off", names[i].ptr);
            return ERR_CONF;
        }
    }
    const struct bytes *remove = c->remove.items;
    for (size_t i = 0; i < c->remove.count; i++) {
        if (!http_is_token(remove[i])) {
            diag_set(reterr, "\"%.*s\" is not a field's name", BYTES_ARG(remove[i]));
            return ERR_CONF;
        }
    }
    return OK;
}

const struct filter security_headers_filter = {
    .conf = { .name = "security_headers",
              .size = sizeof(struct security_headers_conf),
              .fields =
                  (const struct conf_field[]){
#define X(member, field, value, text)                                                                    \
    { .name = #member,                                                                                   \
      .type = CONF_TEXT,                                                                                 \
      .offset = offsetof(struct security_headers_conf, values) + HEADER_##member * sizeof(struct bytes), \
      .preset = value,                                                                                   \
      .doc = text },
                      SECURITY_HEADERS_LIST(X)
#undef X
                          { .name = "remove",
                            .type = CONF_LIST,
                            .item = CONF_TEXT,
                            .offset = offsetof(struct security_headers_conf, remove),
                            .preset = "X-Powered-By",
                            .doc = "fields that tell too much about the server" },
                      { .name = "force",
                        .type = CONF_BOOL,
                        .offset = offsetof(struct security_headers_conf, force),
                        .preset = "false",
                        .doc = "these values also where the server sent one of its own" },
                      { 0 } },
              .check = security_headers_check,
              .doc = "Adds the usual security fields to answers; `off` leaves one out." },
    .open = security_headers_open,
    .handle = security_headers_handle,
    .close = security_headers_close,
};
