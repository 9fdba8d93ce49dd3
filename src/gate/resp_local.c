/* Commands that need no key: what clients say and ask when they connect. */
#include <stdio.h>
#include <unistd.h>

#include "base/glob.h"
#include "base/mem.h"
#include "gate/resp.h"
#include "ledger/ledger_conf.h"

/* What clients that look at the version take us for. */
#define REDIS_VERSION "7.0.0"

static void ok(struct resp_client *k)
{
    resp_say_static(k->batch, BYTES("+OK\r\n"));
}

static void say_many(struct resp_client *k, char type, uint64_t n)
{
    char text[RESP_HEAD_BYTES_MAX];
    char *end = type == '%' ? resp_map(text, (enum resp_protocol)k->protocol, n) : resp_head(text, type, n);
    resp_say(k->batch, (struct bytes){ text, (size_t)(end - text) });
}

static bool is_word(const struct resp_command *c, uint32_t i, struct bytes word)
{
    return i < c->count && bytes_eq_nocase(resp_arg(c, i), word);
}

void resp_do_ping(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    if (c->count > 2)
        resp_fail_arity(k, d);
    else if (c->count == 2)
        resp_say_text(k->batch, resp_arg(c, 1));
    else
        resp_say_static(k->batch, BYTES("+PONG\r\n"));
}

void resp_do_echo(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    resp_say_text(k->batch, resp_arg(c, 1));
}

void resp_do_select(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    int64_t n;
    if (!bytes_to_i64(resp_arg(c, 1), &n))
        resp_fail(k->batch, "ERR value is not an integer or out of range");
    else if (n != 0)
        resp_fail(k->batch, "ERR DB index is out of range");
    else
        ok(k);
}

void resp_do_time(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)c;
    (void)d;
    char text[24];
    const uint64_t now_us = worker_wall_us();
    say_many(k, '*', 2);
    resp_say_text(k->batch, (struct bytes){ text, u64_to_text(now_us / 1000000, text) });
    resp_say_text(k->batch, (struct bytes){ text, u64_to_text(now_us % 1000000, text) });
}

void resp_do_quit(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)c;
    (void)d;
    ok(k);
    k->closing = true;
}

void resp_do_reset(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)c;
    (void)d;
    resp_tx_free(k);
    k->protocol = RESP_2;
    k->name[0] = 0;
    k->trusted = !resp_has_password();
    resp_say_static(k->batch, BYTES("+RESET\r\n"));
}

/* ---- who it is */

static bool trust(struct resp_client *k, struct bytes user, struct bytes password)
{
    if (!resp_password_is(user, password)) {
        resp_fail(k->batch, "WRONGPASS invalid username-password pair or user is disabled.");
        return false;
    }
    k->trusted = true;
    return true;
}

void resp_do_auth(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    if (c->count > 3)
        resp_fail(k->batch, "ERR syntax error");
    else if (c->count == 2 && !resp_has_password())
        resp_fail(k->batch,
                  "ERR AUTH <password> called without any password configured for the default user. "
                  "Are you sure your configuration is correct?");
    else if (trust(k, c->count == 3 ? resp_arg(c, 1) : BYTES("default"), resp_arg(c, c->count - 1)))
        ok(k);
}

static bool set_name(struct resp_client *k, struct bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] < '!' || name.ptr[i] > '~') {
            resp_fail(k->batch, "ERR Client names cannot contain spaces, newlines or special characters.");
            return false;
        }
    }
    if (name.len > RESP_NAME_BYTES_MAX) {
        resp_fail(k->batch, "ERR a client's name has at most %d bytes", RESP_NAME_BYTES_MAX);
        return false;
    }
    memcpy(k->name, name.ptr ? name.ptr : "", name.len);
    k->name[name.len] = 0;
    return true;
}

static void say_pair(struct resp_client *k, struct bytes name, struct bytes value)
{
    resp_say_text(k->batch, name);
    resp_say_text(k->batch, value);
}

static void say_hello(struct resp_client *k)
{
    say_many(k, '%', 7);
    say_pair(k, BYTES("server"), BYTES("weir"));
    say_pair(k, BYTES("version"), BYTES(REDIS_VERSION));
    resp_say_text(k->batch, BYTES("proto"));
    resp_say_int(k->batch, k->protocol);
    resp_say_text(k->batch, BYTES("id"));
    resp_say_int(k->batch, (int64_t)k->id);
    say_pair(k, BYTES("mode"), BYTES("standalone"));
    say_pair(k, BYTES("role"), BYTES("master"));
    resp_say_text(k->batch, BYTES("modules"));
    say_many(k, '*', 0);
}

