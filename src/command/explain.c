/* explain: which route a request would take, what happens to it on the way, and who would answer. Nothing
 * runs and nothing is asked: it reads the file as `weir run` would. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "command/command.h"
#include "gate/gate.h"
#include "gate/process.h"
#include "gate/registry.h"
#include "gate/route_path.h"

#define HEAD_BYTES_MAX (256 * 1024)
#define FIELDS_MAX 1000
#define ARENA_BYTES_MAX (256u << 20)
#define SHOWN_MAX 10 /* of other routes, each kind */

struct explain {
    const struct generation *generation;
    struct exchange x;
    struct arena arena; /* of what is no part of the exchange */
    struct service *services;
    char head[HEAD_BYTES_MAX]; /* the request, as it would come */
    size_t head_len;
    struct http_field fields[FIELDS_MAX];
};

/* ---- the request ---- */

static void put(struct explain *e, struct bytes text)
{
    size_t n = text.len < sizeof e->head - e->head_len ? text.len : sizeof e->head - e->head_len;
    if (n)
        memcpy(e->head + e->head_len, text.ptr, n);
    e->head_len += n;
}

static bool is_host_line(struct bytes line)
{
    return line.len >= 5 && bytes_eq_nocase((struct bytes){ line.ptr, 5 }, BYTES("Host:"));
}

/* "[METHOD] [http://host]/path". The head is written as a client would send it, so that the same parser
 * judges it. */
static const char *write_head(struct explain *e, struct bytes what, const struct bytes *lines, unsigned count)
{
    size_t space = bytes_index(what, ' ');
    struct bytes method = space < what.len ? (struct bytes){ what.ptr, space } : BYTES("GET");
    struct bytes url = space < what.len ? bytes_trim(bytes_skip(what, space)) : what;
    struct bytes host = BYTES("localhost");
    e->x.scheme = bytes_starts(url, BYTES("https://")) ? "https" : "http";
    size_t scheme = bytes_index(url, ':') + 3;
    bool absolute = bytes_starts(url, BYTES("http://")) || bytes_starts(url, BYTES("https://"));
    bool hosted = absolute;
    if (absolute) {
        url = bytes_skip(url, scheme);
        host.ptr = url.ptr;
        host.len = strcspn(url.ptr, "/?");
        url = bytes_skip(url, host.len);
    } else if (!url.len || (url.ptr[0] != '/' && url.ptr[0] != '*')) {
        return "expected METHOD http://host/path, or /path";
    }
    for (unsigned i = 0; i < count; i++)
        hosted |= is_host_line(lines[i]);
    put(e, method);
    put(e, BYTES(" "));
    put(e, url.len && url.ptr[0] != '?' ? BYTES("") : BYTES("/"));
    put(e, url);
    put(e, BYTES(" HTTP/1.1\r\n"));
    bool says_host = false;
    for (unsigned i = 0; i < count; i++) {
        says_host |= is_host_line(lines[i]);
        put(e, lines[i]);
        put(e, BYTES("\r\n"));
    }
    if (!says_host) {
        put(e, BYTES("Host: "));
        put(e, hosted ? host : BYTES("localhost"));
        put(e, BYTES("\r\n"));
    }
    put(e, BYTES("\r\n"));
    return e->head_len == sizeof e->head ? "the request is too long" : NULL;
}

static int read_request(struct explain *e, const char *what, const struct bytes *lines, unsigned count)
{
    size_t used;
    unsigned status = 400;
    const char *wrong = write_head(e, bytes_trim(bytes_from(what)), lines, count);
    e->x.request.fields.at = e->fields;
    e->x.request.fields.count_max = FIELDS_MAX;
    if (!wrong && http1_parse_request((struct bytes){ e->head, e->head_len }, 0,
                                      &e->generation->client_limits, &e->x.request, &used, &status) != OK)
        wrong = http_reason(status).ptr;
    else if (!wrong && used != e->head_len)
        wrong = "there is more than one request in it";
    if (!wrong && route_path(e->x.request.path, &e->x.arena, &e->x.path) != OK)
        wrong = "the path climbs above the root, or is none";
    if (!wrong)
        return 0;
    printf("%s\n  weir answers %u: %s\n", what, status ? status : 400, wrong);
    return 1;
}

/* ---- why ---- */

