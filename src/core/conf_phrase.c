/* Short forms: "{rate} per {key}" against "50/s per ip". */
#include <stdio.h>

#include "base/must.h"
#include "core/conf_part.h"

size_t conf_phrase_split(const char *phrase, struct conf_phrase_part parts[CONF_PHRASE_PARTS_MAX])
{
    size_t n = 0;
    struct bytes rest = bytes_from(phrase);
    while (rest.len) {
        must(n < CONF_PHRASE_PARTS_MAX);
        bool field = rest.ptr[0] == '{';
        must(!field || n == 0 || !parts[n - 1].field);
        size_t end = bytes_index(rest, field ? '}' : '{');
        must(!field || end < rest.len);
        parts[n].field = field;
        parts[n++].text = (struct bytes){ rest.ptr + field, end - field };
        rest = bytes_skip(rest, end + field);
    }
    return n;
}

/* How many bytes of text the literal takes, a run of spaces for each of its spaces; 0: it is not there. */
static size_t literal_take(struct bytes literal, struct bytes text)
{
    size_t at = 0;
    for (size_t i = 0; i < literal.len; i++) {
        if (at == text.len || text.ptr[at] != literal.ptr[i])
            return 0;
        at++;
        while (literal.ptr[i] == ' ' && at < text.len && text.ptr[at] == ' ')
            at++;
    }
    return at;
}

/* Where a field's value ends: before the first place that the literal fits, or, for the last literal, where
 * it fits up to the very end. */
static bool value_end(struct bytes literal, bool last, struct bytes text, size_t *ret_end, size_t *ret_took)
{
    for (size_t end = 1; end < text.len; end++) {
        size_t took = literal_take(literal, bytes_skip(text, end));
        if (took && (!last || end + took == text.len)) {
            *ret_end = end;
            *ret_took = took;
            return true;
        }
    }
    return false;
}

/* The first place is always a right one, since what a field may hold is not asked here: so no way back is
 * needed and the time is bounded. values[i] goes with parts[i]. */
static bool phrase_fit(const struct conf_phrase_part *parts, size_t count, struct bytes text,
                       struct bytes *values)
{
    for (size_t i = 0; i < count; i++) {
        if (!parts[i].field) {
            size_t took = literal_take(parts[i].text, text);
            if (!took)
                return false;
            text = bytes_skip(text, took);
            continue;
        }
        size_t end = text.len, took = 0;
        if (text.len == 0)
            return false;
        bool bounded = i + 1 < count;
        if (bounded && !value_end(parts[i + 1].text, i + 2 == count, text, &end, &took))
            return false;
        values[i] = (struct bytes){ text.ptr, end };
        text = bytes_skip(text, end + took);
        i += bounded;
    }
    return text.len == 0;
}

struct fit {
    struct conf_phrase_part parts[CONF_PHRASE_PARTS_MAX];
    struct bytes values[CONF_PHRASE_PARTS_MAX];
    size_t count;
};

static err fill(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n,
                const struct fit *fit, void *conf, struct conf_seen *seen)
{
    for (size_t i = 0; i < fit->count; i++) {
        if (!fit->parts[i].field)
            continue;
        size_t index;
        const struct conf_field *f = conf_field_find(s, fit->parts[i].text, &index);
        must(f != NULL);
        struct conf_node part = { .kind = CONF_NODE_SCALAR, .height = 1, .mark = n->mark };
        part.text = arena_copy(&p->scratch, fit->values[i]);
        if (!part.text.ptr)
            return ERR_MEMORY;
        if (n->text_column)
            part.mark.column = part.text_column =
                n->text_column + (unsigned)(fit->values[i].ptr - n->text.ptr);
        conf_seen_add(seen, index);
        err e = conf_value(p, f, &part, (char *)conf + f->offset);
        if (e)
            return e;
    }
    return OK;
}

static void unfill(const struct conf_struct *s, const struct fit *fit, void *conf)
{
    for (size_t i = 0; i < fit->count; i++) {
        size_t index;
        const struct conf_field *f =
            fit->parts[i].field ? conf_field_find(s, fit->parts[i].text, &index) : NULL;
        if (f)
            memset((char *)conf + f->offset, 0, conf_value_size(f->type));
    }
}

/* The same, but a mistake leaves no trace. */
static err try_fill(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n,
                    const struct fit *fit, void *conf, struct conf_seen *seen)
{
    struct diag ignored = DIAG_NONE;
    struct diag *before = p->probe;
    struct conf_ref_use **refs_end = p->refs_end;
    p->probe = &ignored;
    err e = fill(p, s, n, fit, conf, seen);
    p->probe = before;
    if (!e)
        return OK;
    unfill(s, fit, conf);
    *refs_end = NULL;
    p->refs_end = refs_end;
    memset(seen, 0, sizeof *seen);
    return e;
}

err conf_phrase_fail(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n)
{
    char shapes[360] = "";
    size_t at = 0;
    for (size_t i = 0; s->phrases && s->phrases[i]; i++) {
        int took = snprintf(&shapes[at], sizeof shapes - at, "%s\"%s\"", i ? ", " : "", s->phrases[i]);
        at = at + (size_t)took < sizeof shapes ? at + (size_t)took : sizeof shapes - 1;
    }
    struct conf_shown shown;
    conf_quote(&shown, n->text);
    if (n->text.len == 0)
        return conf_fail(p, n->mark, "%s has no value%s%s%s", s->name, at ? "; write it as " : "", shapes,
                         at ? ", or as a mapping" : "");
    if (at)
        return conf_fail(p, n->mark, "%s does not fit %s; write it as %s, or as a mapping", shown.text,
                         s->name, shapes);
    return conf_fail(p, n->mark, "%s cannot be written as %s; it takes a mapping (setting: value)", s->name,
                     shown.text);
}

static size_t fields_count(const struct fit *fit)
{
    size_t n = 0;
    for (size_t i = 0; i < fit->count; i++)
        n += fit->parts[i].field;
    return n;
}

/* Among the phrases that fit with the most fields, types decide; a shorter one never swallows what a longer
 * one finds wrong ("{path}" would take "GET /x every 5y"). */
err conf_phrase(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n, void *conf,
                struct conf_seen *seen)
{
    struct bytes text = bytes_trim(n->text);
    struct fit first = { .count = 0 };
    bool fits = false;
    for (size_t fields = CONF_PHRASE_PARTS_MAX; fields-- > 0 && !fits;) {
        for (size_t i = 0; s->phrases && s->phrases[i]; i++) {
            struct fit fit;
            fit.count = conf_phrase_split(s->phrases[i], fit.parts);
            if (fields_count(&fit) != fields || !phrase_fit(fit.parts, fit.count, text, fit.values))
                continue;
            err e = try_fill(p, s, n, &fit, conf, seen);
            if (e != ERR_CONF)
                return e;
            if (!fits)
                first = fit;
            fits = true;
        }
    }
    return fits ? fill(p, s, n, &first, conf, seen) : conf_phrase_fail(p, s, n);
}
