/* template: a text of a scenario with variables in it: "/product/${id}". "$$" is a $; a $ that begins neither
 * stays as it is. Compiled when the scenario is loaded: an unknown variable is a mistake there. Immutable;
 * any thread. */
#pragma once
#include "base/arena.h"
#include "base/diag.h"
#include "base/err.h"

struct template_part {
    struct bytes text;
    int variable; /* the finder's number; -1: text */
};

struct template
{
    struct template_part *parts;
    size_t count;
    bool constant; /* at most one part, a text */
};

#define TEMPLATE_UNKNOWN (-1)
/* A number of 0 and more for what stands in the braces, or TEMPLATE_UNKNOWN, with words if it likes. */
struct template_finder {
    int (*find)(struct template_finder *f, struct bytes name, struct diag *reterr);
};

/* In the arena; text is borrowed. ERR_SYNTAX, with words; ERR_MEMORY. */
err template_open(struct bytes text, struct arena *a, struct template_finder *finder,
                  struct template *ret_template, struct diag *reterr) CHECK_RESULT;

enum template_form {
    TEMPLATE_PLAIN, /* as it is: bodies */
    TEMPLATE_FIELD, /* control characters become ? */
    TEMPLATE_PATH,  /* what cannot stand in a request line is percent-encoded */
};

/* What a variable stands for at the moment; lives as long as the arena. */
struct template_values {
    struct bytes (*value)(struct template_values *v, int variable, struct arena *a);
};

/* ptr NULL: the arena has no more. */
struct bytes template_print(const struct template *t, enum template_form form, struct template_values *values,
                            struct arena *a);
