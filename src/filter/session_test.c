#include "filter/session_route_test.h"

#if WEIR_HAVE_OPENSSL
static void a_client_without_one_gets_one_and_keeps_it(void **unused)
{
    (void)unused;
    char first[40];
    open_route("on");
    assert_int_equal(asks_with(NULL, NULL), 200);
    assert_string_equal(attributes, "Path=/; SameSite=Lax; HttpOnly");
    assert_non_null(strstr(left, "Cache-Control=private"));
    assert_int_equal(strlen(id), SESSION_ID_BYTES);
    HEARD(id);
    memcpy(first, id, sizeof first);
    assert_int_equal(asks(), 200);
    assert_string_equal(id, first);
    assert_string_equal(attributes, "");
    assert_string_equal(left, "");
    reopen();
    assert_int_equal(asks(), 200);
    assert_string_equal(id, first);
    asks_with(NULL, NULL);
    assert_string_not_equal(id, first);
    assert_int_equal(counted(METRIC_FOUND), 1);
    assert_int_equal(counted(METRIC_MADE), 1); /* since it was opened again */
    close_route();
}

/* Reading writes nothing, until a sixteenth of the time has passed. */
static void a_request_does_not_write(void **unused)
{
    (void)unused;
    char first[40];
    open_route("30m");
    asks_with(NULL, NULL);
    memcpy(first, id, sizeof first);
    const unsigned before = kt.log_count;
    for (unsigned i = 0; i < 20; i++) {
        kt.now_ms += 5000;
        asks();
    }
    assert_int_equal(kt.log_count, before);
    for (unsigned i = 0; i < 60; i++) { /* two hours of use */
        kt.now_ms += 120000;
        asks();
        assert_string_equal(id, first);
    }
    assert_in_range(kt.log_count - before, 30, 60);
    kt.now_ms += 30 * 60000 + 1;
    asks();
    assert_string_not_equal(id, first);
    assert_int_equal(counted(METRIC_GONE), 1);
    close_route();
}

static void a_fixed_time_ends_however_much_it_is_used(void **unused)
{
    (void)unused;
    char first[40];
    open_route("{ttl: 30m, renew: off}");
    asks_with(NULL, NULL);
    memcpy(first, id, sizeof first);
    for (unsigned i = 0; i < 29; i++) {
        kt.now_ms += 60000;
        asks();
        assert_string_equal(id, first);
    }
    server_answers("X-Session-New-Id", "1"); /* the time goes on */
    asks();
    assert_string_not_equal(id, first);
    memcpy(first, id, sizeof first);
    answers[0] = NULL;
    asks();
    assert_string_equal(id, first);
    kt.now_ms += 60001;
    asks();
    assert_string_not_equal(id, first);
    close_route();
}

static void an_old_one_ends(void **unused)
{
    (void)unused;
    char first[40], key[60];
    open_route("{ttl: 30m, age_max: 1h}");
    asks_with(NULL, NULL);
    memcpy(first, id, sizeof first);
    for (unsigned i = 0; i < 6; i++) {
        kt.now_ms += 10 * 60000;
        asks();
        assert_string_equal(id, first);
    }
    kt.now_ms += 1;
    asks();
    assert_string_not_equal(id, first);
    snprintf(key, sizeof key, "session:%s", first);
    KV_SAYS("0", EXISTS, 0, 0, key);
    close_route();
}

static void what_weir_has_not_signed_is_no_cookie(void **unused)
{
    (void)unused;
    char first[40], key[60], right[300];
    open_route("on");
    asks_with(NULL, NULL);
    memcpy(first, id, sizeof first);
    memcpy(right, cookie, sizeof right);
    for (size_t i = strlen("weir_session="); i < strlen(right); i++) {
        char forged[300];
        memcpy(forged, right, sizeof forged);
        forged[i] = forged[i] == 'a' ? 'b' : 'a';
        const unsigned asked_before = asked;
        asks_with(forged, NULL);
        assert_string_not_equal(id, first);
        assert_int_equal(asked, asked_before + 1); /* to make another; not to look for it */
    }
    snprintf(key, sizeof key, "weir_session=%s", first);
    asks_with(key, NULL);
    assert_string_not_equal(id, first);
    assert_int_equal(counted(METRIC_FORGED), SESSION_COOKIE_BYTES + 1);
    close_route();
}

