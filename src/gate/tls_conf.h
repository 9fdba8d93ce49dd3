/* tls_conf: the settings of TLS: of a listener, and of the connections to a service's servers. For
 * gate_conf.c and listen_conf.c. */
#pragma once
#include "core/conf.h"

/* Texts are paths; empty: none. */
struct tls_files_conf {
    struct bytes certificate, key, ocsp;
};

struct tls_listen_conf {
    struct tls_files_conf files;   /* the first certificate */
    struct conf_list certificates; /* struct tls_files_conf: more */
    struct conf_mark mark;
    bool self_signed;
    int version_min; /* enum tls_version_min */
    struct bytes ciphers, suites, groups;
    struct bytes client_ca;
    int client_verify; /* enum tls_client_verify */
    uint64_t handshake_timeout_ms;
};

enum tls_version_min { TLS_MIN_1_2, TLS_MIN_1_3 };
enum tls_client_verify { TLS_CLIENT_REQUIRED, TLS_CLIENT_OPTIONAL };

extern const struct conf_struct tls_listen_struct;

#if WEIR_HAVE_OPENSSL
struct ssl_ctx_st;
struct listen_conf;
/* The context that a listener's settings describe. ERR_CONF, ERR_MEMORY. */
err tls_listen_context(const struct listen_conf *listen, struct ssl_ctx_st **ret_context,
                       struct diag *reterr) CHECK_RESULT;
#endif
