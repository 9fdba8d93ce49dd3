/* The steps of a visit that are about a WebSocket (RFC 6455): it has a connection of its own beside the
 * requests'. */
#include "base/hash.h"
#include "base/mem.h"
#include "core/fiber.h"
#include "load/answer.h"
#include "load/visit.h"
#include "proto/websocket.h"

#define MESSAGE_BYTES_MAX ((size_t)4 << 20) /* of one that is looked at; the rest of it is not */
#define CLOSE_LINGER_US (1 * 1000000)
#define UPGRADE_FIELDS 4u
#define FIRST_BYTES 1024

struct visit_websocket {
    struct io *io;
    struct websocket_head head; /* of the frame at hand */
    uint64_t left;              /* of its payload */
    bool in_frame, in_message;
    bool close_sent;     /* or it is not open */
    struct text message; /* as far as it has come */
    uint64_t bytes;      /* of it, frames and all */
};

static struct load_stats *stats_of(const struct user *u)
{
    return u->all->lw->stats;
}

static uint64_t until(const struct user *u)
{
    return worker_now_us() + u->all->lw->load->timeout_us;
}

static void drop(struct user *u)
{
    struct visit_websocket *w = u->websocket;
    if (!w)
        return;
    if (w->io) {
        io_close(w->io, CLOSE_LINGER_US, true);
        u->all->lw->connections--;
    }
    text_free(&w->message);
    mem_free(w);
    u->websocket = NULL;
}

/* ---- frames out ---- */

static void make_mask(struct user *u, unsigned char mask[4])
{
    uint64_t random = arrivals_random(&u->all->lw->random);
    memcpy(mask, &random, 4);
}

static err say_control(struct user *u, enum websocket_opcode opcode, struct bytes payload, uint64_t until_us)
{
    char frame[WEBSOCKET_CONTROL_BYTES_MAX];
    unsigned char mask[4];
    make_mask(u, mask);
    size_t n = websocket_put_control(frame, opcode, payload, mask);
    return io_write(u->websocket->io, (struct bytes){ frame, n }, until_us);
}

static err say_close(struct user *u, unsigned code, uint64_t until_us)
{
    char frame[WEBSOCKET_CONTROL_BYTES_MAX];
    unsigned char mask[4];
    if (u->websocket->close_sent)
        return OK;
    u->websocket->close_sent = true;
    make_mask(u, mask);
    size_t n = websocket_put_close(frame, code, BYTES_NONE, mask);
    return io_write(u->websocket->io, (struct bytes){ frame, n }, until_us);
}

/* text: the visit's own; it is masked where it stands. */
static err say_text(struct user *u, char *text, size_t len, uint64_t until_us)
{
    struct websocket_head head = { .length = len, .opcode = WEBSOCKET_TEXT, .fin = true, .masked = true };
    char out[WEBSOCKET_HEAD_BYTES_MAX];
    make_mask(u, head.mask);
    size_t n = websocket_put_head(out, &head);
    websocket_mask(text, len, head.mask, 0);
    err e = io_write(u->websocket->io, (struct bytes){ out, n }, until_us);
    return e || !len ? e : io_write(u->websocket->io, (struct bytes){ text, len }, until_us);
}

/* ---- frames in ---- */

static bool is_control(const struct websocket_head *h)
{
    return h->opcode >= WEBSOCKET_CLOSE;
}

/* RFC 6455 5.1, 5.2, 5.4, 5.5; no extension was asked for. */
static bool is_allowed(const struct visit_websocket *w)
{
    const struct websocket_head *h = &w->head;
    if (h->masked || h->rsv)
        return false;
    if (is_control(h))
        return h->fin && h->length <= WEBSOCKET_CONTROL_PAYLOAD_MAX && h->opcode <= WEBSOCKET_PONG;
    return h->opcode <= WEBSOCKET_BINARY && w->in_message == (h->opcode == WEBSOCKET_CONTINUATION);
}

/* n bytes and more of the input, in one run. */
static err gather(struct io *io, size_t n, uint64_t until_us, struct bytes *ret_in)
{
    err e = OK;
    struct bytes in = io_peek(io);
    while (!e && in.len < n)
        e = in.len ? io_pull_more(io, in.len, until_us, &in) : io_pull(io, until_us, &in);
    *ret_in = in;
    return e;
}

