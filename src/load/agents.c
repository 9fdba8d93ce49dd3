#include "load/agents.h"

#include <poll.h>
#include <string.h>

#include "base/list.h"
#include "base/mem.h"
#include "core/fiber.h"
#include "core/io.h"
#include "load/answer.h"
#include "load/emit.h"

#define CLOCK_TRIES 5
#define CONNECT_MS 5000
#define ANSWER_MS 30000
#define START_IN_US 1000000u
#define STEP_IN_US 300000u /* after another run of the same */
#define LINE_BYTES_MAX ((size_t)64 << 20)
#define SILENCE_MS 600000 /* intervals may be long */

/* What one has said of an interval and nobody has added up yet. */
struct said {
    struct said *next;
    struct load_stats *stats;
    struct emitted emitted;
};

struct agent_of {
    struct agents *all;
    unsigned index;
    struct io *io;
    int64_t offset_us; /* its clock minus ours */
    struct said *first, **last;
    struct text line;
    struct answer answer;
    bool ended, told_end;
    double seconds;
};

struct agents {
    const struct agents_plan *plan;
    struct diag *reterr;
    struct load_report report;
    struct agent_of *agents;
    struct fiber *fiber;
    unsigned running;
    struct load_signals signals;
    bool aborting, over, starting;
    uint64_t start_us; /* worker_wall_us's clock */
    double rate;       /* of the run at hand; 0: as args say */
    double at_s, began_s;
    err result;
};

/* ---- asking one ---- */

static err wrong(struct agent_of *g, err e, const char *what)
{
    diag_set(g->all->reterr, "agent %s: %s%s%s", g->all->plan->names[g->index], what, e ? ": " : "",
             e ? err_text(e) : "");
    return e ? e : ERR_PROTOCOL;
}

static err send_request(struct agent_of *g, const char *method, const char *path, struct bytes body)
{
    struct text t = { 0 };
    err e = tcp_connect(&g->all->plan->addrs[g->index], NULL, deadline_in_ms(CONNECT_MS), &g->io);
    if (e)
        return wrong(g, e, "cannot be reached");
    text_print(
        &t,
        "%s %s HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Length: %zu\r\nAuthorization: Bearer ",
        method, path, body.len);
    text_add(&t, bytes_from(g->all->plan->token));
    text_add(&t, BYTES("\r\n\r\n"));
    text_add(&t, body);
    e = io_write(g->io, (struct bytes){ t.at, t.len }, deadline_in_ms(ANSWER_MS));
    text_free(&t);
    return e ? wrong(g, e, "cannot be asked") : OK;
}

static err read_head(struct agent_of *g, enum http_method method, uint64_t wait_ms)
{
    struct http_field fields[ANSWER_FIELDS_MAX];
    struct http_response head;
    size_t used;
    err e = answer_head(&g->answer, g->io, method, deadline_in_ms(wait_ms), fields, &head, &used);
    if (e)
        return wrong(g, e, "no answer");
    io_consume(g->io, used);
    return OK;
}

static void hang_up(struct agent_of *g)
{
    if (g->io)
        io_abort(g->io, false);
    g->io = NULL;
}

/* One more piece of the answer into the line; ERR_CLOSED: that was all. */
static err read_more(struct agent_of *g, uint64_t wait_ms)
{
    struct bytes in, piece;
    size_t used;
    if (g->answer.done)
        return ERR_CLOSED;
    err e = io_pull(g->io, deadline_in_ms(wait_ms), &in);
    if (!e)
        e = answer_body(&g->answer, in, &piece, &used);
    if (e)
        return e;
    text_add(&g->line, piece);
    io_consume(g->io, used);
    return g->line.len > LINE_BYTES_MAX ? ERR_LIMIT : OK;
}

/* The whole of a short answer. */
static err ask(struct agent_of *g, const char *method, const char *path)
{
    g->line.len = 0;
    err e = send_request(g, method, path, BYTES_NONE);
    if (!e)
        e = read_head(g, http_method_of(bytes_from(method)), ANSWER_MS);
    while (!e)
        e = read_more(g, ANSWER_MS);
    hang_up(g);
    if (e == ERR_CLOSED)
        e = g->answer.status == 200
                ? OK
                : wrong(g, OK, g->answer.status == 401 ? "it refuses the token" : "it refuses");
    return e;
}

