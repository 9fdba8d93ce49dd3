#define fiber_spawn fake_fiber_spawn
#define gate_service fake_gate_service
#define exchange_prepare fake_exchange_prepare
#define exchange_release fake_exchange_release
#define body_memory_init fake_body_memory_init
#define proxy_handle fake_proxy_handle
#define random_u64 fake_random_u64
#include "filter/fakes_test.h"
/* first the fakes */
#include <stdio.h>

#include "base/hash.h"
#include "core/fiber.h"

static struct {
    void (*fn[8])(void *arg);
    void *arg[8];
    unsigned count;
} spawned;

void fake_fiber_spawn(void (*fn)(void *arg), void *arg)
{
    must(spawned.count < 8);
    spawned.fn[spawned.count] = fn;
    spawned.arg[spawned.count++] = arg;
}

static struct service *shadow_service = (struct service *)&spawned;
static unsigned exchanges_open;
static void (*on_release)(void);

struct service *fake_gate_service(struct gate *g, struct bytes name)
{
    (void)g;
    must(bytes_eq(name, BYTES("shadow")));
    return shadow_service;
}

void fake_exchange_prepare(struct exchange *x, struct gate *g)
{
    fake_exchange_open(x);
    x->gate = g;
    exchanges_open++;
}

void fake_exchange_release(struct exchange *x)
{
    body_close(x->response_body);
    body_close(x->request_body);
    fake_exchange_close(x);
    exchanges_open--;
    if (on_release)
        on_release();
}

struct body *fake_body_memory_init(struct body_memory *m, struct bytes content)
{
    *m = (struct body_memory){ .left = content };
    static const struct body_ops none;
    m->body.ops = &none;
    return &m->body;
}

static err (*proxy)(struct exchange *x);

err fake_proxy_handle(struct exchange *x)
{
    return proxy(x);
}

static uint64_t drawn;
uint64_t fake_random_u64(void)
{
    return drawn;
}

#include "filter/mirror.c"

#include "base/test.h"

/* ---- a body that comes in pieces ---- */

struct pieces {
    struct body body;
    const char *const *piece;
    size_t taken;
    bool closed;
};

static err pieces_pull(struct body *b, uint64_t deadline_us, struct bytes *ret_bytes)
{
    (void)deadline_us;
    struct pieces *p = container_of(b, struct pieces, body);
    *ret_bytes = *p->piece ? bytes_skip(bytes_from(*p->piece), p->taken) : BYTES_NONE;
    return OK;
}

static void pieces_give(struct body *b, size_t n)
{
    struct pieces *p = container_of(b, struct pieces, body);
    p->taken += n;
    if (p->taken == strlen(*p->piece)) {
        p->piece++;
        p->taken = 0;
    }
}

static struct io *pieces_raw(struct body *b, uint64_t *ret_left)
{
    (void)b;
    *ret_left = 7;
    return (struct io *)&spawned;
}

static void pieces_close(struct body *b)
{
    container_of(b, struct pieces, body)->closed = true;
}

static const struct body_ops pieces_ops = {
    .pull = pieces_pull, .give = pieces_give, .raw = pieces_raw, .close = pieces_close
};

static struct pieces pieces_of(const char *const *piece, uint64_t length)
{
    return (struct pieces){ .body = { .ops = &pieces_ops, .length = length }, .piece = piece };
}

/* ---- */

static struct mirror_conf conf;
static struct mirror *mirror;
static struct exchange x;

static int begin(void **state)
{
    (void)state;
    metrics_init(1);
    conf = (struct mirror_conf){ .percent = 1,
                                 .service = BYTES("shadow"),
                                 .body_bytes_max = 16,
                                 .answer_bytes_max = 16,
                                 .timeout_ms = 100,
                                 .in_flight_max = 2 };
    drawn = 0;
    spawned.count = 0;
    on_release = NULL;
    fake.chained = 0;
    fake.on_chain = NULL;
    void *m = NULL;
    assert_int_equal(mirror_open(&conf, NULL, BYTES("/"), &m, NULL), OK);
    mirror = m;
    return 0;
}

static int end(void **state)
{
    (void)state;
    assert_int_equal(exchanges_open, 0);
    mirror = NULL; /* so that one that was not freed is found by LeakSanitizer */
    memset(&spawned, 0, sizeof spawned);
    metrics_close();
    return 0;
}

