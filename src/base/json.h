/* json: writes JSON (RFC 8259) into a text, member by member. Commas come by themselves.
 *
 *      json_begin(t, NULL, '{');                   {
 *      json_text(t, "state", BYTES("open"));         "state":"open"
 *      json_begin(t, "servers", '[');                ,"servers":[
 *      json_u64(t, NULL, 7);                           7
 *      json_end(t, ']');                             ]
 *      json_end(t, '}');                           }
 *
 * key: the member's name; NULL in an array and at the top. One thread. */
#pragma once
#include <stdbool.h>

#include "base/text.h"

/* bracket: '{' or '['; json_end takes the one that closes it. */
void json_begin(struct text *t, const char *key, char bracket);
void json_end(struct text *t, char bracket);

/* What is not UTF-8 in it becomes U+FFFD: the result is always valid. */
void json_text(struct text *t, const char *key, struct bytes value);
void json_u64(struct text *t, const char *key, uint64_t value);
void json_i64(struct text *t, const char *key, int64_t value);
/* null when it is no finite number. */
void json_number(struct text *t, const char *key, double value);
void json_bool(struct text *t, const char *key, bool value);
void json_null(struct text *t, const char *key);
/* value is JSON already. */
void json_raw(struct text *t, const char *key, struct bytes value);
