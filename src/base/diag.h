/* diag: words for a person who waits (start, reload, check, admin). Not for the request path.
 * On the caller's stack; a callee sets it when it fails. The first mistake set stays: what follows is noise.
 */
#pragma once
#include <stdarg.h>
#include <stdbool.h>

struct diag {
    bool set;
    const char *file; /* borrowed; NULL when the mistake is in no file */
    unsigned line;    /* from 1; 0 when unknown */
    unsigned column;  /* from 1 */
    char text[512];   /* cut, never overrun */
};

#define DIAG_NONE ((struct diag){ 0 })

/* d may be NULL: nobody waits for words then. */
void diag_set(struct diag *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* "file:line:column: text" or just the text. Returns out. */
const char *diag_print(const struct diag *d, char *out, unsigned out_size);