static const struct route_conf *route_at(const struct explain *e, size_t i)
{
    return (const struct route_conf *)e->generation->conf->routes.items + i;
}

/* What keeps one pattern from taking the request, in words; empty: nothing does. *ret_misses: how many
 * things. */
static struct bytes misses_of(struct explain *e, const struct match_conf *m, const struct match_pattern *p,
                              unsigned *ret_misses, bool *ret_host)
{
    struct bytes words = BYTES("");
    struct conditions *asks;
    struct asked asked = { &e->x.request, &e->arena, false };
    *ret_misses = 0;
    *ret_host = match_host_fits(p->host, e->x.request.authority);
    if (conditions_open(&m->asks, &e->arena, &asks, NULL) != OK)
        return words;
    if (!*ret_host) {
        ++*ret_misses;
        words = arena_print(&e->arena, "the host is not %.*s", BYTES_ARG(p->host));
    }
    if (!match_path_fits(p, e->x.path)) {
        *ret_misses += 10; /* it is another one */
        words = arena_print(&e->arena, "%.*s%sthe path is not %.*s", BYTES_ARG(words), words.len ? "; " : "",
                            BYTES_ARG(p->path));
    }
    if (asks && !condition_method_fits(asks, &e->x.request)) {
        ++*ret_misses;
        words =
            arena_print(&e->arena, "%.*s%sthe method is another", BYTES_ARG(words), words.len ? "; " : "");
    }
    for (uint32_t i = 0; asks && i < asks->count; i++) {
        if (condition_fits(&asks->at[i], &asked))
            continue;
        ++*ret_misses;
        struct bytes text = condition_text(&asks->at[i], &e->arena);
        words = arena_print(&e->arena, "%.*s%sit asks for %.*s", BYTES_ARG(words), words.len ? "; " : "",
                            BYTES_ARG(text));
    }
    conditions_close(asks);
    return words;
}

/* /x and /x/, or another case: what people overlook. */
static bool is_slip(const struct explain *e, const struct match_pattern *p)
{
    struct bytes a = e->x.path;
    struct bytes b = p->path;
    if (p->regex)
        return false;
    if (b.len && b.ptr[b.len - 1] == '*')
        b.len--;
    while (a.len > 1 && a.ptr[a.len - 1] == '/')
        a.len--;
    while (b.len > 1 && b.ptr[b.len - 1] == '/')
        b.len--;
    return bytes_eq_nocase(a, b);
}

struct near {
    size_t route;
    struct bytes words;
    unsigned line;
};

struct nears {
    struct near at[SHOWN_MAX];
    unsigned count;
};

static void note(struct nears *n, size_t route, struct bytes words, unsigned line)
{
    if (n->count < SHOWN_MAX)
        n->at[n->count] = (struct near){ route, words, line };
    n->count++;
}

static void look_at_route(struct explain *e, size_t i, struct nears *fit, struct nears *near)
{
    const struct route_conf *r = route_at(e, i);
    const struct match_conf *m = r->matches.items;
    struct near best = { .route = i };
    unsigned least = UINT32_MAX;
    for (size_t j = 0; j < r->matches.count; j++) {
        struct match_pattern p;
        unsigned at = 0;
        while (match_pattern_next(&m[j], &at, &p)) {
            unsigned misses;
            bool host;
            struct bytes words = misses_of(e, &m[j], &p, &misses, &host);
            if (misses >= 10 && is_slip(e, &p))
                misses -= 9;
            if (misses < least)
                best = (struct near){ i, words, m[j].mark.line };
            least = misses < least ? misses : least;
        }
    }
    if (least == 0)
        note(fit, i, best.words, best.line);
    else if (least <= 2)
        note(near, i, best.words, best.line);
}

static void print_nears(const struct explain *e, const char *title, const struct nears *n, size_t except)
{
    bool titled = false;
    for (unsigned i = 0; i < n->count && i < SHOWN_MAX; i++) {
        const struct near *one = &n->at[i];
        if (one->route == except)
            continue;
        if (!titled)
            printf("\n%s\n", title);
        titled = true;
        printf("  %.*s (line %u)%s%.*s\n", BYTES_ARG(route_at(e, one->route)->match), one->line,
               one->words.len ? ": " : "", BYTES_ARG(one->words));
    }
    if (n->count > SHOWN_MAX)
        printf("  and %u more\n", n->count - SHOWN_MAX);
}

