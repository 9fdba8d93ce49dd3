/* Bodies over real sockets, cut in every way, and sent on in every framing. */
#include "gate/http1_body.h"

#include "core/io_test.h"

static const struct http1_limits limits = { .line_bytes_max = 200, .head_bytes_max = 400, .fields_max = 10 };

/* ---- somebody who writes in pieces, or reads all ---- */

struct writer {
    struct io *io;
    struct bytes text;
    size_t piece; /* bytes at a time; 0: all at once */
    size_t cut;   /* the first piece ends there */
    bool end;
    bool done;
};

static void write_in_pieces(void *arg)
{
    struct writer *w = arg;
    size_t at = 0;
    while (at < w->text.len) {
        size_t n = w->piece ? w->piece : w->text.len;
        if (at < w->cut)
            n = w->cut - at;
        if (n > w->text.len - at)
            n = w->text.len - at;
        must(io_write(w->io, (struct bytes){ w->text.ptr + at, n }, deadline_in_ms(5000)) == OK);
        must(io_drain(w->io, 0, deadline_in_ms(5000)) == OK);
        at += n;
        fiber_yield(); /* so that the reader sees this piece by itself */
    }
    if (w->end)
        io_end(w->io);
    w->done = true;
}

struct gathered {
    char text[300000];
    size_t len;
    err e;
};

/* give: how many bytes at a time at most. */
static void pull_all(struct body *b, size_t give, struct gathered *g)
{
    g->len = 0;
    for (;;) {
        struct bytes in;
        g->e = body_pull(b, deadline_in_ms(5000), &in);
        if (g->e || !in.len)
            return;
        size_t n = in.len < give ? in.len : give;
        must(g->len + n <= sizeof g->text);
        memcpy(g->text + g->len, in.ptr, n);
        g->len += n;
        body_give(b, n);
    }
}

static struct gathered got;

static bool got_is(const char *text)
{
    return got.len == strlen(text) && memcmp(got.text, text, got.len) == 0;
}

static const char chunked_text[] = "5\r\nhello\r\n1;ext=\"a\"\r\n,\r\n00a\r\n 123456789\r\n"
                                   "0\r\nX-Sum: 42\r\nX-More:  b c \r\n\r\n";

/* What a body of that framing gives when it comes in those pieces, and whether the next message behind it is
 * untouched. */
static void expect_body(enum http_framing framing, const char *text, const char *wanted, size_t piece,
                        size_t cut, size_t give)
{
    struct io *io[2];
    struct arena a;
    char both[400];
    bool close = framing == HTTP_BODY_CLOSE;
    snprintf(both, sizeof both, "%s%s", text, close ? "" : "NEXT");
    arena_open(&a, &arena_heap, 65536, NULL, 0);
    pair(io);
    struct writer w = { io[1], bytes_from(both), piece, cut, close, false };
    fiber_spawn(write_in_pieces, &w);
    struct http1_body b;
    http1_body_init(&b, io[0], framing, strlen(wanted), 1000, 5000, &limits, &a);
    must(b.body.length == (framing == HTTP_BODY_LENGTH ? strlen(wanted) : BODY_LENGTH_UNKNOWN));
    pull_all(&b.body, give, &got);
    must(got.e == OK && got_is(wanted) && b.bytes == got.len);
    if (framing == HTTP_BODY_CHUNKED) {
        must(b.body.trailers && b.body.trailers->count == 2);
        must(bytes_eq(http_field_value(&b.body.trailers->at[1]), BYTES("b c")));
    } else {
        must(!b.body.trailers);
    }
    struct bytes in;
    must(body_pull(&b.body, 0, &in) == OK && !in.len); /* the end stays the end */
    must(http1_body_finish(&b, 0));
    if (close)
        expect_end(io[0]);
    else
        expect_text(io[0], "NEXT");
    while (!w.done)
        fiber_yield();
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
    arena_close(&a);
}

