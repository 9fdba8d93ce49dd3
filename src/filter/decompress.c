/* decompress: bodies without their coding: of requests, for servers that know none; of answers, for clients
 * that do not take the one that the server chose.
 *
 *      decompress: on                     decompress: {answers: false, bytes_max: 10m}
 *
 *   request   Content-Encoding: gzip ─▶ body wrapped, the field goes, chunked ─▶ chain_next
 *   answer    coded, and the client's Accept-Encoding has no room for that ─▶ body wrapped, the field goes
 *
 * A bomb is bounded twice: decoded bytes, and their ratio to the coded ones. What is corrupt or cut short is
 * 400 in a request, and in an answer the end of the connection. Not every coding is undone: one at a time, of
 * those in this build; anything else is passed on as it is. */
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/coding_body.h"
#include "gate/filter.h"

struct decompress_conf {
    bool requests, answers;
    uint64_t bytes_max, answer_bytes_max;
    int64_t ratio_max;
    uint64_t memory_bytes_max;
};

#define DECOMPRESS_METRICS(X)                                                                           \
    X(REQUESTS, "requests_total", METRIC_COUNTER, "Requests whose body was decoded")                    \
    X(ANSWERS, "answers_total", METRIC_COUNTER, "Answers that were decoded")                            \
    X(IN_BYTES, "in_bytes_total", METRIC_COUNTER, "Bytes of bodies before decoding")                    \
    X(OUT_BYTES, "out_bytes_total", METRIC_COUNTER, "Bytes of bodies after decoding")                   \
    X(CPU_NS, "cpu_nanoseconds_total", METRIC_COUNTER, "CPU time that decoding took")                   \
    X(BROKEN, "broken_total", METRIC_COUNTER, "Bodies that were corrupt or cut short")                  \
    X(TOO_LARGE, "too_large_total", METRIC_COUNTER, "Bodies past their bound (bytes, ratio or memory)") \
    X(BUSY, "busy_total", METRIC_COUNTER,                                                               \
      "Bodies left as they are because memory was used up; requests are then refused (503)")

