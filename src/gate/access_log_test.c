#include "gate/access_log.h"

#include <sys/stat.h>

#include "gate/gate_test.h"

static char folder[] = "weir-access-log-test-XXXXXX";
static char path[64];

static struct access_log_conf conf_of(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return (struct access_log_conf){ .path = bytes_from(path),
                                     .format = BYTES("json"),
                                     .sample = 1,
                                     .errors = 500,
                                     .slow_ms = 1000,
                                     .flush_interval_ms = 60000 };
}

/* The file, and it is gone. */
static size_t take_file(const char *at, char *out, size_t size)
{
    int fd = open(at, O_RDONLY | O_CLOEXEC);
    must(fd >= 0);
    size_t len = 0;
    ssize_t n;
    while ((n = read(fd, out + len, size - 1 - len)) > 0)
        len += (size_t)n;
    out[len] = 0;
    close(fd);
    unlink(at);
    return len;
}

/* The gate that exchanges of these tests run under. */
static struct generation generation;
static struct gate gate = { .generation = &generation };

static void use(const struct access_log_conf *conf)
{
    struct diag d = DIAG_NONE;
    struct access_log *before = generation.access_log;
    must(access_log_open(conf, &generation.access_log, &d) == OK);
    access_log_drop(before);
}

static void flush_and_close(void)
{
    access_log_flush();
    access_log_close();
    access_log_drop(generation.access_log);
    generation.access_log = NULL;
}

static char file[4 << 20];

static void a_line(void)
{
    static struct service service = { .name = { "shop", 4 } };
    static struct server_shared shared = { .text = "10.0.0.1:80" };
    static struct server server = { .shared = &shared };
    struct addr client;
    struct access_log_conf conf = conf_of("line");
    must(addr_parse(BYTES("10.1.2.3:4"), &client) == OK);
    struct exchange x = { .gate = &gate,
                          .start_us = worker_now_us(),
                          .request_id = BYTES("abcdef0123"),
                          .client = &client,
                          .service = &service,
                          .server = &server,
                          .request = { .method_text = BYTES("GET"),
                                       .authority = BYTES("shop.example"),
                                       .target = BYTES("/a?b=\"c\\") },
                          .response = { .status = 503 },
                          .request_bytes = 7,
                          .response_bytes = UINT64_MAX,
                          .attempts = 2,
                          .answered_by = BYTES("gate"),
                          .failed = ERR_TIMEOUT };
    access_log_exchange(&x); /* off: nothing */
    use(&conf);
    access_log_exchange(&x);
    flush_and_close();
    take_file(path, file, sizeof file);
    unsigned year, month, day, hour, minute, second, micro;
    int end = 0;
    must(sscanf(file, "{\"time\":\"%4u-%2u-%2uT%2u:%2u:%2u.%6uZ\"%n", &year, &month, &day, &hour, &minute,
                &second, &micro, &end) == 7 &&
         end == 37);
    const char *us = strstr(file, ",\"us\":");
    must(us != NULL);
    char before[400];
    snprintf(before, sizeof before, "%.*s", (int)(us - file - end), file + end);
    must(strcmp(before,
                ",\"id\":\"abcdef0123\",\"client\":\"10.1.2.3\",\"method\":\"GET\",\"host\":\"shop.example\","
                "\"target\":\"/a?b=\\\"c\\\\\",\"status\":503") == 0);
    must(strcmp(strchr(us + 1, ','), ",\"request_bytes\":7,\"response_bytes\":18446744073709551615,"
                                     "\"service\":\"shop\",\"server\":\"10.0.0.1:80\",\"tries\":2,"
                                     "\"answered_by\":\"gate\",\"error\":\"deadline passed\"}\n") == 0);
}
TEST(a_line)

/* Inside a JSON string that holds only ASCII: the bytes it stands for. */
static size_t unescape(const char *from, char *out)
{
    size_t n = 0;
    while (*from != '"') {
        unsigned value = (unsigned char)*from;
        must(value >= 0x20 && value < 0x7f);
        if (*from != '\\') {
            from++;
        } else if (from[1] == 'u') {
            must(sscanf(from + 2, "%4x", &value) == 1);
            from += 6;
        } else {
            must(from[1] == '"' || from[1] == '\\');
            value = (unsigned char)from[1];
            from += 2;
        }
        out[n++] = (char)value;
    }
    return n;
}

