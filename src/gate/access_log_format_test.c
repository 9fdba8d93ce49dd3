#include "gate/access_log_format.h"

#include <ctype.h>
#include <stdio.h>

#include "base/mem.h"
#include "gate/gate_test.h"

static char line[ACCESS_LOG_LINE_BYTES_MAX];

static struct http_field request_room[8], response_room[8];
static struct route_conf route_conf = { .match = { "/api/*", 6 } };
static struct route route = { .conf = &route_conf };

static struct exchange usual(const struct addr *client, const struct addr *peer)
{
    struct exchange x = { .start_us = worker_now_us(),
                          .request_id = BYTES("abcdef0123"),
                          .client = client,
                          .peer = peer,
                          .scheme = "https",
                          .route = &route,
                          .user = BYTES("alice"),
                          .request = { .method_text = BYTES("GET"),
                                       .authority = BYTES("shop.example"),
                                       .target = BYTES("/a?b=c"),
                                       .path = BYTES("/a"),
                                       .query = BYTES("b=c"),
                                       .version_minor = 1 },
                          .response = { .status = 200 },
                          .request_bytes = 7,
                          .response_bytes = 42,
                          .attempts = 1 };
    x.request.fields = (struct http_fields){ .at = request_room, .count_max = 8 };
    x.response.fields = (struct http_fields){ .at = response_room, .count_max = 8 };
    must(http_fields_add(&x.request.fields, NULL, BYTES("User-Agent"), BYTES("say \"hi\"\x01")) == OK);
    must(http_fields_add(&x.request.fields, NULL, BYTES("X-Own"), BYTES("mine")) == OK);
    must(http_fields_add(&x.response.fields, NULL, BYTES("Content-Type"), BYTES("text/plain")) == OK);
    return x;
}

static const char *put(const char *pattern, int facility, const struct exchange *x)
{
    struct access_log_format *f;
    struct diag d = DIAG_NONE;
    must(access_log_format_open(bytes_from(pattern), facility, &f, &d) == OK);
    char *end = access_log_format_put(f, line, x);
    must(end > line && end[-1] == '\n');
    end[-1] = 0;
    access_log_format_close(f);
    return line;
}

static void patterns(void)
{
    static const struct {
        const char *pattern, *line;
    } cases[] = {
        { "${client} ${peer} ${user} ${id}", "203.0.113.7 10.0.0.5 alice abcdef0123" },
        { "<${method} ${scheme} ${host} ${target} ${path} ${query} ${protocol}>",
          "<GET https shop.example /a?b=c /a b=c HTTP/1.1>" },
        { "${status}/${request_bytes}/${response_bytes}/${tries} ${us} ${seconds}", "200/7/42/1 0 0.000000" },
        { "${route} ${service} ${server} ${answered_by} ${error}", "/api/* - - - -" },
        { "${request.user-agent}|${request.x-own}|${request.referer}|${response.content-type}",
          "say \\x22hi\\x22\\x01|mine|-|text/plain" },
        { "{\"ua\":\"${request.USER-AGENT}\",\"ref\":\"${request.referer}\",\"s\":${status}}",
          "{\"ua\":\"say \\\"hi\\\"\\u0001\",\"ref\":\"\",\"s\":200}" },
        { "$ {} $${method}$", "$ {} $GET$" },
    };
    struct addr client, peer;
    must(addr_parse(BYTES("203.0.113.7:1"), &client) == OK && addr_parse(BYTES("10.0.0.5:1"), &peer) == OK);
    struct exchange x = usual(&client, &peer);
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(put(cases[i].pattern, ACCESS_LOG_NO_SYSLOG, &x), cases[i].line) != 0)
            must_fail(line, __FILE__, __LINE__);
    }
}
TEST(patterns)

