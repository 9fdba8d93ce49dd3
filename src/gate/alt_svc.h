/* alt_svc: answers over TCP say that there is HTTP/3 on the same port (RFC 7838), so that the client comes
 * over it the next time. Only where a listener has it: others pay nothing. On the exchange's fiber. */
#pragma once
#include "gate/exchange.h"

struct listening;

/* When a generation is opened: what answers of that listener are to say, if anything. */
void alt_svc_open(struct listening *l);
/* Adds the field to x's answer if it came over a listener with HTTP/3, and nobody said one before. */
void alt_svc_add(struct exchange *x);
