/* Files below a folder, and from a file to a socket; over both loops. */
#include "core/file.h"

#include <sys/stat.h>

#include "core/io_test.h"

static char folder[64];
static int folder_fd;

static void make(const char *name, const char *text)
{
    int fd = openat(folder_fd, name, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    must(fd >= 0);
    must(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static void make_tree(void)
{
    snprintf(folder, sizeof folder, "/tmp/weir-file-test-XXXXXX");
    must(mkdtemp(folder) != NULL);
    folder_fd = open(folder, O_PATH | O_DIRECTORY);
    must(mkdirat(folder_fd, "www", 0755) == 0);
    must(mkdirat(folder_fd, "www/sub", 0755) == 0);
    make("secret", "secret");
    make("www/a.txt", "hello");
    make("www/sub/b.txt", "below");
    must(symlinkat("../secret", folder_fd, "www/up") == 0);
    must(symlinkat("/etc/hostname", folder_fd, "www/absolute") == 0);
    must(symlinkat("/", folder_fd, "www/root") == 0);
    must(symlinkat("loop", folder_fd, "www/loop") == 0);
    must(mkfifoat(folder_fd, "www/pipe", 0644) == 0);
}

static void remove_tree(void)
{
    static const char *const files[] = { "www/pipe", "www/loop",      "www/root",  "www/absolute",
                                         "www/up",   "www/sub/b.txt", "www/a.txt", "secret" };
    for (unsigned i = 0; i < sizeof files / sizeof *files; i++)
        must(unlinkat(folder_fd, files[i], 0) == 0);
    must(unlinkat(folder_fd, "www/sub", AT_REMOVEDIR) == 0);
    must(unlinkat(folder_fd, "www", AT_REMOVEDIR) == 0);
    close(folder_fd);
    must(rmdir(folder) == 0);
}

static err open_at(int at, const char *path)
{
    int fd;
    struct stat st;
    err e = file_open_beneath(at, path, &fd, &st);
    if (!e)
        close(fd);
    return e;
}

static void nothing_leads_out(void)
{
    make_tree();
    int www = openat(folder_fd, "www", O_PATH | O_DIRECTORY);
    must(open_at(www, "a.txt") == OK);
    must(open_at(www, "sub/b.txt") == OK);
    must(open_at(www, "sub//b.txt") == OK);
    must(open_at(www, "sub") == OK);
    must(open_at(www, "pipe") == OK); /* and does not wait for a writer */
    must(open_at(www, "none") == ERR_NOT_FOUND);
    must(open_at(www, "a.txt/x") == ERR_NOT_FOUND);
    must(open_at(www, "../secret") == ERR_NOT_FOUND);
    must(open_at(www, "sub/../../secret") == ERR_NOT_FOUND);
    must(open_at(www, "up") == ERR_NOT_FOUND);
    must(open_at(www, "absolute") == ERR_NOT_FOUND);
    must(open_at(www, "root/etc/hostname") == ERR_NOT_FOUND);
    must(open_at(www, "loop") == ERR_NOT_FOUND);
    must(open_at(www, "/etc/hostname") == ERR_NOT_FOUND);
    char longest[6000];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    must(open_at(www, longest) == ERR_NOT_FOUND);
    close(www);
    remove_tree();
}

#define MUCH 3000000

static char pattern(uint64_t at)
{
    return (char)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

static int make_large(void)
{
    static char content[MUCH];
    int fd;
    must(file_open_unnamed("/tmp", &fd) == OK);
    for (size_t i = 0; i < MUCH; i++)
        content[i] = pattern(i);
    must(file_write(fd, (struct bytes){ content, 1000000 }, 0) == OK);
    must(file_write(fd, (struct bytes){ content + 1000000, MUCH - 1000000 }, 1000000) == OK);
    return fd;
}

static void what_was_written_is_read(void)
{
    int fd = make_large();
    char piece[5000];
    size_t len;
    for (uint64_t at = 0; at < MUCH; at += len) {
        must(file_read(fd, piece, sizeof piece, at, &len) == OK);
        must(len > 0);
        for (size_t i = 0; i < len; i++)
            must(piece[i] == pattern(at + i));
    }
    must(file_read(fd, piece, sizeof piece, MUCH, &len) == OK);
    must(len == 0);
    /* from the disk, if there is one below */
    must(fsync(fd) == 0);
    must(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    must(file_warm(fd, 0, MUCH) == OK);
    must(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    must(file_read(fd, piece, sizeof piece, 1234567, &len) == OK);
    must(len > 0 && piece[0] == pattern(1234567));
    must(file_read(-1, piece, 1, 0, &len) == ERR_IO);
    close(fd);
}

#define FIRST 777

/* "head", the file from FIRST on, and its last byte once more */
static char expected(uint64_t at)
{
    if (at < 4)
        return "head"[at];
    at += FIRST - 4;
    return pattern(at < MUCH ? at : MUCH - 1);
}

struct reader {
    struct io *io;
    uint64_t got;
    bool slow;
    bool ended;
};

static void read_main(void *arg)
{
    struct reader *r = arg;
    struct bytes b;
    while (io_pull(r->io, deadline_in_ms(10000), &b) == OK) {
        for (size_t i = 0; i < b.len; i++)
            must(b.ptr[i] == expected(r->got + i));
        r->got += b.len;
        io_consume(r->io, b.len);
        if (r->slow)
            must(fiber_sleep_us(200) == OK);
    }
    r->ended = true;
}

static void a_file_goes_out_behind_what_is_queued(void)
{
    int fd = make_large();
    for (int slow = 0; slow < 2; slow++) {
        struct io *ios[2];
        tcp_pair(ios);
        struct reader r = { .io = ios[1], .slow = slow };
        uint64_t moved;
        fiber_spawn(read_main, &r);
        must(io_write(ios[0], BYTES("head"), deadline_in_ms(5000)) == OK);
        must(io_send_file(ios[0], fd, FIRST, MUCH - FIRST, 10000000, DEADLINE_NONE, &moved) == OK);
        must(moved == MUCH - FIRST);
        must(io_send_file(ios[0], fd, MUCH - 1, 2, 10000000, DEADLINE_NONE, &moved) == ERR_CLOSED);
        must(moved == 1);
        io_end(ios[0]);
        while (!r.ended)
            must(fiber_sleep_us(1000) == OK);
        must(r.got == 4 + MUCH - FIRST + 1);
        io_close(ios[0], 0, false);
        io_close(ios[1], 0, false);
    }
    close(fd);
}

static void a_reader_that_stands_still_is_a_timeout(void)
{
    int fd = make_large();
    struct io *ios[2];
    pair(ios);
    uint64_t moved;
    must(io_send_file(ios[0], fd, 0, MUCH, 100000, DEADLINE_NONE, &moved) == ERR_TIMEOUT);
    must(moved < MUCH);
    io_abort(ios[0], false);
    must(io_pull(ios[1], deadline_in_ms(5000), &(struct bytes){ 0 }) == OK);
    io_close(ios[1], 0, false);
    close(fd);
}

TEST(nothing_leads_out)
TEST(what_was_written_is_read)
TEST(a_file_goes_out_behind_what_is_queued)
TEST(a_reader_that_stands_still_is_a_timeout)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_leads_out),
        cmocka_unit_test(test_what_was_written_is_read),
        cmocka_unit_test(test_a_file_goes_out_behind_what_is_queued),
        cmocka_unit_test(test_a_reader_that_stands_still_is_a_timeout),
    };
    return run_both(tests, sizeof tests / sizeof *tests);
}
