#if WEIR_HAVE_OPENSSL
#include "gate/session_cookie.h"

#include <inttypes.h>

#include "base/hex.h"

#define SECRET_BYTES_MIN 16
#define PAYLOAD_BYTES (SESSION_ID_BYTES + 8)

/* ---- secrets ---- */

err session_secrets_read(struct bytes text, struct session_secrets *ret_secrets, struct diag *reterr)
{
    struct bytes line;
    *ret_secrets = (struct session_secrets){ 0 };
    while (bytes_split(&text, '\n', &line)) {
        line = bytes_trim(
            line.len && line.ptr[line.len - 1] == '\r' ? (struct bytes){ line.ptr, line.len - 1 } : line);
        if (!line.len)
            continue;
        if (line.len < SECRET_BYTES_MIN || ret_secrets->count == SESSION_SECRETS_MAX) {
            diag_set(reterr, "secret_file: expected at most %d lines, each a secret of at least %d bytes",
                     SESSION_SECRETS_MAX, SECRET_BYTES_MIN);
            return ERR_CONF;
        }
        ret_secrets->at[ret_secrets->count++] = line;
    }
    if (ret_secrets->count)
        return OK;
    diag_set(reterr, "secret_file: it is empty");
    return ERR_CONF;
}

/* ---- the value ---- */

void session_cookie_write(const struct session_secrets *s, struct bytes keys, struct bytes id,
                          uint64_t issued_s, char out[SESSION_COOKIE_BYTES])
{
    const struct bytes parts[] = { BYTES("session "), { out, PAYLOAD_BYTES }, keys };
    memcpy(out, id.ptr, SESSION_ID_BYTES);
    hex_put(out + SESSION_ID_BYTES, issued_s, 8);
    signature_write(s->at[0], parts, 3, out + PAYLOAD_BYTES);
}

bool session_cookie_read(const struct session_secrets *s, struct bytes keys, struct bytes text,
                         struct bytes *ret_id, uint64_t *ret_issued_s, unsigned *ret_secret)
{
    const struct bytes payload = { text.ptr, PAYLOAD_BYTES };
    const struct bytes parts[] = { BYTES("session "), payload, keys };
    if (text.len != SESSION_COOKIE_BYTES || !hex_is_lower(payload))
        return false;
    for (unsigned i = 0; i < s->count; i++) {
        if (!signature_is(s->at[i], parts, 3, bytes_skip(text, PAYLOAD_BYTES)))
            continue;
        *ret_id = (struct bytes){ text.ptr, SESSION_ID_BYTES };
        *ret_issued_s = hex_read((struct bytes){ text.ptr + SESSION_ID_BYTES, 8 });
        *ret_secret = i;
        return true;
    }
    return false;
}

/* ---- the field ---- */

/* RFC 9111 7.3: caches keep answers that set cookies, unless they are told not to. */
static err keep_private(struct exchange *x)
{
    const struct http_fields *f = &x->response.fields;
    for (uint32_t i = 0; i < f->count; i++) {
        struct bytes list = http_field_value(&f->at[i]), word;
        if (f->at[i].flags & FIELD_REMOVED || f->at[i].id != FIELD_CACHE_CONTROL)
            continue;
        while (bytes_split(&list, ',', &word)) {
            word = bytes_trim(word);
            if (bytes_eq_nocase(word, BYTES("private")) || bytes_eq_nocase(word, BYTES("no-store")))
                return OK;
        }
    }
    return http_fields_set(&x->response.fields, &x->arena, BYTES("Cache-Control"), BYTES("private"));
}

