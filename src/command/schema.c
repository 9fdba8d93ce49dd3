/* schema: the configuration's JSON schema, for editors. */
#include <stdio.h>

#include "command/command.h"
#include "gate/gate_conf.h"

static void to_stdout(void *arg, struct bytes text)
{
    (void)arg;
    fwrite(text.ptr, 1, text.len, stdout);
}

static int schema_run(int argc, char **argv)
{
    static const struct conf_writer writer = { to_stdout, NULL };
    (void)argc;
    (void)argv;
    conf_write_schema(&gate_conf_struct, &writer);
    return 0;
}

const struct command schema_command = {
    .name = "schema",
    .args = "",
    .help = "the configuration's JSON schema, for editors",
    .run = schema_run,
};