static void a_server_sets_values_and_takes_them_out(void **unused)
{
    (void)unused;
    char key[60], first[300];
    open_route("{pass: [user, cart], user: user}");
    answers[0] = answers[2] = "X-Session-Set";
    answers[1] = "user=ann";
    answers[3] = "cart = 3 apples%2C 100%25%0d%0a";
    answers[4] = "Content-Type";
    answers[5] = "text/plain";
    answers[6] = NULL;
    asks_with(NULL, NULL);
    assert_string_equal(variable, "ann"); /* for the access log */
    assert_string_equal(left, "Content-Type=text/plain Cache-Control=private ");
    memcpy(first, cookie, sizeof first);
    snprintf(key, sizeof key, "session:%s", id);
    KV_SAYS("3 apples, 100%\r\n", HGET, 0, 0, key, "cart");
    answers[0] = NULL;
    asks();
    HEARD("X-Session-user=ann X-Session-cart=3%20apples,%20100%25%0d%0a");
    assert_string_equal(user, "ann");
    assert_string_equal(attributes, "");
    server_answers("X-Session-Remove", "cart, other");
    asks();
    KV_SAYS("nil", HGET, 0, 0, key, "cart");
    answers[0] = NULL;
    asks();
    assert_null(strstr(heard, "cart"));
    assert_string_equal(cookie, first);
    assert_int_equal(counted(METRIC_CHANGED), 2);
    close_route();
}

static void what_clients_say_reaches_no_server(void **unused)
{
    (void)unused;
    open_route("{pass: [user]}");
    asks_with(NULL, (const char *const[]){ "X-Session-Id", "00000000000000000000000000000000",
                                           "x-session-USER", "eve", "X_Session_User", "eve", "X-Session_id",
                                           "1", "X-Sessions", "kept", NULL });
    char wanted[200];
    snprintf(wanted, sizeof wanted, "X-Sessions=kept X-Session-Id=%s", id);
    assert_string_equal(heard, wanted);
    close_route();
}

static void what_servers_say_reaches_no_client(void **unused)
{
    (void)unused;
    open_route("on");
    answers[0] = "X-Session-Note";
    answers[1] = "secret";
    answers[2] = "x_session_set";
    answers[3] = "a=b";
    answers[4] = NULL;
    asks_with(NULL, NULL);
    assert_string_equal(left, "Cache-Control=private ");
    ledger_gone = true;
    assert_int_equal(asks(), 503);
    close_route();
    open_route("{without_ledger: pass}");
    server_answers("X-Session-Set", "a=b");
    ledger_gone = true;
    assert_int_equal(asks_with(NULL, NULL), 200);
    assert_string_equal(left, "");
    assert_string_equal(heard, "");
    close_route();
}

static void a_server_ends_it(void **unused)
{
    (void)unused;
    char first[300], key[60];
    open_route("on");
    asks_with(NULL, NULL);
    memcpy(first, cookie, sizeof first);
    snprintf(key, sizeof key, "session:%s", id);
    answers[0] = "X-Session-End";
    answers[1] = "1";
    answers[2] = "X-Session-Set";
    answers[3] = "a=b";
    answers[4] = NULL;
    asks();
    assert_string_equal(cookie, "weir_session=");
    assert_string_equal(attributes, "Path=/; Max-Age=0; SameSite=Lax; HttpOnly");
    KV_SAYS("0", EXISTS, 0, 0, key);
    answers[0] = NULL;
    asks_with(first, NULL); /* the old cookie brings nothing back */
    assert_null(strstr(key, id));
    assert_int_equal(counted(METRIC_ENDED), 1);
    close_route();
}

