/* the body that would be sent, instead of the fakes' none */
#include <stdio.h>
#include <stdlib.h>

#include "filter/fakes_test.h"
/* first the fakes */
#undef exchange_answer
#define exchange_answer answer_seen
static struct {
    unsigned status;
    char type[64], body[256];
} seen;

static void answer_seen(struct exchange *x, unsigned status, struct bytes content_type, struct bytes body,
                        struct bytes by)
{
    (void)by;
    x->response.status = seen.status = status;
    snprintf(seen.type, sizeof seen.type, "%.*s", (int)content_type.len,
             content_type.ptr ? content_type.ptr : "");
    snprintf(seen.body, sizeof seen.body, "%.*s", (int)body.len, body.ptr ? body.ptr : "");
}

#include "filter/respond.c"
/* then what stands on both */
#include "filter/variables_test.h"

static void answer(const char *conf, const char *url)
{
    struct loaded l;
    struct exchange x;
    void *state;
    char text[512];
    snprintf(text, sizeof text, "match: /*\nrespond: %s\n", conf);
    loaded_open(&l, &respond_filter, text);
    if (l.words[0])
        fail_msg("%s: %s", conf, l.words);
    assert_int_equal(respond_open(l.conf, NULL, BYTES("r"), &state, NULL), OK);
    fake_exchange_open(&x);
    ask(&x, url);
    fake.chained = 0;
    assert_int_equal(respond_handle(&x, state, NULL), OK);
    assert_int_equal(fake.chained, 0);
    fake_exchange_close(&x);
    respond_close(state);
    loaded_close(&l);
}

static void texts(void **state)
{
    (void)state;
    static const struct {
        const char *conf, *url;
        unsigned status;
        const char *type, *body;
    } cases[] = {
        { "204", "http://h/", 204, "text/plain; charset=utf-8", "" },
        { "503 back at noon", "http://h/", 503, "text/plain; charset=utf-8", "back at noon" },
        { "'200 $method $host $$'", "http://h/", 200, "text/plain; charset=utf-8", "GET h $" },
        { "{text: '<p>$arg.q</p>', content_type: text/html}", "http://h/?q=<b a=\"'&", 200, "text/html",
          "<p>&lt;b a=&quot;&#39;</p>" },
        { "{text: '{\"q\": \"$arg.q\"}', content_type: application/json}", "http://h/?q=%22%5c%0a", 200,
          "application/json", "{\"q\": \"\\\"\\\\\\u000A\"}" },
        { "{text: $arg.q}", "http://h/?q=<b>", 200, "text/plain; charset=utf-8", "<b>" },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        answer(cases[i].conf, cases[i].url);
        assert_int_equal(seen.status, cases[i].status);
        assert_string_equal(seen.type, cases[i].type);
        assert_string_equal(seen.body, cases[i].body);
    }
}

static void a_file(void **state)
{
    (void)state;
    char path[] = "/tmp/weir_respond_test.XXXXXX.html";
    int fd = mkstemps(path, 5);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "$host", 5), 5);
    close(fd);
    char conf[128];
    snprintf(conf, sizeof conf, "{status: 503, file: %s}", path);
    answer(conf, "http://h/");
    assert_int_equal(seen.status, 503);
    assert_string_equal(seen.type, "text/html; charset=utf-8");
    assert_string_equal(seen.body, "$host"); /* as it is */
    unlink(path);
    snprintf(conf, sizeof conf, "match: /*\nrespond: {file: %s}\n", path);
    assert_refused(&respond_filter, conf, "cannot read");
    assert_refused(&respond_filter, "match: /*\nrespond: {file: /}\n", "is no file");
}

static void mistakes(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "{text: a, file: b}", "expected one of them" },
        { "204 a", "has no body" },
        { "100", "" },
        { "'200 $no_such'", "is no variable" },
        { "{text: $capture.a}", "captures nothing" },
        { "{text: a, content_type: \"a\\nb\"}", "control characters" },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, "match: /*\nrespond: %s\n", cases[i][0]);
        assert_refused(&respond_filter, text, cases[i][1]);
    }
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(a_file),
        cmocka_unit_test(mistakes),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
