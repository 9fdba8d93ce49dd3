#include "gate/replay.h"

#include <string.h>

#include "base/must.h"
#include "base/test.h"

/* A body that comes in pieces of five bytes and cannot be pulled twice. */
struct pieces {
    struct body body;
    struct bytes left;
    size_t given;
    unsigned closed;
};

static err pieces_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    (void)deadline_us;
    struct pieces *p = (struct pieces *)b;
    *ret_bytes = (struct bytes){ p->left.ptr, p->left.len < 5 ? p->left.len : 5 };
    return OK;
}

static void pieces_give(struct body *b, size_t n)
{
    struct pieces *p = (struct pieces *)b;
    p->left = bytes_skip(p->left, n);
    p->given += n;
}

static void pieces_close(struct body *b)
{
    ((struct pieces *)b)->closed++;
}

static const struct body_ops pieces_ops = { .pull = pieces_pull, .give = pieces_give, .close = pieces_close };

static struct arena arena;
static struct pieces pieces;

static struct replay *begin(const char *text, uint64_t length, size_t bytes_max)
{
    arena_open(&arena, &arena_heap, 1 << 20, NULL, 0);
    pieces = (struct pieces){ .body = { .ops = &pieces_ops, .length = length }, .left = bytes_from(text) };
    return replay_new(&arena, &pieces.body, bytes_max);
}

/* Reads up to n bytes, giving back `step` of each piece. */
static struct bytes take(struct body *b, size_t n, size_t step)
{
    static char out[1000];
    size_t len = 0;
    while (len < n) {
        struct bytes in;
        err e = body_pull(b, 0, &in);
        must(e == OK);
        if (in.len == 0)
            break;
        size_t some = in.len < step ? in.len : step;
        some = some < n - len ? some : n - len;
        memcpy(out + len, in.ptr, some);
        body_give(b, some);
        len += some;
    }
    return (struct bytes){ out, len };
}

static void again_and_again(void **unused)
{
    (void)unused;
    struct replay *r = begin("the quick brown fox", 19, 100);
    must(r && r->body.length == 19);
    assert_bytes_equal(take(&r->body, 7, 3), BYTES("the qui"));
    must(replay_rewind(r));
    assert_bytes_equal(take(&r->body, 12, 100), BYTES("the quick br"));
    must(replay_rewind(r));
    assert_bytes_equal(take(&r->body, 100, 2), BYTES("the quick brown fox"));
    must(replay_rewind(r));
    assert_bytes_equal(take(&r->body, 100, 100), BYTES("the quick brown fox"));
    must(pieces.given == 19); /* the client's side was read once */
    body_close(&r->body);
    must(pieces.closed == 1);
    arena_close(&arena);
}

/* Lent and not given back: the failed attempt had not sent it. */
static void what_was_only_lent(void **unused)
{
    (void)unused;
    struct replay *r = begin("abcdefgh", 8, 100);
    struct bytes in;
    err e = body_pull(&r->body, 0, &in);
    must(e == OK && in.len == 5);
    must(replay_rewind(r));
    assert_bytes_equal(take(&r->body, 100, 100), BYTES("abcdefgh"));
    arena_close(&arena);
}

static void too_long(void **unused)
{
    (void)unused;
    must(begin("0123456789", 10, 9) == NULL);
    arena_close(&arena);
    must(begin("0123456789", 10, 0) == NULL);
    arena_close(&arena);
    struct replay *r = begin("0123456789abcdefghij", BODY_LENGTH_UNKNOWN, 12);
    must(r);
    assert_bytes_equal(take(&r->body, 10, 100), BYTES("0123456789"));
    must(replay_rewind(r));
    assert_bytes_equal(take(&r->body, 100, 100), BYTES("0123456789abcdefghij")); /* passed on all the same */
    must(!replay_rewind(r));
    arena_close(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(again_and_again),
        cmocka_unit_test(what_was_only_lent),
        cmocka_unit_test(too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
