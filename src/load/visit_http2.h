/* visit_http2: a virtual user's connection when it speaks HTTP/2: one stream at a time, read by the user's
 * own fiber. */
#pragma once
#include "load/user.h"

struct answer;

#if WEIR_HAVE_NGHTTP2
/* u->io is connected. */
void user_http2_open(struct user *u);
/* Before u->io goes; a user without HTTP/2 is let be. */
void user_http2_close(struct user *u);
/* What has come while nothing was asked is read. ERR_CLOSED: it takes no more. */
err user_http2_look(struct user *u) CHECK_RESULT;
/* Asks and reads. The head's fields are in the arena; the body goes to u->body when it is wanted. */
err user_http2_ask(struct user *u, const struct scenario_step *step, struct bytes request,
                   struct arena *arena, uint64_t until_us, struct answer *ret_answer,
                   struct http_response *ret_head) CHECK_RESULT;
#else
static inline void user_http2_open(struct user *u)
{
    (void)u;
}

static inline void user_http2_close(struct user *u)
{
    (void)u;
}

static inline err user_http2_look(struct user *u)
{
    (void)u;
    return OK;
}

static inline err user_http2_ask(struct user *u, const struct scenario_step *step, struct bytes request,
                                 struct arena *arena, uint64_t until_us, struct answer *ret_answer,
                                 struct http_response *ret_head)
{
    (void)u;
    (void)step;
    (void)request;
    (void)arena;
    (void)until_us;
    (void)ret_answer;
    (void)ret_head;
    return ERR_UNSUPPORTED;
}
#endif
