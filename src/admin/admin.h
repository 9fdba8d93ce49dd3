/* admin: what operators ask on the admin address: /metrics (Prometheus), /config (the configuration in
 * force). Control worker. */
#pragma once
#include "gate/exchange.h"

void admin_serve(struct exchange *x);
