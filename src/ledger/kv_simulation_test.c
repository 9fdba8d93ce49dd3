/* kv beside a naive model: random operations of several commands, times that pass, crashes between any two
 * batches. SEED=1 STEPS=1000000 in the environment: another, longer run. */
#include "base/hash.h"
#include "ledger/kv_test.h"

#define STEPS 60000
#define LIFE_STEPS 6000 /* until the log is full: a new one begins */
#define KEYS 12
#define FIELDS 6
#define TEXT 64

struct model {
    int kind; /* 0: none; 1: string; 2: hash */
    char value[TEXT * 4];
    int fields; /* in the order in which they came */
    struct {
        char name[4], value[TEXT];
    } field[FIELDS];
    uint64_t due_ms, sliding_ms;
};

static struct model keys[KEYS];
static char wanted[1 << 14];
static size_t wanted_len;

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    wanted_len += (size_t)vsnprintf(wanted + wanted_len, sizeof wanted - wanted_len, format, list);
    va_end(list);
}

static const char *name_of(unsigned i)
{
    static char names[KEYS][8];
    snprintf(names[i], sizeof names[i], "key%u", i);
    return names[i];
}

static void add(enum kv_what what, unsigned flags, int64_t number, const char *a, const char *b,
                const char *c)
{
    kv_test_add(what, flags, number, (const char *const[]){ a, b, c, NULL });
}

static void forget_due(void)
{
    for (struct model *m = keys; m < keys + KEYS; m++) {
        if (m->kind && m->due_ms && m->due_ms <= kt.now_ms)
            *m = (struct model){ 0 };
    }
}

static void used(struct model *m)
{
    if (m->kind && m->sliding_ms && kt.now_ms + m->sliding_ms - m->due_ms >= m->sliding_ms / 16)
        m->due_ms = kt.now_ms + m->sliding_ms;
}

static bool wrong(const struct model *m, int kind)
{
    if (!m->kind || m->kind == kind)
        return false;
    say("!WRONGTYPE Operation against a key holding the wrong kind of value ");
    return true;
}

static const char *random_value(void)
{
    static char text[TEXT];
    unsigned len = random_below(4) ? random_below(12) : random_below(TEXT - 1);
    for (unsigned i = 0; i < len; i++)
        text[i] = (char)('a' + random_below(26));
    text[len] = 0;
    if (random_below(3) == 0)
        snprintf(text, sizeof text, "%d", (int)random_below(2000) - 1000);
    return text;
}

static bool is_number(const char *text, int64_t *ret)
{
    return bytes_to_i64(bytes_from(text), ret);
}

static void say_string(const struct model *m)
{
    if (m->kind)
        say("%s ", m->value);
    else
        say("nil ");
}

/* ---- one command each, and what it should answer ---- */

static void do_get(struct model *m, const char *key)
{
    add(KV_GET, 0, 0, key, NULL, NULL);
    if (wrong(m, 1))
        return;
    say_string(m);
    used(m);
}

static void do_set(struct model *m, const char *key)
{
    static const unsigned conditions[] = { 0, 0, KV_NX, KV_XX, KV_RETURN_OLD, KV_IF_EQUAL };
    static char old[TEXT];
    unsigned flags = conditions[random_below(6)];
    const int64_t ms = 1000 * (1 + random_below(60));
    const char *value = random_value();
    snprintf(old, sizeof old, "%.*s", TEXT - 1, m->kind == 1 && random_below(2) ? m->value : "none");
    if (random_below(3) == 0)
        flags |= KV_KEEP_TTL;
    else if (random_below(2))
        flags |= KV_EXPIRES | (random_below(2) ? KV_SLIDING : 0);
    add(KV_SET, flags, ms, key, value, flags & KV_IF_EQUAL ? old : NULL);
    if (flags & (KV_RETURN_OLD | KV_IF_EQUAL) && wrong(m, 1))
        return;
    bool sets = !(flags & (m->kind ? KV_NX : KV_XX));
    if (flags & KV_IF_EQUAL)
        sets = m->kind && strcmp(old, m->value) == 0;
    if (flags & KV_RETURN_OLD)
        say_string(m);
    else
        say(sets ? "ok " : "nil ");
    if (!sets)
        return;
    m->kind = 1;
    m->fields = 0;
    snprintf(m->value, sizeof m->value, "%s", value);
    if (flags & KV_KEEP_TTL)
        return;
    m->due_ms = flags & KV_EXPIRES ? kt.now_ms + (uint64_t)ms : 0;
    m->sliding_ms = flags & KV_SLIDING ? (uint64_t)ms : 0;
}

