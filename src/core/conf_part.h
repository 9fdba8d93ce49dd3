/* conf_part: what the files of conf share among themselves; nobody else includes it.
 *
 *      text ──▶ conf_tree ──▶ nodes ──▶ conf, conf_phrase ──▶ conf_scalar ──▶ structs
 *
 * Nodes live in a scratch arena that ends with the parse. */
#pragma once
#include "core/conf.h"
#include "core/conf_near.h"

enum conf_node_kind { CONF_NODE_SCALAR, CONF_NODE_LIST, CONF_NODE_MAPPING };

struct conf_node {
    enum conf_node_kind kind;
    bool plain; /* a scalar without quotes */
    bool key_plain;
    unsigned text_column;  /* where text[0] stands; 0: the text is not as it stands in the file */
    unsigned height;       /* 1 for a scalar */
    struct conf_mark mark; /* of the value */
    struct conf_mark key_mark;
    struct bytes key;        /* of a mapping's child */
    struct bytes text;       /* of a scalar, NUL behind */
    struct conf_node *first; /* children, in the order of the file */
    struct conf_node *last;
    struct conf_node *next;
    size_t count;  /* of children */
    size_t weight; /* nodes in all, aliases expanded */
};

/* A name that must exist: asked when the whole file is parsed. */
struct conf_ref_use {
    struct conf_ref_use *next;
    const struct conf_field *field;
    struct conf_mark mark;
    struct bytes name;
};

struct conf_parse {
    const char *file;
    const struct conf_struct *root;
    struct arena *a;      /* the result's */
    struct arena scratch; /* nodes and lists while parsing */
    struct conf_errors *errors;
    struct diag *reterr;
    struct diag *probe; /* not NULL: a try; mistakes go here and count nowhere */
    unsigned mistakes;
    struct conf_ref_use *refs;
    struct conf_ref_use **refs_end;
};

#define CONF_FIELDS_MAX 256
struct conf_seen {
    uint64_t bits[CONF_FIELDS_MAX / 64];
};

static inline void conf_seen_add(struct conf_seen *seen, size_t i)
{
    seen->bits[i / 64] |= UINT64_C(1) << (i % 64);
}

static inline bool conf_seen_has(const struct conf_seen *seen, size_t i)
{
    return seen->bits[i / 64] >> (i % 64) & 1;
}

/* Reports a mistake. Always ERR_CONF. */
err conf_fail(struct conf_parse *p, struct conf_mark at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Whether to go on behind a call that returned e. */
bool conf_goes_on(const struct conf_parse *p, err e);

/* Builds the nodes of one document; *ret_node is NULL when it is empty. ERR_CONF, ERR_MEMORY. */
err conf_tree(struct conf_parse *p, struct bytes text, struct conf_node **ret_node) CHECK_RESULT;

/* One value of field f at out. */
err conf_value(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n,
               void *out) CHECK_RESULT;
/* Fills the zeroed struct at conf; the name that a CONF_MAP put in front is kept. */
err conf_fill(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n,
              void *conf) CHECK_RESULT;
err conf_list(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n,
              void *out) CHECK_RESULT;
err conf_map(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n,
             void *out) CHECK_RESULT;
err conf_pairs(struct conf_parse *p, const struct conf_field *f, const struct conf_node *n,
               void *out) CHECK_RESULT;
/* Zeroed items; ret_list->items is not NULL then, even for none. */
err conf_list_new(struct conf_parse *p, size_t item_size, size_t count,
                  struct conf_list *ret_list) CHECK_RESULT;
/* A scalar against the phrases of s; marks what was given in seen. */
err conf_phrase(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n, void *conf,
                struct conf_seen *seen) CHECK_RESULT;
/* Says that no phrase fits, and which there are. Always ERR_CONF. */
err conf_phrase_fail(struct conf_parse *p, const struct conf_struct *s, const struct conf_node *n);

/* A template cut in literals and fields, never two fields side by side. */
#define CONF_PHRASE_PARTS_MAX 17
struct conf_phrase_part {
    bool field;
    struct bytes text; /* the literal, or the field's name */
};
size_t conf_phrase_split(const char *phrase, struct conf_phrase_part parts[CONF_PHRASE_PARTS_MAX]);

/* The CONF_LIST field that is a whole phrase of s ("{allow}"), which a list in the file fills; NULL: none. */
const struct conf_field *conf_list_phrase(const struct conf_struct *s, size_t *ret_index);
const struct conf_field *conf_field_find(const struct conf_struct *s, struct bytes name, size_t *ret_index);
bool conf_has_required(const struct conf_struct *s);
bool conf_is_scalar(enum conf_type type);
size_t conf_scalar_size(enum conf_type type);
/* Of any type but CONF_MODULES. */
size_t conf_value_size(enum conf_type type);
/* "a list", "a mapping", "a text" */
const char *conf_kind_text(const struct conf_node *n);
/* "a duration (like 500ms, 10s, 2m, 1h)"; NULL when the type is not a scalar. */
const char *conf_type_text(enum conf_type type);
/* A regular expression (ECMA 262, unanchored) that every spelling of the scalar fits. */
const char *conf_type_pattern(enum conf_type type);

bool conf_has_upper(const struct conf_field *f);
/* One of f's bounds as one would write it. Returns out. */
const char *conf_bound_print(const struct conf_field *f, double bound, char *out);
/* A scalar as one would write it, NUL-terminated, cut at size; the length it wanted. Not CONF_TEXT, CONF_REF.
 */
#define CONF_SCALAR_TEXT_BYTES_MAX 160
size_t conf_scalar_print(const struct conf_field *f, const void *value, char out[CONF_SCALAR_TEXT_BYTES_MAX]);

void conf_put(const struct conf_writer *w, const char *text);
/* Up to 400 bytes. */
void conf_putf(const struct conf_writer *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Text from outside as it may stand in a message: cut, without control characters, in quotes where needed. */
struct conf_shown {
    char text[80];
};
const char *conf_show(struct conf_shown *out, struct bytes text);
/* The same, always in quotes. */
const char *conf_quote(struct conf_shown *out, struct bytes text);
