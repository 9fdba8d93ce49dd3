/* Runs the corpus (README.md beside this file says how it is written) against every variant of the parser:
 * whole, cut at every byte, and growing byte by byte. Its argument is the folder of the .case files. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/http1.h"
#include "proto/http_char.h"

#define CASES_MAX 2000
#define CASES_MIN 300 /* a corpus that was not found must not pass */
#define FIELDS_MAX 128

struct text {
    char *ptr;
    size_t len;
};

struct example {
    struct text name, kind, in, want;
    struct http1_limits limits;
};

static struct example examples[CASES_MAX];
static size_t example_count;
static const char *folder = "test/conformance/http1";

/* ---- reading ---- */

static void append(struct text *t, struct bytes more)
{
    char *grown = realloc(t->ptr, t->len + more.len + 1);
    assert_non_null(grown);
    if (more.len)
        memcpy(grown + t->len, more.ptr, more.len);
    t->ptr = grown;
    t->len += more.len;
    grown[t->len] = 0;
}

static char escape_of(struct bytes *rest)
{
    char c = rest->ptr[0];
    *rest = bytes_skip(*rest, 1);
    switch (c) {
    case 'r':
        return '\r';
    case 'n':
        return '\n';
    case 't':
        return '\t';
    case '\\':
        return '\\';
    default:
        break;
    }
    assert_true(c == 'x' && rest->len >= 2);
    unsigned value = http_hex_value(rest->ptr[0]) << 4 | http_hex_value(rest->ptr[1]);
    *rest = bytes_skip(*rest, 2);
    return (char)value;
}

static void append_unescaped(struct text *t, struct bytes text)
{
    while (text.len) {
        char c = text.ptr[0];
        text = bytes_skip(text, 1);
        if (c == '\\' && text.len)
            c = escape_of(&text);
        append(t, (struct bytes){ &c, 1 });
    }
}

static unsigned number_after(struct bytes text, const char *key)
{
    const char *found = strstr(text.ptr, key);
    return found ? (unsigned)strtoul(found + strlen(key), NULL, 10) : 0;
}

static void read_line(struct example *x, struct bytes line)
{
    size_t colon = bytes_index(line, ':');
    struct bytes key = { line.ptr, colon };
    assert_true(colon < line.len);
    struct bytes value = bytes_skip(line, colon + 1);
    if (value.len && value.ptr[0] == ' ')
        value = bytes_skip(value, 1);
    if (bytes_eq(key, BYTES("name")))
        append(&x->name, value);
    else if (bytes_eq(key, BYTES("kind")))
        append(&x->kind, value);
    else if (bytes_eq(key, BYTES("want")))
        append(&x->want, value);
    else if (bytes_eq(key, BYTES("limits")))
        x->limits = (struct http1_limits){ number_after(value, "line="), number_after(value, "head="),
                                           number_after(value, "fields=") };
    else if (bytes_eq(key, BYTES("in")))
        append_unescaped(&x->in, value);
    else if (bytes_starts(key, BYTES("in*")))
        for (unsigned long i = strtoul(key.ptr + 3, NULL, 10); i > 0; i--)
            append_unescaped(&x->in, value);
    else
        fail_msg("unknown key %.*s", BYTES_ARG(key));
}

static void read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    struct example *x = NULL;
    while ((len = getline(&line, &size, file)) >= 0) {
        if (len > 0 && line[len - 1] == '\n')
            line[--len] = 0;
        if (len == 0)
            x = NULL;
        if (len == 0 || line[0] == '#')
            continue;
        if (!x) {
            assert_true(example_count < CASES_MAX);
            x = &examples[example_count++];
            x->limits = (struct http1_limits){ 8192, 65536, 100 };
            append(&x->in, BYTES(""));
        }
        read_line(x, (struct bytes){ line, (size_t)len });
    }
    free(line);
    fclose(file);
}

static int read_corpus(void **state)
{
    (void)state;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[4096];
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".case") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        read_file(path);
    }
    closedir(dir);
    return 0;
}

static int free_corpus(void **state)
{
    (void)state;
    for (size_t i = 0; i < example_count; i++) {
        free(examples[i].name.ptr);
        free(examples[i].kind.ptr);
        free(examples[i].in.ptr);
        free(examples[i].want.ptr);
    }
    return 0;
}