void resp_do_hello(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    int64_t version = k->protocol;
    if (c->count > 1 && !bytes_to_i64(resp_arg(c, 1), &version)) {
        resp_fail(k->batch, "ERR Protocol version is not an integer or out of range");
        return;
    }
    if (version != RESP_2 && version != RESP_3) {
        resp_fail(k->batch, "NOPROTO unsupported protocol version");
        return;
    }
    for (uint32_t i = 2; i < c->count;) {
        if (is_word(c, i, BYTES("AUTH")) && i + 2 < c->count) {
            if (!trust(k, resp_arg(c, i + 1), resp_arg(c, i + 2)))
                return;
            i += 3;
        } else if (is_word(c, i, BYTES("SETNAME")) && i + 1 < c->count) {
            if (!set_name(k, resp_arg(c, i + 1)))
                return;
            i += 2;
        } else {
            const struct bytes word = resp_arg(c, i);
            resp_fail(k->batch, "ERR Syntax error in HELLO option '%.*s'",
                      (int)(word.len < 64 ? word.len : 64), word.ptr);
            return;
        }
    }
    if (!k->trusted) {
        resp_fail(
            k->batch,
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> "
            "AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol "
            "version at the same time");
        return;
    }
    k->protocol = (uint8_t)version;
    say_hello(k);
}

void resp_do_client(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    const struct bytes sub = resp_arg(c, 1);
    char line[256];
    if (is_word(c, 1, BYTES("ID")) && c->count == 2) {
        resp_say_int(k->batch, (int64_t)k->id);
    } else if (is_word(c, 1, BYTES("GETNAME")) && c->count == 2) {
        if (k->name[0])
            resp_say_text(k->batch, bytes_from(k->name));
        else
            resp_say_null(k);
    } else if (is_word(c, 1, BYTES("SETNAME")) && c->count == 3) {
        if (set_name(k, resp_arg(c, 2)))
            ok(k);
    } else if ((is_word(c, 1, BYTES("SETINFO")) && c->count == 4) ||
               ((is_word(c, 1, BYTES("NO-EVICT")) || is_word(c, 1, BYTES("NO-TOUCH"))) && c->count == 3)) {
        ok(k);
    } else if (is_word(c, 1, BYTES("INFO")) && c->count == 2) {
        const int n = snprintf(line, sizeof line, "id=%llu name=%s db=0 resp=%u\n", (unsigned long long)k->id,
                               k->name, k->protocol);
        resp_say_text(k->batch, (struct bytes){ line, (size_t)n });
    } else {
        resp_fail(
            k->batch,
            "ERR unknown subcommand or wrong number of arguments for '%.*s'. weir knows CLIENT ID, GETNAME, "
            "SETNAME, SETINFO, INFO, NO-EVICT and NO-TOUCH",
            (int)(sub.len < 128 ? sub.len : 128), sub.ptr);
    }
}

/* ---- what there is */

static void say_lower(struct resp_client *k, const char *name)
{
    char text[64];
    size_t n = 0;
    for (; name[n] && n < sizeof text; n++)
        text[n] = ascii_lower(name[n]);
    resp_say_text(k->batch, (struct bytes){ text, n });
}

static void say_command(struct resp_client *k, const struct resp_def *d)
{
    const bool writes = d->flags & RESP_WRITES;
    say_many(k, '*', 6);
    say_lower(k, d->name);
    resp_say_int(k->batch, d->arity);
    say_many(k, '*', 1);
    resp_say_line(k->batch, '+', writes ? BYTES("write") : BYTES("readonly"));
    resp_say_int(k->batch, d->first);
    resp_say_int(k->batch, d->last);
    resp_say_int(k->batch, d->step);
}

