#include "filter/fakes_test.h"
/* first the fakes */
#include "gate/gate_conf.h"
#include "gate/service.h"
#define service_ask fake_service_ask
#define gate_service fake_gate_service

static struct {
    unsigned asked;
    unsigned status;
    err result;
} backup;

static const struct service_conf backup_conf = { .timeout_ms = 1000 };
static struct service backup_service = { .conf = &backup_conf };

static err fake_service_ask(struct exchange *x)
{
    backup.asked++;
    must(x->service == &backup_service && x->response_body == NULL && x->response.status == 0);
    x->response.status = backup.result ? 0 : backup.status;
    return backup.result;
}

static struct service *fake_gate_service(struct gate *g, struct bytes name)
{
    (void)g;
    return bytes_eq(name, BYTES("backup")) ? &backup_service : NULL;
}
#include "filter/fallback.c"

#include <stdlib.h>

#include "base/test.h"

static struct bytes on[3];

static struct fallback_conf conf_of(const char *first, const char *second)
{
    on[0] = bytes_from(first);
    on[1] = bytes_from(second);
    return (struct fallback_conf){ .on = { on, second ? 2 : 1 }, .header = BYTES("X-Degraded") };
}

/* ---- what calls for it ---- */

static void statuses_and_names(void **state)
{
    (void)state;
    struct trigger t = { 0 };
    assert_true(trigger_add(&t, BYTES("503")));
    assert_true(trigger_add(&t, BYTES("4xx")));
    assert_true(trigger_add(&t, BYTES("rate_limit")));
    assert_false(trigger_add(&t, BYTES("200")));
    assert_false(trigger_add(&t, BYTES("600")));
    assert_false(trigger_add(&t, BYTES("3xx")));
    assert_false(trigger_add(&t, BYTES("mirror")));
    struct exchange x = { .response = { .status = 503 } };
    assert_true(calls_for(&t, &x, OK));
    x.response.status = 502;
    assert_false(calls_for(&t, &x, OK));
    assert_true(calls_for(&t, &x, ERR_UNAVAILABLE));
    assert_false(calls_for(&t, &x, ERR_REFUSED));
    x.response.status = 499;
    assert_true(calls_for(&t, &x, OK));
    x.response.status = 200;
    x.answered_by = BYTES("rate_limit");
    assert_true(calls_for(&t, &x, OK));
    x.request_failed = ERR_CLOSED;
    assert_false(calls_for(&t, &x, OK));
}

static void mistakes_are_named(void **state)
{
    (void)state;
    struct diag d = DIAG_NONE;
    struct fallback_conf c = conf_of("503", "teapot");
    c.status = 200;
    assert_int_equal(fallback_check(&c, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "teapot"));
    d = DIAG_NONE;
    c = conf_of("503", NULL);
    assert_int_equal(fallback_check(&c, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "needs a service"));
    d = DIAG_NONE;
    c.file = BYTES("/none/such");
    assert_int_equal(fallback_check(&c, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "/none/such"));
    c.body = BYTES("x");
    assert_int_equal(fallback_check(&c, &d), ERR_CONF);
    c = conf_of("503", NULL);
    c.body = BYTES("x");
    c.header = BYTES("no name");
    assert_int_equal(fallback_check(&c, &d), ERR_CONF);
}

/* ---- the filter ---- */

static struct exchange x;
static unsigned first_status;

static void first_answers(struct exchange *ex)
{
    ex->response.status = first_status;
}

/* Leaves the exchange open. */
static struct fallback *handled(const struct fallback_conf *c, unsigned status, err result, bool replayable,
                                err wanted)
{
    void *f = NULL;
    assert_int_equal(fallback_open(c, NULL, BYTES("/"), &f, NULL), OK);
    fake_exchange_open(&x);
    x.replayable = replayable;
    first_status = status;
    backup.asked = 0;
    fake.on_chain = first_answers;
    fake.chain_result = result;
    assert_int_equal(fallback_handle(&x, f, NULL), wanted);
    fake.chain_result = OK;
    return f;
}