/* The answer that was quickest says most of the other clock (Cristian, 1989). */
static err compare_clocks(struct agent_of *g)
{
    uint64_t best_us = UINT64_MAX;
    for (unsigned i = 0; i < CLOCK_TRIES; i++) {
        struct arena a;
        struct json *j;
        uint64_t before_us = load_now_ns() / 1000, now_us = 0;
        err e = ask(g, "GET", "/v1/clock");
        uint64_t took_us = load_now_ns() / 1000 - before_us;
        if (e)
            return e;
        arena_open(&a, &arena_heap, 1 << 16, NULL, 0);
        if (json_read((struct bytes){ g->line.at, g->line.len }, &a, &j) == OK && json_member(j, "now_us"))
            (void)!bytes_to_u64(json_member(j, "now_us")->text, &now_us);
        arena_close(&a);
        if (!now_us)
            return wrong(g, OK, "it is no agent");
        if (took_us < best_us) {
            best_us = took_us;
            /* worker_wall_us is of the turn's beginning: take the offset between the two clocks that are read
             * now */
            uint64_t wall_us = worker_wall_us() + (load_now_ns() / 1000 - worker_now_us());
            g->offset_us = (int64_t)now_us - (int64_t)(wall_us - took_us / 2);
        }
    }
    return OK;
}

/* ---- a run ---- */

static err send_job(struct agent_of *g)
{
    const struct agents_plan *p = g->all->plan;
    struct text t = { 0 };
    text_add(&t, BYTES("{\"args\":["));
    text_add(&t, p->args);
    text_print(&t, ",\"--share\",\"%u/%u\",\"--start-at\",\"%llu\"", g->index * p->threads,
               p->count * p->threads, (unsigned long long)((int64_t)g->all->start_us + g->offset_us));
    if (g->all->rate > 0)
        text_print(&t, ",\"--step-rate\",\"%.17g\"", g->all->rate);
    text_add(&t, BYTES("],\"files\":["));
    text_add(&t, p->files);
    text_add(&t, BYTES("]}"));
    err e = send_request(g, "POST", "/v1/load", (struct bytes){ t.at, t.len });
    text_free(&t);
    return e ? e : read_head(g, HTTP_POST, SILENCE_MS);
}

static err keep_interval(struct agent_of *g, const struct json *j)
{
    struct said *s = mem_must_get(sizeof *s);
    err e = load_stats_open(g->all->plan->load->kinds_count, &s->stats);
    if (!e)
        e = emit_read(j, s->stats, &s->emitted);
    if (e) {
        load_stats_close(s->stats);
        mem_free(s);
        return wrong(g, e, "it does not measure what is measured here; is it another version?");
    }
    *g->last = s;
    g->last = &s->next;
    return OK;
}

static err take_end(struct agent_of *g, const struct json *j)
{
    struct load_report *r = &g->all->report;
    double busy = json_member_number(j, "busy");
    g->told_end = true;
    g->seconds = json_member_number(j, "seconds");
    r->abandoned += (uint64_t)json_member_number(j, "abandoned");
    r->interrupted = r->interrupted || json_member_number(j, "interrupted") > 0;
    r->busy = busy > r->busy ? busy : r->busy;
    return OK;
}

static err take_line(struct agent_of *g, struct bytes line)
{
    struct arena a;
    struct json *j;
    err e = OK;
    arena_open(&a, &arena_heap, 4 * LINE_BYTES_MAX, NULL, 0);
    if (json_read(line, &a, &j) != OK) { /* what its process says to people */
        diag_set(g->all->reterr, "agent %s: %.*s", g->all->plan->names[g->index],
                 (int)(line.len < 300 ? line.len : 300), line.ptr);
        e = ERR_PROTOCOL;
    } else if (json_member(j, "kinds")) {
        e = keep_interval(g, j);
    } else if (json_member(j, "end")) {
        e = take_end(g, j);
    }
    arena_close(&a);
    return e;
}

