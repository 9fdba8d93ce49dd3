/* file: files for fibers: opening and reading that never keeps the worker waiting for a disk.
 *
 *      what the kernel has in memory    openat2(RESOLVE_CACHED), preadv2(RWF_NOWAIT): done at once, on the
 * worker what it has not                  the same without these flags, on a helper thread; the fiber waits
 *
 * All calls: from a fiber. */
#pragma once
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/err.h"

/* Opens path (NUL behind it, relative) below the folder for reading: neither "..", nor an absolute path, nor
 * a symbolic link leads out of it (openat2's RESOLVE_BENEATH; on kernels before 5.6 links are not followed at
 * all). A pipe or device does not block; look at *ret_stat. ERR_NOT_FOUND: there is none, or it lies outside;
 * ERR_DENIED; ERR_LIMIT: no descriptors left, or the helpers are busy; ERR_IO. */
err file_open_beneath(int folder, const char *path, int *ret_fd, struct stat *ret_stat) CHECK_RESULT;
/* Up to size bytes at offset; *ret_len 0: the end. */
err file_read(int fd, void *out, size_t size, uint64_t offset, size_t *ret_len) CHECK_RESULT;
/* Sees to it that these bytes are in memory, so that sendfile need not wait; as good as one can know. */
err file_warm(int fd, uint64_t offset, size_t size) CHECK_RESULT;
/* All of data at offset, always by a helper: writing waits for a disk when too much is dirty. */
err file_write(int fd, struct bytes data, uint64_t offset) CHECK_RESULT;
/* A new file without a name in that folder, gone when it is closed. */
err file_open_unnamed(const char *folder, int *ret_fd) CHECK_RESULT;