static void cut_everywhere(void)
{
    static const struct {
        enum http_framing framing;
        const char *text, *wanted;
    } cases[] = {
        { HTTP_BODY_LENGTH, "hello, world", "hello, world" },
        { HTTP_BODY_CLOSE, "hello, world", "hello, world" },
        { HTTP_BODY_CHUNKED, chunked_text, "hello, 123456789" },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (size_t cut = 0; cut <= strlen(cases[i].text); cut++)
            expect_body(cases[i].framing, cases[i].text, cases[i].wanted, 0, cut, SIZE_MAX);
        expect_body(cases[i].framing, cases[i].text, cases[i].wanted, 1, 0, SIZE_MAX);
        expect_body(cases[i].framing, cases[i].text, cases[i].wanted, 0, 0, 1);
        expect_body(cases[i].framing, cases[i].text, cases[i].wanted, 3, 0, 2);
    }
}
TEST(cut_everywhere)

static struct arena trailers_arena;

/* A message that is all there (and the end of the connection behind it, if wanted). */
static void one_body(struct http1_body *b, struct io *io[2], enum http_framing framing, uint64_t length,
                     uint64_t bytes_max, const char *text, bool end)
{
    pair(io);
    send_text(io[1], text);
    must(io_drain(io[1], 0, deadline_in_ms(5000)) == OK);
    if (end)
        io_end(io[1]);
    arena_open(&trailers_arena, &arena_heap, 65536, NULL, 0);
    http1_body_init(b, io[0], framing, length, bytes_max, 5000, &limits, &trailers_arena);
}

static void close_both(struct io *io[2])
{
    arena_close(&trailers_arena);
    io_close(io[0], 0, false);
    io_close(io[1], 0, false);
}

static void what_goes_wrong(void)
{
    static const struct {
        enum http_framing framing;
        uint64_t length, bytes_max;
        const char *text, *before;
        err e;
    } cases[] = {
        { HTTP_BODY_LENGTH, 10, 100, "hello", "hello", ERR_CLOSED },
        { HTTP_BODY_CHUNKED, 0, 100, "", "", ERR_CLOSED },
        { HTTP_BODY_CHUNKED, 0, 100, "5\r\nhel", "hel", ERR_CLOSED },
        { HTTP_BODY_CHUNKED, 0, 100, "5\r\nhello\r\n", "hello", ERR_CLOSED },
        { HTTP_BODY_CHUNKED, 0, 100, "5\r\nhello\r\n0\r\n", "hello", ERR_CLOSED },
        { HTTP_BODY_CHUNKED, 0, 100, "5\r\nhello\r\n0\r\nX: y\r\n", "hello", ERR_CLOSED },
        { HTTP_BODY_CHUNKED, 0, 100, "x\r\n", "", ERR_SYNTAX },
        { HTTP_BODY_CHUNKED, 0, 100, "5\nhello", "", ERR_SYNTAX },
        { HTTP_BODY_CHUNKED, 0, 100, "5\r\nhelloX", "hello", ERR_SYNTAX },
        { HTTP_BODY_CHUNKED, 0, 100, "ffffffffffffffffff\r\n", "", ERR_SYNTAX },
        { HTTP_BODY_CHUNKED, 0, 5, "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", "hello", ERR_LIMIT },
        { HTTP_BODY_CHUNKED, 0, 5, "6\r\nhello!\r\n0\r\n\r\n", "", ERR_LIMIT },
        { HTTP_BODY_CLOSE, 0, 4, "hello", "", ERR_LIMIT },
        { HTTP_BODY_LENGTH, 5, 4, "hello", "", ERR_LIMIT },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct http1_body b;
        struct io *io[2];
        struct bytes in;
        one_body(&b, io, cases[i].framing, cases[i].length, cases[i].bytes_max, cases[i].text, true);
        pull_all(&b.body, SIZE_MAX, &got);
        if (got.e != cases[i].e || !got_is(cases[i].before))
            print_error("%s: %s after %zu\n", cases[i].text, err_name(got.e), got.len);
        must(got.e == cases[i].e && got_is(cases[i].before));
        must(body_pull(&b.body, deadline_in_ms(5000), &in) == cases[i].e); /* what broke stays broken */
        must(!http1_body_finish(&b, 1000));
        uint64_t left;
        must(!body_raw(&b.body, &left));
        close_both(io);
    }
}
TEST(what_goes_wrong)

