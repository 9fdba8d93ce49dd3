/* Whose datagram it is: this worker's, another one's, or a process's before this one. */
#if WEIR_HAVE_NGTCP2
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/fiber.h"
#include "core/io.h"
#include "core/log.h"
#include "net/quic_internal.h"

#define MAILS_MAX 4096 /* datagrams on their way to one worker */
#define ELDERS_MAX 16
#define INLET_READS_PER_TURN 64
#define INLET_BYTES (1024 * 1024)

/* Of the process. Set before there are listeners; elders end by themselves. */
static struct {
    bool ready;
    uint32_t number;
    struct hash_key id_key;
    uint8_t secret[QUIC_SECRET_BYTES];
    uint8_t token_key[32], reset_key[32];
    struct worker *const *workers;
    unsigned count;
    int *inlets; /* the next process writes there; NULL: none yet */
    struct quic_inbox {
        _Atomic uint32_t mails;
    } * inboxes;
} self;

static struct elder {
    uint32_t process;
    unsigned count;
    int *fds;
    _Atomic bool ended;
} elders[ELDERS_MAX];
static _Atomic unsigned elders_count;

/* ---- keys ---- */

void quic_process_key(const char *purpose, struct bytes context, uint8_t *ret_key, unsigned size)
{
    uint8_t out[64];
    gnutls_hmac_hd_t h;
    must(size <= sizeof out);
    must(gnutls_hmac_init(&h, GNUTLS_MAC_SHA512, self.secret, sizeof self.secret) == 0);
    gnutls_hmac(h, purpose, strlen(purpose) + 1);
    if (context.len)
        gnutls_hmac(h, context.ptr, context.len);
    gnutls_hmac_deinit(h, out);
    memcpy(ret_key, out, size);
}

void quic_process_init(uint32_t process, const uint8_t secret[QUIC_SECRET_BYTES],
                       struct worker *const *workers, unsigned count)
{
    self.number = process % QUIC_PROCESSES_MAX;
    memcpy(self.secret, secret, sizeof self.secret);
    self.workers = workers;
    self.count = count;
    self.inboxes = mem_must_get(count * sizeof *self.inboxes);
    quic_process_key("connection id", BYTES_NONE, (uint8_t *)&self.id_key, sizeof self.id_key);
    quic_process_key("token", BYTES_NONE, self.token_key, sizeof self.token_key);
    quic_process_key("stateless reset", BYTES_NONE, self.reset_key, sizeof self.reset_key);
    self.ready = true;
}

bool quic_process_ready(void)
{
    return self.ready;
}

uint32_t quic_process_number(void)
{
    return self.number;
}

struct hash_key quic_id_key(void)
{
    return self.id_key;
}

const uint8_t *quic_token_key(void)
{
    return self.token_key;
}

uint32_t quic_worker_number(void)
{
    return worker_index(worker_self());
}

void quic_reset_token(const ngtcp2_cid *cid, uint8_t *ret_token)
{
    int e =
        ngtcp2_crypto_generate_stateless_reset_token(ret_token, self.reset_key, sizeof self.reset_key, cid);
    must(e == 0);
}

/* ---- to another worker ---- */

struct parcel {
    struct mail mail;
    unsigned to;
    struct addr at, peer;
    struct udp_local local;
    size_t len;
    uint8_t ecn;
    uint8_t data[];
};

static void parcel_open(struct mail *m)
{
    struct parcel *p = container_of(m, struct parcel, mail);
    atomic_fetch_sub_explicit(&self.inboxes[p->to].mails, 1, memory_order_relaxed);
    if (quic_here.ready) {
        const struct quic_datagram d = { .at = &p->at,
                                         .peer = &p->peer,
                                         .local = &p->local,
                                         .data = p->data,
                                         .len = p->len,
                                         .ecn = p->ecn,
                                         .forwarded = true };
        quic_receive(&d);
    }
    mem_free(p);
}

static void post(unsigned to, const struct quic_datagram *d)
{
    if (atomic_fetch_add_explicit(&self.inboxes[to].mails, 1, memory_order_relaxed) >= MAILS_MAX) {
        atomic_fetch_sub_explicit(&self.inboxes[to].mails, 1, memory_order_relaxed);
        quic_inc(QUIC_DROPPED);
        return;
    }
    struct parcel *p = mem_must_get(sizeof *p + d->len);
    p->mail.run = parcel_open;
    p->to = to;
    p->at = *d->at;
    p->peer = *d->peer;
    p->local = *d->local;
    p->len = d->len;
    p->ecn = d->ecn;
    memcpy(p->data, d->data, d->len);
    worker_post(self.workers[to], &p->mail);
}

/* ---- to a process before this one ---- */

/* What stands before a datagram in an inlet: both ends are versions of weir, perhaps not the same. */
struct inlet_head {
    uint32_t layout; /* 1 */
    uint32_t ecn;    /* 0 from a version that does not look */
    struct addr at, peer;
    struct udp_local local;
};
#define INLET_LAYOUT 1

static struct elder *find_elder(uint32_t process)
{
    unsigned n = atomic_load(&elders_count);
    for (unsigned i = 0; i < n; i++) {
        if (elders[i].process == process)
            return &elders[i];
    }
    return NULL;
}

