/* ctl: asks a running weir, or tells it what to do, over its admin address. */
#include "command/ctl.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/ctl_tls.h"
#include "gate/process.h"
#include "ledger/ledger_conf.h"
#include "net/tls_conf.h"

#define ARENA_BYTES_MAX ((size_t)1 << 30)
#define TARGET_BYTES_MAX 8192
#define HELPED (-1)

/* ---- what it can ---- */

static int print_body(const struct ctl_answer *a)
{
    return fwrite(a->body.ptr, 1, a->body.len, stdout) == a->body.len ? CTL_OK : CTL_REFUSED;
}

/* One answer, as JSON or as a table. */
static int show(struct ctl *c, const char *target, void (*table)(const struct json *j))
{
    struct ctl_answer a;
    struct json *j;
    int result = ctl_get_good(c, "GET", target, BYTES_NONE, &a);
    if (result)
        return result;
    if (c->json)
        return print_body(&a) || putchar('\n') == EOF;
    if (json_read(a.body, &c->arena, &j) != OK) {
        fprintf(stderr, "weir: the answer is no JSON\n");
        return CTL_REFUSED;
    }
    table(j);
    return CTL_OK;
}

static int run_status(struct ctl *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    return show(c, "/v1/status", ctl_show_status);
}

static int run_services(struct ctl *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    return show(c, "/v1/services", ctl_show_services);
}

static int run_filters(struct ctl *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    return show(c, "/v1/filters", ctl_show_filters);
}

static int run_generations(struct ctl *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    return show(c, "/v1/generations", ctl_show_generations);
}

/* The text of an answer, as it is. */
static int print_text(struct ctl *c, const char *target)
{
    struct ctl_answer a;
    int result = ctl_get_good(c, "GET", target, BYTES_NONE, &a);
    return result ? result : print_body(&a);
}

static int run_config(struct ctl *c, int argc, char **argv)
{
    char target[TARGET_BYTES_MAX] = "/config";
    if (argc > 1)
        snprintf(target, sizeof target, "/v1/generations/%s", ctl_escaped(c, argv[1]));
    return print_text(c, target);
}

static int run_diff(struct ctl *c, int argc, char **argv)
{
    char target[TARGET_BYTES_MAX] = "/v1/diff";
    if (argc == 2)
        snprintf(target, sizeof target, "/v1/generations/%s/diff", ctl_escaped(c, argv[1]));
    else if (argc == 3)
        snprintf(target, sizeof target, "/v1/diff?from=%s&to=%s", ctl_escaped(c, argv[1]),
                 ctl_escaped(c, argv[2]));
    return print_text(c, target);
}

/* Something is done; ok is said with the number in the answer. */
static int act(struct ctl *c, const char *method, const char *target, struct bytes body, const char *ok,
               const char *member)
{
    struct ctl_answer a;
    struct json *j = NULL;
    int result = ctl_get_good(c, method, target, body, &a);
    if (result)
        return result;
    if (c->json)
        return print_body(&a) || putchar('\n') == EOF;
    if (json_read(a.body, &c->arena, &j) == OK)
        printf("%s %.0f\n", ok, json_member_number(j, member));
    if (json_member_number(j, "file_differs") != 0)
        printf("the file is as it was: the next reload takes it again\n");
    return CTL_OK;
}

static int run_reload(struct ctl *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    return act(c, "POST", "/v1/reload", BYTES_NONE, "reloaded: generation", "generation");
}

static int run_upgrade(struct ctl *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    return act(c, "POST", "/v1/upgrade", BYTES_NONE, "upgraded: process", "pid");
}

static int run_rollback(struct ctl *c, int argc, char **argv)
{
    struct text body = { 0 };
    uint64_t number;
    bool write = argc == 3 && strcmp(argv[2], "--write") == 0;
    if (!bytes_to_u64(bytes_from(argv[1]), &number) || (argc == 3 && !write))
        return command_misused("ctl rollback takes a number, and --write to replace the file as well", "");
    json_begin(&body, NULL, '{');
    json_u64(&body, "generation", number);
    json_bool(&body, "write", write);
    json_end(&body, '}');
    int result = act(c, "POST", "/v1/rollback", (struct bytes){ body.at, body.len },
                     "rolled back: generation", "generation");
    text_free(&body);
    if (result || !write)
        return result;
    struct ctl_answer a;
    struct json *j = NULL;
    result = ctl_get_good(c, "GET", "/v1/status", BYTES_NONE, &a);
    if (!result && json_read(a.body, &c->arena, &j) == OK &&
        json_member(json_member(j, "generation"), "rolled_back_to")) {
        fprintf(stderr,
                "weir: the rollback is in force, but the file could not be written; the log says why\n");
        return CTL_REFUSED;
    }
    return result;
}

