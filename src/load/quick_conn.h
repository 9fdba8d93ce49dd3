/* quick_conn: one of quick's connections, and what a protocol does with it. Inside quick only.
 *
 *   NONE ──▶ OPENING ──▶ BUSY ◀──▶ IDLE (takes one more; open loop only)
 *    ▲                     │         │
 *    └─────── closed, failed ────────┘
 *
 * Requests: spare ──asked──▶ waiting ──sent──▶ flight ──answered, failed──▶ spare */
#pragma once
#include "base/list.h"
#include "load/quick.h"

enum conn_state { CONN_NONE, CONN_OPENING, CONN_BUSY, CONN_IDLE };

struct asked {
    struct link link; /* of spare, waiting or flight */
    uint64_t due_ns, sent_ns;
    const struct quick_request *request;
    bool again; /* its second connection */
};

struct conn {
    struct quick *quick;
    struct io *io;       /* of HTTP/1.1 and 2, while it is connected */
    struct link link;    /* of the worker's spare, opening or idle */
    struct link spare;   /* struct asked */
    struct link waiting; /* to be sent */
    struct link flight;  /* in the order in which they were sent */
    uint8_t state;
    uint8_t why;  /* err: what woke it */
    bool in_body; /* more of the answer at hand is to come before more is asked */
    bool over;    /* nothing more comes on it */
    bool connected;
    uint32_t outstanding; /* of waiting and flight */
    uint32_t room;        /* so many may be, by now */
    uint32_t number;
};

struct quick {
    struct load_worker *lw;
    const struct quick_plan *plan;
    struct conn **conns;
    unsigned conns_count, openers, readers;
    uint64_t next;                    /* number of the request to send next */
    struct link spare, opening, idle; /* struct conn */
};

/* Members are called from fibers; close and unrest from anywhere. */
struct quick_protocol {
    size_t conn_bytes, asked_bytes; /* of what begins with a struct conn, a struct asked */
    /* Connects, and waits until requests can be sent. */
    err (*dial)(struct conn *c, uint64_t deadline_us);
    /* Ends the connection; after a dial that succeeded. */
    void (*close)(struct conn *c);
    /* quick_woke is called, once, when there is something to take, the end has come, or the deadline; not
     * after unrest. */
    void (*rest)(struct conn *c, uint64_t deadline_us);
    void (*unrest)(struct conn *c);
    /* Those that wait, as far as they may go. wait: as long as it takes. Sets c->over when it took its end.
     */
    err (*send)(struct conn *c, uint64_t now_ns, bool wait);
    /* Reads what is there. */
    err (*take)(struct conn *c, uint64_t now_ns);
    /* It rested until the server has ended it, it broke, or the answer is overdue: OK when it may go on. */
    err (*woke)(struct conn *c, err why);
};

/* On the loop's stack. owner: the conn. */
void quick_woke(void *owner, err why);

/* ---- of protocols over a stream socket */

/* To c->io, TLS and all. */
err quick_dial_io(struct conn *c, uint64_t deadline_us);
void quick_close_io(struct conn *c);
void quick_rest_io(struct conn *c, uint64_t deadline_us);
void quick_unrest_io(struct conn *c);

/* The first that waits goes out now. */
struct asked *quick_sent(struct conn *c, uint64_t now_ns);
struct quick_answer {
    unsigned status;
    uint64_t bytes;
};
void quick_answered(struct conn *c, struct asked *a, const struct quick_answer *answer, uint64_t now_ns);
/* The server has not looked at it: it waits again, for another connection; the second time it has failed. */
void quick_refused(struct conn *c, struct asked *a);
/* Of streams: the end of one. OK: answered; ERR_REFUSED: quick_refused; all else: it has failed. */
void quick_done(struct conn *c, struct asked *a, err why, const struct quick_answer *answer, uint64_t now_ns);
/* Of streams: the server takes so many at a time, or, ending, no more. */
void quick_room(struct conn *c, uint64_t most, uint32_t flying, bool ending);
/* Of streams: what waits goes out while there is room; ask says how, and flying counts them. */
void quick_send_streams(struct conn *c, uint64_t now_ns, uint32_t *flying,
                        err (*ask)(struct conn *c, struct asked *a));
/* Of streams, when a rest has ended with why: those overdue are given up, each with cancel. ERR_CLOSED: the
 * connection too, on which nothing has come meanwhile. heard_ns: when an answer last came. */
err quick_give_up(struct conn *c, err why, uint64_t heard_ns,
                  void (*cancel)(struct conn *c, struct asked *a));
/* That one has failed. */
void quick_failed(struct conn *c, struct asked *a, enum load_error why);
/* All of it has to be there by then. */
uint64_t quick_deadline(const struct conn *c, const struct asked *a);

static inline struct asked *quick_first(const struct conn *c)
{
    return container_of(c->flight.next, struct asked, link);
}