void quic_elder_add(uint32_t process, const int *fds, unsigned count)
{
    unsigned n = atomic_load(&elders_count);
    struct elder *e = find_elder(process);
    if (!e && n < ELDERS_MAX)
        e = &elders[n++];
    if (!e) {
        for (unsigned i = 0; i < count; i++)
            close(fds[i]);
        return;
    }
    int *all = mem_must_get((e->count + count + 1) * sizeof *all);
    if (e->count)
        memcpy(all, e->fds, e->count * sizeof *all);
    memcpy(all + e->count, fds, count * sizeof *all);
    mem_free(e->fds);
    e->fds = all;
    e->count += count;
    e->process = process;
    atomic_store(&elders_count, n);
}

void quic_elders_each(void (*fn)(void *arg, uint32_t process, const int *fds, unsigned count), void *arg)
{
    unsigned n = atomic_load(&elders_count);
    for (unsigned i = 0; i < n; i++) {
        if (!atomic_load(&elders[i].ended))
            fn(arg, elders[i].process, elders[i].fds, elders[i].count);
    }
}

/* False: it has ended, and its connections with it. */
static bool pass_down(struct elder *e, unsigned worker, const struct quic_datagram *d)
{
    struct inlet_head head;
    memset(&head, 0, sizeof head);
    head.layout = INLET_LAYOUT;
    head.ecn = d->ecn;
    head.at = *d->at;
    head.peer = *d->peer;
    head.local = *d->local;
    struct iovec parts[] = { { &head, sizeof head }, { (void *)(uintptr_t)d->data, d->len } };
    const struct msghdr m = { .msg_iov = parts, .msg_iovlen = 2 };
    if (sendmsg(e->fds[worker], &m, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
        return true;
    if (errno == EAGAIN || errno == ENOBUFS) {
        quic_inc(QUIC_DROPPED); /* as on any path */
        return true;
    }
    atomic_store(&e->ended, true);
    return false;
}

bool quic_route(const struct quic_place *p, const struct quic_datagram *d)
{
    if (p->process == self.number) {
        if (p->worker == quic_worker_number() || p->worker >= self.count)
            return false;
        post(p->worker, d);
        return true;
    }
    unsigned n = atomic_load_explicit(&elders_count, memory_order_acquire);
    for (unsigned i = 0; i < n; i++) {
        struct elder *e = &elders[i];
        if (e->process == p->process && p->worker < e->count &&
            !atomic_load_explicit(&e->ended, memory_order_relaxed))
            return pass_down(e, p->worker, d);
    }
    return false;
}

bool quic_is_of_successor(const struct quic_place *p)
{
    uint32_t after = (p->process - self.number) % QUIC_PROCESSES_MAX;
    return after >= 1 && after <= ELDERS_MAX;
}

/* ---- from the next process ---- */

struct inlet {
    int fd;
    struct fiber *reader;
    struct turn_hook read;
    bool ended;
};
static _Thread_local struct inlet inlet_here;

static void read_inlet(struct turn_hook *h)
{
    struct inlet *in = container_of(h, struct inlet, read);
    struct inlet_head head;
    static _Thread_local uint8_t data[2048];
    unsigned n;
    for (n = 0; n < INLET_READS_PER_TURN; n++) {
        struct iovec parts[] = { { &head, sizeof head }, { data, sizeof data } };
        struct msghdr m = { .msg_iov = parts, .msg_iovlen = 2 };
        ssize_t len = recvmsg(in->fd, &m, MSG_DONTWAIT);
        if (len == 0)
            in->ended = true;
        if (len <= 0)
            break;
        if ((size_t)len <= sizeof head || head.layout != INLET_LAYOUT || m.msg_flags & MSG_TRUNC)
            continue;
        const struct quic_datagram d = { .at = &head.at,
                                         .peer = &head.peer,
                                         .local = &head.local,
                                         .data = data,
                                         .len = (size_t)len - sizeof head,
                                         .ecn = (uint8_t)head.ecn,
                                         .forwarded = true };
        if (quic_here.ready)
            quic_receive(&d);
    }
    if (n == INLET_READS_PER_TURN)
        worker_end_of_turn(h);
    else if (in->reader)
        fiber_wake(in->reader);
}

static void wait_at_inlet(void *arg)
{
    struct inlet *in = arg;
    err e = OK;
    in->reader = fiber_self();
    while (!in->ended && e != ERR_CANCELLED) {
        e = io_wait_fd(in->fd, POLLIN, DEADLINE_NONE);
        if (e == OK) {
            worker_end_of_turn(&in->read);
            e = fiber_wait(DEADLINE_NONE);
        }
    }
    in->reader = NULL;
    close(in->fd);
}

struct opening {
    struct mail mail;
    int fd;
};

static void open_inlet(struct mail *m)
{
    struct opening *o = container_of(m, struct opening, mail);
    inlet_here = (struct inlet){ .fd = o->fd, .read.run = read_inlet };
    mem_free(o);
    fiber_spawn(wait_at_inlet, &inlet_here);
}

err quic_inlets(const int **ret_fds, unsigned *ret_count)
{
    if (!self.inlets) {
        int *fds = mem_must_get(self.count * sizeof *fds);
        for (unsigned i = 0; i < self.count; i++) {
            int pair[2];
            if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
                err e = err_from_errno(errno);
                while (i-- > 0)
                    close(fds[i]); /* the worker's end sees it */
                mem_free(fds);
                return e;
            }
            int size = INLET_BYTES;
            (void)!setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
            fds[i] = pair[0];
            struct opening *o = mem_must_get(sizeof *o);
            o->mail.run = open_inlet;
            o->fd = pair[1];
            worker_post(self.workers[i], &o->mail);
        }
        self.inlets = fds;
    }
    *ret_fds = self.inlets;
    *ret_count = self.count;
    return OK;
}

#endif
