#include "net/udp.h"

#include <errno.h>
#include <netinet/udp.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

#define SEGMENTS_MAX 64 /* the kernel's own bound on one send */
#define ECN_BITS 3
#define IN_USE_TRIES 40
#define IN_USE_PAUSE_MS 25

/* ---- batches ---- */

err udp_batch_open(struct udp_batch *b)
{
    *b = (struct udp_batch){ 0 };
    void *memory = mmap(NULL, (size_t)UDP_BATCH * UDP_MESSAGE_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return ERR_MEMORY;
    b->memory = memory;
    return OK;
}

void udp_batch_close(struct udp_batch *b)
{
    if (b->memory)
        munmap(b->memory, (size_t)UDP_BATCH * UDP_MESSAGE_BYTES);
    b->memory = NULL;
}

/* ---- sockets ---- */

static void set_int(int fd, int level, int name, int value)
{
    /* options are wishes: without GRO or the local address it works as well, only less */
    (void)!setsockopt(fd, level, name, &value, sizeof value);
}

static int new_socket(int family)
{
    return socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int bound_socket(const struct addr *at, bool reuse_port)
{
    int family = at->sock.any.sa_family;
    int fd = new_socket(family);
    if (fd < 0)
        return -1;
    if (reuse_port)
        set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (family == AF_INET6)
        set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, !IN6_IS_ADDR_UNSPECIFIED(&at->sock.v6.sin6_addr));
    if (bind(fd, &at->sock.any, at->len) == 0)
        return fd;
    int why = errno;
    close(fd);
    errno = why;
    return -1;
}

static err bind_failed(const struct addr *at, struct diag *reterr)
{
    char text[ADDR_TEXT_BYTES_MAX];
    int why = errno;
    addr_print(at, text);
    diag_set(reterr, "cannot take datagrams on %s: %s", text, strerror(why));
    return err_from_errno(why);
}

static int prepared(int fd, int family, uint64_t send_buffer_bytes, uint64_t recv_buffer_bytes)
{
    if (send_buffer_bytes)
        set_int(fd, SOL_SOCKET, SO_SNDBUF, (int)send_buffer_bytes);
    if (recv_buffer_bytes)
        set_int(fd, SOL_SOCKET, SO_RCVBUF, (int)recv_buffer_bytes);
    if (family == AF_INET6)
        set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
    else
        set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
    set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
    return fd;
}

err udp_listen(const struct addr *at, uint64_t send_buffer_bytes, uint64_t recv_buffer_bytes, int *ret_fd,
               struct diag *reterr)
{
    /* bound once without SO_REUSEPORT, which tells whether anybody else is there */
    int fd;
    for (int i = 0; (fd = bound_socket(at, false)) < 0 && errno == EADDRINUSE && i < IN_USE_TRIES; i++)
        nanosleep(&(struct timespec){ 0, IN_USE_PAUSE_MS * 1000000L }, NULL);
    if (fd < 0)
        return bind_failed(at, reterr);
    struct addr bound = { .len = sizeof bound.sock };
    bool named = getsockname(fd, &bound.sock.any, &bound.len) == 0; /* port 0 has become one by now */
    close(fd);
    fd = bound_socket(named ? &bound : at, true);
    if (fd < 0)
        return bind_failed(at, reterr);
    *ret_fd = prepared(fd, at->sock.any.sa_family, send_buffer_bytes, recv_buffer_bytes);
    return OK;
}

err udp_listen_again(int first_fd, uint64_t send_buffer_bytes, uint64_t recv_buffer_bytes, int *ret_fd,
                     struct diag *reterr)
{
    struct addr bound = { .len = sizeof bound.sock };
    if (getsockname(first_fd, &bound.sock.any, &bound.len) < 0)
        return bind_failed(&bound, reterr);
    int fd = bound_socket(&bound, true);
    if (fd < 0)
        return bind_failed(&bound, reterr);
    *ret_fd = prepared(fd, bound.sock.any.sa_family, send_buffer_bytes, recv_buffer_bytes);
    return OK;
}

void udp_want_ecn(int fd, int family)
{
    set_int(fd, IPPROTO_IP, IP_RECVTOS, 1); /* also of IPv4 to a socket of both */
    if (family == AF_INET6)
        set_int(fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
}

err udp_connect(const struct addr *to, int *ret_fd)
{
    return udp_connect_from(NULL, to, ret_fd);
}

err udp_connect_from(const struct addr *from, const struct addr *to, int *ret_fd)
{
    int fd = new_socket(to->sock.any.sa_family);
    if (fd < 0)
        return err_from_errno(errno);
    if ((from && bind(fd, &from->sock.any, from->len) < 0) || connect(fd, &to->sock.any, to->len) < 0) {
        err e = err_from_errno(errno);
        close(fd);
        return e;
    }
    set_int(fd, IPPROTO_UDP, UDP_GRO, 1);
    *ret_fd = fd;
    return OK;
}

/* ---- receiving ---- */

union control {
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + 2 * CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

static void read_control(struct msghdr *h, struct udp_message *m)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            m->local.family = AF_INET;
            memcpy(m->local.ip, &info.ipi_addr, 4);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            m->local.family = AF_INET6;
            memcpy(m->local.ip, &info.ipi6_addr, 16);
            m->local.interface = IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr) ? info.ipi6_ifindex : 0;
        } else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(c), sizeof size);
            m->segment = size > 0 && (uint32_t)size < m->len ? (uint32_t)size : 0;
        } else if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) ||
                   (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)) {
            int tos = *CMSG_DATA(c); /* of IPv4 a byte */
            if (c->cmsg_len >= CMSG_LEN(sizeof tos))
                memcpy(&tos, CMSG_DATA(c), sizeof tos);
            m->ecn = (uint8_t)(tos & ECN_BITS);
        }
    }
}

