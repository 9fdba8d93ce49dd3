#include "ledger/kv_test.h"

static int set_up(void **state)
{
    (void)state;
    kv_test_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    kv_test_crash();
    kv_test_close();
    return 0;
}

static int64_t number_of(const char *text)
{
    return strtoll(text, NULL, 10);
}

static void strings_are_set_under_conditions(void **state)
{
    (void)state;
    KV_SAYS("nil", GET, 0, 0, "k");
    KV_SAYS("ok", SET, 0, 0, "k", "v");
    KV_SAYS("v", GET, 0, 0, "k");
    KV_SAYS("nil", SET, KV_NX, 0, "k", "w");
    KV_SAYS("nil", SET, KV_XX, 0, "l", "w");
    KV_SAYS("v", SET, KV_RETURN_OLD, 0, "k", "longer than before");
    KV_SAYS("longer than before", SET, KV_RETURN_OLD | KV_NX, 0, "k", "w");
    KV_SAYS("nil", SET, KV_IF_EQUAL, 0, "k", "w", "v");
    KV_SAYS("ok", SET, KV_IF_EQUAL, 0, "k", "w", "longer than before");
    KV_SAYS("nil", SET, KV_IF_EQUAL, 0, "none", "w", "");
    KV_SAYS("ok", MSET, 0, 0, "a", "1", "b", "2");
    KV_SAYS("0", MSET, KV_NX, 0, "c", "1", "b", "3");
    KV_SAYS("[ 1 2 nil w ]", MGET, 0, 0, "a", "b", "c", "k");
    KV_SAYS("2", DEL, 0, 0, "a", "none", "b", "a");
    KV_SAYS("0", DEL, KV_IF_EQUAL, 0, "k", "v");
    KV_SAYS("1", DEL, KV_IF_EQUAL, 0, "k", "w");
    KV_SAYS("3", APPEND, 0, 0, "k", "abc");
    KV_SAYS("5", APPEND, 0, 0, "k", "de");
    KV_SAYS("5", STRLEN, 0, 0, "k");
    KV_SAYS("abcde", GETDEL, 0, 0, "k");
    KV_SAYS("0", EXISTS, 0, 0, "k");
}

static void numbers_are_those_of_redis(void **state)
{
    (void)state;
    KV_SAYS("1", INCR, 0, 1, "n");
    KV_SAYS("-9223372036854775808", INCR, 0, INT64_MIN, "m");
    KV_SAYS("!ERR increment or decrement would overflow", INCR, 0, -1, "m");
    KV_SAYS("-9223372036854775807", INCR, 0, 1, "m");
    KV_SAYS("ok", SET, 0, 0, "s", "01");
    KV_SAYS("!ERR value is not an integer or out of range", INCR, 0, 1, "s");
    KV_SAYS("10.6", INCR_FLOAT, 0, 0, "f", "10.60");
    KV_SAYS("10.7", INCR_FLOAT, 0, 0, "f", "0.1");
    KV_SAYS("-10.25", INCR_FLOAT, 0, 0, "g", "-1.025e1");
    KV_SAYS("0", INCR_FLOAT, 0, 0, "g", "10.25");
    KV_SAYS("!ERR value is not a valid float", INCR_FLOAT, 0, 0, "f", " 1");
    KV_SAYS("!ERR value is not a valid float", INCR_FLOAT, 0, 0, "f", "inf");
    KV_SAYS("!ERR value is not a valid float", INCR_FLOAT, 0, 0, "f", "1x");
}

static void hashes_keep_their_fields(void **state)
{
    (void)state;
    KV_SAYS("2", HSET, 0, 0, "h", "a", "1", "b", "2");
    KV_SAYS("1", HSET, 0, 0, "h", "a", "longer", "c", "");
    KV_SAYS("{ a longer b 2 c  }", HGETALL, 0, 0, "h");
    KV_SAYS("0", HSET, KV_NX, 0, "h", "a", "x");
    KV_SAYS("0", HSET, 0, 0, "h", "a", "s");
    KV_SAYS("[ s nil 2 ]", HMGET, 0, 0, "h", "a", "z", "b");
    KV_SAYS("[ a b c ]", HKEYS, 0, 0, "h");
    KV_SAYS("[ s 2  ]", HVALS, 0, 0, "h");
    KV_SAYS("12", HINCR, 0, 10, "h", "b");
    KV_SAYS("1.5", HINCR_FLOAT, 0, 0, "h", "d", "1.5");
    KV_SAYS("!ERR hash value is not an integer", HINCR, 0, 1, "h", "a");
    KV_SAYS("!ERR hash value is not a float", HINCR_FLOAT, 0, 0, "h", "a", "1");
    KV_SAYS("2", HDEL, 0, 0, "h", "a", "z", "c");
    KV_SAYS("{ b 12 d 1.5 }", HGETALL, 0, 0, "h");
    KV_SAYS("2", HLEN, 0, 0, "h");
    KV_SAYS("1", HEXISTS, 0, 0, "h", "b");
    KV_SAYS("3", HSTRLEN, 0, 0, "h", "d");
    KV_SAYS("hash", TYPE, 0, 0, "h");
    KV_SAYS("!WRONGTYPE Operation against a key holding the wrong kind of value", GET, 0, 0, "h");
    KV_SAYS("2", HDEL, 0, 0, "h", "b", "d");
    KV_SAYS("none", TYPE, 0, 0, "h");
    KV_SAYS("{ }", HGETALL, 0, 0, "h");
    KV_SAYS("ok", SET, 0, 0, "s", "v");
    KV_SAYS("!WRONGTYPE Operation against a key holding the wrong kind of value", HSET, 0, 0, "s", "a", "1");
}

