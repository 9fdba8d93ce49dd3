/* What the admin API says of the ledger, and copies it. */
#include "admin/call.h"
#include "ledger/ledger_conf.h"

#define AT(type, member) offsetof(struct type, member)

struct backup_body {
    struct bytes folder;
};

const struct conf_struct ledger_backup_body = {
    .name = "backup",
    .size = sizeof(struct backup_body),
    .fields = (const struct conf_field[]){ { .name = "folder",
                                             .type = CONF_TEXT,
                                             .offset = AT(backup_body, folder),
                                             .required = true,
                                             .doc = "an absolute path that is not there yet; weir makes it" },
                                           { 0 } },
    .doc = "Where the copy goes.",
};

/* "off": there is none. */
static void put_off(struct call *c)
{
    json_begin(c->out, NULL, '{');
    json_text(c->out, "state", BYTES("off"));
    json_end(c->out, '}');
    call_answer(c, "application/json");
}

void ledger_get(struct call *c)
{
    if (!ledger_here()) {
        put_off(c);
        return;
    }
    const struct ledger_conf *conf = c->x->gate->generation->conf->ledger;
    const struct ledger_status s = ledger_status(ledger_here());
    const char *why = ledger_stopped(ledger_here());
    json_begin(c->out, NULL, '{');
    json_text(c->out, "state", why ? BYTES("stopped") : s.open ? BYTES("serving") : BYTES("waiting"));
    if (why)
        json_text(c->out, "reason", bytes_from(why));
    if (conf)
        json_text(c->out, "path", conf->path);
    json_text(c->out, "durability", bytes_from(ledger_durability_words[s.durability]));
    json_u64(c->out, "batch", s.seq);
    json_u64(c->out, "checkpoint_batch", s.checkpoint_seq);
    json_u64(c->out, "records", s.records);
    json_u64(c->out, "record_bytes", s.record_bytes);
    json_u64(c->out, "log_bytes", s.log_bytes);
    json_u64(c->out, "time_ms", s.time_ms);
    json_end(c->out, '}');
    call_answer(c, "application/json");
}

void ledger_backup_post(struct call *c)
{
    const struct backup_body *b = c->body;
    struct diag d = DIAG_NONE;
    if (!ledger_here()) {
        call_problem(c->x, 404, "no ledger is configured");
        return;
    }
    if (b->folder.ptr[0] != '/') {
        call_problem(c->x, 422, "folder: \"%s\" is no absolute path", b->folder.ptr);
        return;
    }
    err e = ledger_copy(b->folder.ptr, &d);
    if (e) {
        call_failed(c, e == ERR_UNAVAILABLE || e == ERR_LIMIT ? 503 : 422, e, &d);
        return;
    }
    json_begin(c->out, NULL, '{');
    json_text(c->out, "folder", b->folder);
    json_end(c->out, '}');
    call_answer(c, "application/json");
}
