/* One visit of a virtual user: its steps, straight on. */
#include <stdio.h>

#include "base/hash.h"
#include "core/fiber.h"
#include "load/script.h"
#include "load/visit.h"
#include "load/visit_http2.h"
#include "load/visit_http3.h"

#define FIRST_BYTES 3072

/* ---- variables ---- */

static struct bytes print_uuid(struct arena *a)
{
    uint64_t high = random_u64(), low = random_u64();
    return arena_print(a, "%08x-%04x-4%03x-%04x-%012llx", (unsigned)(high >> 32),
                       (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xfff),
                       (unsigned)(low >> 48 & 0x3fff) | 0x8000u, (unsigned long long)(low & 0xffffffffffffu));
}

static struct bytes print_u64(struct arena *a, uint64_t n)
{
    char *out = arena_get(a, 20);
    return out ? (struct bytes){ out, u64_to_text(n, out) } : BYTES_NONE;
}

static struct bytes data_value(const struct user *u, const struct scenario_variable *v)
{
    const struct scenario_data *d = &u->all->scenario->data[v->index];
    uint64_t row = u->line;
    if (d->order == DATA_PER_USER)
        row = u->number;
    else if (d->order == DATA_RANDOM) /* one line a visit, whatever columns are asked for */
        row = hash_u64(u->line * 64 + v->index + 1);
    return csv_cell(&d->csv, (size_t)(row % d->csv.rows), v->column);
}

static struct bytes value(struct template_values *values, int variable, struct arena *a)
{
    const struct user *u = ((struct visit *)values)->u;
    const struct scenario_variable *v = &u->all->scenario->variables[variable];
    struct load_worker *lw = u->all->lw;
    switch (v->kind) {
    case SCENARIO_UUID:
        return print_uuid(a);
    case SCENARIO_COUNTER:
        return print_u64(a, u->all->counted++ * lw->load->shares + load_share_number(lw) + 1);
    case SCENARIO_USER:
        return print_u64(a, u->number);
    case SCENARIO_VISIT:
        return print_u64(a, u->visits);
    case SCENARIO_NOW_MS:
        return print_u64(a, worker_wall_us() / 1000);
    case SCENARIO_RANDOM:
        return print_u64(a, v->from + arrivals_random(&lw->random) % (v->to - v->from + 1));
    case SCENARIO_DATA:
        return data_value(u, v);
    case SCENARIO_SLOT:
        break;
    }
    return u->slots[v->index].ptr ? u->slots[v->index] : BYTES("");
}

/* ---- a connection ---- */

void user_drop_io(struct user *u)
{
    if (!u->io && !u->http3)
        return;
    if (u->http3) {
        user_http3_close(u);
    } else {
        user_http2_close(u);
        io_abort(u->io, false);
        u->io = NULL;
    }
    u->all->lw->connections--;
}

static uint64_t deadline(const struct user *u)
{
    return worker_now_us() + u->all->lw->load->timeout_us;
}

/* The server has ended it meanwhile, or said what nobody asked for. */
static bool is_stale(struct user *u)
{
    if (u->http3)
        return user_http3_ended(u);
    return io_peer_ended(u->io) || io_failed(u->io) ||
           (u->http2 ? user_http2_look(u) != OK : io_peek(u->io).len > 0);
}

static err open_io(struct user *u)
{
    bool open = u->io || u->http3;
    if (open && !is_stale(u))
        return OK;
    if (open)
        user_drop_io(u);
    err e = u->all->lw->load->http3
                ? user_http3_open(u, deadline(u))
                : load_dial(u->all->lw, &u->all->scenario->target.addr, u->number, deadline(u), &u->io);
    if (e)
        return e;
    u->all->lw->connections++;
    u->all->lw->stats->connects++;
    user_http2_open(u);
    return OK;
}

/* ---- an answer ---- */

struct seen {
    struct answer answer;
    struct http_response head;
    struct http_field fields[ANSWER_FIELDS_MAX];
    struct lease *lease; /* that the head's slices point into */
};

void user_keep_body(struct user *u, struct bytes piece)
{
    if (u->body.len + piece.len <= BODY_BYTES_MAX)
        text_add(&u->body, piece);
}

