#include "gate/registry.h"
#include "command/command.h"
#include "ledger/rules.h"

#define FILTER(name) extern const struct filter name##_filter;
#define BALANCER(name) extern const struct balancer name##_balancer;
#define SERVICE_MODULE(name) extern const struct service_module name##_module;
#define LEDGER_RULES(name) extern const struct ledger_rules name##_rules;
#define COMMAND(name) extern const struct command name##_command;
#include "modules.def"

const struct filter *const filter_registry[] = {
#define FILTER(name) &name##_filter,
#include "modules.def"
    NULL,
};

const struct balancer *const balancer_registry[] = {
#define BALANCER(name) &name##_balancer,
#include "modules.def"
    NULL,
};

const struct service_module *const service_module_registry[] = {
#define SERVICE_MODULE(name) &name##_module,
#include "modules.def"
    NULL,
};

const struct conf_left_out left_out_registry[] = {
#define LEFT_OUT(name, needs) { #name, needs },
#include "modules.def"
    { 0 },
};

const struct ledger_rules *const ledger_rules_registry[] = {
#define LEDGER_RULES(name) &name##_rules,
#include "modules.def"
    NULL,
};

const struct command *const command_registry[] = {
#define COMMAND(name) &name##_command,
#include "modules.def"
    NULL,
};
