/* conf: from YAML to structs, by tables.
 *
 * A module describes its settings as a table of conf_field; one parser fills the module's struct from a YAML
 * mapping, from a short phrase ("50/s per ip"), or from defaults. From the same tables come `weir check`, the
 * manual's reference and the JSON schema. An error names file, line, column, what was expected and the
 * nearest known word.
 *
 * A loaded configuration lives in one arena (a generation), is immutable, and any thread may read it. Loading
 * runs on one thread, at start-up or on reload. */
#pragma once
#include <stddef.h>

#include "base/addr.h"
#include "base/arena.h"
#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

/*    type             C type at the offset        written as                                       */
#define CONF_TYPE_LIST(X)                                                                                    \
    X(CONF_BOOL)  /* bool                       true, false, on, off                              */         \
    X(CONF_INT)   /* int64_t                    42                                                */         \
    X(CONF_BYTES) /* uint64_t, bytes            16k, 1m, 2g (powers of 1024), 512                 */         \
    X(CONF_MS)    /* uint64_t, milliseconds     500ms, 10s, 2m, 1h, 7d; "off" = CONF_MS_OFF where allowed */ \
    X(CONF_PERCENT) /* double, 0 to 1             30%, 0.5%                                         */       \
    X(CONF_RATE)    /* struct conf_rate           50/s, 1000/m, 10/h                                */       \
    X(CONF_TEXT)    /* struct bytes, NUL behind   any scalar                                        */       \
    X(CONF_WORD)    /* int, index into words      one of the table's words                          */       \
    X(CONF_ADDR)    /* struct addr                10.0.0.1:80, [::1]:80, :8080, unix:/path          */       \
    X(CONF_REF)     /* struct bytes               a name that must exist in the map `ref` of the root */     \
    X(CONF_STRUCT)  /* T *, NULL when absent      a mapping, or one of the struct's phrases         */       \
    X(CONF_LIST)    /* struct conf_list of T      a sequence; one item may stand without brackets   */       \
    X(CONF_MAP)     /* struct conf_list of T      a mapping from names; T starts with struct bytes name */   \
    X(CONF_PAIRS)   /* struct conf_list of struct conf_pair   a mapping from names to texts         */       \
    X(CONF_MODULES) /* struct conf_list of struct conf_module keys of this very mapping that name a module   \
                     */                                                                                      \
    X(CONF_MODULE)  /* struct conf_module         "name", "name phrase", or {name: settings}; conf NULL when \
                       absent and no default */

enum conf_type {
#define X(name) name,
    CONF_TYPE_LIST(X)
#undef X
};

/* A file is read whole before it is parsed: more than this is a mistake, with words. Aliases (*name) count as
 * often as they are used, so that a small file cannot stand for a huge one. */
#define CONF_FILE_BYTES_MAX (16u << 20)
#define CONF_NODES_MAX (1u << 20)
#define CONF_DEPTH_MAX 64
#define CONF_MISTAKES_MAX 200

/* A number may have words too: field->words of a CONF_INT, CONF_BYTES or CONF_MS. The word at index i stands
 * for a value that no number can have there (bounds are not asked):
 *     workers: auto      .type = CONF_INT, .min = 1, .words = (const char *const[]){ "auto", NULL }
 *     idle: off          .type = CONF_MS, .words = conf_word_off */
#define CONF_INT_WORD(i) (-1 - (int64_t)(i))
#define CONF_UINT_WORD(i) (UINT64_MAX - (uint64_t)(i))
#define CONF_MS_OFF CONF_UINT_WORD(0)
extern const char *const conf_word_off[];

struct conf_rate {
    uint64_t count;
    uint64_t per_ms;
};

struct conf_list {
    void *items; /* array of the element type, one after the other */
    size_t count;
};

struct conf_pair {
    struct bytes name, value;
};

/* Where a thing stood, for mistakes that are found after parsing. */
struct conf_mark {
    unsigned line, column;
};

/* A struct that nobody has written, but its preset, has the mark of the one that it stands in. */
static inline bool conf_is_preset(struct conf_mark own, struct conf_mark around)
{
    return own.line == around.line && own.column == around.column;
}

/* A module's settings: which of the table's modules, and its filled struct. */
struct conf_module {
    unsigned index;   /* into field->modules */
    const void *conf; /* of the module's conf_size */
    struct conf_mark mark;
};

