/* From nodes to structs: mappings, lists, modules, defaults, references and the checks at the end. */
#include "core/conf.h"

#include <stdio.h>

#include "base/must.h"
#include "core/conf_part.h"

#define SCRATCH_BYTES_MAX ((size_t)512 << 20) /* of CONF_NODES_MAX nodes and their texts */

/* ---- mistakes */

err conf_fail(struct conf_parse *p, struct conf_mark at, const char *format, ...)
{
    struct diag d = { .file = p->file, .line = at.line, .column = at.column, .set = true };
    va_list args;
    va_start(args, format);
    vsnprintf(d.text, sizeof d.text, format, args);
    va_end(args);
    if (p->probe) {
        *p->probe = d;
        return ERR_CONF;
    }
    if (p->reterr && !p->reterr->set)
        *p->reterr = d;
    p->mistakes++;
    if (!p->errors)
        return ERR_CONF;
    p->errors->count++;
    if (p->errors->on_error)
        p->errors->on_error(p->errors->arg, &d);
    return ERR_CONF;
}

bool conf_goes_on(const struct conf_parse *p, err e)
{
    bool reports_all = p->errors && p->errors->on_error && !p->probe;
    return e == OK || (e == ERR_CONF && reports_all && p->mistakes < CONF_MISTAKES_MAX);
}

/* ---- tables */

const struct conf_field *conf_field_find(const struct conf_struct *s, struct bytes name, size_t *ret_index)
{
    for (size_t i = 0; s->fields && s->fields[i].name; i++) {
        bool keyed = s->fields[i].type != CONF_MODULES;
        if (keyed && bytes_eq(bytes_from(s->fields[i].name), name)) {
            *ret_index = i;
            return &s->fields[i];
        }
    }
    return NULL;
}

bool conf_has_required(const struct conf_struct *s)
{
    for (const struct conf_field *f = s->fields; f && f->name; f++) {
        if (f->required)
            return true;
    }
    return false;
}

static bool module_find(const struct conf_field *f, struct bytes name, unsigned *ret_index)
{
    for (unsigned i = 0; f->modules[i]; i++) {
        if (bytes_eq(bytes_from(f->modules[i]->name), name)) {
            *ret_index = i;
            return true;
        }
    }
    return false;
}

static bool is_word(const struct conf_node *n, struct bytes word)
{
    return n->kind == CONF_NODE_SCALAR && n->plain && bytes_eq(n->text, word);
}

const char *conf_kind_text(const struct conf_node *n)
{
    return n->kind == CONF_NODE_LIST ? "a list" : n->kind == CONF_NODE_MAPPING ? "a mapping" : "a text";
}

/* ---- structs */

/* ret_conf is not NULL then, whatever the size. */
static err struct_new(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n,
                      void **ret_conf)
{
    void *conf = arena_get_zero(p->a, s->size ? s->size : 1);
    if (!conf)
        return ERR_MEMORY;
    *ret_conf = conf;
    return conf_fill(p, s, n, conf);
}

/* `on` is an empty mapping: all defaults. */
static struct conf_node empty_mapping(struct conf_mark at)
{
    return (struct conf_node){ .kind = CONF_NODE_MAPPING, .mark = at, .height = 1, .weight = 1 };
}

/* What may be `on` and `off`: *ret_conf stays NULL for off. */
static err switchable(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n,
                      void **ret_conf)
{
    *ret_conf = NULL;
    if (is_word(n, BYTES("off")) || is_word(n, BYTES("false")))
        return OK;
    struct conf_node empty = empty_mapping(n->mark);
    bool on = is_word(n, BYTES("on")) || is_word(n, BYTES("true"));
    if (on && conf_has_required(s))
        return conf_phrase_fail(p, s, n);
    return struct_new(p, s, on ? &empty : n, ret_conf);
}

/* ---- modules */

