/* health_ask: one question to a server, and whether the answer is a good one.
 *
 *      HTTP   GET path ─▶ status is one of `status`, and the body `contains` this and matches that `regex`
 *      TCP    connect  ─▶ that is all; or `send` something, and what comes has to contain `expect`
 *      gRPC   the standard health service ─▶ SERVING (gate/health_grpc.h)
 *
 * Asked by balance/health_check.c. From a fiber. */
#pragma once
#include "base/addr.h"
#include "core/conf.h"
#include "net/proxy_protocol.h"

/* Of an answer's body so much is looked at. */
#define HEALTH_BODY_BYTES_MAX (64 * 1024)

enum health_method { HEALTH_GET, HEALTH_HEAD, HEALTH_OPTIONS, HEALTH_TCP, HEALTH_GRPC };
extern const char *const health_methods[]; /* ends with NULL */

struct health_ask_conf {
    int method;              /* enum health_method */
    struct bytes path, host; /* of HEALTH_GRPC path is a service; "/": the server as a whole */
    struct conf_list status; /* struct bytes: "200" or "200-299" */
    struct bytes contains, regex;
    struct bytes send, expect;
    uint64_t status_bits[10]; /* of 0 to 639, made of status */
};

/* Says what cannot work. Fills status_bits. ERR_CONF. */
err health_ask_check(struct health_ask_conf *c, struct diag *reterr) CHECK_RESULT;

/* Ready to be asked again and again; conf's texts are borrowed. */
struct health_ask {
    const struct health_ask_conf *conf;
    void *pattern; /* of regex; NULL: none */
};
err health_ask_open(struct health_ask *a, const struct health_ask_conf *conf) CHECK_RESULT;
void health_ask_close(struct health_ask *a);

/* How it went, and why it was not good. */
struct health_answer {
    bool well;
    err failed;      /* connection or protocol */
    unsigned status; /* 0: none */
    const char *why; /* static; NULL: failed or status say it */
};
struct tls_client;

/* How a server is spoken to. */
struct health_way {
    enum proxy_protocol_version proxy_protocol; /* the connection begins with that header; 0: with none */
    struct tls_client *tls;                     /* NULL: in the clear */
    bool http2;                                 /* HTTP is HTTP/2 (RFC 9113), by prior knowledge or ALPN */
};
/* name: the server's, for Host. */
struct health_answer health_ask(const struct health_ask *a, const struct addr *to, const char *name,
                                const struct health_way *way, uint64_t deadline_us);

/* ---- decisions, pure ---- */
bool health_status_is_well(const struct health_ask_conf *c, unsigned status);
/* NULL: it is what is wanted; else why not. */
const char *health_body_lacks(const struct health_ask *a, struct bytes body);
