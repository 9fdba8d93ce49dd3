#include "gate/route.h"

#include "base/hash.h"
#include "base/map.h"
#include "base/mem.h"

#define HOST_BYTES_MAX 255

/* The routes of one host, or of no host. Values in maps are indexes + 1, so that none is NULL. */
struct host_routes {
    struct map exact;
    struct map prefixes;
    uint32_t *lengths; /* of prefixes, longest first, each once */
    uint32_t lengths_count;
};

struct router {
    struct map hosts; /* lower case -> struct host_routes */
    struct host_routes any;
};

static struct bytes lower_host(struct bytes host, char out[HOST_BYTES_MAX])
{
    if (host.len > HOST_BYTES_MAX)
        return BYTES_NONE;
    for (size_t i = 0; i < host.len; i++)
        out[i] = ascii_lower(host.ptr[i]);
    return (struct bytes){ out, host.len };
}

static err set_for_host(struct router *r, struct bytes host, struct host_routes **ret_set)
{
    char text[HOST_BYTES_MAX];
    if (host.len == 0) {
        *ret_set = &r->any;
        return OK;
    }
    struct bytes key = lower_host(host, text);
    struct host_routes *set = map_get(&r->hosts, key);
    if (!set) {
        set = mem_get(sizeof *set);
        if (!set)
            return ERR_MEMORY;
        err e = map_set(&r->hosts, key, set);
        if (e) {
            mem_free(set);
            return e;
        }
    }
    *ret_set = set;
    return OK;
}

static err add_length(struct host_routes *set, uint32_t length)
{
    uint32_t at = 0;
    while (at < set->lengths_count && set->lengths[at] > length)
        at++;
    if (at < set->lengths_count && set->lengths[at] == length)
        return OK;
    uint32_t *more = mem_get((set->lengths_count + 1) * sizeof *more);
    if (!more)
        return ERR_MEMORY;
    for (uint32_t i = 0; i < at; i++)
        more[i] = set->lengths[i];
    more[at] = length;
    for (uint32_t i = at; i < set->lengths_count; i++)
        more[i + 1] = set->lengths[i];
    mem_free(set->lengths);
    set->lengths = more;
    set->lengths_count++;
    return OK;
}

static err add_route(struct router *r, const struct route_conf *route, size_t index, struct diag *reterr)
{
    size_t slash = bytes_index(route->match, '/');
    struct bytes host = { route->match.ptr, slash };
    struct bytes path = bytes_skip(route->match, slash);
    struct host_routes *set;
    if (host.len > HOST_BYTES_MAX) {
        diag_set(reterr, "match: the host is longer than %d bytes", HOST_BYTES_MAX);
        return ERR_CONF;
    }
    err e = set_for_host(r, host, &set);
    if (e)
        return e;
    bool prefix = path.ptr[path.len - 1] == '*';
    path.len -= prefix;
    struct map *m = prefix ? &set->prefixes : &set->exact;
    if (map_get(m, path)) {
        diag_set(reterr, "match: \"%s\" stands twice", route->match.ptr);
        if (reterr) {
            reterr->line = route->mark.line;
            reterr->column = route->mark.column;
        }
        return ERR_CONF;
    }
    e = map_set(m, path, (void *)(uintptr_t)(index + 1));
    return e || !prefix ? e : add_length(set, (uint32_t)path.len);
}

err router_build(const struct conf_list *routes, struct router **ret_router, struct diag *reterr)
{
    struct router *r = mem_get(sizeof *r);
    if (!r)
        return ERR_MEMORY;
    for (size_t i = 0; i < routes->count; i++) {
        err e = add_route(r, (const struct route_conf *)routes->items + i, i, reterr);
        if (e) {
            router_free(r);
            return e;
        }
    }
    *ret_router = r;
    return OK;
}

static void close_set(struct host_routes *set)
{
    map_close(&set->exact);
    map_close(&set->prefixes);
    mem_free(set->lengths);
}