static void do_incr(struct model *m, const char *key)
{
    int64_t by = (int64_t)random_below(100) - 50, n = 0;
    add(KV_INCR, 0, by, key, NULL, NULL);
    if (wrong(m, 1))
        return;
    if (m->kind && !is_number(m->value, &n)) {
        say("!ERR value is not an integer or out of range ");
        return;
    }
    m->kind = 1;
    snprintf(m->value, sizeof m->value, "%lld", (long long)(n + by));
    used(m);
    say("%s ", m->value);
}

static void do_append(struct model *m, const char *key)
{
    const char *more = strlen(m->value) < TEXT * 2 ? random_value() : "";
    add(KV_APPEND, 0, 0, key, more, NULL);
    if (wrong(m, 1))
        return;
    if (*more || !m->kind) {
        m->kind = 1;
        snprintf(m->value + strlen(m->value), TEXT, "%s", more);
        used(m);
    }
    say("%zu ", strlen(m->value));
}

static void do_del(struct model *m, const char *key)
{
    const bool get = random_below(2);
    add(get ? KV_GETDEL : KV_DEL, 0, 0, key, NULL, NULL);
    if (get && wrong(m, 1))
        return;
    if (get)
        say_string(m);
    else
        say("%d ", m->kind != 0);
    *m = (struct model){ 0 };
}

static void do_expire(struct model *m, const char *key)
{
    static const unsigned conditions[] = { 0, KV_NX, KV_XX, KV_GT, KV_LT };
    unsigned flags = conditions[random_below(5)] | (random_below(3) ? 0 : KV_SLIDING);
    const int64_t ms = 1000 * (1 + random_below(60));
    const uint64_t due = kt.now_ms + (uint64_t)ms;
    add(KV_EXPIRE, flags, ms, key, NULL, NULL);
    bool does = m->kind;
    does &= !(flags & KV_NX && m->due_ms) && !(flags & KV_XX && !m->due_ms);
    does &= !(flags & KV_GT && (!m->due_ms || due <= m->due_ms));
    does &= !(flags & KV_LT && m->due_ms && due >= m->due_ms);
    if (does) {
        m->due_ms = due;
        m->sliding_ms = flags & KV_SLIDING ? (uint64_t)ms : 0;
    }
    say("%d ", does);
}

static void do_ttl(struct model *m, const char *key)
{
    if (random_below(3)) {
        add(KV_TTL, 0, 0, key, NULL, NULL);
        say("%lld ", !m->kind ? -2 : !m->due_ms ? -1 : (long long)(m->due_ms - kt.now_ms));
        return;
    }
    add(KV_PERSIST, 0, 0, key, NULL, NULL);
    say("%d ", m->kind && m->due_ms);
    m->due_ms = m->sliding_ms = 0;
}

static int field_of(const struct model *m, const char *name)
{
    for (int i = 0; i < m->fields; i++) {
        if (strcmp(m->field[i].name, name) == 0)
            return i;
    }
    return -1;
}

static void set_field(struct model *m, const char *name, const char *value)
{
    int i = field_of(m, name);
    m->kind = 2;
    if (i < 0)
        i = m->fields++;
    snprintf(m->field[i].name, sizeof m->field[i].name, "%s", name);
    snprintf(m->field[i].value, sizeof m->field[i].value, "%s", value);
    used(m);
}

static void do_hset(struct model *m, const char *key, const char *field)
{
    const char *value = random_value();
    const unsigned flags = random_below(3) ? 0 : KV_NX;
    add(KV_HSET, flags, 0, key, field, value);
    if (wrong(m, 2))
        return;
    const bool there = field_of(m, field) >= 0;
    say("%d ", !there);
    if (!(there && flags))
        set_field(m, field, value);
    used(m);
}

