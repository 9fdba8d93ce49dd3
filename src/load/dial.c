/* dial: a connection of the generator, TLS and all. */
#include "load/load.h"
#include "net/tls.h"

err load_dial(const struct load *l, const struct addr *to, unsigned number, uint64_t deadline_us,
              struct io **ret_io)
{
    struct io *io;
    err e = tcp_connect(to, &l->tcp[number % l->tcp_count], deadline_us, &io);
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
