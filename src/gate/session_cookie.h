/* session_cookie: the cookie that says which session a client has, signed so that nobody makes one up:
 *
 *      id (32 hex digits) issued_s (8) signature of both and of the keys' prefix (32)
 *
 * The id alone, as it stands in logs and is told to servers, is no cookie. Secrets are lines of a file: the
 * first one signs, the others are still good, so that a secret can be replaced. Any thread. */
#pragma once
#include "core/conf.h"
#include "gate/exchange.h"
#include "gate/session.h"
#include "gate/signature.h"

#define SESSION_COOKIE_BYTES (SESSION_ID_BYTES + 8 + SIGNATURE_BYTES)
#define SESSION_SECRETS_MAX 8

enum session_cookie_secure { SESSION_COOKIE_AUTO, SESSION_COOKIE_SECURE, SESSION_COOKIE_PLAIN };
enum session_cookie_site { SESSION_COOKIE_LAX, SESSION_COOKIE_STRICT, SESSION_COOKIE_CROSS_SITE };

struct session_cookie_conf {
    struct bytes name, path, domain;
    int secure;    /* enum session_cookie_secure */
    int same_site; /* enum session_cookie_site */
    bool http_only, keep;
};
extern const struct conf_struct session_cookie_conf_struct;

struct session_secrets {
    struct bytes at[SESSION_SECRETS_MAX]; /* the first signs */
    unsigned count;
};
/* text: of the file; borrowed. ERR_CONF with words. */
err session_secrets_read(struct bytes text, struct session_secrets *ret_secrets,
                         struct diag *reterr) CHECK_RESULT;

void session_cookie_write(const struct session_secrets *s, struct bytes keys, struct bytes id,
                          uint64_t issued_s, char out[SESSION_COOKIE_BYTES]);
/* false: it is none of ours. *ret_secret: the number of the one that signed it; ret_id is within text. */
bool session_cookie_read(const struct session_secrets *s, struct bytes keys, struct bytes text,
                         struct bytes *ret_id, uint64_t *ret_issued_s, unsigned *ret_secret);

/* Adds it to the answer's fields, for so long (where it outlives the browser); text empty: the client is to
 * forget it. The answer is then nobody else's: no cache that is shared may keep it. ERR_LIMIT. */
err session_cookie_give(const struct session_cookie_conf *c, struct exchange *x, struct bytes text,
                        uint64_t age_s) CHECK_RESULT;