static err read_head(struct visit_websocket *w, uint64_t until_us)
{
    struct bytes in = io_peek(w->io);
    err e;
    while ((e = in.len ? websocket_read_head(in, &w->head) : ERR_AGAIN) == ERR_AGAIN) {
        e = gather(w->io, in.len + 1, until_us, &in);
        if (e)
            return e;
    }
    if (e || !is_allowed(w))
        return ERR_PROTOCOL;
    io_consume(w->io, w->head.size);
    w->in_frame = true;
    w->left = w->head.length;
    if (!is_control(&w->head) && !w->in_message) {
        w->message.len = 0;
        w->bytes = 0;
    }
    w->bytes += w->head.size;
    return OK;
}

/* ERR_CLOSED: the server has closed it. */
static err read_control(struct user *u, uint64_t until_us)
{
    struct visit_websocket *w = u->websocket;
    struct bytes in = BYTES_NONE;
    unsigned code;
    err e = w->left ? gather(w->io, (size_t)w->left, until_us, &in) : OK;
    if (e)
        return e;
    const struct bytes payload = { in.ptr, (size_t)w->left };
    if (w->head.opcode == WEBSOCKET_PING) {
        e = say_control(u, WEBSOCKET_PONG, payload, until_us);
    } else if (w->head.opcode == WEBSOCKET_CLOSE) {
        e = websocket_read_close(payload, &code) == OK ? ERR_CLOSED : ERR_PROTOCOL;
        err said = say_close(u, code == WEBSOCKET_CODE_NONE ? WEBSOCKET_CODE_NORMAL : code, until_us);
        e = said ? said : e;
    }
    io_consume(w->io, payload.len);
    w->in_frame = false;
    return e;
}

static err read_data(struct visit_websocket *w, uint64_t until_us)
{
    while (w->left) {
        struct bytes in;
        err e = io_pull(w->io, until_us, &in);
        if (e)
            return e;
        if (in.len > w->left)
            in.len = (size_t)w->left;
        if (w->message.len + in.len <= MESSAGE_BYTES_MAX)
            text_add(&w->message, in);
        io_consume(w->io, in.len);
        w->left -= in.len;
        w->bytes += in.len;
    }
    w->in_frame = false;
    w->in_message = !w->head.fin;
    return OK;
}

/* Up to a message's end: it is w->message. After ERR_TIMEOUT it goes on where it was. */
static err read_message(struct user *u, uint64_t until_us)
{
    struct visit_websocket *w = u->websocket;
    for (;;) {
        err e = w->in_frame ? OK : read_head(w, until_us);
        if (e)
            return e;
        bool control = is_control(&w->head);
        e = control ? read_control(u, until_us) : read_data(w, until_us);
        if (e)
            return e;
        if (!control && !w->in_message) {
            stats_of(u)->messages_in++;
            return OK;
        }
    }
}

err visit_websocket_rest(struct user *u, uint64_t us)
{
    const uint64_t until_us = worker_now_us() + us;
    err e = OK;
    while (!e)
        e = read_message(u, until_us);
    if (e == ERR_TIMEOUT)
        return OK;
    if (e == ERR_CANCELLED)
        return e;
    return worker_now_us() < until_us ? fiber_sleep_us(until_us - worker_now_us())
                                      : OK; /* the next step sees it */
}

/* ---- opening ---- */

static struct bytes upgrade_request(struct visit *v, const struct scenario_step *step, struct bytes key)
{
    struct scenario_parts p;
    if (!visit_parts(v, step, &p))
        return BYTES_NONE;
    struct scenario_part_field *fields =
        arena_get(&v->arena, (p.fields_count + UPGRADE_FIELDS) * sizeof *fields);
    if (!fields)
        return BYTES_NONE;
    memcpy(fields, p.fields, p.fields_count * sizeof *fields);
    const struct scenario_part_field more[UPGRADE_FIELDS] = {
        { BYTES("Connection"), BYTES("Upgrade") },
        { BYTES("Upgrade"), BYTES("websocket") },
        { BYTES("Sec-WebSocket-Version"), BYTES("13") },
        { BYTES("Sec-WebSocket-Key"), key },
    };
    memcpy(fields + p.fields_count, more, sizeof more);
    p.method = BYTES("GET");
    p.fields = fields;
    p.fields_count += UPGRADE_FIELDS;
    return scenario_compose(v->u->all->scenario, &p, visit_cookies(v->u), &v->arena);
}

