/* load: a run of the load generator.
 *
 *      control worker (main thread)                        load workers (-t), nothing shared
 *      ┌────────────────────────────┐   takes stats    ┌──────────────────────────────────────┐
 *      │ every interval: live view, │ ◀──────────────  │ pace: what is due ─▶ carrier: sends, │
 *      │ series, metrics, the end   │   by mail        │ reads, counts                        │
 *      └────────────────────────────┘                  └──────────────────────────────────────┘
 *
 * A carrier is what sends: quick (one request again and again), replay (those of a log), scenario (users that
 * go through steps). In a closed loop it sends the next when an answer is in; in an open loop pace tells it
 * what is due, whatever the answers do. The options are immutable once it runs. */
#pragma once
#include <signal.h>

#include "base/diag.h"
#include "core/worker.h"
#include "load/arrivals.h"
#include "load/ports.h"
#include "load/stats.h"
#include "load/target.h"
#include "net/tcp.h"

#define LOAD_THREADS_MAX 256u
#define LOAD_CONNECTIONS_MAX 1000000u
#define LOAD_PIPELINE_MAX 1024u
#define LOAD_SOURCES_MAX 64u

struct fiber;
struct load_worker;
struct quic_client_tls;
struct ssl_ctx_st;

struct load_carrier {
    const char *unit; /* "connection": what there are load->connections of */
    /* On the worker, from a fiber; lw->carrier is its own. ERR_MEMORY. */
    err (*open)(struct load_worker *lw);
    /* Closed loop: goes to work. */
    void (*begin)(struct load_worker *lw);
    /* Open loop: one more is due. False: nobody is free; load_worker_free says when. From a fiber; never
     * waits. */
    bool (*due)(struct load_worker *lw, uint64_t due_ns);
    /* lw->stopping is set: who waits for nothing that is in flight ends. NULL: nobody does. */
    void (*stop)(struct load_worker *lw);
    /* Ends connections; nothing is in flight that matters any more, and no fiber of it is left. */
    void (*close)(struct load_worker *lw);
};

struct load {
    const struct load_carrier *carrier;
    const void *plan;              /* the carrier's: what to send */
    const struct tcp_options *tcp; /* of each source in turn */
    unsigned tcp_count;
    uint16_t port_first, port_last;     /* the system's; 0: not known */
    struct ssl_ctx_st *tls;             /* https; NULL: plain */
    const char *server_name;            /* asked for and checked with TLS */
    bool http2, http3;                  /* else HTTP/1.1 */
    const struct quic_client_tls *quic; /* of HTTP/3 */
    unsigned threads;
    unsigned share_first, shares; /* this process has `threads` of so many shares, from that one on: the other
                                   * machines' have the rest */
    unsigned connections;         /* of all shares; users, with a scenario */
    unsigned kinds_count;
    const struct bytes *kinds; /* their names */
    uint64_t timeout_us;       /* of a connect, and of an answer */
    uint64_t seed;
    uint64_t requests_max; /* of all shares; 0: no bound */
    bool open_loop;
    enum arrivals_kind arrivals;
    const uint64_t *times; /* when each is due, ns from the beginning, instead of a curve; NULL: none */
    size_t times_count;
    enum loop_kind loop;
};

/* One worker's. That worker only, but for what is said to be read by all. */
struct load_worker {
    const struct load *load;
    struct worker *worker;
    unsigned index;
    void *carrier;
    struct load_stats *stats; /* of this interval */
    uint64_t left;            /* requests that may still be sent (UINT64_MAX: any number) */
    uint32_t in_flight;       /* requests; with a scenario visits */
    uint32_t connections;     /* open */
    bool stopping;            /* nothing new is begun */
    bool aborting;            /* and what is in flight is given up */
    uint64_t random;          /* arrivals_random's */
    uint64_t last_ns;         /* when the last answer was in */
    /* pace.c */
    struct arrivals schedule;
    const struct curve *curve; /* NULL: a closed loop of quick */
    uint64_t start_ns;         /* of the schedule and the curve, load_now_ns's clock */
    uint64_t next_ns;          /* due next, from then; ARRIVALS_NONE: nothing */
    uint64_t starved_ns;       /* until when nobody was free */
    struct fiber *pacer;
    int timer_fd;
    bool starving;
    struct ports ports[LOAD_SOURCES_MAX]; /* dial.c; where load->port_first is known */
};

/* SIGINT and SIGTERM come by the descriptor while it is open, for a fiber to wait for; what is still pending
 * then is dropped. Main thread, before its worker begins and after it has ended. ERR_SYSTEM and the like. */
struct load_signals {
    int fd;
    sigset_t before;
};
err load_signals_open(struct load_signals *s) CHECK_RESULT;
void load_signals_close(struct load_signals *s);
/* How many have come since the last look. */
unsigned load_signals_take(const struct load_signals *s);

/* CLOCK_MONOTONIC, now; not the turn's time. */
uint64_t load_now_ns(void);

/* Which of load->shares the worker has. */
static inline unsigned load_share_number(const struct load_worker *lw)
{
    return lw->load->share_first + lw->index;
}

/* How many of `all` the share at index has. */
static inline uint64_t load_share(uint64_t all, unsigned index, unsigned count)
{
    return all / count + (index < all % count);
}

/* Connects the number-th connection, with TLS when there is a context. From a fiber. */
err load_dial(struct load_worker *lw, const struct addr *to, unsigned number, uint64_t deadline_us,
              struct io **ret_io) CHECK_RESULT;

/* ---- pace.c: on the worker */

/* Sends what the curve says from start_ns on, instead of what was before. ERR_SYSTEM. */
err pace_start(struct load_worker *lw, const struct curve *curve, uint64_t start_ns) CHECK_RESULT;
/* No more is due. What was due until now and was not sent is counted as LOAD_ERROR_UNSENT of kind 0. */
void pace_stop(struct load_worker *lw);
/* The carrier has somebody free again. */
void load_worker_free(struct load_worker *lw);
