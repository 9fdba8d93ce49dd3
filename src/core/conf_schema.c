/* A JSON schema (draft 2020-12) of a whole root, for editors. Functions named members_ write the members of
 * an object, from the second on: a description or the like always stands first. */
#include <stdio.h>

#include "core/conf_part.h"

static void put_string(const struct conf_writer *w, const char *text)
{
    conf_put(w, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            conf_putf(w, "\\%c", *text);
        else if ((unsigned char)*text < ' ')
            conf_putf(w, "\\u%04x", (unsigned char)*text);
        else
            w->write(w->arg, (struct bytes){ text, 1 });
    }
    conf_put(w, "\"");
}

/* ---- patterns, inside a JSON string: a backslash is written twice */

static void put_escaped(const struct conf_writer *w, struct bytes literal)
{
    for (size_t i = 0; i < literal.len; i++) {
        char c = literal.ptr[i];
        if (c == ' ')
            conf_put(w, " +");
        else if (c == '"')
            conf_put(w, "\\\"");
        else if (memchr("\\^$.|?*+()[]{}/", c, 15))
            conf_putf(w, "\\\\%s%c", c == '\\' ? "\\" : "", c);
        else
            w->write(w->arg, (struct bytes){ &literal.ptr[i], 1 });
    }
}

static void put_words_pattern(const struct conf_writer *w, const char *const *words, const char *before)
{
    for (; words && *words; words++, before = "|") {
        conf_put(w, before);
        put_escaped(w, bytes_from(*words));
    }
}

static void put_scalar_pattern(const struct conf_writer *w, const struct conf_field *f, enum conf_type type)
{
    conf_put(w, "(");
    if (type == CONF_WORD) {
        put_words_pattern(w, f->words, "");
    } else {
        for (const char *c = conf_type_pattern(type); *c; c++)
            conf_putf(w, *c == '\\' ? "\\%c" : "%c", *c);
        put_words_pattern(w, f->words, "|");
    }
    conf_put(w, ")");
}

static void put_phrase_pattern(const struct conf_writer *w, const struct conf_struct *s, const char *phrase)
{
    struct conf_phrase_part parts[CONF_PHRASE_PARTS_MAX];
    size_t count = conf_phrase_split(phrase, parts);
    for (size_t i = 0; i < count; i++) {
        size_t index;
        const struct conf_field *f = parts[i].field ? conf_field_find(s, parts[i].text, &index) : NULL;
        if (f)
            put_scalar_pattern(w, f, f->type == CONF_LIST ? f->item : f->type);
        else
            put_escaped(w, parts[i].text);
    }
}

/* ---- values */

static void put_words(const struct conf_writer *w, const char *const *words)
{
    conf_put(w, "\"enum\":[");
    for (size_t i = 0; words && words[i]; i++) {
        conf_put(w, i ? "," : "");
        put_string(w, words[i]);
    }
    conf_put(w, "]");
}

static void members_int(const struct conf_writer *w, const struct conf_field *f)
{
    if (f->words)
        conf_put(w, ",\"anyOf\":[{\"type\":\"integer\"");
    else
        conf_put(w, ",\"type\":\"integer\"");
    if (f->min != 0 || f->max != 0)
        conf_putf(w, ",\"minimum\":%.0f", f->min);
    if (conf_has_upper(f) && (f->min != 0 || f->max != 0))
        conf_putf(w, ",\"maximum\":%.0f", f->max);
    if (!f->words)
        return;
    conf_put(w, "},{");
    put_words(w, f->words);
    conf_put(w, "}]");
}

static void members_scalar(const struct conf_writer *w, const struct conf_field *f, enum conf_type type)
{
    switch (type) {
    case CONF_BOOL:
        conf_put(w, ",\"enum\":[true,false,\"on\",\"off\"]");
        break;
    case CONF_INT:
        members_int(w, f);
        break;
    case CONF_WORD:
        conf_put(w, ",");
        put_words(w, f->words);
        break;
    case CONF_TEXT:
    case CONF_REF:
        conf_put(w, ",\"type\":[\"string\",\"number\",\"boolean\"]");
        break;
    default:
        /* a pattern is asked of strings only */
        conf_put(w, type == CONF_BYTES ? ",\"type\":[\"string\",\"integer\"]" : ",\"type\":\"string\"");
        conf_put(w, ",\"pattern\":\"^");
        put_scalar_pattern(w, f, type);
        conf_put(w, "$\"");
    }
}

static void members_struct(const struct conf_writer *w, const struct conf_struct *s, bool switchable);

static void members_of(const struct conf_writer *w, const char *doc)
{
    conf_put(w, "\"description\":");
    put_string(w, doc ? doc : "");
}

static void put_item(const struct conf_writer *w, const struct conf_field *f)
{
    conf_put(w, "{");
    members_of(w, f->sub ? f->sub->doc : f->doc);
    if (f->sub)
        members_struct(w, f->sub, false);
    else
        members_scalar(w, f, f->item);
    conf_put(w, "}");
}

static void members_list(const struct conf_writer *w, const struct conf_field *f)
{
    conf_put(w, ",\"anyOf\":[");
    put_item(w, f);
    conf_put(w, ",{\"type\":\"array\",\"items\":");
    put_item(w, f);
    if (f->required)
        conf_put(w, ",\"minItems\":1");
    conf_put(w, "}]");
}

