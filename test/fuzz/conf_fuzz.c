/* Fuzzes the YAML configuration with a table that uses every type. Whatever comes in: a struct, or words and
 * a place. A struct that was taken must read as the same again when it is written. */
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "core/conf_sample.h"

struct gathered {
    char *text;
    size_t len;
};

static void gather(void *arg, struct bytes text)
{
    struct gathered *g = arg;
    g->text = realloc(g->text, g->len + text.len + 1);
    must(g->text != NULL);
    if (text.len)
        memcpy(g->text + g->len, text.ptr, text.len);
    g->len += text.len;
}

static void on_error(void *arg, const struct diag *d)
{
    must(d->set && d->text[0] && d->line > 0 && d->column > 0);
    ++*(unsigned *)arg;
}

static struct gathered yaml_of(const void *conf)
{
    struct gathered g = { NULL, 0 };
    conf_write_yaml(&sample_root, conf, &(struct conf_writer){ gather, &g });
    return g;
}

static void check_again(const void *conf)
{
    struct gathered first = yaml_of(conf);
    struct arena a;
    struct diag d = DIAG_NONE;
    void *again;
    arena_open(&a, &arena_heap, 64 << 20, NULL, 0);
    must(conf_parse((struct bytes){ first.text, first.len }, "again", &sample_root, &a, NULL, &again, &d) ==
         OK);
    struct gathered second = yaml_of(again);
    must(first.len == second.len && memcmp(first.text, second.text, first.len) == 0);
    free(first.text);
    free(second.text);
    arena_close(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = { (const char *)data, size };
    unsigned said = 0;
    struct conf_errors errors = { on_error, &said, 0 };
    struct diag all = DIAG_NONE, first = DIAG_NONE;
    struct arena a;
    void *conf;
    arena_open(&a, &arena_heap, 64 << 20, NULL, 0);
    err e = conf_parse(text, "fuzz.yaml", &sample_root, &a, &errors, &conf, &all);
    must(e == OK || e == ERR_CONF || e == ERR_MEMORY);
    must((said > 0) == (e == ERR_CONF) || e == ERR_MEMORY);
    if (e == OK)
        check_again(conf);
    /* stopping at the first mistake finds the same one */
    err stopped = conf_parse(text, "fuzz.yaml", &sample_root, &a, NULL, &conf, &first);
    must(stopped == e || e == ERR_MEMORY || stopped == ERR_MEMORY);
    if (e == ERR_CONF && stopped == ERR_CONF)
        must(strcmp(all.text, first.text) == 0 && all.line == first.line && all.column == first.column);
    arena_close(&a);
    return 0;
}
