#include "gate/jwt_conf.h"

#if WEIR_HAVE_OPENSSL && WEIR_HAVE_JANSSON
#define HEADERS_MAX 32

err jwt_conf_algs(const struct jwt_conf *c, bool algs[JWT_ALG_COUNT], struct diag *reterr)
{
    const struct bytes *name = c->algorithms.items;
    for (size_t i = 0; i < c->algorithms.count; i++) {
        enum jwt_alg alg;
        if (!jwt_alg_of(name[i], &alg)) {
            diag_set(reterr,
                     "algorithms: \"%.*s\" is none of RS256, RS384, RS512, PS256 ... ES512, EdDSA, HS256 ...",
                     BYTES_ARG(name[i]));
            return ERR_CONF;
        }
        algs[alg] = true;
    }
    return OK;
}

/* A secret signs and checks: who can check can make tokens. So it is never mixed up with public keys. */
static err check_algs(const struct jwt_conf *c, const bool *algs, struct diag *reterr)
{
    bool secret = false;
    bool public_key = false;
    for (unsigned i = 0; i < JWT_ALG_COUNT; i++) {
        if (algs[i] && jwt_alg_family((enum jwt_alg)i) == JWT_FAMILY_HMAC)
            secret = true;
        else if (algs[i])
            public_key = true;
    }
    if (c->source.secret_file.len && (!secret || public_key)) {
        diag_set(reterr, "secret_file: say `algorithms: [HS256]`; nothing else goes with a secret");
        return ERR_CONF;
    }
    if (secret && (public_key || c->source.service.len)) {
        diag_set(
            reterr,
            "algorithms: HS256, HS384 and HS512 go with a secret in a file of your own, and with no other");
        return ERR_CONF;
    }
    return OK;
}

static err check_texts(const struct jwt_conf *c, struct diag *reterr)
{
    const struct conf_pair *pair = c->headers.items;
    for (size_t i = 0; i < c->headers.count; i++) {
        if (http_is_token(pair[i].name))
            continue;
        diag_set(reterr, "headers: \"%.*s\" is no name of a field", BYTES_ARG(pair[i].name));
        return ERR_CONF;
    }
    if (c->header.len && !http_is_token(c->header)) {
        diag_set(reterr, "header: \"%.*s\" is no name of a field", BYTES_ARG(c->header));
        return ERR_CONF;
    }
    if (bytes_index(c->realm, '"') < c->realm.len || bytes_index(c->realm, '\\') < c->realm.len ||
        !http_is_field_value(c->realm)) {
        diag_set(reterr, "realm: no quotes, backslashes or control characters");
        return ERR_CONF;
    }
    if (c->source.service.len && c->source.path.ptr[0] != '/') {
        diag_set(reterr, "path: \"%.*s\" is no path", BYTES_ARG(c->source.path));
        return ERR_CONF;
    }
    return OK;
}

err jwt_conf_check(void *conf, struct diag *reterr)
{
    struct jwt_conf *c = conf;
    bool algs[JWT_ALG_COUNT] = { false };
    const int sources =
        (c->source.file.len > 0) + (c->source.secret_file.len > 0) + (c->source.service.len > 0);
    struct jwt_source *source;
    if (sources != 1) {
        diag_set(reterr, "keys come from one of `file`, `service` and `secret_file`");
        return ERR_CONF;
    }
    err e = jwt_conf_algs(c, algs, reterr);
    if (!e)
        e = check_algs(c, algs, reterr);
    if (!e)
        e = check_texts(c, reterr);
    if (e)
        return e;
    c->source.secrets = algs[JWT_HS256] || algs[JWT_HS384] || algs[JWT_HS512];
    e = jwt_source_open(&c->source, &source, reterr);
    if (!e)
        jwt_source_close(source);
    return e;
}

