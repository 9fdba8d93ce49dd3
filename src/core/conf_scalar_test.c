#include "core/conf_test.h"

#include "core/conf_part.h"

static const char *const two_words[] = { "auto", "none", NULL };
static const struct conf_field f_bool = { .type = CONF_BOOL }, f_int = { .type = CONF_INT },
                               f_int_words = { .type = CONF_INT, .min = 1, .words = two_words },
                               f_port = { .type = CONF_INT, .min = 1, .max = 65535 },
                               f_cold = { .type = CONF_INT, .min = -40, .max = 0 },
                               f_bytes = { .type = CONF_BYTES },
                               f_page = { .type = CONF_BYTES, .min = 4096, .max = 1 << 20 },
                               f_ms = { .type = CONF_MS },
                               f_ms_off = { .type = CONF_MS, .max = 60000, .words = conf_word_off },
                               f_percent = { .type = CONF_PERCENT },
                               f_half = { .type = CONF_PERCENT, .min = 0.5, .max = 0.75 },
                               f_rate = { .type = CONF_RATE, .min = 1 },
                               f_word = { .type = CONF_WORD, .words = two_words },
                               f_addr = { .type = CONF_ADDR };

union value {
    bool on;
    int word;
    int64_t i;
    uint64_t u;
    double d;
    struct conf_rate rate;
    struct bytes text;
    struct addr addr;
};

