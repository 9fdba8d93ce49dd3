/* file_read: a small file, whole: lists, keys, passwords, pages. For start and reload: it may wait for a
 * disk. Any thread. */
#pragma once
#include <stddef.h>

#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

/* *ret_text: what stands in the regular file at path, with a NUL behind it (not counted); to be given to
 * file_read_free. ERR_CONF, with words: it cannot be read, is no regular file, or longer than bytes_max.
 * ERR_MEMORY. */
err file_read_whole(const char *path, size_t bytes_max, struct bytes *ret_text,
                    struct diag *reterr) CHECK_RESULT;
/* May be BYTES_NONE. */
void file_read_free(struct bytes text);
