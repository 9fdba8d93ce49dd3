/* compress: answers in the coding that the client likes best, if their type gains by it.
 *
 *      compress: on                       compress: {codings: [br 5, gzip 6], min_bytes: 1k}
 *
 *   handle   Accept-Encoding as it came ─▶ chain_next ─▶ fit? type, length, status, not coded yet,
 * no-transform ─▶ Vary ─▶ choose by weight (RFC 9110 12.5.3) ─▶ a stream's memory ─▶ the body is wrapped
 *
 * It stands before all but security_headers: what any other filter answers is compressed too. The work is
 * done while the body is pulled (gate/coding_body.h). */
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/coding_body.h"
#include "gate/filter.h"

enum { WORD_GZIP, WORD_BR, WORD_ZSTD };
static const char *const coding_words[] = { "gzip", "br", "zstd", NULL };
static const enum content_coding coding_of_word[] = { CODING_GZIP, CODING_BR, CODING_ZSTD };
#define CODINGS_MAX 3

/* The order in which equals are preferred when the file does not say: most saved for the CPU it takes first.
 */
static const int words_preset[CODINGS_MAX] = { WORD_ZSTD, WORD_BR, WORD_GZIP };

static const char *const level_words[] = { "auto", NULL };
#define LEVEL_AUTO CONF_INT_WORD(0)

struct coding_conf {
    int word;
    int64_t level;
};

struct compress_conf {
    struct conf_list codings; /* struct coding_conf; empty: all that are built in */
    struct conf_list types;   /* struct bytes; empty: types_preset */
    uint64_t min_bytes;
    uint64_t window_bytes;
    uint64_t memory_bytes_max;
};

/* What is text inside. Pictures, films, archives and woff2 fonts are compressed already. */
static const char *const types_preset[] = {
    "text/*",
    "application/json",
    "application/javascript",
    "application/xml",
    "*+json",
    "*+xml",
    "application/wasm",
    "application/x-ndjson",
    "application/x-javascript",
    "application/x-www-form-urlencoded",
    "application/graphql",
    "application/pdf",
    "application/rtf",
    "application/sql",
    "application/vnd.ms-fontobject",
    "application/yaml",
    "font/otf",
    "font/ttf",
    "image/bmp",
    "image/x-icon",
    "image/vnd.microsoft.icon",
};

#define COMPRESS_METRICS(X)                                                              \
    X(ANSWERS, "answers_total", METRIC_COUNTER, "Answers that were compressed")          \
    X(IN_BYTES, "in_bytes_total", METRIC_COUNTER, "Bytes of bodies before compression")  \
    X(OUT_BYTES, "out_bytes_total", METRIC_COUNTER, "Bytes of bodies after compression") \
    X(CPU_NS, "cpu_nanoseconds_total", METRIC_COUNTER, "CPU time that compression took") \
    X(BUSY, "busy_total", METRIC_COUNTER, "Answers that did not get this coding because memory was used up")

enum compress_metric {
#define X(id, name, type, help) METRIC_##id,
    COMPRESS_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "compress",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            COMPRESS_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", "coding", NULL },
};

/* A route's, on one worker. */
struct compress {
    const struct compress_conf *conf;
    unsigned window_bits;
    unsigned count; /* of the three arrays */
    enum content_coding codings[CODINGS_MAX];
    int levels[CODINGS_MAX];
    struct metric_instance *metrics[CODINGS_MAX];
    struct metric_cells *cells[CODINGS_MAX];
};

/* ---- which answers ---- */

/* A family ("text/" and a star), a suffix (a star and "+json"), or the whole type; without case. */
static bool type_fits(struct bytes pattern, struct bytes type)
{
    const size_t n = pattern.len - 1;
    if (n && pattern.ptr[n] == '*')
        return type.len >= n &&
               bytes_eq_nocase((struct bytes){ pattern.ptr, n }, (struct bytes){ type.ptr, n });
    if (pattern.ptr[0] == '*')
        return type.len > n && bytes_eq_nocase(bytes_skip(pattern, 1), bytes_skip(type, type.len - n));
    return bytes_eq_nocase(pattern, type);
}

static bool type_is_fit(const struct compress_conf *c, const struct http_fields *fields)
{
    const struct http_field *f = http_fields_get(fields, FIELD_CONTENT_TYPE);
    if (!f)
        return false;
    struct bytes type = http_field_value(f);
    type.len = bytes_index(type, ';');
    type = bytes_trim(type);
    const struct bytes *types = c->types.items;
    for (size_t i = 0; i < c->types.count; i++) {
        if (type_fits(types[i], type))
            return true;
    }
    for (size_t i = 0; !c->types.count && i < sizeof types_preset / sizeof *types_preset; i++) {
        if (type_fits(bytes_from(types_preset[i]), type))
            return true;
    }
    return false;
}

