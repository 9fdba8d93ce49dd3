/* convert_model: what the readers of convert make their result of. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/must.h"
#include "command/convert.h"
#include "gate/filter.h"
#include "gate/gate_conf.h"
#include "gate/process.h"
#include "gate/registry.h"

err conv_read(struct conv *c, const char *path, struct bytes *ret_text, struct diag *reterr)
{
    struct bytes text;
    err e = process_read_file(path, &c->arena, &text, reterr);
    if (e)
        return e;
    if (text.len > CONV_FILE_BYTES_MAX || memchr(text.ptr, 0, text.len)) {
        diag_set(reterr, "%s: too long, or no text", path);
        return ERR_CONF;
    }
    *ret_text = arena_copy(&c->arena, text);
    return ret_text->ptr ? OK : ERR_MEMORY;
}

void *conv_get(struct conv *c, size_t size)
{
    void *memory = arena_get_zero(&c->arena, size);
    if (!memory) {
        fprintf(stderr, "weir: what it stands for is too much\n");
        exit(1);
    }
    return memory;
}

struct bytes conv_text(struct conv *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    must(len >= 0);
    char *text = conv_get(c, (size_t)len + 1);
    va_start(args, format);
    vsnprintf(text, (size_t)len + 1, format, args);
    va_end(args);
    return (struct bytes){ text, (size_t)len };
}

/* ---- YAML ---- */

/* Safe without quotes also inside of { } and [ ], and not taken for anything but a text. */
static bool is_bare(struct bytes text)
{
    static const char *const words[] = { "true", "false", "on", "off", "yes", "no", "null", "y", "n" };
    if (text.len == 0 || strchr("-?!&*%@`~.+", text.ptr[0]))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char ch = text.ptr[i];
        bool plain = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
                     strchr("-_./$@%+*", ch) || (ch == ':' && i + 1 < text.len && i > 0);
        if (!plain)
            return false;
    }
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (bytes_eq_nocase(text, bytes_from(words[i])))
            return false;
    }
    return true;
}

struct bytes conv_quote(struct conv *c, struct bytes text)
{
    if (is_bare(text))
        return text;
    char *out = conv_get(c, text.len * 4 + 3);
    char *at = out;
    *at++ = '"';
    for (size_t i = 0; i < text.len; i++) {
        unsigned char ch = (unsigned char)text.ptr[i];
        if (ch == '"' || ch == '\\')
            *at++ = '\\';
        if (ch < 0x20 || ch == 0x7f)
            at += snprintf(at, 5, "\\x%02x", ch);
        else
            *at++ = (char)ch;
    }
    *at++ = '"';
    return (struct bytes){ out, (size_t)(at - out) };
}

struct bytes conv_plain(struct conv *c, struct bytes text)
{
    char *out = conv_get(c, text.len * 2 + 1);
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        out[len++] = text.ptr[i];
        if (text.ptr[i] == '$')
            out[len++] = '$';
    }
    return conv_quote(c, (struct bytes){ out, len });
}

struct bytes conv_lower(struct conv *c, struct bytes text)
{
    char *out = conv_get(c, text.len + 1);
    for (size_t i = 0; i < text.len; i++)
        out[i] = ascii_lower(text.ptr[i]);
    return (struct bytes){ out, text.len };
}

/* ---- the parts ---- */

#define ADD(list, item)                 \
    do {                                \
        __typeof__(list) *at = &(list); \
        while (*at)                     \
            at = &(*at)->next;          \
        *at = (item);                   \
    } while (0)

void conv_set(struct conv *c, struct conv_setting **list, const char *key, struct bytes value)
{
    for (struct conv_setting *s = *list; s; s = s->next) {
        if (bytes_eq(s->key, bytes_from(key))) {
            s->value = value;
            return;
        }
    }
    struct conv_setting *s = conv_get(c, sizeof *s);
    s->key = conv_text(c, "%s", key);
    s->value = value;
    ADD(*list, s);
}

