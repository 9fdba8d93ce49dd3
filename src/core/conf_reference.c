/* The manual's reference of one struct and what hangs under it, in Markdown. */
#include <stdio.h>

#include "core/conf_part.h"

/* A cell of a table ends at a bar or a line end. */
static void put_cell(const struct conf_writer *w, const char *text)
{
    for (; text && *text; text++) {
        if (*text == '|')
            conf_put(w, "\\|");
        else
            w->write(w->arg, (struct bytes){ *text == '\n' ? " " : text, 1 });
    }
}

static void put_words(const struct conf_writer *w, const char *const *words, const char *before)
{
    for (; words && *words; words++, before = ", ") {
        conf_put(w, before);
        conf_putf(w, "`%s`", *words);
    }
}

static void put_bound(const struct conf_writer *w, const struct conf_field *f, double bound)
{
    char text[CONF_SCALAR_TEXT_BYTES_MAX];
    conf_bound_print(f, bound, text);
    conf_put(w, text);
}

static void put_bounds(const struct conf_writer *w, const struct conf_field *f)
{
    bool scalar = conf_is_scalar(f->type) || (f->type == CONF_LIST && !f->sub);
    if (f->min == 0 && f->max == 0)
        return;
    conf_put(w, scalar ? ", " : ", items: ");
    if (!conf_has_upper(f)) {
        conf_put(w, "at least ");
        put_bound(w, f, f->min);
        return;
    }
    put_bound(w, f, f->min);
    conf_put(w, " to ");
    put_bound(w, f, f->max);
}

static void put_scalar_form(const struct conf_writer *w, const struct conf_field *f, enum conf_type type)
{
    if (type == CONF_WORD) {
        put_words(w, f->words, "");
        return;
    }
    if (type == CONF_REF)
        conf_putf(w, "a name of `%s`", f->ref);
    else
        conf_put(w, conf_type_text(type));
    struct conf_field scalar = *f;
    scalar.type = type;
    put_bounds(w, &scalar);
    put_words(w, f->words, ", or ");
}

static void put_form(const struct conf_writer *w, const struct conf_field *f)
{
    switch (f->type) {
    case CONF_STRUCT:
        conf_putf(w, "[%s](#%s)", f->sub->name, f->sub->name);
        break;
    case CONF_LIST:
        conf_put(w, "list of ");
        if (f->sub)
            conf_putf(w, "[%s](#%s)", f->sub->name, f->sub->name);
        else
            put_scalar_form(w, f, f->item);
        if (f->sub)
            put_bounds(w, f);
        break;
    case CONF_MAP:
        conf_putf(w, "name: [%s](#%s)", f->sub->name, f->sub->name);
        put_bounds(w, f);
        break;
    case CONF_PAIRS:
        conf_put(w, "name: text");
        put_bounds(w, f);
        break;
    case CONF_MODULE:
        for (size_t i = 0; f->modules[i]; i++)
            conf_putf(w, "%s`%s`", i ? ", " : "one of ", f->modules[i]->name);
        break;
    default:
        put_scalar_form(w, f, f->type);
    }
}

static void put_row(const struct conf_writer *w, const struct conf_field *f)
{
    if (f->type == CONF_MODULES) {
        for (size_t i = 0; f->modules[i]; i++) {
            conf_putf(w, "| `%s` | a module's settings | | ", f->modules[i]->name);
            put_cell(w, f->modules[i]->doc);
            conf_put(w, " |\n");
        }
        return;
    }
    conf_putf(w, "| `%s` | ", f->name);
    put_form(w, f);
    conf_put(w, " | ");
    if (f->preset) {
        conf_put(w, "`");
        put_cell(w, f->preset);
        conf_put(w, "`");
    } else {
        conf_put(w, f->required ? "required" : f->type == CONF_BOOL ? "`off`" : "");
    }
    conf_put(w, " | ");
    put_cell(w, f->doc);
    conf_put(w, " |\n");
}

#define WRITTEN_MAX 64

/* Structs in the order they are named, each once. */
struct written {
    const struct conf_struct *structs[WRITTEN_MAX];
    size_t count;
};

static void written_add(struct written *all, const struct conf_struct *s)
{
    for (size_t i = 0; i < all->count; i++) {
        if (all->structs[i] == s)
            return;
    }
    if (all->count < WRITTEN_MAX)
        all->structs[all->count++] = s;
}

static void put_section(const struct conf_writer *w, const struct conf_struct *s, bool top,
                        struct written *all)
{
    conf_putf(w, "%s %s\n\n", top ? "##" : "###", s->name);
    if (s->doc) {
        conf_put(w, s->doc);
        conf_put(w, "\n\n");
    }
    if (s->phrases && s->phrases[0]) {
        conf_put(w, "Short forms: ");
        put_words(w, s->phrases, "");
        conf_put(w, ".\n\n");
    }
    if (s->is_list)
        conf_putf(w, "Short form: one [%s](#%s), or a list of them.\n\n", s->fields[0].sub->name,
                  s->fields[0].sub->name);
    if (!s->fields || !s->fields[0].name) {
        conf_put(w, "It takes no settings.\n\n");
        return;
    }
    conf_put(w, "| setting | written as | default | meaning |\n| --- | --- | --- | --- |\n");
    for (const struct conf_field *f = s->fields; f->name; f++) {
        put_row(w, f);
        if (f->sub)
            written_add(all, f->sub);
    }
    conf_put(w, "\n");
}

void conf_write_reference(const struct conf_struct *s, const struct conf_writer *w)
{
    struct written all = { .count = 0 };
    written_add(&all, s);
    for (size_t i = 0; i < all.count; i++)
        put_section(w, all.structs[i], i == 0, &all);
}
