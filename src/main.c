/* The command line. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "admin/admin.h"
#include "build_commit.h"
#include "build_info.h"
#include "core/loop.h"
#include "gate/process.h"
#include "gate/registry.h"

static const char usage[] =
    "usage: weir run -c FILE [--loop auto|io_uring|epoll]   serve\n"
    "       weir check -c FILE                              say every mistake in a configuration\n"
    "       weir reference [NAME]                           the settings of a module, as Markdown; without a "
    "name: which\n"
    "       weir schema                                     the configuration's JSON schema, for editors\n"
    "       weir version                                    what this is and what it was built with\n"
    "       weir help                                       this\n";

struct options {
    const char *conf_path;
    enum loop_kind loop;
    const char *name;
};

static int wrong_usage(const char *what, const char *word)
{
    fprintf(stderr, "weir: %s%s\n%s", what, word, usage);
    return 2;
}

/* ---- run ---- */

static int run(const struct options *o)
{
    const struct process_options p = { .conf_path = o->conf_path,
                                       .loop = o->loop,
                                       .admin_serve = admin_serve };
    if (!o->conf_path)
        return wrong_usage("run needs -c FILE", "");
    return process_run(&p);
}

/* ---- check ---- */

static void print_mistake(void *arg, const struct diag *d)
{
    char text[1024];
    ++*(unsigned *)arg;
    fprintf(stderr, "%s\n", diag_print(d, text, sizeof text));
}

static int check_text(struct bytes text, const char *path)
{
    unsigned mistakes = 0;
    struct conf_errors errors = { .on_error = print_mistake, .arg = &mistakes };
    struct diag d = DIAG_NONE;
    struct generation *g;
    err e = generation_load(text, path, &errors, &g, &d);
    if (!e) {
        generation_drop(g);
        printf("%s: ok\n", path);
        return 0;
    }
    if (!mistakes) /* found behind the parser: addresses, routes */
        print_mistake(&mistakes, &d);
    fprintf(stderr, "%s: %u mistake%s\n", path, mistakes, mistakes == 1 ? "" : "s");
    return 1;
}

static int check(const struct options *o)
{
    struct arena a;
    struct bytes text;
    struct diag d = DIAG_NONE;
    if (!o->conf_path)
        return wrong_usage("check needs -c FILE", "");
    arena_open(&a, &arena_heap, FILE_ARENA_BYTES_MAX, NULL, 0);
    int code = 1;
    if (process_read_file(o->conf_path, &a, &text, &d) == OK)
        code = check_text(text, o->conf_path);
    else
        fprintf(stderr, "weir: %s\n", d.text);
    arena_close(&a);
    return code;
}

/* ---- reference, schema ---- */

static void to_stdout(void *arg, struct bytes text)
{
    (void)arg;
    fwrite(text.ptr, 1, text.len, stdout);
}

static const struct conf_writer stdout_writer = { to_stdout, NULL };

/* Depth first through the tables: every struct that has a name, each once as the root leads to it. */
static bool visit(const struct conf_struct *s, const char *name)
{
    if (!name)
        printf("%s\n", s->name);
    else if (strcmp(s->name, name) == 0) {
        conf_write_reference(s, &stdout_writer);
        return true;
    }
    for (const struct conf_field *f = s->fields; f && f->name; f++) {
        if (f->sub && visit(f->sub, name))
            return true;
        for (unsigned i = 0; f->modules && f->modules[i]; i++) {
            if (visit(f->modules[i], name))
                return true;
        }
    }
    return false;
}

static int reference(const struct options *o)
{
    if (visit(&gate_conf_struct, o->name) || !o->name)
        return 0;
    fprintf(stderr, "weir: there is no module \"%s\"; weir reference names them all\n", o->name);
    return 1;
}

static int schema(const struct options *o)
{
    (void)o;
    conf_write_schema(&gate_conf_struct, &stdout_writer);
    return 0;
}

/* ---- version, help ---- */

static int version(const struct options *o)
{
    char why[256];
    (void)o;
    enum loop_kind loop = loop_choose(LOOP_AUTO, why, sizeof why);
    printf("weir %s (%s), built by %s, %s\n", WEIR_VERSION, WEIR_COMMIT, WEIR_COMPILER, WEIR_BUILD);
    printf("loop: %s (%s)\n", loop_name(loop), why);
    printf("http1 parser: %s\n", http1_use_scalar(false));
    printf("with: libyaml%s\n", WEIR_HAVE_URING ? ", io_uring" : "");
    if (!WEIR_HAVE_URING)
        printf("without: io_uring\n");
    return 0;
}

static int help(const struct options *o)
{
    (void)o;
    fputs(usage, stdout);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(const struct options *o);
} commands[] = {
    { "run", run },       { "check", check },     { "reference", reference },
    { "schema", schema }, { "version", version }, { "help", help },
};

static int parse_loop(const char *word, enum loop_kind *ret_loop)
{
    static const char *const words[] = { "auto", "io_uring", "epoll" };
    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(word, words[i]) == 0) {
            *ret_loop = (enum loop_kind)i;
            return 0;
        }
    }
    return wrong_usage("--loop takes auto, io_uring or epoll, not ", word);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "loop", required_argument, NULL, 'l' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'v' },
        { NULL, 0, NULL, 0 },
    };
    struct options o = { .loop = LOOP_AUTO };
    int c;
    gate_conf_modules(filter_registry, balancer_registry, service_module_registry);
    while ((c = getopt_long(argc, argv, "c:hv", options, NULL)) != -1) {
        if (c == 'c')
            o.conf_path = optarg;
        else if (c == 'l' && parse_loop(optarg, &o.loop))
            return 2;
        else if (c == 'h')
            return help(&o);
        else if (c == 'v')
            return version(&o);
        else if (c == '?')
            return wrong_usage("", "");
    }
    if (optind >= argc)
        return wrong_usage("what shall I do?", "");
    const char *command = argv[optind];
    o.name = argv[optind + 1];
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, command) == 0)
            return commands[i].run(&o);
    }
    return wrong_usage("there is no command ", command);
}