/* Against fixation: whoever knew the id, or the cookie, before the login knows nothing after it. */
static void a_new_id_takes_the_values_along(void **unused)
{
    (void)unused;
    char before[300], key[60];
    open_route("{pass: [cart, user]}");
    server_answers("X-Session-Set", "cart=3");
    asks_with(NULL, NULL);
    memcpy(before, cookie, sizeof before);
    snprintf(key, sizeof key, "session:%s", id);
    answers[0] = "X-Session-New-Id";
    answers[1] = "1";
    answers[2] = "X-Session-Set";
    answers[3] = "user=ann";
    answers[4] = NULL;
    asks();
    assert_string_not_equal(cookie, before);
    assert_null(strstr(key, id));
    KV_SAYS("0", EXISTS, 0, 0, key);
    answers[0] = NULL;
    asks();
    HEARD("X-Session-cart=3 X-Session-user=ann");
    asks_with(before, NULL);
    assert_null(strstr(heard, "ann"));
    assert_int_equal(counted(METRIC_MOVED), 1);
    close_route();
}

/* The session ends while the server works: what it sets is in none, and none comes back. */
static void what_has_ended_does_not_come_back(void **unused)
{
    (void)unused;
    char key[60];
    open_route("on");
    asks_with(NULL, NULL);
    snprintf(key, sizeof key, "session:%s", id);
    for (unsigned i = 0; i < 2; i++) {
        answers[0] = "X-Session-Set";
        answers[1] = "a=b";
        answers[2] = i ? "X-Session-New-Id" : NULL;
        answers[3] = "1";
        answers[4] = NULL;
        struct session_filter *f = state;
        struct exchange x;
        fake_exchange_open(&x);
        struct visit v = { .f = f, .x = &x };
        assert_int_equal(make(&v, BYTES_NONE), OK);
        struct session_change c = { .sets = { { BYTES("a"), BYTES("b") } }, .sets_count = 1, .new_id = i };
        snprintf(key, sizeof key, "session:%.*s", BYTES_ARG(v.s.id));
        assert_int_equal(session_store_end(&f->store, &x.arena, v.s.id), OK);
        assert_int_equal(apply(&v, &c), OK);
        assert_int_equal(v.s.id.len, 0);
        assert_false(v.tell);
        KV_SAYS("0", EXISTS, 0, 0, key);
        fake_exchange_close(&x);
    }
    assert_int_equal(counted(METRIC_LOST), 2);
    close_route();
}

static char others_key[60];

static void other_sets_a_value(void)
{
    KV_SAYS("1", HSET, 0, 0, others_key, "other", "x");
}

/* Another request of the session sets a value while it gets its new id: that goes along. */
static void a_new_id_loses_nothing(void **unused)
{
    (void)unused;
    char key[60];
    open_route("on");
    asks_with(NULL, NULL);
    snprintf(others_key, sizeof others_key, "session:%s", id);
    server_answers("X-Session-New-Id", "1");
    others_do = other_sets_a_value;
    others_turn = 3; /* it was found, and read to be moved */
    asks();
    assert_int_equal(others_turn, 0);
    snprintf(key, sizeof key, "session:%s", id);
    KV_SAYS("x", HGET, 0, 0, key, "other");
    KV_SAYS("0", EXISTS, 0, 0, others_key);
    close_route();
}

/* Sessions with other keys are others' sessions, whatever the secret. */
static void a_cookie_is_good_for_its_keys(void **unused)
{
    (void)unused;
    const struct session_secrets s = { .at = { BYTES("a secret of sixteen") }, .count = 1 };
    char text[SESSION_COOKIE_BYTES];
    const struct bytes t = { text, sizeof text };
    struct bytes whose;
    uint64_t issued_s;
    unsigned secret;
    session_cookie_write(&s, BYTES("a:"), BYTES("0123456789abcdef0123456789abcdef"), 4711, text);
    assert_true(session_cookie_read(&s, BYTES("a:"), t, &whose, &issued_s, &secret));
    assert_bytes_equal(whose, BYTES("0123456789abcdef0123456789abcdef"));
    assert_int_equal(issued_s, 4711);
    assert_false(session_cookie_read(&s, BYTES("b:"), t, &whose, &issued_s, &secret));
    assert_false(session_cookie_read(&s, BYTES("a:"), (struct bytes){ text, sizeof text - 1 }, &whose,
                                     &issued_s, &secret));
}

