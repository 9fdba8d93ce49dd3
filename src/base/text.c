#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

bool text_grow(struct text *t, size_t len)
{
    if (t->fixed) {
        t->cut = true;
        return false;
    }
    size_t size = (t->len + len) * 2 + 4096;
    char *bigger = mem_must_get(size);
    if (t->len)
        memcpy(bigger, t->at, t->len);
    mem_free(t->at);
    t->at = bigger;
    t->size = size;
    return true;
}

void text_add(struct text *t, struct bytes part)
{
    char *at = text_room(t, part.len);
    if (!at || !part.len)
        return;
    memcpy(at, part.ptr, part.len);
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