const struct conv_setting *conv_setting_get(const struct conv_setting *list, const char *key)
{
    while (list && !bytes_eq(list->key, bytes_from(key)))
        list = list->next;
    return list;
}

void conv_set_in(struct conv *c, struct conv_setting **list, const char *key, struct bytes name,
                 struct bytes value)
{
    const struct conv_setting *old = conv_setting_get(*list, key);
    struct bytes said = conv_text(c, "%.*s: ", BYTES_ARG(name));
    if (old && strstr(old->value.ptr, said.ptr))
        return;
    struct bytes now = old ? conv_text(c, "%.*s, %.*s: %.*s}", (int)old->value.len - 1, old->value.ptr,
                                       BYTES_ARG(name), BYTES_ARG(value))
                           : conv_text(c, "{%.*s: %.*s}", BYTES_ARG(name), BYTES_ARG(value));
    conv_set(c, list, key, now);
}

struct conv_service *conv_service_find(struct conv *c, struct bytes name)
{
    struct conv_service *s = c->services;
    while (s && !bytes_eq(s->name, name))
        s = s->next;
    return s;
}

struct conv_service *conv_service(struct conv *c, struct bytes name)
{
    struct conv_service *s = conv_service_find(c, name);
    if (s)
        return s;
    s = conv_get(c, sizeof *s);
    s->name = name;
    ADD(c->services, s);
    return s;
}

void conv_server(struct conv *c, struct conv_service *s, struct bytes address, uint64_t weight, bool backup)
{
    struct conv_server *v = conv_get(c, sizeof *v);
    *v = (struct conv_server){ .address = address, .weight = weight, .backup = backup };
    ADD(s->servers, v);
}

struct conv_route *conv_route(struct conv *c, struct bytes match, unsigned line)
{
    struct conv_route *r = conv_get(c, sizeof *r);
    r->match = match;
    r->line = line;
    ADD(c->routes, r);
    return r;
}

struct conv_listen *conv_listen(struct conv *c, struct bytes address, const char *kind)
{
    for (struct conv_listen *l = c->listens; l; l = l->next) {
        bool udp = conv_setting_get(l->settings, "udp") != NULL;
        if (bytes_eq(l->address, address) && udp == (strcmp(kind, "udp") == 0))
            return l;
    }
    struct conv_listen *l = conv_get(c, sizeof *l);
    l->address = address;
    ADD(c->listens, l);
    return l;
}

void conv_miss(struct conv *c, struct bytes file, unsigned line, struct bytes text, const char *why)
{
    struct conv_miss *m = conv_get(c, sizeof *m);
    *m = (struct conv_miss){ .file = file, .line = line, .text = text, .why = bytes_from(why) };
    ADD(c->misses, m);
}

/* ---- words ---- */

bool conv_knows(const char *module)
{
    for (unsigned i = 0; filter_registry[i]; i++) {
        if (strcmp(filter_registry[i]->conf.name, module) == 0)
            return true;
    }
    for (unsigned i = 0; balancer_registry[i]; i++) {
        if (strcmp(balancer_registry[i]->conf.name, module) == 0)
            return true;
    }
    for (unsigned i = 0; service_module_registry[i]; i++) {
        if (strcmp(service_module_registry[i]->conf.name, module) == 0)
            return true;
    }
    return false;
}

bool conv_has(const char *setting)
{
    const struct conf_struct *at = &gate_conf_struct;
    struct bytes left = bytes_from(setting);
    struct bytes word;
    while (bytes_split(&left, '.', &word)) {
        const struct conf_field *f = at ? at->fields : NULL;
        while (f && f->name && !bytes_eq(bytes_from(f->name), word))
            f++;
        if (!f || !f->name)
            return false;
        at = f->sub;
    }
    return true;
}

