/* The kept configurations: which, what they say, what they changed, and back to one. */
#include <inttypes.h>
#include <stdio.h>

#include "admin/call.h"
#include "base/diff.h"
#include "gate/history.h"

#define AT(type, member) offsetof(struct type, member)
#define FILES_ARENA_BYTES_MAX ((size_t)12 * CONF_FILE_BYTES_MAX)

static void write_entry(struct text *t, const struct history_entry *e)
{
    json_begin(t, NULL, '{');
    json_u64(t, "number", e->number);
    json_i64(t, "time", e->time_s);
    json_text(t, "author", bytes_from(e->author));
    json_text(t, "reason", bytes_from(e->reason));
    json_u64(t, "bytes", e->bytes);
    json_end(t, '}');
}

void generations_get(struct call *c)
{
    struct history_entry list[HISTORY_KEPT];
    unsigned count = history_list(list);
    json_begin(c->out, NULL, '{');
    json_u64(c->out, "in_force", process_generation()->number);
    json_text(c->out, "state_dir", bytes_from(history_folder()));
    json_begin(c->out, "generations", '[');
    for (unsigned i = 0; i < count; i++)
        write_entry(c->out, &list[i]);
    json_end(c->out, ']');
    json_end(c->out, '}');
    call_answer(c, "application/json");
}

static void not_kept(struct call *c, struct bytes number)
{
    call_problem(c->x, 404, "generation %.*s is not kept%s", BYTES_ARG(number),
                 *history_folder() ? "" : ": there is no state_dir");
}

typedef err (*getter)(uint64_t number, struct arena *a, struct bytes *ret_text);

static void get(struct call *c, getter which, const char *type)
{
    struct arena a;
    struct bytes text;
    uint64_t number;
    arena_open(&a, &arena_heap, FILES_ARENA_BYTES_MAX, NULL, 0);
    if (bytes_to_u64(c->args[0], &number) && which(number, &a, &text) == OK) {
        text_add(c->out, text);
        call_answer(c, type);
    } else {
        not_kept(c, c->args[0]);
    }
    arena_close(&a);
}

void generation_get(struct call *c)
{
    get(c, history_text, "application/yaml");
}

void generation_diff_get(struct call *c)
{
    get(c, history_diff, "text/plain; charset=utf-8");
}

/* ---- of any two ---- */

struct diff_query {
    struct bytes from, to;
};

const struct conf_struct diff_query = {
    .name = "diff",
    .size = sizeof(struct diff_query),
    .fields =
        (const struct conf_field[]){
            { .name = "from",
              .type = CONF_TEXT,
              .offset = AT(diff_query, from),
              .preset = "running",
              .doc = "`running`: what is in force; `file`: what a reload would read; or "
                     "a generation's number" },
            { .name = "to",
              .type = CONF_TEXT,
              .offset = AT(diff_query, to),
              .preset = "file",
              .doc = "the same" },
            { 0 } },
    .doc = "From which to which configuration.",
};

/* False: a problem was answered. */
static bool side(struct call *c, struct bytes name, struct arena *a, struct bytes *ret_text)
{
    struct diag d = DIAG_NONE;
    uint64_t number;
    if (bytes_eq(name, BYTES("running"))) {
        *ret_text = process_generation()->text;
        return true;
    }
    if (bytes_eq(name, BYTES("file"))) {
        err e = process_read_file(process_conf_path(), a, ret_text, &d);
        if (e)
            call_failed(c, 422, e, &d);
        return e == OK;
    }
    if (!bytes_to_u64(name, &number)) {
        call_problem(c->x, 400, "\"%.*s\" is neither running, file nor a number", BYTES_ARG(name));
        return false;
    }
    if (history_text(number, a, ret_text) == OK)
        return true;
    not_kept(c, name);
    return false;
}

void diff_get(struct call *c)
{
    const struct diff_query *q = c->query;
    struct bytes from, to;
    struct arena a;
    arena_open(&a, &arena_heap, FILES_ARENA_BYTES_MAX, NULL, 0);
    if (side(c, q->from, &a, &from) && side(c, q->to, &a, &to)) {
        diff_write(from, to, q->from.ptr, q->to.ptr, c->out);
        call_answer(c, "text/plain; charset=utf-8");
    }
    arena_close(&a);
}

/* ---- back to one ---- */

struct rollback_body {
    int64_t generation;
    bool write;
};

const struct conf_struct rollback_body = {
    .name = "rollback",
    .size = sizeof(struct rollback_body),
    .fields = (const struct conf_field[]){ { .name = "generation",
                                             .type = CONF_INT,
                                             .offset = AT(rollback_body, generation),
                                             .required = true,
                                             .min = 1,
                                             .max = 9e15,
                                             .doc = "the number of one that is kept" },
                                           { .name = "write",
                                             .type = CONF_BOOL,
                                             .offset = AT(rollback_body, write),
                                             .preset = "false",
                                             .doc = "replace the configuration file with it as well" },
                                           { 0 } },
    .doc = "Which configuration comes into force again.",
};

void rollback_post(struct call *c)
{
    const struct rollback_body *b = c->body;
    struct diag d = DIAG_NONE;
    struct order o = {
        .kind = ORDER_ROLLBACK, .number = (uint64_t)b->generation, .write = b->write, .diag = &d
    };
    memcpy(o.author, c->author, sizeof o.author);
    err e = process_order(&o);
    if (e) {
        call_failed(c, e == ERR_UNAVAILABLE ? 503 : e == ERR_NOT_FOUND ? 404 : 422, e, &d);
        return;
    }
    json_begin(c->out, NULL, '{');
    json_u64(c->out, "generation", o.ret_number);
    json_bool(c->out, "file_differs", process_origin()->rolled_back_to != 0);
    json_end(c->out, '}');
    call_answer(c, "application/json");
}
