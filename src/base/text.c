#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

void text_add(struct text *t, struct bytes part)
{
    if (t->len + part.len > t->size && t->fixed) {
        t->cut = true;
        return;
    }
    if (t->len + part.len > t->size) {
        size_t size = (t->len + part.len) * 2 + 4096;
        char *bigger = mem_must_get(size);
        if (t->len)
            memcpy(bigger, t->at, t->len);
        mem_free(t->at);
        t->at = bigger;
        t->size = size;
    }
    if (part.len)
        memcpy(t->at + t->len, part.ptr, part.len);
    t->len += part.len;
}

void text_print(struct text *t, const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0)
        text_add(t, (struct bytes){ line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1 });
}

void text_free(struct text *t)
{
    if (!t->fixed)
        mem_free(t->at);
    *t = (struct text){ 0 };
}
