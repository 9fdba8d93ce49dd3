/* How a configuration comes into force, and what is one a process beside it: service modules, the admin
 * listener. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "core/io.h"
#include "core/log.h"
#include "gate/access_log.h"
#include "gate/call.h"
#include "gate/control_listener.h"
#include "gate/history.h"
#include "gate/http1_server.h"
#include "gate/http3_listen.h"
#include "gate/listeners.h"
#include "gate/process_internal.h"
#include "gate/registry.h"
#include "gate/tls_watch.h"
#include "gate/upgrade.h"
#include "ledger/ledger_conf.h"
#include "net/tcp.h"

#define FILE_BYTES_MAX CONF_FILE_BYTES_MAX
#define FILE_BYTES_FIRST (64 * 1024)

struct module_run {
    struct bytes service;
    const struct service_module *module;
    void *state;
};

static struct module_run *modules;
static size_t modules_count;

/* ---- the file ---- */

/* In a buffer that grows: most files are small, and what was once taken large stays resident. */
static err read_all(int fd, struct arena *a, struct bytes *ret_text, int *ret_errno)
{
    size_t size = FILE_BYTES_FIRST;
    size_t len = 0;
    char *text = arena_get(a, size);
    while (text && len <= FILE_BYTES_MAX) {
        ssize_t n = read(fd, text + len, size - len);
        *ret_errno = errno;
        if (n < 0)
            return ERR_CONF;
        len += (size_t)n;
        if (n == 0)
            break;
        if (len < size)
            continue;
        char *larger = arena_get(a, size * 2);
        if (larger)
            memcpy(larger, text, len);
        text = larger;
        size *= 2;
    }
    *ret_errno = ENOMEM;
    *ret_text = (struct bytes){ text, len };
    return text ? OK : ERR_MEMORY;
}

err process_read_file(const char *path, struct arena *a, struct bytes *ret_text, struct diag *reterr)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int why = errno;
    err e = fd < 0 ? ERR_CONF : read_all(fd, a, ret_text, &why);
    if (fd >= 0)
        close(fd);
    if (e)
        diag_set(reterr, "cannot read %s: %s", path, strerror(why));
    return e;
}

err reload_load(const struct bytes *given, struct generation **ret_generation, struct diag *reterr)
{
    struct arena a;
    struct bytes text;
    const char *path = process_self.opts->conf_path;
    if (given)
        return generation_load(*given, path, NULL, ret_generation, reterr);
    arena_open(&a, &arena_heap, FILE_ARENA_BYTES_MAX, NULL, 0);
    err e = process_read_file(path, &a, &text, reterr);
    if (!e)
        e = generation_load(text, path, NULL, ret_generation, reterr);
    arena_close(&a);
    return e;
}

/* ---- generations ---- */

struct opening {
    struct generation *generation;
    struct gate *gate;
    struct diag *diag;
    err failed;
};

static void open_here(void *arg)
{
    struct opening *o = arg;
    o->failed = gate_open(o->generation, &o->gate, o->diag);
}

static void use_here(void *arg)
{
    gate_use(arg);
}

static void drop_here(void *arg)
{
    gate_drop(arg);
}

/* The control worker first: what is made once for all of them (gate/once.h) is made where no request waits.
 */
static err open_everywhere(struct generation *g, struct gate **gates, struct diag *reterr)
{
    for (unsigned i = process_self.count + 1; i-- > 0;) {
        struct opening o = { .generation = g, .diag = reterr };
        call_worker(process_self.workers[i], open_here, &o);
        if (o.failed) {
            while (++i <= process_self.count)
                call_worker(process_self.workers[i], drop_here, gates[i]);
            return o.failed;
        }
        gates[i] = o.gate;
    }
    return OK;
}

void reload_stop_modules(void)
{
    for (size_t i = 0; i < modules_count; i++)
        modules[i].module->stop(modules[i].state);
    mem_free(modules);
    modules = NULL;
    modules_count = 0;
}

static void start_module(const struct service *s, const struct conf_module *m)
{
    const struct service_module *module = service_module_registry[m->index];
    struct server_shared **shared = mem_must_get(s->servers_count * sizeof(void *));
    struct addr *addrs = mem_must_get(s->servers_count * sizeof *addrs);
    struct diag d = DIAG_NONE;
    void *state;
    for (uint32_t i = 0; i < s->servers_count; i++) {
        shared[i] = s->servers[i].shared;
        addrs[i] = s->servers[i].addr;
    }
    err e = module->start(m->conf, s->name, shared, addrs, s->servers_count, &state, &d);
    if (e)
        log_error(module->conf.name, "cannot start for service %.*s: %s %s", BYTES_ARG(s->name), err_text(e),
                  d.text);
    else
        modules[modules_count++] = (struct module_run){ s->name, module, state };
    mem_free(shared);
    mem_free(addrs);
}