static void pauses(void)
{
    struct http1_body b;
    struct io *io[2];
    struct bytes in;
    one_body(&b, io, HTTP_BODY_LENGTH, 5, 100, "he", false);
    b.pause_ms_max = 5;
    must(body_pull(&b.body, DEADLINE_NONE, &in) == OK && in.len == 2);
    must(body_pull(&b.body, DEADLINE_NONE, &in) == OK && in.len == 2); /* lent again */
    body_give(&b.body, 2);
    must(body_pull(&b.body, DEADLINE_NONE, &in) == ERR_TIMEOUT);
    close_both(io);
    one_body(&b, io, HTTP_BODY_CHUNKED, 0, 100, "5\r\n", false);
    must(body_pull(&b.body, worker_now_us() + 3000, &in) == ERR_TIMEOUT); /* the caller's own is earlier */
    close_both(io);
}
TEST(pauses)

static void none(void)
{
    struct http1_body b;
    struct bytes in;
    http1_body_init(&b, NULL, HTTP_BODY_NONE, 0, 0, 0, NULL, NULL);
    must(b.body.length == 0 && body_pull(&b.body, 0, &in) == OK && !in.len);
    must(http1_body_finish(&b, 0));
}
TEST(none)

static unsigned continued;

static void count_continue(struct http1_body *b)
{
    must(b->owner == &continued);
    continued++;
}

static void before_the_first_wait(void)
{
    struct http1_body b;
    struct io *io[2];
    struct bytes in;
    uint64_t left;
    continued = 0;
    one_body(&b, io, HTTP_BODY_LENGTH, 5, 100, "he", false);
    b.before_wait = count_continue;
    b.owner = &continued;
    must(!body_raw(&b.body, &left)); /* or it would be passed by */
    must(!http1_body_finish(&b, 100));
    while (!io_peek(io[0]).len)
        fiber_yield();
    must(body_pull(&b.body, DEADLINE_NONE, &in) == OK && continued == 0); /* it came unasked */
    body_give(&b.body, 2);
    send_text(io[1], "llo");
    must(body_pull(&b.body, DEADLINE_NONE, &in) == OK && continued == 1);
    body_give(&b.body, in.len);
    while (!b.ended) {
        must(body_pull(&b.body, DEADLINE_NONE, &in) == OK && in.len);
        body_give(&b.body, in.len);
    }
    must(continued == 1);
    close_both(io);
}
TEST(before_the_first_wait)

static void raw_and_moved(void)
{
    struct http1_body b;
    struct io *io[2];
    struct bytes in;
    uint64_t left;
    one_body(&b, io, HTTP_BODY_LENGTH, 5, 100, "helloNEXT", false);
    must(body_raw(&b.body, &left) == io[0] && left == 5);
    must(body_pull(&b.body, DEADLINE_NONE, &in) == OK);
    io_consume(io[0], 3);
    body_moved(&b.body, 3);
    must(body_raw(&b.body, &left) == io[0] && left == 2);
    must(body_pull(&b.body, DEADLINE_NONE, &in) == OK && bytes_eq(in, BYTES("lo")));
    body_give(&b.body, 2);
    must(!body_raw(&b.body, &left) && http1_body_finish(&b, 0));
    close_both(io);
    one_body(&b, io, HTTP_BODY_CHUNKED, 0, 100, "5\r\nhello\r\n", false);
    must(body_raw(&b.body, &left) == io[0] && left == 0); /* framing stands before the data */
    must(body_pull(&b.body, DEADLINE_NONE, &in) == OK);
    must(body_raw(&b.body, &left) == io[0] && left == in.len);
    close_both(io);
    one_body(&b, io, HTTP_BODY_CLOSE, 0, 100, "hello", false);
    must(body_raw(&b.body, &left) == io[0] && left == UINT64_MAX);
    close_both(io);
}
TEST(raw_and_moved)

