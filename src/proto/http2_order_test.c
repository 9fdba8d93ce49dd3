#include "proto/http2_order.h"

#include <string.h>

#include "base/test.h"

enum { DATA = 0, HEADERS = 1, PRIORITY = 2, RST = 3, PING = 6 };
enum { END = 1, CLOSED = 5, PROTOCOL = 1 };

struct frame {
    uint32_t length;
    uint8_t type, flags;
    uint32_t id;
    uint32_t word; /* the payload's first */
};

#define FRAMES_MAX 80

static struct bytes write_all(char *to, const struct frame *frames, size_t count)
{
    char *at = to;
    memset(at, 'P', 24);
    at += 24;
    for (const struct frame *f = frames; f < frames + count; f++) {
        const uint8_t head[13] = { (uint8_t)(f->length >> 16),
                                   (uint8_t)(f->length >> 8),
                                   (uint8_t)f->length,
                                   f->type,
                                   f->flags,
                                   (uint8_t)(f->id >> 24),
                                   (uint8_t)(f->id >> 16),
                                   (uint8_t)(f->id >> 8),
                                   (uint8_t)f->id,
                                   (uint8_t)(f->word >> 24),
                                   (uint8_t)(f->word >> 16),
                                   (uint8_t)(f->word >> 8),
                                   (uint8_t)f->word };
        memset(at, 0, 9 + f->length);
        memcpy(at, head, f->length < 4 ? 9 + f->length : 13);
        at += 9 + f->length;
    }
    return (struct bytes){ to, (size_t)(at - to) };
}

/* Whole, and cut into pieces of each small size: it is the same. */
static uint32_t look(const struct frame *frames, size_t count)
{
    static char all[1 << 17];
    struct bytes in = write_all(all, frames, count);
    struct http2_order o;
    http2_order_start(&o);
    const uint32_t code = http2_order_look(&o, in);
    for (size_t piece = 1; piece < 30; piece++) {
        uint32_t again = 0;
        http2_order_start(&o);
        for (size_t at = 0; at < in.len && !again; at += piece)
            again = http2_order_look(
                &o, (struct bytes){ in.ptr + at, in.len - at < piece ? in.len - at : piece });
        assert_int_equal(again, code);
    }
    return code;
}
#define LOOK(...)                               \
    look((const struct frame[]){ __VA_ARGS__ }, \
         sizeof((const struct frame[]){ __VA_ARGS__ }) / sizeof(struct frame))

static void what_may_follow_does(void **state)
{
    (void)state;
    assert_int_equal(
        LOOK({ 0, 4, 0, 0, 0 }, { 20, HEADERS, 4, 1, 0 }, { 300, DATA, 0, 1, 0 }, { 0, DATA, END, 1, 0 }), 0);
    assert_int_equal(LOOK({ 5, HEADERS, 4, 1, 0 }, { 5, HEADERS, 4, 3, 0 }, { 9, DATA, 0, 1, 0 },
                          { 6, HEADERS, END, 1, 0 }, { 4, RST, 0, 1, 0 }, { 4, 8, 0, 1, 0 },
                          { 9, DATA, 0, 3, 0 }),
                     0);
    assert_int_equal(LOOK({ 5, PRIORITY, 0, 3, 1 }, { 8, PING, 0, 0, 0 }, { 5, HEADERS, END, 3, 0 },
                          { 5, PRIORITY, 0, 3, 1 }),
                     0);
}

static void nothing_follows_the_last(void **state)
{
    (void)state;
    assert_int_equal(LOOK({ 5, HEADERS, END, 1, 0 }, { 3, DATA, 0, 1, 0 }), CLOSED);
    assert_int_equal(LOOK({ 5, HEADERS, END, 1, 0 }, { 0, DATA, END, 1, 0 }), CLOSED);
    assert_int_equal(LOOK({ 5, HEADERS, END, 1, 0 }, { 5, HEADERS, END, 1, 0 }), CLOSED);
    assert_int_equal(LOOK({ 5, HEADERS, 0, 1, 0 }, { 0, DATA, END, 1, 0 }, { 5, HEADERS, END, 1, 0 }),
                     CLOSED);
    assert_int_equal(LOOK({ 5, HEADERS, 0, 1, 0 }, { 4, RST, 0, 1, 0 }, { 3, DATA, 0, 1, 0 }), CLOSED);
    assert_int_equal(LOOK({ 5, HEADERS, END, 1, 0 }, { 5, HEADERS, 0, 3, 0 }, { 5, HEADERS, 0, 9, 0 },
                          { 3, DATA, 0, 3, 0 }, { 3, DATA, 0, 1, 0 }),
                     CLOSED);
}

/* A stream that was passed over is closed, but never ended: what comes on it is somebody else's to judge. */
static void each_has_its_own_end(void **state)
{
    (void)state;
    struct frame frames[FRAMES_MAX];
    for (uint32_t apart = 1; apart < 70; apart++) {
        uint32_t n = 0;
        frames[n++] = (struct frame){ 2, HEADERS, END, 1, 0 };
        frames[n++] = (struct frame){ 2, HEADERS, 0, 1 + 2 * apart, 0 };
        for (uint32_t i = 1; i < apart && i < 60; i++)
            frames[n++] = (struct frame){ 1, DATA, 0, 1 + 2 * i, 0 };
        assert_int_equal(look(frames, n), 0);
        frames[n++] = (struct frame){ 1, DATA, 0, 1, 0 };
        assert_int_equal(look(frames, n), apart < HTTP2_ORDER_STREAMS ? CLOSED : 0);
    }
    assert_int_equal(LOOK({ 2, HEADERS, END, 1, 0 }, { 2, HEADERS, 0, 0x7fffffff, 0 }, { 1, DATA, 0, 1, 0 }),
                     0);
}

static void none_depends_on_itself(void **state)
{
    (void)state;
    assert_int_equal(LOOK({ 5, PRIORITY, 0, 7, 7 }), PROTOCOL);
    assert_int_equal(LOOK({ 5, PRIORITY, 0, 7, 0x80000007 }), PROTOCOL);
    assert_int_equal(LOOK({ 5, PRIORITY, 0, 7, 5 }, { 3, PRIORITY, 0, 7, 0 }, { 0, PRIORITY, 0, 7, 0 }), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_follow_does),
        cmocka_unit_test(nothing_follows_the_last),
        cmocka_unit_test(each_has_its_own_end),
        cmocka_unit_test(none_depends_on_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
