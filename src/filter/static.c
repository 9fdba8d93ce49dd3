/* static: files from a folder.
 *
 *      static: /srv/www                   static: {folder: /srv/www, strip: /assets, precompressed: [br,
 * gzip]}
 *
 *   path ─▶ decoded, hidden names refused ─▶ open below the folder ─▶ folder? redirect to it with a slash, or
 * its index ─▶ a sidecar that the client takes (a.css.br) ─▶ preconditions (304, 412) ─▶ ranges (206, 416) ─▶
 * body
 *
 * Nothing leads out of the folder: dot segments are gone before the path gets here, and the kernel refuses
 * links that point outside (openat2, RESOLVE_BENEATH). Opening and reading never keep the worker waiting for
 * a disk (core/file.h). */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "core/file.h"
#include "core/metrics.h"
#include "gate/file_body.h"
#include "gate/file_path.h"
#include "gate/filter.h"
#include "gate/route_path.h"
#include "proto/content_coding.h"
#include "proto/http_precondition.h"
#include "proto/media_type.h"

enum { SIDECAR_BR, SIDECAR_ZSTD, SIDECAR_GZIP };
static const char *const sidecar_words[] = { "br", "zstd", "gzip", NULL };
static const enum content_coding coding_of_word[] = { CODING_BR, CODING_ZSTD, CODING_GZIP };
static const char *const extension_of_word[] = { ".br", ".zst", ".gz" };
#define SIDECARS_MAX 3

enum { OTHERWISE_404, OTHERWISE_SERVICE };
static const char *const otherwise_words[] = { "404", "service", NULL };

struct static_conf {
    struct bytes folder, strip, fallback, cache_control, type;
    struct conf_list index;    /* struct bytes */
    struct conf_list sidecars; /* int, a word each */
    struct conf_list types;    /* struct conf_pair */
    int otherwise;
    bool dotfiles;
};

#define STATIC_METRICS(X)                                                                    \
    X(SENT, "sent_total", METRIC_COUNTER, "Files sent whole")                                \
    X(PARTIAL, "partial_total", METRIC_COUNTER, "Files of which ranges were sent (206)")     \
    X(NOT_MODIFIED, "not_modified_total", METRIC_COUNTER, "Files that the client had (304)") \
    X(MISSING, "missing_total", METRIC_COUNTER, "Requests for which there was no file")      \
    X(FAILED, "failed_total", METRIC_COUNTER, "Files that could not be opened or read")