static err module_unknown(struct conf_parse *p, const struct conf_field *f, struct conf_mark at,
                          struct bytes name)
{
    struct conf_near near;
    struct conf_shown shown;
    char list[256] = "";
    size_t used = 0;
    conf_near_begin(&near, name);
    for (size_t i = 0; f->modules[i]; i++) {
        conf_near_offer(&near, bytes_from(f->modules[i]->name));
        int n = snprintf(&list[used], sizeof list - used, "%s%s", i ? ", " : "", f->modules[i]->name);
        used = used + (size_t)n < sizeof list ? used + (size_t)n : sizeof list - 1;
    }
    return conf_fail(p, at, "%s is no %s; there are: %s%s", conf_quote(&shown, name), f->name, list,
                     conf_near_hint(&near));
}

/* "name" or "name phrase": cut at the first space. */
static err module_from_text(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n,
                            struct conf_module *ret_module)
{
    struct bytes text = bytes_trim(n->text);
    size_t end = bytes_index(text, ' ');
    struct bytes name = { text.ptr, end };
    struct bytes rest = bytes_trim(bytes_skip(text, end));
    if (text.len == 0)
        return conf_fail(p, n->mark, "\"%s\" has no value", f->name);
    if (!module_find(f, name, &ret_module->index))
        return module_unknown(p, f, n->mark, name);
    const struct conf_struct *s = f->modules[ret_module->index];
    void *conf = NULL;
    struct conf_node settings = empty_mapping(n->mark);
    if (rest.len) {
        settings = *n;
        settings.text = rest;
        if (n->text_column)
            settings.mark.column = settings.text_column = n->text_column + (unsigned)(rest.ptr - n->text.ptr);
    }
    err e = struct_new(p, s, &settings, &conf);
    ret_module->conf = conf;
    return e;
}

static err value_module(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n,
                        void *out)
{
    struct conf_module m = { .mark = n->mark };
    err e;
    if (n->kind == CONF_NODE_SCALAR) {
        e = module_from_text(p, f, n, &m);
    } else if (n->kind == CONF_NODE_MAPPING && n->count == 1) {
        if (!module_find(f, n->first->key, &m.index))
            return module_unknown(p, f, n->first->key_mark, n->first->key);
        void *conf = NULL;
        e = struct_new(p, f->modules[m.index], n->first, &conf);
        m.conf = conf;
    } else {
        return conf_fail(p, n->mark, "\"%s\" takes one name, or one name with its settings {name: ...}",
                         f->name);
    }
    if (!e)
        memcpy(out, &m, sizeof m);
    return e;
}

/* Modules named by keys of one mapping, each at its place in the table's order. */
struct chosen {
    struct conf_module *by_index; /* conf NULL: not chosen */
    const struct conf_field *field;
};

static err chosen_begin(struct conf_parse *p, const struct conf_field *f, struct chosen *ret_chosen)
{
    size_t count = 0;
    while (f->modules[count])
        count++;
    ret_chosen->field = f;
    ret_chosen->by_index = arena_get_zero(&p->scratch, count * sizeof(struct conf_module));
    return ret_chosen->by_index ? OK : ERR_MEMORY;
}

static err chosen_end(struct conf_parse *p, const struct chosen *chosen, void *conf)
{
    size_t count = 0;
    for (size_t i = 0; chosen->field->modules[i]; i++)
        count += chosen->by_index[i].conf != NULL;
    struct conf_list list;
    err e = conf_list_new(p, sizeof(struct conf_module), count, &list);
    if (e)
        return e;
    struct conf_module *at = list.items;
    for (size_t i = 0; chosen->field->modules[i]; i++) {
        if (chosen->by_index[i].conf)
            *at++ = chosen->by_index[i];
    }
    memcpy((char *)conf + chosen->field->offset, &list, sizeof list);
    return OK;
}

/* ---- one value */