err udp_recv(int fd, struct udp_batch *b)
{
    struct mmsghdr heads[UDP_BATCH];
    struct iovec parts[UDP_BATCH];
    union control controls[UDP_BATCH];
    for (unsigned i = 0; i < UDP_BATCH; i++) {
        struct udp_message *m = &b->messages[i];
        m->data = b->memory + (size_t)i * UDP_MESSAGE_BYTES;
        parts[i] = (struct iovec){ m->data, UDP_MESSAGE_BYTES };
        heads[i].msg_hdr = (struct msghdr){ .msg_name = &m->peer.sock,
                                            .msg_namelen = sizeof m->peer.sock,
                                            .msg_iov = &parts[i],
                                            .msg_iovlen = 1,
                                            .msg_control = &controls[i],
                                            .msg_controllen = sizeof controls[i] };
    }
    int n;
    do
        n = recvmmsg(fd, heads, UDP_BATCH, MSG_DONTWAIT, NULL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? ERR_AGAIN : err_from_errno(errno);
    b->count = (unsigned)n;
    for (unsigned i = 0; i < b->count; i++) {
        struct udp_message *m = &b->messages[i];
        m->len = heads[i].msg_len;
        m->segment = 0;
        m->ecn = 0;
        m->local = (struct udp_local){ 0 };
        m->peer.len = heads[i].msg_hdr.msg_namelen;
        read_control(&heads[i].msg_hdr, m);
    }
    return OK;
}

/* ---- sending ---- */

static struct cmsghdr *add_control(struct msghdr *h, int level, int type, const void *data, size_t len)
{
    size_t used = h->msg_controllen;
    struct cmsghdr *c = (struct cmsghdr *)(void *)((char *)h->msg_control + used);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(c), data, len);
    h->msg_controllen = used + CMSG_SPACE(len);
    return c;
}

/* IPv4 is spoken over sockets of both, too (RFC 4291 2.5.5.2). */
static bool is_ipv6(const struct addr *to)
{
    return to->sock.any.sa_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&to->sock.v6.sin6_addr);
}