/* RFC 6455 4.1: what the server has to say for it to be one. */
static bool is_accepted(const struct http_response *head, struct bytes key)
{
    char wanted[WEBSOCKET_ACCEPT_BYTES];
    bool accepted = false;
    websocket_accept_of(key, wanted);
    for (uint32_t i = 0; i < head->fields.count; i++) {
        const struct http_field *f = &head->fields.at[i];
        struct bytes name = http_field_name(f), value = http_field_value(f);
        if (bytes_eq_nocase(name, BYTES("sec-websocket-extensions")))
            return false;
        if (bytes_eq_nocase(name, BYTES("sec-websocket-accept")))
            accepted = bytes_eq(value, (struct bytes){ wanted, sizeof wanted });
    }
    return accepted;
}

struct opening {
    struct answer answer;
    struct http_response head;
    struct http_field fields[ANSWER_FIELDS_MAX];
    size_t used;
};

/* Asks, and judges the answer; its head stays good until it is consumed. */
static enum load_error shake_hands(struct visit *v, const struct scenario_step *step, struct bytes request,
                                   struct bytes key, struct opening *o)
{
    struct user *u = v->u;
    struct io *io = u->websocket->io;
    const uint64_t until_us = until(u), sent_ns = load_now_ns();
    stats_of(u)->kinds[step->kind].sent++;
    stats_of(u)->kinds[step->kind].bytes_out += request.len;
    err e = io_write(io, request, until_us);
    if (!e)
        e = answer_upgrade(&o->answer, io, until_us, o->fields, &o->head, &o->used);
    const uint64_t now_ns = load_now_ns();
    struct load_kind *k = &stats_of(u)->kinds[step->kind];
    if (!e || e == ERR_TIMEOUT)
        visit_record(v, k, sent_ns, now_ns);
    v->due_ns = 0;
    if (e) {
        k->errors[load_error_of(e)]++;
        return load_error_of(e);
    }
    k->answers++;
    k->bytes_in += o->answer.bytes;
    load_count_status(k, o->head.status);
    struct expect_answer a = { .head = &o->head, .ns = now_ns - sent_ns, .arena = &v->arena };
    visit_take_cookies(u, &o->head);
    enum load_error why = LOAD_ERROR_STATUS;
    if (o->head.status == 101)
        why = is_accepted(&o->head, key) ? visit_look(v, step, &a) : LOAD_ERROR_PROTOCOL;
    if (why != LOAD_NO_ERROR)
        load_count_bad(k, why);
    return why;
}

static bool open_websocket(struct visit *v, const struct scenario_step *step)
{
    struct user *u = v->u;
    struct load_worker *lw = u->all->lw;
    char text[WEBSOCKET_KEY_BYTES];
    const struct bytes key = { text, sizeof text };
    uint64_t random[2] = { random_u64(), random_u64() };
    struct opening o;
    websocket_make_key((const unsigned char *)random, text);
    struct bytes request = upgrade_request(v, step, key);
    if (!request.ptr) {
        stats_of(u)->kinds[step->kind].errors[LOAD_ERROR_SCRIPT]++;
        return false;
    }
    u->websocket = mem_must_get(sizeof *u->websocket);
    u->websocket->close_sent = true;
    err e = load_dial(lw, &u->all->scenario->target.addr, u->number, until(u), &u->websocket->io);
    u->refused = e != OK;
    if (e) {
        stats_of(u)->kinds[step->kind].errors[LOAD_ERROR_CONNECT]++;
        u->websocket->io = NULL;
        return false;
    }
    lw->connections++;
    stats_of(u)->connects++;
    if (shake_hands(v, step, request, key, &o) != LOAD_NO_ERROR)
        return false;
    io_consume(u->websocket->io, o.used);
    u->websocket->close_sent = false;
    return true;
}

/* ---- messages ---- */

enum fit { FIT_NOT, FIT_WELL, FIT_BAD };