/* prints: what it is written as again, NULL when text is wrong; said: the mistake then */
static const struct {
    const struct conf_field *f;
    const char *text, *prints, *said;
} cases[] = {
    { &f_bool, "on", "true", NULL },
    { &f_bool, "false", "false", NULL },
    { &f_bool, "On", NULL, "On is not a switch (true, false, on, off)" },
    { &f_bool, "1", NULL, "1 is not a switch (true, false, on, off)" },

    { &f_int, "0", "0", NULL },
    { &f_int, "-7", "-7", NULL },
    { &f_int, "9223372036854775807", "9223372036854775807", NULL },
    { &f_int, "-9223372036854775807", "-9223372036854775807", NULL },
    { &f_int, "9223372036854775808", NULL, "9223372036854775808 is too large" },
    { &f_int, "99999999999999999999999", NULL, "99999999999999999999999 is too large" },
    { &f_int, "", NULL, "\"\" is not a whole number (like 42)" },
    { &f_int, "-", NULL, "- is not a whole number (like 42)" },
    { &f_int, "+1", NULL, "+1 is not a whole number (like 42)" },
    { &f_int, "1.5", NULL, "1.5 is not a whole number (like 42)" },
    { &f_int, "0x10", NULL, "0x10 is not a whole number (like 42)" },
    { &f_int, "1 ", NULL, "\"1 \" is not a whole number (like 42)" },
    { &f_int_words, "auto", "auto", NULL },
    { &f_int_words, "none", "none", NULL },
    { &f_int_words, "-1", NULL, "-1 is out of bounds: at least 1" },
    { &f_int_words, "autos", NULL, "autos is not a whole number (like 42)" },
    { &f_port, "1", "1", NULL },
    { &f_port, "65535", "65535", NULL },
    { &f_port, "0", NULL, "0 is out of bounds: 1 to 65535" },
    { &f_port, "65536", NULL, "65536 is out of bounds: 1 to 65535" },
    { &f_cold, "-40", "-40", NULL },
    { &f_cold, "1", NULL, "1 is out of bounds: -40 to 0" },

    { &f_bytes, "0", "0", NULL },
    { &f_bytes, "512", "512", NULL },
    { &f_bytes, "16k", "16k", NULL },
    { &f_bytes, "2G", "2g", NULL },
    { &f_bytes, "1.5k", "1536", NULL },
    { &f_bytes, "1025k", "1025k", NULL },
    { &f_bytes, "1.0001k", NULL, "1.0001k is not a size in bytes (like 512, 16k, 1m, 2g)" },
    { &f_bytes, "1.5", NULL, "1.5 is not a size in bytes (like 512, 16k, 1m, 2g)" },
    { &f_bytes, "k", NULL, "k is not a size in bytes (like 512, 16k, 1m, 2g)" },
    { &f_bytes, "1kb", NULL, "1kb is not a size in bytes (like 512, 16k, 1m, 2g)" },
    { &f_bytes, "-1k", NULL, "-1k is not a size in bytes (like 512, 16k, 1m, 2g)" },
    { &f_bytes, "8388607t", "8388607t", NULL },
    { &f_bytes, "8388608t", NULL, "8388608t is too large" },
    { &f_bytes, "18446744073709551615", NULL, "18446744073709551615 is too large" },
    { &f_bytes, "99999999999999999999k", NULL, "99999999999999999999k is too large" },
    { &f_page, "4095", NULL, "4095 is out of bounds: 4k to 1m" },
    { &f_page, "4k", "4k", NULL },
    { &f_page, "1m", "1m", NULL },

    { &f_ms, "500ms", "500ms", NULL },
    { &f_ms, "1500ms", "1500ms", NULL },
    { &f_ms, "1.5s", "1500ms", NULL },
    { &f_ms, "60s", "1m", NULL },
    { &f_ms, "7d", "7d", NULL },
    { &f_ms, "0s", "0ms", NULL },
    { &f_ms, "5x", NULL, "5x is not a duration (like 500ms, 10s, 2m, 1h)" },
    { &f_ms, "5", NULL, "5 is not a duration (like 500ms, 10s, 2m, 1h)" },
    { &f_ms, "off", NULL, "off is not a duration (like 500ms, 10s, 2m, 1h)" },
    { &f_ms, "0.5ms", NULL, "0.5ms is not a duration (like 500ms, 10s, 2m, 1h)" },
    { &f_ms, "1.s", NULL, "1.s is not a duration (like 500ms, 10s, 2m, 1h)" },
    { &f_ms, "106751991168d", NULL, "106751991168d is too large" },
    { &f_ms, "999999999999d", NULL, "999999999999d is too large" },
    { &f_ms_off, "off", "off", NULL },
    { &f_ms_off, "2m", NULL, "2m is out of bounds: 0ms to 1m" },

    { &f_percent, "30%", "30%", NULL },
    { &f_percent, "0.5%", "0.5%", NULL },
    { &f_percent, "7.123456789%", "7.123456789%", NULL },
    { &f_percent, "0%", "0%", NULL },
    { &f_percent, "100%", "100%", NULL },
    { &f_percent, "100.1%", NULL, "100.1% is more than 100%" },
    { &f_percent, "30", NULL, "30 is not a share (like 30%, 0.5%)" },
    { &f_percent, "%", NULL, "% is not a share (like 30%, 0.5%)" },
    { &f_percent, "1.0000000001%", NULL, "1.0000000001% is not a share (like 30%, 0.5%)" },
    { &f_half, "49.9%", NULL, "49.9% is out of bounds: 50% to 75%" },
    { &f_half, "50%", "50%", NULL },

    { &f_rate, "50/s", "50/s", NULL },
    { &f_rate, "1000/m", "1000/m", NULL },
    { &f_rate, "10/h", "10/h", NULL },
    { &f_rate, "10/10s", "10/10s", NULL },
    { &f_rate, "10/60s", "10/m", NULL },
    { &f_rate, "0/s", NULL, "0/s is out of bounds: at least 1" },
    { &f_rate, "5/0s", NULL, "5/0s is not a rate (like 50/s, 1000/m, 10/h)" },
    { &f_rate, "5/", NULL, "5/ is not a rate (like 50/s, 1000/m, 10/h)" },
    { &f_rate, "/s", NULL, "/s is not a rate (like 50/s, 1000/m, 10/h)" },
    { &f_rate, "5x per ip", NULL, "\"5x per ip\" is not a rate (like 50/s, 1000/m, 10/h)" },
    { &f_rate, "9223372036854775808/s", NULL,
      "9223372036854775808/s is not a rate (like 50/s, 1000/m, 10/h)" },

    { &f_word, "none", "none", NULL },
    { &f_word, "nome", NULL, "nome is not one of auto, none; did you mean \"none\"?" },

    { &f_addr, "10.0.0.1:80", "10.0.0.1:80", NULL },
    { &f_addr, "[::1]:80", "[::1]:80", NULL },
    { &f_addr, ":8080", "[::]:8080", NULL },
    { &f_addr, "unix:/run/x", "unix:/run/x", NULL },
    { &f_addr, "shop:80", NULL, "shop:80 is not an address (like 10.0.0.1:80, [::1]:80, :8080, unix:/path)" },
};