static void run_spawned(void)
{
    for (unsigned i = 0; i < spawned.count; i++)
        spawned.fn[i](spawned.arg[i]);
    spawned.count = 0;
}

static void request(const char *target, struct pieces *body)
{
    fake_exchange_open(&x);
    x.request = (struct http_request){ .method = HTTP_POST,
                                       .method_text = BYTES("POST"),
                                       .target = bytes_from(target),
                                       .path = bytes_from(target),
                                       .authority = BYTES("shop.example") };
    assert_int_equal(http_fields_add(&x.request.fields, &x.arena, BYTES("X-A"), BYTES("1")), OK);
    assert_int_equal(http_fields_add(&x.request.fields, &x.arena, BYTES("Expect"), BYTES("100-continue")),
                     OK);
    x.request_id = BYTES("id-1");
    if (body) {
        x.request.framing = body->body.length == BODY_LENGTH_UNKNOWN ? HTTP_BODY_CHUNKED : HTTP_BODY_LENGTH;
        x.request.content_length = body->body.length;
        x.request_body = &body->body;
    }
    assert_int_equal(mirror_handle(&x, mirror, NULL), OK);
}

/* Pulls the body as the proxy does, at most `step` bytes at a time, and says what came. */
static struct bytes read_body(size_t step)
{
    static char out[64];
    size_t len = 0;
    struct bytes data;
    while (body_pull(x.request_body, 0, &data) == OK && data.len) {
        const size_t n = data.len < step ? data.len : step;
        memcpy(out + len, data.ptr, n);
        len += n;
        body_give(x.request_body, n);
    }
    return (struct bytes){ out, len };
}

static void request_end(void)
{
    body_close(x.request_body);
    fake_exchange_close(&x);
}

static uint64_t counted(enum mirror_metric i)
{
    return metric_value(mirror->metrics, i);
}

/* ---- tests ---- */

static struct {
    unsigned calls;
    char body[64], target[64], fields[128];
} seen;

static err server_sees(struct exchange *copy)
{
    seen.calls++;
    assert_ptr_equal(copy->service, shadow_service);
    assert_int_equal(copy->deadline_us, fake.now_us + 100000);
    assert_bytes_equal(copy->request_id, BYTES("id-1"));
    assert_bytes_equal(copy->request.authority, BYTES("shop.example"));
    assert_false(copy->request.expect_continue);
    const struct bytes body =
        copy->request_body ? container_of(copy->request_body, struct body_memory, body)->left : BYTES_NONE;
    assert_int_equal(body.len, copy->request.content_length);
    assert_int_equal(copy->request.framing, body.len ? HTTP_BODY_LENGTH : HTTP_BODY_NONE);
    snprintf(seen.body, sizeof seen.body, "%.*s", BYTES_ARG(body));
    snprintf(seen.target, sizeof seen.target, "%.*s|%.*s", BYTES_ARG(copy->request.target),
             BYTES_ARG(copy->request.path));
    seen.fields[0] = 0;
    for (uint32_t i = 0; i < copy->request.fields.count; i++) {
        const struct http_field *f = &copy->request.fields.at[i];
        snprintf(seen.fields + strlen(seen.fields), sizeof seen.fields - strlen(seen.fields), "%.*s=%.*s ",
                 BYTES_ARG(http_field_name(f)), BYTES_ARG(http_field_value(f)));
    }
    return OK;
}

static void a_request_without_a_body_is_copied_at_once(void **state)
{
    (void)state;
    seen.calls = 0;
    proxy = server_sees;
    char target[] = "/buy?n=1";
    request(target, NULL);
    assert_int_equal(fake.chained, 1);
    request_end();
    memset(target, 'x', sizeof target - 1); /* the copy outlives it */
    run_spawned();
    assert_int_equal(seen.calls, 1);
    assert_string_equal(seen.target, "/buy?n=1|/buy?n=1");
    assert_string_equal(seen.fields, "X-A=1 X-Weir-Mirror=1 ");
    assert_int_equal(counted(METRIC_SENT), 1);
    mirror_close(mirror);
}

