/* admin: what operators ask on the admin address: /metrics (Prometheus), /config, the API under /v1 (its
 * table is in endpoints.c). Control worker. */
#pragma once
#include "gate/exchange.h"

void admin_serve(struct exchange *x);
