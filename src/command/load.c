/* load: a load generator. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/load.h"
#include "core/metrics.h"
#include "load/emit.h"
#include "load/framed.h"
#include "load/hdr.h"
#include "load/live.h"
#include "load/prometheus.h"
#include "load/report.h"
#include "load/users.h"
#include "net/quic_client.h"
#include "net/tls_context.h"

#define FILES_SPARE 64
#define INTERVALS_MAX 50000.0

int load_fail(const char *what, const char *why)
{
    fprintf(stderr, "weir: load: %s%s%s\n", what, why ? ": " : "", why ? why : "");
    return LOAD_FAILED;
}

/* ---- what is sent ---- */

struct bytes load_request(struct load_args *a, struct bytes method, struct bytes path, struct bytes body)
{
    bool length = body.len || bytes_eq(method, BYTES("POST")) || bytes_eq(method, BYTES("PUT")) ||
                  bytes_eq(method, BYTES("PATCH"));
    char length_line[48] = "";
    if (length)
        snprintf(length_line, sizeof length_line, "Content-Length: %zu\r\n", body.len);
    struct bytes head =
        arena_print(&a->arena, "%.*s %.*s HTTP/1.1\r\n%s%.*s%s%.*s%s\r\n", BYTES_ARG(method), BYTES_ARG(path),
                    a->has_host ? "" : "Host: ", a->has_host ? 0 : (int)a->target.host.len,
                    a->target.host.ptr, a->has_host ? "" : "\r\n", BYTES_ARG(a->fields), length_line);
    char *all = head.ptr ? arena_get(&a->arena, head.len + body.len) : NULL;
    if (!all)
        return BYTES_NONE;
    memcpy(all, head.ptr, head.len);
    if (body.len)
        memcpy(all + head.len, body.ptr, body.len);
    return (struct bytes){ all, head.len + body.len };
}

static err add_framed(struct load_args *a, struct quick_request *r)
{
    struct framed_request *framed = arena_get(&a->arena, sizeof *framed);
    if (!framed)
        return ERR_MEMORY;
    r->framed = framed;
    return framed_request_make(r->bytes, a->target.tls, &a->arena, framed);
}

err load_quick_request(struct load_args *a, struct bytes method, struct bytes path, struct bytes body,
                       struct quick_request *ret)
{
    *ret = (struct quick_request){ .bytes = load_request(a, method, path, body),
                                   .method = http_method_of(method) };
    if (!ret->bytes.ptr)
        return ERR_MEMORY;
    return a->load.http2 || a->load.http3 ? add_framed(a, ret) : OK;
}

struct quick_plan load_quick_plan(const struct load_args *a, const struct quick_request *requests,
                                  size_t count)
{
    struct quick_plan p = { .addr = &a->target.addr,
                            .requests = requests,
                            .count = count,
                            .protocol = &quick_http1,
                            .pipeline = (unsigned)a->pipeline };
#if WEIR_HAVE_NGHTTP2
    if (a->load.http2)
        p.protocol = &quick_http2;
#endif
#if WEIR_HAVE_NGTCP2
    if (a->load.http3)
        p.protocol = &quick_http3;
#endif
    return p;
}

#if WEIR_HAVE_NGTCP2
static int use_quic(struct load_args *a)
{
    struct diag d = DIAG_NONE;
    if (quic_client_tls_open(a->ca, a->insecure, &a->quic, &d) != OK)
        return load_fail(d.text, NULL);
    metrics_init(a->load.threads); /* net/quic counts */
    return LOAD_OK;
}

static void end_quic(struct load_args *a)
{
    if (!a->quic)
        return;
    metrics_close();
    quic_client_tls_close(a->quic);
}
#else
static int use_quic(struct load_args *a)
{
    (void)a;
    return load_fail("http3: this weir was built without ngtcp2", NULL);
}

static void end_quic(struct load_args *a)
{
    (void)a;
}
#endif

