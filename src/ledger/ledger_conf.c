#include "ledger/ledger_conf.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file_read.h"
#include "core/helper.h"
#include "core/log.h"
#include "ledger/crypt.h"
#include "ledger/pass_on.h"
#include "ledger/topic_conf.h"
#include "net/tls_conf.h"

#define AT(type, member) offsetof(struct type, member)

static err durability_check(void *conf, struct diag *reterr)
{
    struct ledger_durability_conf *d = conf;
    if (d->mode != LEDGER_INTERVAL && d->every_ms) {
        diag_set(reterr, "durability: only `interval` has a time");
        return ERR_CONF;
    }
    if (d->mode == LEDGER_INTERVAL && !d->every_ms)
        d->every_ms = 50;
    return OK;
}

static const struct conf_struct durability_struct = {
    .name = "durability",
    .size = sizeof(struct ledger_durability_conf),
    .phrases = (const char *const[]){ "{mode} {every}", "{mode}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "mode",
              .type = CONF_WORD,
              .offset = AT(ledger_durability_conf, mode),
              .required = true,
              .words = ledger_durability_words,
              .doc = "`commit`: an answer means that it is on disk; `interval`: that it will be within that "
                     "time; `memory`: that it is in memory, and the disk gets it when it may" },
            { .name = "every",
              .type = CONF_MS,
              .offset = AT(ledger_durability_conf, every_ms),
              .max = 60000,
              .doc = "of `interval`: 50ms when not said" },
            { 0 } },
    .check = durability_check,
    .doc = "How safe what is answered is: `commit`, `interval 50ms` or `memory`.",
};

static const struct conf_struct http_struct = {
    .name = "http",
    .size = sizeof(struct api_conf),
    .phrases = api_conf_phrases,
    .fields = api_conf_fields,
    .check = api_conf_check,
    .doc =
        "Where the ledger is asked by HTTP. Without a `token_file` a TCP address only shows; a unix socket "
        "obeys whoever may connect.",
};

/* A file's first line, or the text of the environment, or the text itself. */
static err password_read(struct ledger_conf *l, struct diag *reterr)
{
    struct bytes said = l->password, file = BYTES_NONE;
    if (!said.len)
        return OK;
    if (bytes_starts(said, BYTES("file:"))) {
        err e = file_read_whole(said.ptr + 5, LEDGER_PASSWORD_BYTES_MAX, &file, reterr);
        if (e)
            return e;
        said = (struct bytes){ file.ptr, bytes_index(file, '\n') };
    } else if (bytes_starts(said, BYTES("env:"))) {
        said = bytes_from(getenv(said.ptr + 4));
    }
    const bool fits = said.len && said.len <= LEDGER_PASSWORD_BYTES_MAX;
    if (fits) {
        memcpy(l->secret, said.ptr, said.len);
        l->secret_bytes = (uint32_t)said.len;
    }
    file_read_free(file);
    if (fits)
        return OK;
    diag_set(reterr, "ledger: password: there is none there, or it has more than %d bytes",
             LEDGER_PASSWORD_BYTES_MAX);
    return ERR_CONF;
}

static err ledger_check(void *conf, struct diag *reterr)
{
    struct ledger_conf *l = conf;
    if (!WEIR_HAVE_LMDB) {
        diag_set(reterr, "ledger: this weir was built without lmdb");
        return ERR_CONF;
    }
    if (l->path.len == 0 || l->path.ptr[0] != '/') {
        diag_set(reterr, "ledger: path: \"%s\" is no absolute path", l->path.ptr);
        return ERR_CONF;
    }
    if (l->tls && !l->listen.len) {
        diag_set(reterr, "ledger: tls: it is for `listen`, which is not said");
        return ERR_CONF;
    }
    if (l->password.len && !l->listen.len) {
        diag_set(reterr, "ledger: password: it is for `listen`, which is not said");
        return ERR_CONF;
    }
    err e = password_read(l, reterr);
    if (!e)
        e = topic_conf_check(&l->topics, reterr);
    return e ? e : crypt_source_check(l->key, reterr);
}