static void keys_end_when_their_time_is_over(void **state)
{
    (void)state;
    KV_SAYS("ok", SET, KV_EXPIRES, 1000, "k", "v");
    KV_SAYS("1000", TTL, 0, 0, "k");
    KV_SAYS("1 1", SIZE, 0, 0, NULL);
    kt.now_ms += 999;
    KV_SAYS("v", GET, 0, 0, "k");
    KV_SAYS("ok", SET, KV_KEEP_TTL, 0, "k", "w");
    kt.now_ms += 1;
    KV_SAYS("nil", GET, 0, 0, "k");
    KV_SAYS("-2", TTL, 0, 0, "k");
    KV_SAYS("0 0", SIZE, 0, 0, NULL);
    KV_SAYS("ok", SET, 0, 0, "k", "v");
    KV_SAYS("-1", TTL, 0, 0, "k");
    KV_SAYS("0", EXPIRE, KV_XX, 5000, "k");
    KV_SAYS("1", EXPIRE, KV_LT, 5000, "k");
    KV_SAYS("0", EXPIRE, KV_GT, 4000, "k");
    KV_SAYS("1", EXPIRE, KV_IF_EQUAL, 9000, "k", "v");
    KV_SAYS("0", EXPIRE, KV_IF_EQUAL, 9000, "k", "w");
    KV_SAYS("1", PERSIST, 0, 0, "k");
    KV_SAYS("v", GETEX, KV_EXPIRES, 50, "k");
    KV_SAYS("v", GETEX, KV_REMOVE_TTL, 0, "k");
    KV_SAYS("-1", TTL, 0, 0, "k");
    KV_SAYS("1", EXPIRE, 0, -1, "k");
    KV_SAYS("0", EXISTS, 0, 0, "k");
    KV_SAYS("!ERR invalid expire time", SET, KV_EXPIRES, INT64_MAX, "k", "v");
}

static void a_sliding_time_begins_again_with_each_use(void **state)
{
    (void)state;
    KV_SAYS("ok", SET, KV_EXPIRES | KV_SLIDING, 16000, "k", "v");
    for (int i = 0; i < 5; i++) {
        kt.now_ms += 15000;
        KV_SAYS("v", GET, 0, 0, "k");
        KV_SAYS("16000", TTL, 0, 0, "k");
    }
    const unsigned written = kt.log_count;
    kt.now_ms += 999; /* too little to be worth a write */
    KV_SAYS("v", GET, 0, 0, "k");
    assert_int_equal(kt.log_count, written);
    kt.now_ms += 1;
    KV_SAYS("v", GET, 0, 0, "k");
    assert_int_equal(kt.log_count, written + 1);
    kt.now_ms += 15500;
    KV_SAYS("500", TTL, 0, 0, "k"); /* asking for it is no use */
    kt.now_ms += 500;
    KV_SAYS("nil", GET, 0, 0, "k");
    KV_SAYS("!ERR a sliding time to live is one second to ten years", SET, KV_EXPIRES | KV_SLIDING, 999, "k",
            "v");
}

/* More end at once than one batch takes away: those that are left are not there all the same. */
static void what_is_past_its_time_is_not_there(void **state)
{
    (void)state;
    char name[16];
    for (int i = 0; i < MACHINE_EXPIRED_MAX + 2; i++) {
        snprintf(name, sizeof name, "k%06d", i);
        KV_SAYS("ok", SET, KV_EXPIRES, 1000000, name, "v");
    }
    kt.now_ms += 2000000;
    KV_SAYS("0", EXISTS, 0, 0, "k004097");
    KV_SAYS("0 0", SIZE, 0, 0, NULL);
}

static void versions_tell_of_changes(void **state)
{
    (void)state;
    KV_SAYS("0", VERSION, 0, 0, "k");
    KV_SAYS("ok", SET, 0, 0, "k", "1");
    const int64_t version = number_of(KV_DO(VERSION, 0, 0, "k"));
    kv_test_begin();
    kv_test_add(KV_UNLESS, 0, version, (const char *const[]){ "k", NULL });
    kv_test_add(KV_INCR, 0, 1, (const char *const[]){ "k", NULL });
    assert_int_equal(kv_test_do(), OK);
    assert_string_equal(kt.text, "2");
    kv_test_begin();
    kv_test_add(KV_UNLESS, 0, version, (const char *const[]){ "k", NULL });
    kv_test_add(KV_INCR, 0, 1, (const char *const[]){ "k", NULL });
    assert_int_equal(kv_test_do(), OK);
    assert_string_equal(kt.text, "changed");
    KV_SAYS("2", GET, 0, 0, "k");
}

