#include "gate/proxied.h"

#include "core/log.h"

err proxied_read(struct io *io, const struct peer *from, uint64_t deadline_us, struct proxy_protocol *ret)
{
    static struct log_limit limit = LOG_LIMIT(1);
    size_t used;
    struct bytes in = io_peek(io);
    err e;
    while ((e = proxy_protocol_parse(in, ret, &used)) == ERR_AGAIN) {
        e = io_pull_more(io, in.len, deadline_us, &in);
        if (e)
            break;
    }
    if (!e) {
        io_consume(io, used);
        return OK;
    }
    char text[ADDR_TEXT_BYTES_MAX];
    struct addr a = peer_addr(from);
    addr_print(&a, text);
    log_limited(&limit, LOG_WARN, "proxy_protocol", "no header peer=%s why=\"%s\"", text, err_text(e));
    return e;
}

void proxied_write(struct io *io, enum proxy_protocol_version version, const struct addr *client,
                   const struct addr *destination, int fd)
{
    struct addr at = { .len = sizeof at.sock };
    if (destination)
        at = *destination;
    else if (fd < 0 || getsockname(fd, &at.sock.any, &at.len) < 0)
        at.len = 0;
    char *out = io_out(io, PROXY_PROTOCOL_WRITTEN_BYTES_MAX);
    io_out_end(io, proxy_protocol_write(out, version, client, at.len ? &at : NULL));
}
