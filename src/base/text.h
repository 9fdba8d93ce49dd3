/* text: a text that grows on the heap while it is written. One thread. */
#pragma once
#include "base/bytes.h"

struct text {
    char *at;
    size_t len, size;
};

void text_add(struct text *t, struct bytes part);
void text_print(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_free(struct text *t);