/* Would it be compressed for somebody? */
static bool is_fit(const struct compress_conf *c, const struct exchange *x)
{
    const struct body *b = x->response_body;
    return b && b->length >= c->min_bytes && coding_may_transform(x) &&
           !http_fields_get(&x->response.fields, FIELD_CONTENT_ENCODING) &&
           type_is_fit(c, &x->response.fields);
}

/* ---- the filter ---- */

static err wrap(struct compress *c, struct exchange *x, struct coder *coder, unsigned i)
{
    const struct coding_meter meter = { c->cells[i], METRIC_IN_BYTES, METRIC_OUT_BYTES, METRIC_CPU_NS };
    err e = encoding_body(&x->arena, x->response_body, coder, &meter, &x->response_body);
    if (e) {
        coder_close(coder);
        return e;
    }
    metric_inc(c->cells[i], METRIC_ANSWERS);
    e = coding_changed(x);
    return e ? e
             : http_fields_add(&x->response.fields, &x->arena, BYTES("Content-Encoding"),
                               content_coding_name(c->codings[i]));
}

static unsigned index_of(const struct compress *c, enum content_coding coding)
{
    unsigned i = 0;
    while (i < c->count && c->codings[i] != coding)
        i++;
    return i;
}

/* Where there is no memory left for the coding that is liked best, there may be for the next. */
static err compress_answer(struct compress *c, struct exchange *x, struct accept_encoding *accept)
{
    struct coder_opts opts = { .window_bits = c->window_bits,
                               .length = x->response_body->length,
                               .memory_bytes_max = c->conf->memory_bytes_max };
    for (;;) {
        opts.coding = accept_encoding_choose(accept, c->codings, c->count);
        if (opts.coding == CODING_IDENTITY)
            return OK;
        const unsigned i = index_of(c, opts.coding);
        struct coder *coder;
        opts.level = c->levels[i];
        if (encoder_open(&opts, &coder) == OK)
            return wrap(c, x, coder, i);
        metric_inc(c->cells[i], METRIC_BUSY);
        accept->weight[opts.coding] = 0;
    }
}

static err compress_handle(struct exchange *x, void *state, struct chain *next)
{
    struct compress *c = state;
    struct accept_encoding accept;
    accept_encoding_read(&x->request.fields, &accept); /* a later filter may take the field away */
    err e = chain_next(next, x);
    if (e || !is_fit(c->conf, x))
        return e;
    e = coding_vary(x);
    return e || x->request.method == HTTP_HEAD ? e : compress_answer(c, x, &accept);
}

static void compress_close(void *state)
{
    struct compress *c = state;
    for (unsigned i = 0; i < CODINGS_MAX; i++)
        metric_instance_free(c->metrics[i]);
    mem_free(c);
}

static err add_coding(struct compress *c, struct bytes scope, const struct coding_conf *coding)
{
    const enum content_coding id = coding_of_word[coding->word];
    const unsigned i = c->count;
    const struct bytes values[] = { scope, content_coding_name(id) };
    c->codings[i] = id;
    c->levels[i] = coding->level == LEVEL_AUTO ? coder_levels(id).preset : (int)coding->level;
    err e = metric_instance_open(&metric_group, values, &c->metrics[i]);
    if (e)
        return e;
    c->cells[i] = metric_cells(c->metrics[i], worker_index(worker_self()));
    c->count++;
    return OK;
}

static err add_codings(struct compress *c, struct bytes scope)
{
    err e = OK;
    const struct coding_conf *coding = c->conf->codings.items;
    for (size_t i = 0; !e && i < c->conf->codings.count; i++)
        e = add_coding(c, scope, &coding[i]);
    for (unsigned i = 0; !e && !c->conf->codings.count && i < CODINGS_MAX; i++) {
        const struct coding_conf preset = { words_preset[i], LEVEL_AUTO };
        if (coder_has(coding_of_word[preset.word]))
            e = add_coding(c, scope, &preset);
    }
    return e;
}

