/* request_id: the word by which a request is known in logs and to its server. On the exchange's fiber. */
#pragma once
#include "gate/exchange.h"

/* Sets x->request_id: the client's X-Request-Id when it is sane, else a new one. */
void request_id_take(struct exchange *x);
