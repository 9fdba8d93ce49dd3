/* The command line: which command is meant. */
#include <stdio.h>
#include <string.h>

#include "command/command.h"
#include "gate/gate_conf.h"
#include "gate/registry.h"

static int print_usage(FILE *to)
{
    const char *before = "usage: weir";
    for (const struct command *const *c = command_registry; *c; c++) {
        char line[128];
        snprintf(line, sizeof line, "%s %s%s%s", before, (*c)->name, *(*c)->args ? " " : "", (*c)->args);
        fprintf(to, "%-59s %s\n", line, (*c)->help);
        before = "       weir";
    }
    fprintf(to, "%-59s %s\n", "       weir help", "this");
    return 0;
}

int command_misused(const char *what, const char *word)
{
    if (*what)
        fprintf(stderr, "weir: %s%s\n", what, word);
    print_usage(stderr);
    return 2;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return command_misused("what shall I do?", "");
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-v") == 0)
        name = "version";
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return print_usage(stdout);
    gate_conf_modules(filter_registry, balancer_registry, service_module_registry);
    for (const struct command *const *c = command_registry; *c; c++) {
        if (strcmp((*c)->name, name) == 0)
            return (*c)->run(argc - 1, argv + 1);
    }
    return command_misused("there is no command ", name);
}