static void arrived(struct io *io, size_t n)
{
    while (io_peek(io).len < n)
        fiber_yield();
}

/* Would a pull wait? Between two chunks there may be framing and no data. */
static void ready_or_not(void)
{
    struct http1_body b;
    struct io *io[2];
    struct bytes in;
    one_body(&b, io, HTTP_BODY_CHUNKED, 0, 100, "5\r\nhello\r\n", false);
    arrived(io[0], 10);
    must(body_ready(&b.body) && body_ready(&b.body));
    must(body_pull(&b.body, DEADLINE_NONE, &in) == OK && bytes_eq(in, BYTES("hello")));
    body_give(&b.body, 5);
    must(!body_ready(&b.body));
    send_text(io[1], "1\r\n!\r\n0\r\n\r\n");
    arrived(io[0], 11);
    must(body_ready(&b.body) && body_pull(&b.body, DEADLINE_NONE, &in) == OK && bytes_eq(in, BYTES("!")));
    body_give(&b.body, 1);
    must(body_ready(&b.body) && body_pull(&b.body, DEADLINE_NONE, &in) == OK && in.len == 0);
    close_both(io);
    one_body(&b, io, HTTP_BODY_LENGTH, 5, 100, "", false);
    must(!body_ready(&b.body));
    send_text(io[1], "h");
    arrived(io[0], 1);
    must(body_ready(&b.body));
    close_both(io);
}
TEST(ready_or_not)

static void finishing(void)
{
    struct http1_body b;
    struct io *io[2];
    one_body(&b, io, HTTP_BODY_LENGTH, 5, 100, "helloNEXT", false);
    arrived(io[0], 9);
    must(http1_body_finish(&b, 5));
    expect_text(io[0], "NEXT");
    close_both(io);
    one_body(&b, io, HTTP_BODY_LENGTH, 9, 100, "hello", false); /* the rest has not arrived: does not wait */
    arrived(io[0], 5);
    must(!http1_body_finish(&b, 100));
    close_both(io);
    one_body(&b, io, HTTP_BODY_CHUNKED, 0, 100, "5\r\nhello\r\n0\r\n\r\nNEXT", false);
    arrived(io[0], 19);
    must(http1_body_finish(&b, 100));
    expect_text(io[0], "NEXT");
    close_both(io);
    one_body(&b, io, HTTP_BODY_CHUNKED, 0, 100, "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", false);
    arrived(io[0], 20);
    must(!http1_body_finish(&b, 5)); /* longer than worth it */
    close_both(io);
    one_body(&b, io, HTTP_BODY_CLOSE, 0, 100, "hello", true);
    must(!http1_body_finish(&b, 100));
    close_both(io);
}
TEST(finishing)

/* ---- sending ---- */

static char big[300000];

static void fill_big(void)
{
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)('a' + (i * 7 + i / 251) % 26);
}

struct reader {
    struct io *io;
    struct gathered *got;
    bool done;
};

static void read_to_the_end(void *arg)
{
    struct reader *r = arg;
    struct bytes in;
    r->got->len = 0;
    while ((r->got->e = io_pull(r->io, deadline_in_ms(5000), &in)) == OK) {
        size_t room = sizeof r->got->text - r->got->len;
        memcpy(r->got->text + r->got->len, in.ptr, in.len < room ? in.len : room);
        r->got->len += in.len;
        io_consume(r->io, in.len);
    }
    r->done = true;
}

/* Bytes that went out must be these; chunks are taken apart first. */
static void expect_sent(struct gathered *g, enum http_framing framing, struct bytes wanted)
{
    if (framing != HTTP_BODY_CHUNKED) {
        must(g->len == wanted.len && memcmp(g->text, wanted.ptr, g->len) == 0);
        return;
    }
    struct http1_chunked d = HTTP1_CHUNKED_START;
    struct bytes in = { g->text, g->len };
    size_t at = 0;
    while (!d.done) {
        struct bytes data;
        size_t used;
        must(in.len > 0 && http1_chunked_decode(&d, in, &limits, NULL, &data, &used) == OK);
        must(at + data.len <= wanted.len && bytes_eq(data, (struct bytes){ wanted.ptr + at, data.len }));
        at += data.len;
        in = bytes_skip(in, used);
    }
    must(!in.len && at == wanted.len);
}

