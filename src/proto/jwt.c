#include "proto/jwt.h"

#if WEIR_HAVE_JANSSON
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "base/base64.h"
#include "proto/http.h"

static const struct {
    const char *name;
    enum jwt_family family;
    unsigned hash_bytes;
} algs[] = {
#define X(id, name, family, bytes) [JWT_##id] = { name, JWT_FAMILY_##family, bytes },
    JWT_ALG_LIST(X)
#undef X
};

bool jwt_alg_of(struct bytes name, enum jwt_alg *ret_alg)
{
    for (unsigned i = 0; i < JWT_ALG_COUNT; i++) {
        if (bytes_eq(name, bytes_from(algs[i].name))) {
            *ret_alg = (enum jwt_alg)i;
            return true;
        }
    }
    return false;
}

const char *jwt_alg_name(enum jwt_alg alg)
{
    return algs[alg].name;
}

enum jwt_family jwt_alg_family(enum jwt_alg alg)
{
    return algs[alg].family;
}

unsigned jwt_alg_hash_bytes(enum jwt_alg alg)
{
    return algs[alg].hash_bytes;
}

/* ---- JSON ---- */

static bool is_shallow(struct bytes text)
{
    unsigned depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (quoted) {
            i += c == '\\';
            quoted = c != '"';
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > JWT_DEPTH_MAX)
                return false;
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return true;
}

struct json_t *jwt_parse_json(struct bytes text)
{
    json_error_t why;
    if (!is_shallow(text))
        return NULL;
    json_t *json = json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, &why);
    if (json && !json_is_object(json)) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static struct bytes text_of(const json_t *value)
{
    if (!json_is_string(value))
        return BYTES_NONE;
    return (struct bytes){ json_string_value(value), json_string_length(value) };
}

/* ---- reading one ---- */

static err decode(struct bytes part, struct arena *a, struct bytes *ret_bytes)
{
    size_t len;
    char *out = arena_get(a, base64_bytes_max(part.len));
    if (!out)
        return ERR_LIMIT;
    err e = base64_decode(BASE64_URL, part, out, &len);
    if (!e)
        *ret_bytes = (struct bytes){ out, len };
    return e;
}

static err read_json(struct bytes part, struct arena *a, json_t **ret_json)
{
    struct bytes text;
    err e = decode(part, a, &text);
    if (e)
        return e;
    *ret_json = jwt_parse_json(text);
    return *ret_json ? OK : ERR_SYNTAX;
}

static err read_header(struct jwt *t)
{
    const json_t *alg = json_object_get(t->header, "alg");
    const json_t *kid = json_object_get(t->header, "kid");
    const json_t *typ = json_object_get(t->header, "typ");
    if (!json_is_string(alg) || (kid && !json_is_string(kid)) || (typ && !json_is_string(typ)))
        return ERR_SYNTAX;
    if (json_object_get(t->header, "crit") || !jwt_alg_of(text_of(alg), &t->alg))
        return ERR_UNSUPPORTED;
    t->kid = text_of(kid);
    t->typ = text_of(typ);
    return OK;
}

err jwt_read(struct bytes token, struct arena *a, struct jwt *ret)
{
    struct jwt t = { .header = NULL };
    struct bytes parts[3];
    struct bytes rest = token;
    if (token.len > JWT_BYTES_MAX)
        return ERR_LIMIT;
    for (unsigned i = 0; i < 3; i++) {
        if (!bytes_split(&rest, '.', &parts[i]) || !parts[i].len)
            return ERR_SYNTAX;
    }
    if (rest.ptr)
        return ERR_SYNTAX;
    t.signed_text = (struct bytes){ token.ptr, parts[0].len + 1 + parts[1].len };
    err e = decode(parts[2], a, &t.signature);
    if (!e)
        e = read_json(parts[0], a, &t.header);
    if (!e)
        e = read_header(&t);
    if (!e)
        e = read_json(parts[1], a, &t.claims);
    if (e) {
        jwt_close(&t);
        return e;
    }
    *ret = t;
    return OK;
}

void jwt_close(struct jwt *t)
{
    json_decref(t->header);
    json_decref(t->claims);
    t->header = t->claims = NULL;
}

/* ---- judging ---- */

/* NumericDate: seconds, perhaps with a fraction (RFC 7519 2). false: there is one that is no number. */
static bool read_time(const struct jwt *t, const char *name, double *ret_s, bool *ret_found)
{
    const json_t *value = json_object_get(t->claims, name);
    *ret_found = value != NULL;
    if (!value)
        return true;
    *ret_s = json_number_value(value);
    return json_is_number(value) && isfinite(*ret_s);
}

static bool is_one_of(const json_t *value, const struct bytes *wanted, size_t count)
{
    struct bytes text = text_of(value);
    for (size_t i = 0; text.ptr && i < count; i++) {
        if (bytes_eq(text, wanted[i]))
            return true;
    }
    return false;
}

/* RFC 7519 4.1.3: a string, or an array of them. */
static bool has_audience(const json_t *aud, const struct bytes *wanted, size_t count)
{
    if (!json_is_array(aud))
        return is_one_of(aud, wanted, count);
    for (size_t i = 0; i < json_array_size(aud); i++) {
        if (is_one_of(json_array_get(aud, i), wanted, count))
            return true;
    }
    return false;
}