static err value_scalar(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n,
                        void *out)
{
    if (n->kind != CONF_NODE_SCALAR)
        return conf_fail(p, n->mark, "\"%s\" takes %s, not %s", f->name, conf_type_text(f->type),
                         conf_kind_text(n));
    bool nothing = n->text.len == 0 && (n->plain || f->type != CONF_TEXT);
    if (nothing)
        return conf_fail(p, n->mark, "\"%s\" has no value%s", f->name,
                         f->type == CONF_TEXT ? "; write \"\" for an empty text" : "");
    struct diag d = DIAG_NONE;
    err e = conf_parse_scalar(n->text, f, p->a, out, &d);
    if (e == ERR_CONF)
        return conf_fail(p, n->mark, "%s", d.text);
    if (e || f->type != CONF_REF)
        return e;
    struct conf_ref_use *use = arena_get_zero(&p->scratch, sizeof *use);
    if (!use)
        return ERR_MEMORY;
    *use = (struct conf_ref_use){ NULL, f, n->mark, n->text };
    *p->refs_end = use;
    p->refs_end = &use->next;
    return OK;
}

err conf_value(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n, void *out)
{
    switch (f->type) {
    case CONF_STRUCT: {
        void *conf;
        err e = switchable(p, f->sub, n, &conf);
        if (!e)
            memcpy(out, &conf, sizeof conf);
        return e;
    }
    case CONF_LIST:
        return conf_list(p, f, n, out);
    case CONF_MAP:
        return conf_map(p, f, n, out);
    case CONF_PAIRS:
        return conf_pairs(p, f, n, out);
    case CONF_MODULE:
        return value_module(p, f, n, out);
    default:
        return value_scalar(p, f, n, out);
    }
}

static err preset(struct conf_parse *p, const struct conf_field *f, struct conf_mark at, void *out)
{
    struct conf_node *n;
    struct conf_node scalar = { .kind = CONF_NODE_SCALAR, .mark = at, .text = bytes_from(f->preset) };
    err e = OK;
    n = &scalar;
    if (!conf_is_scalar(f->type))
        e = conf_tree(p, scalar.text, &n);
    if (!e && n)
        n->mark = at;
    return e || !n ? e : conf_value(p, f, n, out);
}

/* ---- a whole mapping */

static const struct chosen *chosen_find(const struct chosen *chosen, size_t count, struct bytes name,
                                        unsigned *ret_index)
{
    for (size_t i = 0; i < count; i++) {
        if (module_find(chosen[i].field, name, ret_index))
            return &chosen[i];
    }
    return NULL;
}

static const struct conf_left_out *left_out;

void conf_left_out(const struct conf_left_out *list)
{
    left_out = list;
}

static err unknown_setting(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n)
{
    struct conf_near near;
    struct conf_shown shown;
    for (const struct conf_left_out *l = left_out; l && l->name; l++) {
        if (bytes_eq(n->key, bytes_from(l->name)))
            return conf_fail(p, n->key_mark, "this weir was built without %s, which \"%s\" needs", l->needs,
                             l->name);
    }
    size_t unused;
    if (s != p->root && conf_field_find(p->root, n->key, &unused))
        return conf_fail(p, n->key_mark, "%s is no setting of %s: it stands at the top of the file",
                         conf_quote(&shown, n->key), s->name);
    conf_near_begin(&near, n->key);
    for (const struct conf_field *f = s->fields; f && f->name; f++) {
        if (f->type != CONF_MODULES)
            conf_near_offer(&near, bytes_from(f->name));
        for (size_t i = 0; f->type == CONF_MODULES && f->modules[i]; i++)
            conf_near_offer(&near, bytes_from(f->modules[i]->name));
    }
    return conf_fail(p, n->key_mark, "unknown setting %s in %s%s", conf_quote(&shown, n->key), s->name,
                     conf_near_hint(&near));
}

static err fill_key(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n, void *conf,
                    struct conf_seen *seen, const struct chosen *chosen, size_t chosen_count)
{
    size_t i;
    const struct conf_field *f = conf_field_find(s, n->key, &i);
    if (f) {
        conf_seen_add(seen, i);
        return conf_value(p, f, n, (char *)conf + f->offset);
    }
    unsigned index;
    const struct chosen *c = chosen_find(chosen, chosen_count, n->key, &index);
    if (!c)
        return unknown_setting(p, s, n);
    void *settings;
    err e = switchable(p, c->field->modules[index], n, &settings);
    if (!e && settings)
        c->by_index[index] = (struct conf_module){ index, settings, n->key_mark };
    return e;
}

