/* file_path: from a request's path to the name of a file below a folder. Pure; any thread.
 *
 *      /assets/a%20b.css ──strip──▶ /a%20b.css ──name──▶ "a b.css" */
#pragma once
#include "base/bytes.h"

#define FILE_PATH_BYTES_MAX 4096

/* The path behind the prefix; false: it has another one. "/assets" is no prefix of "/assets2". */
bool file_path_strip(struct bytes prefix, struct bytes *path);
/* From a path without dot segments (route_path) to a relative name with a NUL behind it: "a/b c.txt", "a/",
 * "." for the folder itself. False: no file is called so: a %00 or %2F, a part that is "." or ".." after
 * decoding, or (unless dotfiles) begins with a dot; ".well-known" (RFC 8615) may be seen. */
bool file_path_name(struct bytes path, bool dotfiles, char out[FILE_PATH_BYTES_MAX], size_t *ret_len);