static enum jwt_verdict judge_times(const struct jwt *t, const struct jwt_rules *r, double now_s,
                                    double *ret_exp_s)
{
    double exp = 0, nbf = 0, iat = 0;
    bool has_exp, has_nbf, has_iat;
    if (!read_time(t, "exp", &exp, &has_exp) || !read_time(t, "nbf", &nbf, &has_nbf) ||
        !read_time(t, "iat", &iat, &has_iat))
        return JWT_BAD_CLAIM;
    if (!has_exp && r->expiry)
        return JWT_NO_EXPIRY;
    *ret_exp_s = has_exp ? exp + r->leeway_s : HUGE_VAL;
    if (now_s >= *ret_exp_s)
        return JWT_EXPIRED;
    if ((has_nbf && now_s < nbf - r->leeway_s) || (has_iat && now_s < iat - r->leeway_s))
        return JWT_TOO_EARLY;
    return JWT_FINE;
}

enum jwt_verdict jwt_judge(const struct jwt *t, const struct jwt_rules *r, double now_s, double *ret_exp_s)
{
    enum jwt_verdict v = judge_times(t, r, now_s, ret_exp_s);
    if (v)
        return v;
    if (r->issuers_count && !is_one_of(json_object_get(t->claims, "iss"), r->issuers, r->issuers_count))
        return JWT_ISSUER;
    if (r->audiences_count &&
        !has_audience(json_object_get(t->claims, "aud"), r->audiences, r->audiences_count))
        return JWT_AUDIENCE;
    return JWT_FINE;
}

const char *jwt_verdict_text(enum jwt_verdict v)
{
    switch (v) {
    case JWT_FINE:
        return "fine";
    case JWT_EXPIRED:
        return "the token has expired";
    case JWT_TOO_EARLY:
        return "the token is not valid yet";
    case JWT_NO_EXPIRY:
        return "the token never expires";
    case JWT_BAD_CLAIM:
        return "the token's times are no numbers";
    case JWT_ISSUER:
        return "the token is from somebody else";
    case JWT_AUDIENCE:
        return "the token is for somebody else";
    }
    return "";
}

/* ---- claims ---- */

#define NAME_BYTES_MAX 256

/* json_object_get wants a NUL. */
static const json_t *member(const json_t *object, struct bytes name)
{
    char text[NAME_BYTES_MAX];
    if (name.len >= sizeof text || !json_is_object(object))
        return NULL;
    memcpy(text, name.ptr, name.len);
    text[name.len] = 0;
    return json_object_get(object, text);
}

static const json_t *claim_of(const struct jwt *t, struct bytes name)
{
    const json_t *at = member(t->claims, name);
    struct bytes part;
    if (at)
        return at;
    at = t->claims;
    while (at && bytes_split(&name, '.', &part))
        at = member(at, part);
    return at == t->claims ? NULL : at;
}

static struct bytes join(const json_t *array, struct arena *a)
{
    struct bytes text = BYTES("");
    for (size_t i = 0; text.ptr && i < json_array_size(array); i++) {
        struct bytes item = text_of(json_array_get(array, i));
        if (!item.ptr)
            return BYTES_NONE;
        text = arena_print(a, "%.*s%s%.*s", BYTES_ARG(text), i ? "," : "", BYTES_ARG(item));
    }
    return text;
}

bool jwt_claim_text(const struct jwt *t, struct bytes name, struct arena *a, struct bytes *ret_text)
{
    const json_t *value = claim_of(t, name);
    struct bytes text = BYTES_NONE;
    if (json_is_string(value))
        text = arena_copy(a, text_of(value));
    else if (json_is_integer(value))
        text = arena_print(a, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        text = arena_print(a, "%.17g", json_real_value(value));
    else if (json_is_boolean(value))
        text = json_is_true(value) ? BYTES("true") : BYTES("false");
    else if (json_is_array(value))
        text = join(value, a);
    if (!text.ptr || !http_is_field_value(text))
        return false;
    *ret_text = bytes_trim(text);
    return true;
}

static bool list_has(struct bytes list, struct bytes wanted)
{
    struct bytes part;
    while (bytes_split(&list, ' ', &part)) {
        if (bytes_eq(part, wanted))
            return true;
    }
    return false;
}

static bool value_has(const json_t *value, struct bytes wanted)
{
    char number[32];
    if (json_is_string(value))
        return bytes_eq(text_of(value), wanted) || list_has(text_of(value), wanted);
    if (json_is_boolean(value))
        return bytes_eq(wanted, json_is_true(value) ? BYTES("true") : BYTES("false"));
    if (!json_is_integer(value))
        return false;
    int len = snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    return bytes_eq(wanted, (struct bytes){ number, (size_t)len });
}

bool jwt_claim_has(const struct jwt *t, struct bytes name, struct bytes value)
{
    const json_t *claim = claim_of(t, name);
    if (!claim || json_is_null(claim))
        return false;
    if (bytes_eq(value, BYTES("*")))
        return true;
    if (!json_is_array(claim))
        return value_has(claim, value);
    for (size_t i = 0; i < json_array_size(claim); i++) {
        const json_t *item = json_array_get(claim, i);
        if (json_is_string(item) ? bytes_eq(text_of(item), value) : value_has(item, value))
            return true;
    }
    return false;
}
#endif
