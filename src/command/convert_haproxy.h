/* convert_haproxy: a haproxy.cfg as sections of lines. Main thread; in the arena of a struct conv. */
#pragma once
#include "command/convert.h"

#define HAPROXY_WORDS_MAX 64

struct line {
    struct line *next;
    struct bytes word[HAPROXY_WORDS_MAX];
    unsigned count;
    unsigned number;
    bool done; /* converted, or nothing to convert */
};

struct section {
    struct section *next;
    struct bytes kind, name; /* "frontend", "web" */
    struct line *first;      /* those of its defaults come first */
    bool tcp;
    unsigned number;
};

static inline bool line_is(const struct line *l, unsigned i, const char *word)
{
    return i < l->count && bytes_eq(l->word[i], bytes_from(word));
}

/* The last of that name counts; done. NULL: there is none. */
struct line *haproxy_line(struct section *s, const char *name);
struct bytes haproxy_text(struct conv *c, const struct line *l);
/* Index behind word in l, where it is followed by another; 0: it is not there. */
unsigned haproxy_behind(const struct line *l, const char *word);

void haproxy_backend(struct conv *c, struct section *s);
/* A log-format text with weir's variables; false: there is something that weir has not. */
bool haproxy_format(struct conv *c, struct bytes text, struct bytes *ret);
/* http-request and http-response rules without a condition, into the settings of a route. */
void haproxy_rules(struct conv *c, struct section *s, struct conv_setting **settings);
/* all: the sections of the file. */
void haproxy_frontend(struct conv *c, struct section *s, struct section *all);
