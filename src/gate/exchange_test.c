#include "gate/exchange.h"

#include "gate/gate_test.h"

static struct gate *begin(struct exchange *x)
{
    struct gate *g = gate_test_use("listen: :1\nroutes: [{match: /, service: a}]\n"
                                   "services: {a: {servers: 10.0.0.1:80}}\n");
    exchange_prepare(x, g);
    return g;
}

struct noted {
    struct body body;
    unsigned closed;
};

static void note_close(struct body *b)
{
    container_of(b, struct noted, body)->closed++;
}

static const struct body_ops noted_ops = { .close = note_close };

static char run_order[8];
static const struct noted *must_be_closed;

static void note_run(struct exchange *x, void *arg)
{
    size_t at = strlen(run_order);
    must(x->gate && must_be_closed->closed == 1);
    run_order[at] = *(char *)arg;
}

static void its_life(void)
{
    struct exchange x;
    struct gate *g = begin(&x);
    struct noted request = { .body.ops = &noted_ops };
    struct noted response = { .body.ops = &noted_ops };
    must(g->holds == 2 && x.deadline_us == DEADLINE_NONE && x.replayable && x.start_us == worker_now_us());
    must(strcmp(x.scheme, "http") == 0);
    x.request_body = &request.body;
    x.response_body = &response.body;
    must_be_closed = &response;
    memset(run_order, 0, sizeof run_order);
    must(exchange_on_end(&x, note_run, "a") == OK);
    must(exchange_on_end(&x, note_run, "b") == OK);
    exchange_release(&x);
    must(request.closed == 1 && response.closed == 1);
    must(strcmp(run_order, "ba") == 0); /* last added first */
    must(g->holds == 1);
    gate_test_end();
}
TEST(its_life)

static void expect_body(struct exchange *x, const char *text)
{
    struct bytes in;
    struct body *b = x->response_body;
    must(b && b->length == strlen(text));
    must(body_pull(b, 0, &in) == OK && bytes_eq(in, bytes_from(text)));
    if (in.len > 1) {
        body_give(b, 1);
        must(body_pull(b, 0, &in) == OK && bytes_eq(in, bytes_from(text + 1)));
    }
    body_give(b, in.len);
    must(body_pull(b, 0, &in) == OK && in.len == 0);
    uint64_t left;
    must(!body_raw(b, &left));
}

static void answers(void)
{
    struct exchange x;
    begin(&x);
    struct noted earlier = { .body.ops = &noted_ops };
    x.response_body = &earlier.body;
    must(http_fields_add(&x.response.fields, &x.arena, BYTES("X-Old"), BYTES("1")) == OK);
    exchange_answer(&x, 403, BYTES("application/json"), BYTES("{}"), BYTES("test"));
    must(earlier.closed == 1);
    must(x.response.status == 403 && x.response.framing == HTTP_BODY_LENGTH &&
         x.response.content_length == 2);
    must(!http_fields_find(&x.response.fields, BYTES("X-Old")));
    must(bytes_eq(http_field_value(http_fields_get(&x.response.fields, FIELD_CONTENT_TYPE)),
                  BYTES("application/json")));
    must(bytes_eq(x.answered_by, BYTES("test")));
    expect_body(&x, "{}");
    exchange_answer(&x, 503, BYTES_NONE, BYTES_NONE, BYTES("test"));
    must(bytes_eq(http_field_value(http_fields_get(&x.response.fields, FIELD_CONTENT_TYPE)),
                  BYTES("text/plain; charset=utf-8")));
    expect_body(&x, "503 Service Unavailable\n");
    exchange_release(&x);
    gate_test_end();
}
TEST(answers)

static void without_memory(void)
{
    struct exchange x;
    begin(&x);
    x.arena.taken_max = 0; /* used up */
    must(exchange_on_end(&x, note_run, "a") == ERR_LIMIT && !x.hooks);
    exchange_answer(&x, 503, BYTES_NONE, BYTES_NONE, BYTES("test")); /* the status alone has to do */
    must(x.response.status == 503 && !x.response_body && x.response.framing == HTTP_BODY_NONE);
    exchange_release(&x);
    gate_test_end();
}
TEST(without_memory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_its_life),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, gate_test_setup, gate_test_teardown);
}
