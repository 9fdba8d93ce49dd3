#include "core/io_test.h"
#include "core/metrics.h"

#if WEIR_HAVE_NGTCP2
#include "net/quic_stateless.c"

static struct addr at(const char *text)
{
    struct addr a;
    must(addr_parse(bytes_from(text), &a) == OK);
    return a;
}

struct token_text {
    uint8_t at[128];
    size_t len;
};

static enum token judged(struct token_text *t, const ngtcp2_cid *id, const char *peer, ngtcp2_cid *original)
{
    struct addr a = at(peer);
    struct udp_local local = { 0 };
    const struct quic_datagram d = { .at = &a, .peer = &a, .local = &local };
    ngtcp2_pkt_hd hd = { .dcid = *id, .version = NGTCP2_PROTO_VER_V1 };
    quic_lib_hd_set_token(&hd, t->at, t->len);
    return check_token(&hd, &d, original);
}

static void setup_process(void)
{
    static const uint8_t secret[QUIC_SECRET_BYTES] = { 7 };
    static struct worker *self[1];
    if (quic_process_ready())
        return;
    self[0] = worker_self();
    quic_process_init(1, secret, self, 1);
}

static void a_retry_token_is_for_one_client_and_one_id(void)
{
    ngtcp2_cid first, ours, other, original = { 0 };
    struct addr peer = at("192.0.2.1:1000");
    struct token_text t;
    setup_process();
    ngtcp2_cid_init(&first, (const uint8_t *)"firstname", 9);
    ngtcp2_cid_init(&ours, (const uint8_t *)"0123456789abcdef", 16);
    ngtcp2_cid_init(&other, (const uint8_t *)"0123456789abcdeX", 16);
    ngtcp2_ssize len =
        ngtcp2_crypto_generate_retry_token(t.at, quic_token_key(), 32, NGTCP2_PROTO_VER_V1, &peer.sock.any,
                                           peer.len, &ours, &first, quic_wall_ns());
    must(len > 0);
    t.len = (size_t)len;
    must(judged(&t, &ours, "192.0.2.1:1000", &original) == TOKEN_RETRY);
    must(ngtcp2_cid_eq(&original, &first));
    must(judged(&t, &ours, "192.0.2.1:1001", &original) == TOKEN_WRONG);
    must(judged(&t, &ours, "192.0.2.2:1000", &original) == TOKEN_WRONG);
    must(judged(&t, &other, "192.0.2.1:1000", &original) == TOKEN_WRONG);
    for (size_t i = 1; i < t.len; i++) {
        t.at[i] ^= 1;
        must(judged(&t, &ours, "192.0.2.1:1000", &original) == TOKEN_WRONG);
        t.at[i] ^= 1;
    }
}

/* RFC 9000 8.1.3: it may come from another port; and one that is no good is none. */
static void a_token_of_before_is_for_one_address(void)
{
    ngtcp2_cid id, original;
    struct addr peer = at("192.0.2.1:1000");
    struct token_text t;
    setup_process();
    ngtcp2_cid_init(&id, (const uint8_t *)"whatever", 8);
    t.len = quic_new_token(&peer, t.at);
    must(t.len > 0);
    must(judged(&t, &id, "192.0.2.1:1000", &original) == TOKEN_NEW);
    must(judged(&t, &id, "192.0.2.1:2000", &original) == TOKEN_NEW);
    must(judged(&t, &id, "192.0.2.2:1000", &original) == TOKEN_NONE);
    for (size_t i = 1; i < t.len; i++) {
        t.at[i] ^= 1;
        must(judged(&t, &id, "192.0.2.1:1000", &original) == TOKEN_NONE);
        t.at[i] ^= 1;
    }
    t.len = 0;
    must(judged(&t, &id, "192.0.2.1:1000", &original) == TOKEN_NONE);
    memcpy(t.at, "other", 5);
    t.len = 5;
    must(judged(&t, &id, "192.0.2.1:1000", &original) == TOKEN_NONE);
}

static void answers_to_nobody_are_bounded(void)
{
    static struct metric_cells cells[QUIC_METRICS];
    quic_here.cells = cells;
    unsigned said = 0;
    for (unsigned i = 0; i < 3 * REPLIES_PER_SECOND; i++)
        said += may_reply();
    must(said == REPLIES_PER_SECOND);
    quic_here.replies_at_us -= SECOND_US;
    must(may_reply());
    quic_here.cells = NULL;
}

static void failures_count_for_a_moment(void)
{
    must(load() == 0);
    quic_here.unvalidated = 2;
    quic_count_failure();
    quic_count_failure();
    must(load() == 4);
    quic_here.failures_at_us -= FAILURES_US;
    must(load() == 2);
    quic_count_failure();
    must(load() == 3);
    quic_here.unvalidated = quic_here.failures = 0;
}

TEST(a_retry_token_is_for_one_client_and_one_id)
TEST(a_token_of_before_is_for_one_address)
TEST(answers_to_nobody_are_bounded)
/* What comes to a process that has gone for its successor, which reads the same sockets, is no stranger's. */
static void successors_are_known(void)
{
    setup_process();
    for (uint32_t i = 1; i <= 16; i++)
        must(quic_is_of_successor(&(struct quic_place){ .process = 1 + i }));
    must(!quic_is_of_successor(&(struct quic_place){ .process = 1 }));
    must(!quic_is_of_successor(&(struct quic_place){ .process = 0 }));
    must(!quic_is_of_successor(&(struct quic_place){ .process = 18 }));
    must(!quic_is_of_successor(&(struct quic_place){ .process = QUIC_PROCESSES_MAX - 1 }));
}

TEST(failures_count_for_a_moment)
TEST(successors_are_known)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_retry_token_is_for_one_client_and_one_id),
        cmocka_unit_test(test_a_token_of_before_is_for_one_address),
        cmocka_unit_test(test_answers_to_nobody_are_bounded),
        cmocka_unit_test(test_failures_count_for_a_moment),
        cmocka_unit_test(test_successors_are_known),
    };
    test_loop = LOOP_EPOLL;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    return 77; /* skipped */
}
#endif
