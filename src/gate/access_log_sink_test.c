#include "gate/access_log_sink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/mem.h"
#include "base/must.h"
#include "base/test.h"
#include "core/log.h"

static char folder[] = "weir-sink-test-XXXXXX";

static int listen_at(const char *text, struct addr *ret_addr)
{
    must(addr_parse(bytes_from(text), ret_addr) == OK);
    int fd = socket(ret_addr->sock.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    must(fd >= 0 && bind(fd, &ret_addr->sock.any, ret_addr->len) == 0);
    socklen_t len = sizeof ret_addr->sock;
    must(getsockname(fd, &ret_addr->sock.any, &len) == 0);
    return fd;
}

static struct access_log_sink *opened(const char *path)
{
    struct access_log_sink *s;
    struct diag d = DIAG_NONE;
    must(access_log_sink_open(bytes_from(path), &s, &d) == OK);
    return s;
}

static void expect(int fd, const char *text)
{
    static char got[70000];
    ssize_t n = recv(fd, got, sizeof got, 0);
    must(n >= 0);
    assert_bytes_equal(((struct bytes){ got, (size_t)n }), bytes_from(text));
}

static void each_line_is_a_datagram(void **state)
{
    (void)state;
    struct addr a;
    char text[ADDR_TEXT_BYTES_MAX];
    char path[ADDR_TEXT_BYTES_MAX + 16];
    int fd = listen_at("127.0.0.1:0", &a);
    addr_print(&a, text);
    snprintf(path, sizeof path, "syslog:%s", text);
    struct access_log_sink *s = opened(path);
    assert_int_equal(access_log_sink_write(s, BYTES("one\ntwo\n")), 0);
    expect(fd, "one");
    expect(fd, "two");
    static char many[64 * 12];
    size_t len = 0;
    for (int i = 0; i < 100; i++)
        len += (size_t)snprintf(many + len, sizeof many - len, "line%d\n", i);
    assert_int_equal(access_log_sink_write(s, (struct bytes){ many, len }), 0);
    for (int i = 0; i < 100; i++) {
        char wanted[16];
        snprintf(wanted, sizeof wanted, "line%d", i);
        expect(fd, wanted);
    }
    access_log_sink_close(s);
    close(fd);
}

static void a_long_line_is_cut(void **state)
{
    (void)state;
    static char line[ACCESS_LOG_SYSLOG_BYTES_MAX + 101];
    static char wanted[ACCESS_LOG_SYSLOG_BYTES_MAX + 1];
    struct addr a;
    char path[128];
    snprintf(path, sizeof path, "syslog:unix:%s/log", folder);
    int fd = listen_at(path + 7, &a);
    struct access_log_sink *s = opened(path);
    memset(line, 'x', sizeof line);
    memset(wanted, 'x', sizeof wanted - 1);
    line[sizeof line - 1] = '\n';
    assert_int_equal(access_log_sink_write(s, (struct bytes){ line, sizeof line }), 0);
    expect(fd, wanted);
    access_log_sink_close(s);
    close(fd);
    unlink(path + 12);
}

/* Nobody reads: what does not fit the receiver's queue is lost and counted, and the writer comes back. */
static void a_receiver_that_hangs_loses_lines(void **state)
{
    (void)state;
    static char many[2000 * 8];
    struct addr a;
    char path[128];
    size_t len = 0;
    snprintf(path, sizeof path, "syslog:unix:%s/log", folder);
    int fd = listen_at(path + 7, &a);
    struct access_log_sink *s = opened(path);
    for (int i = 0; i < 64; i++)
        len += (size_t)snprintf(many + len, sizeof many - len, "%06d\n", i);
    uint64_t lost = 0;
    for (int i = 0; i < 4 && !lost; i++) /* net.unix.max_dgram_qlen is 10 as a rule, 512 with systemd */
        lost = access_log_sink_write(s, (struct bytes){ many, len });
    for (int i = 0; i < 20 && !lost; i++)
        lost = access_log_sink_write(s, (struct bytes){ many, len });
    assert_true(lost > 0 && lost <= 64);
    expect(fd, "000000");
    access_log_sink_close(s);
    close(fd);
    unlink(path + 12);
}

static void one_that_is_not_there_is_no_mistake(void **state)
{
    (void)state;
    char path[128];
    struct addr a;
    snprintf(path, sizeof path, "syslog:unix:%s/later", folder);
    struct access_log_sink *s = opened(path);
    assert_int_equal(access_log_sink_write(s, BYTES("one\ntwo\n")), 2);
    int fd = listen_at(path + 7, &a);
    while (access_log_sink_write(s, BYTES("three\n")) != 0)
        usleep(10000);
    expect(fd, "three");
    close(fd); /* it goes, and another one comes */
    unlink(path + 12);
    assert_int_equal(access_log_sink_write(s, BYTES("four\n")), 1);
    fd = listen_at(path + 7, &a);
    while (access_log_sink_write(s, BYTES("five\n")) != 0)
        usleep(10000);
    expect(fd, "five");
    access_log_sink_close(s);
    close(fd);
    unlink(path + 12);
}

static void files_are_opened_again(void **state)
{
    (void)state;
    char path[128];
    char moved[128];
    char got[64] = "";
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(moved, sizeof moved, "%s/moved", folder);
    struct access_log_sink *s = opened(path);
    assert_int_equal(access_log_sink_write(s, BYTES("one\n")), 0);
    must(rename(path, moved) == 0);
    assert_int_equal(access_log_sink_write(s, BYTES("two\n")), 0);
    access_log_sink_reopen(s);
    assert_int_equal(access_log_sink_write(s, BYTES("three\n")), 0);
    access_log_sink_close(s);
    FILE *f = fopen(path, "r");
    must(f && fread(got, 1, sizeof got, f) == 6 && fclose(f) == 0);
    assert_string_equal(got, "three\n");
    unlink(path);
    unlink(moved);
}

static void a_full_disk_loses_lines(void **state)
{
    (void)state;
    log_set_level(LOG_LEVEL_COUNT);
    struct access_log_sink *s = opened("/dev/full");
    assert_int_equal(access_log_sink_write(s, BYTES("one\ntwo\n")), 2);
    access_log_sink_close(s);
}

static void paths_are_checked(void **state)
{
    (void)state;
    static const char *const wrong[] = { "", "syslog:", "syslog:nowhere", "syslog::514",
                                         "syslog:10.0.0.1:99999" };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct diag d = DIAG_NONE;
        assert_int_equal(access_log_sink_check(bytes_from(wrong[i]), &d), ERR_CONF);
        assert_true(d.set);
    }
    static const char *const right[] = {
        "stdout", "/x/y", "syslog", "syslog:unix:/x", "syslog:10.0.0.1:514", "syslog:[::1]:514"
    };
    for (unsigned i = 0; i < sizeof right / sizeof *right; i++)
        assert_int_equal(access_log_sink_check(bytes_from(right[i]), NULL), OK);
    assert_false(access_log_sink_is_syslog(BYTES("syslog.json")));
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_line_is_a_datagram),
        cmocka_unit_test(a_long_line_is_cut),
        cmocka_unit_test(a_receiver_that_hangs_loses_lines),
        cmocka_unit_test(one_that_is_not_there_is_no_mistake),
        cmocka_unit_test(files_are_opened_again),
        cmocka_unit_test(a_full_disk_loses_lines),
        cmocka_unit_test(paths_are_checked),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