/* ---- what came out, as the words of `want` ---- */

struct outcome {
    char verdict[16];
    struct text facts; /* "key=value" and a zero byte, each */
};

static void fact(struct outcome *o, const char *key, struct bytes value)
{
    append(&o->facts, bytes_from(key));
    append(&o->facts, BYTES("="));
    append(&o->facts, value);
    append(&o->facts, BYTES("\x1e"));
}

static void fact_number(struct outcome *o, const char *key, uint64_t value)
{
    char digits[20];
    fact(o, key, (struct bytes){ digits, u64_to_text(value, digits) });
}

static void fact_bool(struct outcome *o, const char *key, bool value)
{
    fact(o, key, value ? BYTES("yes") : BYTES("no"));
}

static void fact_framing(struct outcome *o, enum http_framing framing)
{
    static const char *const names[] = { "none", "length", "chunked", "close" };
    fact(o, "framing", bytes_from(names[framing]));
}

static void lower(struct text *t)
{
    for (size_t i = 0; i < t->len; i++)
        t->ptr[i] = ascii_lower(t->ptr[i]);
}

static void fact_fields(struct outcome *o, const struct http_fields *fields)
{
    struct text hop = { 0 };
    append(&hop, BYTES(""));
    fact_number(o, "fields", fields->count);
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        struct text pair = { 0 };
        append(&pair, http_field_name(f));
        lower(&pair);
        if (f->flags & FIELD_HOP && !strstr(hop.ptr, pair.ptr)) {
            append(&hop, hop.len ? BYTES(",") : BYTES(""));
            append(&hop, (struct bytes){ pair.ptr, pair.len });
        }
        append(&pair, BYTES(":"));
        append(&pair, http_field_value(f));
        fact(o, "value", (struct bytes){ pair.ptr, pair.len });
        free(pair.ptr);
    }
    fact(o, "hop", (struct bytes){ hop.ptr, hop.len });
    free(hop.ptr);
}

static const char *verdict_of(err e)
{
    return e == OK           ? "ok"
           : e == ERR_AGAIN  ? "more"
           : e == ERR_LIMIT  ? "limit"
           : e == ERR_SYNTAX ? "syntax"
                             : "other";
}

static void set_verdict(struct outcome *o, const char *verdict)
{
    snprintf(o->verdict, sizeof o->verdict, "%s", verdict);
}

static void run_request(const struct example *x, struct bytes in, size_t seen, struct outcome *o)
{
    struct http_field at[FIELDS_MAX];
    struct http_request r = { .fields = { at, 0, FIELDS_MAX } };
    size_t used = 0;
    unsigned status = 0;
    err e = http1_parse_request(in, seen, &x->limits, &r, &used, &status);
    if (e != OK && e != ERR_AGAIN) {
        err fits = status == 400 ? ERR_SYNTAX : status == 414 || status == 431 ? ERR_LIMIT : ERR_UNSUPPORTED;
        assert_int_equal(e, fits);
        snprintf(o->verdict, sizeof o->verdict, "%u", status);
        return;
    }
    set_verdict(o, verdict_of(e));
    if (e)
        return;
    fact(o, "method", r.method_text);
    fact(o, "path", r.path);
    fact(o, "query", r.query);
    fact(o, "target", r.target);
    fact(o, "authority", r.authority);
    fact_number(o, "version", r.version_minor);
    fact_framing(o, r.framing);
    fact_number(o, "length", r.content_length);
    fact_bool(o, "keep_alive", r.keep_alive);
    fact_bool(o, "expect", r.expect_continue);
    fact_bool(o, "upgrade", r.upgrade);
    fact(o, "rest", bytes_skip(in, used));
    fact_fields(o, &r.fields);
}

