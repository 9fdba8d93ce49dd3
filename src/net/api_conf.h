/* api_conf: an address of weir's own, that is asked by HTTP, and who may ask there: the operators' (admin)
 * and the ledger's. Immutable. */
#pragma once
#include "core/conf.h"

struct tls_listen_conf;

struct api_conf {
    struct addr address;
    struct tls_listen_conf *tls; /* NULL: in the clear */
    struct bytes token_file;     /* empty: none */
    struct bytes mode;           /* "0600", of a unix socket */
    int64_t mode_bits;           /* worked out of it */
    bool read_without_token;
};

/* Of a struct conf_struct for one. */
extern const struct conf_field api_conf_fields[];
extern const char *const api_conf_phrases[];
err api_conf_check(void *conf, struct diag *reterr);
