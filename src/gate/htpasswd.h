/* htpasswd: a file of users and the hashes of their passwords, one `name:hash` a line; # begins a comment.
 * Read at start and on reload; immutable; any thread. */
#pragma once
#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

#define HTPASSWD_BYTES_MAX (16u << 20)
#define HTPASSWD_NAME_BYTES_MAX 255

struct htpasswd;

/* name: of the file, for mistakes, which have a line. A name that stands twice is one. ERR_CONF, ERR_MEMORY.
 */
err htpasswd_parse(struct bytes text, const char *name, struct htpasswd **ret_users,
                   struct diag *reterr) CHECK_RESULT;
err htpasswd_load(const char *path, struct htpasswd **ret_users, struct diag *reterr) CHECK_RESULT;
/* NULL is allowed. */
void htpasswd_close(struct htpasswd *h);

/* The hash, NUL-terminated; NULL: nobody of that name. */
const char *htpasswd_find(const struct htpasswd *h, struct bytes name);
/* A hash of the file, to be as slow for names that nobody has; never NULL. */
const char *htpasswd_any(const struct htpasswd *h);