static void a_body_is_copied_as_it_passes(void **state)
{
    (void)state;
    static const char *const piece[] = { "hello ", "wor", "ld", NULL };
    proxy = server_sees;
    for (int chunked = 0; chunked < 2; chunked++) {
        for (size_t step = 1; step < 8; step++) {
            seen.calls = 0;
            struct pieces body = pieces_of(piece, chunked ? BODY_LENGTH_UNKNOWN : 11);
            request("/", &body);
            assert_int_equal(spawned.count, 0);
            assert_bytes_equal(read_body(step), BYTES("hello world"));
            assert_int_equal(spawned.count, 1);
            request_end();
            assert_true(body.closed);
            run_spawned();
            assert_int_equal(seen.calls, 1);
            assert_string_equal(seen.body, "hello world");
        }
    }
    mirror_close(mirror);
}

static err server_gets_much(struct exchange *copy)
{
    const struct bytes body = container_of(copy->request_body, struct body_memory, body)->left;
    seen.calls++;
    assert_int_equal(body.len, 9000);
    for (size_t i = 0; i < body.len; i++)
        assert_int_equal(body.ptr[i], 'a' + (char)(i % 23));
    return OK;
}

static void a_body_of_unknown_length_makes_room_as_it_comes(void **state)
{
    (void)state;
    char content[9001] = { 0 };
    for (size_t i = 0; i < 9000; i++)
        content[i] = 'a' + (char)(i % 23);
    const char *const piece[] = { content, NULL };
    struct pieces body = pieces_of(piece, BODY_LENGTH_UNKNOWN);
    conf.body_bytes_max = 9000;
    seen.calls = 0;
    proxy = server_gets_much;
    request("/", &body);
    struct bytes data;
    while (body_pull(x.request_body, 0, &data) == OK && data.len)
        body_give(x.request_body, data.len < 1000 ? data.len : 1000);
    request_end();
    run_spawned();
    assert_int_equal(seen.calls, 1);
    mirror_close(mirror);
}

/* The proxy that is told a length stops pulling when it has got that. */
static void a_body_of_known_length_is_whole_without_its_end(void **state)
{
    (void)state;
    static const char *const piece[] = { "0123456789", NULL };
    struct pieces body = pieces_of(piece, 10);
    proxy = server_sees;
    request("/", &body);
    struct bytes data;
    assert_int_equal(body_pull(x.request_body, 0, &data), OK);
    body_give(x.request_body, 4); /* two gives of one pull */
    body_give(x.request_body, 6);
    assert_int_equal(spawned.count, 1);
    request_end();
    run_spawned();
    assert_string_equal(seen.body, "0123456789");
    mirror_close(mirror);
}

static void a_body_that_is_too_long_is_not_copied(void **state)
{
    (void)state;
    static const char *const piece[] = { "0123456789", "0123456789", NULL };
    uint64_t left;
    struct pieces said = pieces_of(piece, 20);
    request("/", &said);
    assert_non_null(body_raw(x.request_body, &left));
    assert_int_equal(read_body(20).len, 20);
    request_end();
    assert_int_equal(counted(METRIC_TOO_LONG), 1);

    struct pieces unsaid = pieces_of(piece, BODY_LENGTH_UNKNOWN);
    request("/", &unsaid);
    assert_null(body_raw(x.request_body, &left)); /* while it is copied it must not pass by the side */
    assert_int_equal(read_body(10).len, 20);
    assert_non_null(body_raw(x.request_body, &left));
    request_end();
    assert_int_equal(counted(METRIC_TOO_LONG), 2);
    assert_int_equal(spawned.count, 0);
    mirror_close(mirror);
}

static void a_body_that_is_not_read_whole_is_not_copied(void **state)
{
    (void)state;
    static const char *const piece[] = { "01234", "56789", NULL };
    struct pieces body = pieces_of(piece, 10);
    request("/", &body);
    struct bytes data;
    assert_int_equal(body_pull(x.request_body, 0, &data), OK);
    body_give(x.request_body, data.len);
    request_end();
    assert_int_equal(spawned.count, 0);
    assert_int_equal(counted(METRIC_UNFINISHED), 1);
    mirror_close(mirror);
}

