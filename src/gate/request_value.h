/* request_value: a text that each request has for itself, named in a configuration:
 *
 *      cookie uid │ header X-User │ query item │ capture item      that part of it, as it stands there
 *      json /items/0/name                                          of its JSON body, by RFC 6901 pointer
 *      $capture.shop-${arg.item}, radio                            a text with variables (gate/variable.h)
 *
 * The body is read and parsed once, by request_json, when somebody asks for a part of it. Checked when the
 * file is loaded, opened by each worker; then immutable. */
#pragma once
#include "base/json_read.h"
#include "gate/request_key.h"
#include "gate/variable.h"

#define REQUEST_VALUE_DOC                                                                                 \
    "`cookie NAME`, `header NAME`, `query NAME`, `capture NAME`, `json /POINTER` of the body, or a text " \
    "with [variables](variable.md)"

enum request_value_kind { REQUEST_VALUE_NONE, REQUEST_VALUE_KEY, REQUEST_VALUE_JSON, REQUEST_VALUE_TEXT };

struct request_value {
    enum request_value_kind kind; /* NONE: not configured */
    struct request_key key;
    struct bytes pointer;
    struct variable_text *text;
    char *made; /* what text was made of, where it is not the configuration's */
};

/* text empty: it is not configured. ERR_CONF with words. */
err request_value_check(struct bytes text, const struct variable_scope *scope,
                        struct diag *reterr) CHECK_RESULT;
/* text has passed the check and lives as long. ERR_MEMORY. */
err request_value_open(struct bytes text, struct request_value *ret_value) CHECK_RESULT;
void request_value_close(struct request_value *v);

/* Empty: the request has nothing of the kind. json: of request_json; needed by those of JSON only. Alive as
 * long as the exchange. */
struct bytes request_value_of(const struct request_value *v, struct exchange *x, const struct json *json);

/* Reads x's body and parses it; *ret_json NULL: there is none. ERR_LIMIT: longer than bytes_max, or more than
 * the arena holds; ERR_SYNTAX: it is no JSON; or how reading failed. */
err request_json(struct exchange *x, size_t bytes_max, const struct json **ret_json) CHECK_RESULT;
