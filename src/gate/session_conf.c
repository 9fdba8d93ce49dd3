#if WEIR_HAVE_OPENSSL
#include "gate/session_conf.h"

#include "proto/http.h"

#define KEYS_BYTES_MAX 128
#define HEADER_BYTES_MAX 64
#define PASSES_MAX 32

static const char *check_pass(const struct session_conf *c)
{
    const struct bytes *pass = c->pass.items;
    for (size_t i = 0; i < c->pass.count; i++) {
        if (!session_name_is_good(pass[i]))
            return "pass: a value's name is letters, digits, - and _, and not id";
        for (size_t j = 0; j < i; j++) {
            if (bytes_eq_nocase(pass[i], pass[j]))
                return "pass: two of the names are the same header field";
        }
    }
    return NULL;
}

err session_conf_check(void *conf, struct diag *reterr)
{
    const struct session_conf *c = conf;
    const char *wrong = c->cookie ? check_pass(c) : "cookie: without one there are no sessions";
    if (!wrong && (!c->keys.len || c->keys.len > KEYS_BYTES_MAX))
        wrong = "keys: expected 1 to 128 bytes";
    if (!wrong && bytes_starts(c->keys, BYTES("weir:")))
        wrong = "keys: those that begin with weir: are weir's own";
    if (!wrong && (!http_is_token(c->header) || c->header.len > HEADER_BYTES_MAX))
        wrong = "header: no field's name can begin so";
    if (!wrong && c->user.len && !session_name_is_good(c->user))
        wrong = "user: a value's name is letters, digits, - and _, and not id";
    if (!wrong && c->age_max_ms != CONF_MS_OFF && !c->renew)
        wrong = "age_max: with `renew: off` a session is never older than its ttl";
    if (!wrong)
        return OK;
    diag_set(reterr, "%s", wrong);
    return ERR_CONF;
}

static const char *const create_words[] = { "at_once", "when_set", NULL };
static const char *const without_words[] = { "refuse", "pass", NULL };

#define AT(member) offsetof(struct session_conf, member)

const struct conf_field session_conf_fields[] = {
    { .name = "ttl",
      .type = CONF_MS,
      .offset = AT(ttl_ms),
      .preset = "30m",
      .min = 1000,
      .max = 10.0 * 365 * 86400000,
      .doc = "how long a session is kept, in whole seconds" },
    { .name = "renew",
      .type = CONF_BOOL,
      .offset = AT(renew),
      .preset = "on",
      .doc = "the time begins again with each use (written when a sixteenth of it is "
             "over); `off`: it counts from the beginning" },
    { .name = "age_max",
      .type = CONF_MS,
      .offset = AT(age_max_ms),
      .preset = "off",
      .min = 1000,
      .max = 10.0 * 365 * 86400000,
      .words = conf_word_off,
      .doc = "a session that is older ends, however much it is used" },
    { .name = "create",
      .type = CONF_WORD,
      .offset = AT(create),
      .preset = "at_once",
      .words = create_words,
      .doc = "`at_once`: for every client that has none; `when_set`: when a server sets a "
             "value" },
    { .name = "cookie",
      .type = CONF_STRUCT,
      .offset = AT(cookie),
      .preset = "on",
      .sub = &session_cookie_conf_struct,
      .doc = "its name, or its settings" },
    { .name = "secret_file",
      .type = CONF_TEXT,
      .offset = AT(secret_file),
      .doc = "what cookies are signed with: lines of 16 bytes or more, the first signs, all "
             "are good; without it the ledger keeps a secret" },
    { .name = "keys",
      .type = CONF_TEXT,
      .offset = AT(keys),
      .preset = "session:",
      .doc = "what their keys in the ledger begin with; routes with the same share them" },
    { .name = "header",
      .type = CONF_TEXT,
      .offset = AT(header),
      .preset = "X-Session",
      .doc = "what the names of the header fields between weir and the servers begin with" },
    { .name = "pass",
      .type = CONF_LIST,
      .offset = AT(pass),
      .item = CONF_TEXT,
      .max = PASSES_MAX,
      .doc = "values that the servers get as header fields, like `X-Session-cart`" },
    { .name = "user",
      .type = CONF_TEXT,
      .offset = AT(user),
      .doc = "the value that says who the client is, where no other filter has found it: "
             "for the access log, `order`" },
    { .name = "sticky",
      .type = CONF_BOOL,
      .offset = AT(sticky),
      .preset = "off",
      .doc = "a session stays at the server that answered first, as long as that is well" },
    { .name = "values_bytes_max",
      .type = CONF_BYTES,
      .offset = AT(values_bytes_max),
      .preset = "16k",
      .min = 256,
      .max = 64 * 1024,
      .doc = "of one session, with their names" },
    { .name = "without_ledger",
      .type = CONF_WORD,
      .offset = AT(without_ledger),
      .preset = "refuse",
      .words = without_words,
      .doc = "when the ledger does not serve: 503, or `pass`: on without a session" },
    { 0 },
};
#endif