static void keys_are_scanned_and_listed(void **state)
{
    (void)state;
    KV_SAYS("ok", MSET, 0, 0, "a1", "1", "a2", "2", "b1", "3");
    KV_SAYS("1", HSET, 0, 0, "a3", "f", "v");
    KV_SAYS("[ b1 ]", KEYS, 0, 0, "b*");
    KV_SAYS("0 [ a3 ]", SCAN, 0, 0, "a*", "hash", "10000");
    KV_SAYS("0 [ ]", SCAN, 0, 0, "", "zset", "10000");
    int found = 0;
    int64_t cursor = 0;
    do {
        const char *said = KV_DO(SCAN, 0, cursor, "", "", "100");
        cursor = number_of(said);
        for (const char *at = said; (at = strpbrk(at, "ab")); at++)
            found++;
    } while (cursor);
    assert_int_equal(found, 4);
    kv_test_begin(); /* what depends on memory's layout is never part of what is replayed */
    kv_test_add(KV_SET, 0, 0, (const char *const[]){ "k", "v", NULL });
    kv_test_add(KV_KEYS, 0, 0, (const char *const[]){ "*", NULL });
    assert_int_equal(kv_test_do(), ERR_SYNTAX);
    KV_SAYS("0", EXISTS, 0, 0, "k");
}

static void bounds_are_told(void **state)
{
    (void)state;
    static char name[KV_KEY_BYTES_MAX + 2], value[60000];
    memset(name, 'k', KV_KEY_BYTES_MAX + 1);
    memset(value, 'v', sizeof value - 1);
    KV_SAYS("!ERR a key has at most 254 bytes", SET, 0, 0, name, "v");
    KV_SAYS("!ERR a key has at most 254 bytes", MSET, 0, 0, "a", "1", name, "v");
    KV_SAYS("nil", GET, 0, 0, "a");
    name[KV_KEY_BYTES_MAX] = 0;
    KV_SAYS("ok", SET, 0, 0, name, "v");
    struct bytes reserved[] = { BYTES("\0weird"), BYTES("v") };
    kv_test_begin();
    kt.op_bytes = (size_t)(kv_op_add(kt.op + kt.op_bytes, KV_SET, 0, 0, reserved, 2) - kt.op);
    assert_int_equal(kv_test_do(), OK);
    assert_string_equal(kt.text, "!ERR keys that begin with a zero byte and \"weir\" are weir's own");
    KV_SAYS("ok", SET, 0, 0, "k", "");
    for (int i = 0; i < 17; i++)
        (void)KV_DO(APPEND, 0, 0, "k", value);
    KV_SAYS("!ERR string exceeds maximum allowed size (1 MiB less 64 bytes, a hash as well)", APPEND, 0, 0,
            "k", value);
    kt.op_bytes = (size_t)(kv_op_begin(kt.op, 1000) - kt.op); /* an answer without room for it */
    kv_test_add(KV_GETDEL, 0, 0, (const char *const[]){ "k", NULL });
    assert_int_equal(kv_test_do(), ERR_AGAIN);
    KV_SAYS("1", EXISTS, 0, 0, "k");
}

static void what_is_no_operation_is_refused(void **state)
{
    (void)state;
    kv_test_begin();
    kv_test_add(KV_SET, 0, 0, (const char *const[]){ "key", "value", NULL });
    const size_t whole = kt.op_bytes;
    for (kt.op_bytes = KV_OP_BYTES + 1; kt.op_bytes < whole; kt.op_bytes++)
        assert_int_equal(kv_test_do(), ERR_SYNTAX);
    kv_test_begin();
    kv_test_add(KV_WHATS, 0, 0, (const char *const[]){ "key", NULL });
    assert_int_equal(kv_test_do(), ERR_SYNTAX);
    for (int what = 0; what < KV_WHATS; what++) { /* of all commands those without arguments */
        kv_test_begin();
        kv_test_add((enum kv_what)what, 0, 0, (const char *const[]){ NULL });
        const err e = kv_test_do();
        assert_true(e == ERR_SYNTAX || e == OK);
    }
    KV_SAYS("0 0", SIZE, 0, 0, NULL);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(strings_are_set_under_conditions),
        T(numbers_are_those_of_redis),
        T(hashes_keep_their_fields),
        T(keys_end_when_their_time_is_over),
        T(a_sliding_time_begins_again_with_each_use),
        T(what_is_past_its_time_is_not_there),
        T(versions_tell_of_changes),
        T(keys_are_scanned_and_listed),
        T(bounds_are_told),
        T(what_is_no_operation_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
