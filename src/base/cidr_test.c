#include "base/cidr.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "base/test.h"

static struct addr ip(const char *text)
{
    struct addr a;
    must(cidr_parse_ip(bytes_from(text), &a) == OK);
    return a;
}

static void ranges_are_read_and_printed(void **state)
{
    (void)state;
    static const char *const same[] = { "10.0.0.0/8",    "192.0.2.1/32", "0.0.0.0/0",
                                        "2001:db8::/32", "::/0",         "::1/128" };
    char text[CIDR_TEXT_BYTES_MAX];
    struct cidr c;
    for (unsigned i = 0; i < sizeof same / sizeof *same; i++) {
        assert_int_equal(cidr_parse(bytes_from(same[i]), &c), OK);
        size_t len = cidr_print(&c, text);
        assert_int_equal(len, strlen(text));
        assert_string_equal(text, same[i]);
    }
    assert_int_equal(cidr_parse(BYTES("192.0.2.7"), &c), OK);
    assert_int_equal(c.bits, 32);
    assert_int_equal(cidr_parse(BYTES("::ffff:10.0.0.0/104"), &c), OK);
    cidr_print(&c, text);
    assert_string_equal(text, "10.0.0.0/8");
    assert_int_equal(cidr_parse(BYTES("10.0.0.1/8"), &c), ERR_CONF);
    cidr_print(&c, text);
    assert_string_equal(text, "10.0.0.0/8");
}

static void what_is_no_range_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = { "",
                                         "/",
                                         "10.0.0.0/33",
                                         "10.0.0/8",
                                         "10.0.0.0/",
                                         "10.0.0.0/-1",
                                         "::/129",
                                         "10.0.0.0/8/8",
                                         "10.0.0.0/08x",
                                         "host",
                                         "10.0.0.0/ 8",
                                         "[::1]",
                                         "10.0.0.1:80",
                                         "::ffff:1.2.3",
                                         "10.0.0.0/0008",
                                         "1.2.3.4.5",
                                         "0x7f.0.0.1",
                                         "010.0.0.1" };
    struct cidr c;
    struct addr a;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (cidr_parse(bytes_from(wrong[i]), &c) != ERR_SYNTAX)
            fail_msg("%s", wrong[i]);
    }
    assert_int_equal(cidr_parse((struct bytes){ "1.2.3.4\0", 8 }, &c), ERR_SYNTAX);
    assert_int_equal(cidr_parse_ip(BYTES("10.0.0.0/8"), &a), ERR_SYNTAX);
}

static void one_range_has_its_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *cidr, *ip;
        bool has;
    } cases[] = {
        { "10.0.0.0/8", "10.255.255.255", true },
        { "10.0.0.0/8", "11.0.0.0", false },
        { "10.0.0.0/8", "::ffff:10.1.1.1", true },
        { "0.0.0.0/0", "255.255.255.255", true },
        { "0.0.0.0/0", "::1", false },
        { "::/0", "10.0.0.1", false },
        { "::/0", "ffff::", true },
        { "2001:db8::/33", "2001:db8:7fff::1", true },
        { "2001:db8::/33", "2001:db8:8000::", false },
        { "::1", "::1", true },
        { "::1", "::2", false },
        { "2001:db8::/96", "2001:db8::ffff:ffff", true },
        { "2001:db8::/96", "2001:db8::1:0:0", false },
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cidr c;
        struct addr a = ip(cases[i].ip);
        assert_int_equal(cidr_parse(bytes_from(cases[i].cidr), &c), OK);
        if (cidr_has(&c, &a) != cases[i].has)
            fail_msg("%s %s", cases[i].cidr, cases[i].ip);
    }
}

static struct cidr_set *set_of(const char *const *texts, const uint32_t *values, size_t count)
{
    struct cidr_list l = CIDR_LIST_EMPTY;
    struct cidr_set *s;
    struct diag d = DIAG_NONE;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(cidr_list_add(&l, bytes_from(texts[i]), values[i], &d), OK);
    assert_int_equal(cidr_set_build(&l, &s), OK);
    cidr_list_close(&l);
    return s;
}

static uint32_t find(const struct cidr_set *s, const char *text)
{
    struct addr a = ip(text);
    return cidr_set_find(s, &a);
}

