#include "load/template.h"

#include <stdio.h>

struct maker {
    struct template *t;
    struct arena *a;
    size_t room;
};

static err add(struct maker *m, struct bytes text, int variable)
{
    struct template *t = m->t;
    if (variable < 0 && !text.len)
        return OK;
    if (t->count == m->room) {
        size_t room = m->room * 2 + 4;
        struct template_part *parts = arena_get(m->a, room * sizeof *parts);
        if (!parts)
            return ERR_MEMORY;
        if (t->count)
            memcpy(parts, t->parts, t->count * sizeof *parts);
        t->parts = parts;
        m->room = room;
    }
    t->parts[t->count++] = (struct template_part){ text, variable };
    t->constant = t->constant && variable < 0 && t->count < 2;
    return OK;
}

/* rest begins with "${". */
static err add_variable(struct maker *m, struct bytes *rest, struct template_finder *finder,
                        struct diag *reterr)
{
    struct bytes name = bytes_skip(*rest, 2);
    size_t end = bytes_index(name, '}');
    if (end == name.len) {
        diag_set(reterr, "a } is missing behind \"%.*s\"", (int)(rest->len < 40 ? rest->len : 40), rest->ptr);
        return ERR_SYNTAX;
    }
    *rest = bytes_skip(name, end + 1);
    name = bytes_trim((struct bytes){ name.ptr, end });
    int variable = finder->find(finder, name, reterr);
    if (variable >= 0)
        return add(m, name, variable);
    diag_set(reterr, "there is no variable \"%.*s\"", (int)(name.len < 60 ? name.len : 60), name.ptr);
    return ERR_SYNTAX;
}

err template_open(struct bytes text, struct arena *a, struct template_finder *finder,
                  struct template *ret_template, struct diag *reterr)
{
    struct template t = { .constant = true };
    struct maker m = { .t = &t, .a = a };
    err e = OK;
    while (text.len && !e) {
        size_t at = bytes_index(text, '$');
        char next = at + 1 < text.len ? text.ptr[at + 1] : 0;
        if (at < text.len && next != '{') { /* it stands for itself; of $$ one goes */
            e = add(&m, (struct bytes){ text.ptr, at + 1 }, -1);
            text = bytes_skip(text, at + 1 + (next == '$'));
            continue;
        }
        e = add(&m, (struct bytes){ text.ptr, at }, -1);
        text = bytes_skip(text, at);
        if (text.len && !e)
            e = add_variable(&m, &text, finder, reterr);
    }
    if (!e)
        *ret_template = t;
    return e;
}

static bool fits(char c, enum template_form form)
{
    if (form == TEMPLATE_PLAIN)
        return true;
    if (form == TEMPLATE_FIELD)
        return (unsigned char)c >= 0x20 && c != 0x7f;
    return c > 0x20 && c < 0x7f && c != '#' && c != '"' && c != '<' && c != '>';
}

static size_t bad_count(struct bytes text, enum template_form form)
{
    size_t bad = 0;
    for (size_t i = 0; form != TEMPLATE_PLAIN && i < text.len; i++)
        bad += !fits(text.ptr[i], form);
    return bad;
}

static char *put(char *out, struct bytes text, enum template_form form)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (fits(text.ptr[i], form)) {
            *out++ = (char)c;
        } else if (form == TEMPLATE_FIELD) {
            *out++ = '?';
        } else {
            *out++ = '%';
            *out++ = digits[c >> 4];
            *out++ = digits[c & 15];
        }
    }
    return out;
}

/* Texts are the scenario's own and are not changed; what variables stand for may come from outside. */
struct bytes template_print(const struct template *t, enum template_form form, struct template_values *values,
                            struct arena *a)
{
    if (t->constant)
        return t->count ? t->parts[0].text : BYTES("");
    struct bytes *texts = arena_get(a, t->count * sizeof *texts);
    size_t size = 0;
    for (size_t i = 0; texts && i < t->count; i++) {
        const struct template_part *p = &t->parts[i];
        texts[i] = p->variable < 0 ? p->text : values->value(values, p->variable, a);
        size += texts[i].len + (p->variable < 0 ? 0 : 2 * bad_count(texts[i], form));
    }
    char *out = texts ? arena_get(a, size + 1) : NULL, *end = out;
    if (!out)
        return BYTES_NONE;
    for (size_t i = 0; i < t->count; i++)
        end = put(end, texts[i], t->parts[i].variable < 0 ? TEMPLATE_PLAIN : form);
    *end = 0;
    return (struct bytes){ out, (size_t)(end - out) };
}
