#include "gate/coder.h"

#include "base/hash.h"
#include "base/test.h"

#define MUCH ((size_t)64 << 20)
#define CONTENT_BYTES 200000

static char content[CONTENT_BYTES];
static char coded[CONTENT_BYTES * 2];
static char decoded[CONTENT_BYTES + 1];

static const enum content_coding encodable[] = { CODING_GZIP, CODING_BR, CODING_ZSTD };

static void fill(bool random)
{
    static const char words[] =
        "the low dam that divides a river, sheds its floods and meters what it lets through ";
    for (size_t i = 0; i < CONTENT_BYTES; i++)
        content[i] = random ? (char)random_u64() : words[(i * 7 + i / 50) % (sizeof words - 1)];
}

static struct coder_opts opts_of(enum content_coding coding, int level, uint64_t length)
{
    return (struct coder_opts){
        .coding = coding, .level = level, .window_bits = 18, .length = length, .memory_bytes_max = MUCH
    };
}

/* Runs all of in through, `in_step` bytes at a time into `out_step` bytes at a time. */
static err run_all(struct coder *c, struct bytes in, size_t in_step, size_t out_step, char *out,
                   size_t out_max, size_t *ret_len, bool *ret_done)
{
    size_t len = 0;
    *ret_done = false;
    for (size_t idle = 0; idle < 3;) {
        struct bytes piece = { in.ptr, in.len < in_step ? in.len : in_step };
        const size_t before = piece.len;
        size_t room = out_max - len < out_step ? out_max - len : out_step;
        char *at = out + len;
        const enum coder_flush flush = in.len > piece.len || c->decodes ? CODER_RUN : CODER_END;
        err e = coder_run(c, &piece, &at, &room, flush, ret_done);
        if (e)
            return e;
        in = bytes_skip(in, before - piece.len);
        idle = before == piece.len && at == out + len ? idle + 1 : 0;
        len = (size_t)(at - out);
        if (*ret_done && !in.len && (c->decodes || flush == CODER_END))
            break;
    }
    *ret_len = len;
    return OK;
}

static size_t encode(enum content_coding coding, int level, size_t len, size_t in_step, size_t out_step)
{
    struct coder *c;
    struct coder_opts o = opts_of(coding, level, in_step == 1 ? UINT64_MAX : len);
    size_t coded_len;
    bool done;
    assert_int_equal(encoder_open(&o, &c), OK);
    assert_int_equal(
        run_all(c, (struct bytes){ content, len }, in_step, out_step, coded, sizeof coded, &coded_len, &done),
        OK);
    assert_true(done);
    coder_close(c);
    return coded_len;
}

static err decode(enum content_coding coding, struct bytes in, size_t in_step, size_t out_step,
                  size_t *ret_len, bool *ret_done)
{
    struct coder *c;
    struct coder_opts o = opts_of(coding, 0, UINT64_MAX);
    assert_int_equal(decoder_open(&o, &c), OK);
    err e = run_all(c, in, in_step, out_step, decoded, sizeof decoded, ret_len, ret_done);
    coder_close(c);
    return e;
}

static void assert_round_trip(enum content_coding coding, int level, size_t len, size_t in_step,
                              size_t out_step)
{
    size_t decoded_len = 0;
    bool done;
    size_t coded_len = encode(coding, level, len, in_step, out_step);
    assert_int_equal(
        decode(coding, (struct bytes){ coded, coded_len }, in_step, out_step, &decoded_len, &done), OK);
    assert_true(done);
    assert_int_equal(decoded_len, len);
    assert_memory_equal(decoded, content, len);
    assert_int_equal(coder_memory_used(true), 0);
    assert_int_equal(coder_memory_used(false), 0);
}

static void every_cut_gives_the_same_bytes(void **unused)
{
    (void)unused;
    for (unsigned random = 0; random < 2; random++) {
        fill(random);
        for (unsigned i = 0; i < 3; i++) {
            if (!coder_has(encodable[i]))
                continue;
            const int level = coder_levels(encodable[i]).preset;
            assert_round_trip(encodable[i], level, CONTENT_BYTES, CONTENT_BYTES, sizeof coded);
            assert_round_trip(encodable[i], level, CONTENT_BYTES, 16384, 1000);
            assert_round_trip(encodable[i], level, 20000, 1, 1);
            assert_round_trip(encodable[i], level, 20000, 1, 4096);
            assert_round_trip(encodable[i], level, 1, 1, 1);
            assert_round_trip(encodable[i], level, 0, 1, 1);
        }
    }
}

