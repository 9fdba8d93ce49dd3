#include "gate/password.h"

#include <stdio.h>
#include <string.h>

#if WEIR_HAVE_CRYPT
#include <crypt.h>
#endif
#if WEIR_HAVE_OPENSSL
#include <openssl/evp.h>
#endif

#define BCRYPT_COST_MAX 15
#define ROUNDS_MAX 2000000 /* of SHA-crypt: the default is 5,000 */
#define APR1_ROUNDS 1000
#define APR1_SALT_BYTES_MAX 8
#define APR1_TEXT_BYTES (sizeof "$apr1$" - 1 + APR1_SALT_BYTES_MAX + 1 + 22 + 1)

#if WEIR_HAVE_CRYPT || WEIR_HAVE_OPENSSL
/* Neither the compiler nor the contents make it stop early. */
static bool same(const char *a, const char *b)
{
    size_t len = strlen(a);
    volatile unsigned char differs = len != strlen(b);
    for (size_t i = 0; i < len && !(differs && i >= strlen(b)); i++)
        differs = (unsigned char)(differs | (unsigned char)(a[i] ^ b[i]));
    return !differs;
}
#endif

/* ---- Apache's MD5 (apr_md5_encode of APR, after Poul-Henning Kamp's) ---- */

#if WEIR_HAVE_OPENSSL
struct md5 {
    EVP_MD_CTX *ctx;
    bool failed;
};

static void md5_begin(struct md5 *m)
{
    m->failed |= EVP_DigestInit_ex(m->ctx, EVP_md5(), NULL) != 1;
}

static void md5_add(struct md5 *m, const void *text, size_t len)
{
    m->failed |= EVP_DigestUpdate(m->ctx, text, len) != 1;
}

static void md5_end(struct md5 *m, unsigned char out[16])
{
    m->failed |= EVP_DigestFinal_ex(m->ctx, out, NULL) != 1;
}

static void apr1_first(struct md5 *m, struct bytes password, struct bytes salt, unsigned char sum[16])
{
    md5_begin(m);
    md5_add(m, password.ptr, password.len);
    md5_add(m, salt.ptr, salt.len);
    md5_add(m, password.ptr, password.len);
    md5_end(m, sum);
    md5_begin(m);
    md5_add(m, password.ptr, password.len);
    md5_add(m, "$apr1$", 6);
    md5_add(m, salt.ptr, salt.len);
    for (size_t left = password.len; left; left -= left < 16 ? left : 16)
        md5_add(m, sum, left < 16 ? left : 16);
    for (size_t i = password.len; i; i >>= 1)
        md5_add(m, i & 1 ? "" : password.ptr, 1);
    md5_end(m, sum);
}

static void apr1_round(struct md5 *m, unsigned i, struct bytes password, struct bytes salt,
                       unsigned char sum[16])
{
    md5_begin(m);
    md5_add(m, i & 1 ? password.ptr : (const char *)sum, i & 1 ? password.len : 16);
    if (i % 3)
        md5_add(m, salt.ptr, salt.len);
    if (i % 7)
        md5_add(m, password.ptr, password.len);
    md5_add(m, i & 1 ? (const char *)sum : password.ptr, i & 1 ? 16 : password.len);
    md5_end(m, sum);
}

