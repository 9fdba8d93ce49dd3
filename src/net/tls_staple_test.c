#include "net/tls_staple.h"

#include "base/test.h"

#if WEIR_HAVE_OPENSSL

#include <openssl/ocsp.h>
#include <openssl/x509v3.h>
#include <time.h>

/* A certificate that has signed itself is its own issuer, and may answer for itself. */
struct own {
    X509 *certificate;
    EVP_PKEY *key;
    STACK_OF(X509) * chain;
};

/* url: of its responder; NULL: it names none. */
static struct own make(long serial, const char *url)
{
    struct own o = { .chain = sk_X509_new_null(), .key = EVP_EC_gen("P-256"), .certificate = X509_new() };
    X509 *c = o.certificate;
    X509_NAME *name = X509_get_subject_name(c);
    assert_int_equal(X509_set_version(c, 2), 1);
    assert_int_equal(ASN1_INTEGER_set(X509_get_serialNumber(c), serial), 1);
    assert_int_equal(
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"a.example", -1, -1, 0),
        1);
    assert_int_equal(X509_set_issuer_name(c, name), 1);
    X509_gmtime_adj(X509_getm_notBefore(c), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c), 86400);
    assert_int_equal(X509_set_pubkey(c, o.key), 1);
    if (url) {
        X509_EXTENSION *aia = X509V3_EXT_conf_nid(NULL, NULL, NID_info_access, url);
        assert_int_equal(X509_add_ext(c, aia, -1), 1);
        X509_EXTENSION_free(aia);
    }
    assert_true(X509_sign(c, o.key, EVP_sha256()) > 0);
    return o;
}

static void end(struct own *o)
{
    X509_free(o->certificate);
    EVP_PKEY_free(o->key);
    sk_X509_free(o->chain);
}

/* From from_s to to_s (0: no end), relative to now. */
static struct bytes answer(const struct own *about, const struct own *by, int status, int from_s, int to_s)
{
    const time_t now = time(NULL);
    ASN1_TIME *from = X509_time_adj_ex(NULL, 0, from_s, &(time_t){ now });
    ASN1_TIME *to = to_s ? X509_time_adj_ex(NULL, 0, to_s, &(time_t){ now }) : NULL;
    OCSP_BASICRESP *basic = OCSP_BASICRESP_new();
    OCSP_CERTID *id = OCSP_cert_to_id(NULL, about->certificate, about->certificate);
    assert_non_null(OCSP_basic_add1_status(basic, id, status, 0,
                                           status == V_OCSP_CERTSTATUS_REVOKED ? from : NULL, from, to));
    assert_int_equal(OCSP_basic_sign(basic, by->certificate, by->key, EVP_sha256(), NULL, 0), 1);
    OCSP_RESPONSE *r = OCSP_response_create(OCSP_RESPONSE_STATUS_SUCCESSFUL, basic);
    unsigned char *der = NULL;
    const int len = i2d_OCSP_RESPONSE(r, &der);
    assert_true(len > 0);
    OCSP_RESPONSE_free(r);
    OCSP_BASICRESP_free(basic);
    OCSP_CERTID_free(id);
    ASN1_TIME_free(from);
    ASN1_TIME_free(to);
    return (struct bytes){ (char *)der, (size_t)len };
}

static err take(struct tls_staple *s, struct bytes der, char why[512])
{
    struct diag d = DIAG_NONE;
    const err e = tls_staple_take(s, der, time(NULL), &d);
    memcpy(why, d.text, sizeof d.text);
    OPENSSL_free((void *)(uintptr_t)der.ptr);
    return e;
}

static bool has(struct tls_staple *s, int64_t now_s)
{
    unsigned char *der;
    size_t len;
    const bool there = tls_staple_copy(s, now_s, &der, &len);
    OPENSSL_free(der);
    return there;
}

static void test_a_good_answer_is_given_until_it_ends(void **state)
{
    (void)state;
    char why[512];
    struct own o = make(1, NULL);
    struct tls_staple *s = tls_staple_get(o.certificate, o.chain);
    const int64_t now = time(NULL);
    assert_false(has(s, now));
    assert_int_equal(tls_staple_end(s), 0);
    assert_int_equal(take(s, answer(&o, &o, V_OCSP_CERTSTATUS_GOOD, -60, 3600), why), OK);
    assert_true(has(s, now) && has(s, now + 3590));
    assert_false(has(s, now + 3610));
    assert_in_range(tls_staple_end(s), now + 3599, now + 3610);
    /* without an end: for an hour */
    assert_int_equal(take(s, answer(&o, &o, V_OCSP_CERTSTATUS_GOOD, -60, 0), why), OK);
    assert_true(has(s, now) && !has(s, now + 3700));
    tls_staple_drop(s);
    end(&o);
}