/* The estimate is what admission goes by: it must not be less than what is taken. */
static void the_estimate_holds_at_every_level(void **unused)
{
    (void)unused;
    static const uint64_t lengths[] = { 2000, 100000, UINT64_MAX };
    unsigned failed = 0;
    fill(false);
    for (unsigned i = 0; i < 3; i++) {
        const struct coder_levels levels = coder_levels(encodable[i]);
        for (int level = levels.min; coder_has(encodable[i]) && level <= levels.max; level++) {
            for (unsigned k = 0; k < 6; k++) {
                struct coder_opts o = opts_of(encodable[i], level, lengths[k % 3]);
                o.window_bits = k < 3 ? 18 : 22;
                o.memory_bytes_max = (size_t)2 << 30;
                struct coder *c;
                size_t len;
                bool done;
                size_t most = 0;
                assert_int_equal(encoder_open(&o, &c), OK);
                struct bytes in = { content, k % 3 == 0 ? 2000 : 100000 };
                while (in.len) {
                    struct bytes piece = { in.ptr, in.len < 5000 ? in.len : 5000 };
                    char *at = coded;
                    size_t room = sizeof coded;
                    in = bytes_skip(in, piece.len);
                    assert_int_equal(coder_run(c, &piece, &at, &room, CODER_RUN, &done), OK);
                    most = c->used_bytes > most ? c->used_bytes : most;
                }
                assert_int_equal(run_all(c, BYTES_NONE, 1, 100000, coded, sizeof coded, &len, &done), OK);
                most = c->used_bytes > most ? c->used_bytes : most;
                if (most > c->reserved_bytes)
                    print_message("%s level %d window %u: took %zu, estimate %zu\n",
                                  content_coding_name(encodable[i]).ptr, level, o.window_bits, most,
                                  c->reserved_bytes);
                failed += most > c->reserved_bytes;
                coder_close(c);
            }
        }
    }
    assert_int_equal(failed, 0);
}

static void a_flush_lets_the_peer_read_all(void **unused)
{
    (void)unused;
    fill(false);
    for (unsigned i = 0; i < 3; i++) {
        if (!coder_has(encodable[i]))
            continue;
        struct coder *c;
        struct coder_opts o = opts_of(encodable[i], coder_levels(encodable[i]).preset, UINT64_MAX);
        assert_int_equal(encoder_open(&o, &c), OK);
        size_t coded_len = 0;
        for (size_t sent = 0; sent < 1000; sent += 100) {
            bool done;
            struct bytes in = { content + sent, 100 };
            char *at = coded + coded_len;
            size_t room = sizeof coded - coded_len;
            assert_int_equal(coder_run(c, &in, &at, &room, CODER_RUN, &done), OK);
            do { /* as little room as there may be */
                size_t little = CODER_ROOM_MIN;
                assert_int_equal(coder_run(c, &in, &at, &little, CODER_FLUSH, &done), OK);
            } while (!done);
            coded_len = (size_t)(at - coded);
            size_t len;
            assert_int_equal(decode(encodable[i], (struct bytes){ coded, coded_len }, coded_len,
                                    sizeof decoded, &len, &done),
                             OK);
            assert_false(done);
            assert_int_equal(len, sent + 100);
            assert_memory_equal(decoded, content, len);
        }
        coder_close(c);
    }
}

static void what_is_cut_short_is_not_done(void **unused)
{
    (void)unused;
    fill(false);
    for (unsigned i = 0; i < 3; i++) {
        if (!coder_has(encodable[i]))
            continue;
        size_t coded_len = encode(encodable[i], 3, 3000, 3000, sizeof coded);
        for (size_t cut = 1; cut < coded_len; cut++) {
            size_t len;
            bool done;
            assert_int_equal(decode(encodable[i], (struct bytes){ coded, cut }, cut, 100, &len, &done), OK);
            assert_false(done);
        }
    }
}

/* Every byte turned: an error, or (where nothing checks it) other bytes; never more than there is room for.
 */
static void what_is_corrupt_is_an_error_or_other_bytes(void **unused)
{
    (void)unused;
    fill(false);
    for (unsigned i = 0; i < 3; i++) {
        if (!coder_has(encodable[i]))
            continue;
        unsigned errors = 0;
        size_t coded_len = encode(encodable[i], 3, 3000, 3000, sizeof coded);
        for (size_t at = 0; at < coded_len; at++) {
            size_t len;
            bool done;
            coded[at] ^= 0x55;
            err e = decode(encodable[i], (struct bytes){ coded, coded_len }, coded_len, 1000, &len, &done);
            assert_true(e == OK || e == ERR_SYNTAX || e == ERR_LIMIT);
            errors += e != OK || !done;
            coded[at] ^= 0x55;
        }
        assert_true(errors > coded_len / 4);
    }
}

