/* `weir load SCENARIO.yaml`: from the file to a run. */
#include <math.h>
#include <stdio.h>

#include "base/file_read.h"
#include "command/load.h"
#include "load/users.h"

#define SCENARIO_FILE_BYTES_MAX ((size_t)CONF_FILE_BYTES_MAX)

static void print_mistake(void *arg, const struct diag *d)
{
    char text[1024];
    ++*(unsigned *)arg;
    fprintf(stderr, "%s\n", diag_print(d, text, sizeof text));
}

/* All mistakes of the file are said, not the first alone. */
static int open_scenario(const struct load_args *a, struct bytes text, struct scenario **ret_scenario)
{
    unsigned mistakes = 0;
    struct conf_errors errors = { .on_error = print_mistake, .arg = &mistakes };
    struct diag d = DIAG_NONE;
    char words[1024];
    if (scenario_open(text, a->scenario, a->url, &errors, ret_scenario, &d) == OK)
        return LOAD_OK;
    if (!mistakes)
        fprintf(stderr, "%s\n", d.set ? diag_print(&d, words, sizeof words) : "weir: load: no memory");
    return LOAD_MISUSED;
}

/* Of a search for the limit: visits come at a rate, whatever the scenario says. */
static bool is_step(const struct load_args *a)
{
    return a->find_limit.count || a->step;
}

/* The highest number of users that the curve asks for. */
static double most_users(const struct curve *c)
{
    double most = 0;
    for (size_t i = 0; i < c->cells; i++)
        most = fmax(most, (c->counts[i + 1] - c->counts[i]) / c->cell_s);
    return ceil(most - 1e-6);
}

static int count_users(struct load_args *a, const struct scenario *s)
{
    double users = s->rate || is_step(a) ? (double)s->conf->users_max : most_users(&s->curve);
    char text[160];
    if (users < 1)
        users = 1;
    unsigned agents = a->agents_count ? a->agents_count : 1;
    unsigned least = a->load.threads * agents;
    double here = a->load.shares ? users * a->load.threads / a->load.shares : users / agents;
    if (here > users_max()) {
        snprintf(
            text, sizeof text,
            "%.0f users need more mappings than this machine allows; up to %u fit (sysctl vm.max_map_count)",
            users, users_max());
        return load_fail(text, NULL);
    }
    a->load.connections = users < least ? least : (unsigned)users;
    return LOAD_OK;
}

static int set_up(struct load_args *a, struct scenario *s, struct load_job *job)
{
    struct diag d = DIAG_NONE;
    if (a->duration_given && s->conf->stages.count && !is_step(a)) {
        fprintf(stderr, "weir: load: --duration: the stages of %s say how long\n", a->scenario);
        return LOAD_MISUSED;
    }
    if (s->conf->http2 && !WEIR_HAVE_NGHTTP2) {
        fprintf(stderr, "%s: http2: this weir was built without libnghttp2\n", a->scenario);
        return LOAD_MISUSED;
    }
    if (s->conf->http3 && !WEIR_HAVE_NGTCP2) {
        fprintf(stderr, "%s: http3: this weir was built without libngtcp2 and libnghttp3\n", a->scenario);
        return LOAD_MISUSED;
    }
    a->load.http2 = a->load.http2 || (s->conf->http2 && !a->load.http3);
    a->load.http3 = a->load.http3 || (s->conf->http3 && !a->load.http2);
    if (a->load.http2 && a->load.http3) {
        fprintf(stderr, "%s: http2 and http3: one of them\n", a->scenario);
        return LOAD_MISUSED;
    }
    if ((a->load.http2 || a->load.http3) && s->websocket) {
        fprintf(stderr, "%s: its WebSockets are opened over HTTP/1.1: http%d is not for it\n", a->scenario,
                a->load.http2 ? 2 : 3);
        return LOAD_MISUSED;
    }
    s->target.addr = a->target.addr;
    if (!s->target.addr.len && !a->agents_count && target_resolve(&s->target, &d) != OK)
        return load_fail(d.text, NULL);
    a->load.carrier = &users_carrier;
    a->load.plan = s;
    a->load.kinds = s->kinds;
    a->load.kinds_count = s->kinds_count;
    a->load.open_loop = s->rate || is_step(a);
    a->load.arrivals = (enum arrivals_kind)s->conf->arrivals;
    a->load.timeout_us = s->conf->timeout_ms * 1000;
    *job = (struct load_job){ .has_curve = true, .about = bytes_from(a->scenario), .scenario = s };
    job->warmup_s = (double)(a->warmup_given ? a->warmup_ms : s->conf->warmup_ms) / 1000;
    int result = load_use_tls(a, &s->target);
    return result ? result : count_users(a, s);
}

/* The curve for as long as the command line says, or as it is. */
static int make_curve(const struct load_args *a, const struct scenario *s, struct load_job *job)
{
    struct stage flat = { .kind = STAGE_CONSTANT, .seconds = (double)a->duration_ms / 1000 };
    if (a->find_limit.count) {
        job->seconds = flat.seconds;
        return LOAD_OK;
    }
    if (a->step) {
        job->seconds = flat.seconds;
        flat.seconds += job->warmup_s;
        flat.from = a->rate;
        return curve_open(&job->curve, &flat, 1) == OK ? LOAD_OK : load_fail("no memory", NULL);
    }
    flat.from = curve_level(&s->curve, 0);
    if (!a->duration_given) {
        flat.seconds = s->seconds;
        job->curve = s->curve;
    } else if (curve_open(&job->curve, &flat, 1) != OK) {
        return load_fail("no memory", NULL);
    }
    job->seconds = flat.seconds - job->warmup_s;
    if (job->seconds <= 0)
        return load_fail("the warm-up is as long as the run", NULL);
    return LOAD_OK;
}

int load_scenario(struct load_args *a)
{
    struct diag d = DIAG_NONE;
    struct bytes text;
    struct scenario *s;
    struct load_job job = { 0 };
    if (file_read_whole(a->scenario, SCENARIO_FILE_BYTES_MAX, &text, &d) != OK)
        return load_fail(d.text, NULL);
    int result = open_scenario(a, text, &s);
    if (!result) {
        result = set_up(a, s, &job);
        if (!result)
            result = make_curve(a, s, &job);
        if (!result)
            result = load_job_run(a, &job);
        if (job.curve.counts != s->curve.counts)
            curve_close(&job.curve);
        scenario_close(s);
    }
    file_read_free(text);
    return result;
}
