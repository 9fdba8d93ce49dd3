/* session_conf: the settings of the `session` filter, as structs and tables. */
#pragma once
#include "gate/session_cookie.h"

enum session_create { SESSION_AT_ONCE, SESSION_WHEN_SET };
enum session_without { SESSION_WITHOUT_REFUSE, SESSION_WITHOUT_PASS };

struct session_conf {
    uint64_t ttl_ms, age_max_ms; /* or CONF_MS_OFF */
    bool renew, sticky;
    int create, without_ledger;
    struct session_cookie_conf *cookie;
    struct bytes secret_file, keys, header, user;
    struct conf_list pass; /* struct bytes */
    uint64_t values_bytes_max;
};

extern const struct conf_field session_conf_fields[];
err session_conf_check(void *conf, struct diag *reterr) CHECK_RESULT;
