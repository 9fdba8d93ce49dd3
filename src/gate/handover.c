#include "gate/handover.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>

#include "core/io.h"

union control {
    struct cmsghdr align;
    char room[CMSG_SPACE(sizeof(int) * HANDOVER_FDS_MAX)];
};

static err wait_for(int fd, short events, uint64_t wait_ms)
{
    if (worker_self())
        return io_wait_fd(fd, events, deadline_in_ms(wait_ms));
    struct pollfd p = { .fd = fd, .events = events };
    int n = poll(&p, 1, wait_ms < 3600000 ? (int)wait_ms : 3600000);
    return n > 0 || (n < 0 && errno == EINTR) ? OK : ERR_TIMEOUT;
}

err handover_send(int fd, struct bytes text, const int *fds, unsigned fds_count, uint64_t wait_ms)
{
    union control control = { .room = { 0 } };
    struct iovec part = { (void *)(uintptr_t)text.ptr, text.len };
    struct msghdr m = { .msg_iov = &part, .msg_iovlen = 1 };
    if (text.len > HANDOVER_TEXT_BYTES_MAX || fds_count > HANDOVER_FDS_MAX)
        return ERR_LIMIT;
    if (fds_count) {
        size_t bytes = sizeof(int) * fds_count;
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(bytes);
        memcpy(CMSG_DATA(c), fds, bytes);
    }
    for (;;) {
        if (sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
            return OK;
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return errno == EPIPE ? ERR_CLOSED : err_from_errno(errno);
        err e = wait_for(fd, POLLOUT, wait_ms);
        if (e)
            return e;
    }
}

static void take_fds(struct msghdr *m, struct handover_record *r)
{
    r->fds_count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        r->fds_count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(r->fds, CMSG_DATA(c), r->fds_count * sizeof(int));
    }
}

err handover_receive(int fd, struct handover_record *r, uint64_t wait_ms)
{
    union control control;
    struct iovec part = { r->buffer, HANDOVER_TEXT_BYTES_MAX };
    for (;;) {
        struct msghdr m = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
        };
        ssize_t n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            err e = wait_for(fd, POLLIN, wait_ms);
            if (e)
                return e;
            continue;
        }
        if (n <= 0)
            return n == 0 || errno == ECONNRESET ? ERR_CLOSED : err_from_errno(errno);
        take_fds(&m, r);
        r->buffer[n] = 0;
        r->text = (struct bytes){ r->buffer, (size_t)n };
        return OK;
    }
}

bool handover_word(struct bytes text, struct bytes word, struct bytes *ret_rest)
{
    if (!bytes_starts(text, word) || (text.len > word.len && text.ptr[word.len] != ' '))
        return false;
    *ret_rest = bytes_skip(text, text.len > word.len ? word.len + 1 : word.len);
    return true;
}

bool handover_number(struct bytes *rest, uint64_t *ret_value)
{
    struct bytes word;
    return bytes_split(rest, ' ', &word) && bytes_to_u64(word, ret_value);
}