static void done(struct fallback *f)
{
    fake_exchange_close(&x);
    fallback_close(f);
}

static void degraded(const char *why)
{
    const struct http_field *f = http_fields_find(&x.response.fields, BYTES("X-Degraded"));
    assert_bytes_equal(f ? http_field_value(f) : BYTES_NONE, bytes_from(why));
}

static void what_is_well_passes(void **state)
{
    (void)state;
    struct fallback_conf c = conf_of("5xx", NULL);
    c.service = BYTES("backup");
    struct fallback *f = handled(&c, 200, OK, true, OK);
    assert_int_equal(x.response.status, 200);
    assert_int_equal(backup.asked, 0);
    degraded(NULL);
    done(f);
}

static void another_service_answers(void **state)
{
    (void)state;
    struct fallback_conf c = conf_of("5xx", NULL);
    c.service = BYTES("backup");
    backup.status = 203;
    backup.result = OK;
    struct fallback *f = handled(&c, 500, OK, true, OK);
    assert_int_equal(x.response.status, 203);
    degraded("500");
    assert_int_equal(metric_value(f->metrics, METRIC_SERVICE), 1);
    done(f);
    f = handled(&c, 0, ERR_REFUSED, true, OK);
    degraded("502");
    done(f);
}

static void a_body_that_is_gone_cannot_be_sent_again(void **state)
{
    (void)state;
    struct fallback_conf c = conf_of("5xx", NULL);
    c.service = BYTES("backup");
    struct fallback *f = handled(&c, 500, OK, false, OK);
    assert_int_equal(x.response.status, 500);
    assert_int_equal(backup.asked, 0);
    assert_int_equal(metric_value(f->metrics, METRIC_IMPOSSIBLE), 1);
    done(f);
    c.status = 200;
    c.body = BYTES("sorry");
    f = handled(&c, 500, OK, false, OK);
    assert_int_equal(x.response.status, 200);
    assert_bytes_equal(x.answered_by, BYTES("fallback"));
    done(f);
}

static void when_that_fails_too_the_fixed_answer_is_left(void **state)
{
    (void)state;
    struct fallback_conf c = conf_of("5xx", NULL);
    c.service = BYTES("backup");
    backup.result = ERR_REFUSED;
    struct fallback *f = handled(&c, 500, OK, true, ERR_REFUSED);
    assert_int_equal(metric_value(f->metrics, METRIC_FAILED), 1);
    done(f);
    c.body = BYTES("sorry");
    f = handled(&c, 500, OK, true, OK);
    assert_int_equal(x.response.status, 200);
    degraded("500");
    assert_int_equal(metric_value(f->metrics, METRIC_ANSWER), 1);
    done(f);
    backup.result = OK;
    backup.status = 503;
    f = handled(&c, 500, OK, true, OK);
    assert_int_equal(x.response.status, 200);
    done(f);
}

static void a_file_is_read_when_it_is_opened(void **state)
{
    (void)state;
    char path[] = "/tmp/fallback_test_XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "degraded", 8) == 8);
    close(fd);
    struct fallback_conf c = conf_of("5xx", NULL);
    c.file = bytes_from(path);
    assert_int_equal(fallback_check(&c, NULL), OK);
    struct fallback *f = handled(&c, 500, OK, true, OK);
    assert_bytes_equal(f->body, BYTES("degraded"));
    assert_int_equal(x.response.status, 200);
    done(f);
    unlink(path);
    void *none;
    assert_int_equal(fallback_open(&c, NULL, BYTES("/"), &none, NULL), ERR_CONF);
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_and_names),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(what_is_well_passes),
        cmocka_unit_test(another_service_answers),
        cmocka_unit_test(a_body_that_is_gone_cannot_be_sent_again),
        cmocka_unit_test(when_that_fails_too_the_fixed_answer_is_left),
        cmocka_unit_test(a_file_is_read_when_it_is_opened),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
