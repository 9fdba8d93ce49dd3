/* visit_http3: a virtual user's connection when it speaks HTTP/3: one stream at a time; what comes wakes the
 * user's own fiber. */
#pragma once
#include "load/user.h"

struct answer;

#if WEIR_HAVE_NGTCP2
/* Connects, the handshake included. On success u->http3 is set. */
err user_http3_open(struct user *u, uint64_t deadline_us) CHECK_RESULT;
void user_http3_close(struct user *u);
/* It takes no more. */
bool user_http3_ended(const struct user *u);
/* As user_http2_ask. */
err user_http3_ask(struct user *u, const struct scenario_step *step, struct bytes request,
                   struct arena *arena, uint64_t until_us, struct answer *ret_answer,
                   struct http_response *ret_head) CHECK_RESULT;
#else
static inline err user_http3_open(struct user *u, uint64_t deadline_us)
{
    (void)u;
    (void)deadline_us;
    return ERR_UNSUPPORTED;
}

static inline void user_http3_close(struct user *u)
{
    (void)u;
}

static inline bool user_http3_ended(const struct user *u)
{
    (void)u;
    return true;
}

static inline err user_http3_ask(struct user *u, const struct scenario_step *step, struct bytes request,
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
