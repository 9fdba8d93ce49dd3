#include "gate/alt_svc.h"

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "gate/carrier.h"
#include "gate/gate.h"
#include "gate/http3_conf.h"
#include "gate/listening.h"

static uint16_t port_of(const struct addr *a)
{
    if (a->sock.any.sa_family == AF_INET)
        return ntohs(a->sock.v4.sin_port);
    return a->sock.any.sa_family == AF_INET6 ? ntohs(a->sock.v6.sin6_port) : 0;
}

void alt_svc_open(struct listening *l)
{
    const struct http3_conf *c = l->conf->http3;
    if (!c || c->alt_svc_ms == CONF_MS_OFF)
        return;
    unsigned port = c->alt_svc_port ? (unsigned)c->alt_svc_port : port_of(&l->conf->address);
    snprintf(l->alt_svc, sizeof l->alt_svc, "h3=\":%u\"; ma=%llu", port,
             (unsigned long long)(c->alt_svc_ms / 1000));
}

/* The port that the client came to tells the listener. */
void alt_svc_add(struct exchange *x)
{
    const struct gate *g = x->gate;
    struct addr here = { .len = sizeof here.sock };
    int fd = exchange_client_fd(x);
    if (fd < 0 || getsockname(fd, &here.sock.any, &here.len) < 0)
        return;
    uint16_t port = port_of(&here);
    for (unsigned i = 0; i < g->listening_count; i++) {
        const struct listening *l = &g->listening[i];
        if (!*l->alt_svc || port_of(&l->conf->address) != port)
            continue;
        if (!http_fields_find(&x->response.fields, BYTES("alt-svc")))
            (void)!http_fields_add(&x->response.fields, &x->arena, BYTES("Alt-Svc"), bytes_from(l->alt_svc));
        return;
    }
}
