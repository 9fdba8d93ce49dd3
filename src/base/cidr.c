#include "base/cidr.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file_read.h"
#include "base/mem.h"
#include "base/must.h"

/* ---- text ---- */

static bool parse_ip(struct bytes text, struct cidr *c)
{
    char ip[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof ip || memchr(text.ptr, 0, text.len))
        return false;
    memcpy(ip, text.ptr, text.len);
    ip[text.len] = 0;
    *c = (struct cidr){ 0 };
    if (inet_pton(AF_INET, ip, c->ip) == 1) {
        c->bits = 32;
        return true;
    }
    c->v6 = true;
    c->bits = 128;
    return inet_pton(AF_INET6, ip, c->ip) == 1;
}

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

/* ::ffff:10.0.0.0/104 is 10.0.0.0/8. */
static void unmap(struct cidr *c)
{
    if (!c->v6 || c->bits < 96 || memcmp(c->ip, mapped, sizeof mapped) != 0)
        return;
    struct cidr v4 = { .bits = (uint8_t)(c->bits - 96) };
    memcpy(v4.ip, c->ip + 12, 4);
    *c = v4;
}

/* Takes off what stands behind the prefix; true when there was something. */
static bool cut_behind(struct cidr *c)
{
    bool cut = false;
    for (unsigned i = 0; i < (c->v6 ? 16 : 4); i++) {
        unsigned keep = c->bits >= 8 * (i + 1) ? 8 : c->bits <= 8 * i ? 0 : c->bits - 8 * i;
        uint8_t mask = (uint8_t)(0xff00 >> keep);
        cut = cut || (c->ip[i] & ~mask);
        c->ip[i] &= mask;
    }
    return cut;
}

err cidr_parse(struct bytes text, struct cidr *ret_cidr)
{
    struct cidr c;
    size_t slash = bytes_index(text, '/');
    if (!parse_ip((struct bytes){ text.ptr, slash }, &c))
        return ERR_SYNTAX;
    if (slash < text.len) {
        uint64_t bits;
        if (!bytes_to_u64(bytes_skip(text, slash + 1), &bits) || bits > c.bits || text.len - slash > 4)
            return ERR_SYNTAX;
        c.bits = (uint8_t)bits;
    }
    bool cut = cut_behind(&c);
    unmap(&c);
    *ret_cidr = c;
    return cut ? ERR_CONF : OK;
}

size_t cidr_print(const struct cidr *c, char out[CIDR_TEXT_BYTES_MAX])
{
    char ip[INET6_ADDRSTRLEN];
    inet_ntop(c->v6 ? AF_INET6 : AF_INET, c->ip, ip, sizeof ip);
    return (size_t)snprintf(out, CIDR_TEXT_BYTES_MAX, "%s/%u", ip, c->bits);
}

err cidr_parse_ip(struct bytes text, struct addr *ret_addr)
{
    struct cidr c;
    struct addr a = { 0 };
    if (!parse_ip(text, &c))
        return ERR_SYNTAX;
    if (c.v6) {
        a.sock.v6.sin6_family = AF_INET6;
        memcpy(&a.sock.v6.sin6_addr, c.ip, 16);
        a.len = sizeof a.sock.v6;
    } else {
        a.sock.v4.sin_family = AF_INET;
        memcpy(&a.sock.v4.sin_addr, c.ip, 4);
        a.len = sizeof a.sock.v4;
    }
    *ret_addr = a;
    return OK;
}

/* ---- addresses as numbers ---- */

struct ip {
    enum { IP_NONE, IP_V4, IP_V6 } kind;
    uint32_t v4;
    uint64_t high, low; /* of IPv6 */
};

static uint32_t load32(const void *at)
{
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return be32toh(word);
}

static uint64_t load64(const void *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return be64toh(word);
}

static struct ip ip_of(const struct addr *a)
{
    if (a->len && a->sock.any.sa_family == AF_INET)
        return (struct ip){ .kind = IP_V4, .v4 = load32(&a->sock.v4.sin_addr) };
    if (!a->len || a->sock.any.sa_family != AF_INET6)
        return (struct ip){ .kind = IP_NONE };
    const uint8_t *v6 = a->sock.v6.sin6_addr.s6_addr;
    if (memcmp(v6, mapped, sizeof mapped) == 0)
        return (struct ip){ .kind = IP_V4, .v4 = load32(v6 + 12) };
    return (struct ip){ .kind = IP_V6, .high = load64(v6), .low = load64(v6 + 8) };
}

