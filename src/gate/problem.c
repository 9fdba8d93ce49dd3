#include "gate/problem.h"

/* Of it: so that what is said of the request itself cannot fill it. */
#define INSTANCE_BYTES_MAX 200
#define DETAIL_BYTES_MAX 700

static struct bytes at_most(struct bytes text, size_t max)
{
    return (struct bytes){ text.ptr, text.len < max ? text.len : max };
}

void problem_begin(struct problem *p, struct exchange *x, unsigned status, struct bytes detail)
{
    *p = (struct problem){ .x = x, .status = status };
    p->json = text_within(arena_get(&x->arena, PROBLEM_BYTES_MAX), PROBLEM_BYTES_MAX);
    json_begin(&p->json, NULL, '{');
    json_text(&p->json, "type", BYTES("about:blank"));
    json_text(&p->json, "title", http_reason(status));
    json_u64(&p->json, "status", status);
    json_text(&p->json, "detail", at_most(detail, DETAIL_BYTES_MAX));
    json_text(&p->json, "instance", at_most(x->request.path, INSTANCE_BYTES_MAX));
}

err problem_end(struct problem *p, struct bytes by)
{
    json_end(&p->json, '}');
    text_add(&p->json, BYTES("\n"));
    if (p->json.cut)
        return ERR_LIMIT;
    exchange_answer(p->x, p->status, BYTES("application/problem+json"), text_bytes(&p->json), by);
    return OK;
}
