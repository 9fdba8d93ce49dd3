#include "gate/route.h"

#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "gate/regex.h"
#include "gate/route_choice.h"

#define ROUTER_BYTES_MAX (256u << 20)
#define REGEX_HEAD_BYTES_MAX 256

/* ---- shape ---- */

/* Where a literal ends: what takes a path there, or goes on from there. */
struct spot {
    struct bytes key;
    uint64_t hash;
    bool exact;                 /* the path ends there too */
    struct choices here;        /* that end there, or go on as they like (*) */
    struct choices regexes;     /* whose literal head it is */
    struct paths *capture;      /* behind the segment that is captured there */
    const struct spot *shorter; /* the longest of the set that is not exact and that key begins with */
    struct spot *next;
};

struct slot {
    uint64_t hash;
    const struct spot *spot; /* NULL: free */
};

/* The paths of one host, or what goes on behind a capture. */
struct paths {
    uint32_t *lengths; /* of spots that are not exact, shortest first, each once */
    uint32_t lengths_count;
    uint32_t exact_count;
    struct slot *slots; /* a power of two */
    uint64_t mask;
    /* while building */
    struct map by_key; /* "=" or "*", then the key */
    struct spot *spots;
    uint32_t count;
    struct paths *next; /* of the router's */
};

struct router {
    struct map hosts;     /* lower case -> struct paths */
    struct map wildcards; /* what stands behind "*.", lower case -> struct paths */
    unsigned labels_max;  /* of a wildcard */
    struct paths *any;
    struct paths *all;
    struct map seen; /* while building: match_pattern_key -> struct match_conf */
    bool regexes;
    struct arena arena;
};

/* ---- one pass over a path: a hash at each length ---- */

/* Not keyed: what is looked up comes from outside, but what stands in the tables does not. */
#define HASH_SEED 0x9ae16a3b2f90404fULL
#define HASH_EXACT 0xc949d7c7509e6557ULL

static inline uint64_t fold_word(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9fb21c651e98df25ULL;
    return h ^ h >> 32;
}

/* The same bytes in the same pieces give the same hash. */
static inline uint64_t fold(uint64_t h, const char *at, size_t n)
{
    uint64_t word;
    for (; n >= 8; n -= 8, at += 8) {
        memcpy(&word, at, 8);
        h = fold_word(h, word);
    }
    if (!n)
        return h;
    word = n; /* the bytes behind it */
    for (size_t i = 0; i < n; i++)
        word = word << 8 | (unsigned char)at[i];
    return fold_word(h, word);
}

static uint64_t hash_of(const struct paths *p, struct bytes key, bool exact)
{
    uint64_t h = HASH_SEED;
    size_t at = 0;
    for (uint32_t i = 0; i < p->lengths_count && p->lengths[i] <= key.len; i++) {
        h = fold(h, key.ptr + at, p->lengths[i] - at);
        at = p->lengths[i];
    }
    return exact ? fold(h, key.ptr + at, key.len - at) ^ HASH_EXACT : h;
}

static inline const struct spot *probe(const struct paths *p, uint64_t hash, struct bytes key, bool exact)
{
    for (uint64_t i = hash;; i++) {
        const struct slot *s = &p->slots[i & p->mask];
        if (!s->spot)
            return NULL;
        if (s->hash == hash && s->spot->exact == exact && bytes_eq(s->spot->key, key))
            return s->spot;
    }
}

/* ---- building ---- */

static struct paths *paths_new(struct router *r)
{
    struct paths *p = arena_get_zero(&r->arena, sizeof *p);
    if (!p)
        return NULL;
    map_init(&p->by_key);
    p->next = r->all;
    r->all = p;
    return p;
}

static err paths_of_host(struct router *r, struct bytes host, struct paths **ret_paths)
{
    char text[ROUTE_HOST_BYTES_MAX];
    if (!host.len) {
        *ret_paths = r->any;
        return OK;
    }
    bool wild = bytes_starts(host, BYTES("*."));
    host = bytes_skip(host, wild ? 2 : 0);
    unsigned labels = 1;
    for (size_t i = 0; i < host.len; i++) {
        text[i] = ascii_lower(host.ptr[i]);
        labels += text[i] == '.';
    }
    if (wild && labels > r->labels_max)
        r->labels_max = labels;
    struct map *m = wild ? &r->wildcards : &r->hosts;
    struct bytes key = { text, host.len };
    struct paths *p = map_get(m, key);
    if (!p) {
        p = paths_new(r);
        if (!p || map_set(m, key, p) != OK)
            return ERR_MEMORY;
    }
    *ret_paths = p;
    return OK;
}