static void start_modules(void)
{
    struct gate *g = gate_current();
    size_t count = 0;
    for (unsigned i = 0; i < g->services_count; i++)
        count += g->services[i].conf->modules.count;
    modules = mem_must_get((count + 1) * sizeof *modules);
    for (unsigned i = 0; i < g->services_count; i++) {
        const struct conf_list *list = &g->services[i].conf->modules;
        for (size_t j = 0; j < list->count; j++)
            start_module(&g->services[i], (const struct conf_module *)list->items + j);
    }
}

void process_report_modules(struct bytes service, struct text *json)
{
    for (size_t i = 0; i < modules_count; i++) {
        const struct module_run *m = &modules[i];
        if (!bytes_eq(m->service, service))
            continue;
        json_begin(json, m->module->conf.name, '{');
        if (m->module->report)
            m->module->report(m->state, json);
        json_end(json, '}');
    }
}

/* ---- coming into force ---- */

static err open_sockets(struct generation *g, struct control_opened *ret_control, struct diag *reterr)
{
    const struct gate_conf *conf = g->conf;
    err e = listeners_open(&g->listen, process_self.count, reterr);
    if (e)
        return e;
    e = control_listeners_open(conf, ret_control, reterr);
    if (!e) {
        e = history_open(conf->state_dir, process_self.opts->conf_path, reterr);
        if (!e)
            e = access_log_open(conf->access_log, &g->access_log, reterr);
        if (e)
            control_listeners_undo(ret_control);
    }
    if (e)
        listeners_undo();
    return e;
}

static void keep(struct generation *g)
{
    const struct generation_origin *o = &process_self.origin;
    struct history_entry entry = { .number = g->number, .time_s = o->time_s };
    struct diag d = DIAG_NONE;
    memcpy(entry.author, o->author, sizeof entry.author);
    memcpy(entry.reason, o->reason, sizeof entry.reason);
    err e = history_keep(&entry, g->text, &d);
    if (e)
        log_warn("history", "generation %llu is not kept: %s", (unsigned long long)g->number, d.text);
}

/* The first of this process: numbers go on where they were. */
static void number_first(struct generation *g)
{
    uint64_t newest = history_newest();
    uint64_t before = upgrade_generation();
    bool same = newest && history_is_newest(g->text);
    if (newest > before)
        before = newest;
    if (before)
        generation_renumber(g, same ? newest : before + 1);
}

static err prepare(const struct generation *g, struct diag *reterr)
{
#if WEIR_HAVE_NGTCP2
    if (http3_is_wanted(g->conf))
        return http3_prepare(process_self.workers, process_self.count, reterr);
#endif
    (void)g, (void)reterr;
    return OK;
}

/* All that can fail comes before anything changes. */
err reload_apply(struct generation *g, const struct generation_origin *origin, struct diag *reterr)
{
    struct gate *gates[CPUS_MAX + 1];
    struct control_opened control;
    g->workers = process_self.count;
    err e = prepare(g, reterr);
    if (!e)
        e = open_everywhere(g, gates, reterr);
    if (e) {
        if (reterr->line && !reterr->file)
            reterr->file = process_self.opts->conf_path;
        return e;
    }
    e = open_sockets(g, &control, reterr);
    if (e) {
        for (unsigned i = 0; i <= process_self.count; i++)
            call_worker(process_self.workers[i], drop_here, gates[i]);
        return e;
    }
    if (!process_self.generation)
        number_first(g);
    for (unsigned i = 0; i <= process_self.count; i++)
        call_worker(process_self.workers[i], use_here, gates[i]);
    struct generation *before = process_self.generation;
    if (before)
        ledger_compare(before->conf->ledger, g->conf->ledger);
    process_self.generation = g;
    process_self.origin = *origin;
    process_self.origin.time_s = (int64_t)time(NULL);
    control_listeners_use(g->conf, &control);
    listeners_use(process_self.workers, process_self.count);
    tls_watch();
    reload_stop_modules();
    start_modules();
    if (before)
        generation_drop(before);
    keep(g);
    return OK;
}
