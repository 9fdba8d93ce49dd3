#include "gate/access_log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/mem.h"
#include "core/log.h"

#define PATH_BYTES_MAX 4096
#define SYSLOG_DEFAULT "/dev/log"
#define SYSLOG_WAIT_MS 100   /* for room in the receiver's queue; then the line is lost */
#define SYSLOG_AGAIN_MS 1000 /* between tries to reach one that does not listen */
#define SYSLOG_BATCH 32      /* messages in one system call */

struct access_log_sink {
    bool syslog;
    bool stuck; /* it was waited for in vain: no more waiting before it has taken something */
    int fd;     /* -1: syslog is not to be reached at the moment */
    struct addr addr;
    uint64_t again_ms; /* when to try to reach it once more */
    char path[PATH_BYTES_MAX];
};

const char *const access_log_facility_words[] = { "kern",     "user",   "mail",   "daemon", "auth",
                                                  "syslog",   "lpr",    "news",   "uucp",   "cron",
                                                  "authpriv", "ftp",    "ntp",    "audit",  "alert",
                                                  "clock",    "local0", "local1", "local2", "local3",
                                                  "local4",   "local5", "local6", "local7", NULL };

/* ---- where ---- */

bool access_log_sink_is_syslog(struct bytes path)
{
    return bytes_eq(path, BYTES("syslog")) || bytes_starts(path, BYTES("syslog:"));
}

static err no_address(struct bytes path, struct diag *reterr)
{
    diag_set(
        reterr,
        "access_log: \"%.*s\" names no syslog: expected syslog, syslog:unix:/path, syslog:10.0.0.1:514 or "
        "syslog:name:514",
        BYTES_ARG(path));
    return ERR_CONF;
}

/* The first address of a name; looked up when the configuration is used. */
static err resolve(struct bytes text, struct bytes path, struct addr *ret_addr, struct diag *reterr)
{
    char host[256];
    size_t colon = text.len;
    while (colon > 0 && text.ptr[colon - 1] != ':')
        colon--;
    uint64_t number;
    if (colon < 2 || colon >= sizeof host || !bytes_to_u64(bytes_skip(text, colon), &number) || number == 0 ||
        number > 65535)
        return no_address(path, reterr);
    snprintf(host, sizeof host, "%.*s", (int)colon - 1, text.ptr);
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)number);
    struct addrinfo hints = { .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found;
    int why = getaddrinfo(host, port, &hints, &found);
    if (why) {
        diag_set(reterr, "access_log: cannot find the address of \"%.*s\": %s", BYTES_ARG(text),
                 gai_strerror(why));
        return ERR_CONF;
    }
    *ret_addr = (struct addr){ .len = found->ai_addrlen };
    memcpy(&ret_addr->sock, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return OK;
}

static err syslog_addr(struct bytes path, struct addr *ret_addr, struct diag *reterr)
{
    if (bytes_eq(path, BYTES("syslog")))
        return addr_parse(BYTES("unix:" SYSLOG_DEFAULT), ret_addr);
    struct bytes text = bytes_skip(path, sizeof "syslog:" - 1);
    if (addr_parse(text, ret_addr) == OK) {
        bool nowhere =
            ret_addr->sock.any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&ret_addr->sock.v6.sin6_addr);
        return nowhere ? no_address(path, reterr) : OK;
    }
    return resolve(text, path, ret_addr, reterr);
}

err access_log_sink_check(struct bytes path, struct diag *reterr)
{
    struct addr a;
    if (path.len == 0 || path.len >= PATH_BYTES_MAX) {
        diag_set(reterr, "access_log: the path is empty or longer than %d bytes", PATH_BYTES_MAX - 1);
        return ERR_CONF;
    }
    return access_log_sink_is_syslog(path) ? syslog_addr(path, &a, reterr) : OK;
}

/* ---- files ---- */

