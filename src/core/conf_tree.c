/* From YAML text to nodes: libyaml's events, bounded, with duplicate keys, aliases and merge keys resolved.
 */
#include <yaml.h>

#include "base/map.h"
#include "base/must.h"
#include "core/conf_part.h"

#define SCAN_KEYS_MAX 16 /* up to here comparing all keys beats hashing them */
#define ANCHORS_MAX 1024
#define MERGED_KEYS_MAX 1024 /* by << into one mapping */

struct anchor {
    struct anchor *next;
    struct bytes name;
    const struct conf_node *node;
};

struct open_node {
    struct conf_node *node;
    struct bytes anchor;
    struct bytes key; /* of a mapping, when its value is awaited */
    struct conf_mark key_mark;
    bool key_plain;
    bool has_key;
};

struct builder {
    struct conf_parse *p;
    yaml_parser_t *yaml;
    struct bytes text;
    struct anchor *anchors;
    unsigned anchors_count;
    struct open_node open[CONF_DEPTH_MAX];
    unsigned depth;
    size_t nodes;
    struct conf_node *top;
};

static struct conf_mark mark_of(yaml_mark_t m)
{
    return (struct conf_mark){ (unsigned)m.line + 1, (unsigned)m.column + 1 };
}

/* libyaml's reader gives only an offset: its marks run behind by what it has buffered. */
static struct conf_mark mark_at(struct bytes text, size_t offset)
{
    struct conf_mark m = { 1, 1 };
    for (size_t i = 0; i < offset && i < text.len; i++) {
        if (text.ptr[i] == '\n')
            m = (struct conf_mark){ m.line + 1, 1 };
        else if (((unsigned char)text.ptr[i] & 0xc0) != 0x80)
            m.column++;
    }
    return m;
}

static err syntax_fail(struct builder *b)
{
    const yaml_parser_t *y = b->yaml;
    const char *problem = y->problem ? y->problem : "malformed";
    switch (y->error) {
    case YAML_MEMORY_ERROR:
        return ERR_MEMORY;
    case YAML_READER_ERROR: {
        struct conf_mark at = mark_at(b->text, y->problem_offset);
        if (y->problem_value == 0)
            return conf_fail(b->p, at, "a NUL byte: this is not a YAML text");
        if (y->problem_value > 0)
            return conf_fail(b->p, at, "not YAML in UTF-8: %s (0x%02x)", problem, (unsigned)y->problem_value);
        return conf_fail(b->p, at, "not YAML in UTF-8: %s", problem);
    }
    default:
        if (y->context)
            return conf_fail(b->p, mark_of(y->problem_mark), "not YAML: %s %s", problem, y->context);
        return conf_fail(b->p, mark_of(y->problem_mark), "not YAML: %s", problem);
    }
}

static err count_nodes(struct builder *b, struct conf_mark at, size_t n)
{
    b->nodes += n;
    if (b->nodes > CONF_NODES_MAX)
        return conf_fail(b->p, at, "more than %u values, aliases counted as often as they are used",
                         CONF_NODES_MAX);
    return OK;
}

static err node_new(struct builder *b, enum conf_node_kind kind, struct conf_mark at,
                    struct conf_node **ret_node)
{
    err e = count_nodes(b, at, 1);
    if (e)
        return e;
    struct conf_node *n = arena_get_zero(&b->p->scratch, sizeof *n);
    if (!n)
        return ERR_MEMORY;
    n->kind = kind;
    n->mark = at;
    n->height = 1;
    n->weight = 1;
    *ret_node = n;
    return OK;
}

static const struct conf_node *anchor_find(const struct builder *b, struct bytes name)
{
    for (const struct anchor *a = b->anchors; a; a = a->next) {
        if (bytes_eq(a->name, name))
            return a->node;
    }
    return NULL;
}

static err anchor_add(struct builder *b, struct bytes name, const struct conf_node *n)
{
    if (b->anchors_count++ == ANCHORS_MAX)
        return conf_fail(b->p, n->mark, "more than %u anchors (&name)", ANCHORS_MAX);
    struct anchor *a = arena_get_zero(&b->p->scratch, sizeof *a);
    if (!a)
        return ERR_MEMORY;
    *a = (struct anchor){ b->anchors, name, n };
    b->anchors = a;
    return OK;
}

static void child_append(struct conf_node *parent, struct conf_node *n)
{
    if (parent->last)
        parent->last->next = n;
    else
        parent->first = n;
    parent->last = n;
    parent->count++;
    parent->weight += n->weight;
    if (n->height + 1 > parent->height)
        parent->height = n->height + 1;
}

static const struct conf_node *child_find(const struct conf_node *mapping, struct bytes key)
{
    for (const struct conf_node *c = mapping->first; c; c = c->next) {
        if (bytes_eq(c->key, key))
            return c;
    }
    return NULL;
}

