#include "command/command.h"

int command_usage(FILE *to)
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
    command_usage(stderr);
    return 2;
}
