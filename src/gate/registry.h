/* registry: which filters, balancers and service modules this weir has. Defined once, above all modules
 * (src/registry.c, from modules.def); each array ends with NULL. Immutable. */
#pragma once
#include "gate/filter.h"
#include "gate/service.h"

extern const struct filter *const filter_registry[];
extern const struct balancer *const balancer_registry[];
extern const struct service_module *const service_module_registry[];
/* Those that this weir was built without; ends with name NULL. */
extern const struct conf_left_out left_out_registry[];
