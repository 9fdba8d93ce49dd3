/* The client of `weir ctl`: one HTTP/1.0 request, so that an answer ends with its connection. */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "command/ctl.h"
#include "command/ctl_tls.h"

#define HEAD_BYTES_MAX (32 * 1024)
#define ANSWER_BYTES_MAX ((size_t)256 << 20)
#define WAIT_S 120 /* an upgrade may take its start_timeout */

static int unreachable(const struct ctl *c, const char *what)
{
    char text[ADDR_TEXT_BYTES_MAX];
    int why = errno;
    addr_print(&c->address, text);
    fprintf(stderr, "weir: %s %s: %s\n", what, text, why ? strerror(why) : "it closed the connection");
    return -1;
}

static int open_connection(const struct ctl *c)
{
    int fd = socket(c->address.sock.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval wait = { .tv_sec = WAIT_S };
    if (fd < 0)
        return unreachable(c, "cannot make a socket for");
    (void)!setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    int result = -1;
    if (connect(fd, &c->address.sock.any, c->address.len) != 0)
        result = unreachable(c, "cannot reach");
    else if (!c->tls || ctl_tls_connect(c->tls, fd))
        return fd;
    close(fd);
    return result;
}

static void close_connection(struct ctl *c, int fd)
{
    ctl_tls_end(c->tls);
    close(fd);
}

static bool send_all(struct ctl *c, int fd, struct bytes text)
{
    while (text.len) {
        ssize_t n =
            c->tls ? ctl_tls_send(c->tls, text.ptr, text.len) : send(fd, text.ptr, text.len, MSG_NOSIGNAL);
        if (n < 0)
            return false;
        text = bytes_skip(text, (size_t)n);
    }
    return true;
}

static int send_request(struct ctl *c, const char *method, const char *target, struct bytes body)
{
    struct text t = { 0 };
    int fd = open_connection(c);
    if (fd < 0)
        return fd;
    text_add(&t, bytes_from(method));
    text_add(&t, BYTES(" "));
    text_add(&t, bytes_from(target));
    text_add(&t, BYTES(" HTTP/1.0\r\nHost: weir\r\n"));
    if (c->token[0]) {
        text_add(&t, BYTES("Authorization: Bearer "));
        text_add(&t, bytes_from(c->token));
        text_add(&t, BYTES("\r\n"));
    }
    text_print(&t, "Content-Length: %zu\r\n\r\n", body.len);
    text_add(&t, body);
    bool sent = send_all(c, fd, (struct bytes){ t.at, t.len });
    text_free(&t);
    if (sent)
        return fd;
    int result = unreachable(c, "cannot ask");
    close_connection(c, fd);
    return result;
}

/* How long the head is, its empty line included; 0: it is not all there. */
static size_t head_len(struct bytes text)
{
    for (size_t i = 3; i < text.len; i++) {
        if (memcmp(text.ptr + i - 3, "\r\n\r\n", 4) == 0)
            return i + 1;
    }
    return 0;
}

static unsigned status_of(struct bytes head)
{
    uint64_t status = 0;
    if (head.len < 12 || memcmp(head.ptr, "HTTP/1.", 7) != 0 ||
        !bytes_to_u64((struct bytes){ head.ptr + 9, 3 }, &status))
        return 0;
    return (unsigned)status;
}

/* More of it, to the end of t. 0: the end, -1: failed. */
static ssize_t receive(struct ctl *c, int fd, struct text *t)
{
    char part[16 * 1024];
    ssize_t n;
    do
        n = c->tls ? ctl_tls_recv(c->tls, part, sizeof part) : recv(fd, part, sizeof part, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        text_add(t, (struct bytes){ part, (size_t)n });
    return n;
}

int ctl_ask(struct ctl *c, const char *method, const char *target, struct bytes body,
            struct ctl_answer *ret_answer)
{
    struct text t = { 0 };
    ssize_t n = 1;
    int fd = send_request(c, method, target, body);
    if (fd < 0)
        return CTL_UNREACHABLE;
    while (n > 0 && t.len < ANSWER_BYTES_MAX)
        n = receive(c, fd, &t);
    errno = n < 0 ? errno : 0;
    size_t head = head_len((struct bytes){ t.at, t.len });
    unsigned status = status_of((struct bytes){ t.at, head });
    if (n < 0 || !status) {
        unreachable(c, "no answer from");
        status = 0;
    } else {
        *ret_answer =
            (struct ctl_answer){ status,
                                 arena_copy(&c->arena, bytes_skip((struct bytes){ t.at, t.len }, head)) };
    }
    close_connection(c, fd);
    text_free(&t);
    return status ? CTL_OK : CTL_UNREACHABLE;
}

static int say_problem(struct ctl *c, const struct ctl_answer *a)
{
    struct json *j = NULL;
    if (json_read(a->body, &c->arena, &j) == OK && json_member_text(j, "detail").len)
        fprintf(stderr, "weir: %.*s\n", BYTES_ARG(json_member_text(j, "detail")));
    else
        fprintf(stderr, "weir: the answer is %u\n", a->status);
    return CTL_REFUSED;
}

int ctl_get_good(struct ctl *c, const char *method, const char *target, struct bytes body,
                 struct ctl_answer *ret_answer)
{
    int result = ctl_ask(c, method, target, body, ret_answer);
    if (result == CTL_OK && ret_answer->status >= 300)
        return say_problem(c, ret_answer);
    return result;
}

static void print_all(struct ctl *c, int fd, struct text *t, size_t from)
{
    do {
        size_t len = t->len - from;
        if (fwrite(t->at + from, 1, len, stdout) != len || fflush(stdout) != 0)
            return;
        t->len = from = 0;
    } while (receive(c, fd, t) > 0);
}

int ctl_stream(struct ctl *c, const char *target)
{
    struct text t = { 0 };
    size_t head = 0;
    int fd = send_request(c, "GET", target, BYTES_NONE);
    if (fd < 0)
        return CTL_UNREACHABLE;
    while (!(head = head_len((struct bytes){ t.at, t.len })) && t.len < HEAD_BYTES_MAX) {
        if (receive(c, fd, &t) <= 0)
            break;
    }
    unsigned status = status_of((struct bytes){ t.at, head });
    bool good = status >= 200 && status < 300;
    int result = status ? CTL_OK : CTL_UNREACHABLE;
    if (!status) {
        unreachable(c, "no answer from");
    } else if (!good) {
        while (receive(c, fd, &t) > 0) {
        }
        result = say_problem(c, &(struct ctl_answer){ status, { t.at + head, t.len - head } });
    } else {
        print_all(c, fd, &t, head);
    }
    close_connection(c, fd);
    text_free(&t);
    return result;
}

const char *ctl_escaped(struct ctl *c, const char *text)
{
    static const char hex[] = "0123456789ABCDEF";
    char *out = arena_get(&c->arena, strlen(text) * 3 + 1), *at = out;
    if (!out)
        return "";
    for (; *text; text++) {
        char l = ascii_lower(*text);
        if ((l >= 'a' && l <= 'z') || (*text >= '0' && *text <= '9') || strchr("-._~:", *text)) {
            *at++ = *text;
            continue;
        }
        *at++ = '%';
        *at++ = hex[(unsigned char)*text >> 4];
        *at++ = hex[(unsigned char)*text & 15];
    }
    *at = 0;
    return out;
}