void resp_do_command(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    if (c->count == 1) {
        say_many(k, '*', resp_table_count);
        for (unsigned i = 0; i < resp_table_count; i++)
            say_command(k, &resp_table[i]);
    } else if (is_word(c, 1, BYTES("COUNT")) && c->count == 2) {
        resp_say_int(k->batch, resp_table_count);
    } else if (is_word(c, 1, BYTES("DOCS"))) {
        resp_say_docs(k, c);
    } else if (is_word(c, 1, BYTES("INFO")) && c->count > 2) {
        say_many(k, '*', c->count - 2);
        for (uint32_t i = 2; i < c->count; i++) {
            const struct resp_def *found = resp_find(resp_arg(c, i));
            if (found)
                say_command(k, found);
            else
                resp_say_static(k->batch, k->protocol == RESP_3 ? BYTES("_\r\n") : BYTES("*-1\r\n"));
        }
    } else {
        resp_fail(k->batch, "ERR weir knows COMMAND, COMMAND COUNT, COMMAND INFO and COMMAND DOCS");
    }
}

static const struct setting {
    const char *name, *value;
} settings[] = { { "appendonly", "yes" },
                 { "save", "" },
                 { "databases", "1" },
                 { "timeout", "0" },
                 { "maxmemory-policy", "noeviction" } };
#define SETTINGS (sizeof settings / sizeof *settings)

/* Its durability, as Redis would call it. */
static struct bytes fsync_word(void)
{
    const struct ledger_conf *l = resp_conf();
    if (!l || l->durability->mode == LEDGER_COMMIT)
        return BYTES("always");
    return l->durability->mode == LEDGER_INTERVAL ? BYTES("everysec") : BYTES("no");
}

void resp_do_config(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    bool wanted[SETTINGS + 1] = { false };
    unsigned count = 0;
    if (is_word(c, 1, BYTES("RESETSTAT")) && c->count == 2) {
        ok(k);
        return;
    }
    if (!is_word(c, 1, BYTES("GET")) || c->count < 3) {
        resp_fail(k->batch, "ERR weir knows CONFIG GET alone: settings stand in its configuration file");
        return;
    }
    for (unsigned i = 0; i <= SETTINGS; i++) {
        const struct bytes name = i < SETTINGS ? bytes_from(settings[i].name) : BYTES("appendfsync");
        for (uint32_t a = 2; a < c->count && !wanted[i]; a++)
            wanted[i] = resp_arg(c, a).len <= 256 && glob_match(resp_arg(c, a), name);
        count += wanted[i];
    }
    say_many(k, '%', count);
    for (unsigned i = 0; i < SETTINGS; i++) {
        if (wanted[i])
            say_pair(k, bytes_from(settings[i].name), bytes_from(settings[i].value));
    }
    if (wanted[SETTINGS])
        say_pair(k, BYTES("appendfsync"), fsync_word());
}

/* How many keys there are, and how many of them for a time. */
static err count_keys(struct resp_client *k, int64_t ret_counts[2])
{
    struct resp_batch b;
    struct bytes answers;
    struct kv_value v[2];
    resp_batch_open(&b, k->batch->arena);
    resp_add(&b, RESP_PLAIN, NULL, KV_SIZE, 0, 0, NULL, 0);
    err e = resp_submit(&b, &answers);
    if (e)
        return e;
    if (!kv_read(&answers, &v[0]) || !kv_read(&answers, &v[1]))
        return ERR_SYNTAX;
    ret_counts[0] = v[0].number;
    ret_counts[1] = v[1].number;
    return OK;
}

void resp_do_info(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)c;
    (void)d;
    const struct ledger *l = ledger_here();
    const char *stopped = l ? ledger_stopped(l) : "not open";
    int64_t counts[2] = { 0 };
    char text[1024];
    const err e = count_keys(k, counts);
    const int n = snprintf(text, sizeof text,
                           "# Server\r\nredis_version:" REDIS_VERSION
                           "\r\nredis_mode:standalone\r\nserver_name:weir\r\n"
                           "arch_bits:64\r\nprocess_id:%d\r\n\r\n"
                           "# Clients\r\nconnected_clients:%u\r\n\r\n"
                           "# Persistence\r\nloading:0\r\naof_enabled:1\r\naof_last_write_status:%s\r\n\r\n"
                           "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n\r\n"
                           "# Keyspace\r\n",
                           (int)getpid(), k->client.clients->conns_count, stopped || e ? "err" : "ok");
    size_t len = n < 0 ? 0 : (size_t)n;
    if (counts[0] && len < sizeof text)
        len += (size_t)snprintf(text + len, sizeof text - len, "db0:keys=%lld,expires=%lld,avg_ttl=0\r\n",
                                (long long)counts[0], (long long)counts[1]);
    resp_say_text(k->batch, (struct bytes){ text, len < sizeof text ? len : sizeof text - 1 });
}
