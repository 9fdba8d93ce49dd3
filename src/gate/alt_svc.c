#include "gate/alt_svc.h"

#include <stdio.h>

#include "gate/carrier.h"
#include "gate/gate.h"
#include "gate/http3_conf.h"
#include "gate/listening.h"

void alt_svc_open(struct listening *l)
{
    const struct http3_conf *c = l->conf->http3;
    if (!c || c->alt_svc_ms == CONF_MS_OFF)
        return;
    unsigned port = c->alt_svc_port ? (unsigned)c->alt_svc_port : addr_port(&l->conf->address);
    snprintf(l->alt_svc, sizeof l->alt_svc, "h3=\":%u\"; ma=%llu", port,
             (unsigned long long)(c->alt_svc_ms / 1000));
}

void alt_svc_add(struct exchange *x)
{
    const struct listening *l = listening_of(x->gate, exchange_client_fd(x));
    if (l && *l->alt_svc && !http_fields_find(&x->response.fields, BYTES("alt-svc")))
        (void)!http_fields_add(&x->response.fields, &x->arena, BYTES("Alt-Svc"), bytes_from(l->alt_svc));
}
