/* The command line: which command is meant. */
#include <string.h>

#include "command/command.h"
#include "gate/gate_conf.h"
#include "gate/registry.h"

int main(int argc, char **argv)
{
    if (argc < 2)
        return command_misused("what shall I do?", "");
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-v") == 0)
        name = "version";
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return command_usage(stdout);
    conf_left_out(left_out_registry);
    gate_conf_modules(filter_registry, balancer_registry, service_module_registry);
    for (const struct command *const *c = command_registry; *c; c++) {
        if (strcmp((*c)->name, name) == 0)
            return (*c)->run(argc - 1, argv + 1);
    }
    return command_misused("there is no command ", name);
}
