/* admin_conf: the tables of what operators have: the admin address (net/api_conf.h) and upgrades (the
 * structs are in gate/gate_conf.h). Immutable. */
#pragma once
#include "gate/gate_conf.h"

extern const struct conf_struct admin_conf_struct, upgrade_conf_struct;