static void test_scalars(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        union value v;
        struct diag d = DIAG_NONE;
        char text[CONF_SCALAR_TEXT_BYTES_MAX];
        err e = conf_parse_scalar(bytes_from(cases[i].text), cases[i].f, NULL, &v, &d);
        assert_string_equal(e ? d.text : "", cases[i].said ? cases[i].said : "");
        assert_int_equal(e, cases[i].prints ? OK : ERR_CONF);
        if (e)
            continue;
        assert_int_equal(conf_scalar_print(cases[i].f, &v, text), strlen(cases[i].prints));
        assert_string_equal(text, cases[i].prints);
    }
}

static void test_values(void **state)
{
    (void)state;
    union value v;
    assert_int_equal(conf_parse_scalar(BYTES("auto"), &f_int_words, NULL, &v, NULL), OK);
    assert_true(v.i == -1);
    assert_int_equal(conf_parse_scalar(BYTES("none"), &f_int_words, NULL, &v, NULL), OK);
    assert_true(v.i == CONF_INT_WORD(1));
    assert_int_equal(conf_parse_scalar(BYTES("off"), &f_ms_off, NULL, &v, NULL), OK);
    assert_true(v.u == CONF_MS_OFF);
    assert_int_equal(conf_parse_scalar(BYTES("1h"), &f_ms, NULL, &v, NULL), OK);
    assert_int_equal(v.u, 3600000);
    assert_int_equal(conf_parse_scalar(BYTES("25%"), &f_percent, NULL, &v, NULL), OK);
    assert_true(v.d == 0.25);
    assert_int_equal(conf_parse_scalar(BYTES("7/2.5s"), &f_rate, NULL, &v, NULL), OK);
    assert_int_equal(v.rate.count, 7);
    assert_int_equal(v.rate.per_ms, 2500);
    assert_int_equal(conf_parse_scalar(BYTES("none"), &f_word, NULL, &v, NULL), OK);
    assert_int_equal(v.word, 1);
}

static void test_text(void **state)
{
    (void)state;
    const struct conf_field f = { .type = CONF_TEXT };
    struct arena a;
    struct bytes text;
    struct diag d = DIAG_NONE;
    arena_open(&a, &arena_heap, 1 << 16, NULL, 0);
    const char given[] = "some text behind";
    assert_int_equal(conf_parse_scalar((struct bytes){ given, 9 }, &f, &a, &text, &d), OK);
    assert_ptr_not_equal(text.ptr, given); /* a copy, with a NUL */
    assert_string_equal(text.ptr, "some text");
    assert_int_equal(conf_parse_scalar((struct bytes){ "a\0b", 3 }, &f, &a, &text, &d), ERR_CONF);
    assert_string_equal(d.text, "a NUL character cannot stand in a value");
    mem_fail_at(1);
    char large[20000] = { 'x' };
    assert_int_equal(conf_parse_scalar((struct bytes){ large, sizeof large }, &f, &a, &text, NULL), ERR_CONF);
    memset(large, 'x', sizeof large);
    assert_int_equal(conf_parse_scalar((struct bytes){ large, sizeof large }, &f, &a, &text, NULL),
                     ERR_MEMORY);
    mem_fail_at(0);
    arena_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
