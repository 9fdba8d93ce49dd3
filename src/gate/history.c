#include "gate/history.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/diff.h"
#include "base/file_read.h"
#include "base/hash.h"
#include "core/conf.h"

#define FOLDER_BYTES_MAX 3072
#define PATH_BYTES_MAX (FOLDER_BYTES_MAX + 64)
#define DEFAULT_DIR "/var/lib/weir"

static char folder[FOLDER_BYTES_MAX];

const char *history_folder(void)
{
    return folder;
}

const char *history_default(void)
{
    const char *given = getenv("STATE_DIRECTORY");
    if (given && *given) /* several are separated by colons */
        return strchr(given, ':') ? "" : given;
    return access(DEFAULT_DIR, W_OK) == 0 ? DEFAULT_DIR : "";
}

/* ---- the folder ---- */

static err failed(const char *what, const char *path, struct diag *reterr)
{
    int why = errno;
    diag_set(reterr, "cannot %s %s: %s", what, path, strerror(why));
    return ERR_CONF;
}

static bool make_dir(const char *path, mode_t mode)
{
    return mkdir(path, mode) == 0 || errno == EEXIST;
}

err history_open(struct bytes state_dir, const char *conf_path, struct diag *reterr)
{
    char whole[PATH_MAX];
    char wanted[FOLDER_BYTES_MAX];
    const char *dir = state_dir.ptr;
    if (bytes_eq(state_dir, BYTES("auto")))
        dir = history_default();
    if (bytes_eq(state_dir, BYTES("off")) || !*dir) {
        folder[0] = 0;
        return OK;
    }
    const char *path = realpath(conf_path, whole) ? whole : conf_path;
    const char *slash = strrchr(path, '/');
    uint64_t hash = hash_sip13((struct hash_key){ 1, 2 }, bytes_from(path));
    int n = snprintf(wanted, sizeof wanted, "%s/%.200s-%08x", dir, slash ? slash + 1 : path,
                     (unsigned)(hash ^ hash >> 32));
    if (n < 0 || (size_t)n >= sizeof wanted) {
        diag_set(reterr, "state_dir: the path is too long");
        return ERR_CONF;
    }
    /* configurations may hold secrets: nobody else reads them here */
    if (!make_dir(dir, 0750) || !make_dir(wanted, 0700))
        return failed("make", wanted, reterr);
    if (access(wanted, R_OK | W_OK | X_OK) < 0)
        return failed("use", wanted, reterr);
    memcpy(folder, wanted, sizeof folder);
    return OK;
}

static void path_of(char out[PATH_BYTES_MAX], uint64_t number, const char *what)
{
    snprintf(out, PATH_BYTES_MAX, "%s/%" PRIu64 ".%s", folder, number, what);
}

/* The numbers that have a text, in order; returns how many of at most max (the newest). */
static unsigned numbers(uint64_t *out, unsigned max)
{
    unsigned count = 0;
    DIR *d = folder[0] ? opendir(folder) : NULL;
    for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
        uint64_t number;
        struct bytes name = bytes_from(e->d_name);
        size_t dot = bytes_index(name, '.');
        if (strcmp(name.ptr + dot, ".yaml") != 0 || !bytes_to_u64((struct bytes){ name.ptr, dot }, &number))
            continue;
        unsigned at = count;
        while (at && out[at - 1] > number)
            at--;
        if (count == max) {
            if (at == 0)
                continue;
            at--;
            memmove(out, out + 1, at * sizeof *out);
        } else {
            memmove(out + at + 1, out + at, (count - at) * sizeof *out);
            count++;
        }
        out[at] = number;
    }
    if (d)
        closedir(d);
    return count;
}

uint64_t history_newest(void)
{
    uint64_t newest;
    return numbers(&newest, 1) ? newest : 0;
}

/* ---- reading ---- */

static err read_file(const char *path, struct arena *a, struct bytes *ret_text)
{
    struct bytes text;
    if (access(path, F_OK) != 0)
        return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    const err e = file_read_whole(path, 2 * CONF_FILE_BYTES_MAX, &text, NULL);
    if (e)
        return e == ERR_MEMORY ? e : ERR_IO;
    *ret_text = arena_copy(a, text);
    file_read_free(text);
    return ret_text->ptr ? OK : ERR_MEMORY;
}

err history_text(uint64_t number, struct arena *a, struct bytes *ret_text)
{
    char path[PATH_BYTES_MAX];
    path_of(path, number, "yaml");
    return folder[0] ? read_file(path, a, ret_text) : ERR_NOT_FOUND;
}

err history_diff(uint64_t number, struct arena *a, struct bytes *ret_text)
{
    char path[PATH_BYTES_MAX];
    path_of(path, number, "diff");
    return folder[0] ? read_file(path, a, ret_text) : ERR_NOT_FOUND;
}

