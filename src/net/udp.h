/* udp: datagram sockets, many datagrams a call (recvmmsg, sendmmsg), and several of one size in one where the
 * kernel can (UDP_GRO and UDP_SEGMENT: Linux 5.0 and 4.18). Nothing here waits; the caller polls. */
#pragma once
#include "base/addr.h"
#include "base/diag.h"
#include "base/err.h"

#define UDP_BATCH 32                  /* messages a call */
#define UDP_MESSAGE_BYTES (64 * 1024) /* the largest datagram, or a run of several */

/* Which of this machine's addresses a datagram came to: answers leave from there. */
struct udp_local {
    uint8_t family; /* 0: not known */
    uint8_t ip[16];
    uint32_t interface; /* of link-local addresses, else 0 */
};

struct udp_message {
    char *data;
    uint32_t len;
    uint32_t segment; /* bytes of each datagram but the last, when there are several; 0: it is one */
    uint8_t ecn;      /* of its IP head (RFC 3168): 1 ECT(1), 2 ECT(0), 3 CE; 0: none, or not asked for */
    struct addr peer;
    struct udp_local local;
};

/* Memory of one batch; 2 MiB of address space, touched as far as datagrams are long. */
struct udp_batch {
    unsigned count;
    struct udp_message messages[UDP_BATCH];
    char *memory;
};
err udp_batch_open(struct udp_batch *b) CHECK_RESULT;
void udp_batch_close(struct udp_batch *b);

/* A bound, non-blocking socket that shares its address with further ones of this process (SO_REUSEPORT: the
 * kernel gives all of one client's datagrams to one of them). An address that somebody else has is
 * ERR_IN_USE. Buffers 0: the system's. */
err udp_listen(const struct addr *at, uint64_t send_buffer_bytes, uint64_t recv_buffer_bytes, int *ret_fd,
               struct diag *reterr) CHECK_RESULT;
err udp_listen_again(int first_fd, uint64_t send_buffer_bytes, uint64_t recv_buffer_bytes, int *ret_fd,
                     struct diag *reterr) CHECK_RESULT;
/* udp_recv says ecn of what comes to fd from now on. */
void udp_want_ecn(int fd, int family);
/* A socket of its own port, for one peer. */
err udp_connect(const struct addr *to, int *ret_fd) CHECK_RESULT;
/* From that address of this machine; NULL: any. */
err udp_connect_from(const struct addr *from, const struct addr *to, int *ret_fd) CHECK_RESULT;

/* What has arrived, up to a batch of it. ERR_AGAIN: nothing; ERR_REFUSED: of a connected socket, its peer
 * says that nobody is there. */
err udp_recv(int fd, struct udp_batch *b) CHECK_RESULT;
/* Sends messages to `to` (NULL: where the socket is connected to), from `from` (NULL: whatever the kernel
 * takes). *ret_sent: so many datagrams left, segments counted one by one, also on failure. ERR_AGAIN: the
 * socket is full; ERR_REFUSED; ... */
err udp_send(int fd, const struct udp_message *messages, unsigned count, const struct addr *to,
             const struct udp_local *from, uint64_t *ret_sent) CHECK_RESULT;
/* How many datagrams a message is. */
static inline uint32_t udp_datagrams(const struct udp_message *m)
{
    return m->segment && m->len > m->segment ? (m->len + m->segment - 1) / m->segment : 1;
}