/* Is the message that has come the one? */
static enum fit look_at_message(struct visit *v, const struct scenario_step *step, uint64_t sent_ns)
{
    static const struct http_response none = { .status = 200 };
    char first[FIRST_BYTES];
    struct arena scratch;
    const struct visit_websocket *w = v->u->websocket;
    const uint64_t now_ns = load_now_ns();
    struct load_kind *k = &stats_of(v->u)->kinds[step->kind];
    struct expect_answer a = { .head = &none, .body = { w->message.at, w->message.len }, .arena = &scratch };
    enum fit fit = FIT_NOT;
    if (!a.body.ptr)
        a.body = BYTES("");
    arena_open(&scratch, &arena_worker, VISIT_BYTES_MAX, first, sizeof first);
    if (expect_look(&step->expect, &a) == LOAD_NO_ERROR) {
        k->answers++;
        k->bytes_in += w->bytes;
        visit_record(v, k, sent_ns, now_ns);
        a.ns = now_ns - sent_ns;
        enum load_error why = visit_look(v, step, &a);
        if (why != LOAD_NO_ERROR)
            load_count_bad(k, why);
        fit = why == LOAD_NO_ERROR ? FIT_WELL : FIT_BAD;
    }
    arena_close(&scratch);
    return fit;
}

/* Waits for one that is as expected; those before it are passed over. */
static bool await_message(struct visit *v, const struct scenario_step *step, uint64_t sent_ns)
{
    struct user *u = v->u;
    const uint64_t within_us = step->expect.within_ns / 1000;
    const uint64_t until_us = within_us ? worker_now_us() + within_us : until(u);
    enum fit fit = FIT_NOT;
    err e = OK;
    while (fit == FIT_NOT && !(e = read_message(u, until_us)))
        fit = look_at_message(v, step, sent_ns);
    if (e) {
        struct load_kind *k = &stats_of(u)->kinds[step->kind];
        k->errors[load_error_of(e)]++;
        if (e == ERR_TIMEOUT)
            visit_record(v, k, sent_ns, load_now_ns());
    }
    return fit == FIT_WELL;
}

static bool send_message(struct visit *v, const struct scenario_step *step)
{
    struct user *u = v->u;
    struct bytes text = template_print(&step->body, TEMPLATE_PLAIN, &v->values, &v->arena);
    char *copy = text.ptr ? arena_get(&v->arena, text.len + 1) : NULL;
    struct load_kind *k = &stats_of(u)->kinds[step->kind];
    if (!copy) {
        k->errors[LOAD_ERROR_SCRIPT]++;
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    const uint64_t sent_ns = load_now_ns();
    k->sent++;
    k->bytes_out += text.len;
    stats_of(u)->messages_out++;
    err e = say_text(u, copy, text.len, until(u));
    if (!e)
        return !step->awaits || await_message(v, step, sent_ns);
    stats_of(u)->kinds[step->kind].errors[load_error_of(e)]++;
    return false;
}

static bool receive_messages(struct visit *v, const struct scenario_step *step)
{
    for (unsigned i = 0; i < step->number; i++) {
        stats_of(v->u)->kinds[step->kind].sent++;
        if (!await_message(v, step, load_now_ns()))
            return false;
    }
    return true;
}

/* ---- the end ---- */

/* Until the server has said it too. */
static void close_websocket(struct user *u, unsigned code)
{
    const uint64_t until_us = until(u);
    err e = say_close(u, code, until_us);
    while (!e)
        e = read_message(u, until_us);
    drop(u);
}

void visit_websocket_end(struct user *u)
{
    if (u->websocket && u->websocket->io)
        (void)!say_close(u, WEBSOCKET_CODE_NORMAL, until(u));
    drop(u);
}

bool visit_websocket_step(struct visit *v, const struct scenario_step *step)
{
    switch (step->act) {
    case SCENARIO_WEBSOCKET:
        return open_websocket(v, step);
    case SCENARIO_SEND:
        return send_message(v, step);
    case SCENARIO_RECEIVE:
        return receive_messages(v, step);
    case SCENARIO_CLOSE:
        close_websocket(v->u, step->number);
        return true;
    default:
        return true;
    }
}