static void the_most_specific_counts(void **state)
{
    (void)state;
    static const char *const texts[] = { "10.1.0.0/16",     "10.0.0.0/8",    "10.1.2.3",
                                         "255.255.255.255", "2001:db8::/32", "2001:db8:1::/48",
                                         "192.0.2.0/24",    "192.0.2.0/24" };
    static const uint32_t values[] = { 2, 1, 3, 4, 5, 6, 8, 7 };
    struct cidr_set *s = set_of(texts, values, 8);
    assert_int_equal(find(s, "9.255.255.255"), CIDR_NONE);
    assert_int_equal(find(s, "10.0.0.0"), 1);
    assert_int_equal(find(s, "10.1.0.0"), 2);
    assert_int_equal(find(s, "10.1.2.2"), 2);
    assert_int_equal(find(s, "10.1.2.3"), 3);
    assert_int_equal(find(s, "10.1.2.4"), 2);
    assert_int_equal(find(s, "10.2.0.0"), 1);
    assert_int_equal(find(s, "11.0.0.0"), CIDR_NONE);
    assert_int_equal(find(s, "255.255.255.255"), 4);
    assert_int_equal(find(s, "255.255.255.254"), CIDR_NONE);
    assert_int_equal(find(s, "192.0.2.5"), 8); /* the higher of equal ones */
    assert_int_equal(find(s, "2001:db8::"), 5);
    assert_int_equal(find(s, "2001:db8:1:ffff::"), 6);
    assert_int_equal(find(s, "2001:db8:2::"), 5);
    assert_int_equal(find(s, "2001:db9::"), CIDR_NONE);
    struct addr local;
    must(addr_parse(BYTES("unix:/x"), &local) == OK);
    assert_int_equal(cidr_set_find(s, &local), CIDR_NONE);
    cidr_set_free(s);
}

static void words_stand_for_ranges(void **state)
{
    (void)state;
    struct cidr_set *s = set_of((const char *const[]){ "private" }, (const uint32_t[]){ 1 }, 1);
    assert_int_equal(find(s, "192.168.3.4"), 1);
    assert_int_equal(find(s, "127.0.0.1"), 1);
    assert_int_equal(find(s, "fd00::1"), 1);
    assert_int_equal(find(s, "8.8.8.8"), CIDR_NONE);
    cidr_set_free(s);
    s = set_of((const char *const[]){ "all", "loopback" }, (const uint32_t[]){ 1, 2 }, 2);
    assert_int_equal(find(s, "8.8.8.8"), 1);
    assert_int_equal(find(s, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), 1);
    assert_int_equal(find(s, "::1"), 2);
    cidr_set_free(s);
    s = set_of(NULL, NULL, 0);
    assert_int_equal(find(s, "8.8.8.8"), CIDR_NONE);
    assert_int_equal(find(s, "::1"), CIDR_NONE);
    cidr_set_free(s);
}

/* What the set says of any address is what a walk through all entries says. */
static uint32_t walk(const struct cidr_list *l, const struct addr *a)
{
    const struct cidr_entry *best = NULL;
    for (size_t i = 0; i < l->count; i++) {
        const struct cidr_entry *e = &l->entries[i];
        if (cidr_has(&e->cidr, a) && (!best || e->cidr.bits > best->cidr.bits ||
                                      (e->cidr.bits == best->cidr.bits && e->value > best->value)))
            best = e;
    }
    return best ? best->value : CIDR_NONE;
}

static struct addr random_ip(unsigned *seed, bool narrow)
{
    struct addr a = { 0 };
    uint8_t bytes[16];
    for (unsigned i = 0; i < 16; i++) /* narrow: few different bytes, so that ranges nest and hit */
        bytes[i] = narrow ? (uint8_t)((rand_r(seed) & 1) * 255) : (uint8_t)rand_r(seed);
    if (rand_r(seed) & 1) {
        a.sock.v4.sin_family = AF_INET;
        memcpy(&a.sock.v4.sin_addr, bytes, 4);
        a.len = sizeof a.sock.v4;
    } else {
        a.sock.v6.sin6_family = AF_INET6;
        memcpy(&a.sock.v6.sin6_addr, bytes, 16);
        a.len = sizeof a.sock.v6;
    }
    return a;
}