const struct conf_struct ledger_conf_struct = {
    .name = "ledger",
    .size = sizeof(struct ledger_conf),
    .phrases = (const char *const[]){ "{path}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "path",
              .type = CONF_TEXT,
              .offset = AT(ledger_conf, path),
              .required = true,
              .doc = "its folder, made when it is not there; on a disk of its own if speed matters" },
            { .name = "durability",
              .type = CONF_STRUCT,
              .offset = AT(ledger_conf, durability),
              .preset = "commit",
              .sub = &durability_struct,
              .doc = "how safe what is answered is: `commit`, `interval 50ms`, `memory`" },
            { .name = "memory_bytes_max",
              .type = CONF_BYTES,
              .offset = AT(ledger_conf, memory_bytes_max),
              .preset = "1g",
              .min = 16 << 20,
              .doc = "for what is open; what is finished leaves memory when it is needed. When all of it is "
                     "taken by what is open, new things are refused" },
            { .name = "segment_bytes",
              .type = CONF_BYTES,
              .offset = AT(ledger_conf, segment_bytes),
              .preset = "64m",
              .min = 16 << 20,
              .max = 1 << 30,
              .doc = "of one file of the log; the first of a process has 16m" },
            { .name = "log_keep_bytes",
              .type = CONF_BYTES,
              .offset = AT(ledger_conf, log_keep_bytes),
              .preset = "0",
              .doc = "of the log that the checkpoint does not need any more" },
            { .name = "checkpoint_interval",
              .type = CONF_MS,
              .offset = AT(ledger_conf, checkpoint_interval_ms),
              .preset = "1s",
              .min = 10,
              .max = 3600000,
              .doc = "between two checkpoints at least; they come sooner when much has changed. What lies "
                     "between is replayed after a crash" },
            { .name = "checkpoint_bytes_max",
              .type = CONF_BYTES,
              .offset = AT(ledger_conf, checkpoint_bytes_max),
              .preset = "256g",
              .min = 16 << 20,
              .doc = "of address space for the checkpoint's file, and so the most it may grow to" },
            { .name = "batch_entries_max",
              .type = CONF_INT,
              .offset = AT(ledger_conf, batch_entries_max),
              .preset = "4096",
              .min = 1,
              .max = 65536,
              .doc = "entries that share one write to the disk" },
            { .name = "http",
              .type = CONF_STRUCT,
              .offset = AT(ledger_conf, http),
              .sub = &http_struct,
              .doc = "an address where it can be asked by HTTP, with JSON: [stock](stock.md)" },
            { .name = "topics",
              .type = CONF_MAP,
              .offset = AT(ledger_conf, topics),
              .sub = &topic_conf_struct,
              .max = TOPICS_MAX,
              .doc = "queues of messages, by name: [topics](topic.md)" },
            { .name = "stock_file",
              .type = CONF_TEXT,
              .offset = AT(ledger_conf, stock_file),
              .doc = "a CSV file of items that are made at start when they are not there yet: "
                     "[stock](stock.md)" },
            { .name = "listen",
              .type = CONF_ADDR,
              .offset = AT(ledger_conf, listen),
              .doc = "where clients of Redis find it (RESP2 and RESP3): `127.0.0.1:6390`, `unix:/path`; none "
                     "when not said" },
            { .name = "tls",
              .type = CONF_STRUCT,
              .offset = AT(ledger_conf, tls),
              .sub = &tls_listen_struct,
              .doc = "`listen` speaks TLS" },
            { .name = "password",
              .type = CONF_TEXT,
              .offset = AT(ledger_conf, password),
              .doc = "what those clients say with AUTH: the text itself, `file:/path` (its first line) or "
                     "`env:NAME`; none is asked for when not said" },
            { .name = "key",
              .type = CONF_TEXT,
              .offset = AT(ledger_conf, key),
              .doc =
                  "`file:/path` or `env:NAME`: keys for encryption at rest, `id:64 hex digits` a line, the "
                  "first is used for what is written; not encrypted when not said" },
            { 0 } },
    .check = ledger_check,
    .mark_offset = AT(ledger_conf, mark),
    .doc = "What must not be lost or done twice. One process has it at a time.",
};

