/* user: one virtual user: what users.c and visit.c share. One worker. */
#pragma once
#include "base/list.h"
#include "load/answer.h"
#include "load/cookies.h"
#include "load/users.h"

#define VISIT_BYTES_MAX ((size_t)8 << 20)  /* of one visit's texts and bodies */
#define KEPT_BYTES_MAX ((size_t)1 << 20)   /* of what is taken before the first visit */
#define BODY_BYTES_MAX ((size_t)4 << 20)   /* of an answer that is looked at; the rest of it is not */
#define BODY_BYTES_KEPT ((size_t)64 << 10) /* room for the next one */

struct users;
struct user_http2;
struct user_http3;
struct visit_websocket;

struct user {
    struct users *all;
    struct link link;         /* of idle, or of thinking */
    struct io *io;            /* NULL: no connection, or HTTP/3's */
    struct user_http2 *http2; /* NULL: another protocol, or no connection */
    struct user_http3 *http3; /* likewise */
    struct fiber *fiber;
    struct visit_websocket *websocket; /* of the visit; NULL: none is open */
    unsigned number;                   /* in the whole run */
    unsigned here;                     /* of this worker's */
    uint64_t visits;                   /* made before */
    uint64_t line;   /* of the data that are in order: this visit's number in the whole run */
    uint64_t due_ns; /* of the visit; 0: not by a rate */
    struct cookies cookies;
    struct bytes *slots;      /* variables, of this visit */
    struct bytes *slots_kept; /* as they are after `before`; NULL: there is none */
    struct arena kept;        /* theirs */
    bool prepared;            /* `before` is done */
    bool thinking;            /* in users.thinking */
    bool refused;             /* the last connect failed */
    struct text body;         /* of the answer at hand, when it is looked at */
};

struct users {
    struct load_worker *lw;
    const struct scenario *scenario;
    struct user **users;
    unsigned count, most;
    unsigned alive;        /* fibers of a closed loop */
    uint64_t visits;       /* begun on this worker */
    struct script *script; /* NULL: none */
    uint64_t counted;      /* ${counter} */
    struct link idle;      /* of an open loop */
    struct link thinking;
};

/* One visit, `before` first if it is the user's first one; the arena holds what it needs. From u's fiber. */
void visit_run(struct user *u, uint64_t due_ns);
/* More of the answer's body, as far as it is looked at. */
void user_keep_body(struct user *u, struct bytes piece);
/* Ends the connection, if there is one. */
void user_drop_io(struct user *u);
/* false: cancelled, or the end has come. */
bool user_think(struct user *u, const struct think_conf *think);