static void hostile_bytes(void)
{
    static char all[256];
    static char longest[5000];
    static char back[8192];
    struct access_log_conf conf = conf_of("hostile");
    for (unsigned i = 0; i < 256; i++)
        all[i] = (char)i;
    memset(longest, 1, sizeof longest);
    struct exchange x = { .gate = &gate, .request = { .target = { all, 256 } } };
    use(&conf);
    access_log_exchange(&x);
    struct bytes big = { longest, sizeof longest };
    struct service service = { .name = big };
    struct server_shared shared;
    memset(shared.text, 1, sizeof shared.text);
    shared.text[sizeof shared.text - 1] = 0;
    struct server server = { .shared = &shared };
    x = (struct exchange){ .gate = &gate,
                           .request_id = { longest, REQUEST_ID_BYTES_MAX },
                           .service = &service,
                           .server = &server,
                           .request = { .method_text = big, .authority = big, .target = big },
                           .answered_by = big,
                           .request_bytes = UINT64_MAX,
                           .response_bytes = UINT64_MAX,
                           .attempts = UINT32_MAX,
                           .failed = ERR_IO };
    for (int i = 0; i < 10; i++) /* each as long as a line can be: more than a buffer together */
        access_log_exchange(&x);
    flush_and_close();
    size_t len = take_file(path, file, sizeof file);
    const char *target = strstr(file, "\"target\":\"");
    must(target && unescape(target + 10, back) == 256 && memcmp(back, all, 256) == 0);
    unsigned lines = 0;
    size_t longest_line = 0;
    for (char *at = file; at < file + len;) {
        char *end = strchr(at, '\n');
        must(end && at[0] == '{' && end[-1] == '}');
        if ((size_t)(end - at) > longest_line)
            longest_line = (size_t)(end - at);
        lines++;
        at = end + 1;
    }
    must(lines == 11 && longest_line > 24000 && longest_line < 32 * 1024);
}
TEST(hostile_bytes)

static unsigned lines_in(const char *at)
{
    unsigned lines = 0;
    take_file(at, file, sizeof file);
    for (const char *c = file; *c; c++)
        lines += *c == '\n';
    return lines;
}

static void buffers_are_handed_over(void)
{
    struct access_log_conf conf = conf_of("many");
    struct exchange x = { .gate = &gate, .request = { .target = BYTES("/") } };
    use(&conf);
    for (int i = 0; i < 5000; i++)
        access_log_exchange(&x);
    flush_and_close();
    must(lines_in(path) == 5000 && access_log_dropped() == 0);
    conf.flush_interval_ms = 5; /* by time */
    use(&conf);
    access_log_exchange(&x);
    struct stat there;
    while (stat(path, &there) != 0 || there.st_size == 0)
        must(fiber_sleep_us(1000) == OK);
    access_log_close();
    must(lines_in(path) == 1);
}
TEST(buffers_are_handed_over)

static void after_a_rotation(void)
{
    char moved[80];
    struct access_log_conf conf = conf_of("rotated");
    struct exchange x = { .gate = &gate, .request = { .target = BYTES("/") } };
    snprintf(moved, sizeof moved, "%s.1", path);
    use(&conf);
    access_log_exchange(&x);
    access_log_flush();
    must(rename(path, moved) == 0);
    access_log_reopen();
    while (access(path, F_OK) != 0)
        must(fiber_sleep_us(500) == OK);
    access_log_exchange(&x);
    access_log_exchange(&x);
    flush_and_close();
    unsigned old = lines_in(moved);
    unsigned fresh = lines_in(path);
    must(old + fresh == 3 && fresh >= 2); /* none is lost */
}
TEST(after_a_rotation)

