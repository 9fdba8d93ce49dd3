/* visit_framed: an answer of HTTP/2 or 3 as it comes to a virtual user, one at a time. Inside the visits
 * only. */
#pragma once
#include "load/user.h"
#include "proto/http2_head.h"

struct framed_answer {
    struct user *user;
    struct arena *arena;
    struct http2_head head;
    struct http_fields fields;
    bool wanted; /* its body */
    bool done;
    err why;
};

/* Another one is asked for. */
void framed_answer_open(struct framed_answer *a, struct user *u, const struct scenario_step *step,
                        struct arena *arena);
/* What came of a head before was interim. */
void framed_answer_begin(struct framed_answer *a);
void framed_answer_field(struct framed_answer *a, struct bytes name, struct bytes value);
void framed_answer_data(struct framed_answer *a, struct bytes piece);
void framed_answer_done(struct framed_answer *a, err why);
/* Its head; ERR_PROTOCOL. */
err framed_answer_head(struct framed_answer *a, const struct scenario_step *step,
                       struct http_response *ret_head) CHECK_RESULT;
