/* jwt_conf: the settings of the filter jwt. Immutable once they are checked. */
#pragma once
#include "gate/jwt_source.h"

struct jwt_conf {
    struct jwt_source_conf source;
    struct conf_list algorithms, issuer, audience; /* struct bytes */
    struct conf_list claims, headers;              /* struct conf_pair */
    struct bytes cookie, header, typ, realm;
    bool required, expiry, hide;
    uint64_t leeway_ms, cache_ms;
    int64_t cache_entries;
};

extern const struct conf_field jwt_conf_fields[];
/* Of a struct jwt_conf; sets its source.secrets. */
err jwt_conf_check(void *conf, struct diag *reterr) CHECK_RESULT;
/* Which algorithms it allows. ERR_CONF: it names one that there is not. */
err jwt_conf_algs(const struct jwt_conf *c, bool algs[JWT_ALG_COUNT], struct diag *reterr) CHECK_RESULT;