static void another_file(void)
{
    char first[64];
    struct diag d = DIAG_NONE;
    struct exchange x = { .gate = &gate, .request = { .target = BYTES("/") } };
    struct access_log_conf conf = conf_of("first");
    memcpy(first, path, sizeof first);
    conf.path = bytes_from(first);
    use(&conf);
    struct access_log_conf bad = conf_of("no/such/folder");
    char wanted[200];
    snprintf(wanted, sizeof wanted, "access_log: cannot open \"%s\": No such file or directory", path);
    struct access_log *none;
    must(access_log_open(&bad, &none, &d) == ERR_CONF && strcmp(d.text, wanted) == 0 && !none);
    access_log_exchange(&x); /* the one before is still in use */
    flush_and_close();
    must(lines_in(first) == 1);
    use(&conf);
    use(NULL);
    access_log_exchange(&x);
    flush_and_close();
    must(lines_in(first) == 0);
}
TEST(another_file)

static void nobody_writes(void)
{
    struct access_log_conf conf = conf_of("dropped");
    struct exchange x = { .gate = &gate, .request = { .target = BYTES("/") } };
    uint64_t before = access_log_dropped();
    use(&conf);
    for (int i = 0; i < 3; i++)
        access_log_exchange(&x);
    access_log_close(); /* without its thread */
    access_log_flush();
    must(access_log_dropped() == before + 3);
    must(lines_in(path) == 0);
}
TEST(nobody_writes)

static void some_of_them(void)
{
    struct access_log_conf conf = conf_of("sampled");
    struct exchange plain = { .gate = &gate,
                              .request = { .target = BYTES("/") },
                              .response = { .status = 404 } };
    conf.sample = 0.25;
    plain.start_us = worker_now_us();
    use(&conf);
    for (int i = 0; i < 20000; i++)
        access_log_exchange(&plain);
    flush_and_close();
    unsigned lines = lines_in(path);
    must(lines > 4600 && lines < 5400); /* 5000, and 6 sigma are 368 */

    conf.sample = 0;
    struct exchange error = plain;
    struct exchange cut = plain;
    struct exchange slow = plain;
    error.response.status = 500;
    cut.failed = ERR_RESET;
    slow.start_us = worker_now_us() - 1000000;
    use(&conf);
    access_log_exchange(&plain);
    access_log_exchange(&error);
    access_log_exchange(&cut);
    access_log_exchange(&slow);
    flush_and_close();
    must(lines_in(path) == 3);

    conf.errors = 404;
    conf.slow_ms = CONF_MS_OFF;
    use(&conf);
    access_log_exchange(&plain);
    access_log_exchange(&slow); /* a 404 as well */
    slow.response.status = 200;
    access_log_exchange(&slow);
    flush_and_close();
    must(lines_in(path) == 2);
}
TEST(some_of_them)

/* Exchanges of an older generation still write to its log, and each line is in its own format. */
static void two_logs_at_once(void)
{
    char first[64];
    struct exchange x = { .gate = &gate, .request = { .method_text = BYTES("GET"), .target = BYTES("/") } };
    struct access_log_conf conf = conf_of("old");
    memcpy(first, path, sizeof first);
    conf.path = bytes_from(first);
    use(&conf);
    access_log_exchange(&x);
    struct access_log *old = generation.access_log;
    generation.access_log = NULL;
    struct access_log_conf other = conf_of("new");
    other.format = BYTES("${method}");
    use(&other);
    access_log_exchange(&x);
    struct access_log *new = generation.access_log;
    generation.access_log = old;
    access_log_exchange(&x);
    access_log_drop(old); /* its lines are still to be written */
    generation.access_log = new;
    access_log_exchange(&x);
    flush_and_close();
    must(lines_in(first) == 2);
    take_file(path, file, sizeof file);
    must(strcmp(file, "GET\nGET\n") == 0);
}
TEST(two_logs_at_once)

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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_buffers_are_handed_over),
        cmocka_unit_test(test_after_a_rotation),
        cmocka_unit_test(test_another_file),
        cmocka_unit_test(test_nobody_writes),
        cmocka_unit_test(test_some_of_them),
        cmocka_unit_test(test_two_logs_at_once),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
