#include "base/file_read.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static err refused(const char *path, struct diag *reterr)
{
    diag_set(reterr, "cannot read %s: %s", path, strerror(errno));
    return ERR_CONF;
}

/* A file that grows shorter meanwhile is what is there. */
static err read_all(int fd, char *text, size_t size, size_t *ret_len)
{
    size_t len = 0;
    while (len < size) {
        const ssize_t n = read(fd, text + len, size - len);
        if (n < 0 && errno != EINTR)
            return ERR_IO;
        if (n == 0)
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    *ret_len = len;
    return OK;
}

static err read_open(int fd, const char *path, size_t bytes_max, struct bytes *ret_text, struct diag *reterr)
{
    struct stat s;
    if (fstat(fd, &s) != 0)
        return refused(path, reterr);
    if (!S_ISREG(s.st_mode) || s.st_size < 0 || (uint64_t)s.st_size > bytes_max) {
        diag_set(reterr, "%s is no file, or longer than %zu bytes", path, bytes_max);
        return ERR_CONF;
    }
    char *text = mem_get((size_t)s.st_size + 1);
    if (!text)
        return ERR_MEMORY;
    size_t len;
    if (read_all(fd, text, (size_t)s.st_size, &len)) {
        const err e = refused(path, reterr);
        mem_free(text);
        return e;
    }
    *ret_text = (struct bytes){ text, len };
    return OK;
}

err file_read_whole(const char *path, size_t bytes_max, struct bytes *ret_text, struct diag *reterr)
{
    /* a pipe must not hold up whoever asks */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return refused(path, reterr);
    const err e = read_open(fd, path, bytes_max, ret_text, reterr);
    close(fd);
    return e;
}

void file_read_free(struct bytes text)
{
    mem_free((void *)(uintptr_t)text.ptr);
}