enum decompress_metric {
#define X(id, name, type, help) METRIC_##id,
    DECOMPRESS_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "decompress",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            DECOMPRESS_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* A route's, on one worker. */
struct decompress {
    const struct decompress_conf *conf;
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

/* Of a body that is decoded: its fate is counted at the exchange's end. */
struct decoded {
    struct decompress *decompress;
    struct coding_body *body;
};

static void count_end(struct exchange *x, void *arg)
{
    (void)x;
    const struct decoded *d = arg;
    const err e = d->body->failed;
    if (e == ERR_SYNTAX)
        metric_inc(d->decompress->cells, METRIC_BROKEN);
    else if (e == ERR_LIMIT)
        metric_inc(d->decompress->cells, METRIC_TOO_LARGE);
}

/* The one coding of a message; CODING_IDENTITY: none; CODING_COUNT: several, or one that is not known. */
static enum content_coding coding_of(const struct http_fields *fields)
{
    enum content_coding coding = CODING_IDENTITY;
    for (uint32_t i = 0; i < fields->count; i++) {
        const struct http_field *f = &fields->at[i];
        if (f->id != FIELD_CONTENT_ENCODING || f->flags & FIELD_REMOVED)
            continue;
        if (coding != CODING_IDENTITY)
            return CODING_COUNT;
        coding = content_coding_of(bytes_trim(http_field_value(f)));
        if (coding != CODING_COUNT && coding != CODING_IDENTITY && !coder_has(coding))
            return CODING_COUNT;
    }
    return coding;
}

static bool is_coded(enum content_coding coding)
{
    return coding != CODING_IDENTITY && coding != CODING_COUNT;
}

/* *body becomes a decoded one. *ret_done false: there was no memory for it. */
static err wrap(struct decompress *d, struct exchange *x, enum content_coding coding, uint64_t bytes_max,
                struct body **body, struct coding_body **ret_coding)
{
    const struct coding_meter meter = { d->cells, METRIC_IN_BYTES, METRIC_OUT_BYTES, METRIC_CPU_NS };
    const struct coding_bound bound = { bytes_max, (uint64_t)d->conf->ratio_max };
    const struct coder_opts opts = { .coding = coding, .memory_bytes_max = d->conf->memory_bytes_max };
    struct decoded *decoded = arena_get(&x->arena, sizeof *decoded);
    struct coder *coder;
    if (!decoded)
        return ERR_LIMIT;
    *ret_coding = NULL;
    if (decoder_open(&opts, &coder) != OK) {
        metric_inc(d->cells, METRIC_BUSY);
        return OK;
    }
    err e = decoding_body(&x->arena, *body, coder, &meter, &bound, &decoded->body);
    if (e) {
        coder_close(coder);
        return e;
    }
    decoded->decompress = d;
    *body = &decoded->body->body;
    *ret_coding = decoded->body;
    return exchange_on_end(x, count_end, decoded);
}

static err decode_request(struct decompress *d, struct exchange *x)
{
    const enum content_coding coding = coding_of(&x->request.fields);
    struct coding_body *c;
    if (!x->request_body || x->request.framing == HTTP_BODY_NONE || !is_coded(coding))
        return OK;
    err e = wrap(d, x, coding, d->conf->bytes_max, &x->request_body, &c);
    if (e || !c)
        return e ? e : ERR_LIMIT; /* a server that was promised no coding would not know what to do with it */
    metric_inc(d->cells, METRIC_REQUESTS);
    c->request_of = x;
    x->request.framing = HTTP_BODY_CHUNKED;
    x->request.content_length = 0;
    http_fields_remove_id(&x->request.fields, FIELD_CONTENT_LENGTH);
    http_fields_remove_id(&x->request.fields, FIELD_CONTENT_ENCODING);
    static const struct bytes gone[] = { { "Content-MD5", 11 }, { "Digest", 6 }, { "Content-Digest", 14 } };
    for (unsigned i = 0; i < sizeof gone / sizeof *gone; i++)
        http_fields_remove(&x->request.fields, gone[i]);
    return OK;
}

/* Also of an answer to HEAD, so that it says what a GET would bring. */
static err decode_answer(struct decompress *d, struct exchange *x, const struct accept_encoding *accept)
{
    const enum content_coding coding = coding_of(&x->response.fields);
    if (!is_coded(coding) || (accept->said && accept->weight[coding]) || !coding_may_transform(x))
        return OK;
    if (x->request.method != HTTP_HEAD && x->response_body) {
        struct coding_body *c;
        err e = wrap(d, x, coding, d->conf->answer_bytes_max, &x->response_body, &c);
        if (e || !c)
            return e;
        metric_inc(d->cells, METRIC_ANSWERS);
    }
    http_fields_remove_id(&x->response.fields, FIELD_CONTENT_ENCODING);
    err e = coding_vary(x);
    return e ? e : coding_changed(x);
}

static err decompress_handle(struct exchange *x, void *state, struct chain *next)
{
    struct decompress *d = state;
    struct accept_encoding accept = { .said = false };
    if (d->conf->answers)
        accept_encoding_read(&x->request.fields, &accept);
    err e = d->conf->requests ? decode_request(d, x) : OK;
    if (!e)
        e = chain_next(next, x);
    return e || !d->conf->answers ? e : decode_answer(d, x, &accept);
}

static void decompress_close(void *state)
{
    struct decompress *d = state;
    metric_instance_free(d->metrics);
    mem_free(d);
}

static err decompress_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                           struct diag *reterr)
{
    (void)g;
    (void)reterr;
    struct decompress *d = mem_get(sizeof *d);
    if (!d)
        return ERR_MEMORY;
    d->conf = conf;
    err e = metric_instance_open(&metric_group, &scope, &d->metrics);
    if (e) {
        mem_free(d);
        return e;
    }
    d->cells = metric_cells(d->metrics, worker_index(worker_self()));
    *ret_state = d;
    return OK;
}

static err decompress_check(void *conf, struct diag *reterr)
{
    const struct decompress_conf *c = conf;
    if (c->requests || c->answers)
        return OK;
    diag_set(reterr, "neither requests nor answers: expected one of them, or `decompress: off`");
    return ERR_CONF;
}

const struct filter decompress_filter = {
    .conf = { .name = "decompress",
              .size = sizeof(struct decompress_conf),
              .fields =
                  (const struct conf_field[]){
                      { .name = "requests",
                        .type = CONF_BOOL,
                        .offset = offsetof(struct decompress_conf, requests),
                        .preset = "true",
                        .doc = "servers get the bodies of requests decoded" },
                      { .name = "answers",
                        .type = CONF_BOOL,
                        .offset = offsetof(struct decompress_conf, answers),
                        .preset = "true",
                        .doc = "clients that do not take an answer's coding get it decoded" },
                      { .name = "bytes_max",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct decompress_conf, bytes_max),
                        .preset = "64m",
                        .min = 1,
                        .max = 1e18,
                        .doc = "longest body of a request, decoded (413)" },
                      { .name = "answer_bytes_max",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct decompress_conf, answer_bytes_max),
                        .preset = "1g",
                        .min = 1,
                        .max = 1e18,
                        .doc = "longest body of an answer, decoded; it is cut there" },
                      { .name = "ratio_max",
                        .type = CONF_INT,
                        .offset = offsetof(struct decompress_conf, ratio_max),
                        .preset = "100",
                        .min = 1,
                        .max = 1e9,
                        .doc = "decoded bytes to coded ones, beyond the first megabyte (413, or cut)" },
                      { .name = "memory",
                        .type = CONF_BYTES,
                        .offset = offsetof(struct decompress_conf, memory_bytes_max),
                        .preset = "64m",
                        .min = 1 << 20,
                        .max = 1e12,
                        .doc =
                            "of all bodies that one worker is decoding; beyond it requests are refused (503) "
                            "and answers left as they are" },
                      { 0 } },
              .check = decompress_check,
              .doc = "Decodes the bodies of requests, and of answers for clients that do not take their "
                     "coding." },
    .open = decompress_open,
    .handle = decompress_handle,
    .close = decompress_close,
};
