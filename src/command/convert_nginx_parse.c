/* convert_nginx_parse: words, blocks and includes. */
#include <glob.h>
#include <stdio.h>

#include "command/convert_nginx.h"

#define DEPTH_MAX 32
#define FILES_MAX 200
#define WORD_BYTES_MAX 16384

struct parser {
    struct conv *conv;
    struct bytes left;
    struct bytes file;
    unsigned line, depth, *files;
    struct diag *diag;
};

static err wrong(struct parser *p, const char *what)
{
    diag_set(p->diag, "%.*s:%u: %s", BYTES_ARG(p->file), p->line, what);
    return ERR_CONF;
}

static void skip(struct parser *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p->line += p->left.ptr[i] == '\n';
    p->left = bytes_skip(p->left, n);
}

static bool is_space(char ch)
{
    return ch == ' ' || ch == '\t' || ch == '\n' || ch == '\r';
}

static void skip_spaces(struct parser *p)
{
    while (p->left.len > 0) {
        if (is_space(p->left.ptr[0]))
            skip(p, 1);
        else if (p->left.ptr[0] == '#')
            skip(p, bytes_index(p->left, '\n'));
        else
            return;
    }
}

/* A word, or one of ; { } alone. ERR_CLOSED: the end. */
static err next_word(struct parser *p, struct bytes *ret_word, bool *ret_sign)
{
    skip_spaces(p);
    *ret_sign = false;
    if (p->left.len == 0)
        return ERR_CLOSED;
    char first = p->left.ptr[0];
    if (strchr(";{}", first)) {
        *ret_word = (struct bytes){ p->left.ptr, 1 };
        *ret_sign = true;
        skip(p, 1);
        return OK;
    }
    char quote = first == '"' || first == '\'' ? first : 0;
    char out[WORD_BYTES_MAX];
    size_t len = 0;
    size_t at = quote ? 1 : 0;
    for (; at < p->left.len && len < sizeof out; at++) {
        char ch = p->left.ptr[at];
        if (quote ? ch == quote
                  : is_space(ch) || ch == ';' || (ch == '{' && (at == 0 || p->left.ptr[at - 1] != '$')))
            break;
        if (ch == '{' && !quote) { /* ${name} */
            size_t end = at + bytes_index(bytes_skip(p->left, at), '}');
            while (at < end && at < p->left.len && len < sizeof out)
                out[len++] = p->left.ptr[at++];
            ch = at < p->left.len ? p->left.ptr[at] : '}';
        }
        if (ch == '\\' && quote && at + 1 < p->left.len &&
            (p->left.ptr[at + 1] == quote || p->left.ptr[at + 1] == '\\'))
            ch = p->left.ptr[++at];
        if (len < sizeof out)
            out[len++] = ch;
    }
    if (quote && at == p->left.len)
        return wrong(p, "a quote that does not end");
    skip(p, quote ? at + 1 : at);
    if (len == sizeof out)
        return wrong(p, "a word that is too long");
    *ret_word = arena_copy(&p->conv->arena, (struct bytes){ out, len });
    return ret_word->ptr ? OK : ERR_MEMORY;
}

/* braced: it ends with }, not with the file. */
static err parse_block(struct parser *p, struct directive *block, bool braced);

static err include(struct parser *p, struct directive *block, struct directive *d)
{
    if (d->count != 1)
        return wrong(p, "include: expected one path");
    d->done = true;
    struct bytes pattern = d->args[0];
    size_t slash = p->conv->path.len;
    while (slash && p->conv->path.ptr[slash - 1] != '/')
        slash--;
    if (pattern.len && pattern.ptr[0] != '/')
        pattern = conv_text(p->conv, "%.*s%.*s", (int)slash, p->conv->path.ptr, BYTES_ARG(pattern));
    else
        pattern = conv_text(p->conv, "%.*s", BYTES_ARG(pattern));
    glob_t found;
    if (glob(pattern.ptr, 0, NULL, &found) != 0) {
        if (bytes_index(pattern, '*') == pattern.len)
            conv_miss(p->conv, d->file, d->line, nginx_text(p->conv, d), "there is no such file");
        return OK;
    }
    err e = OK;
    for (size_t i = 0; !e && i < found.gl_pathc; i++) {
        struct parser inner = *p;
        inner.file = conv_text(p->conv, "%s", found.gl_pathv[i]);
        inner.line = 1;
        inner.depth++;
        if (++*p->files > FILES_MAX || inner.depth > DEPTH_MAX)
            e = wrong(p, "too many includes");
        if (!e)
            e = conv_read(p->conv, found.gl_pathv[i], &inner.left, p->diag);
        if (!e)
            e = parse_block(&inner, block, false);
    }
    globfree(&found);
    return e;
}

