/* client_tls: TLS for the bench's clients, straight over their sockets. Without OpenSSL there is none. */
#pragma once
#include <stdbool.h>
#include <sys/types.h>

/* resume: every connection but the first goes on with a session; else each has a whole handshake. false: not
 * to be had. */
bool client_tls_open(bool resume);
/* Of a connection whose socket connects or stands. */
void *client_tls_begin(int fd);
void client_tls_end(void *tls);
/* As send and recv say it: -1 with EAGAIN while the handshake or a record is not all there. */
ssize_t client_tls_send(void *tls, const void *data, size_t size);
ssize_t client_tls_receive(void *tls, void *out, size_t size);