#if WEIR_HAVE_OPENSSL
int load_use_tls(struct load_args *a, const struct target *t)
{
    const struct tls_options options = { .version_min = 12,
                                         .alpn = a->load.http2 ? BYTES("\x02h2") : BYTES("\x08http/1.1"),
                                         .verify = a->insecure ? TLS_VERIFY_OFF : TLS_VERIFY_REQUIRED,
                                         .ca = a->ca };
    struct diag d = DIAG_NONE;
    if (a->load.http3 && !t->tls)
        return load_fail("HTTP/3 is always of https", NULL);
    if (!t->tls)
        return LOAD_OK;
    a->load.server_name = arena_copy(&a->arena, t->name).ptr;
    if (a->load.http3) {
        int result = use_quic(a);
        a->load.quic = a->quic;
        return result;
    }
    return tls_client_context(&options, &a->load.tls, &d) == OK ? LOAD_OK : load_fail(d.text, NULL);
}

static void end_tls(struct load_args *a)
{
    tls_context_drop(a->load.tls);
}
#else
int load_use_tls(struct load_args *a, const struct target *t)
{
    (void)a;
    return t->tls ? load_fail("https: this weir was built without OpenSSL", NULL) : LOAD_OK;
}

static void end_tls(struct load_args *a)
{
    (void)a;
}
#endif

/* ---- the log of histograms ---- */

struct hdr_watcher {
    struct load_watcher watcher;
    FILE *to;
    size_t seen;
};

static void hdr_look(struct load_watcher *w, const struct load_report *r)
{
    struct hdr_watcher *h = (struct hdr_watcher *)w;
    struct text t = { 0 };
    if (r->points_count == h->seen)
        return;
    if (!h->seen)
        hdr_log_begin(&t, (double)r->started_wall_us / 1e6);
    const struct load_point *p = &r->points[r->points_count - 1];
    h->seen = r->points_count;
    load_stats_total(r->recent, r->total);
    const struct load_kind *k = &r->total->kinds[0];
    (void)!hdr_log_interval(&t, r->load->open_loop ? BYTES("service") : BYTES_NONE, p->at_s, p->seconds,
                            &k->service);
    if (r->load->open_loop)
        (void)!hdr_log_interval(&t, BYTES("response"), p->at_s, p->seconds, &k->response);
    fwrite(t.at, 1, t.len, h->to);
    text_free(&t);
}

static int hdr_open(struct hdr_watcher *h, const char *path)
{
    *h = (struct hdr_watcher){ .watcher = { .look = hdr_look } };
    if (!WEIR_HAVE_ZLIB)
        return load_fail("--hdr: this weir was built without zlib", NULL);
    h->to = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    return h->to ? LOAD_OK : load_fail(path, strerror(errno));
}

static int hdr_close(struct hdr_watcher *h, const char *path)
{
    bool failed = ferror(h->to);
    if (h->to == stdout ? fflush(stdout) : fclose(h->to))
        failed = true;
    return failed ? load_fail(path, "not all of it could be written") : LOAD_OK;
}

/* ---- lines for whoever started this ---- */

static void emit_text(struct text *t)
{
    fwrite(t->at, 1, t->len, stdout);
    fflush(stdout);
    text_free(t);
}

static void emit_look(struct load_watcher *w, const struct load_report *r)
{
    struct text t = { 0 };
    (void)w;
    emit_interval(&t, r);
    emit_text(&t);
}

/* ---- results ---- */

static int write_out(const char *path, const struct text *t)
{
    FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    bool written = f && fwrite(t->at, 1, t->len, f) == t->len;
    if (f && fflush(f) != 0)
        written = false;
    if (f && f != stdout && fclose(f) != 0)
        written = false;
    return written ? LOAD_OK : load_fail(path, strerror(errno));
}

static bool is_stdout(const char *path)
{
    return path && strcmp(path, "-") == 0;
}

static int write_all(const struct load_args *a, const struct load_report *r, const struct report_about *about)
{
    struct text t = { 0 };
    int result = LOAD_OK;
    if (!a->quiet) {
        report_table(&t, r, about);
        fwrite(t.at, 1, t.len,
               is_stdout(a->json) || is_stdout(a->csv) || is_stdout(a->hdr) ? stderr : stdout);
        text_free(&t);
    }
    if (a->json) {
        report_json(&t, r, about);
        result = write_out(a->json, &t);
        text_free(&t);
    }
    if (a->csv && !result) {
        report_csv(&t, r);
        result = write_out(a->csv, &t);
        text_free(&t);
    }
    if (a->html && !result) {
        report_html(&t, r, about);
        result = write_out(a->html, &t);
        text_free(&t);
    }
    return result;
}

