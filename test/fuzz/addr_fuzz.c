/* addr: whatever text it takes, it prints and takes again as the same address. */
#include "base/addr.h"
#include "base/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct addr a;
    struct addr again;
    char text[ADDR_TEXT_BYTES_MAX];
    if (addr_parse((struct bytes){ (const char *)data, size }, &a))
        return 0;
    size_t len = addr_print(&a, text);
    must(len < sizeof text && text[len] == 0);
    must(addr_parse((struct bytes){ text, len }, &again) == OK);
    must(again.sock.any.sa_family == AF_INET || addr_eq(&a, &again));
    return 0;
}