/* A node that shares the children of another. */
static err node_copy(struct builder *b, const struct conf_node *from, struct conf_mark at,
                     struct conf_node **ret_node)
{
    err e = count_nodes(b, at, from->weight);
    if (e)
        return e;
    struct conf_node *n = arena_get(&b->p->scratch, sizeof *n);
    if (!n)
        return ERR_MEMORY;
    *n = *from;
    n->next = NULL;
    *ret_node = n;
    return OK;
}

static err merge_one(struct builder *b, struct conf_node *into, const struct conf_node *from)
{
    if (from->kind != CONF_NODE_MAPPING)
        return conf_fail(b->p, from->mark, "a merge key (<<) takes a mapping or a list of mappings");
    for (const struct conf_node *c = from->first; c; c = c->next) {
        if (child_find(into, c->key))
            continue; /* what stands here wins over what is merged */
        if (into->count >= MERGED_KEYS_MAX)
            return conf_fail(b->p, from->mark, "a merge key (<<) gives more than %u settings",
                             MERGED_KEYS_MAX);
        struct conf_node *n;
        err e = node_copy(b, c, from->mark, &n);
        if (e)
            return e;
        child_append(into, n);
    }
    return OK;
}

static err merge(struct builder *b, struct conf_node *into, const struct conf_node *from)
{
    if (from->kind != CONF_NODE_LIST)
        return merge_one(b, into, from);
    err e = OK;
    for (const struct conf_node *c = from->first; c && !e; c = c->next)
        e = merge_one(b, into, c);
    return e;
}

static err duplicate_fail(struct builder *b, const struct conf_node *n, const struct conf_node *earlier)
{
    struct conf_shown shown;
    return conf_fail(b->p, n->key_mark, "%s is set twice; it stood already in line %u",
                     conf_quote(&shown, n->key), earlier->key_mark.line);
}

static err check_keys_scan(struct builder *b, const struct conf_node *n)
{
    for (const struct conf_node *c = n->first; c; c = c->next) {
        const struct conf_node *earlier = child_find(n, c->key);
        if (earlier == c)
            continue;
        err e = duplicate_fail(b, c, earlier);
        if (!conf_goes_on(b->p, e))
            return e;
    }
    return OK;
}

static err check_keys_hash(struct builder *b, const struct conf_node *n)
{
    struct map seen;
    map_init(&seen);
    err e = OK;
    for (struct conf_node *c = n->first; c && conf_goes_on(b->p, e); c = c->next) {
        const struct conf_node *earlier = map_get(&seen, c->key);
        e = earlier ? duplicate_fail(b, c, earlier) : map_set(&seen, c->key, c);
    }
    map_close(&seen);
    return conf_goes_on(b->p, e) ? OK : e;
}

/* The children as they were written are complete: look for duplicates, then merge what << names. */
static err mapping_done(struct builder *b, struct conf_node *n)
{
    err e = n->count > SCAN_KEYS_MAX ? check_keys_hash(b, n) : check_keys_scan(b, n);
    if (e)
        return e;
    struct conf_node *written = n->first;
    n->first = n->last = NULL;
    n->count = 0;
    n->weight = n->height = 1;
    const struct conf_node *merged = NULL;
    for (struct conf_node *c = written, *next; c; c = next) {
        next = c->next;
        c->next = NULL;
        if (c->key_plain && bytes_eq(c->key, BYTES("<<")))
            merged = c;
        else
            child_append(n, c);
    }
    return merged ? merge(b, n, merged) : OK;
}

/* n is complete: hand it to what is open around it. */
static err node_done(struct builder *b, struct conf_node *n, struct bytes anchor)
{
    if (anchor.len) {
        err e = anchor_add(b, anchor, n);
        if (e)
            return e;
    }
    if (b->depth + n->height > CONF_DEPTH_MAX)
        return conf_fail(b->p, n->mark, "nested more than %u deep", CONF_DEPTH_MAX);
    if (b->depth == 0) {
        b->top = n;
        return OK;
    }
    struct open_node *around = &b->open[b->depth - 1];
    if (around->node->kind == CONF_NODE_LIST) {
        child_append(around->node, n);
        return OK;
    }
    if (!around->has_key) {
        if (n->kind != CONF_NODE_SCALAR)
            return conf_fail(b->p, n->mark, "a name (key) must be a plain text");
        around->key = n->text;
        around->key_mark = n->mark;
        around->key_plain = n->plain;
        around->has_key = true;
        return OK;
    }
    n->key = around->key;
    n->key_mark = around->key_mark;
    n->key_plain = around->key_plain;
    around->has_key = false;
    child_append(around->node, n);
    return OK;
}

static struct bytes text_of(const yaml_char_t *text)
{
    return bytes_from((const char *)text);
}