enum static_metric {
#define X(id, name, type, help) METRIC_##id,
    STATIC_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "static",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            STATIC_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* A route's, on one worker. */
struct static_files {
    const struct static_conf *conf;
    int folder;
    unsigned sidecars;
    enum content_coding codings[SIDECARS_MAX];
    const char *extensions[SIDECARS_MAX];
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* ---- finding a file ---- */

struct found {
    int fd;
    struct stat st;
    char name[FILE_PATH_BYTES_MAX];
    size_t name_len;
    enum content_coding coding; /* of a sidecar */
};

static bool ends_in_slash(const struct found *f)
{
    return f->name[f->name_len - 1] == '/' || f->name[0] == '.';
}

static err open_named(const struct static_files *s, struct found *f)
{
    err e = file_open_beneath(s->folder, f->name, &f->fd, &f->st);
    if (!e && !S_ISREG(f->st.st_mode) && !S_ISDIR(f->st.st_mode)) {
        close(f->fd);
        return ERR_NOT_FOUND;
    }
    return e;
}

static bool append(struct found *f, struct bytes text)
{
    if (f->name_len + text.len >= FILE_PATH_BYTES_MAX)
        return false;
    memcpy(f->name + f->name_len, text.ptr, text.len);
    f->name_len += text.len;
    f->name[f->name_len] = 0;
    return true;
}

/* f is a folder; it becomes its index, a regular file. */
static err open_index(const struct static_files *s, struct found *f)
{
    const struct bytes *index = s->conf->index.items;
    close(f->fd);
    if (f->name[f->name_len - 1] != '/' && !append(f, BYTES("/")))
        return ERR_NOT_FOUND;
    const size_t folder_len = f->name_len;
    for (size_t i = 0; i < s->conf->index.count; i++) {
        f->name_len = folder_len;
        if (!append(f, index[i]))
            continue;
        err e = open_named(s, f);
        if (!e && S_ISREG(f->st.st_mode))
            return OK;
        if (!e)
            close(f->fd);
        else if (e != ERR_NOT_FOUND)
            return e;
    }
    return ERR_NOT_FOUND;
}

/* The sidecar that the client likes best takes the file's place. */
static void open_sidecar(const struct static_files *s, struct found *f, struct accept_encoding accept)
{
    for (;;) {
        const enum content_coding coding = accept_encoding_choose(&accept, s->codings, s->sidecars);
        if (coding == CODING_IDENTITY)
            return;
        unsigned i = 0;
        while (s->codings[i] != coding)
            i++;
        struct found side = *f;
        if (append(&side, bytes_from(s->extensions[i])) && open_named(s, &side) == OK) {
            if (S_ISREG(side.st.st_mode)) {
                close(f->fd);
                f->fd = side.fd;
                f->st = side.st;
                f->coding = coding;
                return;
            }
            close(side.fd);
        }
        accept.weight[coding] = 0;
    }
}

/* ---- answering ---- */

#define ETAG_BYTES_MAX 64

/* Time in nanoseconds and length: another content has another one, unless somebody sets the clock back. */
static struct bytes etag_of(const struct found *f, char text[ETAG_BYTES_MAX])
{
    const unsigned long long ns =
        (unsigned long long)f->st.st_mtim.tv_sec * 1000000000 + (unsigned long long)f->st.st_mtim.tv_nsec;
    const char *coding = f->coding ? content_coding_name(f->coding).ptr : "";
    int len = snprintf(text, ETAG_BYTES_MAX, "\"%llx-%llx%s%s\"", ns, (unsigned long long)f->st.st_size,
                       f->coding ? "-" : "", coding);
    return (struct bytes){ text, (size_t)len };
}

static struct bytes type_of(const struct static_conf *c, const struct found *f)
{
    struct bytes extension = { f->name, f->name_len };
    for (size_t dot; (dot = bytes_index(extension, '.')) < extension.len;)
        extension = bytes_skip(extension, dot + 1);
    const struct conf_pair *own = c->types.items;
    for (size_t i = 0; i < c->types.count; i++) {
        if (bytes_eq_nocase(own[i].name, extension))
            return own[i].value;
    }
    const struct bytes known = media_type_of(extension);
    return known.len ? known : c->type;
}

static err add_fields(const struct static_files *s, struct exchange *x, const struct found *f,
                      const struct http_validators *v, struct bytes date)
{
    struct http_fields *to = &x->response.fields;
    struct arena *a = &x->arena;
    const struct bytes etag = arena_copy(a, v->etag);
    const struct bytes copy = arena_copy(a, date);
    if (!etag.ptr || !copy.ptr)
        return ERR_LIMIT;
    err e = http_fields_add(to, a, BYTES("ETag"), etag);
    if (!e)
        e = http_fields_add(to, a, BYTES("Last-Modified"), copy);
    if (!e && s->conf->cache_control.len)
        e = http_fields_add(to, a, BYTES("Cache-Control"), s->conf->cache_control);
    if (!e && s->sidecars)
        e = http_fields_add(to, a, BYTES("Vary"), BYTES("Accept-Encoding"));
    if (!e && f->coding)
        e = http_fields_add(to, a, BYTES("Content-Encoding"), content_coding_name(f->coding));
    return e || x->response.status == 304 ? e
                                          : http_fields_add(to, a, BYTES("Accept-Ranges"), BYTES("bytes"));
}

static err add_content_range(struct exchange *x, const struct http_range *r, uint64_t size)
{
    const struct bytes text = r ? arena_print(&x->arena, "bytes %llu-%llu/%llu", (unsigned long long)r->first,
                                              (unsigned long long)r->last, (unsigned long long)size)
                                : arena_print(&x->arena, "bytes */%llu", (unsigned long long)size);
    return text.ptr ? http_fields_add(&x->response.fields, &x->arena, BYTES("Content-Range"), text)
                    : ERR_LIMIT;
}

/* 200 or 206; takes over f->fd when it returns OK. */
static err answer_content(struct static_files *s, struct exchange *x, const struct found *f,
                          const struct http_range *ranges, unsigned count)
{
    const uint64_t size = (uint64_t)f->st.st_size;
    struct bytes type = type_of(s->conf, f);
    struct body *body;
    err e;
    if (count > 1)
        e = file_body_multipart(&x->arena, f->fd, size, type, ranges, count, &body, &type);
    else if (count == 1)
        e = file_body_range(&x->arena, f->fd, ranges[0].first, ranges[0].last - ranges[0].first + 1, &body);
    else
        e = file_body_range(&x->arena, f->fd, 0, size, &body);
    if (e)
        return e;
    metric_inc(s->cells, count ? METRIC_PARTIAL : METRIC_SENT);
    exchange_answer_body(x, count ? 206 : 200, type, body, BYTES("static"));
    if (count == 1)
        (void)!add_content_range(x, ranges, size); /* without room it is 206 without it: the client sees it */
    return OK;
}

/* Ranges are for GET only (RFC 9110 14.2). */
static enum http_ranges wanted_ranges(const struct exchange *x, const struct found *f,
                                      const struct http_validators *v, struct http_range *ranges,
                                      unsigned *ret_count)
{
    const struct http_field *range = http_fields_get(&x->request.fields, FIELD_RANGE);
    *ret_count = 0;
    if (!range || x->request.method != HTTP_GET || !http_if_range(&x->request.fields, v))
        return HTTP_RANGES_IGNORE;
    return http_range_parse(http_field_value(range), (uint64_t)f->st.st_size, ranges, ret_count);
}

/* Closes f->fd or gives it to the body. */
static err answer_file(struct static_files *s, struct exchange *x, const struct found *f)
{
    char etag[ETAG_BYTES_MAX];
    char date[HTTP_DATE_BYTES + 1];
    struct http_range ranges[HTTP_RANGES_MAX];
    unsigned count;
    const int64_t now_s = (int64_t)(worker_wall_us() / 1000000);
    const int64_t time_s = f->st.st_mtim.tv_sec < 0 ? 0 : f->st.st_mtim.tv_sec;
    const struct http_validators v = {
        .etag = etag_of(f, etag), .last_modified_s = time_s < now_s ? time_s : now_s, /* RFC 9110 8.8.2.1 */
    };
    http_date_print(v.last_modified_s, date);
    const unsigned status = http_precondition(&x->request.fields, x->request.method, &v);
    const enum http_ranges wanted = status ? HTTP_RANGES_IGNORE : wanted_ranges(x, f, &v, ranges, &count);
    if (!status && wanted != HTTP_RANGES_UNSATISFIABLE) {
        err e = answer_content(s, x, f, ranges, wanted == HTTP_RANGES_SOME ? count : 0);
        if (e)
            close(f->fd);
        return e ? e : add_fields(s, x, f, &v, bytes_from(date));
    }
    close(f->fd);
    if (status == 304) {
        metric_inc(s->cells, METRIC_NOT_MODIFIED);
        exchange_answer_body(x, 304, BYTES_NONE, NULL, BYTES("static"));
        return add_fields(s, x, f, &v, bytes_from(date));
    }
    exchange_answer(x, status ? status : 416, BYTES_NONE, BYTES_NONE, BYTES("static"));
    return status ? OK : add_content_range(x, NULL, (uint64_t)f->st.st_size);
}

/* To the same name with a slash behind it, as a reference relative to what the client asked for: a rewrite on
 * the way does not matter, and no path can make another host of it. */
static err redirect_to_folder(struct exchange *x, struct bytes path)
{
    struct bytes name = path;
    for (size_t slash; (slash = bytes_index(name, '/')) < name.len;)
        name = bytes_skip(name, slash + 1);
    const struct bytes query = x->request.query;
    const struct bytes location =
        arena_print(&x->arena, "./%.*s/%s%.*s", BYTES_ARG(name), query.ptr ? "?" : "", BYTES_ARG(query));
    if (!location.ptr)
        return ERR_LIMIT;
    exchange_answer(x, 301, BYTES_NONE, BYTES_NONE, BYTES("static"));
    return http_fields_add(&x->response.fields, &x->arena, BYTES("Location"), location);
}

static err answer_error(struct static_files *s, struct exchange *x, err e)
{
    unsigned status = 404;
    if (e == ERR_DENIED)
        status = 403;
    else if (e == ERR_LIMIT)
        status = 503;
    else if (e != ERR_NOT_FOUND)
        status = 500;
    metric_inc(s->cells, e == ERR_NOT_FOUND ? METRIC_MISSING : METRIC_FAILED);
    exchange_answer(x, status, BYTES_NONE, BYTES_NONE, BYTES("static"));
    return OK;
}

/* ---- the filter ---- */

/* *ret_redirect: it is a folder, and the path has no slash at its end. */
static err find(struct static_files *s, struct bytes path, struct found *f, bool *ret_redirect)
{
    *ret_redirect = false;
    f->coding = CODING_IDENTITY;
    if (!file_path_strip(s->conf->strip, &path) ||
        !file_path_name(path, s->conf->dotfiles, f->name, &f->name_len))
        return ERR_NOT_FOUND;
    err e = open_named(s, f);
    if (e || S_ISREG(f->st.st_mode))
        return e;
    /* of the folder itself: "/assets" is to become "/assets/" as well */
    *ret_redirect = !ends_in_slash(f) || (f->name[0] == '.' && path.len == 0);
    if (*ret_redirect) {
        close(f->fd);
        return OK;
    }
    return open_index(s, f);
}

static err find_fallback(struct static_files *s, struct found *f)
{
    f->name_len = 0;
    if (!s->conf->fallback.len || !append(f, s->conf->fallback))
        return ERR_NOT_FOUND;
    err e = open_named(s, f);
    if (e || S_ISREG(f->st.st_mode))
        return e;
    close(f->fd);
    return ERR_NOT_FOUND;
}

static err answer_method(struct exchange *x)
{
    exchange_answer(x, 405, BYTES_NONE, BYTES_NONE, BYTES("static"));
    return http_fields_add(&x->response.fields, &x->arena, BYTES("Allow"), BYTES("GET, HEAD"));
}

static err static_handle(struct exchange *x, void *state, struct chain *next)
{
    struct static_files *s = state;
    const bool otherwise = s->conf->otherwise == OTHERWISE_SERVICE;
    struct found *f = arena_get(&x->arena, sizeof *f); /* a fiber's stack has better uses */
    struct bytes path;
    bool redirect;
    if (!f)
        return ERR_LIMIT;
    if (x->request.method != HTTP_GET && x->request.method != HTTP_HEAD)
        return otherwise ? chain_next(next, x) : answer_method(x);
    err e = route_path(x->request.path, &x->arena, &path);
    if (e == ERR_SYNTAX)
        e = ERR_NOT_FOUND;
    if (!e)
        e = find(s, path, f, &redirect);
    if (!e && redirect)
        return redirect_to_folder(x, path);
    if (e == ERR_NOT_FOUND && otherwise)
        return chain_next(next, x);
    if (e == ERR_NOT_FOUND)
        e = find_fallback(s, f);
    if (e)
        return answer_error(s, x, e);
    if (s->sidecars) {
        struct accept_encoding accept;
        accept_encoding_read(&x->request.fields, &accept);
        open_sidecar(s, f, accept);
    }
    return answer_file(s, x, f);
}

static void static_close(void *state)
{
    struct static_files *s = state;
    if (s->folder >= 0)
        close(s->folder);
    metric_instance_free(s->metrics);
    mem_free(s);
}

static err static_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                       struct diag *reterr)
{
    (void)g;
    struct static_files *s = mem_get(sizeof *s);
    if (!s)
        return ERR_MEMORY;
    s->conf = conf;
    s->folder = open(s->conf->folder.ptr, O_PATH | O_DIRECTORY | O_CLOEXEC);
    err e = s->folder < 0 ? ERR_CONF : metric_instance_open(&metric_group, &scope, &s->metrics);
    if (e == ERR_CONF && reterr)
        diag_set(reterr, "folder: \"%s\" cannot be opened", s->conf->folder.ptr);
    if (e) {
        static_close(s);
        return e;
    }
    const int *words = s->conf->sidecars.items;
    for (size_t i = 0; i < s->conf->sidecars.count; i++) {
        s->codings[s->sidecars] = coding_of_word[words[i]];
        s->extensions[s->sidecars++] = extension_of_word[words[i]];
    }
    s->cells = metric_cells(s->metrics, worker_index(worker_self()));
    *ret_state = s;
    return OK;
}

static err check_sidecars(const struct static_conf *c, struct diag *reterr)
{
    const int *words = c->sidecars.items;
    unsigned seen = 0;
    for (size_t i = 0; i < c->sidecars.count; i++) {
        if (seen & 1u << words[i]) {
            diag_set(reterr, "precompressed: %s is there twice", sidecar_words[words[i]]);
            return ERR_CONF;
        }
        seen |= 1u << words[i];
    }
    return OK;
}

static err static_check(void *conf, struct diag *reterr)
{
    const struct static_conf *c = conf;
    struct stat st;
    if (stat(c->folder.ptr, &st) < 0 || !S_ISDIR(st.st_mode)) {
        diag_set(reterr, "folder: there is no folder \"%s\"", c->folder.ptr);
        return ERR_CONF;
    }
    if (c->strip.len && c->strip.ptr[0] != '/') {
        diag_set(reterr, "strip: \"%s\" is no path: expected /prefix", c->strip.ptr);
        return ERR_CONF;
    }
    const struct conf_pair *types = c->types.items;
    for (size_t i = 0; i < c->types.count; i++) {
        if (!http_is_field_value(types[i].value) || bytes_index(types[i].value, '/') == types[i].value.len) {
            diag_set(reterr, "types: \"%s\" is no media type", types[i].value.ptr);
            return ERR_CONF;
        }
    }
    if (!http_is_field_value(c->cache_control) || !http_is_field_value(c->type)) {
        diag_set(reterr, "a field's value has no control characters");
        return ERR_CONF;
    }
    return check_sidecars(c, reterr);
}

const struct filter static_filter = {
    .conf = { .name = "static",
              .size = sizeof(struct static_conf),
              .phrases = (const char *const[]){ "{folder}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "folder",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct static_conf, folder),
                        .required = true,
                        .doc = "where the files are" },
                      { .name = "strip",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct static_conf, strip),
                        .doc = "a prefix of the path that is no part of the files' names: `/assets`" },
                      { .name = "index",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct static_conf, index),
                        .preset = "index.html",
                        .doc = "what stands for a folder: the first of these that is there" },
                      { .name = "otherwise",
                        .type = CONF_WORD,
                        .offset = offsetof(struct static_conf, otherwise),
                        .preset = "404",
                        .words = otherwise_words,
                        .doc = "where there is no such file (or the method is neither GET nor HEAD): `404` "
                               "(405), or "
                               "`service`: the route's service is asked" },
                      { .name = "fallback",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct static_conf, fallback),
                        .doc = "a file that is sent instead of 404, with 200: for pages that route by "
                               "themselves" },
                      { .name = "precompressed",
                        .type = CONF_LIST,
                        .item = CONF_WORD,
                        .words = sidecar_words,
                        .offset = offsetof(struct static_conf, sidecars),
                        .doc = "`br`, `zstd`, `gzip`: files beside the others (a.css.br, a.css.zst, "
                               "a.css.gz) are "
                               "sent to clients that take them" },
                      { .name = "cache_control",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct static_conf, cache_control),
                        .doc = "the Cache-Control field of files: `public, max-age=3600`" },
                      { .name = "types",
                        .type = CONF_PAIRS,
                        .offset = offsetof(struct static_conf, types),
                        .doc =
                            "media types by extension, before those that weir knows: `{dat: text/plain}`" },
                      { .name = "type",
                        .type = CONF_TEXT,
                        .offset = offsetof(struct static_conf, type),
                        .preset = "application/octet-stream",
                        .doc = "the media type of all others" },
                      { .name = "dotfiles",
                        .type = CONF_BOOL,
                        .offset = offsetof(struct static_conf, dotfiles),
                        .preset = "false",
                        .doc = "also files and folders whose names begin with a dot; `.well-known` (RFC "
                               "8615) is "
                               "never hidden" },
                      { 0 } },
              .check = static_check,
              .doc = "Sends files from a folder." },
    .ends = true,
    .open = static_open,
    .handle = static_handle,
    .close = static_close,
};