static void members_map(const struct conf_writer *w, const struct conf_field *f)
{
    conf_put(w, ",\"type\":\"object\",\"additionalProperties\":");
    if (f->sub)
        put_item(w, f);
    else
        conf_put(w, "{\"type\":[\"string\",\"number\",\"boolean\"]}");
    if (f->required)
        conf_put(w, ",\"minProperties\":1");
}

static void put_module(const struct conf_writer *w, const struct conf_struct *s, bool switchable)
{
    conf_put(w, "{");
    members_of(w, s->doc);
    members_struct(w, s, switchable);
    conf_put(w, "}");
}

/* "name", "name phrase", {name: settings} */
static void members_module(const struct conf_writer *w, const struct conf_field *f)
{
    conf_put(w, ",\"anyOf\":[{\"type\":\"string\",\"pattern\":\"^(");
    for (size_t i = 0; f->modules[i]; i++) {
        conf_put(w, i ? "|" : "");
        put_escaped(w, bytes_from(f->modules[i]->name));
    }
    conf_put(w, ")( .+)?$\"},{\"type\":\"object\",\"minProperties\":1,\"maxProperties\":1,"
                "\"additionalProperties\":false,\"properties\":{");
    for (size_t i = 0; f->modules[i]; i++) {
        conf_put(w, i ? "," : "");
        put_string(w, f->modules[i]->name);
        conf_put(w, ":");
        put_module(w, f->modules[i], false);
    }
    conf_put(w, "}}]");
}

static void put_default(const struct conf_writer *w, const struct conf_field *f)
{
    bool raw = f->preset && ((f->type == CONF_INT && !f->words) ||
                             (f->type == CONF_BOOL && (f->preset[0] == 't' || f->preset[0] == 'f')));
    if (!f->preset)
        return;
    conf_put(w, ",\"default\":");
    if (raw)
        conf_put(w, f->preset);
    else
        put_string(w, f->preset);
}

static void put_property(const struct conf_writer *w, const struct conf_field *f)
{
    put_string(w, f->name);
    conf_put(w, ":{");
    members_of(w, f->doc);
    put_default(w, f);
    switch (f->type) {
    case CONF_STRUCT:
        members_struct(w, f->sub, true);
        break;
    case CONF_LIST:
        members_list(w, f);
        break;
    case CONF_MAP:
    case CONF_PAIRS:
        members_map(w, f);
        break;
    case CONF_MODULE:
        members_module(w, f);
        break;
    default:
        members_scalar(w, f, f->type);
    }
    conf_put(w, "}");
}

/* ---- structs */

static void put_properties(const struct conf_writer *w, const struct conf_struct *s)
{
    const char *comma = "";
    for (const struct conf_field *f = s->fields; f && f->name; f++) {
        if (f->type != CONF_MODULES) {
            conf_put(w, comma);
            put_property(w, f);
            comma = ",";
            continue;
        }
        for (size_t i = 0; f->modules[i]; i++, comma = ",") {
            conf_put(w, comma);
            put_string(w, f->modules[i]->name);
            conf_put(w, ":");
            put_module(w, f->modules[i], true);
        }
    }
}

static void members_object(const struct conf_writer *w, const struct conf_struct *s)
{
    conf_put(w, "\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
    put_properties(w, s);
    conf_put(w, "},\"required\":[");
    const char *comma = "";
    for (const struct conf_field *f = s->fields; f && f->name; f++) {
        if (!f->required)
            continue;
        conf_put(w, comma);
        put_string(w, f->name);
        comma = ",";
    }
    conf_put(w, "]");
}

static void members_struct(const struct conf_writer *w, const struct conf_struct *s, bool switchable)
{
    conf_put(w, ",\"anyOf\":[{");
    members_object(w, s);
    conf_put(w, "}");
    for (size_t i = 0; s->phrases && s->phrases[i]; i++) {
        /* "{weight}" alone may be read as a number */
        conf_put(w, ",{\"type\":[\"string\",\"number\"],\"pattern\":\"^");
        put_phrase_pattern(w, s, s->phrases[i]);
        conf_put(w, "$\"}");
    }
    size_t index;
    const struct conf_field *list = conf_list_phrase(s, &index);
    if (list) {
        conf_put(w, ",{\"type\":\"array\",\"items\":");
        put_item(w, list);
        conf_put(w, "}");
    }
    if (s->is_list) {
        conf_put(w, ",{");
        members_of(w, s->fields[0].doc);
        members_list(w, &s->fields[0]);
        conf_put(w, "}");
    }
    if (switchable)
        conf_putf(w, ",{\"enum\":[\"off\",false%s]}", conf_has_required(s) ? "" : ",\"on\",true");
    conf_put(w, "]");
}

void conf_write_schema(const struct conf_struct *root, const struct conf_writer *w)
{
    conf_put(w, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":");
    put_string(w, root->name);
    conf_put(w, ",");
    members_of(w, root->doc);
    conf_put(w, ",");
    members_object(w, root);
    conf_put(w, "}\n");
}
