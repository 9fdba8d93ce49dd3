/* convert: an nginx.conf or haproxy.cfg as a weir.yaml. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "command/command.h"
#include "command/convert.h"
#include "gate/process.h"

#define INCOMPLETE 3

/* ---- writing ---- */

static void put_settings(FILE *out, const struct conv_setting *s, const char *indent)
{
    for (; s; s = s->next)
        fprintf(out, "%s%.*s: %.*s\n", indent, BYTES_ARG(s->key), BYTES_ARG(s->value));
}

static void put_flow(FILE *out, const struct conv_setting *s)
{
    for (; s; s = s->next)
        fprintf(out, ", %.*s: %.*s", BYTES_ARG(s->key), BYTES_ARG(s->value));
}

static void put_listens(FILE *out, struct conv *c)
{
    fprintf(out, "listen:\n");
    for (const struct conv_listen *l = c->listens; l; l = l->next) {
        struct bytes address = conv_quote(c, l->address);
        if (!l->settings) {
            fprintf(out, "  - %.*s\n", BYTES_ARG(address));
            continue;
        }
        fprintf(out, "  - {address: %.*s", BYTES_ARG(address));
        put_flow(out, l->settings);
        fprintf(out, "}\n");
    }
}

static void put_routes(FILE *out, struct conv *c)
{
    if (c->routes)
        fprintf(out, "routes:\n");
    for (const struct conv_route *r = c->routes; r; r = r->next) {
        fprintf(out, "  - match: %.*s    # line %u\n", BYTES_ARG(r->match), r->line);
        if (r->service.len) {
            struct bytes name = conv_quote(c, r->service);
            fprintf(out, "    service: %.*s\n", BYTES_ARG(name));
        }
        put_settings(out, r->settings, "    ");
    }
}

static void put_services(FILE *out, struct conv *c)
{
    fprintf(out, "services:\n");
    for (const struct conv_service *s = c->services; s; s = s->next) {
        if (!s->used || !s->servers)
            continue;
        struct bytes name = conv_quote(c, s->name);
        fprintf(out, "  %.*s:\n    servers:\n", BYTES_ARG(name));
        for (const struct conv_server *v = s->servers; v; v = v->next) {
            struct bytes address = conv_quote(c, v->address);
            if (v->weight == 1 && !v->backup) {
                fprintf(out, "      - %.*s\n", BYTES_ARG(address));
                continue;
            }
            fprintf(out, "      - {address: %.*s", BYTES_ARG(address));
            if (v->weight != 1)
                fprintf(out, ", weight: %llu", (unsigned long long)v->weight);
            if (v->backup)
                fprintf(out, ", priority: 1");
            fprintf(out, "}\n");
        }
        put_settings(out, s->settings, "    ");
    }
}

static void put_misses(FILE *out, const struct conv *c, const char *before)
{
    for (const struct conv_miss *m = c->misses; m; m = m->next)
        fprintf(out, "%s%.*s:%u: %.*s: %.*s\n", before, BYTES_ARG(m->file), m->line, BYTES_ARG(m->text),
                BYTES_ARG(m->why));
}

static void put_all(FILE *out, struct conv *c, const char *kind)
{
    fprintf(out, "# made by weir convert from %.*s (%s)\n", BYTES_ARG(c->path), kind);
    if (c->misses)
        fprintf(out, "# Not converted:\n");
    put_misses(out, c, "#   ");
    put_listens(out, c);
    put_settings(out, c->settings, "");
    if (c->client) {
        fprintf(out, "client:\n");
        put_settings(out, c->client, "  ");
    }
    put_routes(out, c);
    put_services(out, c);
}

/* ---- which program ---- */

static struct bytes first_word(struct bytes line)
{
    line = bytes_trim(line);
    size_t n = 0;
    while (n < line.len && line.ptr[n] != ' ' && line.ptr[n] != '\t')
        n++;
    return (struct bytes){ line.ptr, n };
}

/* haproxy's sections stand alone at the beginning of a line; nginx has braces. */
static bool is_haproxy(struct bytes text)
{
    static const char *const sections[] = { "global", "defaults", "frontend", "backend", "listen" };
    struct bytes line;
    while (bytes_split(&text, '\n', &line)) {
        if (bytes_index(line, '{') < line.len || bytes_index(line, ';') < line.len)
            return false;
        struct bytes word = first_word(line);
        for (unsigned i = 0; i < sizeof sections / sizeof *sections; i++) {
            if (bytes_eq(word, bytes_from(sections[i])))
                return true;
        }
    }
    return false;
}

/* ---- the command ---- */

static bool has_service(const struct conv *c)
{
    for (const struct conv_service *s = c->services; s; s = s->next) {
        if (s->used && s->servers)
            return true;
    }
    return false;
}

/* weir wants at least one service, a listener, and for HTTP a route. */
static err complete(struct conv *c, struct diag *reterr)
{
    if (!c->listens)
        diag_set(reterr, "nothing in it that weir could listen on");
    else if (!has_service(c))
        diag_set(reterr, "nothing in it that weir could pass on to a server");
    return c->listens && has_service(c) ? OK : ERR_CONF;
}

static int convert_to(struct conv *c, const char *path, FILE *out)
{
    struct bytes text;
    struct diag d = DIAG_NONE;
    bool haproxy = false;
    c->path = bytes_from(path);
    err e = conv_read(c, path, &text, &d);
    if (!e) {
        haproxy = is_haproxy(text);
        e = haproxy ? convert_haproxy(c, text, &d) : convert_nginx(c, text, &d);
    }
    if (!e)
        e = complete(c, &d);
    put_misses(stderr, c, "");
    if (e) {
        char words[1024];
        fprintf(stderr, "weir: %s: %s\n", path, d.set ? diag_print(&d, words, sizeof words) : err_text(e));
        return 1;
    }
    put_all(out, c, haproxy ? "haproxy" : "nginx");
    if (fflush(out) != 0) {
        fprintf(stderr, "weir: cannot write: %s\n", strerror(errno));
        return 1;
    }
    return c->misses ? INCOMPLETE : 0;
}

static int convert_run(int argc, char **argv)
{
    static const struct option options[] = { { "output", required_argument, NULL, 'o' },
                                             { NULL, 0, NULL, 0 } };
    const char *path = NULL;
    int o;
    while ((o = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
        if (o != 'o')
            return command_misused("", "");
        path = optarg;
    }
    if (optind + 1 != argc)
        return command_misused("convert needs one FILE", "");
    FILE *out = path ? fopen(path, "we") : stdout;
    if (!out) {
        fprintf(stderr, "weir: cannot write %s: %s\n", path, strerror(errno));
        return 1;
    }
    struct conv c = { 0 };
    arena_open(&c.arena, &arena_heap, CONV_BYTES_MAX, NULL, 0);
    int code = convert_to(&c, argv[optind], out);
    arena_close(&c.arena);
    if (path && fclose(out) != 0)
        code = 1;
    return code;
}

const struct command convert_command = {
    .name = "convert",
    .args = "[-o OUT] nginx.conf|haproxy.cfg",
    .help = "a configuration of nginx or haproxy as a weir.yaml; says what it could not convert",
    .run = convert_run,
};