const struct conf_field jwt_conf_fields[] = {
    { .name = "file",
      .type = CONF_TEXT,
      .offset = offsetof(struct jwt_conf, source.file),
      .doc = "a JSON Web Key Set (RFC 7517)" },
    { .name = "service",
      .type = CONF_REF,
      .offset = offsetof(struct jwt_conf, source.service),
      .ref = "services",
      .doc = "who is asked for the key set" },
    { .name = "path",
      .type = CONF_TEXT,
      .offset = offsetof(struct jwt_conf, source.path),
      .preset = "/.well-known/jwks.json",
      .doc = "... and for what" },
    { .name = "host",
      .type = CONF_TEXT,
      .offset = offsetof(struct jwt_conf, source.host),
      .doc = "... by which Host; the service's name when neither this nor its own `host` "
             "says it" },
    { .name = "refresh",
      .type = CONF_MS,
      .offset = offsetof(struct jwt_conf, source.refresh_ms),
      .preset = "5m",
      .min = 1000,
      .max = 86400000,
      .doc = "how often the key set is fetched; sooner, at most every 5s, when a token "
             "names an "
             "unknown key" },
    { .name = "timeout",
      .type = CONF_MS,
      .offset = offsetof(struct jwt_conf, source.timeout_ms),
      .preset = "5s",
      .min = 1,
      .max = 60000,
      .doc = "how long that may take" },
    { .name = "secret_file",
      .type = CONF_TEXT,
      .offset = offsetof(struct jwt_conf, source.secret_file),
      .doc = "a secret of 32 bytes or more, for HS256 and the like, which `algorithms` has "
             "to name" },
    { .name = "algorithms",
      .type = CONF_LIST,
      .item = CONF_TEXT,
      .offset = offsetof(struct jwt_conf, algorithms),
      .preset = "[RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA]",
      .doc = "those that are allowed" },
    { .name = "issuer",
      .type = CONF_LIST,
      .item = CONF_TEXT,
      .offset = offsetof(struct jwt_conf, issuer),
      .doc = "`iss` is one of these; anybody when not said" },
    { .name = "audience",
      .type = CONF_LIST,
      .item = CONF_TEXT,
      .offset = offsetof(struct jwt_conf, audience),
      .doc = "`aud` has one of these; anybody when not said" },
    { .name = "claims",
      .type = CONF_PAIRS,
      .offset = offsetof(struct jwt_conf, claims),
      .doc = "claims that must have that value, or have it in their list (`scope: read`); "
             "`\"*\"`: "
             "must be there (403)" },
    { .name = "headers",
      .type = CONF_PAIRS,
      .offset = offsetof(struct jwt_conf, headers),
      .max = HEADERS_MAX,
      .doc = "fields that servers get, from claims (`X-User: sub`); what clients send by "
             "these names is "
             "taken out" },
    { .name = "header",
      .type = CONF_TEXT,
      .offset = offsetof(struct jwt_conf, header),
      .doc = "the field that has the token; Authorization when not said" },
    { .name = "cookie",
      .type = CONF_TEXT,
      .offset = offsetof(struct jwt_conf, cookie),
      .doc = "a cookie that may have it, when the field has not" },
    { .name = "typ",
      .type = CONF_TEXT,
      .offset = offsetof(struct jwt_conf, typ),
      .doc = "the header's `typ`, for example `at+jwt` (RFC 9068)" },
    { .name = "required",
      .type = CONF_BOOL,
      .offset = offsetof(struct jwt_conf, required),
      .preset = "true",
      .doc = "whether a request without a token is refused; one with a bad token always is" },
    { .name = "expiry",
      .type = CONF_BOOL,
      .offset = offsetof(struct jwt_conf, expiry),
      .preset = "true",
      .doc = "whether a token must say when it expires" },
    { .name = "leeway",
      .type = CONF_MS,
      .offset = offsetof(struct jwt_conf, leeway_ms),
      .preset = "30s",
      .max = 3600000,
      .doc = "how far clocks may be apart" },
    { .name = "hide",
      .type = CONF_BOOL,
      .offset = offsetof(struct jwt_conf, hide),
      .preset = "false",
      .doc = "takes the field with the token out, so that servers never see it" },
    { .name = "realm",
      .type = CONF_TEXT,
      .offset = offsetof(struct jwt_conf, realm),
      .preset = "weir",
      .doc = "what WWW-Authenticate names" },
    { .name = "cache",
      .type = CONF_MS,
      .offset = offsetof(struct jwt_conf, cache_ms),
      .preset = "1m",
      .min = 1000,
      .max = 3600000,
      .words = conf_word_off,
      .doc = "how long a token that holds is remembered; never beyond its end, nor when "
             "keys change" },
    { .name = "cache_entries",
      .type = CONF_INT,
      .offset = offsetof(struct jwt_conf, cache_entries),
      .preset = "1024",
      .min = 1,
      .max = 1000000,
      .doc = "of each worker" },
    { 0 }
};
#endif
