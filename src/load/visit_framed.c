#include "load/visit_framed.h"

#define HEAD_BYTES_MAX (96u * 1024)

void framed_answer_open(struct framed_answer *a, struct user *u, const struct scenario_step *step,
                        struct arena *arena)
{
    *a = (struct framed_answer){ .user = u, .arena = arena, .wanted = step->wants_body };
}

void framed_answer_begin(struct framed_answer *a)
{
    a->fields.count = 0;
    http2_head_open(&a->head, HTTP2_RESPONSE, a->arena, &a->fields, ANSWER_FIELDS_MAX, HEAD_BYTES_MAX);
}

void framed_answer_field(struct framed_answer *a, struct bytes name, struct bytes value)
{
    (void)!http2_head_add(&a->head, name, value); /* what is wrong is told at its end */
}

void framed_answer_data(struct framed_answer *a, struct bytes piece)
{
    if (a->wanted)
        user_keep_body(a->user, piece);
}

void framed_answer_done(struct framed_answer *a, err why)
{
    a->done = true;
    a->why = why;
}

err framed_answer_head(struct framed_answer *a, const struct scenario_step *step,
                       struct http_response *ret_head)
{
    return http2_head_response(&a->head, false, step->method, ret_head) == OK ? OK : ERR_PROTOCOL;
}