struct conf_field {
    const char *name;
    enum conf_type type;
    size_t offset;
    const char *preset; /* the default, as one would write it; NULL: zero / absent */
    bool required;      /* instead of a default; a list or map must then have an item */
    double min, max;    /* inclusive, of numbers, bytes, ms, percent (0 to 1), a rate's count; items of a
                         * CONF_LIST with sub, a CONF_MAP or CONF_PAIRS. Both 0: only the type's own bounds;
                         * max 0 and min above: no upper bound */
    const char *const *words;      /* of CONF_WORD, or the extra words of a number; ends with NULL */
    const struct conf_struct *sub; /* of CONF_STRUCT, CONF_LIST, CONF_MAP. NULL for a CONF_LIST of scalars: */
    enum conf_type item;           /* ... whose type is this */
    const struct conf_struct *const *modules; /* of CONF_MODULES and CONF_MODULE; ends with NULL */
    const char *ref;                          /* of CONF_REF: the name of a CONF_MAP field of the root */
    const char *doc;                          /* one line for the manual */
};

struct conf_struct {
    const char *name; /* of the module or thing */
    size_t size;
    const struct conf_field *fields; /* ends with name NULL; may be NULL: takes no settings */
    /* Short forms. {x} stands for the field x, written as its type is; all else is literal; runs of spaces
     * are one:
     *     "{rate} per {key}"  "{method} {path} every {interval}"  "{percent} to {service}"
     * A value ends where the literal behind it begins. Of those that fit the ones with the most fields count,
     * and among these the types decide; fields that the phrase lacks get their defaults. Ends with NULL; may
     * be NULL. A scalar is tried against the phrases, a mapping against the fields, and a list fills the
     * phrase that is one CONF_LIST of scalars ("{allow}"). A CONF_STRUCT or one of CONF_MODULES may also be
     * `off` (absent, whatever the preset) and, when nothing in it is required, `on` (all defaults). */
    const char *const *phrases;
    /* It stands for a list: its only field is a CONF_LIST with sub, and a sequence, a phrase of the items or
     * a mapping that does not name that field is the field's value. It has no phrases of its own. */
    bool is_list;
    /* Checks what no single field can; NULL: nothing to check. Called when the struct is filled and nothing
     * in it is wrong. Without a line of its own in reterr the mistake is said to be where the struct began.
     */
    err (*check)(void *conf, struct diag *reterr);
    /* Offset of a struct conf_mark that gets where the struct began; 0: none (so it is never the first
     * member). */
    size_t mark_offset;
    const char *doc; /* a paragraph for the manual */
};

/* Parses text (file is its name in errors: borrowed as long as the diag) into a new struct of root's kind in
 * the arena. The first mistake goes to reterr; with on_error not NULL parsing goes on after a mistake where
 * it can and each is reported, CONF_MISTAKES_MAX at most (`weir check` shows them all). errors may be NULL.
 * Texts in the result are copies in the arena. On failure the arena holds leftovers: close it.
 * ERR_CONF, ERR_MEMORY (the arena's cap included). */
struct conf_errors {
    void (*on_error)(void *arg, const struct diag *d);
    void *arg;
    unsigned count;
};
err conf_parse(struct bytes text, const char *file, const struct conf_struct *root, struct arena *a,
               struct conf_errors *errors, void **ret_conf, struct diag *reterr) CHECK_RESULT;

/* Modules that this program could have, had it been built with what they need: their names are then no mere
 * "unknown setting". Once, at start; the list ends with name NULL and is borrowed. */
struct conf_left_out {
    const char *name;  /* as a key */
    const char *needs; /* "openssl" */
};
void conf_left_out(const struct conf_left_out *list);

/* One scalar by its type, outside any file (command line, admin API); f says type and bounds. out: the C
 * type. */
err conf_parse_scalar(struct bytes text, const struct conf_field *f, struct arena *a, void *out,
                      struct diag *reterr) CHECK_RESULT;

/* Writes, from the tables, a Markdown reference of one struct (doc/) or a JSON schema of the whole root. */
struct conf_writer {
    void (*write)(void *arg, struct bytes text);
    void *arg;
};
void conf_write_reference(const struct conf_struct *s, const struct conf_writer *w);
void conf_write_schema(const struct conf_struct *root, const struct conf_writer *w);
/* A filled struct as YAML again, every value with its default filled in (admin /config, weir ctl diff). */
void conf_write_yaml(const struct conf_struct *s, const void *conf, const struct conf_writer *w);
