/* What the admin API can be asked, and the short answers. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "admin/call.h"
#include "build_info.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gate/gate.h"
#include "gate/history.h"
#include "gate/upgrade.h"

#define AT(type, member) offsetof(struct type, member)
#define JSON "application/json"
#define YAML "application/yaml"
#define TEXT "text/plain; charset=utf-8"

/* Written by weir itself, not by a module's cells. */
void admin_write_process_metrics(struct text *t);

static void append(void *arg, struct bytes part)
{
    text_add(arg, part);
}

static void metrics_get(struct call *c)
{
    const struct metric_writer w = { append, c->out };
    metrics_write(&w);
    admin_write_process_metrics(c->out);
    call_answer(c, "text/plain; version=0.0.4; charset=utf-8");
}

static void config_get(struct call *c)
{
    const struct conf_writer w = { append, c->out };
    conf_write_yaml(&gate_conf_struct, c->x->gate->generation->conf, &w);
    call_answer(c, YAML);
}

/* ---- status ---- */

static void status_get(struct call *c)
{
    static const char *const states[] = { "serving", "draining", "upgraded" };
    const struct generation_origin *o = process_origin();
    const struct generation *g = process_generation();
    struct worker *const *workers;
    uint64_t connections = 0;
    unsigned count = process_workers(&workers);
    for (unsigned i = 0; i + 1 < count; i++)
        connections += worker_stats(workers[i]).connections;
    struct text *t = c->out;
    json_begin(t, NULL, '{');
    json_text(t, "version", BYTES(WEIR_VERSION));
    json_u64(t, "pid", (uint64_t)getpid());
    json_text(t, "state", bytes_from(states[process_state()]));
    json_u64(t, "uptime_s", (worker_now_us() - process_started_us()) / 1000000);
    json_u64(t, "workers", count - 1);
    json_u64(t, "connections", connections);
    json_begin(t, "generation", '{');
    json_u64(t, "number", g->number);
    json_text(t, "author", bytes_from(o->author));
    json_text(t, "reason", bytes_from(o->reason));
    json_i64(t, "time", o->time_s);
    if (o->rolled_back_to)
        json_u64(t, "rolled_back_to", o->rolled_back_to);
    json_end(t, '}');
    json_text(t, "file", bytes_from(process_conf_path()));
    json_text(t, "state_dir", bytes_from(history_folder()));
    json_u64(t, "reloads", process_reloads(false));
    json_u64(t, "reloads_refused", process_reloads(true));
    json_u64(t, "draining_predecessors", upgrade_elders());
    json_text(t, "log", bytes_from(log_level_words[log_level()]));
    json_end(t, '}');
    call_answer(c, JSON);
}

/* ---- orders ---- */

static void order(struct call *c, enum order_kind kind, const char *member)
{
    struct diag d = DIAG_NONE;
    struct order o = { .kind = kind, .diag = &d };
    memcpy(o.author, c->author, sizeof o.author);
    err e = process_order(&o);
    if (e) {
        call_failed(c, e == ERR_UNAVAILABLE ? 503 : 422, e, &d);
        return;
    }
    json_begin(c->out, NULL, '{');
    json_u64(c->out, member, o.ret_number);
    json_end(c->out, '}');
    call_answer(c, JSON);
}

static void reload_post(struct call *c)
{
    order(c, ORDER_RELOAD, "generation");
}

static void upgrade_post(struct call *c)
{
    order(c, ORDER_UPGRADE, "pid");
}

/* ---- log level ---- */

struct log_body {
    int level;
};

static const struct conf_struct log_body = {
    .name = "log",
    .size = sizeof(struct log_body),
    .fields = (const struct conf_field[]){ { .name = "level",
                                             .type = CONF_WORD,
                                             .offset = AT(log_body, level),
                                             .required = true,
                                             .words = log_level_words,
                                             .doc = "what is less is not written" },
                                           { 0 } },
    .doc = "How much weir writes to its log.",
};

static void log_get(struct call *c)
{
    json_begin(c->out, NULL, '{');
    json_text(c->out, "level", bytes_from(log_level_words[log_level()]));
    json_end(c->out, '}');
    call_answer(c, JSON);
}

static void log_put(struct call *c)
{
    const struct log_body *b = c->body;
    log_warn("log", "level=%s (by %s)", log_level_words[b->level], c->author);
    log_set_level((enum log_level)b->level);
    log_get(c);
}

/* ---- the table ---- */

static const struct endpoint endpoints[] = {
    { HTTP_GET, "/", "this list, for people", "text/html; charset=utf-8", .run = page_get },
    { HTTP_GET, "/openapi.json", "the same as OpenAPI 3.1", JSON, .run = openapi_get },
    { HTTP_GET, "/metrics", "for Prometheus", TEXT, .run = metrics_get },
    { HTTP_GET, "/config", "the configuration in force, defaults filled in", YAML, .run = config_get },
    { HTTP_GET, "/v1/status", "the process: version, state, generation, uptime", JSON, .run = status_get },
    { HTTP_GET, "/v1/services", "services with their servers, states and counts", JSON, .run = services_get },
    { HTTP_GET, "/v1/services/{service}", "one of them", JSON, .run = service_get },
    { HTTP_PATCH, "/v1/services/{service}/servers/{server}",
      "enable, drain or disable a server, or give it another weight; survives reloads and upgrades", JSON,
      .changes = true, .body = &server_body, .run = server_change },
    { HTTP_GET, "/v1/filters", "the filters of each route with their state: breakers, limits", JSON,
      .run = filters_get },
    { HTTP_GET, "/v1/generations", "the configurations that are kept", JSON, .run = generations_get },
    { HTTP_GET, "/v1/generations/{number}", "the text of one", YAML, .run = generation_get },
    { HTTP_GET, "/v1/generations/{number}/diff", "what it changed, as a unified diff", TEXT,
      .run = generation_diff_get },
    { HTTP_GET, "/v1/diff", "the difference of two configurations, as a unified diff", TEXT,
      .query = &diff_query, .run = diff_get },
    { HTTP_POST, "/v1/reload", "reload the file", JSON, .changes = true, .run = reload_post },
    { HTTP_POST, "/v1/rollback", "bring a kept configuration into force again", JSON, .changes = true,
      .body = &rollback_body, .run = rollback_post },
    { HTTP_POST, "/v1/upgrade", "the binary on disk takes over", JSON, .changes = true, .run = upgrade_post },
    { HTTP_GET, "/v1/ledger", "the ledger: does it serve, how safe, how far", JSON, .run = ledger_get },
    { HTTP_POST, "/v1/ledger/backup", "copy it to a new folder while it runs", JSON, .changes = true,
      .body = &ledger_backup_body, .run = ledger_backup_post },
    { HTTP_GET, "/v1/log", "the log level", JSON, .run = log_get },
    { HTTP_PUT, "/v1/log", "set it, until the process ends", JSON, .changes = true, .body = &log_body,
      .run = log_put },
    { HTTP_GET, "/v1/tap", "exchanges as they end, one JSON object a line, as long as you listen",
      "application/x-ndjson", .query = &tap_query, .run = tap_get },
    { 0 },
};

static const struct api_conf *conf_of(const struct exchange *x)
{
    return x->gate->generation->conf->admin;
}

const struct api admin_api = {
    .title = "weir",
    .note = "The same on the command line: <code>weir ctl</code>.",
    .endpoints = endpoints,
    .conf = conf_of,
};
