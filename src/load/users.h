/* users: the carrier of scenarios. A virtual user is a fiber with a connection, cookies and variables of its
 * own; a visit is one way through the steps of a kind.
 *
 *      users: 5000     each makes one visit after the other, thinks between them
 *      rate: 100/s     a visit begins when it is due; a user that rests makes it, or a new one
 *
 * A step's response time counts from when its visit was due for the first request, and from when it was sent
 * for the others: nobody waits for those but the user. */
#pragma once
#include "load/load.h"
#include "load/scenario.h"

extern const struct load_carrier users_carrier; /* its plan is a struct scenario */

/* How many fibers this machine lets a process have, about: each stack is two mappings. */
unsigned users_max(void);
