#include "base/file_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/test.h"

static char folder[64];
static char path[128];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/file_read_test.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x", folder);
    return 0;
}

static int drop_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static void write_file(struct bytes text)
{
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(text.ptr, 1, text.len, f), text.len);
    assert_int_equal(fclose(f), 0);
}

static void what_stands_there_comes_back(void **state)
{
    (void)state;
    struct bytes text;
    write_file(BYTES("a\0b\n"));
    assert_int_equal(file_read_whole(path, 4, &text, NULL), OK);
    assert_bytes_equal(text, BYTES("a\0b\n"));
    assert_int_equal(text.ptr[text.len], 0);
    file_read_free(text);

    write_file(BYTES(""));
    assert_int_equal(file_read_whole(path, 4, &text, NULL), OK);
    assert_int_equal(text.len, 0);
    assert_non_null(text.ptr);
    file_read_free(text);
    file_read_free(BYTES_NONE);
}

static void assert_refused(const char *name, size_t bytes_max, const char *words)
{
    struct diag d = DIAG_NONE;
    struct bytes text;
    assert_int_equal(file_read_whole(name, bytes_max, &text, &d), ERR_CONF);
    if (!strstr(d.text, words))
        fail_msg("\"%s\" does not say \"%s\"", d.text, words);
}

static void what_cannot_be_read_is_said(void **state)
{
    (void)state;
    write_file(BYTES("12345"));
    assert_refused("/does/not/exist", 4, "cannot read /does/not/exist: No such file");
    assert_refused(path, 4, "longer than 4 bytes");
    assert_refused(folder, 4, "is no file");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); /* nobody writes: must not wait */
    assert_refused(path, 4, "is no file");
}

static void memory_may_be_lacking(void **state)
{
    (void)state;
    struct bytes text;
    write_file(BYTES("12345"));
    mem_fail_at(1);
    assert_int_equal(file_read_whole(path, 5, &text, NULL), ERR_MEMORY);
    mem_fail_at(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_stands_there_comes_back, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_said, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(memory_may_be_lacking, make_folder, drop_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