struct bytes conv_duration(struct conv *c, struct bytes text, const char *unit)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };
    uint64_t ms = 0;
    size_t at = 0;
    if (text.len == 0)
        return BYTES_NONE;
    while (at < text.len) {
        uint64_t n = 0;
        size_t digits = 0;
        for (; at < text.len && text.ptr[at] >= '0' && text.ptr[at] <= '9' && digits < 12; digits++)
            n = n * 10 + (uint64_t)(text.ptr[at++] - '0');
        size_t begun = at;
        while (at < text.len && text.ptr[at] >= 'a' && text.ptr[at] <= 'z')
            at++;
        struct bytes said = { text.ptr + begun, at - begun };
        if (!said.len)
            said = bytes_from(unit);
        uint64_t each = 0;
        for (unsigned i = 0; i < sizeof units / sizeof *units; i++) {
            if (bytes_eq(said, bytes_from(units[i].name)))
                each = units[i].ms;
        }
        if (!digits || !each || n > UINT64_MAX / 2 / each)
            return BYTES_NONE;
        ms += n * each;
        if (!said.len)
            break;
    }
    if (ms % 1000)
        return conv_text(c, "%llums", (unsigned long long)ms);
    return conv_text(c, "%llus", (unsigned long long)(ms / 1000));
}

/* A bar outside of all parentheses and classes. */
static bool has_bar(struct bytes re)
{
    unsigned depth = 0;
    bool class = false;
    for (size_t i = 0; i < re.len; i++) {
        char ch = re.ptr[i];
        if (ch == '\\')
            i++;
        else if (ch == '[')
            class = true;
        else if (ch == ']')
            class = false;
        else if (!class && ch == '(')
            depth++;
        else if (!class && ch == ')' && depth)
            depth--;
        else if (!class && ch == '|' && depth == 0)
            return true;
    }
    return false;
}

/* weir's expressions fit the whole path, which begins with a slash, and are the better for what they
 * literally begin with. */
struct bytes conv_regex(struct conv *c, struct bytes re, bool nocase)
{
    const char *front = nocase ? "(?i)" : "";
    bool bar = has_bar(re);
    bool ends = re.len && re.ptr[re.len - 1] == '$' && !(re.len > 1 && re.ptr[re.len - 2] == '\\');
    if (bar && (memchr(re.ptr, '^', re.len) || memchr(re.ptr, '/', re.len)))
        return BYTES_NONE;
    if (bar)
        return conv_text(c, "/%s.*(?:%.*s).*", front, BYTES_ARG(re));
    struct bytes body = { re.ptr, ends ? re.len - 1 : re.len };
    const char *rest = ends ? "" : ".*";
    if (bytes_starts(body, BYTES("^/")))
        return conv_text(c, "/%s%.*s%s", front, (int)body.len - 2, body.ptr + 2, rest);
    if (bytes_starts(body, BYTES("^")))
        return BYTES_NONE;
    if (bytes_starts(body, BYTES("/"))) {
        body = bytes_skip(body, 1);
        return conv_text(c, "/%s(?:%.*s|.*/%.*s)%s", front, BYTES_ARG(body), BYTES_ARG(body), rest);
    }
    return conv_text(c, "/%s.*%.*s%s", front, BYTES_ARG(body), rest);
}

struct bytes conv_match(struct conv *c, struct bytes hosts, unsigned hosts_count, const char *key,
                        struct bytes value, struct bytes more)
{
    bool path = strcmp(key, "path") == 0;
    if (path && hosts_count == 0 && !more.len)
        return conv_quote(c, value);
    struct bytes quoted = conv_quote(c, value);
    bool one = path && hosts_count == 1 && !more.len && hosts.ptr[0] != '"';
    if (!one && !conv_knows("redirect")) /* which came with the long form */
        return BYTES_NONE;
    if (hosts_count == 0)
        return conv_text(c, "{%s: %.*s%.*s}", key, BYTES_ARG(quoted), BYTES_ARG(more));
    if (one)
        return conv_quote(c, conv_text(c, "%.*s%.*s", BYTES_ARG(hosts), BYTES_ARG(value)));
    return conv_text(c, "{host: [%.*s], %s: %.*s%.*s}", BYTES_ARG(hosts), key, BYTES_ARG(quoted),
                     BYTES_ARG(more));
}
