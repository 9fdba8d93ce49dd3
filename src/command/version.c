/* version: what this is and what it was built with. */
#include <stdio.h>

#include "build_info.h"
#include "command/command.h"
#include "core/loop.h"
#include "core/worker.h"
#include "proto/http1.h"

static int version_run(int argc, char **argv)
{
    char why[256];
    (void)argc;
    (void)argv;
    enum loop_kind loop = loop_choose(LOOP_AUTO, why, sizeof why);
    printf("weir %s (%s), built by %s, %s\n", WEIR_VERSION, WEIR_COMMIT, WEIR_COMPILER, WEIR_BUILD);
    printf("loop: %s (%s)\n", loop_name(loop), why);
    printf("http1 parser: %s\n", http1_use_scalar(false));
    printf("with: libyaml%s%s\n", WEIR_HAVE_URING ? ", io_uring" : "", WEIR_WITH);
    const char *without = WEIR_HAVE_URING ? WEIR_WITHOUT : ", io_uring" WEIR_WITHOUT;
    if (*without)
        printf("without: %s\n", without + 2);
    return 0;
}

const struct command version_command = {
    .name = "version",
    .args = "",
    .help = "what this is and what it was built with",
    .run = version_run,
};