static void print_others(struct explain *e, size_t taken)
{
    struct nears fit = { .count = 0 };
    struct nears near = { .count = 0 };
    for (size_t i = 0; i < e->generation->conf->routes.count; i++)
        look_at_route(e, i, &fit, &near);
    print_nears(e, "less specific, so not asked:", &fit, taken);
    print_nears(e, "nearly:", &near, taken);
}

/* ---- the way ---- */

/* Each line that is written, behind some spaces. */
struct indent {
    const char *spaces;
    bool inside; /* of a line */
};

static void write_indented(void *arg, struct bytes text)
{
    struct indent *in = arg;
    for (size_t i = 0; i < text.len; i++) {
        if (!in->inside)
            fputs(in->spaces, stdout);
        in->inside = text.ptr[i] != '\n';
        putchar(text.ptr[i]);
    }
}

/* True: one of them answers. */
static bool print_filters(struct explain *e, const struct route_conf *r)
{
    const struct filter_place place = { e->generation->conf, r, e->services };
    const struct conf_module *m = r->filters.items;
    if (r->filters.count)
        printf("filters   in this order\n");
    for (size_t i = 0; i < r->filters.count; i++) {
        const struct filter *f = filter_registry[m[i].index];
        struct indent settings = { "            ", false };
        struct indent words = { "          = ", false };
        printf("          %s\n", f->conf.name);
        conf_write_yaml(&f->conf, m[i].conf, &(struct conf_writer){ write_indented, &settings });
        bool answers = f->explain &&
                       f->explain(m[i].conf, &place, &e->x, &(struct conf_writer){ write_indented, &words });
        if (answers)
            return true;
    }
    return false;
}

static void print_service(const struct explain *e)
{
    const struct service *s = e->x.service;
    const struct conf_module *balance = &s->conf->balance;
    printf("service   %.*s, balance %s\n", BYTES_ARG(s->name), balancer_registry[balance->index]->conf.name);
    for (size_t i = 0; i < s->conf->servers.count; i++) {
        const struct server_conf *server = (const struct server_conf *)s->conf->servers.items + i;
        printf("          %.*s", BYTES_ARG(server->address));
        if (server->weight != 1)
            printf(" weight %lld", (long long)server->weight);
        putchar('\n');
    }
    const struct http_request *q = &e->x.request;
    struct bytes host = s->conf->host.len ? s->conf->host : q->authority;
    bool origin = q->target.len && q->target.ptr[0] == '/';
    struct bytes target = origin || !q->path.len ? q->target : q->path;
    printf("asks for  %.*s %.*s, Host: %.*s\n", BYTES_ARG(q->method_text), BYTES_ARG(target),
           BYTES_ARG(host));
}

static err take_route(struct explain *e, const struct route_hit *hit, struct route *route)
{
    const struct route_conf *r = route_at(e, hit->route);
    struct route_captures *c = arena_get(&e->x.arena, sizeof *c + hit->count * sizeof c->values[0]);
    if (!c)
        return ERR_LIMIT;
    c->count = hit->count;
    c->names = hit->names;
    memcpy(c->values, hit->values, hit->count * sizeof c->values[0]);
    route->conf = r;
    e->x.route = route;
    e->x.captures = c;
    e->x.rest = hit->rest;
    for (size_t i = 0; i < e->generation->conf->services.count; i++) {
        if (bytes_eq(e->services[i].name, r->service))
            e->x.service = &e->services[i];
    }
    return OK;
}

static int print_way(struct explain *e, const char *path, const struct route_hit *hit)
{
    struct route route = { 0 };
    const struct route_conf *r = route_at(e, hit->route);
    if (take_route(e, hit, &route) != OK)
        return 1;
    printf("route     %.*s (%s:%u)\n", BYTES_ARG(r->match), path, r->mark.line);
    for (unsigned i = 0; i < hit->count; i++)
        printf("capture   %.*s = %.*s\n", BYTES_ARG(hit->names[i]), (int)hit->values[i].len,
               hit->values[i].ptr ? hit->values[i].ptr : "");
    if (hit->rest.len)
        printf("rest      %.*s\n", BYTES_ARG(hit->rest));
    bool answered = print_filters(e, r);
    if (answered)
        printf("service   none is asked\n");
    else if (e->x.service)
        print_service(e);
    else
        printf("service   none: weir answers 404 unless a filter answers\n");
    print_others(e, hit->route);
    return 0;
}