static void known_names(void)
{
    struct addr client;
    must(addr_parse(BYTES("203.0.113.7:1"), &client) == OK);
    struct exchange x = usual(&client, NULL);
    const char *combined = put("combined", ACCESS_LOG_NO_SYSLOG, &x);
    must(strncmp(combined, "203.0.113.7 - alice [", 21) == 0);
    must(strcmp(strchr(combined, ']'), "] \"GET /a?b=c HTTP/1.1\" 200 42 \"-\" \"say \\x22hi\\x22\\x01\"") ==
         0);
    const char *common = put("common", ACCESS_LOG_NO_SYSLOG, &x);
    must(strcmp(strchr(common, ']'), "] \"GET /a?b=c HTTP/1.1\" 200 42") == 0);
    must(strstr(put("json", ACCESS_LOG_NO_SYSLOG, &x), ",\"client\":\"203.0.113.7\",\"user\":\"alice\",") !=
         NULL);
}
TEST(known_names)

static void heads_of_syslog(void)
{
    struct exchange x = usual(NULL, NULL);
    unsigned pri, year, pid;
    char host[256];
    int end = 0;
    const char *text = put("json", 23, &x);
    must(sscanf(text, "<%u>1 %4u-%*2u-%*2uT%*2u:%*2u:%*2u.%*6uZ %255s weir %u access - {\"time\"%n", &pri,
                &year, host, &pid, &end) == 4 &&
         end > 0);
    must(pri == 23 * 8 + 6 && year >= 2024 && pid == (unsigned)getpid());
    x.response.status = 503;
    must(strncmp(put("json", 16, &x), "<131>1 ", 7) == 0);
    x.response.status = 200;
    x.failed = ERR_RESET;
    must(strncmp(put("${method}", 16, &x), "<131>1 ", 7) == 0);
}
TEST(heads_of_syslog)

/* However long what comes from outside is, a line ends within its room. */
static void long_texts(void)
{
    static char longest[5000];
    static char pattern[4096];
    struct exchange x = usual(NULL, NULL);
    memset(longest, 1, sizeof longest);
    x.request.target = (struct bytes){ longest, sizeof longest };
    size_t len = 0;
    for (unsigned i = 0; i < 60; i++)
        len += (size_t)snprintf(pattern + len, sizeof pattern - len, "%s${target}", i ? "," : "");
    struct access_log_format *f;
    struct diag d = DIAG_NONE;
    must(access_log_format_open(bytes_from(pattern), 23, &f, &d) == OK);
    char *end = access_log_format_put(f, line, &x);
    must(end <= line + sizeof line && end > line + sizeof line - 200 && end[-1] == '\n');
    access_log_format_close(f);
}
TEST(long_texts)

static void mistakes(void)
{
    static const struct {
        const char *pattern, *words;
    } cases[] = {
        { "jsn", "\"jsn\" is neither json, common nor combined, and has no ${variable}" },
        { "${clint}", "there is no ${clint}" },
        { "${client", "a ${ without its }" },
        { "${request.}", "there is no ${request.}" },
        { "${request.a b}", "there is no ${request.a b}" },
        { "${}", "there is no ${}" },
        { "${client}\n", "a pattern is one line" },
    };
    struct access_log_format *f;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct diag d = DIAG_NONE;
        must(access_log_format_open(bytes_from(cases[i].pattern), ACCESS_LOG_NO_SYSLOG, &f, &d) == ERR_CONF);
        if (!strstr(d.text, cases[i].words))
            must_fail(d.text, __FILE__, __LINE__);
    }
    char many[2000] = "";
    for (unsigned i = 0; i < 130; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "${method}");
    struct diag d = DIAG_NONE;
    must(access_log_format_open(bytes_from(many), ACCESS_LOG_NO_SYSLOG, &f, &d) == ERR_CONF);
    must(strstr(d.text, "more than 128") != NULL);
}
TEST(mistakes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_patterns),        cmocka_unit_test(test_known_names),
        cmocka_unit_test(test_heads_of_syslog), cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