static err read_body(struct user *u, struct seen *seen, bool wanted, uint64_t until_us)
{
    while (!seen->answer.done) {
        struct bytes in, piece;
        size_t used;
        err e = io_pull(u->io, until_us, &in);
        if (e == ERR_CLOSED)
            e = answer_ended(&seen->answer);
        else if (!e)
            e = answer_body(&seen->answer, in, &piece, &used);
        if (e)
            return e;
        if (seen->answer.done && seen->answer.framing == HTTP_BODY_CLOSE)
            break;
        if (wanted)
            user_keep_body(u, piece);
        io_consume(u->io, used);
    }
    return OK;
}

/* Written and read; the fields stay good until seen_close. */
static err ask(struct visit *v, const struct scenario_step *step, struct bytes request, struct seen *seen)
{
    struct user *u = v->u;
    uint64_t until_us = deadline(u);
    size_t used;
    if (u->http2)
        return user_http2_ask(u, step, request, &v->arena, until_us, &seen->answer, &seen->head);
    if (u->http3)
        return user_http3_ask(u, step, request, &v->arena, until_us, &seen->answer, &seen->head);
    err e = io_write(u->io, request, until_us);
    if (!e)
        e = answer_head(&seen->answer, u->io, step->method, until_us, seen->fields, &seen->head, &used);
    if (e)
        return e;
    seen->lease = io_hold(u->io);
    io_consume(u->io, used);
    return read_body(u, seen, step->wants_body, until_us);
}

static void seen_close(struct user *u, struct seen *seen)
{
    if (seen->lease)
        lease_drop(seen->lease);
    u->body.len = 0;
    if (u->body.size > BODY_BYTES_KEPT)
        text_free(&u->body);
}

void visit_take_cookies(struct user *u, const struct http_response *head)
{
    if (!u->all->scenario->conf->cookies)
        return;
    for (uint32_t i = 0; i < head->fields.count; i++) {
        const struct http_field *f = &head->fields.at[i];
        if (f->id == FIELD_SET_COOKIE)
            cookies_take(&u->cookies, http_field_value(f));
    }
}

static enum load_error take_variables(struct visit *v, const struct scenario_step *step,
                                      struct expect_answer *a)
{
    for (size_t i = 0; i < step->takes_count; i++) {
        struct bytes found = take_from(&step->takes[i], a);
        struct bytes kept = found.ptr ? arena_copy(&v->arena, found) : BYTES_NONE;
        if (!kept.ptr)
            return LOAD_ERROR_EXTRACT;
        v->u->slots[step->takes[i].slot] = kept;
    }
    return LOAD_NO_ERROR;
}

/* ---- a step ---- */

void visit_record(struct visit *v, struct load_kind *k, uint64_t sent_ns, uint64_t now_ns)
{
    struct load_worker *lw = v->u->all->lw;
    histogram_add(&k->service, now_ns - sent_ns);
    if (lw->load->open_loop)
        histogram_add(&k->response, now_ns - (v->due_ns ? v->due_ns : sent_ns));
    lw->last_ns = now_ns;
}

static struct script_call call_of(struct visit *v, const struct scenario_step *step)
{
    const struct scenario *s = v->u->all->scenario;
    return (struct script_call){
        .scenario = s, .kind = s->kinds[step->kind], .slots = v->u->slots, .arena = &v->arena
    };
}

enum load_error visit_look(struct visit *v, const struct scenario_step *step, struct expect_answer *a)
{
    if (!a->body.ptr)
        a->body = BYTES("");
    enum load_error why = expect_look(&step->expect, a);
    if (why == LOAD_NO_ERROR)
        why = take_variables(v, step, a);
    if (why != LOAD_NO_ERROR || !script_has_response(v->u->all->script))
        return why;
    const struct script_call call = call_of(v, step);
    return script_response(v->u->all->script, &call, a) ? LOAD_NO_ERROR : LOAD_ERROR_SCRIPT;
}

static bool send_and_see(struct visit *v, const struct scenario_step *step, struct bytes request)
{
    struct user *u = v->u;
    struct load_worker *lw = u->all->lw;
    struct seen seen;
    seen.lease = NULL;
    uint64_t sent_ns = load_now_ns();
    lw->stats->kinds[step->kind].sent++;
    lw->stats->kinds[step->kind].bytes_out += request.len;
    err e = ask(v, step, request, &seen);
    uint64_t now_ns = load_now_ns();
    struct load_kind *k = &lw->stats->kinds[step->kind]; /* another interval's by now, perhaps */
    enum load_error why = e ? load_error_of(e) : LOAD_NO_ERROR;
    if (e) {
        k->errors[why]++;
        if (e == ERR_TIMEOUT)
            visit_record(v, k, sent_ns, now_ns);
    } else {
        k->answers++;
        k->bytes_in += seen.answer.bytes;
        load_count_status(k, seen.head.status);
        visit_record(v, k, sent_ns, now_ns);
        struct expect_answer a = { .head = &seen.head,
                                   .body = { u->body.at, u->body.len },
                                   .ns = now_ns - sent_ns,
                                   .arena = &v->arena };
        visit_take_cookies(u, &seen.head);
        why = visit_look(v, step, &a);
        if (why != LOAD_NO_ERROR)
            load_count_bad(k, why);
    }
    if (e || !seen.answer.keep_alive)
        user_drop_io(u);
    seen_close(u, &seen);
    return why == LOAD_NO_ERROR;
}

