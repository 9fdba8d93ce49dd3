#include "net/api_conf.h"

#include <stddef.h>

#include "net/tls_conf.h"

#define AT(type, member) offsetof(struct type, member)

/* An octal number of at most four digits. */
err api_conf_check(void *conf, struct diag *reterr)
{
    struct api_conf *a = conf;
    for (size_t i = 0; i < a->mode.len; i++) {
        char c = a->mode.ptr[i];
        if (c < '0' || c > '7' || i >= 4) {
            diag_set(reterr, "mode: \"%s\" is no file mode: expected like 0600", a->mode.ptr);
            return ERR_CONF;
        }
        a->mode_bits = a->mode_bits * 8 + (c - '0');
    }
    if (a->read_without_token && !a->token_file.len) {
        diag_set(reterr, "read_without_token needs a token_file: without one everybody may read anyway");
        return ERR_CONF;
    }
    return OK;
}

const struct conf_field api_conf_fields[] = { { .name = "address",
                                                .type = CONF_ADDR,
                                                .offset = AT(api_conf, address),
                                                .required = true,
                                                .doc = "an address, or `unix:/path`" },
                                              { .name = "tls",
                                                .type = CONF_STRUCT,
                                                .offset = AT(api_conf, tls),
                                                .sub = &tls_listen_struct,
                                                .doc = "speaks TLS: HTTPS" },
                                              { .name = "token_file",
                                                .type = CONF_TEXT,
                                                .offset = AT(api_conf, token_file),
                                                .doc =
                                                    "a file with one token a line, or `name:token`; who asks "
                                                    "sends it as `Authorization: Bearer TOKEN`" },
                                              { .name = "read_without_token",
                                                .type = CONF_BOOL,
                                                .offset = AT(api_conf, read_without_token),
                                                .preset = "false",
                                                .doc = "only what changes something needs a token" },
                                              { .name = "mode",
                                                .type = CONF_TEXT,
                                                .offset = AT(api_conf, mode),
                                                .preset = "0600",
                                                .doc = "of the unix socket: who may connect" },
                                              { 0 } };

const char *const api_conf_phrases[] = { "{address}", NULL };