static int judge(const struct load_args *a, const struct load_report *r)
{
    int result = LOAD_OK;
    char words[96];
    for (unsigned i = 0; i < a->fail_if.count; i++) {
        double value;
        if (!threshold_is_met(&a->fail_if.all[i], r, &value))
            continue;
        fprintf(stderr, "weir: load: failed: %s\n", threshold_print(&a->fail_if.all[i], value, words));
        result = LOAD_THRESHOLD;
    }
    return result;
}

/* ---- a run ---- */

static void whole_drive(struct run *run, void *arg)
{
    (void)arg;
    run_whole(run);
}

/* What this process has of the connections must fit its descriptors, and its addresses' ports. */
static int check_room(const struct load_args *a)
{
    const struct load *l = &a->load;
    const uint64_t here = (uint64_t)l->connections * l->threads / l->shares;
    const uint64_t ports = (uint64_t)(l->port_last - l->port_first + 1) * l->tcp_count;
    struct rlimit files;
    char text[256];
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (a->agents_count) /* they look for themselves */
        return LOAD_OK;
    if (l->http3 && !a->scenario && here > users_max()) {
        snprintf(
            text, sizeof text,
            "%llu connections of HTTP/3 need more mappings than this machine allows; up to %u fit (sysctl "
            "vm.max_map_count)",
            (unsigned long long)here, users_max());
        return load_fail(text, NULL);
    }
    if (l->port_first && here > ports && a->target.addr.sock.any.sa_family != AF_UNIX) {
        snprintf(text, sizeof text,
                 "%llu connections need more ports than the %llu of %u own address%s "
                 "(net.ipv4.ip_local_port_range): "
                 "name more addresses with --from",
                 (unsigned long long)here, (unsigned long long)ports, l->tcp_count,
                 l->tcp_count > 1 ? "es" : "");
        return load_fail(text, NULL);
    }
    if (files.rlim_cur < here + FILES_SPARE + 8 * l->threads) {
        snprintf(text, sizeof text,
                 "%llu connections need more open files than the %llu that this process may have: raise "
                 "`ulimit -n`, "
                 "or share them out (--agents, also several on one machine)",
                 (unsigned long long)here, (unsigned long long)files.rlim_cur);
        return load_fail(text, NULL);
    }
    return LOAD_OK;
}

/* So long that what is kept of intervals stays small, even over weeks. */
static uint64_t interval_us(const struct load_args *a, const struct load_job *job)
{
    double least = (job->seconds + job->warmup_s) / INTERVALS_MAX * 1e6, said = (double)a->interval_ms * 1e3;
    return (uint64_t)(said > least ? said : least);
}

static int run_it(struct load_args *a, const struct load_job *job)
{
    struct diag d = DIAG_NONE;
    struct load_report r;
    struct live live;
    struct load_find find = { .args = a, .job = job };
    bool shown = !a->quiet && isatty(STDERR_FILENO), searching = a->find_limit.count > 0;
    struct run_plan plan = { .load = &a->load,
                             .curve = job->has_curve ? &job->curve : NULL,
                             .seconds = job->seconds,
                             .warmup_s = job->warmup_s,
                             .interval_us = interval_us(a, job),
                             .start_wall_us = a->start_us };
    if (shown) {
        live_open(&live, STDERR_FILENO);
        live.watcher.next = plan.watchers;
        plan.watchers = &live.watcher;
    }
    struct hdr_watcher hdr;
    if (a->hdr && hdr_open(&hdr, a->hdr))
        return LOAD_FAILED;
    if (a->hdr) {
        hdr.watcher.next = plan.watchers;
        plan.watchers = &hdr.watcher;
    }
    struct prometheus prometheus;
    if (a->metrics.len) {
        prometheus_open(&prometheus, &a->metrics);
        plan.parts = &prometheus.part;
    }
    struct load_watcher emitter = { .next = plan.watchers, .look = emit_look };
    if (a->emit)
        plan.watchers = &emitter;
    err e = a->agents_count ? load_by_agents(a, job, &plan, searching ? &find : NULL, &r, &d)
                            : run_with(&plan, searching ? load_find_here : whole_drive, &find, &r, &d);
    if (shown)
        live_close(&live);
    int written = a->hdr ? hdr_close(&hdr, a->hdr) : LOAD_OK;
    if (e)
        return load_fail(d.text, NULL);
    struct text last = { 0 };
    if (a->emit) {
        emit_end(&last, &r);
        emit_text(&last);
    }
    struct report_about about = { .target = job->about, .limit = searching ? &find.found : NULL };
    int result = write_all(a, &r, &about);
    result = result ? result : written;
    if (!result)
        result = judge(a, &r);
    if (!result && searching && find.found.holds <= 0)
        result = LOAD_THRESHOLD;
    load_report_close(&r);
    return result;
}