static void it_finds_what_a_walk_finds(void **state)
{
    (void)state;
    unsigned seed = 7;
    for (unsigned round = 0; round < 60; round++) {
        struct cidr_list l = CIDR_LIST_EMPTY;
        struct cidr_set *s;
        struct diag d = DIAG_NONE;
        for (unsigned i = 0; i < round * 3; i++) {
            struct addr a = random_ip(&seed, true);
            char text[ADDR_TEXT_BYTES_MAX + 8];
            struct cidr c;
            size_t len = addr_print_ip(&a, text);
            bool v6 = a.sock.any.sa_family == AF_INET6 && memchr(text, ':', len);
            snprintf(text + len, 8, "/%d", rand_r(&seed) % (v6 ? 129 : 33));
            err e = cidr_parse(bytes_from(text), &c);
            assert_true(e == OK || e == ERR_CONF);
            cidr_print(&c, text);
            assert_int_equal(cidr_list_add(&l, bytes_from(text), (uint32_t)rand_r(&seed) % 4, &d), OK);
        }
        assert_int_equal(cidr_set_build(&l, &s), OK);
        for (unsigned i = 0; i < 300; i++) {
            struct addr a = random_ip(&seed, i % 2);
            assert_int_equal(cidr_set_find(s, &a), walk(&l, &a));
        }
        cidr_set_free(s);
        cidr_list_close(&l);
    }
}

static char path[] = "weir-cidr-test-XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");
    must(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void files_are_read_and_mistakes_have_lines(void **state)
{
    (void)state;
    struct cidr_list l = CIDR_LIST_EMPTY;
    struct diag d = DIAG_NONE;
    char name[64];
    int fd = mkstemp(path);
    must(fd >= 0);
    close(fd);
    snprintf(name, sizeof name, "file:%s", path);
    write_file("# offices\n10.0.0.0/8 # one\r\n\n  192.0.2.1\t\nloopback\n::1");
    assert_int_equal(cidr_list_add(&l, bytes_from(name), 1, &d), OK);
    assert_int_equal(l.count, 5);
    write_file("10.0.0.0/8\n10.0.0.1/8\n");
    assert_int_equal(cidr_list_add(&l, bytes_from(name), 1, &d), ERR_CONF);
    assert_non_null(
        strstr(d.text, ":2: \"10.0.0.1/8\" has bits behind its prefix; did you mean 10.0.0.0/8?"));
    d = DIAG_NONE;
    write_file("10.0.0.0/8\n\nnonsense\n");
    assert_int_equal(cidr_list_add(&l, bytes_from(name), 1, &d), ERR_CONF);
    assert_non_null(strstr(d.text, ":3: \"nonsense\" is no address range"));
    unlink(path);
    d = DIAG_NONE;
    assert_int_equal(cidr_list_add(&l, bytes_from(name), 1, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "cannot read"));
    d = DIAG_NONE;
    assert_int_equal(cidr_list_add(&l, BYTES("file:"), 1, &d), ERR_CONF);
    assert_int_equal(cidr_list_add(&l, BYTES("file:/"), 1, &d), ERR_CONF);
    cidr_list_close(&l);
}

static void a_hundred_thousand(void **state)
{
    (void)state;
    struct cidr_list l = CIDR_LIST_EMPTY;
    struct cidr_set *s;
    struct diag d = DIAG_NONE;
    char text[64];
    for (unsigned i = 0; i < 100000; i++) {
        snprintf(text, sizeof text, "%u.%u.%u.%u/31", 1 + i / 50000, i / 256 % 256, i % 256, 2 * (i % 128));
        assert_int_equal(cidr_list_add(&l, bytes_from(text), i, &d), OK);
    }
    assert_int_equal(cidr_set_build(&l, &s), OK);
    for (unsigned i = 0; i < 100000; i += 7) {
        snprintf(text, sizeof text, "%u.%u.%u.%u", 1 + i / 50000, i / 256 % 256, i % 256, 2 * (i % 128) + 1);
        uint32_t value = find(s, text);
        assert_true(value >= i && value < 100000 && (value - i) % 65536 == 0);
    }
    cidr_set_free(s);
    cidr_list_close(&l);
}

static void no_memory_is_said(void **state)
{
    (void)state;
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        struct cidr_list l = CIDR_LIST_EMPTY;
        struct cidr_set *s = NULL;
        struct diag d = DIAG_NONE;
        mem_fail_at(n);
        e = cidr_list_add(&l, BYTES("private"), 1, &d);
        if (!e)
            e = cidr_set_build(&l, &s);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 20));
        cidr_set_free(s);
        cidr_list_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_read_and_printed),
        cmocka_unit_test(what_is_no_range_is_refused),
        cmocka_unit_test(one_range_has_its_addresses),
        cmocka_unit_test(the_most_specific_counts),
        cmocka_unit_test(words_stand_for_ranges),
        cmocka_unit_test(it_finds_what_a_walk_finds),
        cmocka_unit_test(files_are_read_and_mistakes_have_lines),
        cmocka_unit_test(a_hundred_thousand),
        cmocka_unit_test(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