bool cidr_has(const struct cidr *c, const struct addr *a)
{
    struct ip ip = ip_of(a);
    if (ip.kind == IP_V4)
        return !c->v6 && (c->bits == 0 || (load32(c->ip) ^ ip.v4) >> (32 - c->bits) == 0);
    if (ip.kind == IP_NONE || !c->v6)
        return false;
    uint64_t high = load64(c->ip) ^ ip.high;
    uint64_t low = load64(c->ip + 8) ^ ip.low;
    if (c->bits <= 64)
        return c->bits == 0 || high >> (64 - c->bits) == 0;
    return high == 0 && low >> (128 - c->bits) == 0;
}

/* ---- gathering ---- */

static const struct {
    const char *word;
    const char *cidrs[10];
} words[] = {
    /* RFC 1918, RFC 6598, RFC 3927, RFC 4193, RFC 4291 2.5.6, and what this machine says to itself */
    { "private",
      { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7",
        "fe80::/10", "127.0.0.0/8", "::1", NULL } },
    { "loopback", { "127.0.0.0/8", "::1", NULL } },
    { "all", { "0.0.0.0/0", "::/0", NULL } },
};

static err append(struct cidr_list *l, const struct cidr *c, uint32_t value, struct diag *reterr)
{
    if (l->count == CIDR_ENTRIES_MAX) {
        diag_set(reterr, "more than %d address ranges", CIDR_ENTRIES_MAX);
        return ERR_CONF;
    }
    if (l->count == l->room) {
        size_t room = l->room ? l->room * 2 : 64;
        struct cidr_entry *larger = mem_get(room * sizeof *larger);
        if (!larger)
            return ERR_MEMORY;
        if (l->count)
            memcpy(larger, l->entries, l->count * sizeof *larger);
        mem_free(l->entries);
        l->entries = larger;
        l->room = room;
    }
    l->entries[l->count++] = (struct cidr_entry){ *c, value };
    return OK;
}

static err add_word(struct cidr_list *l, unsigned word, uint32_t value, struct diag *reterr)
{
    err e = OK;
    for (const char *const *at = words[word].cidrs; !e && *at; at++) {
        struct cidr c;
        must(cidr_parse(bytes_from(*at), &c) == OK);
        e = append(l, &c, value, reterr);
    }
    return e;
}

/* where: "" or "FILE:LINE: " */
static err add_text(struct cidr_list *l, struct bytes text, uint32_t value, const char *where,
                    struct diag *reterr)
{
    struct cidr c;
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (bytes_eq(text, bytes_from(words[i].word)))
            return add_word(l, i, value, reterr);
    }
    err e = cidr_parse(text, &c);
    if (!e)
        return append(l, &c, value, reterr);
    int shown = text.len > 64 ? 64 : (int)text.len;
    if (e == ERR_SYNTAX) {
        diag_set(reterr,
                 "%s\"%.*s\" is no address range: expected like 10.0.0.0/8, 192.0.2.1, 2001:db8::/32%s",
                 where, shown, text.ptr, *where ? "" : ", private, loopback, all or file:/path");
        return ERR_CONF;
    }
    char would[CIDR_TEXT_BYTES_MAX];
    cidr_print(&c, would);
    diag_set(reterr, "%s\"%.*s\" has bits behind its prefix; did you mean %s?", where, shown, text.ptr,
             would);
    return ERR_CONF;
}

static err add_lines(struct cidr_list *l, struct bytes text, uint32_t value, const char *path,
                     struct diag *reterr)
{
    struct bytes line;
    for (unsigned number = 1; bytes_split(&text, '\n', &line); number++) {
        char where[512];
        line.len = bytes_index(line, '#');
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        line = bytes_trim(line);
        if (!line.len)
            continue;
        struct cidr c;
        err e = cidr_parse(line, &c);
        if (!e) {
            e = append(l, &c, value, reterr);
        } else { /* the words too */
            snprintf(where, sizeof where, "%.400s:%u: ", path, number);
            e = add_text(l, line, value, where, reterr);
        }
        if (e)
            return e;
    }
    return OK;
}

static err add_file(struct cidr_list *l, struct bytes name, uint32_t value, struct diag *reterr)
{
    char path[4096];
    struct bytes text;
    if (name.len == 0 || name.len >= sizeof path || memchr(name.ptr, 0, name.len)) {
        diag_set(reterr, "file: needs a path behind it");
        return ERR_CONF;
    }
    memcpy(path, name.ptr, name.len);
    path[name.len] = 0;
    err e = file_read_whole(path, CIDR_FILE_BYTES_MAX, &text, reterr);
    if (e)
        return e;
    e = add_lines(l, text, value, path, reterr);
    file_read_free(text);
    return e;
}

