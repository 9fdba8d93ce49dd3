/* state: what runs, as JSON: services with their servers, filters with their state. Control worker, from a
 * fiber; asks the other workers and waits for them. g: the control worker's gate, held by the caller. */
#pragma once
#include "base/text.h"

struct gate;

void state_write_services(const struct gate *g, struct text *t);
void state_write_filters(const struct gate *g, struct text *t);