static void write_control(struct msghdr *h, uint16_t segment, int ecn, const struct addr *to,
                          const struct udp_local *from)
{
    if (from && from->family == AF_INET) {
        struct in_pktinfo info = { 0 };
        memcpy(&info.ipi_spec_dst, from->ip, 4);
        add_control(h, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else if (from && from->family == AF_INET6) {
        struct in6_pktinfo info = { .ipi6_ifindex = from->interface };
        memcpy(&info.ipi6_addr, from->ip, 16);
        add_control(h, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
    if (segment)
        add_control(h, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
    if (ecn && to && is_ipv6(to))
        add_control(h, IPPROTO_IPV6, IPV6_TCLASS, &ecn, sizeof ecn);
    else if (ecn && to)
        add_control(h, IPPROTO_IP, IP_TOS, &ecn, sizeof ecn);
}

struct sending {
    int fd;
    const struct addr *to;
    const struct udp_local *from;
    uint64_t sent;
};

static void fill_head(const struct sending *s, struct msghdr *h, struct iovec *part, union control *control,
                      uint32_t segment, uint8_t ecn)
{
    *control = (union control){ { 0 } };
    *h = (struct msghdr){ .msg_iov = part, .msg_iovlen = 1, .msg_control = control };
    if (s->to) {
        h->msg_name = (void *)(uintptr_t)&s->to->sock;
        h->msg_namelen = s->to->len;
    }
    write_control(h, (uint16_t)segment, ecn, s->to, s->from);
    if (!h->msg_controllen)
        h->msg_control = NULL;
}

/* One by one what the kernel would not take as a run: another device, or a kernel without UDP_SEGMENT. */
static err send_apart(struct sending *s, const struct udp_message *m)
{
    uint32_t step = m->segment ? m->segment : m->len;
    uint32_t at = 0;
    do {
        uint32_t len = m->len - at < step ? m->len - at : step;
        struct iovec part = { m->data + at, len };
        struct msghdr h;
        union control control;
        fill_head(s, &h, &part, &control, 0, m->ecn);
        if (sendmsg(s->fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            return errno == EAGAIN ? ERR_AGAIN : err_from_errno(errno);
        s->sent++;
        at += len;
    } while (at < m->len);
    return OK;
}

static bool runs_are_refused(int number)
{
    return number == EINVAL || number == EMSGSIZE || number == EIO || number == EOPNOTSUPP;
}

static err send_some(struct sending *s, const struct udp_message *messages, unsigned count,
                     unsigned *ret_done)
{
    struct mmsghdr heads[UDP_BATCH];
    struct iovec parts[UDP_BATCH];
    union control controls[UDP_BATCH];
    *ret_done = 0;
    if (udp_datagrams(&messages[0]) > SEGMENTS_MAX) {
        *ret_done = 1;
        return send_apart(s, &messages[0]);
    }
    for (unsigned i = 0; i < count; i++) {
        const struct udp_message *m = &messages[i];
        if (udp_datagrams(m) > SEGMENTS_MAX) {
            count = i;
            break;
        }
        parts[i] = (struct iovec){ m->data, m->len };
        fill_head(s, &heads[i].msg_hdr, &parts[i], &controls[i], udp_datagrams(m) > 1 ? m->segment : 0,
                  m->ecn);
    }
    int n = sendmmsg(s->fd, heads, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) {
        for (int i = 0; i < n; i++)
            s->sent += udp_datagrams(&messages[i]);
        *ret_done = (unsigned)n;
        return OK;
    }
    if (errno == EINTR)
        return OK;
    if (runs_are_refused(errno) && udp_datagrams(&messages[0]) > 1) {
        *ret_done = 1;
        return send_apart(s, &messages[0]);
    }
    return errno == EAGAIN ? ERR_AGAIN : err_from_errno(errno);
}

err udp_send(int fd, const struct udp_message *messages, unsigned count, const struct addr *to,
             const struct udp_local *from, uint64_t *ret_sent)
{
    struct sending s = { .fd = fd, .to = to, .from = from };
    err e = OK;
    while (!e && count > 0) {
        unsigned done;
        e = send_some(&s, messages, count, &done);
        messages += done;
        count -= done;
    }
    *ret_sent = s.sent;
    return e;
}