static void do_hincr(struct model *m, const char *key, const char *field)
{
    int64_t n = 0, by = random_below(1000);
    char text[24];
    add(KV_HINCR, 0, by, key, field, NULL);
    if (wrong(m, 2))
        return;
    int i = field_of(m, field);
    if (i >= 0 && !is_number(m->field[i].value, &n)) {
        say("!ERR hash value is not an integer ");
        return;
    }
    snprintf(text, sizeof text, "%lld", (long long)(n + by));
    set_field(m, field, text);
    say("%s ", text);
}

static void do_hdel(struct model *m, const char *key, const char *field)
{
    add(KV_HDEL, 0, 0, key, field, NULL);
    if (wrong(m, 2))
        return;
    int i = field_of(m, field);
    say("%d ", i >= 0);
    if (i >= 0) {
        memmove(&m->field[i], &m->field[i + 1], (size_t)(m->fields - i - 1) * sizeof m->field[0]);
        m->fields--;
    }
    used(m);
    if (m->kind && !m->fields)
        *m = (struct model){ 0 };
}

static void do_hget(struct model *m, const char *key, const char *field)
{
    const bool all = random_below(2);
    add(all ? KV_HGETALL : KV_HGET, 0, 0, key, all ? NULL : field, NULL);
    if (wrong(m, 2))
        return;
    used(m);
    int i = field_of(m, field);
    if (!all && i < 0)
        say("nil ");
    else if (!all)
        say("%s ", m->field[i].value);
    else
        say("{ ");
    for (i = 0; all && i < m->fields; i++)
        say("%s %s ", m->field[i].name, m->field[i].value);
    if (all)
        say("} ");
}

static void do_size(void)
{
    int count = 0, expiring = 0;
    add(KV_SIZE, 0, 0, NULL, NULL, NULL);
    for (const struct model *m = keys; m < keys + KEYS; m++) {
        count += m->kind != 0;
        expiring += m->kind && m->due_ms;
    }
    say("%d %d ", count, expiring);
}

static void any_command(void)
{
    static const char *const fields[FIELDS] = { "a", "bb", "ccc", "d", "e", "f" };
    const unsigned i = random_below(KEYS);
    struct model *m = &keys[i];
    const char *key = name_of(i), *field = fields[random_below(FIELDS)];
    switch (random_below(13)) {
    case 0:
        do_del(m, key);
        break;
    case 1:
    case 2:
        do_set(m, key);
        break;
    case 3:
        do_incr(m, key);
        break;
    case 4:
        do_append(m, key);
        break;
    case 5:
        do_expire(m, key);
        break;
    case 6:
        do_ttl(m, key);
        break;
    case 7:
    case 8:
        do_hset(m, key, field);
        break;
    case 9:
        do_hincr(m, key, field);
        break;
    case 10:
        do_hdel(m, key, field);
        break;
    case 11:
        do_hget(m, key, field);
        break;
    default:
        if (random_below(4))
            do_get(m, key);
        else
            do_size();
    }
}

static uint64_t setting(const char *name, uint64_t preset)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : preset;
}

static void all_is_as_in_the_model(void **state)
{
    (void)state;
    const uint64_t seed = setting("SEED", random_u64()), steps = setting("STEPS", STEPS);
    print_message("SEED=%llu\n", (unsigned long long)seed);
    random_seed(seed);
    kv_test_open();
    for (uint64_t step = 0; step < steps; step++) {
        if (kt.log_count > LIFE_STEPS) {
            kv_test_crash();
            kv_test_close();
            memset(keys, 0, sizeof keys);
            kv_test_open();
        }
        if (random_below(2000) == 0)
            kv_test_crash();
        kt.now_ms += random_below(3) ? random_below(50) : random_below(5000);
        forget_due();
        kv_test_begin();
        wanted_len = 0;
        for (unsigned n = 1 + random_below(4); n > 0; n--)
            any_command();
        if (kv_test_do() != OK || strncmp(kt.text, wanted, wanted_len - 1) != 0 ||
            strlen(kt.text) != wanted_len - 1)
            fail_msg("SEED=%llu step %llu: \"%s\", but it should be \"%.*s\"", (unsigned long long)seed,
                     (unsigned long long)step, kt.text, (int)wanted_len, wanted);
    }
    kv_test_crash();
    kv_test_close();
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(all_is_as_in_the_model) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
