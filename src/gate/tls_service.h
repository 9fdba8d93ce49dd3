/* tls_service: TLS to the servers of a service.
 *
 *   struct tls_service   one a process and generation: what is spoken and believed; counted
 *        └──▶ struct tls_client   one a worker and server address: its name, and the session to go on with
 *
 * A server has to prove that it is the one that was asked for, unless `verify: false` says otherwise. */
#pragma once
#include "base/diag.h"
#include "base/err.h"
#include "core/io.h"
#include "net/tls_conf.h"

struct service_conf;
struct server_conf;
struct tls_client;
struct tls_service;

/* ERR_CONF, with words; ERR_MEMORY. Control thread. */
err tls_service_open(const struct service_conf *conf, struct tls_service **ret_service,
                     struct diag *reterr) CHECK_RESULT;
void tls_service_hold(struct tls_service *s);
/* NULL is let be. Any thread. */
void tls_service_drop(struct tls_service *s);
/* Looks whether its files have changed; what cannot be read is not used. Said in the log. Control thread. */
enum tls_look tls_service_look(struct tls_service *s);
/* The same settings give the same number. */
uint64_t tls_service_number(const struct tls_service *s);

/* ---- on a worker */

/* Takes hold of s. NULL: no memory. */
struct tls_client *tls_client_open(struct tls_service *s, const struct server_conf *server);
/* A later generation's service, with the same number, takes s's place. */
void tls_client_use(struct tls_client *c, struct tls_service *s);
/* NULL is let be. Its connections have ended. */
void tls_client_close(struct tls_client *c);
/* io is in the clear afterwards. ERR_PROTOCOL: the server is not believed, or speaks no TLS; said in the log.
 * On failure io is still the caller's. keep: c outlives the connection. */
err tls_client_shake(struct tls_client *c, struct io *io, bool keep, uint64_t deadline_us) CHECK_RESULT;