static struct spot *spot_get(struct router *r, struct paths *p, struct bytes key, bool exact)
{
    struct bytes name = arena_print(&r->arena, "%c%.*s", exact ? '=' : '*', BYTES_ARG(key));
    struct spot *s = name.ptr ? map_get(&p->by_key, name) : NULL;
    if (s || !name.ptr)
        return s;
    s = arena_get_zero(&r->arena, sizeof *s);
    if (!s || map_set(&p->by_key, name, s) != OK)
        return NULL;
    s->key = bytes_skip(name, 1);
    s->exact = exact;
    s->next = p->spots;
    p->spots = s;
    p->count++;
    p->exact_count += exact;
    return s;
}

/* Where the pattern ends: from literal to literal, a set of paths behind each capture. */
static err choices_of(struct router *r, struct paths *p, struct bytes path, struct choices **ret_choices)
{
    for (;;) {
        size_t brace = bytes_index(path, '{');
        bool prefix = path.len && path.ptr[path.len - 1] == '*';
        if (brace == path.len) {
            struct spot *s = spot_get(r, p, (struct bytes){ path.ptr, path.len - prefix }, !prefix);
            if (!s)
                return ERR_MEMORY;
            *ret_choices = &s->here;
            return OK;
        }
        struct spot *s = spot_get(r, p, (struct bytes){ path.ptr, brace }, false);
        if (s && !s->capture)
            s->capture = paths_new(r);
        if (!s || !s->capture)
            return ERR_MEMORY;
        p = s->capture;
        path = bytes_skip(path, bytes_index(path, '}') + 1);
    }
}

/* Every path begins with a slash: so does what a regex without a literal head may match. */
static err choices_of_regex(struct router *r, struct paths *p, struct bytes pattern,
                            struct choices **ret_choices)
{
    char text[REGEX_HEAD_BYTES_MAX];
    struct bytes head = { text, regex_literal_head(pattern, text, sizeof text) };
    struct spot *s = spot_get(r, p, head.len ? head : BYTES("/"), false);
    if (!s)
        return ERR_MEMORY;
    r->regexes = true;
    *ret_choices = &s->regexes;
    return OK;
}

static err fail_at(const struct match_conf *m, struct diag *reterr, const struct match_conf *first,
                   struct bytes text)
{
    diag_set(reterr, "match: \"%.*s\" stands twice, first in line %u", BYTES_ARG(text), first->mark.line);
    if (reterr) {
        reterr->line = m->mark.line;
        reterr->column = m->mark.column;
    }
    return ERR_CONF;
}

static err look_for_twin(struct router *r, const struct match_conf *m, const struct match_pattern *p,
                         const struct conditions *asks, struct diag *reterr)
{
    struct bytes asked = conditions_text(asks, &r->arena);
    struct bytes key = asked.ptr ? match_pattern_key(p, asked, &r->arena) : BYTES_NONE;
    if (!key.ptr)
        return ERR_MEMORY;
    const struct match_conf *first = map_get(&r->seen, key);
    if (!first)
        return map_set(&r->seen, key, (void *)(uintptr_t)m);
    struct bytes text =
        arena_print(&r->arena, "%.*s%.*s%.*s", BYTES_ARG(p->host), BYTES_ARG(p->path), BYTES_ARG(asked));
    return text.ptr ? fail_at(m, reterr, first, text) : ERR_MEMORY;
}

static err add_names(struct router *r, const struct match_pattern *p, struct choice *c)
{
    struct bytes names[ROUTE_CAPTURES_MAX];
    c->names_count = match_pattern_names(p, c->regex, names);
    if (!c->names_count)
        return OK;
    struct bytes *copy = arena_get(&r->arena, c->names_count * sizeof *copy);
    if (!copy)
        return ERR_MEMORY;
    memcpy(copy, names, c->names_count * sizeof *copy);
    c->names = copy;
    return OK;
}

static err add_pattern(struct router *r, const struct match_conf *m, const struct match_pattern *p,
                       uint32_t index, struct diag *reterr)
{
    struct paths *paths;
    struct choices *choices;
    struct choice *c = arena_get_zero(&r->arena, sizeof *c);
    err e = c ? paths_of_host(r, p->host, &paths) : ERR_MEMORY;
    if (!e)
        e = p->regex ? choices_of_regex(r, paths, p->path, &choices)
                     : choices_of(r, paths, p->path, &choices);
    if (e)
        return e;
    c->route = c->order = index;
    choices_add(choices, c); /* it is closed with them from now on */
    e = conditions_open(&m->asks, &r->arena, &c->asks, reterr);
    if (!e && p->regex)
        e = regex_compile(p->path, REGEX_WHOLE, &c->regex, reterr);
    for (uint32_t i = 0; !e && c->asks && i < c->asks->count; i++)
        r->regexes |= c->asks->at[i].regex != NULL;
    if (!e)
        e = add_names(r, p, c);
    return e ? e : look_for_twin(r, m, p, c->asks, reterr);
}

