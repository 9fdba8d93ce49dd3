/* `weir load --replay access.log URL`: what was asked, at its own pace or faster. */
#include <stdio.h>

#include "base/file_read.h"
#include "base/map.h"
#include "command/load.h"
#include "load/replay.h"

#define LOG_BYTES_MAX ((size_t)4 << 30)

/* Requests that are the same are made once. */
static err request_of(struct load_args *a, struct map *known, const struct replay_line *line,
                      const struct quick_request **ret)
{
    struct bytes key = arena_print(&a->arena, "%.*s %.*s", BYTES_ARG(line->method), BYTES_ARG(line->target));
    if (!key.ptr)
        return ERR_MEMORY;
    struct quick_request *r = map_get(known, key);
    *ret = r;
    if (r)
        return OK;
    *ret = r = arena_get(&a->arena, sizeof *r);
    err e = r ? load_quick_request(a, line->method, line->target, BYTES_NONE, r) : ERR_MEMORY;
    return e ? e : map_set(known, key, r);
}

static err plan_lines(struct load_args *a, const struct replay *r, struct quick_request *requests,
                      uint64_t *times)
{
    struct map known;
    err e = OK;
    map_init(&known);
    for (size_t i = 0; i < r->count && !e; i++) {
        const struct quick_request *request;
        e = request_of(a, &known, &r->lines[i], &request);
        if (!e)
            requests[i] = *request;
        times[i] = (uint64_t)((double)r->lines[i].at_us * 1000 / a->speed);
    }
    map_close(&known);
    return e;
}

static int run_replay(struct load_args *a, const struct replay *r)
{
    static const struct bytes kinds[] = { { "request", 7 } };
    struct quick_request *requests = arena_get(&a->arena, r->count * sizeof *requests);
    uint64_t *times = arena_get(&a->arena, r->count * sizeof *times);
    err e = requests && times ? plan_lines(a, r, requests, times) : ERR_MEMORY;
    if (e)
        return load_fail(a->replay, err_text(e));
    struct quick_plan plan = load_quick_plan(a, requests, r->count);
    a->load.carrier = &quick_carrier;
    a->load.plan = &plan;
    a->load.kinds = kinds;
    a->load.kinds_count = 1;
    a->load.open_loop = true;
    a->load.times = times;
    a->load.times_count = r->count;
    a->load.requests_max = r->count;
    /* it ends when all are answered, or with the last one's timeout */
    struct load_job job = { .about = bytes_from(a->replay),
                            .seconds = (double)times[r->count - 1] / 1e9 + (double)a->timeout_ms / 1e3 + 1 };
    if (r->skipped && !a->quiet)
        fprintf(stderr, "weir: load: %s: %zu lines are no requests and were left out\n", a->replay,
                r->skipped);
    return load_job_run(a, &job);
}

int load_replay(struct load_args *a)
{
    struct diag d = DIAG_NONE;
    struct bytes text;
    struct replay r;
    if (!a->target.addr.len && !a->agents_count && target_resolve(&a->target, &d) != OK)
        return load_fail(d.text, NULL);
    if (file_read_whole(a->replay, LOG_BYTES_MAX, &text, &d) != OK)
        return load_fail(d.text, NULL);
    int result = replay_read(text, &a->arena, &r, &d) == OK
                     ? run_replay(a, &r)
                     : load_fail(a->replay, d.set ? d.text : "no memory");
    file_read_free(text);
    return result;
}
