#include "gate/htpasswd.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/file_read.h"
#include "base/mem.h"
#include "gate/password.h"

struct user {
    struct bytes name;
    const char *hash; /* NUL-terminated, in text */
    unsigned line;
};

struct htpasswd {
    size_t count;
    struct user *users; /* by name */
    char *text;
};

static int compare(const void *a, const void *b)
{
    const struct bytes x = ((const struct user *)a)->name;
    const struct bytes y = ((const struct user *)b)->name;
    size_t len = x.len < y.len ? x.len : y.len;
    int order = len ? memcmp(x.ptr, y.ptr, len) : 0;
    return order ? order : (x.len > y.len) - (x.len < y.len);
}

static err add_user(struct htpasswd *h, struct bytes line, unsigned number, const char *file,
                    struct diag *reterr)
{
    size_t colon = bytes_index(line, ':');
    if (colon == 0 || colon == line.len || colon > HTPASSWD_NAME_BYTES_MAX) {
        diag_set(reterr, "%s:%u: expected name:hash", file, number);
        return ERR_CONF;
    }
    struct bytes hash = bytes_skip(line, colon + 1);
    struct diag why = DIAG_NONE;
    if (memchr(line.ptr, 0, line.len) || password_hash_check(hash, &why) != OK) {
        diag_set(reterr, "%s:%u: %s", file, number, why.set ? why.text : "a NUL byte");
        return ERR_CONF;
    }
    h->users[h->count++] = (struct user){ { line.ptr, colon }, hash.ptr, number };
    return OK;
}

/* text is h's own, so that a NUL can stand behind each hash. */
static err add_all(struct htpasswd *h, struct bytes text, const char *file, struct diag *reterr)
{
    struct bytes line;
    err e = OK;
    for (unsigned number = 1; !e && bytes_split(&text, '\n', &line); number++) {
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        line = bytes_trim(line);
        if (!line.len || line.ptr[0] == '#')
            continue;
        h->text[line.ptr - h->text + (ptrdiff_t)line.len] = 0;
        e = add_user(h, line, number, file, reterr);
    }
    return e;
}

static err find_twins(const struct htpasswd *h, const char *file, struct diag *reterr)
{
    for (size_t i = 1; i < h->count; i++) {
        const struct user *a = &h->users[i - 1];
        const struct user *b = &h->users[i];
        if (!bytes_eq(a->name, b->name))
            continue;
        diag_set(reterr, "%s:%u: \"%.*s\" stands in line %u as well", file,
                 a->line > b->line ? a->line : b->line, BYTES_ARG(b->name),
                 a->line < b->line ? a->line : b->line);
        return ERR_CONF;
    }
    return OK;
}

static err fill(struct htpasswd *h, size_t len, const char *file, struct diag *reterr)
{
    size_t lines = 1;
    for (size_t i = 0; i < len; i++)
        lines += h->text[i] == '\n';
    h->users = mem_get(lines * sizeof *h->users);
    if (!h->users)
        return ERR_MEMORY;
    err e = add_all(h, (struct bytes){ h->text, len }, file, reterr);
    if (e)
        return e;
    if (!h->count) {
        diag_set(reterr, "%s: there is nobody in it", file);
        return ERR_CONF;
    }
    qsort(h->users, h->count, sizeof *h->users, compare);
    return find_twins(h, file, reterr);
}

err htpasswd_parse(struct bytes text, const char *name, struct htpasswd **ret_users, struct diag *reterr)
{
    struct htpasswd *h = mem_get(sizeof *h);
    if (!h)
        return ERR_MEMORY;
    h->text = mem_get(text.len + 1);
    if (h->text && text.len)
        memcpy(h->text, text.ptr, text.len);
    err e = h->text ? fill(h, text.len, name, reterr) : ERR_MEMORY;
    if (e) {
        htpasswd_close(h);
        return e;
    }
    *ret_users = h;
    return OK;
}

err htpasswd_load(const char *path, struct htpasswd **ret_users, struct diag *reterr)
{
    struct bytes text;
    err e = file_read_whole(path, HTPASSWD_BYTES_MAX, &text, reterr);
    if (e)
        return e;
    e = htpasswd_parse(text, path, ret_users, reterr);
    file_read_free(text);
    return e;
}

void htpasswd_close(struct htpasswd *h)
{
    if (!h)
        return;
    mem_free(h->users);
    mem_free(h->text);
    mem_free(h);
}

const char *htpasswd_find(const struct htpasswd *h, struct bytes name)
{
    const struct user wanted = { .name = name };
    const struct user *u = bsearch(&wanted, h->users, h->count, sizeof *h->users, compare);
    return u ? u->hash : NULL;
}

const char *htpasswd_any(const struct htpasswd *h)
{
    return h->users[0].hash;
}