#define MODULES_FIELDS_MAX 4

static err fill_mapping(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n,
                        void *conf, struct conf_seen *seen)
{
    struct chosen chosen[MODULES_FIELDS_MAX];
    size_t chosen_count = 0;
    err e;
    for (const struct conf_field *f = s->fields; f && f->name; f++) {
        if (f->type != CONF_MODULES)
            continue;
        must(chosen_count < MODULES_FIELDS_MAX);
        e = chosen_begin(p, f, &chosen[chosen_count++]);
        if (e)
            return e;
    }
    err failed = OK;
    for (const struct conf_node *c = n->first; c; c = c->next) {
        e = fill_key(p, s, c, conf, seen, chosen, chosen_count);
        if (!conf_goes_on(p, e))
            return e;
        failed = e ? e : failed;
    }
    for (size_t i = 0; i < chosen_count; i++) {
        e = chosen_end(p, &chosen[i], conf);
        if (e)
            return e;
    }
    return failed;
}

static err fill_rest(struct conf_parse *p, const struct conf_struct *s, const struct conf_seen *seen,
                     struct conf_mark at, void *conf)
{
    err failed = OK;
    for (size_t i = 0; s->fields && s->fields[i].name; i++) {
        const struct conf_field *f = &s->fields[i];
        must(i < CONF_FIELDS_MAX);
        err e = OK;
        if (conf_seen_has(seen, i) || f->type == CONF_MODULES)
            continue;
        if (f->required)
            e = conf_fail(p, at, "\"%s\" is missing in %s", f->name, s->name);
        else if (f->preset)
            e = preset(p, f, at, (char *)conf + f->offset);
        if (!conf_goes_on(p, e))
            return e;
        failed = e ? e : failed;
    }
    return failed;
}

static err fill_check(struct conf_parse *p, const struct conf_struct *s, struct conf_mark at, void *conf)
{
    if (!s->check)
        return OK;
    struct diag d = DIAG_NONE;
    err e = s->check(conf, &d);
    if (e == OK || e == ERR_MEMORY)
        return e;
    if (d.line)
        at = (struct conf_mark){ d.line, d.column };
    return conf_fail(p, at, "%s", d.set ? d.text : err_text(e));
}

const struct conf_field *conf_list_phrase(const struct conf_struct *s, size_t *ret_index)
{
    for (size_t i = 0; s->phrases && s->phrases[i]; i++) {
        struct bytes phrase = bytes_from(s->phrases[i]);
        if (phrase.ptr[0] != '{' || bytes_index(phrase, '}') + 1 != phrase.len)
            continue;
        const struct conf_field *f =
            conf_field_find(s, (struct bytes){ phrase.ptr + 1, phrase.len - 2 }, ret_index);
        if (f && f->type == CONF_LIST)
            return f;
    }
    return NULL;
}

static err fill_list(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n, void *conf,
                     struct conf_seen *seen)
{
    size_t i;
    const struct conf_field *f = conf_list_phrase(s, &i);
    if (!f)
        return conf_fail(p, n->mark, "%s takes a mapping (setting: value), not a list", s->name);
    conf_seen_add(seen, i);
    return conf_value(p, f, n, (char *)conf + f->offset);
}

/* Whether n is, for a struct that stands for a list, what belongs into the list. */
static bool is_items(const struct conf_struct *s, const struct conf_node *n)
{
    if (!s->is_list)
        return false;
    for (const struct conf_node *c = n->kind == CONF_NODE_MAPPING ? n->first : NULL; c; c = c->next) {
        if (bytes_eq(c->key, bytes_from(s->fields[0].name)))
            return false;
    }
    return true;
}

