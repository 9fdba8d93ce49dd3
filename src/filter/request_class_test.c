#include "filter/fakes_test.h"
/* first the fakes */
#define gate_weight_of fake_weight_of
uint32_t fake_weight_of(const struct gate *g, struct bytes class);
#include "filter/request_class.c"

#include "base/test.h"

uint32_t fake_weight_of(const struct gate *g, struct bytes class)
{
    (void)g;
    return bytes_eq(class, BYTES("report")) ? 20 : bytes_eq(class, BYTES("page")) ? 1 : 0;
}

static struct request_class *opened(const struct request_class_conf *conf)
{
    void *state;
    assert_int_equal(request_class_filter.open(conf, NULL, BYTES("/reports/*"), &state, NULL), OK);
    return state;
}

static uint32_t weight_of(struct request_class *s, const char *value)
{
    struct exchange x;
    struct http_field field = { .name = "x-class", .name_len = 7, .value = value };
    fake_exchange_open(&x);
    x.weight = 1;
    if (value) {
        field.value_len = (uint32_t)strlen(value);
        x.request.fields = (struct http_fields){ &field, 1, 1 };
    }
    fake.chained = 0;
    assert_int_equal(request_class_filter.handle(&x, s, NULL), OK);
    assert_int_equal(fake.chained, 1);
    fake_exchange_close(&x);
    return x.weight;
}

static void the_route_names_the_class(void **unused)
{
    (void)unused;
    const struct request_class_conf conf = { .class = BYTES("report") };
    struct request_class *s = opened(&conf);
    assert_int_equal(weight_of(s, NULL), 20);
    assert_int_equal(weight_of(s, "page"), 20);
    assert_int_equal(metric_value(s->metrics, METRIC_WEIGHT), 40);
    assert_int_equal(metric_value(s->metrics, METRIC_HEAVY), 2);
    request_class_filter.close(s);
}

static void a_field_names_the_class(void **unused)
{
    (void)unused;
    struct request_class_conf conf = { .by_text = BYTES("header X-Class") };
    assert_int_equal(request_class_check(&conf, NULL), OK);
    struct request_class *s = opened(&conf);
    assert_int_equal(weight_of(s, "report"), 20);
    assert_int_equal(weight_of(s, "page"), 1);
    assert_int_equal(weight_of(s, "elephant"), 1);
    assert_int_equal(weight_of(s, ""), 1);
    assert_int_equal(weight_of(s, NULL), 1);
    assert_int_equal(metric_value(s->metrics, METRIC_HEAVY), 1);
    assert_int_equal(metric_value(s->metrics, METRIC_WEIGHT), 24);
    request_class_filter.close(s);
}

static void one_of_the_two_is_wanted(void **unused)
{
    (void)unused;
    struct request_class_conf conf = { 0 };
    struct diag d = DIAG_NONE;
    assert_int_equal(request_class_check(&conf, &d), ERR_CONF);
    assert_non_null(strstr(d.text, "one of the two"));
    conf = (struct request_class_conf){ .class = BYTES("report"), .by_text = BYTES("ip") };
    assert_int_equal(request_class_check(&conf, NULL), ERR_CONF);
    conf = (struct request_class_conf){ .by_text = BYTES("shoe") };
    assert_int_equal(request_class_check(&conf, NULL), ERR_CONF);
}

int main(void)
{
    metrics_init(1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_route_names_the_class),
        cmocka_unit_test(a_field_names_the_class),
        cmocka_unit_test(one_of_the_two_is_wanted),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    metrics_close();
    return failed;
}