static void run_response(const struct example *x, struct bytes in, size_t seen, struct outcome *o)
{
    struct http_field at[FIELDS_MAX];
    struct http_response r = { .fields = { at, 0, FIELDS_MAX } };
    struct bytes method = bytes_skip((struct bytes){ x->kind.ptr, x->kind.len }, sizeof "response");
    size_t used = 0;
    err e = http1_parse_response(in, seen, &x->limits, http_method_of(method), &r, &used);
    set_verdict(o, verdict_of(e));
    if (e)
        return;
    fact_number(o, "status", r.status);
    fact(o, "reason", r.reason);
    fact_number(o, "version", r.version_minor);
    fact_framing(o, r.framing);
    fact_number(o, "length", r.content_length);
    fact_bool(o, "has_length", r.has_content_length);
    fact_bool(o, "keep_alive", r.keep_alive);
    fact_bool(o, "upgrade", r.upgrade);
    fact(o, "rest", bytes_skip(in, used));
    fact_fields(o, &r.fields);
}

/* ---- comparing ---- */

static bool holds(const struct outcome *o, struct bytes want)
{
    struct text needle = { 0 };
    append(&needle, BYTES("\x1e"));
    append_unescaped(&needle, want);
    append(&needle, BYTES("\x1e"));
    struct text hay = { 0 };
    append(&hay, BYTES("\x1e"));
    append(&hay, (struct bytes){ o->facts.ptr, o->facts.len });
    bool found = memmem(hay.ptr, hay.len, needle.ptr, needle.len) != NULL;
    free(needle.ptr);
    free(hay.ptr);
    return found;
}

static void check_outcome(const struct example *x, const struct outcome *o, const char *how, size_t at)
{
    struct bytes rest = { x->want.ptr, x->want.len };
    struct bytes word;
    assert_true(bytes_split(&rest, ' ', &word));
    if (!bytes_eq(word, bytes_from(o->verdict)))
        fail_msg("%s, %s at %zu: wanted %s, got %s", x->name.ptr, how, at, x->want.ptr, o->verdict);
    while (bytes_split(&rest, ' ', &word)) {
        bool is_rest = bytes_starts(word, BYTES("rest="));
        if (is_rest && at < x->in.len && strcmp(how, "first piece") != 0)
            continue; /* it has not come yet */
        if (!holds(o, word))
            fail_msg("%s, %s at %zu: %.*s does not hold", x->name.ptr, how, at, BYTES_ARG(word));
    }
}

typedef void run_head(const struct example *x, struct bytes in, size_t seen, struct outcome *o);

/* A copy of its own, so that a sanitizer sees the first byte read too many. */
static void run_copy(run_head *run, const struct example *x, size_t len, size_t seen, struct outcome *o)
{
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, x->in.ptr, len);
    *o = (struct outcome){ 0 };
    run(x, (struct bytes){ copy, len }, seen, o);
    free(copy);
}

/* A head that has its end, or a line end that no head can have: there is nothing left to wait for. */
static bool is_complete(const struct example *x)
{
    for (size_t i = 0; i < x->in.len; i++) {
        if (x->in.ptr[i] == '\n' && (i == 0 || x->in.ptr[i - 1] != '\r'))
            return true;
    }
    return memmem(x->in.ptr, x->in.len, "\r\n\r\n", 4) != NULL;
}

static void run_whole(run_head *run, const struct example *x)
{
    struct outcome o;
    run_copy(run, x, x->in.len, 0, &o);
    check_outcome(x, &o, "whole", x->in.len);
    free(o.facts.ptr);
}

/* Whether "more" is what the first len bytes may say: always while there are more to come; at the end only
 * where it is wanted, or where a broken head that has no end was not read again for its last bytes. */
static bool may_wait(const struct example *x, size_t len, bool fresh)
{
    if (len < x->in.len || strcmp(x->want.ptr, "more") == 0)
        return true;
    return !fresh && !is_complete(x) && strncmp(x->want.ptr, "ok", 2) != 0;
}

/* Every beginning of the input says "more" or what the whole input says. */
static void run_cut(run_head *run, const struct example *x, bool fresh)
{
    bool more = true;
    for (size_t len = 1; len <= x->in.len && more; len++) {
        struct outcome o;
        const char *how = fresh ? "cut" : "growing";
        run_copy(run, x, len, fresh ? 0 : len - 1, &o);
        more = strcmp(o.verdict, "more") == 0;
        if (!more)
            check_outcome(x, &o, how, len);
        else if (!may_wait(x, len, fresh))
            fail_msg("%s, %s at %zu: still waits", x->name.ptr, how, len);
        free(o.facts.ptr);
    }
}

