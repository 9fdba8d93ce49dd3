/* htpasswd: whatever the file holds, it is taken or refused with words; what was taken is found again, and no
 * hash is let in that would take for ever. */
#include "fuzz.h"
#include "gate/htpasswd.h"
#include "gate/password.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct htpasswd *h;
    struct diag d = DIAG_NONE;
    struct bytes text = { (const char *)data, size };
    struct bytes line;
    err e = htpasswd_parse(text, "users", &h, &d);
    if (e) {
        fuzz_check(e == ERR_CONF && d.set);
        return 0;
    }
    fuzz_check(password_hash_check(bytes_from(htpasswd_any(h)), NULL) == OK);
    while (bytes_split(&text, '\n', &line)) {
        line = bytes_trim(line);
        if (!line.len || line.ptr[0] == '#')
            continue;
        const char *hash = htpasswd_find(h, (struct bytes){ line.ptr, bytes_index(line, ':') });
        fuzz_check(hash || line.ptr[line.len - 1] == '\r');
        fuzz_check(!hash || password_hash_check(bytes_from(hash), NULL) == OK);
    }
    htpasswd_close(h);
    return 0;
}
