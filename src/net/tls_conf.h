/* tls_conf: the settings of TLS: of an address that takes clients, and of the connections to a service's
 * servers; and what comes of them. Whoever has such an address puts tls_listen_struct into its table. */
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
    int client_verify;        /* enum tls_client_verify */
    int64_t tickets;          /* 0: none */
    struct bytes ticket_keys; /* path; empty: made and rotated here */
    uint64_t ticket_rotate_ms;
    uint64_t handshake_timeout_ms;
    int misdirected; /* enum tls_misdirected */
};

/* To servers. */
struct tls_service_conf {
    bool verify;
    struct bytes ca;          /* path; empty: the system's */
    struct bytes server_name; /* empty: each server's own */
    struct bytes certificate, key;
    int version_min; /* enum tls_version_min */
    struct bytes ciphers, suites, groups;
    bool http2; /* worked out: what its servers speak */
};

enum tls_version_min { TLS_MIN_1_2, TLS_MIN_1_3 };
/* Requests for names of other certificates than the connection's. */
enum tls_misdirected { TLS_MISDIRECTED_REFUSE, TLS_MISDIRECTED_SERVE };
enum tls_client_verify { TLS_CLIENT_REQUIRED, TLS_CLIENT_OPTIONAL };

/* What a look at the files has brought. */
enum tls_look { TLS_LOOK_SAME, TLS_LOOK_FRESH, TLS_LOOK_BAD };

extern const struct conf_struct tls_listen_struct, tls_service_struct;

/* Of a service. */
#define TLS_SERVICE_FIELD(at)                                                           \
    {                                                                                   \
        .name = "tls", .type = CONF_STRUCT, .offset = (at), .sub = &tls_service_struct, \
        .doc = "its servers speak TLS: HTTPS"                                           \
    }

#if WEIR_HAVE_OPENSSL
struct ssl_ctx_st;
struct tls_tickets;
/* The context that they describe, for a listener at that address. alpn: see struct tls_options. ERR_CONF,
 * ERR_MEMORY. */
err tls_listen_context(const struct tls_listen_conf *conf, const struct addr *at, struct bytes alpn,
                       const struct tls_tickets *tickets, struct ssl_ctx_st **ret_context,
                       struct diag *reterr) CHECK_RESULT;
/* What is in the file `ticket_keys`. ERR_CONF. */
err tls_ticket_keys_read(const struct tls_listen_conf *conf, struct tls_tickets *ret_tickets,
                         struct diag *reterr) CHECK_RESULT;
/* Changes when a file does that the settings name. */
uint64_t tls_listen_files_stamp(const struct tls_listen_conf *conf);
uint64_t tls_service_files_stamp(const struct tls_service_conf *conf);
err tls_service_context(const struct tls_service_conf *conf, struct ssl_ctx_st **ret_context,
                        struct diag *reterr) CHECK_RESULT;
/* The same settings give the same number in one process. */
uint64_t tls_service_conf_number(const struct tls_service_conf *conf);
#endif
