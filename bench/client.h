/* client: the bench's HTTP/1.1 clients: many connections to one address on one thread, in a closed loop (a
 * request goes out when an answer has come in) or held idle after one request each. Answers are checked while
 * measuring: status and length of every one, all bytes of a body up to 64 KiB, and of one larger body in
 * sixteen. */
#pragma once
#include "base/addr.h"
#include "base/histogram.h"
#include "test/origin/serve.h"

struct client_options {
    struct addr target;
    unsigned connections;   /* of the closed loop */
    unsigned pipeline;      /* requests in flight on each */
    bool close;             /* a new connection for every request */
    bool tls;               /* client_tls_open was called */
    uint64_t body_bytes;    /* that every answer must have */
    const char *congestion; /* NULL: the system's */
};

struct client_results {
    uint64_t answers;
    uint64_t failures;   /* a wrong answer, or a connection that broke in the middle of one */
    uint64_t reconnects; /* the proxy ended a connection between two answers */
    const char *failure; /* the last one; NULL: none */
    struct histogram latency;
};

struct clients;

/* epoll_fd is borrowed. Opens nothing yet. */
struct clients *clients_open(int epoll_fd, const struct client_options *options);
/* Starts the closed loop, or goes on with it. */
void clients_start(struct clients *all);
/* Sends no more; what is in flight still comes in. */
void clients_rest(struct clients *all);
bool clients_are_resting(const struct clients *all);
/* Opens connections until so many are held idle, each after one answered request; clients_held says how far
 * it is. */
void clients_hold(struct clients *all, unsigned count);
unsigned clients_held(const struct clients *all);
/* Since the last clients_reset. */
const struct client_results *clients_results(const struct clients *all);
void clients_reset(struct clients *all);