static char *apr1_digits(char *at, uint32_t value, unsigned count)
{
    static const char digits[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (; count; count--, value >>= 6)
        *at++ = digits[value & 0x3f];
    return at;
}

static void apr1_text(const unsigned char sum[16], struct bytes salt, char out[APR1_TEXT_BYTES])
{
    char *at = out + snprintf(out, APR1_TEXT_BYTES, "$apr1$%.*s$", BYTES_ARG(salt));
    for (unsigned i = 0; i < 5; i++) {
        unsigned last = i == 4 ? 5 : 12 + i;
        at = apr1_digits(at, (uint32_t)sum[i] << 16 | (uint32_t)sum[i + 6] << 8 | sum[last], 4);
    }
    *apr1_digits(at, sum[11], 2) = 0;
}

static bool apr1_fits(struct bytes password, const char *hash)
{
    struct md5 m = { .ctx = EVP_MD_CTX_new() };
    struct bytes salt = bytes_skip(bytes_from(hash), 6);
    unsigned char sum[16] = { 0 };
    char text[APR1_TEXT_BYTES];
    salt.len = bytes_index(salt, '$');
    if (!m.ctx)
        return false;
    apr1_first(&m, password, salt, sum);
    for (unsigned i = 0; i < APR1_ROUNDS; i++)
        apr1_round(&m, i, password, salt, sum);
    EVP_MD_CTX_free(m.ctx);
    apr1_text(sum, salt, text);
    return !m.failed && same(text, hash);
}
#else
static bool apr1_fits(struct bytes password, const char *hash)
{
    (void)password;
    (void)hash;
    return false;
}
#endif

/* ---- libcrypt ---- */

#if WEIR_HAVE_CRYPT
/* crypt_rn and not crypt_r: sanitizers put an own crypt_r in front of the library's, for another layout of
 * struct crypt_data than libxcrypt's. */
static bool crypt_fits(struct bytes password, const char *hash)
{
    char text[PASSWORD_BYTES_MAX + 1];
    struct crypt_data data;
    memset(&data, 0, sizeof data);
    memcpy(text, password.ptr, password.len);
    text[password.len] = 0;
    const char *made = crypt_rn(text, hash, &data, sizeof data);
    bool fits = made && made[0] != '*' && same(made, hash);
    explicit_bzero(text, sizeof text);
    explicit_bzero(&data, sizeof data);
    return fits;
}
#else
static bool crypt_fits(struct bytes password, const char *hash)
{
    (void)password;
    (void)hash;
    return false;
}
#endif

/* ---- what there is ---- */

enum kind { KIND_BCRYPT, KIND_SHA, KIND_YESCRYPT, KIND_APR1 };

static const struct {
    const char *prefix;
    enum kind kind;
    bool built;
} kinds[] = {
    { "$2a$", KIND_BCRYPT, WEIR_HAVE_CRYPT },   { "$2b$", KIND_BCRYPT, WEIR_HAVE_CRYPT },
    { "$2y$", KIND_BCRYPT, WEIR_HAVE_CRYPT },   { "$5$", KIND_SHA, WEIR_HAVE_CRYPT },
    { "$6$", KIND_SHA, WEIR_HAVE_CRYPT },       { "$y$", KIND_YESCRYPT, WEIR_HAVE_CRYPT },
    { "$apr1$", KIND_APR1, WEIR_HAVE_OPENSSL },
};

/* A number behind the prefix: bcrypt's cost, SHA-crypt's rounds where it says them. */
static bool is_bounded(enum kind kind, struct bytes rest)
{
    uint64_t number;
    if (kind == KIND_SHA && bytes_starts(rest, BYTES("rounds="))) {
        rest = bytes_skip(rest, 7);
        return bytes_to_u64((struct bytes){ rest.ptr, bytes_index(rest, '$') }, &number) &&
               number <= ROUNDS_MAX;
    }
    if (kind != KIND_BCRYPT)
        return true;
    return bytes_to_u64((struct bytes){ rest.ptr, bytes_index(rest, '$') }, &number) &&
           number <= BCRYPT_COST_MAX;
}

/* As long as a hash of its kind is, so that one that was cut is a mistake and not a password nobody has. */
static bool is_whole(enum kind kind, struct bytes hash, struct bytes rest)
{
    size_t dollar = hash.len;
    while (dollar && hash.ptr[dollar - 1] != '$')
        dollar--;
    size_t digits = hash.len - dollar;
    switch (kind) {
    case KIND_BCRYPT:
        return hash.len == 60;
    case KIND_SHA:
        return digits == (hash.ptr[1] == '6' ? 86 : 43);
    case KIND_YESCRYPT:
        return digits == 43;
    case KIND_APR1:
        return digits == 22 && bytes_index(rest, '$') <= APR1_SALT_BYTES_MAX;
    }
    return false;
}

err password_hash_check(struct bytes hash, struct diag *reterr)
{
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const struct bytes prefix = bytes_from(kinds[i].prefix);
        if (!bytes_starts(hash, prefix))
            continue;
        struct bytes rest = bytes_skip(hash, prefix.len);
        if (!kinds[i].built) {
            diag_set(reterr, "this weir was built without %s, which %s hashes need",
                     kinds[i].kind == KIND_APR1 ? "openssl" : "libcrypt", kinds[i].prefix);
            return ERR_UNSUPPORTED;
        }
        if (hash.len <= PASSWORD_HASH_BYTES_MAX && is_whole(kinds[i].kind, hash, rest) &&
            is_bounded(kinds[i].kind, rest))
            return OK;
        diag_set(reterr, "a %s hash that is cut, or too slow (cost up to %d, rounds up to %d)",
                 kinds[i].prefix, BCRYPT_COST_MAX, ROUNDS_MAX);
        return ERR_CONF;
    }
    diag_set(reterr,
             "no hash that is known here: expected bcrypt ($2y$), SHA-crypt ($6$, $5$), yescrypt ($y$) or "
             "$apr1$, as `htpasswd -B` writes it");
    return ERR_CONF;
}

bool password_fits(struct bytes password, const char *hash)
{
    if (password.len > PASSWORD_BYTES_MAX || (password.len && memchr(password.ptr, 0, password.len)))
        return false;
    bool apr1 = bytes_starts(bytes_from(hash), BYTES("$apr1$"));
    return apr1 ? apr1_fits(password, hash) : crypt_fits(password, hash);
}