/* ---- the one of this process ---- */

static struct ledger *own;

err ledger_start(const struct ledger_conf *conf, bool later, struct diag *reterr)
{
    if (!conf)
        return OK;
    struct ledger_opts o = { .path = conf->path.ptr,
                             .rules = ledger_rules_registry,
                             .durability = (enum ledger_durability)conf->durability->mode,
                             .interval_ms = conf->durability->every_ms,
                             .memory_bytes = conf->memory_bytes_max,
                             .segment_bytes = conf->segment_bytes,
                             .batch_entries_max = (uint32_t)conf->batch_entries_max,
                             .log_keep_bytes = conf->log_keep_bytes,
                             .checkpoint_interval_ms = conf->checkpoint_interval_ms,
                             .checkpoint_bytes_max = conf->checkpoint_bytes_max,
                             .staying_max = LEDGER_STAYING_MAX,
                             .key = conf->key,
                             .later = later,
                             .metrics = true };
    err e = ledger_open(&o, &own, reterr);
    if (e)
        return e;
    ledger_use(own);
    return OK;
}

static bool differs(const struct ledger_conf *a, const struct ledger_conf *b)
{
    if (!a || !b)
        return a != b;
    return !bytes_eq(a->path, b->path) || !bytes_eq(a->key, b->key) ||
           a->durability->mode != b->durability->mode || a->durability->every_ms != b->durability->every_ms ||
           a->memory_bytes_max != b->memory_bytes_max || a->segment_bytes != b->segment_bytes ||
           a->log_keep_bytes != b->log_keep_bytes || a->checkpoint_interval_ms != b->checkpoint_interval_ms ||
           a->checkpoint_bytes_max != b->checkpoint_bytes_max || a->batch_entries_max != b->batch_entries_max;
}

void ledger_compare(const struct ledger_conf *now, const struct ledger_conf *next)
{
    if (differs(now, next))
        log_warn("ledger", "a change of its settings takes effect at the next start");
}

/* The mutex keeps the files open while they are copied; nothing else is waited for with it held. */
static struct helper_pool pool = HELPER_POOL("weir-ledger-io", 1, 4, 0);
static pthread_mutex_t files = PTHREAD_MUTEX_INITIALIZER;

struct copying {
    const char *folder;
    struct diag *reterr;
    err result;
};

static void copy(void *arg)
{
    struct copying *c = arg;
    pthread_mutex_lock(&files);
    c->result = ledger_backup(own, c->folder, c->reterr);
    pthread_mutex_unlock(&files);
}

err ledger_copy(const char *folder, struct diag *reterr)
{
    struct copying c = { folder, reterr, OK };
    err e = helper_run(&pool, copy, &c);
    return e ? e : c.result;
}

static int next_process = -1;

void ledger_next_process(int fd)
{
    next_process = fd;
}

static void leave(void *arg)
{
    pthread_mutex_lock(&files);
    ledger_leave(arg, next_process);
    pthread_mutex_unlock(&files);
}

static atomic_bool handed_over;

bool ledger_handed_over(void)
{
    return atomic_load_explicit(&handed_over, memory_order_relaxed);
}

void ledger_hand_over(void)
{
    atomic_store(&handed_over, own != NULL);
    if (own && helper_run(&pool, leave, own) != OK)
        log_error("ledger", "cannot be handed over: the next process gets it when this one ends");
}

void ledger_serve_before(int fd)
{
    if (own)
        pass_on_serve(own, fd);
    else
        close(fd);
}

void ledger_stop(void)
{
    ledger_use(NULL);
    pthread_mutex_lock(&files);
    ledger_close(own);
    own = NULL;
    pthread_mutex_unlock(&files);
}