static int open_path(const char *path)
{
    if (strcmp(path, "stdout") == 0)
        return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

static uint64_t lines_in(struct bytes text)
{
    uint64_t lines = 0;
    for (size_t i = 0; i < text.len; i++)
        lines += text.ptr[i] == '\n';
    return lines;
}

static uint64_t write_file(const struct access_log_sink *s, struct bytes text)
{
    static struct log_limit limit = LOG_LIMIT(1);
    while (text.len) {
        ssize_t n = write(s->fd, text.ptr, text.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) { /* a full disk: the service goes on, the lines do not */
            log_limited(&limit, LOG_ERROR, "access_log", "cannot write: %s", strerror(errno));
            return lines_in(text);
        }
        text = bytes_skip(text, (size_t)n);
    }
    return 0;
}

/* ---- syslog ---- */

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void say_unreachable(const struct access_log_sink *s, int why)
{
    static struct log_limit limit = LOG_LIMIT(1);
    log_limited(&limit, LOG_WARN, "access_log", "cannot send to %s: %s; lines are dropped", s->path,
                strerror(why));
}

static void connect_syslog(struct access_log_sink *s)
{
    s->again_ms = now_ms() + SYSLOG_AGAIN_MS;
    s->fd = socket(s->addr.sock.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd >= 0 && connect(s->fd, &s->addr.sock.any, s->addr.len) == 0)
        return;
    say_unreachable(s, errno);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}

static void disconnect_syslog(struct access_log_sink *s, int why)
{
    say_unreachable(s, why);
    close(s->fd);
    s->fd = -1;
    s->again_ms = now_ms() + SYSLOG_AGAIN_MS;
}

/* One message a line, without its newline. */
static unsigned gather(struct bytes *lines, struct iovec iov[SYSLOG_BATCH],
                       struct mmsghdr messages[SYSLOG_BATCH])
{
    unsigned count = 0;
    struct bytes line;
    while (count < SYSLOG_BATCH && lines->len && bytes_split(lines, '\n', &line)) {
        size_t len = line.len < ACCESS_LOG_SYSLOG_BYTES_MAX ? line.len : ACCESS_LOG_SYSLOG_BYTES_MAX;
        iov[count] = (struct iovec){ (void *)(uintptr_t)line.ptr, len };
        messages[count] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &iov[count], .msg_iovlen = 1 } };
        count++;
    }
    return count;
}

static bool is_full(int why)
{
    return why == EAGAIN || why == ENOBUFS;
}

static bool wait_for_room(struct access_log_sink *s)
{
    struct pollfd p = { .fd = s->fd, .events = POLLOUT };
    s->stuck = poll(&p, 1, s->stuck ? 0 : SYSLOG_WAIT_MS) <= 0;
    return !s->stuck;
}

/* How many were lost. Of UDP the kernel tells the next send that the one before was refused: that one is sent
 * again. */
static unsigned send_batch(struct access_log_sink *s, struct mmsghdr *messages, unsigned count)
{
    unsigned sent = 0;
    bool refused = false;
    while (sent < count) {
        int n = sendmmsg(s->fd, messages + sent, count - sent, MSG_NOSIGNAL);
        if (n > 0) {
            s->stuck = false;
            sent += (unsigned)n;
            continue;
        }
        const int why = errno;
        if (why == EINTR || (is_full(why) && wait_for_room(s)))
            continue;
        if (why == ECONNREFUSED && s->addr.sock.any.sa_family != AF_UNIX && !refused) {
            refused = true;
            continue;
        }
        if (!is_full(why))
            disconnect_syslog(s, why);
        break;
    }
    return count - sent;
}

static uint64_t write_syslog(struct access_log_sink *s, struct bytes lines)
{
    struct iovec iov[SYSLOG_BATCH];
    struct mmsghdr messages[SYSLOG_BATCH];
    uint64_t lost = 0;
    while (lines.len) {
        if (s->fd < 0 && now_ms() >= s->again_ms)
            connect_syslog(s);
        if (s->fd < 0)
            return lost + lines_in(lines);
        unsigned count = gather(&lines, iov, messages);
        lost += send_batch(s, messages, count);
    }
    return lost;
}

/* ---- both ---- */

err access_log_sink_open(struct bytes path, struct access_log_sink **ret_sink, struct diag *reterr)
{
    err e = access_log_sink_check(path, reterr);
    if (e)
        return e;
    struct access_log_sink *s = mem_get(sizeof *s);
    if (!s)
        return ERR_MEMORY;
    s->fd = -1;
    s->syslog = access_log_sink_is_syslog(path);
    memcpy(s->path, path.ptr, path.len);
    if (s->syslog) {
        e = syslog_addr(path, &s->addr, reterr);
        if (!e)
            connect_syslog(s);
    } else {
        s->fd = open_path(s->path);
        if (s->fd < 0) {
            diag_set(reterr, "access_log: cannot open \"%s\": %s", s->path, strerror(errno));
            e = ERR_CONF;
        }
    }
    if (e) {
        access_log_sink_close(s);
        return e;
    }
    *ret_sink = s;
    return OK;
}

void access_log_sink_reopen(struct access_log_sink *s)
{
    if (s->syslog)
        return;
    int fd = open_path(s->path);
    if (fd < 0) {
        log_error("access_log", "cannot open %s again: %s; going on with the old file", s->path,
                  strerror(errno));
        return;
    }
    close(s->fd);
    s->fd = fd;
}

void access_log_sink_close(struct access_log_sink *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        close(s->fd);
    mem_free(s);
}

uint64_t access_log_sink_write(struct access_log_sink *s, struct bytes lines)
{
    return s->syslog ? write_syslog(s, lines) : write_file(s, lines);
}
