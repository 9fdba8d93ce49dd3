/* check: says every mistake in a configuration. */
#include <getopt.h>
#include <stdio.h>

#include "command/command.h"
#include "gate/gate.h"
#include "gate/process.h"
#include "gate/tls_listener.h"

static void print_mistake(void *arg, const struct diag *d)
{
    char text[1024];
    ++*(unsigned *)arg;
    fprintf(stderr, "%s\n", diag_print(d, text, sizeof text));
}

struct warned {
    const char *path;
    const struct listen_conf *listen;
};

static void print_warning(void *arg, const char *name, const char *what)
{
    const struct warned *e = arg;
    fprintf(stderr, "%s:%u:%u: warning: the certificate of %s %s\n", e->path, e->listen->mark.line,
            e->listen->mark.column, name, what);
}

/* What may be meant, but hardly is. */
static void warn(const struct generation *g, const char *path)
{
    for (size_t i = 0; i < g->listen.count; i++) {
        struct warned e = { .path = path, .listen = (const struct listen_conf *)g->listen.items + i };
        if (g->listen_tls[i])
            tls_listener_warnings(g->listen_tls[i], print_warning, &e);
    }
}

static int check_text(struct bytes text, const char *path)
{
    unsigned mistakes = 0;
    struct conf_errors errors = { .on_error = print_mistake, .arg = &mistakes };
    struct diag d = DIAG_NONE;
    struct generation *g;
    err e = generation_load(text, path, &errors, &g, &d);
    if (!e) {
        warn(g, path);
        generation_drop(g);
        printf("%s: ok\n", path);
        return 0;
    }
    if (!mistakes) /* found behind the parser: addresses, routes */
        print_mistake(&mistakes, &d);
    fprintf(stderr, "%s: %u mistake%s\n", path, mistakes, mistakes == 1 ? "" : "s");
    return 1;
}

static int check_file(const char *path)
{
    struct arena a;
    struct bytes text;
    struct diag d = DIAG_NONE;
    arena_open(&a, &arena_heap, FILE_ARENA_BYTES_MAX, NULL, 0);
    int code = 1;
    if (process_read_file(path, &a, &text, &d) == OK)
        code = check_text(text, path);
    else
        fprintf(stderr, "weir: %s\n", d.text);
    arena_close(&a);
    return code;
}

static int check_run(int argc, char **argv)
{
    static const struct option options[] = { { "config", required_argument, NULL, 'c' },
                                             { NULL, 0, NULL, 0 } };
    const char *path = NULL;
    int c;
    while ((c = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (c != 'c')
            return command_misused("", "");
        path = optarg;
    }
    return path ? check_file(path) : command_misused("check needs -c FILE", "");
}

const struct command check_command = {
    .name = "check",
    .args = "-c FILE",
    .help = "say every mistake in a configuration",
    .run = check_run,
};