/* enable, drain, disable SERVICE SERVER, weight SERVICE SERVER N */
static int change_server(struct ctl *c, char **argv, const char *member, const char *value, bool number)
{
    struct ctl_answer a;
    struct text body = { 0 };
    char target[TARGET_BYTES_MAX];
    snprintf(target, sizeof target, "/v1/services/%s/servers/%s", ctl_escaped(c, argv[1]),
             ctl_escaped(c, argv[2]));
    json_begin(&body, NULL, '{');
    if (number)
        json_raw(&body, member, bytes_from(value));
    else
        json_text(&body, member, bytes_from(value));
    json_end(&body, '}');
    int result = ctl_get_good(c, "PATCH", target, (struct bytes){ body.at, body.len }, &a);
    text_free(&body);
    if (result)
        return result;
    if (c->json)
        return print_body(&a) || putchar('\n') == EOF;
    printf("%s %s: %s %s\n", argv[1], argv[2], member, value);
    return CTL_OK;
}

static int run_enable(struct ctl *c, int argc, char **argv)
{
    (void)argc;
    return change_server(c, argv, "state", "enabled", false);
}

static int run_drain(struct ctl *c, int argc, char **argv)
{
    (void)argc;
    return change_server(c, argv, "state", "drain", false);
}

static int run_disable(struct ctl *c, int argc, char **argv)
{
    (void)argc;
    return change_server(c, argv, "state", "disabled", false);
}

static int run_weight(struct ctl *c, int argc, char **argv)
{
    uint64_t number;
    (void)argc;
    bool is_number = bytes_to_u64(bytes_from(argv[3]), &number);
    if (!is_number && strcmp(argv[3], "configured") != 0)
        return command_misused("a weight is a number, or configured; not ", argv[3]);
    return change_server(c, argv, "weight", argv[3], is_number);
}

static int run_log(struct ctl *c, int argc, char **argv)
{
    struct text body = { 0 };
    struct ctl_answer a;
    struct json *j = NULL;
    json_begin(&body, NULL, '{');
    if (argc > 1)
        json_text(&body, "level", bytes_from(argv[1]));
    json_end(&body, '}');
    int result = ctl_get_good(c, argc > 1 ? "PUT" : "GET", "/v1/log",
                              argc > 1 ? (struct bytes){ body.at, body.len } : BYTES_NONE, &a);
    text_free(&body);
    if (result)
        return result;
    if (c->json)
        return print_body(&a) || putchar('\n') == EOF;
    if (json_read(a.body, &c->arena, &j) == OK)
        printf("%.*s\n", BYTES_ARG(json_member_text(j, "level")));
    return CTL_OK;
}

static int run_tap(struct ctl *c, int argc, char **argv)
{
    char target[TARGET_BYTES_MAX] = "/v1/tap";
    size_t len = strlen(target);
    const char *sign = "?match=";
    for (int i = 1; i < argc && len < sizeof target; i++) {
        if (strcmp(argv[i], "--fields") == 0)
            continue;
        len += (size_t)snprintf(target + len, sizeof target - len, "%s%s", sign, ctl_escaped(c, argv[i]));
        sign = "%20";
    }
    for (int i = 1; i < argc && len < sizeof target; i++) {
        if (strcmp(argv[i], "--fields") == 0)
            len += (size_t)snprintf(target + len, sizeof target - len, "%cfields=true",
                                    strchr(target, '?') ? '&' : '?');
    }
    return ctl_stream(c, target);
}

static int run_top(struct ctl *c, int argc, char **argv)
{
    uint64_t frames = 0;
    if (argc > 1 && !bytes_to_u64(bytes_from(argv[1]), &frames))
        return command_misused("ctl top takes how many frames to draw, not ", argv[1]);
    return ctl_top(c, (unsigned)frames);
}

static int run_ledger(struct ctl *c, int argc, char **argv)
{
    (void)argc, (void)argv;
    return show(c, "/v1/ledger", ctl_show_ledger);
}