err session_cookie_give(const struct session_cookie_conf *c, struct exchange *x, struct bytes text,
                        uint64_t age_s)
{
    static const char *const sites[] = { "Lax", "Strict", "None" };
    const bool secure = c->secure == SESSION_COOKIE_SECURE ||
                        (c->secure == SESSION_COOKIE_AUTO && x->scheme && strcmp(x->scheme, "https") == 0);
    const struct bytes age =
        c->keep || !text.len ? arena_print(&x->arena, "; Max-Age=%" PRIu64, text.len ? age_s : 0) : BYTES("");
    const struct bytes value = arena_print(
        &x->arena, "%.*s=%.*s; Path=%.*s%s%.*s%.*s; SameSite=%s%s%s", BYTES_ARG(c->name), (int)text.len,
        text.len ? text.ptr : "", BYTES_ARG(c->path), c->domain.len ? "; Domain=" : "", (int)c->domain.len,
        c->domain.len ? c->domain.ptr : "", (int)age.len, age.ptr ? age.ptr : "", sites[c->same_site],
        c->http_only ? "; HttpOnly" : "", secure ? "; Secure" : "");
    if (!age.ptr || !value.ptr)
        return ERR_LIMIT;
    const err e = http_fields_add(&x->response.fields, &x->arena, BYTES("Set-Cookie"), value);
    return e ? e : keep_private(x);
}

/* ---- configuration ---- */

/* RFC 6265 4.1.1 path-value, and what a domain is made of. */
static bool is_attribute(struct bytes text, const char *first)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] >= 0x7f || text.ptr[i] == ';' || text.ptr[i] == ',')
            return false;
    }
    return !first || (text.len && text.ptr[0] == first[0]);
}

static err check(void *conf, struct diag *reterr)
{
    const struct session_cookie_conf *c = conf;
    const bool host = bytes_starts(c->name, BYTES("__Host-"));
    const bool prefixed = host || bytes_starts(c->name, BYTES("__Secure-"));
    const char *wrong = NULL;
    if (!http_is_token(c->name))
        wrong = "name: no cookie can be called that";
    else if (!is_attribute(c->path, "/"))
        wrong = "path: expected a path that begins with /";
    else if (!is_attribute(c->domain, NULL))
        wrong = "domain: no host can be called that";
    else if (c->same_site == SESSION_COOKIE_CROSS_SITE && c->secure != SESSION_COOKIE_SECURE)
        wrong = "same_site: none is taken by browsers with `secure: on` only";
    else if (prefixed && c->secure != SESSION_COOKIE_SECURE)
        wrong = "name: browsers take one that begins with __Host- or __Secure- with `secure: on` only";
    else if (host && (c->domain.len || !bytes_eq(c->path, BYTES("/"))))
        wrong = "name: one that begins with __Host- has the path / and no domain";
    if (!wrong)
        return OK;
    diag_set(reterr, "%s", wrong);
    return ERR_CONF;
}

static const char *const secure_words[] = { "auto", "on", "off", NULL };
static const char *const site_words[] = { "lax", "strict", "none", NULL };

#define AT(member) offsetof(struct session_cookie_conf, member)

const struct conf_struct session_cookie_conf_struct = {
    .name = "cookie",
    .size = sizeof(struct session_cookie_conf),
    .phrases = (const char *const[]){ "{name}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "name",
              .type = CONF_TEXT,
              .offset = AT(name),
              .preset = "weir_session",
              .doc = "`__Host-` in front of it (with `secure: on`) keeps other hosts of the domain from "
                     "setting one" },
            { .name = "path",
              .type = CONF_TEXT,
              .offset = AT(path),
              .preset = "/",
              .doc = "the client sends it with paths that begin so" },
            { .name = "domain",
              .type = CONF_TEXT,
              .offset = AT(domain),
              .doc = "hosts that it is sent to, with all below; without it the one that set it alone" },
            { .name = "secure",
              .type = CONF_WORD,
              .offset = AT(secure),
              .preset = "auto",
              .words = secure_words,
              .doc = "sent over https only; `auto`: where it was given over https" },
            { .name = "same_site",
              .type = CONF_WORD,
              .offset = AT(same_site),
              .preset = "lax",
              .words = site_words,
              .doc = "what of other sites' requests carries it: links (`lax`), nothing (`strict`), all "
                     "(`none`)" },
            { .name = "http_only",
              .type = CONF_BOOL,
              .offset = AT(http_only),
              .preset = "on",
              .doc = "scripts of the page cannot read it" },
            { .name = "keep",
              .type = CONF_BOOL,
              .offset = AT(keep),
              .preset = "off",
              .doc = "the client keeps it for the session's time, over the end of the browser" },
            { 0 } },
    .check = check,
    .doc = "The cookie that says which session a client has.",
};
#endif
