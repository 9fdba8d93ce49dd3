/* run: serves. */
#include <getopt.h>
#include <string.h>

#include "admin/admin.h"
#include "admin/ledger_api.h"
#include "command/command.h"
#include "gate/process.h"

static int parse_loop(const char *word, enum loop_kind *ret_loop)
{
    static const char *const words[] = { "auto", "io_uring", "epoll" };
    for (unsigned i = 0; i < 3; i++) {
        if (strcmp(word, words[i]) == 0) {
            *ret_loop = (enum loop_kind)i;
            return 0;
        }
    }
    return command_misused("--loop takes auto, io_uring or epoll, not ", word);
}

static int run_run(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "loop", required_argument, NULL, 'l' },
        { NULL, 0, NULL, 0 },
    };
    /* argv[-1] is the program's own name (main passes what stands behind it) */
    struct process_options o = { .argv = argv - 1, .loop = LOOP_AUTO, .admin_serve = admin_serve, .ledger_serve = ledger_api_serve };
    int c;
    while ((c = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (c == 'c')
            o.conf_path = optarg;
        else if (c != 'l')
            return command_misused("", "");
        else if (parse_loop(optarg, &o.loop))
            return 2;
    }
    if (!o.conf_path)
        return command_misused("run needs -c FILE", "");
    return process_run(&o);
}

const struct command run_command = {
    .name = "run",
    .args = "-c FILE [--loop auto|io_uring|epoll]",
    .help = "serve",
    .run = run_run,
};