static err tag_fail(struct builder *b, struct conf_mark at, struct bytes tag)
{
    struct conf_shown shown;
    return conf_fail(b->p, at, "tags are not used here (%s): write the value alone", conf_show(&shown, tag));
}

static err on_scalar(struct builder *b, const yaml_event_t *event)
{
    struct conf_mark at = mark_of(event->start_mark);
    struct bytes text = { (const char *)event->data.scalar.value, event->data.scalar.length };
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (event->data.scalar.tag)
        return tag_fail(b, at, text_of(event->data.scalar.tag));
    if (text.len && memchr(text.ptr, 0, text.len))
        return conf_fail(b->p, at, "a NUL character cannot stand in a value");
    struct conf_node *n;
    err e = node_new(b, CONF_NODE_SCALAR, at, &n);
    if (e)
        return e;
    n->plain = plain;
    size_t quotes = event->data.scalar.style == YAML_SINGLE_QUOTED_SCALAR_STYLE ||
                            event->data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE
                        ? 2
                        : 0;
    bool verbatim = event->start_mark.line == event->end_mark.line &&
                    event->end_mark.index - event->start_mark.index == text.len + quotes;
    if (verbatim)
        n->text_column = at.column + (unsigned)quotes / 2;
    n->text = arena_copy(&b->p->scratch, text);
    struct bytes anchor = arena_copy(&b->p->scratch, text_of(event->data.scalar.anchor));
    if (!n->text.ptr || !anchor.ptr)
        return ERR_MEMORY;
    return node_done(b, n, anchor);
}

static err on_open(struct builder *b, enum conf_node_kind kind, const yaml_event_t *event)
{
    bool list = kind == CONF_NODE_LIST;
    const yaml_char_t *tag = list ? event->data.sequence_start.tag : event->data.mapping_start.tag;
    const yaml_char_t *anchor = list ? event->data.sequence_start.anchor : event->data.mapping_start.anchor;
    struct conf_mark at = mark_of(event->start_mark);
    if (tag)
        return tag_fail(b, at, text_of(tag));
    if (b->depth == CONF_DEPTH_MAX)
        return conf_fail(b->p, at, "nested more than %u deep", CONF_DEPTH_MAX);
    struct conf_node *n;
    err e = node_new(b, kind, at, &n);
    if (e)
        return e;
    struct bytes name = arena_copy(&b->p->scratch, text_of(anchor));
    if (!name.ptr)
        return ERR_MEMORY;
    b->open[b->depth++] = (struct open_node){ .node = n, .anchor = name };
    return OK;
}

static err on_close(struct builder *b)
{
    must(b->depth > 0);
    struct open_node done = b->open[--b->depth];
    if (done.node->kind == CONF_NODE_MAPPING) {
        err e = mapping_done(b, done.node);
        if (e)
            return e;
    }
    return node_done(b, done.node, done.anchor);
}

/* An anchor is known only once its node is complete, so no node can contain itself. */
static err on_alias(struct builder *b, const yaml_event_t *event)
{
    struct conf_mark at = mark_of(event->start_mark);
    struct bytes name = text_of(event->data.alias.anchor);
    const struct conf_node *from = anchor_find(b, name);
    struct conf_shown shown;
    if (!from)
        return conf_fail(b->p, at, "the alias *%s has no anchor (&%s) before it", conf_show(&shown, name),
                         conf_show(&shown, name));
    struct conf_node *n;
    err e = node_copy(b, from, at, &n);
    if (e)
        return e;
    n->mark = at;
    n->text_column = 0;
    return node_done(b, n, BYTES_NONE);
}

static err on_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (b->top)
            return conf_fail(b->p, mark_of(event->start_mark), "one document only: a second begins here");
        return OK;
    case YAML_ALIAS_EVENT:
        return on_alias(b, event);
    case YAML_SCALAR_EVENT:
        return on_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(b, CONF_NODE_LIST, event);
    case YAML_MAPPING_START_EVENT:
        return on_open(b, CONF_NODE_MAPPING, event);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_close(b);
    default:
        return OK;
    }
}

err conf_tree(struct conf_parse *p, struct bytes text, struct conf_node **ret_node)
{
    yaml_parser_t yaml;
    if (!yaml_parser_initialize(&yaml))
        return ERR_MEMORY;
    if (bytes_starts(text, BYTES("\xef\xbb\xbf")))
        text = bytes_skip(text, 3);
    yaml_parser_set_encoding(&yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&yaml, (const unsigned char *)(text.ptr ? text.ptr : ""), text.len);
    struct builder b = { .p = p, .yaml = &yaml, .text = text };
    err e = OK;
    for (bool end = false; !e && !end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&yaml, &event)) {
            e = syntax_fail(&b);
            break;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        e = on_event(&b, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&yaml);
    if (!e)
        *ret_node = b.top;
    return e;
}