static void test_heads(void **state)
{
    (void)state;
    assert_true(example_count >= CASES_MIN);
    for (size_t i = 0; i < example_count; i++) {
        const struct example *x = &examples[i];
        if (strcmp(x->kind.ptr, "chunked") == 0)
            continue;
        run_head *run = strcmp(x->kind.ptr, "request") == 0 ? run_request : run_response;
        run_whole(run, x);
        run_cut(run, x, true);
        run_cut(run, x, false);
    }
}

static void test_heads_scalar(void **state)
{
    http1_use_scalar(true);
    test_heads(state);
    http1_use_scalar(false);
}

/* ---- chunked bodies ---- */

struct decoding {
    const struct example *x;
    struct http1_chunked chunked;
    struct http1_trailers trailers;
    struct arena arena;
    struct text body;
    size_t pos;
};

/* One piece, as often as it takes. */
static err decode_piece(struct decoding *d, size_t len)
{
    char *copy = malloc(len ? len : 1);
    assert_non_null(copy);
    memcpy(copy, d->x->in.ptr + d->pos, len);
    struct bytes in = { copy, len };
    err e = OK;
    while (in.len && !d->chunked.done && !e) {
        struct bytes data;
        size_t used = 0;
        e = http1_chunked_decode(&d->chunked, in, &d->x->limits, &d->trailers, &data, &used);
        if (e)
            break;
        assert_true(used > 0 && used <= in.len);
        append(&d->body, data);
        in = bytes_skip(in, used);
        d->pos += used;
    }
    free(copy);
    return e;
}

static void fact_trailers(struct outcome *o, struct decoding *d)
{
    struct http_fields fields;
    struct text all = { 0 };
    assert_int_equal(
        http1_parse_trailers((struct bytes){ d->trailers.text, d->trailers.len }, &d->arena, &fields), OK);
    append(&all, BYTES(""));
    for (uint32_t i = 0; i < fields.count; i++) {
        append(&all, i ? BYTES(",") : BYTES(""));
        append(&all, http_field_name(&fields.at[i]));
        append(&all, BYTES(":"));
        append(&all, http_field_value(&fields.at[i]));
    }
    fact(o, "trailers", (struct bytes){ all.ptr, all.len });
    free(all.ptr);
}

/* first: the size of the first piece; each: of all after it */
static void run_chunked(const struct example *x, size_t first, size_t each)
{
    struct decoding d = { .x = x, .chunked = HTTP1_CHUNKED_START };
    struct outcome o = { 0 };
    arena_open(&d.arena, &arena_heap, 1 << 20, NULL, 0);
    d.trailers.arena = &d.arena;
    append(&d.body, BYTES(""));
    err e = OK;
    for (size_t piece = first; d.pos < x->in.len && !d.chunked.done && !e; piece = each)
        e = decode_piece(&d, piece < x->in.len - d.pos ? piece : x->in.len - d.pos);
    set_verdict(&o, e ? verdict_of(e) : d.chunked.done ? "ok" : "more");
    if (!e && d.chunked.done) {
        fact(&o, "body", (struct bytes){ d.body.ptr, d.body.len });
        fact(&o, "rest", (struct bytes){ x->in.ptr + d.pos, x->in.len - d.pos });
        fact_trailers(&o, &d);
    }
    check_outcome(x, &o, "first piece", first);
    free(o.facts.ptr);
    free(d.body.ptr);
    arena_close(&d.arena);
}

static void test_chunked(void **state)
{
    (void)state;
    for (size_t i = 0; i < example_count; i++) {
        const struct example *x = &examples[i];
        if (strcmp(x->kind.ptr, "chunked") != 0)
            continue;
        for (size_t first = 1; first <= x->in.len + 1; first++)
            run_chunked(x, first, x->in.len + 1);
        run_chunked(x, 1, 1);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_heads_scalar),
        cmocka_unit_test(test_chunked),
    };
    if (argc > 1)
        folder = argv[1];
    return cmocka_run_group_tests(tests, read_corpus, free_corpus);
}
