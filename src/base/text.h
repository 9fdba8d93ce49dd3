/* text: a text that grows on the heap while it is written; or one in memory of the caller's that does not
 * grow (the request path): what does not fit is left out, and `cut` says so. One thread. */
#pragma once
#include "base/bytes.h"

struct text {
    char *at;
    size_t len, size;
    bool fixed, cut;
};

/* memory NULL: all is cut. Nothing is to be freed. */
static inline struct text text_within(void *memory, size_t size)
{
    return (struct text){ .at = memory, .size = memory ? size : 0, .fixed = true };
}
static inline struct bytes text_bytes(const struct text *t)
{
    return (struct bytes){ t->at, t->len };
}

/* Of text_room: there is not so much. false: it is cut. */
bool text_grow(struct text *t, size_t len);
/* Where len more bytes can be written; who has written them adds them to t->len. NULL: it is cut. */
static inline char *text_room(struct text *t, size_t len)
{
    return t->len + len <= t->size || text_grow(t, len) ? t->at + t->len : NULL;
}
void text_add(struct text *t, struct bytes part);
void text_print(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_free(struct text *t);