static int print_nobody(struct explain *e, err why, uint32_t methods)
{
    if (why == ERR_LIMIT) {
        printf("route     unknown: a regular expression was stopped; weir answers 400\n");
        return 1;
    }
    printf("route     none; weir answers %s\n", methods ? "405" : "404");
    print_others(e, SIZE_MAX);
    return 1;
}

static int explain_request(struct explain *e, const char *path, const char *what, const struct bytes *lines,
                           unsigned count)
{
    struct route_hit hit;
    int code = read_request(e, what, lines, count);
    if (code)
        return code;
    const struct http_request *q = &e->x.request;
    printf("request   %.*s %s://%.*s%.*s\n", BYTES_ARG(q->method_text), e->x.scheme, BYTES_ARG(q->authority),
           BYTES_ARG(q->target));
    if (!bytes_eq(e->x.path, q->path))
        printf("path      %.*s, as routes see it\n", BYTES_ARG(e->x.path));
    err why = router_find(e->generation->router, q, e->x.path, &e->x.arena, &hit);
    return why ? print_nobody(e, why, hit.methods) : print_way(e, path, &hit);
}

/* ---- the command ---- */

static int with_generation(const struct generation *g, const char *path, const char *what,
                           const struct bytes *lines, unsigned count)
{
    struct arena a;
    arena_open(&a, &arena_heap, ARENA_BYTES_MAX, NULL, 0);
    struct explain *e = arena_get_zero(&a, sizeof *e);
    size_t services = g->conf->services.count;
    must(e != NULL);
    e->generation = g;
    arena_open(&e->arena, &arena_heap, ARENA_BYTES_MAX, NULL, 0);
    arena_open(&e->x.arena, &arena_heap, ARENA_BYTES_MAX, NULL, 0);
    e->services = arena_get_zero(&e->arena, (services + 1) * sizeof *e->services);
    for (size_t i = 0; e->services && i < services; i++) {
        e->services[i].conf = (const struct service_conf *)g->conf->services.items + i;
        e->services[i].name = e->services[i].conf->name;
    }
    int code = e->services ? explain_request(e, path, what, lines, count) : 1;
    arena_close(&e->x.arena);
    arena_close(&e->arena);
    arena_close(&a);
    return code;
}

static int with_file(const char *path, const char *what, const struct bytes *lines, unsigned count)
{
    struct arena a;
    struct bytes text;
    struct diag d = DIAG_NONE;
    struct generation *g;
    char words[1024];
    arena_open(&a, &arena_heap, FILE_ARENA_BYTES_MAX, NULL, 0);
    err e = process_read_file(path, &a, &text, &d);
    if (!e)
        e = generation_load(text, path, NULL, &g, &d);
    int code = 1;
    if (e)
        fprintf(stderr, "weir: %s\n", diag_print(&d, words, sizeof words));
    else
        code = with_generation(g, path, what, lines, count);
    if (!e)
        generation_drop(g);
    arena_close(&a);
    return code;
}

static int explain_run(int argc, char **argv)
{
    static const struct option options[] = { { "config", required_argument, NULL, 'c' },
                                             { "header", required_argument, NULL, 'H' },
                                             { NULL, 0, NULL, 0 } };
    static struct bytes lines[FIELDS_MAX];
    unsigned count = 0;
    const char *path = NULL;
    int c;
    while ((c = getopt_long(argc, argv, "c:H:", options, NULL)) != -1) {
        if (c == 'c')
            path = optarg;
        else if (c == 'H' && count < FIELDS_MAX)
            lines[count++] = bytes_from(optarg);
        else
            return command_misused(c == 'H' ? "too many fields" : "", "");
    }
    if (!path || optind != argc - 1)
        return command_misused("explain needs -c FILE and one request, like 'GET http://host/path'", "");
    return with_file(path, argv[optind], lines, count);
}

const struct command explain_command = {
    .name = "explain",
    .args = "-c FILE 'GET http://host/path' [-H 'Name: value']...",
    .help = "which route, filters and service would take a request",
    .run = explain_run,
};