void router_free(struct router *r)
{
    size_t at = 0;
    struct bytes host;
    void *set;
    while (map_next(&r->hosts, &at, &host, &set)) {
        close_set(set);
        mem_free(set);
    }
    map_close(&r->hosts);
    close_set(&r->any);
    mem_free(r);
}

static uint32_t find_in(const struct host_routes *set, struct bytes path)
{
    void *hit = set->exact.count ? map_get(&set->exact, path) : NULL;
    for (uint32_t i = 0; i < set->lengths_count && !hit; i++) {
        uint32_t length = set->lengths[i];
        if (length <= path.len)
            hit = map_get(&set->prefixes, (struct bytes){ path.ptr, length });
    }
    return hit ? (uint32_t)((uintptr_t)hit - 1) : UINT32_MAX;
}

/* "[::1]:80" -> "[::1]", "shop.example:80" -> "shop.example" */
static struct bytes without_port(struct bytes authority)
{
    size_t from = authority.len && authority.ptr[0] == '[' ? bytes_index(authority, ']') : 0;
    if (from == authority.len)
        return authority;
    return (struct bytes){ authority.ptr, from + bytes_index(bytes_skip(authority, from), ':') };
}

uint32_t router_find(const struct router *r, struct bytes authority, struct bytes path)
{
    if (r->hosts.count) {
        char text[HOST_BYTES_MAX];
        struct bytes host = lower_host(without_port(authority), text);
        const struct host_routes *set = host.len ? map_get(&r->hosts, host) : NULL;
        uint32_t index = set ? find_in(set, path) : UINT32_MAX;
        if (index != UINT32_MAX)
            return index;
    }
    return find_in(&r->any, path);
}

/* ---- dot segments ---- */

/* '.' as it is or as %2e; how many bytes it takes, 0: no dot */
static size_t dot_at(struct bytes p)
{
    if (p.len && p.ptr[0] == '.')
        return 1;
    bool encoded = p.len >= 3 && p.ptr[0] == '%' && p.ptr[1] == '2' && ascii_lower(p.ptr[2]) == 'e';
    return encoded ? 3 : 0;
}

/* 1 for ".", 2 for "..", 0 for any other segment */
static int dots_of(struct bytes segment)
{
    int dots = 0;
    while (segment.len) {
        size_t n = dot_at(segment);
        if (!n || ++dots > 2)
            return 0;
        segment = bytes_skip(segment, n);
    }
    return dots;
}

static bool has_dot_segment(struct bytes path)
{
    for (size_t i = 0; i + 1 < path.len; i++) {
        if (path.ptr[i] == '/' && dot_at(bytes_skip(path, i + 1)))
            return true;
    }
    return false;
}

err route_path(struct bytes path, struct arena *a, struct bytes *ret_path)
{
    if (bytes_eq(path, BYTES("*"))) /* OPTIONS *: asks about the server as a whole */
        path = BYTES("/");
    if (path.len == 0 || path.ptr[0] != '/')
        return ERR_SYNTAX;
    if (!has_dot_segment(path)) {
        *ret_path = path;
        return OK;
    }
    char *out = arena_get(a, path.len + 1);
    if (!out)
        return ERR_LIMIT;
    size_t len = 0;
    struct bytes rest = bytes_skip(path, 1);
    struct bytes segment;
    while (bytes_split(&rest, '/', &segment)) {
        int dots = dots_of(segment);
        if (dots == 2) {
            if (len == 0)
                return ERR_SYNTAX;
            while (out[--len] != '/') {
            }
        }
        if (!dots) {
            out[len++] = '/';
            memcpy(out + len, segment.ptr, segment.len);
            len += segment.len;
        } else if (!rest.ptr) {
            out[len++] = '/'; /* "/a/." and "/a/b/.." end in a slash */
        }
    }
    if (len == 0)
        out[len++] = '/';
    *ret_path = (struct bytes){ out, len };
    return OK;
}
