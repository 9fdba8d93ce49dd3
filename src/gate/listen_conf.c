#include "gate/listen_conf.h"

#include "net/tcp.h"

#define AT(type, member) offsetof(struct type, member)

err tcp_conf_check(const struct tcp_conf *tcp, struct diag *reterr)
{
    if (tcp->congestion.len == 0 || tcp_congestion_known(tcp->congestion.ptr))
        return OK;
    diag_set(reterr,
             "this kernel has no congestion control \"%s\" (see net.ipv4.tcp_available_congestion_control)",
             tcp->congestion.ptr);
    return ERR_CONF;
}

static err listen_check(void *conf, struct diag *reterr)
{
    const struct listen_conf *l = conf;
    return tcp_conf_check(&l->tcp, reterr);
}

const struct conf_struct listen_conf_struct = {
    .name = "listen",
    .size = sizeof(struct listen_conf),
    .phrases = (const char *const[]){ "{address}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "address",
              .type = CONF_ADDR,
              .offset = AT(listen_conf, address),
              .required = true,
              .doc = "where to listen: `10.0.0.1:80`, `[::1]:80`, `:8080` (all addresses), `unix:/path`" },
            { .name = "backlog",
              .type = CONF_INT,
              .offset = AT(listen_conf, backlog),
              .preset = "0",
              .max = 65535,
              .doc = "connections that may wait in the kernel to be accepted; 0: as many as it allows" },
            TCP_CONF_FIELDS(AT(listen_conf, tcp)),
            { 0 } },
    .check = listen_check,
    .mark_offset = AT(listen_conf, mark),
    .doc = "An address that takes clients.",
};
