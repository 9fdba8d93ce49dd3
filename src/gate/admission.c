#include "gate/admission.h"

#include <inttypes.h>

#include "base/file_read.h"
#include "gate/problem.h"
#include "proto/http_cookie.h"
#if WEIR_HAVE_OPENSSL
#include "gate/waiting_ticket.h"
#endif

#define SECRET_BYTES_MIN 16
#define SECRET_BYTES_MAX 256
#define NS_A_SECOND 1000000000ULL
#define NS_A_MS 1000000ULL

/* ---- tickets ---- */

#if WEIR_HAVE_OPENSSL
static uint64_t ticket_of(const struct admission *a, const struct exchange *x, struct bytes user)
{
    struct bytes text;
    const struct waiting_whose whose = { a->secret, a->route, user };
    if (!http_cookie_find(&x->request.fields, a->conf->waiting_room->cookie, &text))
        return 0;
    return waiting_ticket_read(a->room, &whose, text, worker_wall_us() / 1000000);
}

/* Good until its turn has come, and a while longer. */
static err give_ticket(const struct admission *a, struct exchange *x, struct bytes user,
                       const struct waiting_verdict *v)
{
    char text[WAITING_TICKET_BYTES];
    const struct waiting_conf *c = a->conf->waiting_room;
    const struct waiting_whose whose = { a->secret, a->route, user };
    const uint64_t age_s = v->wait_ns / NS_A_SECOND + 1 + c->good_for_ms / 1000;
    waiting_ticket_write(a->room, &whose, v->ticket, (uint32_t)(worker_wall_us() / 1000000 + age_s), text);
    const struct bytes cookie = arena_print(
        &x->arena, "%.*s=%.*s; Path=/; Max-Age=%" PRIu64 "; HttpOnly; SameSite=Lax%s", BYTES_ARG(c->cookie),
        WAITING_TICKET_BYTES, text, age_s, x->scheme && strcmp(x->scheme, "https") == 0 ? "; Secure" : "");
    return cookie.ptr ? http_fields_add(&x->response.fields, &x->arena, BYTES("Set-Cookie"), cookie)
                      : ERR_LIMIT;
}

static void ready(struct admission *a)
{
    waiting_room_ready(a->room);
}
#else
/* No configuration with a waiting room gets here. */
static uint64_t ticket_of(const struct admission *a, const struct exchange *x, struct bytes user)
{
    (void)a;
    (void)x;
    (void)user;
    return 0;
}

static err give_ticket(const struct admission *a, struct exchange *x, struct bytes user,
                       const struct waiting_verdict *v)
{
    (void)a;
    (void)x;
    (void)user;
    (void)v;
    return ERR_UNSUPPORTED;
}

static void ready(struct admission *a)
{
    (void)a;
}
#endif

/* ---- answers ---- */

static err answer(const struct admission *a, struct exchange *x, struct bytes user, struct bytes by,
                  const struct waiting_verdict *v)
{
    struct problem p;
    const struct waiting_conf *c = a->conf->waiting_room;
    const bool waits = v->word == WAITING_WAIT;
    const uint64_t wait_s = (v->wait_ns + NS_A_SECOND - 1) / NS_A_SECOND;
    const uint64_t again_s = c && wait_s > c->ask_every_ms / 1000 ? c->ask_every_ms / 1000 : wait_s;
    problem_begin(&p, x, 429,
                  waits ? BYTES("more come than can be served: it will be your turn")
                        : BYTES("more come than can be served"));
    json_text(&p.json, "reason", waits ? BYTES("waiting") : BYTES("busy"));
    if (waits) {
        json_u64(&p.json, "position", v->position);
        json_u64(&p.json, "wait_ms", v->wait_ns / NS_A_MS);
    }
    err e = problem_end(&p, by);
    if (!e)
        e = http_fields_set(&x->response.fields, &x->arena, BYTES("Cache-Control"), BYTES("no-store"));
    const struct bytes seconds = arena_print(&x->arena, "%" PRIu64, again_s ? again_s : 1);
    if (!e)
        e = seconds.ptr ? http_fields_set(&x->response.fields, &x->arena, BYTES("Retry-After"), seconds)
                        : ERR_LIMIT;
    return e || !waits ? e : give_ticket(a, x, user, v);
}

enum waiting_word admission_ask(const struct admission *a, struct exchange *x, struct bytes user,
                                struct bytes by, err *ret_e)
{
    const uint64_t now_ns = worker_now_us() * 1000;
    const struct waiting_conf *c = a->conf->waiting_room;
    const uint64_t waiting_max = c ? (uint64_t)c->waiting_max : 0;
    const uint64_t ticket = c ? ticket_of(a, x, user) : 0;
    const struct waiting_verdict v = ticket ? waiting_again(a->room, &a->rate, waiting_max, ticket, now_ns)
                                            : waiting_enter(a->room, &a->rate, waiting_max, now_ns);
    if (v.word != WAITING_COME_IN)
        *ret_e = answer(a, x, user, by, &v);
    return v.word;
}

/* ---- opening ---- */

static struct waiting_room *room_get(struct bytes route, const struct waiting_rate *r)
{
    struct arena a;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    const struct bytes name = arena_print(&a, "admission/1 %" PRIu64 "ns burst %" PRIu64 " %.*s",
                                          r->interval_ns, r->burst, BYTES_ARG(route));
    struct waiting_room *room = name.ptr ? shared_get(name, sizeof *room) : NULL;
    arena_close(&a);
    return room;
}