static int run_backup(struct ctl *c, int argc, char **argv)
{
    struct text body = { 0 };
    struct ctl_answer a;
    (void)argc;
    json_begin(&body, NULL, '{');
    json_text(&body, "folder", bytes_from(argv[1]));
    json_end(&body, '}');
    int result = ctl_get_good(c, "POST", "/v1/ledger/backup", (struct bytes){ body.at, body.len }, &a);
    text_free(&body);
    if (result)
        return result;
    if (c->json)
        return print_body(&a) || putchar('\n') == EOF;
    printf("copied to %s\n", argv[1]);
    return CTL_OK;
}

static const struct {
    const char *name, *args, *help;
    int args_min, args_max;
    int (*run)(struct ctl *c, int argc, char **argv);
} words[] = {
    { "status", "", "version, state, generation", 0, 0, run_status },
    { "services", "", "services with their servers", 0, 0, run_services },
    { "enable", "SERVICE SERVER", "the server gets requests", 2, 2, run_enable },
    { "drain", "SERVICE SERVER", "no new requests while others can take them", 2, 2, run_drain },
    { "disable", "SERVICE SERVER", "no requests at all", 2, 2, run_disable },
    { "weight", "SERVICE SERVER N|configured", "another weight", 3, 3, run_weight },
    { "filters", "", "breakers, limits and the like", 0, 0, run_filters },
    { "config", "[N]", "the configuration in force, or the kept one of that number", 0, 1, run_config },
    { "generations", "", "the configurations that are kept", 0, 0, run_generations },
    { "diff", "[N [M]]", "what a reload would change; what N changed; from N to M", 0, 2, run_diff },
    { "rollback", "N [--write]", "N comes into force again; into the file too", 1, 2, run_rollback },
    { "reload", "", "reads the file again", 0, 0, run_reload },
    { "upgrade", "", "the binary on disk takes over", 0, 0, run_upgrade },
    { "ledger", "", "does it serve, how safe, how far", 0, 0, run_ledger },
    { "backup", "FOLDER", "copies the ledger to a new folder", 1, 1, run_backup },
    { "stock", "load FILE.csv|list|show ITEM|add ITEM N", "items that are sold", 1, 3, ctl_stock },
    { "order", "show ID", "one order", 2, 2, ctl_order },
    { "log", "[LEVEL]", "the log level", 0, 1, run_log },
    { "tap", "[CONDITION ...] [--fields]", "exchanges as they end: status=5xx path=/api/* ms>=100", 0, 9,
      run_tap },
    { "top", "[FRAMES]", "a live table", 0, 1, run_top },
};

static int print_words(FILE *to)
{
    fprintf(to, "usage: weir ctl [-c FILE | -a ADDRESS] [--json] WORD ...\n\n");
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        char line[128];
        snprintf(line, sizeof line, "  %s %s", words[i].name, words[i].args);
        fprintf(to, "%-48s %s\n", line, words[i].help);
    }
    fprintf(
        to,
        "\nThe address is -a, or admin of the file -c, or WEIR_ADMIN. The token is WEIR_TOKEN, or the\n"
        "first of the file's token_file. stock and order ask the ledger instead: ledger.http of the file,\n"
        "or WEIR_LEDGER. Exit: 0 done, 1 refused, 2 not understood, 3 not reached.\n");
    return CTL_MISUSED;
}

/* ---- whom it asks ---- */

static void take_first_token(struct ctl *c, const char *path)
{
    char line[sizeof c->token];
    FILE *f = fopen(path, "re");
    while (f && !c->token[0] && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\r\n")] = 0;
        const char *colon = strchr(line, ':');
        if (line[0] != '#')
            snprintf(c->token, sizeof c->token, "%s", colon ? colon + 1 : line);
    }
    if (f)
        fclose(f);
}

/* Listening everywhere is asked at this machine's own address. */
static void set_address(struct ctl *c, const struct addr *a)
{
    c->address = *a;
    if (a->sock.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a->sock.v6.sin6_addr))
        c->address.sock.v6.sin6_addr = in6addr_loopback;
    else if (a->sock.any.sa_family == AF_INET && a->sock.v4.sin_addr.s_addr == INADDR_ANY)
        c->address.sock.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
}

/* Its certificates are known from the file; the one that is made at each start is not. */
static bool open_tls(struct ctl *c, const struct tls_listen_conf *conf)
{
    const struct tls_files_conf *more = conf->certificates.items;
    struct bytes *files = arena_get(&c->arena, (conf->certificates.count + 1) * sizeof *files);
    size_t count = 0;
    if (!files)
        return false;
    if (conf->files.certificate.len)
        files[count++] = conf->files.certificate;
    for (size_t i = 0; i < conf->certificates.count; i++)
        files[count++] = more[i].certificate;
    c->tls = ctl_tls_open(count ? CTL_TRUST_FILES : CTL_TRUST_ANYBODY, files, count, &c->address);
    return c->tls != NULL;
}

