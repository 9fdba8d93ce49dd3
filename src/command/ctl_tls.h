/* ctl_tls: TLS below `weir ctl`. Blocking, one connection at a time. What goes wrong is said on stderr. */
#pragma once
#include <sys/types.h>

#include "base/addr.h"

struct ctl_tls;

enum ctl_trust {
    CTL_TRUST_SYSTEM, /* the system's authorities, or those of SSL_CERT_FILE, for that address */
    CTL_TRUST_FILES,  /* whoever shows one of those certificates (PEM files) */
    CTL_TRUST_ANYBODY
};
/* WEIR_CERTIFICATE in the environment: a PEM file with a certificate and its key to be shown. NULL: it cannot
 * be. */
struct ctl_tls *ctl_tls_open(enum ctl_trust trust, const struct bytes *files, size_t count,
                             const struct addr *to);
/* The handshake on a connected socket. */
bool ctl_tls_connect(struct ctl_tls *t, int fd);
/* As send and recv; -1 with errno 0: TLS is to blame. */
ssize_t ctl_tls_send(struct ctl_tls *t, const void *data, size_t size);
ssize_t ctl_tls_recv(struct ctl_tls *t, void *out, size_t size);
/* Its connection has ended. NULL is let be, here and below. */
void ctl_tls_end(struct ctl_tls *t);
void ctl_tls_close(struct ctl_tls *t);
