/* tls_fact: what is known of a TLS connection, as texts: for variables, headers and logs. */
#pragma once
#include "base/bytes.h"

/*    id                  word                      meaning */
#define TLS_FACT_LIST(X)                                                                                   \
    X(VERSION, "tls_version", "`TLSv1.3`; empty without TLS, as are all of these")                         \
    X(CIPHER, "tls_cipher", "`TLS_AES_128_GCM_SHA256`")                                                    \
    X(SERVER_NAME, "tls_server_name", "the name that the client asked for (SNI)")                          \
    X(PROTOCOL, "tls_protocol", "what was agreed on by ALPN: `h2`, `http/1.1`")                            \
    X(RESUMED, "tls_resumed", "`yes`: the handshake went on with an earlier session; else `no`")           \
    X(CLIENT_VERIFIED, "tls_client_verified",                                                              \
      "`yes`: the client has shown a certificate that is believed; `no`: it has not")                      \
    X(CLIENT_SUBJECT, "tls_client_subject", "the subject of the client's certificate: `CN=ann,O=Example`") \
    X(CLIENT_ISSUER, "tls_client_issuer", "who has signed it")                                             \
    X(CLIENT_SERIAL, "tls_client_serial", "its serial number, hexadecimal")                                \
    X(CLIENT_FINGERPRINT, "tls_client_fingerprint", "its SHA-256, hexadecimal")

enum tls_fact {
#define X(id, word, meaning) TLS_FACT_##id,
    TLS_FACT_LIST(X)
#undef X
        TLS_FACT_COUNT
};

struct tls;
/* t may be NULL. The text lives as long as the connection. Its worker. */
struct bytes tls_fact(struct tls *t, enum tls_fact fact);