static int from_file(struct ctl *c, const char *path, bool ledger)
{
    struct bytes text;
    struct diag d = DIAG_NONE;
    char said[700];
    void *conf;
    err e = process_read_file(path, &c->arena, &text, &d);
    if (!e)
        e = conf_parse(text, path, &gate_conf_struct, &c->arena, NULL, &conf, &d);
    if (e) {
        fprintf(stderr, "weir: %s\n", d.set ? diag_print(&d, said, sizeof said) : err_text(e));
        return CTL_REFUSED;
    }
    const struct gate_conf *g = conf;
    const struct api_conf *api = !ledger ? g->admin : g->ledger ? g->ledger->http : NULL;
    if (!api) {
        fprintf(stderr, "weir: %s has no %s\n", path,
                ledger ? "address of the ledger: expected `http` in its section" : "admin address");
        return CTL_REFUSED;
    }
    set_address(c, &api->address);
    if (api->tls && !open_tls(c, api->tls))
        return CTL_REFUSED;
    if (!c->token[0] && api->token_file.len)
        take_first_token(c, api->token_file.ptr);
    return CTL_OK;
}

static int find_address(struct ctl *c, const char *address, const char *file, bool ledger)
{
    struct addr a;
    const char *token = getenv("WEIR_TOKEN");
    if (token)
        snprintf(c->token, sizeof c->token, "%s", token);
    if (!address && file)
        return from_file(c, file, ledger);
    const char *variable = ledger ? "WEIR_LEDGER" : "WEIR_ADMIN";
    if (!address)
        address = getenv(variable);
    if (!address)
        return command_misused("ctl needs -c FILE, -a ADDRESS, or in the environment ", variable);
    const struct bytes said = bytes_from(address);
    const bool tls = bytes_starts(said, BYTES("https://"));
    if (addr_parse(bytes_skip(said, tls ? 8 : 0), &a) != OK)
        return command_misused(
            "no address (like 127.0.0.1:9901, https://10.0.0.5:9901 or unix:/run/weir.sock): ", address);
    set_address(c, &a);
    if (tls && !(c->tls = ctl_tls_open(CTL_TRUST_SYSTEM, NULL, 0, &c->address)))
        return CTL_REFUSED;
    return CTL_OK;
}

/* argv[0]: the word; address, file: where to ask, or NULL. */
static int run_word(struct ctl *c, int argc, char **argv, const char *address, const char *file)
{
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i].name, argv[0]) != 0)
            continue;
        const bool ledger = words[i].run == ctl_stock || words[i].run == ctl_order;
        const int result = find_address(c, address, file, ledger);
        if (result)
            return result;
        if (argc - 1 < words[i].args_min || argc - 1 > words[i].args_max) {
            fprintf(stderr, "weir: ctl %s takes: %s\n", argv[0], *words[i].args ? words[i].args : "nothing");
            return CTL_MISUSED;
        }
        return words[i].run(c, argc, argv);
    }
    fprintf(stderr, "weir: ctl does not know \"%s\"\n", argv[0]);
    return print_words(stderr);
}

static int ctl_run(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "address", required_argument, NULL, 'a' },
        { "json", no_argument, NULL, 'j' },
        { "help", no_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    struct ctl *c = mem_must_get(sizeof *c);
    const char *address = NULL, *file = NULL;
    int option, result = CTL_OK;
    arena_open(&c->arena, &arena_heap, ARENA_BYTES_MAX, NULL, 0);
    while ((option = getopt_long(argc, argv, "+c:a:jh", options, NULL)) != -1) {
        if (option == 'c')
            file = optarg;
        else if (option == 'a')
            address = optarg;
        else if (option == 'j')
            c->json = true;
        else
            result = option == 'h' ? HELPED : print_words(stderr);
        if (result == HELPED)
            print_words(stdout);
    }
    if (!result && optind == argc)
        result = print_words(stderr);
    if (!result)
        result = run_word(c, argc - optind, argv + optind, address, file);
    ctl_tls_close(c->tls);
    arena_close(&c->arena);
    mem_free(c);
    return result == HELPED ? CTL_OK : result;
}

const struct command ctl_command = {
    .name = "ctl",
    .args = "[-c FILE | -a ADDRESS] [--json] WORD ...",
    .help = "ask a running weir, or tell it what to do",
    .run = ctl_run,
};