/* Lines "name value"; what is not known is left at nothing. */
static void read_about(struct history_entry *e)
{
    char path[PATH_BYTES_MAX];
    char line[HISTORY_WORD_BYTES_MAX + 32];
    path_of(path, e->number, "about");
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        uint64_t time_s;
        if (strncmp(line, "time ", 5) == 0 && bytes_to_u64(bytes_from(line + 5), &time_s))
            e->time_s = (int64_t)time_s;
        else if (strncmp(line, "author ", 7) == 0)
            snprintf(e->author, sizeof e->author, "%.255s", line + 7);
        else if (strncmp(line, "reason ", 7) == 0)
            snprintf(e->reason, sizeof e->reason, "%.255s", line + 7);
    }
    if (f)
        fclose(f);
}

unsigned history_list(struct history_entry out[HISTORY_KEPT])
{
    uint64_t found[HISTORY_KEPT];
    unsigned count = numbers(found, HISTORY_KEPT);
    for (unsigned i = 0; i < count; i++) {
        struct stat s;
        char path[PATH_BYTES_MAX];
        out[i] = (struct history_entry){ .number = found[i] };
        path_of(path, found[i], "yaml");
        out[i].bytes = stat(path, &s) == 0 ? (uint64_t)s.st_size : 0;
        read_about(&out[i]);
    }
    return count;
}

/* ---- keeping ---- */

/* Whole or not at all. */
static err write_path(const char *path, struct bytes text, const struct stat *like, struct diag *reterr)
{
    char part[PATH_MAX + 8];
    snprintf(part, sizeof part, "%.4000s.part", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed("write", part, reterr);
    if (like) {
        (void)!fchown(fd, like->st_uid, like->st_gid); /* root only; another's file stays ours then */
        (void)!fchmod(fd, like->st_mode & 07777);
    }
    struct bytes left = text;
    while (left.len) {
        ssize_t n = write(fd, left.ptr, left.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            break;
        left = bytes_skip(left, (size_t)n);
    }
    bool good = left.len == 0 && fsync(fd) == 0;
    good &= close(fd) == 0;
    if (good && rename(part, path) == 0)
        return OK;
    err e = failed("write", path, reterr);
    unlink(part);
    return e;
}

static err write_file(uint64_t number, const char *what, struct bytes text, struct diag *reterr)
{
    char path[PATH_BYTES_MAX];
    path_of(path, number, what);
    return write_path(path, text, NULL, reterr);
}

err history_write_conf(const char *path, struct bytes text, struct diag *reterr)
{
    char whole[PATH_MAX];
    struct stat s;
    if (!realpath(path, whole) || stat(whole, &s) < 0)
        return failed("find", path, reterr);
    return write_path(whole, text, &s, reterr);
}

static void remove_old(void)
{
    uint64_t found[HISTORY_KEPT + 64];
    unsigned count = numbers(found, HISTORY_KEPT + 64);
    for (unsigned i = 0; i + HISTORY_KEPT < count; i++) {
        static const char *const parts[] = { "diff", "about", "yaml" };
        for (unsigned j = 0; j < 3; j++) {
            char path[PATH_BYTES_MAX];
            path_of(path, found[i], parts[j]);
            unlink(path);
        }
    }
}

/* One line each: nothing from outside makes a second one. */
static void put_word(struct text *t, const char *name, const char *value)
{
    text_print(t, "%s ", name);
    for (; *value; value++)
        text_add(t, (struct bytes){ (unsigned char)*value < 0x20 ? " " : value, 1 });
    text_add(t, BYTES("\n"));
}

static err keep(const struct history_entry *e, struct bytes before, uint64_t before_number, struct bytes text,
                struct diag *reterr)
{
    char names[2][32] = { "/dev/null" };
    struct text diff = { 0 }, about = { 0 };
    if (before_number)
        snprintf(names[0], sizeof names[0], "%" PRIu64, before_number);
    snprintf(names[1], sizeof names[1], "%" PRIu64, e->number);
    diff_write(before, text, names[0], names[1], &diff);
    text_print(&about, "time %" PRId64 "\n", e->time_s);
    put_word(&about, "author", e->author);
    put_word(&about, "reason", e->reason);
    err failed = write_file(e->number, "diff", (struct bytes){ diff.at, diff.len }, reterr);
    if (!failed)
        failed = write_file(e->number, "about", (struct bytes){ about.at, about.len }, reterr);
    if (!failed) /* last: what has no text is not there */
        failed = write_file(e->number, "yaml", text, reterr);
    text_free(&diff);
    text_free(&about);
    return failed;
}

bool history_is_newest(struct bytes text)
{
    struct arena a;
    struct bytes newest;
    arena_open(&a, &arena_heap, (size_t)4 * CONF_FILE_BYTES_MAX, NULL, 0);
    bool same = history_text(history_newest(), &a, &newest) == OK && bytes_eq(newest, text);
    arena_close(&a);
    return same;
}

err history_keep(const struct history_entry *e, struct bytes text, struct diag *reterr)
{
    struct arena a;
    struct bytes before = BYTES_NONE;
    if (!folder[0])
        return OK;
    uint64_t newest = history_newest();
    arena_open(&a, &arena_heap, (size_t)4 * CONF_FILE_BYTES_MAX, NULL, 0);
    err failed = newest ? history_text(newest, &a, &before) : OK;
    if (failed)
        newest = 0;
    failed = newest && bytes_eq(before, text) ? OK : keep(e, before, newest, text, reterr);
    arena_close(&a);
    remove_old();
    return failed;
}