err cidr_list_add(struct cidr_list *l, struct bytes text, uint32_t value, struct diag *reterr)
{
    must(value != CIDR_NONE);
    if (bytes_starts(text, BYTES("file:")))
        return add_file(l, bytes_skip(text, 5), value, reterr);
    return add_text(l, text, value, "", reterr);
}

void cidr_list_close(struct cidr_list *l)
{
    mem_free(l->entries);
    *l = CIDR_LIST_EMPTY;
}

/* ---- the set ---- */

struct v6_start {
    uint64_t high, low;
};

/* Segments: values[i] from starts[i] up to starts[i + 1]; the first starts at 0. */
struct cidr_set {
    uint32_t *v4_starts;
    uint32_t *v4_values;
    uint32_t *v4_index; /* by an address's first bits: the segment that its first address stands in */
    size_t v4_count;
    unsigned v4_index_shift;
    struct v6_start *v6_starts;
    uint32_t *v6_values;
    size_t v6_count;
};

static int compare(const void *a, const void *b)
{
    const struct cidr_entry *x = a;
    const struct cidr_entry *y = b;
    if (x->cidr.v6 != y->cidr.v6)
        return x->cidr.v6 - y->cidr.v6;
    int order = memcmp(x->cidr.ip, y->cidr.ip, 16);
    if (order == 0)
        order = x->cidr.bits - y->cidr.bits;
    return order ? order : (x->value > y->value) - (x->value < y->value);
}

static struct v6_start v6_of(const struct cidr *c)
{
    return (struct v6_start){ load64(c->ip), load64(c->ip + 8) };
}

/* The first address behind c, of its family; false: there is none. */
static bool end_of(const struct cidr *c, struct v6_start *ret_end)
{
    unsigned __int128 start =
        c->v6 ? (unsigned __int128)load64(c->ip) << 64 | load64(c->ip + 8) : load32(c->ip);
    unsigned width = c->v6 ? 128 : 32;
    if (c->bits == 0)
        return false;
    unsigned __int128 end = start + ((unsigned __int128)1 << (width - c->bits));
    *ret_end = (struct v6_start){ (uint64_t)(end >> 64), (uint64_t)end };
    return c->v6 ? end != 0 : end >> 32 == 0;
}

/* Segments of one family while they are made; of IPv4 only `low` counts. */
struct segments {
    struct v6_start *starts;
    uint32_t *values;
    size_t count;
};

static void put_segment(struct segments *s, struct v6_start start, uint32_t value)
{
    if (s->count && s->starts[s->count - 1].high == start.high && s->starts[s->count - 1].low == start.low)
        s->count--;
    if (s->count && s->values[s->count - 1] == value)
        return;
    s->starts[s->count] = start;
    s->values[s->count++] = value;
}

static bool is_inside(const struct cidr *outer, const struct cidr *inner)
{
    struct v6_start end;
    if (!end_of(outer, &end))
        return true;
    struct v6_start at = inner->v6 ? v6_of(inner) : (struct v6_start){ 0, load32(inner->ip) };
    return at.high < end.high || (at.high == end.high && at.low < end.low);
}

/* Those that are open at a place, outermost first; never more than there are prefix lengths: of equal ranges
 * the later takes the place of the earlier. */
struct open_ranges {
    const struct cidr_entry *at[129];
    unsigned count;
};

static void close_top(struct open_ranges *o, struct segments *s)
{
    struct v6_start end;
    const struct cidr_entry *top = o->at[--o->count];
    if (end_of(&top->cidr, &end))
        put_segment(s, end, o->count ? o->at[o->count - 1]->value : CIDR_NONE);
}

/* Prefixes nest or are apart, never half. */
static void sweep(const struct cidr_entry *entries, size_t count, struct segments *s)
{
    struct open_ranges o = { .count = 0 };
    put_segment(s, (struct v6_start){ 0, 0 }, CIDR_NONE);
    for (size_t i = 0; i < count; i++) {
        const struct cidr *c = &entries[i].cidr;
        while (o.count && !is_inside(&o.at[o.count - 1]->cidr, c))
            close_top(&o, s);
        if (o.count && o.at[o.count - 1]->cidr.bits == c->bits)
            o.count--;
        must(o.count < sizeof o.at / sizeof *o.at);
        o.at[o.count++] = &entries[i];
        put_segment(s, c->v6 ? v6_of(c) : (struct v6_start){ 0, load32(c->ip) }, entries[i].value);
    }
    while (o.count)
        close_top(&o, s);
}

