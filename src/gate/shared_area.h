/* shared_area: a large run of zeroed memory in a memfd (or, where there is none, of this process alone) that
 * is given out in pieces. The caller's mutex. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

/* Addresses, not memory: a page exists once it is written to. */
#define SHARED_AREA_BYTES_MAX (UINT64_C(64) << 30)

/* Zeroed; on cache lines of its own. NULL: none left. */
void *area_take(uint64_t size);
/* zero: nobody else looks at it. */
void area_give(void *memory, uint64_t size);
/* The same without giving it out again. */
void area_forget(void *memory, uint64_t size);
uint64_t area_offset(const void *memory);

/* fd -1: a new one. Called by area_take when it was not. */
err area_open(int fd, uint64_t end) CHECK_RESULT;
/* -1: not in a memfd. */
int area_fd(uint64_t *ret_end);
/* NULL: not within what is in use. */
void *area_at(uint64_t offset, uint64_t size);
/* Zeroes what is beyond the end. */
void area_trim(void);