static err take_lines(struct agent_of *g)
{
    struct bytes all = { g->line.at, g->line.len }, line;
    err e = OK;
    while (!e && bytes_index(all, '\n') < all.len) {
        line = (struct bytes){ all.ptr, bytes_index(all, '\n') };
        all = bytes_skip(all, line.len + 1);
        if (line.len)
            e = take_line(g, line);
    }
    if (all.len)
        memmove(g->line.at, all.ptr, all.len);
    g->line.len = all.len;
    return e;
}

static err follow(struct agent_of *g)
{
    g->line.len = 0;
    err e = send_job(g);
    if (!e && g->answer.status != 200) {
        while (!e)
            e = read_more(g, ANSWER_MS);
        diag_set(g->all->reterr, "agent %s refuses: %.*s", g->all->plan->names[g->index],
                 (int)(g->line.len < 200 ? g->line.len : 200), g->line.at ? g->line.at : "");
        return ERR_PROTOCOL;
    }
    while (!e) {
        e = read_more(g, SILENCE_MS);
        err taken = take_lines(g);
        fiber_wake(g->all->fiber);
        e = taken ? taken : e;
    }
    if (e == ERR_CLOSED && g->told_end)
        return OK;
    return wrong(g, e == ERR_CLOSED ? OK : e, "it ended in the middle of the run");
}

static void agent_fiber(void *arg)
{
    struct agent_of *g = arg;
    struct agents *all = g->all;
    err e = all->starting ? compare_clocks(g) : follow(g);
    hang_up(g);
    if (e && !all->result)
        all->result = e;
    g->ended = true;
    all->running--;
    fiber_wake(all->fiber);
}

/* ---- adding up ---- */

static bool all_have_said(const struct agents *all)
{
    bool any = false;
    for (unsigned i = 0; i < all->plan->count; i++) {
        const struct agent_of *g = &all->agents[i];
        if (!g->first && !g->ended)
            return false;
        any = any || g->first;
    }
    return any;
}

static void add_up(struct agents *all)
{
    struct load_report *r = &all->report;
    struct load_point p = { .at_s = all->at_s };
    load_stats_reset(r->recent);
    r->warming = false;
    for (unsigned i = 0; i < all->plan->count; i++) {
        struct agent_of *g = &all->agents[i];
        struct said *s = g->first;
        if (!s)
            continue;
        g->first = s->next;
        g->last = g->first ? g->last : &g->first;
        load_stats_merge(r->recent, s->stats);
        r->warming = r->warming || s->emitted.warming;
        p.seconds = s->emitted.seconds > p.seconds ? s->emitted.seconds : p.seconds;
        p.wanted = s->emitted.wanted > p.wanted ? s->emitted.wanted : p.wanted; /* each knows the whole */
        p.busy = s->emitted.busy > p.busy ? s->emitted.busy : p.busy;
        p.connections += s->emitted.connections;
        p.in_flight += s->emitted.in_flight;
        load_stats_close(s->stats);
        mem_free(s);
    }
    all->at_s += p.seconds;
    double done_s = all->at_s - all->began_s;
    r->seconds_left = done_s < r->seconds_planned ? r->seconds_planned - done_s : 0;
    report_fill_point(r, &p);
    report_take(r, &p);
    for (struct load_watcher *w = all->plan->watchers; w; w = w->next)
        w->look(w, r);
}

/* ---- all of them ---- */

static void on_each(struct agents *all, bool starting)
{
    all->starting = starting;
    all->running = all->plan->count;
    for (unsigned i = 0; i < all->plan->count; i++) {
        all->agents[i].ended = false;
        fiber_spawn(agent_fiber, &all->agents[i]);
    }
}

/* On connections of their own: those of the run are busy. */
static void stop_run(void *arg)
{
    struct agents *all = arg;
    for (unsigned i = 0; i < all->plan->count; i++) {
        struct agent_of g = { .all = all, .index = i };
        (void)!ask(&g, "POST", "/v1/stop");
        text_free(&g.line);
    }
}

