#include "base/diag.h"

#include <stdio.h>

void diag_set(struct diag *d, const char *format, ...)
{
    if (!d || d->set)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(d->text, sizeof d->text, format, args);
    va_end(args);
    d->set = true;
}

const char *diag_print(const struct diag *d, char *out, unsigned out_size)
{
    if (d->file && d->line)
        snprintf(out, out_size, "%s:%u:%u: %s", d->file, d->line, d->column, d->text);
    else if (d->file)
        snprintf(out, out_size, "%s: %s", d->file, d->text);
    else
        snprintf(out, out_size, "%s", d->text);
    return out;
}
