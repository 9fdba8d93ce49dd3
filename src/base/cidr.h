/* cidr: address ranges as people write them (RFC 4632, RFC 4291 2.3), and sets of them to look addresses up
 * in.
 *
 *      "10.0.0.0/8"   "192.0.2.1" (a /32)   "2001:db8::/32"   "::1"   and words: "private", "loopback", "all"
 *      "file:/etc/weir/list" in a list: a file of them, one a line, # begins a comment
 *
 *      entries, nested as they come          segments, sorted: one value from each start up to the next
 *      10.0.0.0/8 ─────────── 1              0.0.0.0 none │ 10.0.0.0 1 │ 10.1.0.0 2 │ 10.2.0.0 1 │ 11.0.0.0
 * none 10.1.0.0/16 ── 2
 *
 * The most specific entry that holds an address gives its value; of equal ones the higher value. IPv4 and
 * IPv6 are apart: an IPv4-mapped address (::ffff:10.0.0.1) is that IPv4 address, ::/0 holds no IPv4. A
 * look-up of an IPv4 address goes by its first bits to a few segments, that of an IPv6 address halves;
 * 100,000 entries cost no more than a hundred.
 *
 * Building: start-up and reload, from the heap. A set is immutable: any thread may look things up. */
#pragma once
#include "base/addr.h"
#include "base/diag.h"

#define CIDR_ENTRIES_MAX 2000000 /* of one set */
#define CIDR_FILE_BYTES_MAX (64u << 20)
#define CIDR_NONE UINT32_MAX /* no entry holds the address */

struct cidr {
    uint8_t ip[16]; /* of IPv4: the first four */
    uint8_t bits;   /* of the prefix: up to 32 or 128 */
    bool v6;
};

/* One range or address. ERR_SYNTAX: not one; ERR_CONF: bits behind the prefix are set ("10.0.0.1/8"), which
 * is more likely a slip than meant; then *ret_cidr is what it would be without them. */
err cidr_parse(struct bytes text, struct cidr *ret_cidr) CHECK_RESULT;
#define CIDR_TEXT_BYTES_MAX 64
/* "10.0.0.0/8", NUL-terminated; returns the length. */
size_t cidr_print(const struct cidr *c, char out[CIDR_TEXT_BYTES_MAX]);
bool cidr_has(const struct cidr *c, const struct addr *a);

/* An address without a port ("10.0.0.1", "2001:db8::1"); the port of *ret_addr is 0. ERR_SYNTAX. */
err cidr_parse_ip(struct bytes text, struct addr *ret_addr) CHECK_RESULT;

/* ---- gathering */

struct cidr_entry {
    struct cidr cidr;
    uint32_t value; /* below CIDR_NONE */
};

struct cidr_list {
    struct cidr_entry *entries;
    size_t count, room;
};
#define CIDR_LIST_EMPTY ((struct cidr_list){ 0 })

/* text: a range, an address, a word, or "file:" and a path (reads it). reterr: what is wrong, with the file's
 * line where it is in one. ERR_CONF, ERR_MEMORY. */
err cidr_list_add(struct cidr_list *l, struct bytes text, uint32_t value, struct diag *reterr) CHECK_RESULT;
void cidr_list_close(struct cidr_list *l);

/* ---- looking up */

struct cidr_set;

/* l's order changes. ERR_MEMORY. */
err cidr_set_build(struct cidr_list *l, struct cidr_set **ret_set) CHECK_RESULT;
/* NULL is allowed. */
void cidr_set_free(struct cidr_set *s);
/* CIDR_NONE as well for what has no IP address (a unix socket). */
uint32_t cidr_set_find(const struct cidr_set *s, const struct addr *a);
