/* command: a word of the command line, `weir check -c FILE`. One file each, one line in modules.def.
 *
 * Main thread, before anything else runs. */
#pragma once
#include <stdio.h>

struct command {
    const char *name;
    const char *args; /* as `weir help` shows them: "-c FILE [--loop auto|io_uring|epoll]" */
    const char *help; /* one line */
    /* argv[0] is the command's own name; options are read with getopt_long from optind 1. Returns the exit
     * code: 0, 1 (it failed, said on stderr), 2 (not understood, said by command_misused). */
    int (*run)(int argc, char **argv);
};

extern const struct command *const command_registry[];

/* What `weir help` prints. Returns 0. */
int command_usage(FILE *to);
/* "weir: <what><word>" and the usage on stderr. Returns 2. */
int command_misused(const char *what, const char *word);
