/* From a filled struct back to YAML: blocks only, texts in quotes where YAML could misread them. */
#include <stdio.h>

#include "base/must.h"
#include "core/conf_part.h"
#include "base/utf8.h"

void conf_put(const struct conf_writer *w, const char *text)
{
    w->write(w->arg, bytes_from(text));
}

void conf_putf(const struct conf_writer *w, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    must(n >= 0 && (size_t)n < sizeof text);
    w->write(w->arg, (struct bytes){ text, (size_t)n });
}

/* ---- texts */

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z');
}

static bool is_safe(struct bytes text)
{
    if (text.len == 0 || !(is_alnum(text.ptr[0]) || text.ptr[0] == '/'))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_alnum(text.ptr[i]) && !memchr("/_.-%", text.ptr[i], 5))
            return false;
    }
    return true;
}

/* Characters that YAML takes as line ends, or refuses unescaped (YAML 1.2.2, 5.1 and 5.4). */
static bool needs_escape(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa1) || code == 0x2028 || code == 0x2029 ||
           code == 0xfeff || code == 0xfffe || code == 0xffff || code == '"' || code == '\\';
}

static void put_text(const struct conf_writer *w, struct bytes text)
{
    if (is_safe(text)) {
        w->write(w->arg, text);
        return;
    }
    conf_put(w, "\"");
    while (text.len) {
        uint32_t code;
        size_t len = utf8_take(text, &code);
        if (len == 0)
            conf_putf(w, "\\x%02X", (unsigned char)text.ptr[0]);
        else if (!needs_escape(code))
            w->write(w->arg, (struct bytes){ text.ptr, len });
        else if (code == '"' || code == '\\')
            conf_putf(w, "\\%c", (char)code);
        else
            conf_putf(w, "\\u%04X", code);
        text = bytes_skip(text, len ? len : 1);
    }
    conf_put(w, "\"");
}

/* ---- values */

/* What nobody wrote and no preset filled in: zero, where zero itself could not be written. */
static bool is_absent(const struct conf_field *f, const void *value)
{
    bool zero_fits = f->min <= 0;
    switch (f->type) {
    case CONF_INT:
        return !zero_fits && *(const int64_t *)value == 0;
    case CONF_BYTES:
    case CONF_MS:
        return !zero_fits && *(const uint64_t *)value == 0;
    case CONF_PERCENT:
        return !zero_fits && *(const double *)value == 0;
    case CONF_RATE:
        return ((const struct conf_rate *)value)->per_ms == 0;
    case CONF_TEXT:
    case CONF_REF:
        return ((const struct bytes *)value)->ptr == NULL;
    case CONF_ADDR:
        return ((const struct addr *)value)->len == 0;
    case CONF_STRUCT:
        return *(void *const *)value == NULL && !f->preset;
    case CONF_LIST:
    case CONF_MAP:
    case CONF_PAIRS:
        return ((const struct conf_list *)value)->items == NULL;
    case CONF_MODULE:
        return ((const struct conf_module *)value)->conf == NULL;
    default:
        return false;
    }
}

static bool is_empty(const struct conf_struct *s, const void *conf)
{
    for (const struct conf_field *f = s->fields; f && f->name; f++) {
        const void *value = (const char *)conf + f->offset;
        bool nothing =
            f->type == CONF_MODULES ? ((const struct conf_list *)value)->count == 0 : is_absent(f, value);
        if (!nothing)
            return false;
    }
    return true;
}

static void put_fields(const struct conf_writer *w, const struct conf_struct *s, const void *conf, int depth,
                       bool after_dash);
static void put_value(const struct conf_writer *w, const struct conf_field *f, const void *value, int depth);

/* Every line but the first behind a dash begins with its depth. */
static void put_key(const struct conf_writer *w, struct bytes name, int depth, bool *after_dash)
{
    if (!*after_dash)
        conf_putf(w, "%*s", depth * 2, "");
    *after_dash = false;
    put_text(w, name);
    conf_put(w, ":");
}

static void put_struct(const struct conf_writer *w, const struct conf_struct *s, const void *conf, int depth)
{
    conf_put(w, is_empty(s, conf) ? " {}\n" : "\n");
    put_fields(w, s, conf, depth + 1, false);
}