err admission_open(struct admission *a, const struct admission_conf *conf, struct bytes route,
                   struct diag *reterr)
{
    const uint64_t interval_ns = conf->rate.per_ms * NS_A_MS / conf->rate.count;
    const uint64_t burst = conf->burst ? (uint64_t)conf->burst : NS_A_SECOND / 10 / interval_ns;
    *a = (struct admission){ .conf = conf, .route = route };
    a->rate = (struct waiting_rate){ interval_ns, burst ? burst : 1 };
    if (conf->waiting_room && conf->waiting_room->secret_file.len) {
        const err e =
            file_read_whole(conf->waiting_room->secret_file.ptr, SECRET_BYTES_MAX, &a->secret, reterr);
        if (e)
            return e;
        if (a->secret.len < SECRET_BYTES_MIN) {
            diag_set(reterr, "secret_file: \"%s\" has less than %d bytes",
                     conf->waiting_room->secret_file.ptr, SECRET_BYTES_MIN);
            admission_close(a);
            return ERR_CONF;
        }
    }
    a->room = room_get(route, &a->rate);
    if (!a->room) {
        admission_close(a);
        return ERR_MEMORY;
    }
    ready(a);
    return OK;
}

void admission_close(struct admission *a)
{
    file_read_free(a->secret);
    if (a->room)
        shared_put(a->room);
    *a = (struct admission){ 0 };
}

/* ---- configuration ---- */

static err waiting_check(void *conf, struct diag *reterr)
{
#if WEIR_HAVE_OPENSSL
    const struct waiting_conf *c = conf;
    if (http_is_token(c->cookie))
        return OK;
    diag_set(reterr, "cookie: \"%.*s\" cannot be the name of a cookie", BYTES_ARG(c->cookie));
#else
    (void)conf;
    diag_set(reterr, "waiting_room: its cookie is signed, and this weir was built without OpenSSL");
#endif
    return ERR_CONF;
}

static err admission_check(void *conf, struct diag *reterr)
{
    const struct admission_conf *c = conf;
    if (c->rate.count * 1000 <= c->rate.per_ms * WAITING_RATE_MAX)
        return OK;
    diag_set(reterr, "rate: at most %d/s", WAITING_RATE_MAX);
    return ERR_CONF;
}

#define AT(type, member) offsetof(struct type, member)

static const struct conf_struct waiting_conf_struct = {
    .name = "waiting_room",
    .size = sizeof(struct waiting_conf),
    .fields =
        (const struct conf_field[]){ { .name = "waiting_max",
                                       .type = CONF_INT,
                                       .offset = AT(waiting_conf, waiting_max),
                                       .preset = "1000000",
                                       .min = 1,
                                       .max = 1e9,
                                       .doc = "how many may wait; more are turned away" },
                                     { .name = "cookie",
                                       .type = CONF_TEXT,
                                       .offset = AT(waiting_conf, cookie),
                                       .preset = "weir_place",
                                       .doc = "the name of the cookie that keeps the place" },
                                     { .name = "good_for",
                                       .type = CONF_MS,
                                       .offset = AT(waiting_conf, good_for_ms),
                                       .preset = "2m",
                                       .min = 1000,
                                       .max = 86400000,
                                       .doc = "how long a place is kept when its turn has come" },
                                     { .name = "ask_every",
                                       .type = CONF_MS,
                                       .offset = AT(waiting_conf, ask_every_ms),
                                       .preset = "5s",
                                       .min = 1000,
                                       .max = 3600000,
                                       .doc = "who waits is told to ask again after this time, or when "
                                              "its turn will be (Retry-After)" },
                                     { .name = "secret_file",
                                       .type = CONF_TEXT,
                                       .offset = AT(waiting_conf, secret_file),
                                       .doc = "what the cookie is signed with: 16 to 256 bytes; without "
                                              "it a secret is made when weir starts" },
                                     { 0 } },
    .check = waiting_check,
    .doc = "A line for those who come beyond the rate.",
};

const struct conf_struct admission_conf_struct = {
    .name = "admit",
    .size = sizeof(struct admission_conf),
    .phrases = (const char *const[]){ "{rate}", "{rate} burst {burst}", NULL },
    .fields =
        (const struct conf_field[]){ { .name = "rate",
                                       .type = CONF_RATE,
                                       .offset = AT(admission_conf, rate),
                                       .required = true,
                                       .min = 1,
                                       .max = 1e9,
                                       .doc = "how many come in, over all workers: at most 500000/s" },
                                     { .name = "burst",
                                       .type = CONF_INT,
                                       .offset = AT(admission_conf, burst),
                                       .preset = "0",
                                       .max = 1e6,
                                       .doc = "how many may come at once; 0: as many as in 100 ms" },
                                     { .name = "waiting_room",
                                       .type = CONF_STRUCT,
                                       .offset = AT(admission_conf, waiting_room),
                                       .sub = &waiting_conf_struct,
                                       .doc = "the others get a place in a line; `on`, or its settings" },
                                     { 0 } },
    .check = admission_check,
    .doc = "How many requests come in.",
};