bool visit_parts(struct visit *v, const struct scenario_step *step, struct scenario_parts *ret_parts)
{
    if (!scenario_parts(step, &v->values, &v->arena, ret_parts))
        return false;
    if (!script_has_request(v->u->all->script))
        return true;
    const struct script_call call = call_of(v, step);
    return script_request(v->u->all->script, &call, ret_parts);
}

struct bytes visit_cookies(const struct user *u)
{
    return (struct bytes){ u->cookies.field.at, u->cookies.field.len };
}

/* ptr NULL: the script failed, or it is more than VISIT_BYTES_MAX. */
static struct bytes request_of(struct visit *v, const struct scenario_step *step)
{
    struct scenario_parts parts;
    struct bytes cookies = visit_cookies(v->u);
    if (step->fixed.ptr && !cookies.len)
        return step->fixed;
    return visit_parts(v, step, &parts) ? scenario_compose(v->u->all->scenario, &parts, cookies, &v->arena)
                                        : BYTES_NONE;
}

static bool run_step(struct visit *v, const struct scenario_step *step)
{
    struct user *u = v->u;
    struct load_worker *lw = u->all->lw;
    struct bytes request = request_of(v, step);
    if (!request.ptr) {
        lw->stats->kinds[step->kind].errors[LOAD_ERROR_SCRIPT]++;
        return false;
    }
    u->refused = open_io(u) != OK;
    bool good = !u->refused && send_and_see(v, step, request);
    if (u->refused)
        lw->stats->kinds[step->kind].errors[LOAD_ERROR_CONNECT]++;
    v->due_ns = 0;
    return good;
}

/* The rest of a visit in which something went wrong is not made. */
static bool run_flow(struct visit *v, const struct scenario_flow *f)
{
    for (size_t i = 0; i < f->steps_count; i++) {
        const struct scenario_step *step = &f->steps[i];
        if (v->u->all->lw->stopping)
            return false;
        if (step->act == SCENARIO_REQUEST ? !run_step(v, step) : !visit_websocket_step(v, step))
            return false;
        if (step->think && !user_think(v->u, step->think))
            return false;
    }
    return true;
}

/* ---- a visit ---- */

static bool prepare(struct visit *v)
{
    struct user *u = v->u;
    const struct scenario *s = u->all->scenario;
    u->prepared = run_flow(v, &s->before);
    for (unsigned i = 0; u->prepared && i < s->slots_count; i++) {
        if (u->slots[i].ptr)
            u->slots_kept[i] = arena_copy(&u->kept, u->slots[i]);
    }
    return u->prepared;
}

static void begin_slots(struct user *u)
{
    size_t size = u->all->scenario->slots_count * sizeof *u->slots;
    if (u->slots_kept && u->prepared)
        memcpy(u->slots, u->slots_kept, size);
    else if (size)
        memset(u->slots, 0, size);
}

void visit_run(struct user *u, uint64_t due_ns)
{
    char first[FIRST_BYTES];
    struct users *all = u->all;
    struct load_worker *lw = all->lw;
    const struct scenario *s = all->scenario;
    struct visit v = { .values = { value }, .u = u, .due_ns = due_ns };
    arena_open(&v.arena, &arena_worker, VISIT_BYTES_MAX, first, sizeof first);
    begin_slots(u);
    u->line = all->visits++ * lw->load->shares + load_share_number(lw);
    bool good = u->prepared || !s->before.steps_count || prepare(&v);
    if (good)
        good = run_flow(&v, &s->flows[scenario_choose(s, arrivals_random(&lw->random))]);
    if (good || !lw->stopping)
        lw->stats->iterations++;
    u->visits++;
    visit_websocket_end(u);
    arena_close(&v.arena);
}
