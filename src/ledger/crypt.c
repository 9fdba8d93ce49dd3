#include "ledger/crypt.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#if WEIR_HAVE_OPENSSL
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#define KEYS_MAX 64
#define KEYS_BYTES_MAX 8192
#define KEY_BYTES 32
#define NONCE_BYTES 12

struct key {
    uint16_t id;
    unsigned char main[KEY_BYTES], records[KEY_BYTES];
};

struct crypt {
    struct key keys[KEYS_MAX];
    unsigned count;
    EVP_CIPHER_CTX *seal, *open[CRYPT_OPENERS]; /* of records: a thread each */
};

struct crypt_segment {
    EVP_CIPHER_CTX *context;
    unsigned char key[KEY_BYTES];
};

/* ---- keys ---- */

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool read_hex(struct bytes text, unsigned char out[KEY_BYTES])
{
    if (text.len != (size_t)2 * KEY_BYTES)
        return false;
    for (size_t i = 0; i < KEY_BYTES; i++) {
        int high = hex(text.ptr[2 * i]), low = hex(text.ptr[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

static void derive(const unsigned char key[KEY_BYTES], struct bytes what, unsigned char out[KEY_BYTES])
{
    unsigned len = KEY_BYTES;
    HMAC(EVP_sha256(), key, KEY_BYTES, (const unsigned char *)what.ptr, what.len, out, &len);
}

static const struct key *find_key(const struct crypt *c, uint32_t id)
{
    for (unsigned i = 0; c && i < c->count; i++) {
        if (c->keys[i].id == id)
            return &c->keys[i];
    }
    return NULL;
}

static err add_key(struct crypt *c, struct bytes line, unsigned number, struct diag *reterr)
{
    uint64_t id = 0;
    size_t colon = bytes_index(line, ':');
    struct key k = { 0 };
    bool good = colon < line.len && bytes_to_u64((struct bytes){ line.ptr, colon }, &id) && id > 0 &&
                id <= UINT16_MAX && read_hex(bytes_skip(line, colon + 1), k.main);
    if (!good || c->count == KEYS_MAX || find_key(c, (uint32_t)id)) {
        diag_set(
            reterr,
            "ledger: key: line %u: expected a number from 1 to 65535 that no other line has, a colon and "
            "64 hex digits, in at most %d lines",
            number, KEYS_MAX);
        return ERR_CONF;
    }
    k.id = (uint16_t)id;
    derive(k.main, BYTES("weir ledger records"), k.records);
    c->keys[c->count++] = k;
    return OK;
}

static err read_keys(struct crypt *c, struct bytes text, struct diag *reterr)
{
    struct bytes line;
    unsigned number = 0;
    err e = OK;
    while (!e && bytes_split(&text, '\n', &line)) {
        number++;
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        line = bytes_trim(line);
        if (line.len && line.ptr[0] != '#')
            e = add_key(c, line, number, reterr);
    }
    if (!e && c->count == 0) {
        diag_set(reterr, "ledger: key: there is none in it");
        e = ERR_CONF;
    }
    return e;
}

static err read_source(const char *source, char out[KEYS_BYTES_MAX], size_t *ret_len, struct diag *reterr)
{
    if (strncmp(source, "env:", 4) == 0) {
        const char *value = getenv(source + 4);
        *ret_len = value ? strlen(value) : 0;
        if (!value || *ret_len >= KEYS_BYTES_MAX) {
            diag_set(reterr, "ledger: key: %s is not set, or too long", source);
            return ERR_CONF;
        }
        memcpy(out, value, *ret_len);
        return OK;
    }
    FILE *f = fopen(source + 5, "re");
    *ret_len = f ? fread(out, 1, KEYS_BYTES_MAX, f) : 0;
    bool failed = !f || ferror(f) || *ret_len == KEYS_BYTES_MAX;
    if (f)
        fclose(f);
    if (failed)
        diag_set(reterr, "ledger: key: cannot read %s, or it is too long", source + 5);
    return failed ? ERR_CONF : OK;
}

err crypt_open(struct bytes source, struct crypt **ret_crypt, struct diag *reterr)
{
    char text[KEYS_BYTES_MAX];
    size_t len;
    *ret_crypt = NULL;
    if (!source.len)
        return OK;
    struct crypt *c = mem_get(sizeof *c);
    if (!c)
        return ERR_MEMORY;
    err e = read_source(source.ptr, text, &len, reterr);
    if (!e)
        e = read_keys(c, (struct bytes){ text, len }, reterr);
    OPENSSL_cleanse(text, sizeof text);
    c->seal = EVP_CIPHER_CTX_new();
    if (!e && !c->seal)
        e = ERR_MEMORY;
    for (unsigned i = 0; !e && i < CRYPT_OPENERS; i++) {
        c->open[i] = EVP_CIPHER_CTX_new();
        e = c->open[i] ? OK : ERR_MEMORY;
    }
    if (e) {
        crypt_close(c);
        return e;
    }
    *ret_crypt = c;
    return OK;
}

void crypt_close(struct crypt *c)
{
    if (!c)
        return;
    EVP_CIPHER_CTX_free(c->seal);
    for (unsigned i = 0; i < CRYPT_OPENERS; i++)
        EVP_CIPHER_CTX_free(c->open[i]);
    OPENSSL_cleanse(c->keys, sizeof c->keys);
    mem_free(c);
}

uint16_t crypt_key_id(const struct crypt *c)
{
    return c ? c->keys[0].id : 0;
}

/* ---- sealing, opening ---- */

static bool seal(EVP_CIPHER_CTX *x, const unsigned char *key, const unsigned char nonce[NONCE_BYTES],
                 struct bytes about, struct bytes plain, unsigned char *out, unsigned char *tag)
{
    int n = 0;
    return EVP_EncryptInit_ex(x, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
           EVP_EncryptUpdate(x, NULL, &n, (const unsigned char *)about.ptr, (int)about.len) == 1 &&
           (plain.len == 0 ||
            EVP_EncryptUpdate(x, out, &n, (const unsigned char *)plain.ptr, (int)plain.len) == 1) &&
           EVP_EncryptFinal_ex(x, out + plain.len, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_GCM_GET_TAG, CRYPT_TAG_BYTES, tag) == 1;
}

static bool open_sealed(EVP_CIPHER_CTX *x, const unsigned char *key, const unsigned char nonce[NONCE_BYTES],
                        struct bytes about, struct bytes sealed, const unsigned char *tag, unsigned char *out)
{
    int n = 0;
    unsigned char expected[CRYPT_TAG_BYTES];
    memcpy(expected, tag, sizeof expected);
    return EVP_DecryptInit_ex(x, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
           EVP_DecryptUpdate(x, NULL, &n, (const unsigned char *)about.ptr, (int)about.len) == 1 &&
           (sealed.len == 0 ||
            EVP_DecryptUpdate(x, out, &n, (const unsigned char *)sealed.ptr, (int)sealed.len) == 1) &&
           EVP_CIPHER_CTX_ctrl(x, EVP_CTRL_GCM_SET_TAG, CRYPT_TAG_BYTES, expected) == 1 &&
           EVP_DecryptFinal_ex(x, out + sealed.len, &n) == 1;
}

static err no_key(uint32_t id, struct diag *reterr)
{
    diag_set(reterr, "the ledger is encrypted with key %u, which ledger: key: does not have", id);
    return ERR_DENIED;
}

err crypt_seal_record(struct crypt *c, struct bytes about, struct bytes plain, char *out, size_t *ret_len,
                      struct diag *reterr)
{
    unsigned char *nonce = (unsigned char *)out, *at = nonce + NONCE_BYTES;
    if (RAND_bytes(nonce, NONCE_BYTES) != 1 ||
        !seal(c->seal, c->keys[0].records, nonce, about, plain, at, at + plain.len)) {
        diag_set(reterr, "cannot encrypt: OpenSSL refused");
        return ERR_SYSTEM;
    }
    *ret_len = plain.len + CRYPT_EXTRA_BYTES;
    return OK;
}

err crypt_open_record(struct crypt *c, unsigned opener, uint16_t key_id, struct bytes about,
                      struct bytes sealed, char *out, size_t *ret_len, struct diag *reterr)
{
    const struct key *k = find_key(c, key_id);
    const unsigned char *at = (const unsigned char *)sealed.ptr;
    if (!k)
        return no_key(key_id, reterr);
    size_t len = sealed.len < CRYPT_EXTRA_BYTES ? 0 : sealed.len - CRYPT_EXTRA_BYTES;
    struct bytes inner = { (const char *)at + NONCE_BYTES, len };
    if (sealed.len < CRYPT_EXTRA_BYTES || !open_sealed(c->open[opener], k->records, at, about, inner,
                                                       at + NONCE_BYTES + len, (unsigned char *)out)) {
        diag_set(reterr, "a record cannot be decrypted with key %u: it was changed, or that key is another",
                 key_id);
        return ERR_SYNTAX;
    }
    *ret_len = len;
    return OK;
}

err crypt_segment_open(struct crypt *c, uint32_t key_id, const unsigned char salt[CRYPT_SALT_BYTES],
                       struct crypt_segment **ret_segment, struct diag *reterr)
{
    char what[16 + CRYPT_SALT_BYTES] = "weir ledger log";
    const struct key *k = find_key(c, key_id);
    *ret_segment = NULL;
    if (!key_id)
        return OK;
    if (!k)
        return no_key(key_id, reterr);
    struct crypt_segment *s = mem_get(sizeof *s);
    if (!s)
        return ERR_MEMORY;
    memcpy(what + 16, salt, CRYPT_SALT_BYTES);
    derive(k->main, (struct bytes){ what, sizeof what }, s->key);
    s->context = EVP_CIPHER_CTX_new();
    if (!s->context) {
        mem_free(s);
        return ERR_MEMORY;
    }
    *ret_segment = s;
    return OK;
}

void crypt_segment_close(struct crypt_segment *s)
{
    if (!s)
        return;
    EVP_CIPHER_CTX_free(s->context);
    OPENSSL_cleanse(s->key, sizeof s->key);
    mem_free(s);
}

err crypt_seal_batch(struct crypt_segment *s, uint64_t seq, struct bytes about, char *data, size_t len,
                     struct diag *reterr)
{
    unsigned char nonce[NONCE_BYTES] = { 0 };
    memcpy(nonce, &seq, sizeof seq);
    unsigned char *at = (unsigned char *)data;
    if (seal(s->context, s->key, nonce, about, (struct bytes){ data, len }, at, at + len))
        return OK;
    diag_set(reterr, "cannot encrypt: OpenSSL refused");
    return ERR_SYSTEM;
}

err crypt_open_batch(struct crypt_segment *s, uint64_t seq, struct bytes about, char *data, size_t len,
                     struct diag *reterr)
{
    unsigned char nonce[NONCE_BYTES] = { 0 };
    unsigned char *at = (unsigned char *)data;
    memcpy(nonce, &seq, sizeof seq);
    size_t inner = len < CRYPT_TAG_BYTES ? 0 : len - CRYPT_TAG_BYTES;
    if (len >= CRYPT_TAG_BYTES &&
        open_sealed(s->context, s->key, nonce, about, (struct bytes){ data, inner }, at + inner, at))
        return OK;
    diag_set(reterr, "batch %llu cannot be decrypted: it was changed, or its key is another",
             (unsigned long long)seq);
    return ERR_SYNTAX;
}

#else /* without OpenSSL there are no keys, so none of these is reached with one */

static err without(struct diag *reterr)
{
    diag_set(reterr, "ledger: key: this weir was built without openssl");
    return ERR_CONF;
}

err crypt_open(struct bytes source, struct crypt **ret_crypt, struct diag *reterr)
{
    *ret_crypt = NULL;
    return source.len ? without(reterr) : OK;
}

void crypt_close(struct crypt *c)
{
    (void)c;
}

uint16_t crypt_key_id(const struct crypt *c)
{
    (void)c;
    return 0;
}

err crypt_seal_record(struct crypt *c, struct bytes about, struct bytes plain, char *out, size_t *ret_len,
                      struct diag *reterr)
{
    (void)c, (void)about, (void)plain, (void)out, (void)ret_len;
    return without(reterr);
}

err crypt_open_record(struct crypt *c, unsigned opener, uint16_t key_id, struct bytes about,
                      struct bytes sealed, char *out, size_t *ret_len, struct diag *reterr)
{
    (void)c, (void)opener, (void)key_id, (void)about, (void)sealed, (void)out, (void)ret_len;
    return without(reterr);
}

err crypt_segment_open(struct crypt *c, uint32_t key_id, const unsigned char salt[CRYPT_SALT_BYTES],
                       struct crypt_segment **ret_segment, struct diag *reterr)
{
    (void)c, (void)salt;
    *ret_segment = NULL;
    return key_id ? without(reterr) : OK;
}

void crypt_segment_close(struct crypt_segment *s)
{
    (void)s;
}

err crypt_seal_batch(struct crypt_segment *s, uint64_t seq, struct bytes about, char *data, size_t len,
                     struct diag *reterr)
{
    (void)s, (void)seq, (void)about, (void)data, (void)len;
    return without(reterr);
}

err crypt_open_batch(struct crypt_segment *s, uint64_t seq, struct bytes about, char *data, size_t len,
                     struct diag *reterr)
{
    (void)s, (void)seq, (void)about, (void)data, (void)len;
    return without(reterr);
}
#endif

err crypt_source_check(struct bytes source, struct diag *reterr)
{
    struct bytes file = BYTES("file:/"), env = BYTES("env:");
    if (source.len && !bytes_starts(source, file) && !(bytes_starts(source, env) && source.len > env.len)) {
        diag_set(reterr, "ledger: key: \"%s\" is neither file:/path nor env:NAME", source.ptr);
        return ERR_CONF;
    }
    if (source.len && !WEIR_HAVE_OPENSSL) {
        diag_set(reterr, "ledger: key: this weir was built without openssl");
        return ERR_CONF;
    }
    return OK;
}