static void test_what_is_not_good_is_given_to_nobody(void **state)
{
    (void)state;
    char why[512];
    struct own o = make(1, NULL), other = make(1, NULL), third = make(2, NULL);
    struct tls_staple *s = tls_staple_get(o.certificate, o.chain);
    const int64_t now = time(NULL);
    const struct {
        struct bytes der;
        err e;
        const char *why;
    } bad[] = {
        { answer(&o, &o, V_OCSP_CERTSTATUS_GOOD, -7200, -1), ERR_DENIED, "ocsp: the answer has ended" },
        { answer(&o, &o, V_OCSP_CERTSTATUS_GOOD, 7200, 9000), ERR_DENIED,
          "ocsp: the answer's time has not come yet" },
        { answer(&o, &o, V_OCSP_CERTSTATUS_REVOKED, -60, 3600), ERR_DENIED,
          "ocsp: the certificate has been revoked" },
        { answer(&o, &o, V_OCSP_CERTSTATUS_UNKNOWN, -60, 3600), ERR_DENIED,
          "ocsp: the responder does not know the certificate" },
        { answer(&other, &o, V_OCSP_CERTSTATUS_GOOD, -60, 3600), ERR_CONF,
          "ocsp: the answer is not about this certificate" },
        { answer(&third, &o, V_OCSP_CERTSTATUS_GOOD, -60, 3600), ERR_CONF,
          "ocsp: the answer is not about this certificate" },
        { answer(&o, &other, V_OCSP_CERTSTATUS_GOOD, -60, 3600), ERR_CONF,
          "ocsp: the answer is not signed by the certificate's issuer" },
        { { OPENSSL_strdup("nonsense"), 8 }, ERR_CONF, "ocsp: that is no answer of an OCSP responder" },
    };
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(take(s, answer(&o, &o, V_OCSP_CERTSTATUS_GOOD, -60, 3600), why), OK);
        assert_int_equal(take(s, bad[i].der, why), bad[i].e);
        assert_string_equal(why, bad[i].why);
        assert_int_equal(has(s, now), bad[i].e == ERR_CONF); /* what is not theirs changes nothing */
    }
    tls_staple_drop(s);
    end(&o);
    end(&other);
    end(&third);
}

static void test_one_for_each_certificate(void **state)
{
    (void)state;
    struct own a = make(1, NULL), b = make(2, NULL);
    struct tls_staple *first = tls_staple_get(a.certificate, a.chain);
    struct tls_staple *again = tls_staple_get(a.certificate, a.chain);
    struct tls_staple *other = tls_staple_get(b.certificate, b.chain);
    assert_ptr_equal(first, again);
    assert_ptr_not_equal(first, other);
    assert_string_equal(tls_staple_name(first), "a.example");
    tls_staple_drop(first);
    tls_staple_drop(again);
    tls_staple_drop(other);
    end(&a);
    end(&b);
}

static void test_when_to_ask(void **state)
{
    (void)state;
    assert_int_equal(tls_staple_next(1000, 1000 + 86400, 0), 1000 + 43200);
    assert_int_equal(tls_staple_next(1000, 1010, 0), 1010); /* seldom enough */
    assert_int_equal(tls_staple_next(1000, 0, 1), 1001);
    assert_int_equal(tls_staple_next(1000, 0, 2), 1002);
    assert_int_equal(tls_staple_next(1000, 0, 5), 1016);
    assert_int_equal(tls_staple_next(1000, 0, 4000000000), 1000 + 3600);
}

static void test_only_one_that_is_wanted_and_can_be_asked_for_is_due(void **state)
{
    (void)state;
    struct own o = make(1, "OCSP;URI:http://127.0.0.1:9/x");
    const int64_t now = time(NULL);
    struct tls_staple *s = tls_staple_get(o.certificate, o.chain);
    assert_string_equal(tls_staple_responder(s), "http://127.0.0.1:9/x");
    assert_false(tls_staple_must(s));
    assert_null(tls_staple_due(now));
    tls_staple_want(s);
    assert_ptr_equal(tls_staple_due(now), s);
    assert_null(tls_staple_due(now)); /* it is being asked for */
    tls_staple_asked(s, false, now);
    assert_null(tls_staple_due(now));
    assert_ptr_equal(tls_staple_due(now + 1), s);
    tls_staple_asked(s, false, now);
    tls_staple_unwant(s);
    assert_null(tls_staple_due(now + 100000));
    size_t len;
    unsigned char *question = tls_staple_question(s, &len);
    assert_true(question && len > 60);
    OPENSSL_free(question);
    for (int i = 0; i < 3; i++) /* its own hold, and those of the two that were due */
        tls_staple_drop(s);
    end(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_answer_is_given_until_it_ends),
        cmocka_unit_test(test_what_is_not_good_is_given_to_nobody),
        cmocka_unit_test(test_one_for_each_certificate),
        cmocka_unit_test(test_when_to_ask),
        cmocka_unit_test(test_only_one_that_is_wanted_and_can_be_asked_for_is_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    return 0;
}

#endif
