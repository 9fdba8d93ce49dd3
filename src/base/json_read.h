/* json_read: JSON (RFC 8259) as a tree in an arena, for `weir ctl`, which shows what the admin API answers.
 *
 * Strings keep their escapes undone, as UTF-8. Of two members with one name the first counts. One thread. */
#pragma once
#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"

#define JSON_DEPTH_MAX 32

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_TEXT, JSON_ARRAY, JSON_OBJECT };

struct json {
    enum json_kind kind;
    struct bytes key;  /* of a member */
    struct bytes text; /* of JSON_TEXT; of a number as it was written */
    double number;     /* of JSON_NUMBER; 1 or 0 of JSON_BOOL */
    uint32_t count;    /* of children */
    struct json *first, *next;
};

/* The whole text is one value. ERR_SYNTAX, ERR_LIMIT (too deep), ERR_MEMORY. */
err json_read(struct bytes text, struct arena *a, struct json **ret_json) CHECK_RESULT;

/* All of these take NULL for what is not there, and give NULL, empty text or 0 for it. */
const struct json *json_member(const struct json *j, const char *key);
struct bytes json_member_text(const struct json *j, const char *key);
double json_member_number(const struct json *j, const char *key);
const struct json *json_at(const struct json *j, uint32_t index);

/* What an RFC 6901 pointer ("/items/0/name"; "" is j itself) leads to; NULL: nothing, or it is no pointer. */
const struct json *json_pointer(const struct json *j, struct bytes pointer);

#define JSON_EACH(at, parent) \
    for (const struct json *at = (parent) ? (parent)->first : NULL; at; at = at->next)
