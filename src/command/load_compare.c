/* `weir load compare A.json B.json`: two results side by side. */
#include <getopt.h>
#include <stdio.h>

#include "base/file_read.h"
#include "command/command.h"
#include "command/load.h"
#include "core/conf.h"
#include "load/compare.h"

#define RESULT_BYTES_MAX ((size_t)1 << 30)

/* A result of --json; NULL: said. The text has to live as long. */
static const struct json *read_result(const char *path, struct arena *a, struct bytes *ret_text)
{
    struct diag d = DIAG_NONE;
    struct json *j = NULL;
    if (file_read_whole(path, RESULT_BYTES_MAX, ret_text, &d) != OK) {
        load_fail(d.text, NULL);
        return NULL;
    }
    if (json_read(*ret_text, a, &j) == OK && json_member(j, "total"))
        return j;
    load_fail(path, "it is no result of weir load --json");
    return NULL;
}

static int compare(const char *path_a, const char *path_b, double worse, bool judge)
{
    struct arena arena;
    struct bytes texts[2] = { BYTES_NONE, BYTES_NONE };
    struct text t = { 0 };
    struct compare_found found = { 0 };
    arena_open(&arena, &arena_heap, RESULT_BYTES_MAX, NULL, 0);
    const struct json *a = read_result(path_a, &arena, &texts[0]);
    const struct json *b = a ? read_result(path_b, &arena, &texts[1]) : NULL;
    if (b) {
        compare_print(&t, a, b, worse, &found);
        text_add(&t, BYTES("\n"));
        fwrite(t.at, 1, t.len, stdout);
    }
    text_free(&t);
    file_read_free(texts[0]);
    file_read_free(texts[1]);
    arena_close(&arena);
    return !b ? LOAD_FAILED : judge && found.worse ? LOAD_THRESHOLD : LOAD_OK;
}

int load_compare(int argc, char **argv)
{
    static const struct option options[] = { { "worse", required_argument, NULL, 'w' },
                                             { NULL, 0, NULL, 0 } };
    const struct conf_field share = { .name = "--worse", .type = CONF_PERCENT };
    double worse = 0.05;
    bool judge = false;
    int letter;
    while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
        struct diag d = DIAG_NONE;
        if (letter != 'w')
            return command_misused("", "");
        if (conf_parse_scalar(bytes_from(optarg), &share, NULL, &worse, &d) != OK)
            return command_misused("load compare --worse: ", d.text);
        judge = true;
    }
    if (optind + 2 != argc)
        return command_misused("load compare takes two results of --json", "");
    return compare(argv[optind], argv[optind + 1], worse, judge);
}