static void none_is_made_until_a_server_sets_a_value(void **unused)
{
    (void)unused;
    open_route("{create: when_set, pass: [user]}");
    const unsigned before = asked;
    asks_with(NULL, NULL);
    assert_int_equal(asked, before + 1); /* for the secret */
    assert_string_equal(heard, "");
    assert_string_equal(attributes, "");
    asks_with(NULL, NULL);
    assert_int_equal(asked, before + 1);
    server_answers("X-Session-Remove", "user");
    asks_with(NULL, NULL);
    server_answers("X-Session-End", "1");
    asks_with(NULL, NULL);
    assert_int_equal(counted(METRIC_MADE), 0);
    server_answers("X-Session-Set", "user=ann");
    asks_with(NULL, NULL);
    assert_string_equal(variable, "ann");
    assert_int_equal(counted(METRIC_MADE), 1);
    answers[0] = NULL;
    asks();
    HEARD("X-Session-user=ann");
    close_route();
}

static void what_no_session_can_do_is_refused(void **unused)
{
    (void)unused;
    static char large[400] = "a=";
    static const char *const wrong[] = { "novalue", "=x", "id=x", "ID=x", "@made=1", "a b=c", large };
    memset(large + 2, 'x', sizeof large - 3);
    open_route("{values_bytes_max: 256}");
    asks_with(NULL, NULL);
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const unsigned before = kt.log_count;
        server_answers("X-Session-Set", wrong[i]);
        assert_int_equal(asks(), 502);
        assert_non_null(strstr(said, "\"reason\""));
        assert_int_equal(kt.log_count, before);
    }
    server_answers("X-Session-Remove", "@made");
    assert_int_equal(asks(), 502);
    for (unsigned i = 0; i < 20; i++) { /* the same one again and again is no larger session */
        server_answers("X-Session-Set", "a=0123456789012345678901234567890123456789");
        assert_int_equal(asks(), 200);
    }
    close_route();
}

/* A server that failed says nothing about the client: it keeps the session that it was given. */
static void the_cookie_comes_with_a_failure_too(void **unused)
{
    (void)unused;
    open_route("on");
    fake.chain_result = ERR_REFUSED;
    fake.on_chain = NULL;
    assert_int_equal(asks_with(NULL, NULL), 502);
    assert_int_not_equal(strlen(attributes), 0);
    fake.chain_result = OK;
    fake.on_chain = serve;
    asks();
    assert_int_equal(counted(METRIC_FOUND), 1);
    close_route();
}

static void a_cookie_that_is_kept_is_renewed(void **unused)
{
    (void)unused;
    open_route("{ttl: 32m, cookie: {name: __Host-s, secure: on, keep: on, same_site: strict}}");
    asks_with(NULL, NULL);
    assert_string_equal(attributes, "Path=/; Max-Age=1920; SameSite=Strict; HttpOnly; Secure");
    kt.now_ms += 119000;
    asks();
    assert_string_equal(attributes, "");
    kt.now_ms += 1000;
    asks();
    assert_string_equal(attributes, "Path=/; Max-Age=1920; SameSite=Strict; HttpOnly; Secure");
    asks();
    assert_string_equal(attributes, "");
    close_route();
}

static void a_large_one_is_read_whole(void **unused)
{
    (void)unused;
    static char text[8000];
    open_route("{pass: [big]}");
    snprintf(text, sizeof text, "big=%07900d", 7);
    server_answers("X-Session-Set", text);
    assert_int_equal(asks_with(NULL, NULL), 200);
    answers[0] = NULL;
    struct exchange x;
    fake_exchange_open(&x);
    struct session s;
    bool found;
    const struct session_filter *f = state;
    const struct bytes name = { cookie + strlen("weir_session="), SESSION_ID_BYTES };
    assert_int_equal(session_store_load(&f->store, &x.arena, name, &s, &found), OK);
    assert_true(found);
    assert_int_equal(session_find(&s, BYTES("big")).len, 7900);
    fake_exchange_close(&x);
    close_route();
}

