#include "net/tls_tickets.h"

#include <string.h>

#include "base/must.h"

_Static_assert(sizeof(struct tls_ticket_key) == TLS_TICKET_KEY_BYTES, "as in a file");

/* ---- the ring: a sequence lock (the writer's turn is odd while it writes) ---- */

static void write_begin(struct tls_tickets *t)
{
    atomic_fetch_add_explicit(&t->turn, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release); /* whoever sees what is written now sees the turn, too */
}

static void write_end(struct tls_tickets *t)
{
    atomic_fetch_add_explicit(&t->turn, 1, memory_order_release);
}

static void put_key(struct tls_tickets *t, uint32_t index, const void *key)
{
    uint64_t words[TLS_TICKET_KEY_WORDS];
    memcpy(words, key, sizeof words);
    for (unsigned i = 0; i < TLS_TICKET_KEY_WORDS; i++)
        atomic_store_explicit(&t->keys[index][i], words[i], memory_order_relaxed);
}

static void get_key(const struct tls_tickets *t, uint32_t index, struct tls_ticket_key *ret_key)
{
    uint64_t words[TLS_TICKET_KEY_WORDS];
    for (unsigned i = 0; i < TLS_TICKET_KEY_WORDS; i++)
        words[i] = atomic_load_explicit(&t->keys[index][i], memory_order_relaxed);
    memcpy(ret_key, words, sizeof words);
}

static uint32_t get_count(const struct tls_tickets *t)
{
    uint32_t count = atomic_load_explicit(&t->count, memory_order_relaxed);
    return count < TLS_TICKET_KEYS_MAX ? count : TLS_TICKET_KEYS_MAX;
}

void tls_tickets_push(struct tls_tickets *t, const struct tls_ticket_key *fresh, uint64_t now_s)
{
    uint32_t count = get_count(t);
    if (count >= TLS_TICKET_KEYS_KEPT)
        count = TLS_TICKET_KEYS_KEPT - 1; /* the oldest goes */
    write_begin(t);
    for (uint32_t i = count; i > 0; i--) {
        struct tls_ticket_key older;
        get_key(t, i - 1, &older);
        put_key(t, i, &older);
    }
    put_key(t, 0, fresh);
    atomic_store_explicit(&t->count, count + 1, memory_order_relaxed);
    write_end(t);
    atomic_store(&t->made_s, now_s);
}

err tls_tickets_read(struct tls_tickets *t, struct bytes text, uint64_t now_s, struct diag *reterr)
{
    const size_t count = text.len / TLS_TICKET_KEY_BYTES;
    if (count == 0 || count > TLS_TICKET_KEYS_MAX || text.len % TLS_TICKET_KEY_BYTES) {
        diag_set(reterr, "expected 1 to %d keys of %d bytes each, found %zu bytes", TLS_TICKET_KEYS_MAX,
                 TLS_TICKET_KEY_BYTES, text.len);
        return ERR_CONF;
    }
    write_begin(t);
    for (uint32_t i = 0; i < count; i++)
        put_key(t, i, text.ptr + i * TLS_TICKET_KEY_BYTES);
    atomic_store_explicit(&t->count, (uint32_t)count, memory_order_relaxed);
    write_end(t);
    atomic_store(&t->made_s, now_s);
    return OK;
}

/* name NULL: the newest. */
static bool look(const struct tls_tickets *t, const unsigned char *name, struct tls_ticket_key *ret_key,
                 uint32_t *ret_index)
{
    uint32_t count = get_count(t);
    for (uint32_t i = 0; i < count; i++) {
        get_key(t, i, ret_key);
        *ret_index = i;
        if (!name || memcmp(ret_key->name, name, sizeof ret_key->name) == 0)
            return true;
    }
    return false;
}

/* What was copied while somebody wrote is thrown away. A process that died in the middle must not hold up the
 * next one: then there is no key. */
