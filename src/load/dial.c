/* dial: a connection of the generator, TLS and all. */
#include "load/load.h"
#include "net/tls.h"

/* A window of ports that is full, which is told at once, is left for the next. */
static err dial(struct load_worker *lw, const struct addr *to, unsigned source, uint64_t deadline_us,
                struct io **ret_io)
{
    struct tcp_options tcp = lw->load->tcp[source];
    struct ports *p = &lw->ports[source];
    uint64_t now_us = worker_now_us();
    if (!lw->load->port_first)
        return tcp_connect(to, &tcp, deadline_us, ret_io);
    for (unsigned tries = ports_windows(p);; tries--) {
        ports_window(p, &tcp.port_min, &tcp.port_max);
        err e = tcp_connect(to, &tcp, deadline_us, ret_io);
        if (e != ERR_UNREACHABLE || now_us != worker_now_us() || tries == 1)
            return e;
        ports_next(p);
    }
}

err load_dial(struct load_worker *lw, const struct addr *to, unsigned number, uint64_t deadline_us,
              struct io **ret_io)
{
    const struct load *l = lw->load;
    struct io *io;
    err e = dial(lw, to, number % l->tcp_count, deadline_us, &io);
#if WEIR_HAVE_OPENSSL
    if (!e && l->tls) {
        e = tls_connect(io, l->tls, NULL, l->server_name, NULL, deadline_us);
        if (!e && l->http2 && !bytes_eq(tls_alpn(tls_of(io)), BYTES("h2")))
            e = ERR_PROTOCOL;
        if (e)
            io_abort(io, false);
    }
#endif
    if (!e)
        *ret_io = io;
    return e;
}