static err add_route(struct router *r, const struct route_conf *route, uint32_t index, struct diag *reterr)
{
    const struct match_conf *matches = route->matches.items;
    for (size_t i = 0; i < route->matches.count; i++) {
        struct match_pattern p;
        unsigned at = 0;
        while (match_pattern_next(&matches[i], &at, &p)) {
            err e = add_pattern(r, &matches[i], &p, index, reterr);
            if (e)
                return e;
        }
    }
    return OK;
}

/* ---- sealing: what was gathered becomes what is looked up ---- */

static int compare_lengths(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a;
    const uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static err seal_lengths(struct paths *p, struct arena *a)
{
    uint32_t n = 0;
    p->lengths = arena_get(a, (p->count - p->exact_count + 1) * sizeof *p->lengths);
    if (!p->lengths)
        return ERR_MEMORY;
    for (const struct spot *s = p->spots; s; s = s->next) {
        if (!s->exact)
            p->lengths[n++] = (uint32_t)s->key.len;
    }
    qsort(p->lengths, n, sizeof *p->lengths, compare_lengths);
    for (uint32_t i = 0; i < n; i++) {
        if (!i || p->lengths[i] != p->lengths[p->lengths_count - 1])
            p->lengths[p->lengths_count++] = p->lengths[i];
    }
    return OK;
}

static const struct spot *find_shorter(const struct paths *p, const struct spot *s)
{
    uint64_t h = HASH_SEED;
    size_t at = 0;
    const struct spot *longest = NULL;
    for (uint32_t i = 0; i < p->lengths_count && p->lengths[i] < s->key.len; i++) {
        h = fold(h, s->key.ptr + at, p->lengths[i] - at);
        at = p->lengths[i];
        const struct spot *hit = probe(p, h, (struct bytes){ s->key.ptr, at }, false);
        longest = hit ? hit : longest;
    }
    return longest;
}

static err seal_paths(struct paths *p, struct arena *a)
{
    err e = seal_lengths(p, a);
    uint64_t size = 2;
    while (size < 2 * (uint64_t)p->count)
        size *= 2;
    p->slots = arena_get_zero(a, size * sizeof *p->slots);
    p->mask = size - 1;
    if (e || !p->slots)
        return ERR_MEMORY;
    for (struct spot *s = p->spots; s; s = s->next) {
        uint64_t i = s->hash = hash_of(p, s->key, s->exact);
        while (p->slots[i & p->mask].spot)
            i++;
        p->slots[i & p->mask] = (struct slot){ s->hash, s };
        e = choices_seal(&s->here, a);
        if (!e)
            e = choices_seal(&s->regexes, a);
        if (e)
            return e;
    }
    for (struct spot *s = p->spots; s; s = s->next)
        s->shorter = s->exact ? NULL : find_shorter(p, s);
    map_close(&p->by_key);
    return OK;
}

static err build(struct router *r, const struct conf_list *routes, struct diag *reterr)
{
    r->any = paths_new(r);
    if (!r->any)
        return ERR_MEMORY;
    for (size_t i = 0; i < routes->count; i++) {
        err e = add_route(r, (const struct route_conf *)routes->items + i, (uint32_t)i, reterr);
        if (e)
            return e;
    }
    map_close(&r->seen);
    for (struct paths *p = r->all; p; p = p->next) {
        err e = seal_paths(p, &r->arena);
        if (e)
            return e;
    }
    return OK;
}

err router_build(const struct conf_list *routes, struct router **ret_router, struct diag *reterr)
{
    struct router *r = mem_get(sizeof *r);
    if (!r)
        return ERR_MEMORY;
    map_init(&r->hosts);
    map_init(&r->wildcards);
    map_init(&r->seen);
    arena_open(&r->arena, &arena_heap, ROUTER_BYTES_MAX, NULL, 0);
    err e = build(r, routes, reterr);
    if (e) {
        router_free(r);
        return e;
    }
    *ret_router = r;
    return OK;
}

void router_free(struct router *r)
{
    for (struct paths *p = r->all; p; p = p->next) {
        map_close(&p->by_key);
        for (struct spot *s = p->spots; s; s = s->next) {
            choices_close(&s->here);
            choices_close(&s->regexes);
        }
    }
    map_close(&r->hosts);
    map_close(&r->wildcards);
    map_close(&r->seen);
    arena_close(&r->arena);
    mem_free(r);
}

bool router_has_regexes(const struct router *r)
{
    return r->regexes;
}

/* ---- finding ---- */

struct search {
    struct choice_search choice;
    struct route_hit *hit;
};

static const struct choice *find_in(const struct paths *p, struct bytes rest, struct search *s);

/* The segment behind the literal, then whatever goes on behind it. */
static const struct choice *find_captured(const struct spot *spot, struct bytes rest, struct search *s)
{
    struct route_hit *hit = s->hit;
    struct bytes behind = bytes_skip(rest, spot->key.len);
    size_t len = bytes_index(behind, '/');
    if (!len || hit->count == ROUTE_CAPTURES_MAX)
        return NULL;
    hit->values[hit->count++] = (struct bytes){ behind.ptr, len };
    const struct choice *c = find_in(spot->capture, bytes_skip(behind, len), s);
    hit->count -= c == NULL;
    return c;
}

static const struct choice *find_at(const struct spot *spot, struct bytes rest, struct search *s)
{
    const struct choice *c = spot->capture ? find_captured(spot, rest, s) : NULL;
    if (!c && spot->regexes.count)
        c = choices_find(&spot->regexes, &s->choice);
    if (!c) {
        c = choices_find(&spot->here, &s->choice);
        if (c)
            s->hit->rest = bytes_skip(rest, spot->key.len);
    }
    return c;
}

static const struct choice *find_in(const struct paths *p, struct bytes rest, struct search *s)
{
    uint64_t h = HASH_SEED;
    size_t at = 0;
    const struct spot *longest = NULL;
    const struct choice *c = NULL;
    for (uint32_t i = 0; i < p->lengths_count && p->lengths[i] <= rest.len; i++) {
        h = fold(h, rest.ptr + at, p->lengths[i] - at);
        at = p->lengths[i];
        const struct spot *hit = probe(p, h, (struct bytes){ rest.ptr, at }, false);
        longest = hit ? hit : longest;
    }
    if (p->exact_count) {
        h = fold(h, rest.ptr + at, rest.len - at) ^ HASH_EXACT;
        const struct spot *exact = probe(p, h, rest, true);
        c = exact ? choices_find(&exact->here, &s->choice) : NULL;
    }
    for (; longest && !c; longest = longest->shorter)
        c = find_at(longest, rest, s);
    return c;
}

static size_t lower_host(struct bytes host, char out[ROUTE_HOST_BYTES_MAX])
{
    if (host.len > ROUTE_HOST_BYTES_MAX)
        return 0;
    for (size_t i = 0; i < host.len; i++)
        out[i] = ascii_lower(host.ptr[i]);
    return host.len;
}

/* "a.b.example.com": b.example.com, example.com, com, as far as some wildcard has so few labels. */
static const struct choice *find_by_wildcard(const struct router *r, struct bytes host, struct bytes path,
                                             struct search *s)
{
    const struct choice *c = NULL;
    size_t from = host.len;
    for (unsigned dots = 0; from > 0; from--) {
        dots += host.ptr[from - 1] == '.';
        if (dots == r->labels_max)
            break;
    }
    for (size_t i = from; i < host.len && !c; i++) {
        bool starts = i > 1 && host.ptr[i - 1] == '.'; /* behind one label at least */
        const struct paths *p = starts ? map_get(&r->wildcards, bytes_skip(host, i)) : NULL;
        c = p ? find_in(p, path, s) : NULL;
    }
    return c;
}

/* A regex's named groups; of other patterns they were noted on the way. */
static void note_groups(const struct choice *c, struct bytes path, struct route_hit *hit)
{
    struct regex_match m;
    hit->count = 0;
    hit->rest = BYTES_NONE;
    if (!c->names_count || regex_match(c->regex, path, 0, &m) != OK)
        return;
    for (unsigned i = 1; i <= regex_groups(c->regex) && hit->count < c->names_count; i++) {
        if (regex_group_name(c->regex, i).len)
            hit->values[hit->count++] = i < m.count ? m.groups[i] : BYTES_NONE;
    }
}

err router_find(const struct router *r, const struct http_request *q, struct bytes path, struct arena *a,
                struct route_hit *ret_hit)
{
    struct search s = { .choice = { .asked = { q, a, false }, .path = path }, .hit = ret_hit };
    const struct choice *c = NULL;
    ret_hit->count = 0;
    ret_hit->rest = BYTES_NONE;
    if (r->hosts.count || r->wildcards.count) {
        char text[ROUTE_HOST_BYTES_MAX];
        struct bytes host = { text, lower_host(match_host_of(q->authority), text) };
        const struct paths *p = host.len ? map_get(&r->hosts, host) : NULL;
        c = p ? find_in(p, path, &s) : NULL;
        if (!c && r->wildcards.count)
            c = find_by_wildcard(r, host, path, &s);
    }
    if (!c)
        c = find_in(r->any, path, &s);
    if (s.choice.asked.stalled)
        return ERR_LIMIT;
    ret_hit->methods = s.choice.methods;
    if (!c)
        return ERR_NOT_FOUND;
    ret_hit->route = c->route;
    ret_hit->names = c->names;
    if (c->regex)
        note_groups(c, path, ret_hit);
    return OK;
}