/* conf is zeroed; a name that a map gave it is kept. */
err conf_fill(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n, void *conf)
{
    struct conf_seen seen = { 0 };
    err failed, e;
    if (s->mark_offset)
        memcpy((char *)conf + s->mark_offset, &n->mark, sizeof n->mark);
    if (is_items(s, n)) {
        conf_seen_add(&seen, 0);
        failed = conf_list(p, &s->fields[0], n, (char *)conf + s->fields[0].offset);
    } else if (n->kind == CONF_NODE_MAPPING)
        failed = fill_mapping(p, s, n, conf, &seen);
    else if (n->kind == CONF_NODE_SCALAR)
        failed = conf_phrase(p, s, n, conf, &seen);
    else
        failed = fill_list(p, s, n, conf, &seen);
    if (!conf_goes_on(p, failed))
        return failed;
    if (failed && n->kind != CONF_NODE_MAPPING)
        return failed; /* what a phrase that does not fit lacks is noise */
    e = fill_rest(p, s, &seen, n->mark, conf);
    if (failed || e)
        return e == ERR_MEMORY || !failed ? e : failed;
    return fill_check(p, s, n->mark, conf);
}

/* ---- references */

static const struct conf_field *map_of(const struct conf_struct *root, const char *name)
{
    size_t i;
    const struct conf_field *f = conf_field_find(root, bytes_from(name), &i);
    must(f && f->type == CONF_MAP);
    return f;
}

static err check_ref(struct conf_parse *p, const struct conf_ref_use *use, const void *conf)
{
    const struct conf_field *map = map_of(p->root, use->field->ref);
    const struct conf_list *list = (const void *)((const char *)conf + map->offset);
    if (list->count == 0 && p->mistakes)
        return OK; /* the map itself was wrong: what names into it is noise */
    struct conf_near near;
    conf_near_begin(&near, use->name);
    const char *at = list->items;
    for (size_t i = 0; i < list->count; i++, at += map->sub->size) {
        struct bytes name = *(const struct bytes *)(const void *)at;
        if (bytes_eq(name, use->name))
            return OK;
    }
    at = list->items;
    for (size_t i = 0; i < list->count; i++, at += map->sub->size)
        conf_near_offer(&near, *(const struct bytes *)(const void *)at);
    struct conf_shown shown;
    return conf_fail(p, use->mark, "there is no %s in \"%s\"%s", conf_quote(&shown, use->name), map->name,
                     conf_near_hint(&near));
}

static err check_refs(struct conf_parse *p, const void *conf)
{
    err failed = OK;
    for (const struct conf_ref_use *use = p->refs; use; use = use->next) {
        err e = check_ref(p, use, conf);
        if (!conf_goes_on(p, e))
            return e;
        failed = e ? e : failed;
    }
    return failed;
}

/* ---- the whole */

static err parse(struct conf_parse *p, struct bytes text, void **ret_conf)
{
    if (text.len > CONF_FILE_BYTES_MAX)
        return conf_fail(p, (struct conf_mark){ 0, 0 }, "larger than %u MiB", CONF_FILE_BYTES_MAX >> 20);
    struct conf_node *top = NULL;
    err e = conf_tree(p, text, &top);
    if (e)
        return e;
    struct conf_node empty = empty_mapping((struct conf_mark){ 1, 1 });
    if (!top)
        top = &empty;
    if (top->kind != CONF_NODE_MAPPING)
        return conf_fail(p, top->mark, "%s takes a mapping (setting: value), not %s", p->root->name,
                         conf_kind_text(top));
    void *conf = arena_get_zero(p->a, p->root->size);
    if (!conf)
        return ERR_MEMORY;
    err failed = conf_fill(p, p->root, top, conf);
    if (!conf_goes_on(p, failed))
        return failed;
    e = check_refs(p, conf);
    if (e || failed || p->mistakes)
        return e == ERR_MEMORY ? e : ERR_CONF;
    *ret_conf = conf;
    return OK;
}

err conf_parse(struct bytes text, const char *file, const struct conf_struct *root, struct arena *a,
               struct conf_errors *errors, void **ret_conf, struct diag *reterr)
{
    struct conf_parse p = { .file = file, .root = root, .a = a, .errors = errors, .reterr = reterr };
    p.refs_end = &p.refs;
    arena_open(&p.scratch, &arena_heap, SCRATCH_BYTES_MAX, NULL, 0);
    err e = parse(&p, text, ret_conf);
    arena_close(&p.scratch);
    return e;
}
