/* EVAL: weir runs no scripts, but knows those by which clients keep locks on a key, whatever their spaces and
 * quotes, and does what they say as one command of kv. */
#include "base/sha1.h"
#include "gate/resp.h"

#define SCRIPT_BYTES_MAX 4096
#define HEX_BYTES (2 * SHA1_BYTES)
#define LEARNED_MAX 64 /* of one worker; others are asked for again with NOSCRIPT */

enum script_does { DELETE_IF, EXPIRE_IF, EXPIRE_S_IF, EXTEND_IF };

#define TOKEN_OR_ZERO "localtoken=redis.call(\"get\",keys[1])ifnottokenortoken~=argv[1]thenreturn0end"

/* Without spaces, in small letters, with double quotes. */
static const struct script {
    const char *text;
    enum script_does does;
    unsigned args;
} scripts[] = {
    { "ifredis.call(\"get\",keys[1])==argv[1]thenreturnredis.call(\"del\",keys[1])elsereturn0end", DELETE_IF,
      1 },
    { "ifredis.call(\"get\",keys[1])==argv[1]thenreturnredis.call(\"pexpire\",keys[1],argv[2])elsereturn0end",
      EXPIRE_IF, 2 },
    { "ifredis.call(\"get\",keys[1])==argv[1]thenreturnredis.call(\"expire\",keys[1],argv[2])elsereturn0end",
      EXPIRE_S_IF, 2 },
    /* of redis-py's Lock: release, reacquire, extend */
    { TOKEN_OR_ZERO "redis.call(\"del\",keys[1])return1", DELETE_IF, 1 },
    { TOKEN_OR_ZERO "redis.call(\"pexpire\",keys[1],argv[2])return1", EXPIRE_IF, 2 },
    { TOKEN_OR_ZERO
      "localexpiration=redis.call(\"pttl\",keys[1])ifnotexpirationthenexpiration=0endif"
      "expiration<0thenreturn0endlocalnewttl=argv[2]ifargv[3]==\"0\"thennewttl=argv[2]+expirationend"
      "redis.call(\"pexpire\",keys[1],newttl)return1",
      EXTEND_IF, 3 },
};

struct learned {
    char hex[HEX_BYTES];
    const struct script *script;
};
static _Thread_local struct learned learned[LEARNED_MAX];
static _Thread_local unsigned learned_count;

static void hex_of(struct bytes text, char out[HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[SHA1_BYTES];
    sha1(text, digest);
    for (unsigned i = 0; i < SHA1_BYTES; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
}

static const struct script *find_sha(struct bytes hex)
{
    for (unsigned i = 0; i < LEARNED_MAX && i < learned_count; i++) {
        if (bytes_eq_nocase(hex, (struct bytes){ learned[i].hex, HEX_BYTES }))
            return learned[i].script;
    }
    return NULL;
}

static void learn(const char hex[HEX_BYTES], const struct script *s)
{
    if (find_sha((struct bytes){ hex, HEX_BYTES }))
        return;
    struct learned *l = &learned[learned_count++ % LEARNED_MAX];
    memcpy(l->hex, hex, HEX_BYTES);
    l->script = s;
}

/* NULL: not one that is known. */
static const struct script *find_text(struct bytes text)
{
    char bare[SCRIPT_BYTES_MAX];
    size_t n = 0;
    if (text.len > sizeof bare)
        return NULL;
    for (size_t i = 0; i < text.len; i++) {
        const char c = text.ptr[i];
        if (c == ' ' || (c >= '\t' && c <= '\r') || c == ';')
            continue;
        bare[n++] = c == '\'' ? '"' : ascii_lower(c);
    }
    for (unsigned i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        if (bytes_eq(bytes_from(scripts[i].text), (struct bytes){ bare, n }))
            return &scripts[i];
    }
    return NULL;
}

static const struct script *find_and_learn(struct bytes text, char hex[HEX_BYTES])
{
    const struct script *s = find_text(text);
    if (!s)
        return NULL;
    hex_of(text, hex);
    learn(hex, s);
    return s;
}

static void unknown(struct resp_client *k)
{
    resp_fail(k->batch,
              "ERR weir runs no scripts; it knows those of locks: compare and delete, compare and pexpire");
}

/* name, script, number of keys, keys, arguments. */
static void run(struct resp_client *k, const struct resp_command *c, const struct script *s)
{
    int64_t keys, ms = 0, replace = 0;
    if (!bytes_to_i64(resp_arg(c, 2), &keys)) {
        resp_fail(k->batch, "ERR value is not an integer or out of range");
        return;
    }
    if (keys < 0) {
        resp_fail(k->batch, "ERR Number of keys can't be negative");
        return;
    }
    if (keys > (int64_t)c->count - 3) {
        resp_fail(k->batch, "ERR Number of keys can't be greater than number of args");
        return;
    }
    if (keys != 1 || c->count < 4 + s->args) {
        resp_fail(k->batch, "ERR this script has one key and %u arguments", s->args);
        return;
    }
    const struct bytes args[] = { resp_arg(c, 3), resp_arg(c, 4) };
    if (s->does == DELETE_IF) {
        resp_add(k->batch, RESP_PLAIN, "EVAL", KV_DEL, KV_IF_EQUAL, 0, args, 2);
        return;
    }
    if (!bytes_to_i64(resp_arg(c, 5), &ms) ||
        __builtin_mul_overflow(ms, s->does == EXPIRE_S_IF ? 1000 : 1, &ms)) {
        resp_fail(k->batch, "ERR value is not an integer or out of range");
        return;
    }
    if (s->does == EXTEND_IF)
        replace = !bytes_eq(resp_arg(c, 6), BYTES("0"));
    resp_add(k->batch, RESP_PLAIN, "EVAL", KV_EXPIRE,
             KV_IF_EQUAL | (s->does == EXTEND_IF ? KV_XX | (replace ? 0 : KV_FROM_DUE) : 0), ms, args, 2);
}

void resp_do_eval(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    char hex[HEX_BYTES];
    const struct script *s = find_and_learn(resp_arg(c, 1), hex);
    if (s)
        run(k, c, s);
    else
        unknown(k);
}

void resp_do_evalsha(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    const struct script *s = find_sha(resp_arg(c, 1));
    if (s)
        run(k, c, s);
    else
        resp_fail(k->batch, "NOSCRIPT No matching script. Please use EVAL.");
}

void resp_do_script(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    const struct bytes sub = resp_arg(c, 1);
    char hex[HEX_BYTES], head[RESP_HEAD_BYTES_MAX];
    if (bytes_eq_nocase(sub, BYTES("LOAD")) && c->count == 3) {
        if (find_and_learn(resp_arg(c, 2), hex))
            resp_say_text(k->batch, (struct bytes){ hex, HEX_BYTES });
        else
            unknown(k);
    } else if (bytes_eq_nocase(sub, BYTES("EXISTS")) && c->count > 2) {
        resp_say(k->batch, (struct bytes){ head, (size_t)(resp_head(head, '*', c->count - 2) - head) });
        for (uint32_t i = 2; i < c->count; i++)
            resp_say_int(k->batch, find_sha(resp_arg(c, i)) != NULL);
    } else if (bytes_eq_nocase(sub, BYTES("FLUSH"))) {
        learned_count = 0;
        resp_say_static(k->batch, BYTES("+OK\r\n"));
    } else {
        resp_fail(k->batch, "ERR weir knows SCRIPT LOAD, SCRIPT EXISTS and SCRIPT FLUSH");
    }
}