#if WEIR_HAVE_ZLIB
static void gzip_has_members(void **unused)
{
    (void)unused;
    fill(false);
    size_t len = encode(CODING_GZIP, 6, 1000, 1000, sizeof coded);
    memcpy(coded + len, coded, len);
    for (size_t step = 1; step < 40; step += 13) {
        size_t decoded_len;
        bool done;
        assert_int_equal(
            decode(CODING_GZIP, (struct bytes){ coded, 2 * len }, step, 700, &decoded_len, &done), OK);
        assert_true(done);
        assert_int_equal(decoded_len, 2000);
        assert_memory_equal(decoded + 1000, content, 1000);
    }
    size_t decoded_len;
    bool done;
    memcpy(coded + len, "garbage", 7);
    assert_int_equal(decode(CODING_GZIP, (struct bytes){ coded, len + 7 }, 1000, 700, &decoded_len, &done),
                     ERR_SYNTAX);
}

/* RFC 1950 around it, or not. Made with: printf hello | pigz -z | xxd; the same without its frame. */
static void deflate_is_two_things(void **unused)
{
    (void)unused;
    static const char framed[] = "\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\x00\x06\x2c\x02\x15";
    size_t len;
    bool done;
    for (size_t step = 1; step < 14; step++) {
        assert_int_equal(
            decode(CODING_DEFLATE, (struct bytes){ framed, sizeof framed - 1 }, step, 3, &len, &done), OK);
        assert_true(done);
        assert_bytes_equal(((struct bytes){ decoded, len }), BYTES("hello"));
        assert_int_equal(
            decode(CODING_DEFLATE, (struct bytes){ framed + 2, sizeof framed - 7 }, step, 3, &len, &done),
            OK);
        assert_true(done);
        assert_bytes_equal(((struct bytes){ decoded, len }), BYTES("hello"));
    }
    assert_int_equal(decode(CODING_DEFLATE, BYTES("\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\x00\x06\x2c\x02\x15x"),
                            99, 99, &len, &done),
                     ERR_SYNTAX);
}
#endif

static void memory_is_bounded(void **unused)
{
    (void)unused;
    fill(false);
    for (unsigned i = 0; i < 3; i++) {
        if (!coder_has(encodable[i]))
            continue;
        struct coder *c[100];
        unsigned count = 0;
        struct coder_opts o = opts_of(encodable[i], coder_levels(encodable[i]).preset, UINT64_MAX);
        o.memory_bytes_max = 16 << 20;
        err e = OK;
        while (count < 100 && !(e = encoder_open(&o, &c[count])))
            count++;
        assert_int_equal(e, ERR_LIMIT);
        assert_true(count > 2);
        assert_true(coder_memory_used(false) <= o.memory_bytes_max);
        while (count)
            coder_close(c[--count]);

        size_t len = encode(encodable[i], 3, CONTENT_BYTES, CONTENT_BYTES, sizeof coded);
        o.memory_bytes_max = sizeof(struct coder) + 20000 + CODER_PIECE_BYTES;
        bool done;
        e = decoder_open(&o, &c[0]);
        if (!e) {
            size_t decoded_len;
            e = run_all(c[0], (struct bytes){ coded, len }, len, sizeof decoded, decoded, sizeof decoded,
                        &decoded_len, &done);
            coder_close(c[0]);
        }
        assert_int_equal(e, ERR_LIMIT);
        assert_int_equal(coder_memory_used(true), 0);
    }
}

#if WEIR_HAVE_ZSTD
/* RFC 9659: 8 MiB at most. A frame's head that asks for 128 MiB: magic, no checksum, window byte 0x88. */
static void a_window_that_is_too_large_is_refused(void **unused)
{
    (void)unused;
    size_t len;
    bool done;
    assert_int_equal(decode(CODING_ZSTD, BYTES("\x28\xb5\x2f\xfd\x00\x88\x09\x00\x00x"), 99, 99, &len, &done),
                     ERR_LIMIT);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_gives_the_same_bytes),
        cmocka_unit_test(the_estimate_holds_at_every_level),
        cmocka_unit_test(a_flush_lets_the_peer_read_all),
        cmocka_unit_test(what_is_cut_short_is_not_done),
        cmocka_unit_test(what_is_corrupt_is_an_error_or_other_bytes),
#if WEIR_HAVE_ZLIB
        cmocka_unit_test(gzip_has_members),
        cmocka_unit_test(deflate_is_two_things),
#endif
        cmocka_unit_test(memory_is_bounded),
#if WEIR_HAVE_ZSTD
        cmocka_unit_test(a_window_that_is_too_large_is_refused),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
