/* serve: an HTTP/1.1 origin server on many listeners, on one thread and on an epoll descriptor of its
 * owner's: alone in test/origin/origin.c, together with the clients in bench/load.c.
 *
 *      owner's epoll ──▶ serve_handle.ready ──▶ read ─▶ request_parse ─▶ answer_* ─▶ one send a turn
 *
 * Everything read from one connection in one turn is answered in one send. Paths are in answer.h. */
#pragma once
#include "base/addr.h"
#include "base/bytes.h"
#include "base/err.h"

/* What an epoll event's data.ptr points at, the owner's own descriptors included. */
struct serve_handle {
    void (*ready)(struct serve_handle *h, uint32_t events);
};

struct serve_options {
    size_t body_bytes;      /* of the answer to a path that means nothing special */
    const char *congestion; /* of accepted connections; NULL: the system's */
};

struct serve;

/* epoll_fd is borrowed. */
err serve_open(int epoll_fd, const struct serve_options *options, struct serve **ret) CHECK_RESULT;
/* name: what X-Server says, copied; empty: the address. ret_bound: with the port that port 0 became; may be
 * NULL. */
err serve_listen(struct serve *s, const struct addr *address, struct bytes name,
                 struct addr *ret_bound) CHECK_RESULT;
/* Milliseconds until serve_turn has something to do; -1: nothing waits. For epoll_wait. */
int serve_wait_ms(const struct serve *s);
/* Runs the timers that are due; after every epoll_wait. */
void serve_turn(struct serve *s);
/* Since the start, over all listeners. */
void serve_totals(const struct serve *s, uint64_t *ret_requests, uint64_t *ret_malformed,
                  uint64_t *ret_connections);
/* Closes listeners (and removes the paths of unix sockets); connections are left to the end of the process.
 */
void serve_close(struct serve *s);