static int check_kinds(const struct load_args *a)
{
    const struct threshold *unknown = thresholds_unknown(&a->fail_if, &a->load);
    if (!unknown)
        unknown = thresholds_unknown(&a->find_limit, &a->load);
    if (!unknown)
        return LOAD_OK;
    fprintf(stderr, "weir: load: %.*s: there is no kind \"%.*s\"; there are", BYTES_ARG(unknown->text),
            BYTES_ARG(unknown->kind));
    for (unsigned i = 0; i < a->load.kinds_count; i++)
        fprintf(stderr, "%s %.*s", i ? "," : "", BYTES_ARG(a->load.kinds[i]));
    fprintf(stderr, "\n");
    return LOAD_MISUSED;
}

int load_job_run(struct load_args *a, struct load_job *job)
{
    if (!a->load.shares)
        a->load.shares = a->load.threads * (a->agents_count ? a->agents_count : 1);
    if (!ports_of_system(&a->load.port_first, &a->load.port_last))
        a->load.port_first = 0;
    int result = check_kinds(a);
    if (!result && !a->scenario)
        result = load_use_tls(a, &a->target);
    if (!result)
        result = check_room(a);
    if (!result)
        result = run_it(a, job);
    return result;
}

static int quick(struct load_args *a)
{
    struct diag d = DIAG_NONE;
    struct bytes method = a->method.len ? a->method : a->body.len ? BYTES("POST") : BYTES("GET");
    struct quick_request request;
    static const struct bytes kinds[] = { { "request", 7 } };
    struct load_job job = { .has_curve = a->rate > 0,
                            .seconds = (double)a->duration_ms / 1e3,
                            .warmup_s = (double)a->warmup_ms / 1e3,
                            .about = a->url };
    struct stage stage = { .kind = STAGE_CONSTANT, .seconds = job.seconds + job.warmup_s, .from = a->rate };
    if (!a->target.addr.len && !a->agents_count && target_resolve(&a->target, &d) != OK)
        return load_fail(d.text, NULL);
    err e = load_quick_request(a, method, a->target.path, a->body, &request);
    if (!e)
        e = curve_open(&job.curve, &stage, 1);
    if (e)
        return load_fail("the request", err_text(e));
    struct quick_plan plan = load_quick_plan(a, &request, 1);
    a->load.carrier = &quick_carrier;
    a->load.plan = &plan;
    a->load.kinds = kinds;
    a->load.kinds_count = 1;
    a->load.open_loop = a->rate > 0 || a->find_limit.count;
    int result = load_job_run(a, &job);
    curve_close(&job.curve);
    return result;
}

static int load_run(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "compare") == 0)
        return load_compare(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "agent") == 0)
        return load_agent(argc - 1, argv + 1);
    struct load_args *a = mem_must_get(sizeof *a);
    int result = load_args_read(a, argc, argv);
    if (!result)
        result = a->scenario ? load_scenario(a) : a->replay ? load_replay(a) : quick(a);
    end_tls(a);
    end_quic(a);
    text_free(&a->shipped);
    arena_close(&a->arena);
    mem_free(a);
    return result == LOAD_HELPED ? LOAD_OK : result;
}

const struct command load_command = {
    .name = "load",
    .args = "[OPTIONS] URL | SCENARIO.yaml",
    .help = "send load to a server and measure what it takes",
    .run = load_run,
};