static bool look_safely(const struct tls_tickets *t, const unsigned char *name,
                        struct tls_ticket_key *ret_key, uint32_t *ret_index)
{
    for (int tries = 0; tries < 1000; tries++) {
        uint32_t before = atomic_load_explicit(&t->turn, memory_order_acquire);
        bool found = look(t, name, ret_key, ret_index);
        atomic_thread_fence(memory_order_acquire);
        if (!(before & 1) && atomic_load_explicit(&t->turn, memory_order_relaxed) == before)
            return found;
    }
    return false;
}

bool tls_tickets_newest(const struct tls_tickets *t, struct tls_ticket_key *ret_key)
{
    uint32_t index;
    return look_safely(t, NULL, ret_key, &index);
}

bool tls_tickets_find(const struct tls_tickets *t, const unsigned char name[16],
                      struct tls_ticket_key *ret_key, bool *ret_newest)
{
    uint32_t index;
    if (!look_safely(t, name, ret_key, &index))
        return false;
    *ret_newest = index == 0;
    return true;
}

/* ---- OpenSSL ---- */

#if WEIR_HAVE_OPENSSL

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <pthread.h>

static int tickets_index;
static EVP_CIPHER *cipher; /* looked up once: that is slow */

static void prepare(void)
{
    tickets_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, NULL);
    cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    must(tickets_index >= 0 && cipher);
}

bool tls_tickets_rotate(struct tls_tickets *t, uint64_t now_s, uint64_t rotate_s)
{
    struct tls_ticket_key fresh;
    uint64_t made_s = atomic_load(&t->made_s);
    if (made_s && now_s >= made_s && now_s - made_s < rotate_s)
        return true;
    if (atomic_load(&t->turn) & 1) /* left by a process that died in the middle */
        atomic_fetch_add(&t->turn, 1);
    bool ok = RAND_priv_bytes((unsigned char *)&fresh, sizeof fresh) == 1;
    if (ok)
        tls_tickets_push(t, &fresh, now_s);
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return ok;
}

static bool use_key(const struct tls_ticket_key *k, const unsigned char *iv, EVP_CIPHER_CTX *aes,
                    EVP_MAC_CTX *mac, bool seal)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->mac, sizeof k->mac),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){ "SHA256" }, 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_CipherInit_ex2(aes, cipher, k->aes, iv, seal, NULL) == 1 &&
           EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* 1: go on; 2: the same, and give a new ticket; 0: there is no such key; -1: the handshake fails. In TLS 1.3
 * each ticket is for one connection (RFC 8446 C.4), so whoever comes with one gets the next; and the server's
 * first word after the handshake is an acknowledgement, which clients without TCP_NODELAY wait for. */
static int choose_key(SSL *ssl, unsigned char name[16], unsigned char *iv, EVP_CIPHER_CTX *aes,
                      EVP_MAC_CTX *mac, int seal)
{
    const struct tls_tickets *t = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), tickets_index);
    struct tls_ticket_key k;
    bool newest = true;
    int result = 0;
    if (!t)
        return 0;
    if (seal ? tls_tickets_newest(t, &k) : tls_tickets_find(t, name, &k, &newest)) {
        bool ok = !seal || RAND_bytes(iv, EVP_CIPHER_get_iv_length(cipher)) == 1;
        if (seal)
            memcpy(name, k.name, sizeof k.name);
        ok = ok && use_key(&k, iv, aes, mac, seal);
        result = !ok ? -1 : newest && SSL_version(ssl) < TLS1_3_VERSION ? 1 : 2;
    }
    OPENSSL_cleanse(&k, sizeof k);
    return result;
}

void tls_tickets_use(SSL_CTX *context, const struct tls_tickets *t)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    must(pthread_once(&once, prepare) == 0);
    must(SSL_CTX_set_ex_data(context, tickets_index, (void *)(uintptr_t)t));
    must(SSL_CTX_set_tlsext_ticket_key_evp_cb(context, choose_key));
}

#endif
