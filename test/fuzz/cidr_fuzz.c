/* cidr: whatever range it takes, it prints and takes again as the same one, and the range holds its own first
 * address; a list of lines gives a set that finds the first address of each of its ranges. */
#include "base/cidr.h"
#include "fuzz.h"

static void check_one(struct bytes text)
{
    struct cidr c;
    struct cidr again;
    char out[CIDR_TEXT_BYTES_MAX];
    err e = cidr_parse(text, &c);
    if (e == ERR_SYNTAX)
        return;
    fuzz_check(e == OK || e == ERR_CONF);
    size_t len = cidr_print(&c, out);
    fuzz_check(len < sizeof out && out[len] == 0);
    fuzz_check(cidr_parse((struct bytes){ out, len }, &again) == OK);
    fuzz_check(memcmp(c.ip, again.ip, 16) == 0 && c.bits == again.bits && c.v6 == again.v6);
}

static struct addr first_of(const struct cidr *c)
{
    struct addr a;
    char out[CIDR_TEXT_BYTES_MAX];
    size_t len = cidr_print(c, out);
    fuzz_check(cidr_parse_ip((struct bytes){ out, bytes_index((struct bytes){ out, len }, '/') }, &a) == OK);
    return a;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rest = { (const char *)data, size };
    struct bytes line;
    struct cidr_list l = CIDR_LIST_EMPTY;
    struct cidr_set *s;
    for (uint32_t i = 0; l.count < 1000 && bytes_split(&rest, '\n', &line); i++) {
        struct diag d = DIAG_NONE;
        check_one(line);
        if (bytes_starts(line, BYTES("file:")))
            continue;
        err e = cidr_list_add(&l, line, i, &d);
        fuzz_check(e == OK || (e == ERR_CONF && d.set));
    }
    fuzz_check(cidr_set_build(&l, &s) == OK);
    for (size_t i = 0; i < l.count; i++) {
        struct addr a = first_of(&l.entries[i].cidr);
        fuzz_check(cidr_has(&l.entries[i].cidr, &a));
        fuzz_check(cidr_set_find(s, &a) != CIDR_NONE);
    }
    cidr_set_free(s);
    cidr_list_close(&l);
    return 0;
}
