#include "gate/admin_conf.h"

#include <stddef.h>

#define AT(type, member) offsetof(struct type, member)

/* An octal number of at most four digits. */
static err admin_check(void *conf, struct diag *reterr)
{
    struct admin_conf *a = conf;
    for (size_t i = 0; i < a->mode.len; i++) {
        char c = a->mode.ptr[i];
        if (c < '0' || c > '7' || i >= 4) {
            diag_set(reterr, "admin: mode: \"%s\" is no file mode: expected like 0600", a->mode.ptr);
            return ERR_CONF;
        }
        a->mode_bits = a->mode_bits * 8 + (c - '0');
    }
    if (a->read_without_token && !a->token_file.len) {
        diag_set(reterr,
                 "admin: read_without_token needs a token_file: without one everybody may read anyway");
        return ERR_CONF;
    }
    return OK;
}

const struct conf_struct admin_conf_struct = {
    .name = "admin",
    .size = sizeof(struct admin_conf),
    .phrases = (const char *const[]){ "{address}", NULL },
    .fields = (const struct conf_field[]){ { .name = "address",
                                             .type = CONF_ADDR,
                                             .offset = AT(admin_conf, address),
                                             .required = true,
                                             .doc = "an address, or `unix:/path`" },
                                           { .name = "token_file",
                                             .type = CONF_TEXT,
                                             .offset = AT(admin_conf, token_file),
                                             .doc = "a file with one token a line, or `name:token`; who asks "
                                                    "sends it as `Authorization: Bearer TOKEN`" },
                                           { .name = "read_without_token",
                                             .type = CONF_BOOL,
                                             .offset = AT(admin_conf, read_without_token),
                                             .preset = "false",
                                             .doc = "only what changes something needs a token" },
                                           { .name = "mode",
                                             .type = CONF_TEXT,
                                             .offset = AT(admin_conf, mode),
                                             .preset = "0600",
                                             .doc = "of the unix socket: who may connect" },
                                           { 0 } },
    .check = admin_check,
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