static err segments_of(const struct cidr_entry *entries, size_t count, struct segments *s)
{
    size_t room = 2 * count + 2;
    *s = (struct segments){ mem_get(room * sizeof *s->starts), mem_get(room * sizeof *s->values), 0 };
    if (!s->starts || !s->values)
        return ERR_MEMORY;
    sweep(entries, count, s);
    must(s->count <= room);
    return OK;
}

/* About one place of the index for each segment, so that few are left to search. */
static err index_v4(struct cidr_set *s)
{
    unsigned bits = 1;
    while (bits < 20 && (size_t)1 << bits < s->v4_count)
        bits++;
    s->v4_index_shift = 32 - bits;
    s->v4_index = mem_get((((size_t)1 << bits) + 1) * sizeof *s->v4_index);
    if (!s->v4_index)
        return ERR_MEMORY;
    size_t segment = 0;
    for (uint64_t i = 0; i < (uint64_t)1 << bits; i++) {
        uint64_t first = i << s->v4_index_shift;
        while (segment + 1 < s->v4_count && s->v4_starts[segment + 1] <= first)
            segment++;
        s->v4_index[i] = (uint32_t)segment;
    }
    s->v4_index[(size_t)1 << bits] = (uint32_t)(s->v4_count - 1);
    return OK;
}

static err build_v4(struct cidr_set *s, const struct cidr_entry *entries, size_t count)
{
    struct segments made;
    err e = segments_of(entries, count, &made);
    s->v4_values = made.values;
    s->v4_count = made.count;
    s->v4_starts = e ? NULL : mem_get(made.count * sizeof *s->v4_starts);
    for (size_t i = 0; s->v4_starts && i < made.count; i++)
        s->v4_starts[i] = (uint32_t)made.starts[i].low;
    mem_free(made.starts);
    return s->v4_starts ? index_v4(s) : ERR_MEMORY;
}

static err build_v6(struct cidr_set *s, const struct cidr_entry *entries, size_t count)
{
    struct segments made;
    err e = segments_of(entries, count, &made);
    s->v6_values = made.values;
    s->v6_starts = made.starts;
    s->v6_count = made.count;
    return e;
}

err cidr_set_build(struct cidr_list *l, struct cidr_set **ret_set)
{
    struct cidr_set *s = mem_get(sizeof *s);
    if (!s)
        return ERR_MEMORY;
    if (l->count)
        qsort(l->entries, l->count, sizeof *l->entries, compare);
    size_t v4_count = 0;
    while (v4_count < l->count && !l->entries[v4_count].cidr.v6)
        v4_count++;
    err e = build_v4(s, l->entries, v4_count);
    if (!e)
        e = build_v6(s, l->count ? l->entries + v4_count : NULL, l->count - v4_count);
    if (e) {
        cidr_set_free(s);
        return e;
    }
    *ret_set = s;
    return OK;
}

void cidr_set_free(struct cidr_set *s)
{
    if (!s)
        return;
    mem_free(s->v4_starts);
    mem_free(s->v4_values);
    mem_free(s->v4_index);
    mem_free(s->v6_starts);
    mem_free(s->v6_values);
    mem_free(s);
}

static uint32_t find_v4(const struct cidr_set *s, uint32_t ip)
{
    size_t low = s->v4_index[ip >> s->v4_index_shift];
    size_t high = s->v4_index[(ip >> s->v4_index_shift) + 1];
    while (low < high) { /* the last start that is not behind ip */
        size_t middle = low + (high - low + 1) / 2;
        if (s->v4_starts[middle] <= ip)
            low = middle;
        else
            high = middle - 1;
    }
    return s->v4_values[low];
}

static uint32_t find_v6(const struct cidr_set *s, uint64_t high, uint64_t low)
{
    size_t first = 0;
    size_t last = s->v6_count - 1;
    while (first < last) {
        size_t middle = first + (last - first + 1) / 2;
        const struct v6_start *at = &s->v6_starts[middle];
        if (at->high < high || (at->high == high && at->low <= low))
            first = middle;
        else
            last = middle - 1;
    }
    return s->v6_values[first];
}

uint32_t cidr_set_find(const struct cidr_set *s, const struct addr *a)
{
    struct ip ip = ip_of(a);
    if (ip.kind == IP_V4)
        return find_v4(s, ip.v4);
    return ip.kind == IP_V6 ? find_v6(s, ip.high, ip.low) : CIDR_NONE;
}