static void send_one(enum http_framing from, enum http_framing framing, size_t len)
{
    struct io *in[2];
    struct io *out[2];
    struct http1_body b;
    struct body_memory m;
    struct body *body;
    static struct gathered read;
    static char text[sizeof big + 100];
    int n = 0;
    if (from == HTTP_BODY_CHUNKED)
        n = snprintf(text, sizeof text, "%zx\r\n%.*s\r\n%zx\r\n%.*s\r\n0\r\n\r\n", len - len / 3,
                     (int)(len - len / 3), big, len / 3, (int)(len / 3), big + len - len / 3);
    else
        n = snprintf(text, sizeof text, "%.*s", (int)len, big);
    pair(in);
    pair(out);
    struct writer w = { in[1], { text, (size_t)n }, 50000, 0, true, false };
    if (from == HTTP_BODY_NONE) {
        body = body_memory_init(&m, (struct bytes){ big, len });
        w.done = true;
    } else {
        fiber_spawn(write_in_pieces, &w);
        http1_body_init(&b, in[0], from, len, UINT64_MAX, 5000, &limits, NULL);
        body = &b.body;
    }
    struct reader r = { out[1], &read, false };
    fiber_spawn(read_to_the_end, &r);
    uint64_t bytes = 0;
    bool from_failed = true;
    must(http1_body_send(out[0], body, framing, len, 5000000, DEADLINE_NONE, &bytes, &from_failed) == OK);
    must(bytes == len && !from_failed);
    io_end(out[0]);
    while (!r.done || !w.done)
        must(fiber_sleep_us(100) == OK);
    must(read.e == ERR_CLOSED);
    expect_sent(&read, framing, (struct bytes){ big, len });
    close_both(in);
    close_both(out);
}

static void send_everything(void)
{
    static const size_t sizes[] = { 3, 4095, 4096, 16384, 65535, 65536, 200000 };
    static const enum http_framing framings[] = { HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_CLOSE };
    fill_big();
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (unsigned j = 0; j < 3; j++) {
            send_one(HTTP_BODY_NONE, framings[j], sizes[i]); /* from memory */
            for (unsigned k = 0; k < 3; k++)
                send_one(framings[k], framings[j], sizes[i]);
        }
    }
}
TEST(send_everything)

static void send_trailers(void)
{
    struct io *in[2];
    struct io *out[2];
    struct http1_body b;
    uint64_t bytes;
    bool from;
    pair(out);
    one_body(&b, in, HTTP_BODY_CHUNKED, 0, 100, chunked_text, false);
    must(http1_body_send(out[0], &b.body, HTTP_BODY_CHUNKED, 0, 1000000, DEADLINE_NONE, &bytes, &from) == OK);
    must(bytes == 16);
    expect_text(out[1], "5\r\nhello\r\n1\r\n,\r\na\r\n 123456789\r\n0\r\nX-Sum: 42\r\nX-More: b c\r\n\r\n");
    close_both(in);
    close_both(out);
}
TEST(send_trailers)

static void send_by_a_length(void)
{
    struct io *out[2];
    struct body_memory m;
    uint64_t bytes;
    bool from;
    pair(out);
    must(http1_body_send(out[0], body_memory_init(&m, BYTES("hello")), HTTP_BODY_LENGTH, 3, 1000000,
                         DEADLINE_NONE, &bytes, &from) == OK);
    must(bytes == 3 && m.left.len == 2); /* it goes on: cut */
    must(http1_body_send(out[0], body_memory_init(&m, BYTES("lo")), HTTP_BODY_LENGTH, 3, 1000000,
                         DEADLINE_NONE, &bytes, &from) == ERR_CLOSED);
    must(bytes == 2 && from); /* it ends early */
    expect_text(out[1], "hello");
    must(http1_body_send(out[0], NULL, HTTP_BODY_LENGTH, 0, 1000000, DEADLINE_NONE, &bytes, &from) == OK);
    close_both(out);
}
TEST(send_by_a_length)

