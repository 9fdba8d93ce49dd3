/* file_body: a body that stands in a file: whole, a range of it, or several with words between them.
 *
 *      [ words ][ bytes 0-99 of the file ][ words ][ bytes 500-999 ][ words ]
 *
 * Large parts go to the client by sendfile; small ones, and what a filter pulls, are read into a buffer.
 * Neither keeps the worker waiting for a disk (core/file.h). It owns the descriptor. One fiber. */
#pragma once
#include "base/arena.h"
#include "gate/body.h"
#include "proto/http_range.h"

struct file_part {
    struct bytes words;      /* ptr NULL: of the file */
    uint64_t offset, length; /* in the file; of words the length, too */
};

struct file_body {
    struct body body;
    struct arena *arena;
    int fd;
    unsigned count, at; /* of parts */
    uint64_t done;      /* of the part at hand */
    char *buffer;       /* NULL until something is read into it */
    size_t start, end;  /* of what was read and not given */
    struct file_part parts[];
};

/* In the arena. ERR_LIMIT; the descriptor is then still the caller's. */
err file_body_range(struct arena *a, int fd, uint64_t offset, uint64_t length,
                    struct body **ret_body) CHECK_RESULT;
/* multipart/byteranges (RFC 9110 14.6) of a file of `size` bytes; ret_type: the Content-Type of the whole. */
err file_body_multipart(struct arena *a, int fd, uint64_t size, struct bytes type,
                        const struct http_range *ranges, unsigned count, struct body **ret_body,
                        struct bytes *ret_type) CHECK_RESULT;