static void secrets_are_replaced_one_after_the_other(void **unused)
{
    (void)unused;
    char conf[200], path[] = "/tmp/session_test.XXXXXX", first[40];
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "the first of all secrets\n", 25, 0), 25);
    snprintf(conf, sizeof conf, "{secret_file: %s}", path);
    open_route(conf);
    asks_with(NULL, NULL);
    memcpy(first, id, sizeof first);
    assert_int_equal(pwrite(fd, "another one that is new\nthe first of all secrets\n", 49, 0), 49);
    reopen();
    asks();
    assert_string_equal(id, first);
    assert_int_not_equal(strlen(attributes), 0); /* signed anew */
    assert_int_equal(ftruncate(fd, 24), 0);
    reopen();
    asks();
    assert_string_equal(id, first);
    assert_string_equal(attributes, "");
    assert_int_equal(pwrite(fd, "a third one, not the same", 25, 0), 25);
    reopen();
    asks();
    assert_string_not_equal(id, first);
    close_route();
    unlink(path);
    close(fd);
}

static void what_cannot_work_is_refused(void **unused)
{
    (void)unused;
    const struct filter *f = &session_filter;
    assert_refused(f, "match: /\nsession: {ttl: 10ms}\n", "1s to");
    assert_refused(f, "match: /\nsession: {cookie: off}\n", "without one there are no sessions");
    assert_refused(f, "match: /\nsession: {cookie: {name: \"a b\"}}\n", "no cookie can be called that");
    assert_refused(f, "match: /\nsession: {cookie: {path: x}}\n", "begins with /");
    assert_refused(f, "match: /\nsession: {cookie: {domain: \"a;b\"}}\n", "no host");
    assert_refused(f, "match: /\nsession: {cookie: {same_site: none}}\n", "secure: on");
    assert_refused(f, "match: /\nsession: {cookie: __Secure-x}\n", "secure: on");
    assert_refused(f, "match: /\nsession: {cookie: {name: __Host-x, secure: on, path: /a}}\n", "path /");
    assert_refused(f, "match: /\nsession: {pass: [id]}\n", "not id");
    assert_refused(f, "match: /\nsession: {pass: [a, A]}\n", "same header field");
    assert_refused(f, "match: /\nsession: {header: \"X Y\"}\n", "header");
    assert_refused(f, "match: /\nsession: {keys: \"weir:x\"}\n", "weir's own");
    assert_refused(f, "match: /\nsession: {user: \"@made\"}\n", "user");
    assert_refused(f, "match: /\nsession: {renew: off, age_max: 1h}\n", "never older");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_without_one_gets_one_and_keeps_it),
        cmocka_unit_test(a_request_does_not_write),
        cmocka_unit_test(a_fixed_time_ends_however_much_it_is_used),
        cmocka_unit_test(an_old_one_ends),
        cmocka_unit_test(what_weir_has_not_signed_is_no_cookie),
        cmocka_unit_test(a_server_sets_values_and_takes_them_out),
        cmocka_unit_test(what_clients_say_reaches_no_server),
        cmocka_unit_test(what_servers_say_reaches_no_client),
        cmocka_unit_test(a_server_ends_it),
        cmocka_unit_test(a_new_id_takes_the_values_along),
        cmocka_unit_test(what_has_ended_does_not_come_back),
        cmocka_unit_test(a_new_id_loses_nothing),
        cmocka_unit_test(a_cookie_is_good_for_its_keys),
        cmocka_unit_test(none_is_made_until_a_server_sets_a_value),
        cmocka_unit_test(what_no_session_can_do_is_refused),
        cmocka_unit_test(the_cookie_comes_with_a_failure_too),
        cmocka_unit_test(a_cookie_that_is_kept_is_renewed),
        cmocka_unit_test(a_large_one_is_read_whole),
        cmocka_unit_test(secrets_are_replaced_one_after_the_other),
        cmocka_unit_test(what_cannot_work_is_refused),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    return 0;
}
#endif
