/* client_conf: the table of what one client may cost (the struct is in gate/gate_conf.h). For gate_conf.c. */
#pragma once
#include "gate/gate_conf.h"

extern const struct conf_struct client_conf_struct;