static err compress_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                         struct diag *reterr)
{
    (void)g;
    (void)reterr;
    struct compress *c = mem_get(sizeof *c);
    if (!c)
        return ERR_MEMORY;
    c->conf = conf;
    c->window_bits = 63 - (unsigned)__builtin_clzll(c->conf->window_bytes);
    err e = add_codings(c, scope);
    if (e) {
        compress_close(c);
        return e;
    }
    *ret_state = c;
    return OK;
}

/* ---- settings ---- */

static err coding_check(void *conf, struct diag *reterr)
{
    const struct coding_conf *c = conf;
    const enum content_coding coding = coding_of_word[c->word];
    if (!coder_has(coding)) {
        diag_set(reterr, "%s is not in this build of weir (`weir version` says what is)",
                 coding_words[c->word]);
        return ERR_CONF;
    }
    const struct coder_levels levels = coder_levels(coding);
    if (c->level != LEVEL_AUTO && (c->level < levels.min || c->level > levels.max)) {
        diag_set(reterr, "%s has levels %d to %d", coding_words[c->word], levels.min, levels.max);
        return ERR_CONF;
    }
    return OK;
}

static err check_codings(const struct compress_conf *c, struct diag *reterr)
{
    const struct coding_conf *codings = c->codings.items;
    unsigned seen = 0;
    for (size_t i = 0; i < c->codings.count; i++) {
        if (seen & 1u << codings[i].word) {
            diag_set(reterr, "%s is there twice", coding_words[codings[i].word]);
            return ERR_CONF;
        }
        seen |= 1u << codings[i].word;
    }
    return OK;
}

static err compress_check(void *conf, struct diag *reterr)
{
    const struct compress_conf *c = conf;
    const struct bytes *types = c->types.items;
    for (size_t i = 0; i < c->types.count; i++) {
        const struct bytes t = types[i];
        if (t.len < 2 || (bytes_index(t, '/') == t.len && t.ptr[0] != '*') || bytes_index(t, ';') < t.len) {
            diag_set(reterr, "\"%.*s\" is no type: expected text/html, text/* or *+json", BYTES_ARG(t));
            return ERR_CONF;
        }
    }
    return check_codings(c, reterr);
}

static const struct conf_struct coding_struct = {
    .name = "coding",
    .size = sizeof(struct coding_conf),
    .phrases = (const char *const[]){ "{coding} {level}", "{coding}", NULL },
    .fields =
        (const struct conf_field[]){ { .name = "coding",
                                       .type = CONF_WORD,
                                       .offset = offsetof(struct coding_conf, word),
                                       .required = true,
                                       .words = coding_words,
                                       .doc = "its name in Accept-Encoding" },
                                     { .name = "level",
                                       .type = CONF_INT,
                                       .offset = offsetof(struct coding_conf, level),
                                       .preset = "auto",
                                       .max = 22,
                                       .words = level_words,
                                       .doc = "gzip 1 to 9 (`auto`: 5), br 0 to 11 (4), zstd 1 to 19 (3)" },
                                     { 0 } },
    .check = coding_check,
    .doc = "A coding that answers may have.",
};

const struct filter compress_filter = {
    .conf = { .name = "compress",
              .size = sizeof(struct compress_conf),
              .fields =
                  (const struct conf_field[]){
                      { .name = "codings",
                        .type = CONF_LIST,
                        .offset = offsetof(struct compress_conf, codings),
                        .sub = &coding_struct,
                        .max = CODINGS_MAX,
                        .doc =
                            "of those that the client likes best the first one counts; `zstd, br, gzip` when "
                            "not said" },
                      { .name = "types",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct compress_conf, types),
                        .doc = "media types: `text/html`, `text/*`, `*+json`; what is text inside when not "
                               "said" },
                      { .name = "min_bytes",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct compress_conf, min_bytes),
                        .preset = "1k",
                        .max = 1 << 30,
                        .doc = "a body whose length is known and less is left as it is" },
                      { .name = "window",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct compress_conf, window_bytes),
                        .preset = "256k",
                        .min = 1 << CODER_WINDOW_BITS_MIN,
                        .max = 1 << CODER_WINDOW_BITS_MAX,
                        .doc = "how far back br and zstd look; more finds more and takes more memory" },
                      { .name = "memory",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct compress_conf, memory_bytes_max),
                        .preset = "64m",
                        .min = 1 << 20,
                        .max = 1e12,
                        .doc =
                            "of all answers that one worker is compressing; beyond it they are left as they "
                            "are" },
                      { 0 } },
              .check = compress_check,
              .doc = "Compresses answers with gzip, brotli or zstd." },
    .open = compress_open,
    .handle = compress_handle,
    .close = compress_close,
};
