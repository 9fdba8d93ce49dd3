#include "gate/admin_conf.h"

#include <stddef.h>

#define AT(type, member) offsetof(struct type, member)

const struct conf_struct admin_conf_struct = {
    .name = "admin",
    .size = sizeof(struct api_conf),
    .phrases = api_conf_phrases,
    .fields = api_conf_fields,
    .check = api_conf_check,
    .doc = "Where operators ask. Without a `token_file` a TCP address only shows; a unix socket obeys "
           "whoever may "
           "connect.",
};

const struct conf_struct upgrade_conf_struct = {
    .name = "upgrade",
    .size = sizeof(struct upgrade_conf),
    .fields =
        (const struct conf_field[]){ { .name = "start_timeout",
                                       .type = CONF_MS,
                                       .offset = AT(upgrade_conf, start_timeout_ms),
                                       .preset = "1m",
                                       .min = 1000,
                                       .max = 3600000,
                                       .doc = "how long the new process may take until it serves; later, it "
                                              "is ended and the old one goes on" },
                                     { .name = "drain_timeout",
                                       .type = CONF_MS,
                                       .offset = AT(upgrade_conf, drain_timeout_ms),
                                       .preset = "1h",
                                       .doc = "how long the old process keeps connections that do not end "
                                              "(WebSocket, downloads)" },
                                     { 0 } },
    .doc = "SIGUSR2, or `weir ctl upgrade`.",
};
