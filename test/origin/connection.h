/* connection: what serve.c (bytes in and out, timers) and answer.c (what to answer) share. Not for others. */
#pragma once
#include "test/origin/request.h"
#include "test/origin/serve.h"

#define SERVE_IN_BYTES (256u * 1024)
#define SERVE_OUT_BYTES (256u * 1024)
#define SERVE_ECHO_BYTES_MAX (1024u * 1024) /* of a request's body that /echo and /raw give back */

struct counts {
    uint64_t requests;         /* whole heads, without those to /_count and /_control */
    uint64_t malformed;        /* answered with 400 */
    uint64_t cut;              /* the peer closed in the middle of a request */
    uint64_t connections;      /* accepted */
    uint64_t connections_open; /* now */
    const char *mistake;       /* the last malformed one's; NULL: none */
};

/* How a listener behaves for now: set through /_control. */
struct behaviour {
    bool health_fail, hang, abort, close;
    uint64_t delay_ms;
    unsigned status; /* 0: as the path says */
};

struct listener {
    struct serve_handle handle;
    struct serve *serve;
    int fd;
    struct addr address;
    struct behaviour behaviour;
    struct counts counts;
    char name[64];
    char ok_head[192]; /* of a 200 answer, up to the value of Content-Length */
    size_t ok_head_len;
};

enum phase {
    PHASE_HEAD,    /* reading a request's head */
    PHASE_BODY,    /* reading its body */
    PHASE_SEND,    /* producing the answer's body */
    PHASE_WAIT,    /* for the timer */
    PHASE_HANG,    /* for the peer to give up */
    PHASE_CLOSING, /* closes when all is sent */
};

enum answer_kind {
    ANSWER_PLAIN,
    ANSWER_BYTES,
    ANSWER_CHUNKED,
    ANSWER_TRAILERS,
    ANSWER_STREAM,
    ANSWER_DELAY,
    ANSWER_STATUS,
    ANSWER_CLOSE,
    ANSWER_ABORT,
    ANSWER_RESET,
    ANSWER_HALF,
    ANSWER_TRICKLE,
    ANSWER_HANG,
    ANSWER_EARLY,
    ANSWER_HEALTH,
    ANSWER_FIELDS,
    ANSWER_ECHO,
    ANSWER_RAW,
    ANSWER_TEXT, /* what is in text already: /_count, /_control, /headers */
};

/* Where the rest of an answer's body comes from. */
enum source {
    SOURCE_NONE,
    SOURCE_PATTERN,
    SOURCE_CHUNKED,
    SOURCE_TRICKLE,
    SOURCE_TEXT,
    SOURCE_ANSWER, /* nothing is written yet: answer_start once more */
};

struct text {
    char *ptr; /* malloc'd */
    size_t len, size;
};

struct connection {
    struct serve_handle handle;
    struct listener *listener;
    int fd;
    enum phase phase;
    bool readable, half_closed;

    enum request_body body; /* of the request that is being read */
    unsigned chunk_state;
    uint64_t body_left;
    uint64_t body_bytes;
    uint64_t requests; /* on this connection */

    enum answer_kind kind;
    uint64_t numbers[2]; /* of the path */
    bool is_head, keep_alive, delayed;
    unsigned version_minor;
    enum source source;
    uint64_t left, position, piece;
    bool trailers;
    struct text text;

    struct text rest;   /* read and not used yet */
    struct text unsent; /* written and not taken by the kernel yet */
    size_t unsent_at;

    uint64_t due_ms;
    unsigned timer; /* index in the heap + 1; 0: none */
};

struct serve {
    int epoll_fd;
    struct serve_options options;
    struct listener **listeners;
    size_t listeners_count;
    struct request request;
    struct connection **timers; /* a heap by due_ms */
    unsigned timers_count, timers_size;
    size_t in_at, in_end; /* of the connection that runs now, and so are out and out_len */
    size_t out_len;
    char in[SERVE_IN_BYTES];
    char out[SERVE_OUT_BYTES];
};

void text_add(struct text *t, struct bytes more);
void text_print(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_free(struct text *t);

void serve_timer_set(struct connection *c, uint64_t after_ms);
