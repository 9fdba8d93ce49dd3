/* Values that hold several: lists, maps from names to structs, maps from names to texts. */
#include "core/conf_part.h"

static bool has_bounds(const struct conf_field *f)
{
    return f->min != 0 || f->max != 0;
}

static err check_count(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n,
                       size_t count)
{
    bool counted = f->sub || f->type != CONF_LIST; /* else the bounds are those of each item */
    if (f->required && count == 0)
        return conf_fail(p, n->mark, "\"%s\" needs at least one item", f->name);
    if (!counted || !has_bounds(f))
        return OK;
    if ((double)count < f->min)
        return conf_fail(p, n->mark, "\"%s\" has %zu items; at least %.0f are needed", f->name, count,
                         f->min);
    if (f->max != 0 && (double)count > f->max)
        return conf_fail(p, n->mark, "\"%s\" has %zu items; at most %.0f are allowed", f->name, count,
                         f->max);
    return OK;
}

err conf_list_new(struct conf_parse *p, size_t item_size, size_t count, struct conf_list *ret_list)
{
    size_t size;
    if (__builtin_mul_overflow(item_size, count, &size))
        return ERR_MEMORY;
    void *items = arena_get_zero(p->a, size);
    if (!items)
        return ERR_MEMORY;
    *ret_list = (struct conf_list){ items, count };
    return OK;
}

err conf_list(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n, void *out)
{
    struct conf_field item = *f;
    item.type = f->item;
    size_t item_size = f->sub ? f->sub->size : conf_scalar_size(f->item);
    bool several = n->kind == CONF_NODE_LIST;
    size_t count = several ? n->count : 1;
    struct conf_list list;
    err e = conf_list_new(p, item_size, count, &list);
    if (e)
        return e;
    char *at = list.items;
    err failed = OK;
    for (const struct conf_node *c = several ? n->first : n; c; c = several ? c->next : NULL) {
        e = f->sub ? conf_fill(p, f->sub, c, at) : conf_value(p, &item, c, at);
        if (!conf_goes_on(p, e))
            return e;
        failed = e ? e : failed;
        at += item_size;
    }
    memcpy(out, &list, sizeof list);
    return failed ? failed : check_count(p, f, n, count);
}

static err want_mapping(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n)
{
    if (n->kind == CONF_NODE_MAPPING)
        return OK;
    return conf_fail(p, n->mark, "\"%s\" takes a mapping from names (name: ...), not %s", f->name,
                     conf_kind_text(n));
}

static err name_copy(struct conf_parse *p, const struct conf_node *n, struct bytes *ret_name)
{
    if (n->key.len == 0)
        return conf_fail(p, n->key_mark, "an empty name");
    struct bytes name = arena_copy(p->a, n->key);
    if (!name.ptr)
        return ERR_MEMORY;
    *ret_name = name;
    return OK;
}

err conf_map(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n, void *out)
{
    struct conf_list list;
    err e = want_mapping(p, f, n);
    if (!e)
        e = conf_list_new(p, f->sub->size, n->count, &list);
    if (e)
        return e;
    memcpy(out, &list, sizeof list);
    char *at = list.items;
    err failed = OK;
    for (const struct conf_node *c = n->first; c; c = c->next, at += f->sub->size) {
        e = name_copy(p, c, (struct bytes *)(void *)at);
        if (!e)
            e = conf_fill(p, f->sub, c, at);
        if (!conf_goes_on(p, e))
            return e;
        failed = e ? e : failed;
    }
    return failed ? failed : check_count(p, f, n, list.count);
}

err conf_pairs(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n, void *out)
{
    const struct conf_field text = { .name = f->name, .type = CONF_TEXT };
    struct conf_list list;
    err e = want_mapping(p, f, n);
    if (!e)
        e = conf_list_new(p, sizeof(struct conf_pair), n->count, &list);
    if (e)
        return e;
    memcpy(out, &list, sizeof list);
    struct conf_pair *pair = list.items;
    err failed = OK;
    for (const struct conf_node *c = n->first; c; c = c->next, pair++) {
        e = name_copy(p, c, &pair->name);
        if (!e)
            e = conf_value(p, &text, c, &pair->value);
        if (!conf_goes_on(p, e))
            return e;
        failed = e ? e : failed;
    }
    return failed ? failed : check_count(p, f, n, list.count);
}
