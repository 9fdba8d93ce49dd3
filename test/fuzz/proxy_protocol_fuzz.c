/* proxy_protocol: a header lies inside its input, every beginning of it says "more", and what is written of
 * its addresses reads the same. */
#include "base/must.h"
#include "net/proxy_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct proxy_protocol *p)
{
    char out[PROXY_PROTOCOL_WRITTEN_BYTES_MAX];
    struct proxy_protocol again;
    size_t used;
    size_t len = proxy_protocol_write(out, PROXY_PROTOCOL_V2, &p->source, &p->destination);
    must(len <= sizeof out);
    must(proxy_protocol_parse((struct bytes){ out, len }, &again, &used) == OK && used == len);
    if (p->source.sock.any.sa_family == AF_INET) /* others may be written as IPv4, or not at all */
        must(addr_eq(&p->source, &again.source) && addr_eq(&p->destination, &again.destination));
    len = proxy_protocol_write(out, PROXY_PROTOCOL_V1, &p->source, &p->destination);
    must(len <= PROXY_PROTOCOL_V1_BYTES_MAX);
    must(proxy_protocol_parse((struct bytes){ out, len }, &again, &used) == OK && used == len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_protocol p;
    struct proxy_protocol part;
    size_t used;
    const struct bytes in = { (const char *)data, size };
    err e = proxy_protocol_parse(in, &p, &used);
    if (e)
        return 0;
    must(used >= 15 && used <= size && used <= PROXY_PROTOCOL_V2_BYTES_MAX);
    for (size_t len = 0; len < used; len += used / 16 + 1)
        must(proxy_protocol_parse((struct bytes){ in.ptr, len }, &part, &used) == ERR_AGAIN);
    if (!p.local)
        check_again(&p);
    return 0;
}