static void the_body_fails(void)
{
    static const enum http_framing framings[] = { HTTP_BODY_LENGTH, HTTP_BODY_CHUNKED, HTTP_BODY_CLOSE };
    for (unsigned i = 0; i < 3; i++) {
        for (unsigned big_one = 0; big_one < 2; big_one++) { /* copied; spliced */
            struct io *in[2];
            struct io *out[2];
            struct http1_body b;
            uint64_t length = big_one ? 1000000 : 10;
            uint64_t bytes;
            bool from = false;
            one_body(&b, in, HTTP_BODY_LENGTH, length, UINT64_MAX, "hello", true);
            pair(out);
            must(http1_body_send(out[0], &b.body, framings[i], length, 1000000, DEADLINE_NONE, &bytes,
                                 &from) == ERR_CLOSED);
            must(bytes == 5 && from);
            close_both(in);
            close_both(out);
        }
    }
}
TEST(the_body_fails)

/* Writes what nobody may ever take. */
static void feed(void *arg)
{
    struct writer *w = arg;
    err e = OK;
    while (!e)
        e = io_write(w->io, w->text, deadline_in_ms(5000));
    w->done = true;
}

/* A body without end to somebody who takes nothing of it: from memory, and spliced. */
static void the_reader_stalls(void)
{
    fill_big();
    for (unsigned spliced = 0; spliced < 2; spliced++) {
        struct io *in[2];
        struct io *out[2];
        struct http1_body b;
        struct body_memory m;
        uint64_t bytes;
        bool from = true;
        err e = OK;
        pair(in);
        pair(out);
        struct writer w = { .io = in[1], .text = { big, 60000 }, .done = !spliced };
        http1_body_init(&b, in[0], HTTP_BODY_LENGTH, 1 << 30, UINT64_MAX, 5000, &limits, NULL);
        if (spliced)
            fiber_spawn(feed, &w);
        while (!e) {
            struct body *body = spliced ? &b.body : body_memory_init(&m, (struct bytes){ big, sizeof big });
            e = http1_body_send(out[0], body, HTTP_BODY_LENGTH, spliced ? 1 << 30 : sizeof big, 20000,
                                DEADLINE_NONE, &bytes, &from);
        }
        must(e == ERR_TIMEOUT && !from);
        io_abort(in[0], false);
        while (!w.done)
            must(fiber_sleep_us(1000) == OK);
        io_abort(in[1], false);
        io_abort(out[0], false);
        io_abort(out[1], false);
    }
}
TEST(the_reader_stalls)

static void the_reader_is_gone(void)
{
    struct io *out[2];
    struct body_memory m;
    uint64_t bytes;
    bool from = true;
    err e = OK;
    pair(out);
    io_abort(out[1], false);
    while (!e) {
        e = http1_body_send(out[0], body_memory_init(&m, (struct bytes){ big, sizeof big }),
                            HTTP_BODY_CHUNKED, 0, 5000000, DEADLINE_NONE, &bytes, &from);
    }
    must(e == ERR_RESET && !from);
    io_abort(out[0], false);
}
TEST(the_reader_is_gone)

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_cut_everywhere),
    cmocka_unit_test(test_what_goes_wrong),
    cmocka_unit_test(test_pauses),
    cmocka_unit_test(test_none),
    cmocka_unit_test(test_before_the_first_wait),
    cmocka_unit_test(test_raw_and_moved),
    cmocka_unit_test(test_ready_or_not),
    cmocka_unit_test(test_finishing),
    cmocka_unit_test(test_send_everything),
    cmocka_unit_test(test_send_trailers),
    cmocka_unit_test(test_send_by_a_length),
    cmocka_unit_test(test_the_body_fails),
    cmocka_unit_test(test_the_reader_stalls),
    cmocka_unit_test(test_the_reader_is_gone),
};

int main(void)
{
    return run_both(tests, sizeof tests / sizeof *tests);
}
