/* problem: an answer that says what is wrong so that a program and a page can both show it (RFC 9457):
 *
 *      {"type":"about:blank","title":"Conflict","status":409,"detail":"...","instance":"/api/buy","reason":"sold_out",
 * ...}
 *
 *      struct problem p;
 *      problem_begin(&p, x, 409, BYTES("not so many are left"));
 *      json_text(&p.json, "reason", BYTES("sold_out"));         members of one's own
 *      return problem_end(&p, BYTES("order"));
 *
 * Lives in the exchange's arena. The exchange's fiber. */
#pragma once
#include "base/json.h"
#include "gate/exchange.h"

#define PROBLEM_BYTES_MAX 2048

struct problem {
    struct exchange *x;
    unsigned status;
    struct text json;
};

void problem_begin(struct problem *p, struct exchange *x, unsigned status, struct bytes detail);
/* by: the filter's name. ERR_LIMIT: the arena had no room, and nothing is answered. */
err problem_end(struct problem *p, struct bytes by) CHECK_RESULT;