static void signals_run(void *arg)
{
    struct agents *all = arg;
    while (io_wait_fd(all->signals.fd, POLLIN, DEADLINE_NONE) == OK) {
        for (unsigned n = load_signals_take(&all->signals); n; n--) {
            all->aborting = all->report.interrupted;
            all->report.interrupted = true;
            if (!all->aborting && !all->over)
                fiber_spawn(stop_run, all);
        }
        if (!all->over)
            fiber_wake(all->fiber);
    }
}

static bool wait_for_all(struct agents *all)
{
    while (all->running && !all->result && !all->aborting) {
        if (fiber_wait(DEADLINE_NONE) == ERR_CANCELLED)
            break;
        while (!all->starting && all_have_said(all))
            add_up(all);
    }
    while (!all->starting && all_have_said(all))
        add_up(all);
    return !all->running && !all->result;
}

static err start_parts(struct agents *all, struct run_part **ret_failed)
{
    for (struct run_part *p = all->plan->parts; p; p = p->next) {
        err e = p->start(p, &all->report, all->reterr);
        *ret_failed = p;
        if (e)
            return e;
    }
    *ret_failed = NULL;
    return OK;
}

bool agents_measure(struct agents *all, double rate)
{
    struct load_report *r = &all->report;
    if (r->interrupted || all->result)
        return false;
    load_stats_reset(r->all);
    r->abandoned = 0;
    r->busy = r->seconds = 0;
    all->rate = rate;
    all->began_s = all->at_s;
    all->start_us = worker_wall_us() + (r->seconds_run > 0 ? STEP_IN_US : START_IN_US);
    for (unsigned i = 0; i < all->plan->count; i++)
        all->agents[i].told_end = false;
    on_each(all, false);
    bool whole = wait_for_all(all);
    for (unsigned i = 0; i < all->plan->count; i++) {
        double seconds = all->agents[i].told_end ? all->agents[i].seconds : 0;
        r->seconds = seconds > r->seconds ? seconds : r->seconds;
    }
    r->seconds_run += r->seconds;
    return whole && !r->interrupted;
}

const struct load_report *agents_report(const struct agents *all)
{
    return &all->report;
}

static void drive(struct agents *all)
{
    on_each(all, true);
    if (!wait_for_all(all))
        return;
    if (all->plan->drive)
        all->plan->drive(all, all->plan->arg);
    else
        (void)agents_measure(all, 0);
}

static void agents_control(void *arg)
{
    struct agents *all = arg;
    struct run_part *failed;
    all->fiber = fiber_self();
    all->report.started_wall_us = worker_wall_us();
    all->report.seconds_planned = all->plan->seconds_planned;
    fiber_spawn(signals_run, all);
    all->result = start_parts(all, &failed);
    if (!all->result)
        drive(all);
    all->over = true;
    for (struct run_part *p = all->plan->parts; p && p != failed; p = p->next)
        p->stop(p);
    do {
        fiber_cancel_all();
        fiber_yield();
    } while (fiber_stats(worker_self()).live > 1);
    worker_stop(worker_self());
}

static void agents_free(struct agents *all)
{
    for (unsigned i = 0; all->agents && i < all->plan->count; i++) {
        struct agent_of *g = &all->agents[i];
        for (struct said *s = g->first, *next; s; s = next) {
            next = s->next;
            load_stats_close(s->stats);
            mem_free(s);
        }
        text_free(&g->line);
    }
    mem_free(all->agents);
}

err agents_run(const struct agents_plan *plan, struct load_report *ret_report, struct diag *reterr)
{
    struct agents all = { .plan = plan, .reterr = reterr };
    struct worker_opts o = { .index = 0, .loop = plan->load->loop, .cpu = -1, .name = "load" };
    err e = load_signals_open(&all.signals);
    if (e)
        return e;
    all.agents = mem_get(plan->count * sizeof *all.agents);
    e = all.agents ? report_open(&all.report, plan->load) : ERR_MEMORY;
    for (unsigned i = 0; !e && i < plan->count; i++)
        all.agents[i] = (struct agent_of){ .all = &all, .index = i, .last = &all.agents[i].first };
    if (!e)
        e = worker_run(&o, agents_control, &all, reterr);
    e = e ? e : all.result;
    agents_free(&all);
    load_signals_close(&all.signals);
    if (e)
        load_report_close(&all.report);
    else
        *ret_report = all.report;
    return e;
}