/* Up to ; or {. *ret_end: the block's } came instead, or the file's end. */
static err parse_words(struct parser *p, struct directive *d, bool *ret_end)
{
    bool sign;
    struct bytes word;
    *ret_end = false;
    err e = next_word(p, &word, &sign);
    if (e == ERR_CLOSED || (!e && sign && word.ptr[0] == '}')) {
        *ret_end = true;
        return e;
    }
    if (e || sign)
        return e ? e : wrong(p, "a directive's name was expected");
    d->name = word;
    d->file = p->file;
    d->line = p->line;
    for (;;) {
        e = next_word(p, &word, &sign);
        if (e)
            return e == ERR_CLOSED ? wrong(p, "a directive that does not end in ;") : e;
        if (sign && word.ptr[0] == '}')
            return wrong(p, "a ; is missing before this }");
        d->block = sign && word.ptr[0] == '{';
        if (sign)
            return OK;
        if (d->count == NGINX_WORDS_MAX)
            return wrong(p, "more words than weir reads");
        d->args[d->count++] = word;
    }
}

static err parse_block(struct parser *p, struct directive *block, bool braced)
{
    struct directive **at = &block->first;
    while (*at)
        at = &(*at)->next;
    for (;;) {
        bool end;
        struct directive *d = conv_get(p->conv, sizeof *d);
        d->parent = block;
        err e = parse_words(p, d, &end);
        if (end && braced != (e != ERR_CLOSED))
            return wrong(p, braced ? "a block that does not end" : "a } too many");
        if (end)
            return OK;
        if (e)
            return e;
        if (d->block) {
            if (++p->depth > DEPTH_MAX)
                return wrong(p, "blocks inside of blocks, too many");
            e = parse_block(p, d, true);
            p->depth--;
        }
        if (!e && nginx_is(d, "include")) {
            e = include(p, block, d);
            while (*at)
                at = &(*at)->next;
        }
        if (e)
            return e;
        *at = d;
        at = &d->next;
    }
}

err nginx_parse(struct conv *c, struct bytes text, struct directive *root, struct diag *reterr)
{
    unsigned files = 1;
    struct parser p = {
        .conv = c, .left = text, .file = c->path, .line = 1, .files = &files, .diag = reterr
    };
    root->block = true;
    return parse_block(&p, root, false);
}

/* ---- looking ---- */

static struct directive *from(struct directive *d, struct bytes name)
{
    while (d && !bytes_eq(d->name, name))
        d = d->next;
    return d;
}

struct directive *nginx_in(struct directive *block, const char *name)
{
    return from(block->first, bytes_from(name));
}

struct directive *nginx_next(struct directive *d)
{
    return from(d->next, d->name);
}

struct directive *nginx_find(struct directive *block, const char *name)
{
    for (; block; block = block->parent) {
        struct directive *d = nginx_in(block, name);
        if (!d)
            continue;
        d->done = true;
        return d;
    }
    return NULL;
}

struct bytes nginx_arg(const struct directive *d, unsigned i)
{
    return i < d->count ? d->args[i] : BYTES_NONE;
}

struct bytes nginx_option(const struct directive *d, const char *name)
{
    size_t len = strlen(name);
    for (unsigned i = 0; i < d->count; i++) {
        if (d->args[i].len > len && memcmp(d->args[i].ptr, name, len) == 0 && d->args[i].ptr[len] == '=')
            return bytes_skip(d->args[i], len + 1);
    }
    return BYTES_NONE;
}

bool nginx_flag(const struct directive *d, const char *word)
{
    for (unsigned i = 0; i < d->count; i++) {
        if (bytes_eq(d->args[i], bytes_from(word)))
            return true;
    }
    return false;
}

struct bytes nginx_text(struct conv *c, const struct directive *d)
{
    struct bytes text = d->name;
    for (unsigned i = 0; i < d->count; i++)
        text = conv_text(c, "%.*s %.*s", BYTES_ARG(text), BYTES_ARG(d->args[i]));
    for (size_t i = 0; i < text.len; i++) { /* it stands in a comment: one line */
        if (text.ptr[i] == '\n' || text.ptr[i] == '\r')
            ((char *)(uintptr_t)text.ptr)[i] = ' ';
    }
    return text;
}
