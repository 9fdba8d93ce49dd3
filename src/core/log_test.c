#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static const uint64_t then_ms = 1767323045678; /* 2026-01-02T03:04:05.678Z */

static void expect(bool json, enum log_level level, struct bytes text, const char *want)
{
    char line[LOG_LINE_BYTES_MAX];
    size_t len = log_format(line, sizeof line, json, then_ms, level, "gate", text);
    line[len] = 0;
    assert_string_equal(line, want);
}

static void test_format(void **state)
{
    (void)state;
    expect(false, LOG_INFO, BYTES("text key=value"), "2026-01-02T03:04:05.678Z info  gate: text key=value\n");
    expect(false, LOG_ERROR, BYTES(""), "2026-01-02T03:04:05.678Z error gate: \n");
    expect(true, LOG_WARN, BYTES("a \"b\" \\"),
           "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"warn\",\"tag\":\"gate\",\"text\":\"a "
           "\\\"b\\\" \\\\\"}\n");
}

#define PLAIN "2026-01-02T03:04:05.678Z info  gate: "
#define JSON "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"info\",\"tag\":\"gate\",\"text\":\""

/* No text from outside begins a line of its own or moves a terminal's cursor. */
static void test_forgery(void **state)
{
    (void)state;
    struct bytes evil = BYTES("a\nb\r\x1b[2J\x7f\t\xc2\x9b\xe2\x80\xa8\xff\xc3\xa9\\n");
    expect(false, LOG_INFO, evil, PLAIN "a\\nb\\x0d\\x1b[2J\\x7f\\x09\\x9b\\u2028\\xff\xc3\xa9\\\\n\n");
    expect(true, LOG_INFO, evil,
           JSON "a\\u000ab\\u000d\\u001b[2J\\u007f\\u0009\\u009b\\u2028\\ufffd\xc3\xa9\\\\n\"}\n");
    expect(false, LOG_INFO, (struct bytes){ "a\0b", 3 }, PLAIN "a\\x00b\n");
    /* overlong, a surrogate, above U+10FFFF, cut short */
    expect(false, LOG_INFO, BYTES("\xc0\x8a|\xed\xa0\x80|\xf4\x90\x80\x80|\xe2\x80"),
           PLAIN "\\xc0\\x8a|\\xed\\xa0\\x80|\\xf4\\x90\\x80\\x80|\\xe2\\x80\n");
}

static void test_cut(void **state)
{
    (void)state;
    char text[5000], line[LOG_LINE_BYTES_MAX];
    for (int json = 0; json < 2; json++) {
        for (int escaped = 0; escaped < 2; escaped++) {
            memset(text, escaped ? 1 : 'a', sizeof text);
            size_t len = log_format(line, sizeof line, json, then_ms, LOG_INFO, "t",
                                    (struct bytes){ text, sizeof text });
            assert_true(len <= sizeof line && len > sizeof line - 40);
            const char *end = json ? "...\"}\n" : "...\n";
            assert_memory_equal(line + len - strlen(end), end, strlen(end));
        }
    }
}

static void read_all(int fd, char *out, size_t size)
{
    ssize_t n = read(fd, out, size - 1);
    out[n > 0 ? n : 0] = 0;
}

static void test_levels(void **state)
{
    (void)state;
    int fds[2];
    char got[4096];
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    log_set_fd(fds[1]);
    log_set_level(LOG_WARN);
    assert_false(log_wants(LOG_INFO));
    log_info("gate", "not said");
    errno = ENOENT;
    log_warn("gate", "said %d", 7);
    assert_int_equal(errno, ENOENT);
    log_set_level(LOG_DEBUG);
    log_set_json(true);
    log_debug("gate", "as json");
    log_set_json(false);
    read_all(fds[0], got, sizeof got);
    assert_non_null(strstr(got, "Z warn  gate: said 7\n{\"time\":\""));
    assert_non_null(strstr(got, "Z\",\"level\":\"debug\",\"tag\":\"gate\",\"text\":\"as json\"}\n"));
    assert_null(strstr(got, "not said"));

    /* a full pipe drops lines and does not wait */
    for (int i = 0; i < 5000; i++)
        log_error("gate", "filling the pipe");
    close(fds[0]);
    close(fds[1]);
    log_set_fd(STDERR_FILENO);
    log_set_level(LOG_INFO);
}

static void test_limit(void **state)
{
    (void)state;
    struct log_limit l = LOG_LIMIT(2);
    uint64_t suppressed = 99;
    assert_true(log_limit_take(&l, 10, &suppressed));
    assert_int_equal(suppressed, 0);
    assert_true(log_limit_take(&l, 10, &suppressed));
    for (int i = 0; i < 123; i++)
        assert_false(log_limit_take(&l, 10, &suppressed));
    assert_true(log_limit_take(&l, 11, &suppressed));
    assert_int_equal(suppressed, 123);
    assert_true(log_limit_take(&l, 11, &suppressed));
    assert_int_equal(suppressed, 0);
    assert_false(log_limit_take(&l, 11, &suppressed));
    assert_true(log_limit_take(&l, 50, &suppressed));
    assert_int_equal(suppressed, 1);
}

static void test_limited(void **state)
{
    (void)state;
    struct log_limit l = { .per_second = 1, .suppressed = 5 };
    int fds[2];
    char got[4096];
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    log_set_fd(fds[1]);
    log_limited(&l, LOG_INFO, "http1", "refused %s", "it");
    log_limited(&l, LOG_DEBUG, "http1", "below the level");
    log_set_fd(STDERR_FILENO);
    read_all(fds[0], got, sizeof got);
    assert_non_null(strstr(got, "Z info  http1: ... 5 more suppressed\n"));
    assert_non_null(strstr(got, "Z info  http1: refused it\n"));
    assert_null(strstr(got, "below"));
    close(fds[0]);
    close(fds[1]);
}

#define THREADS 4
#define LINES 200

static void *say(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_info((const char *)arg, "one line of several words");
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    static const char *const tags[THREADS] = { "t0", "t1", "t2", "t3" };
    pthread_t threads[THREADS];
    char path[] = "/tmp/log_test.XXXXXX", line[256];
    int fd = mkstemp(path), count = 0;
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
    log_set_fd(fd);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, say, (void *)(uintptr_t)tags[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_set_fd(STDERR_FILENO);
    FILE *f = fdopen(fd, "r");
    rewind(f);
    while (fgets(line, sizeof line, f)) {
        assert_int_equal(strlen(line), 24 + strlen(" info  t0: one line of several words\n"));
        assert_string_equal(line + 24 + 9, ": one line of several words\n");
        count++;
    }
    assert_int_equal(count, THREADS * LINES);
    fclose(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_format),  cmocka_unit_test(test_forgery), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_levels),  cmocka_unit_test(test_limit),   cmocka_unit_test(test_limited),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
