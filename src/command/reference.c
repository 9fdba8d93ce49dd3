/* reference: the settings of a module, from the tables that the parser reads. */
#include <stdio.h>
#include <string.h>

#include "command/command.h"
#include "gate/gate_conf.h"
#include "load/scenario_conf.h"

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

static int reference_run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (visit(&gate_conf_struct, name) || visit(&scenario_conf_struct, name) || !name)
        return 0;
    fprintf(stderr, "weir: there is no module \"%s\"; weir reference names them all\n", name);
    return 1;
}

const struct command reference_command = {
    .name = "reference",
    .args = "[NAME]",
    .help = "the settings of a module, as Markdown; without a name: which",
    .run = reference_run,
};
