/* ledger_api: what the ledger's own address (ledger.http) can be asked: stock and orders under /v1. Control
 * worker. */
#pragma once
#include "gate/exchange.h"

void ledger_api_serve(struct exchange *x);