static void put_scalar(const struct conf_writer *w, const struct conf_field *f, const void *value)
{
    char text[CONF_SCALAR_TEXT_BYTES_MAX];
    if (f->type == CONF_TEXT || f->type == CONF_REF)
        put_text(w, *(const struct bytes *)value);
    else
        put_text(w, (struct bytes){ text, conf_scalar_print(f, value, text) });
    conf_put(w, "\n");
}

static void put_list(const struct conf_writer *w, const struct conf_field *f, const struct conf_list *list,
                     int depth)
{
    struct conf_field item = *f;
    item.type = f->item;
    size_t size = f->sub ? f->sub->size : conf_scalar_size(f->item);
    const char *at = list->items;
    conf_put(w, list->count ? "\n" : " []\n");
    for (size_t i = 0; i < list->count; i++, at += size) {
        conf_putf(w, "%*s- ", depth * 2 + 2, "");
        if (!f->sub)
            put_scalar(w, &item, at);
        else if (is_empty(f->sub, at))
            conf_put(w, "{}\n");
        else
            put_fields(w, f->sub, at, depth + 2, true);
    }
}

static void put_map(const struct conf_writer *w, const struct conf_field *f, const struct conf_list *list,
                    int depth)
{
    bool after_dash = false;
    const char *at = list->items;
    conf_put(w, list->count ? "\n" : " {}\n");
    for (size_t i = 0; i < list->count; i++, at += f->sub->size) {
        put_key(w, *(const struct bytes *)(const void *)at, depth + 1, &after_dash);
        put_struct(w, f->sub, at, depth + 1);
    }
}

static void put_pairs(const struct conf_writer *w, const struct conf_list *list, int depth)
{
    bool after_dash = false;
    const struct conf_pair *pairs = list->items;
    conf_put(w, list->count ? "\n" : " {}\n");
    for (size_t i = 0; i < list->count; i++) {
        put_key(w, pairs[i].name, depth + 1, &after_dash);
        conf_put(w, " ");
        put_text(w, pairs[i].value);
        conf_put(w, "\n");
    }
}

static void put_module(const struct conf_writer *w, const struct conf_field *f, const struct conf_module *m,
                       int depth)
{
    const struct conf_struct *s = f->modules[m->index];
    if (is_empty(s, m->conf)) {
        conf_putf(w, " %s\n", s->name);
        return;
    }
    conf_putf(w, "\n%*s%s:", depth * 2 + 2, "", s->name);
    put_struct(w, s, m->conf, depth + 1);
}

static void put_value(const struct conf_writer *w, const struct conf_field *f, const void *value, int depth)
{
    switch (f->type) {
    case CONF_STRUCT:
        if (*(void *const *)value)
            put_struct(w, f->sub, *(void *const *)value, depth);
        else
            conf_put(w, " off\n");
        break;
    case CONF_LIST:
        put_list(w, f, value, depth);
        break;
    case CONF_MAP:
        put_map(w, f, value, depth);
        break;
    case CONF_PAIRS:
        put_pairs(w, value, depth);
        break;
    case CONF_MODULE:
        put_module(w, f, value, depth);
        break;
    default:
        conf_put(w, " ");
        put_scalar(w, f, value);
    }
}

static void put_fields(const struct conf_writer *w, const struct conf_struct *s, const void *conf, int depth,
                       bool after_dash)
{
    for (const struct conf_field *f = s->fields; f && f->name; f++) {
        const void *value = (const char *)conf + f->offset;
        if (f->type == CONF_MODULES) {
            const struct conf_list *list = value;
            const struct conf_module *modules = list->items;
            for (size_t i = 0; i < list->count; i++) {
                const struct conf_struct *module = f->modules[modules[i].index];
                put_key(w, bytes_from(module->name), depth, &after_dash);
                put_struct(w, module, modules[i].conf, depth);
            }
        } else if (!is_absent(f, value)) {
            put_key(w, bytes_from(f->name), depth, &after_dash);
            put_value(w, f, value, depth);
        }
    }
}

void conf_write_yaml(const struct conf_struct *s, const void *conf, const struct conf_writer *w)
{
    if (is_empty(s, conf))
        conf_put(w, "{}\n");
    put_fields(w, s, conf, 0, false);
}