static void only_so_many_are_under_way(void **state)
{
    (void)state;
    proxy = server_sees;
    for (int i = 0; i < 5; i++) {
        request("/", NULL);
        request_end();
    }
    assert_int_equal(spawned.count, 2);
    assert_int_equal(counted(METRIC_BUSY), 3);
    run_spawned();
    request("/", NULL);
    request_end();
    assert_int_equal(spawned.count, 1);
    run_spawned();
    mirror_close(mirror);
}

static void a_share_is_drawn(void **state)
{
    (void)state;
    conf.percent = 0.3;
    proxy = server_sees;
    drawn = (uint64_t)(0.299 * 0x1p64);
    request("/", NULL);
    request_end();
    assert_int_equal(spawned.count, 1);
    drawn = (uint64_t)(0.301 * 0x1p64);
    request("/", NULL);
    request_end();
    assert_int_equal(spawned.count, 1);
    conf.percent = 1;
    drawn = UINT64_MAX;
    request("/", NULL);
    request_end();
    assert_int_equal(spawned.count, 2);
    run_spawned();
    conf.percent = 0;
    drawn = 0;
    request("/", NULL);
    request_end();
    assert_int_equal(spawned.count, 0);
    mirror_close(mirror);
}

static void a_copy_is_not_copied_again(void **state)
{
    (void)state;
    fake_exchange_open(&x);
    x.request =
        (struct http_request){ .method = HTTP_GET, .method_text = BYTES("GET"), .target = BYTES("/") };
    assert_int_equal(http_fields_add(&x.request.fields, &x.arena, BYTES("x-weir-mirror"), BYTES("1")), OK);
    assert_int_equal(mirror_handle(&x, mirror, NULL), OK);
    assert_int_equal(spawned.count, 0);
    x.request.fields.count = 0;
    x.request.upgrade = true;
    assert_int_equal(mirror_handle(&x, mirror, NULL), OK);
    assert_int_equal(spawned.count, 0);
    assert_int_equal(fake.chained, 2);
    request_end();
    mirror_close(mirror);
}

static struct pieces answer;

static err server_answers(struct exchange *copy)
{
    copy->response_body = &answer.body;
    return OK;
}

static err server_fails(struct exchange *copy)
{
    (void)copy;
    return ERR_REFUSED;
}

static void answers_are_dropped_with_a_bound(void **state)
{
    (void)state;
    static const char *const piece[] = { "0123456789", "0123456789", "0123456789", NULL };
    answer = pieces_of(piece, 30);
    proxy = server_answers;
    request("/", NULL);
    request_end();
    run_spawned();
    assert_ptr_equal(answer.piece, piece + 2);
    assert_true(answer.closed);
    assert_int_equal(counted(METRIC_SENT), 1);

    proxy = server_fails;
    request("/", NULL);
    request_end();
    run_spawned();
    assert_int_equal(counted(METRIC_FAILED), 1);
    mirror_close(mirror);
}

static void close_mirror(void)
{
    mirror_close(mirror);
}

/* The copy's exchange was the last of its generation: the mirror is closed by its release. */
static void the_last_copy_outlives_its_generation(void **state)
{
    (void)state;
    proxy = server_fails;
    request("/", NULL);
    request_end();
    on_release = close_mirror;
    run_spawned();
}

static void no_memory_is_said(void **state)
{
    (void)state;
    err e = ERR_MEMORY;
    for (uint64_t n = 1; e; n++) {
        void *m = NULL;
        mem_fail_at(n);
        e = mirror_open(&conf, NULL, BYTES("/other"), &m, NULL);
        mem_fail_at(0);
        assert_true(e == OK || (e == ERR_MEMORY && n < 10));
        if (m)
            mirror_close(m);
    }
    mirror_close(mirror);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_without_a_body_is_copied_at_once),
        TEST(a_body_is_copied_as_it_passes),
        TEST(a_body_of_unknown_length_makes_room_as_it_comes),
        TEST(a_body_of_known_length_is_whole_without_its_end),
        TEST(a_body_that_is_too_long_is_not_copied),
        TEST(a_body_that_is_not_read_whole_is_not_copied),
        TEST(only_so_many_are_under_way),
        TEST(a_share_is_drawn),
        TEST(a_copy_is_not_copied_again),
        TEST(answers_are_dropped_with_a_bound),
        TEST(the_last_copy_outlives_its_generation),
        TEST(no_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
