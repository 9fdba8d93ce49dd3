#include "load/scenario.h"

#include "base/file_read.h"
#include "base/mem.h"
#include "load/script.h"
#include "load/stages.h"
#include "proto/http.h"

#define FILE_BYTES_MAX ((size_t)256 << 20)

struct compiler {
    struct template_finder finder; /* first: the finder leads to it */
    struct scenario *s;
    struct diag *reterr;
};

/* Where the mistake is, when reterr does not say it better. */
static err at(struct compiler *c, struct conf_mark mark, err e)
{
    if (e && c->reterr && !c->reterr->file) {
        c->reterr->file = c->s->file;
        c->reterr->line = mark.line;
        c->reterr->column = mark.column;
    }
    return e;
}

err scenario_read_file(struct scenario *s, struct bytes name, struct bytes *ret_text, struct diag *reterr)
{
    bool absolute = name.len && name.ptr[0] == '/';
    struct bytes path =
        arena_print(&s->arena, "%.*s%.*s", absolute ? 0 : (int)s->folder.len, s->folder.ptr, BYTES_ARG(name));
    if (!path.ptr)
        return ERR_MEMORY;
    if (s->files_count == SCENARIO_FILES_MAX) {
        diag_set(reterr, "there are more than %u files", SCENARIO_FILES_MAX);
        return ERR_CONF;
    }
    err e = file_read_whole(path.ptr, FILE_BYTES_MAX, ret_text, reterr);
    if (!e)
        s->files[s->files_count++] = (struct scenario_file){ name, *ret_text };
    return e;
}

/* ---- variables ---- */

static int add_variable(struct scenario *s, struct scenario_variable v)
{
    if (s->variables_count == SCENARIO_VARIABLES_MAX)
        return TEMPLATE_UNKNOWN;
    s->variables[s->variables_count] = v;
    return (int)s->variables_count++;
}

/* "random 1 100" */
static int find_random(struct scenario *s, struct bytes name, struct diag *reterr)
{
    struct scenario_variable v = { .kind = SCENARIO_RANDOM };
    struct bytes rest = bytes_trim(bytes_skip(name, 6));
    struct bytes from = { rest.ptr, bytes_index(rest, ' ') };
    if (bytes_to_u64(from, &v.from) && bytes_to_u64(bytes_trim(bytes_skip(rest, from.len)), &v.to) &&
        v.to >= v.from)
        return add_variable(s, v);
    diag_set(reterr, "random takes two numbers, the smaller one first: ${random 1 100}");
    return TEMPLATE_UNKNOWN;
}

static int find_data(struct scenario *s, struct bytes name, struct diag *reterr)
{
    size_t dot = bytes_index(name, '.');
    for (size_t i = 0; dot < name.len && i < s->data_count; i++) {
        if (!bytes_eq(s->data[i].name, (struct bytes){ name.ptr, dot }))
            continue;
        int column = csv_column(&s->data[i].csv, bytes_skip(name, dot + 1));
        if (column >= 0)
            return add_variable(s, (struct scenario_variable){ .kind = SCENARIO_DATA,
                                                               .index = (unsigned)i,
                                                               .column = (unsigned)column });
        diag_set(reterr, "the data %.*s have no column \"%.*s\"", BYTES_ARG(s->data[i].name),
                 (int)(name.len - dot - 1), name.ptr + dot + 1);
        break;
    }
    return TEMPLATE_UNKNOWN;
}

static int find_slot(const struct scenario *s, struct bytes name)
{
    for (unsigned i = 0; i < s->slots_count; i++) {
        if (bytes_eq(s->slots[i], name))
            return (int)i;
    }
    return -1;
}

static int find(struct template_finder *f, struct bytes name, struct diag *reterr)
{
    struct scenario *s = ((struct compiler *)f)->s;
    static const char *const words[] = {
#define X(id, word, meaning) word,
        SCENARIO_VARIABLE_LIST(X)
#undef X
    };
    if (bytes_starts(name, BYTES("random ")))
        return find_random(s, name, reterr);
    for (unsigned i = 0; i < SCENARIO_RANDOM; i++) {
        if (bytes_eq(name, bytes_from(words[i])))
            return add_variable(s, (struct scenario_variable){ .kind = (enum scenario_variable_kind)i });
    }
    int slot = find_slot(s, name);
    if (slot >= 0)
        return add_variable(s, (struct scenario_variable){ .kind = SCENARIO_SLOT, .index = (unsigned)slot });
    return find_data(s, name, reterr);
}

static err slot_of(struct compiler *c, struct bytes name, unsigned *ret_slot)
{
    struct scenario *s = c->s;
    int slot = find_slot(s, name);
    if (slot < 0 && s->slots_count == SCENARIO_VARIABLES_MAX) {
        diag_set(c->reterr, "there are too many variables");
        return ERR_CONF;
    }
    if (slot < 0) {
        slot = (int)s->slots_count++;
        s->slots[slot] = name;
    }
    *ret_slot = (unsigned)slot;
    return OK;
}

/* ---- data ---- */

static err open_data(struct compiler *c)
{
    struct scenario *s = c->s;
    const struct data_conf *conf = s->conf->data.items;
    s->data = arena_get_zero(&s->arena, (s->conf->data.count + 1) * sizeof *s->data);
    if (!s->data)
        return ERR_MEMORY;
    for (size_t i = 0; i < s->conf->data.count; i++) {
        struct scenario_data *d = &s->data[i];
        struct bytes text;
        d->name = conf[i].name;
        d->order = (enum data_order)conf[i].order;
        err e = scenario_read_file(s, conf[i].file, &text, c->reterr);
        if (!e)
            e = csv_read(text, &s->arena, &d->csv, c->reterr);
        if (!e && !d->csv.rows) {
            diag_set(c->reterr, "%.*s has no lines but the first", BYTES_ARG(conf[i].file));
            e = ERR_CONF;
        }
        if (e)
            return at(c, conf[i].mark, e == ERR_SYNTAX ? ERR_CONF : e);
        s->data_count++;
    }
    return OK;
}

/* ---- one step ---- */

static void method_of(const struct step_conf *conf, struct scenario_step *step, struct bytes *ret_path)
{
    const struct {
        struct bytes path;
        const char *method;
    } verbs[] = { { conf->get, "GET" },        { conf->head, "HEAD" },   { conf->post, "POST" },
                  { conf->put, "PUT" },        { conf->patch, "PATCH" }, { conf->del, "DELETE" },
                  { conf->options, "OPTIONS" } };
    for (unsigned i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (!verbs[i].path.ptr)
            continue;
        step->act = SCENARIO_REQUEST;
        step->method_text = bytes_from(verbs[i].method);
        step->method = http_method_of(step->method_text);
        *ret_path = verbs[i].path;
    }
}

/* What the step is for. */
static void act_of(const struct step_conf *conf, struct scenario_step *step, struct bytes *ret_path)
{
    static const char *const words[] = {
#define X(id, word) word,
        SCENARIO_ACT_LIST(X)
#undef X
    };
    *ret_path = BYTES_NONE;
    method_of(conf, step, ret_path);
    if (conf->websocket.ptr) {
        step->act = SCENARIO_WEBSOCKET;
        *ret_path = conf->websocket;
    } else if (conf->send.ptr) {
        step->act = SCENARIO_SEND;
        step->awaits = conf->expect || conf->take.count;
    } else if (conf->receive) {
        step->act = SCENARIO_RECEIVE;
        step->number = (unsigned)conf->receive;
    } else if (conf->close) {
        step->act = SCENARIO_CLOSE;
        step->number = (unsigned)conf->close;
    }
    if (step->act != SCENARIO_REQUEST)
        step->method_text = bytes_from(words[step->act]);
}

static bool text_is_path(const struct template *t)
{
    for (size_t i = 0; i < t->count; i++) {
        struct bytes text = t->parts[i].text;
        for (size_t n = 0; t->parts[i].variable < 0 && n < text.len; n++) {
            if (text.ptr[n] <= ' ' || text.ptr[n] > '~' || text.ptr[n] == '#')
                return false;
        }
    }
    return t->count && t->parts[0].variable < 0 && t->parts[0].text.ptr[0] == '/';
}

static err make(struct compiler *c, struct bytes text, struct template *out)
{
    err e = template_open(text, &c->s->arena, &c->finder, out, c->reterr);
    return e == ERR_SYNTAX ? ERR_CONF : e;
}

static err compile_body(struct compiler *c, const struct step_conf *conf, struct scenario_step *step)
{
    struct bytes text = conf->body.ptr ? conf->body : conf->send.ptr ? conf->send : conf->json;
    if (conf->body_file.ptr) {
        err e = scenario_read_file(c->s, conf->body_file, &text, c->reterr);
        if (e)
            return e;
        struct template_part *part = arena_get(&c->s->arena, sizeof *part);
        if (!part)
            return ERR_MEMORY;
        *part = (struct template_part){ text, -1 };
        step->body = (struct template){ .parts = part, .count = text.len > 0, .constant = true };
        return OK;
    }
    return make(c, text, &step->body);
}

static err add_field(struct compiler *c, struct scenario_step *step, struct bytes name, struct bytes value)
{
    struct scenario_field *f = &step->fields[step->fields_count];
    enum http_field_id id = http_field_id_of(name);
    if (!http_is_token(name) || id == FIELD_CONTENT_LENGTH || id == FIELD_TRANSFER_ENCODING ||
        !http_is_field_value(value)) {
        diag_set(c->reterr, "%.*s cannot be a header field here", BYTES_ARG(name));
        return ERR_CONF;
    }
    for (size_t i = 0; i < step->fields_count; i++) { /* the step's own comes first and counts */
        if (bytes_eq_nocase(step->fields[i].name, name))
            return OK;
    }
    f->name = name;
    step->fields_count++;
    return make(c, value, &f->value);
}

static err compile_fields(struct compiler *c, const struct step_conf *conf, struct scenario_step *step)
{
    const struct conf_list *lists[] = { &conf->fields, &c->s->conf->fields };
    err e = OK;
    step->fields =
        arena_get_zero(&c->s->arena, (lists[0]->count + lists[1]->count + 1) * sizeof *step->fields);
    if (!step->fields)
        return ERR_MEMORY;
    for (unsigned n = 0; n < 2; n++) {
        const struct conf_pair *pairs = lists[n]->items;
        for (size_t i = 0; i < lists[n]->count && !e; i++)
            e = add_field(c, step, pairs[i].name, pairs[i].value);
    }
    if (!e && conf->json.ptr)
        e = add_field(c, step, BYTES("Content-Type"), BYTES("application/json"));
    return e;
}

static err compile_expect(struct compiler *c, const struct expect_conf *conf, struct expect *out)
{
    const struct bytes *statuses = conf ? conf->status.items : NULL;
    const struct conf_pair *json = conf ? conf->json.items : NULL;
    struct expect_json *wanted;
    err e = OK;
    if (!conf)
        return OK;
    for (size_t i = 0; i < conf->status.count && !e; i++)
        e = expect_status_parse(statuses[i], out, c->reterr);
    if (!e && conf->matches.ptr)
        e = regex_compile(conf->matches, REGEX_ANYWHERE, &out->matches, c->reterr);
    wanted = arena_get_zero(&c->s->arena, (conf->json.count + 1) * sizeof *wanted);
    for (size_t i = 0; wanted && i < conf->json.count; i++)
        wanted[i] = (struct expect_json){ json[i].name, json[i].value };
    out->json = wanted;
    out->json_count = conf->json.count;
    out->contains = conf->contains;
    out->within_ns = conf->within_ms * 1000000;
    return wanted ? e : ERR_MEMORY;
}

static err compile_takes(struct compiler *c, const struct step_conf *conf, struct scenario_step *step)
{
    const struct conf_pair *pairs = conf->take.items;
    err e = OK;
    step->takes = arena_get_zero(&c->s->arena, (conf->take.count + 1) * sizeof *step->takes);
    if (!step->takes)
        return ERR_MEMORY;
    for (size_t i = 0; i < conf->take.count && !e; i++) {
        struct take *t = &step->takes[i];
        e = take_parse(pairs[i].value, t, c->reterr);
        if (!e)
            e = slot_of(c, pairs[i].name, &t->slot);
        step->takes_count += !e;
        step->wants_body = step->wants_body || t->kind == TAKE_JSON || t->kind == TAKE_REGEX;
    }
    return e;
}

/* ---- the request, when it is always the same ---- */

static bool is_constant(const struct scenario_step *step)
{
    bool constant = step->path.constant && step->body.constant;
    for (size_t i = 0; i < step->fields_count; i++)
        constant = constant && step->fields[i].value.constant;
    return constant;
}

static err compile_step(struct compiler *c, const struct step_conf *conf, struct scenario_step *step)
{
    struct bytes path;
    act_of(conf, step, &path);
    step->think = conf->think;
    if (step->act == SCENARIO_NONE || step->act == SCENARIO_CLOSE)
        return OK;
    err e = make(c, path, &step->path);
    if (!e && path.ptr && !text_is_path(&step->path)) {
        diag_set(c->reterr, "\"%.*s\" is no path: it begins with / and has no spaces or #",
                 (int)(path.len < 60 ? path.len : 60), path.ptr);
        e = ERR_CONF;
    }
    if (!e)
        e = compile_body(c, conf, step);
    if (!e)
        e = compile_fields(c, conf, step);
    if (!e)
        e = compile_expect(c, conf->expect, &step->expect);
    if (!e)
        e = compile_takes(c, conf, step);
    step->wants_body = step->wants_body || expect_body(&step->expect) || script_has_response(c->s->script);
    if (!e && step->act == SCENARIO_REQUEST && is_constant(step) && !script_has_request(c->s->script)) {
        step->fixed = scenario_print(c->s, step, NULL, BYTES_NONE, &c->s->arena);
        e = step->fixed.ptr ? OK : ERR_MEMORY;
    }
    return e;
}

/* ---- flows ---- */

static size_t requests_of(const struct conf_list *steps)
{
    const struct step_conf *conf = steps->items;
    size_t count = 0;
    for (size_t i = 0; i < steps->count; i++)
        count += conf[i].get.ptr || conf[i].head.ptr || conf[i].post.ptr || conf[i].put.ptr ||
                 conf[i].patch.ptr || conf[i].del.ptr || conf[i].options.ptr || conf[i].websocket.ptr ||
                 conf[i].send.ptr || conf[i].receive;
    return count;
}

/* The kind of the results with that name; those of the same name are one. */
static err kind_of(struct compiler *c, struct bytes name, unsigned *ret_kind)
{
    struct scenario *s = c->s;
    for (unsigned i = 0; i < s->kinds_count; i++) {
        if (bytes_eq(s->kinds[i], name)) {
            *ret_kind = i;
            return OK;
        }
    }
    *ret_kind = s->kinds_count;
    s->kinds[s->kinds_count++] = name;
    return OK;
}

static err name_step(struct compiler *c, struct bytes flow, bool alone, const struct step_conf *conf,
                     struct scenario_step *step)
{
    struct bytes name = conf->name, path;
    struct scenario_step ignored;
    act_of(conf, &ignored, &path);
    if (!name.ptr)
        name = alone ? flow
                     : arena_print(&c->s->arena, path.ptr ? "%.*s %.*s %.*s" : "%.*s %.*s", BYTES_ARG(flow),
                                   BYTES_ARG(step->method_text), BYTES_ARG(path));
    return name.ptr ? kind_of(c, name, &step->kind) : ERR_MEMORY;
}

/* Something is sent over one only when it is open, and one at a time. */
static err check_websocket(struct compiler *c, const struct scenario_step *step, bool *open)
{
    if (step->act <= SCENARIO_REQUEST)
        return OK;
    if ((step->act == SCENARIO_WEBSOCKET) == *open) {
        diag_set(c->reterr, *open
                                ? "there is a WebSocket open already: close it first"
                                : "there is no WebSocket open: a step `websocket: /path` has to come before");
        return ERR_CONF;
    }
    *open = step->act != SCENARIO_CLOSE;
    c->s->websocket = true;
    return OK;
}

static err compile_flow(struct compiler *c, struct bytes name, const struct conf_list *steps,
                        struct scenario_flow *f)
{
    const struct step_conf *conf = steps->items;
    bool alone = requests_of(steps) == 1, open = false;
    f->name = name;
    f->steps = arena_get_zero(&c->s->arena, (steps->count + 1) * sizeof *f->steps);
    if (!f->steps)
        return ERR_MEMORY;
    for (size_t i = 0; i < steps->count; i++) {
        struct scenario_step *step = &f->steps[i];
        f->steps_count++;
        err e = compile_step(c, &conf[i], step);
        if (!e)
            e = check_websocket(c, step, &open);
        if (!e && step->act != SCENARIO_NONE && step->act != SCENARIO_CLOSE)
            e = name_step(c, name, alone, &conf[i], step);
        if (e)
            return at(c, conf[i].mark, e);
    }
    return OK;
}

static err compile_flows(struct compiler *c)
{
    struct scenario *s = c->s;
    const struct flow_conf *conf = s->conf->flows.items;
    size_t kinds = requests_of(&s->conf->before);
    for (size_t i = 0; i < s->conf->flows.count; i++)
        kinds += requests_of(&conf[i].steps);
    s->kinds = arena_get_zero(&s->arena, (kinds + 1) * sizeof *s->kinds);
    s->flows = arena_get_zero(&s->arena, (s->conf->flows.count + 1) * sizeof *s->flows);
    if (!s->kinds || !s->flows)
        return ERR_MEMORY;
    err e = compile_flow(c, BYTES("before"), &s->conf->before, &s->before);
    for (size_t i = 0; i < s->conf->flows.count && !e; i++) {
        s->flows_count++;
        s->weights += (uint64_t)conf[i].weight;
        s->flows[i].weight_to = s->weights;
        e = compile_flow(c, conf[i].name, &conf[i].steps, &s->flows[i]);
    }
    if (!e && !s->kinds_count) {
        diag_set(c->reterr, "%s: there is no request in any kind", s->file);
        e = ERR_CONF;
    }
    return e;
}

size_t scenario_choose(const struct scenario *s, uint64_t random)
{
    uint64_t at_weight = random % s->weights;
    size_t i = 0;
    while (s->flows[i].weight_to <= at_weight)
        i++;
    return i;
}

/* ---- all of it ---- */

static err open_target(struct compiler *c, struct bytes url)
{
    struct scenario *s = c->s;
    if (!url.ptr)
        url = s->conf->target;
    if (!url.ptr) {
        diag_set(c->reterr, "%s: there is no target, neither here nor on the command line", s->file);
        return ERR_CONF;
    }
    if (target_parse(url, &s->arena, &s->target, c->reterr) != OK)
        return ERR_CONF;
    if (s->target.path.len == 1)
        return OK;
    diag_set(c->reterr, "%s: the target has no path: \"%.*s\"", s->file, BYTES_ARG(url));
    return ERR_CONF;
}

static err open_variables(struct compiler *c)
{
    const struct bytes *names = c->s->conf->variables.items;
    err e = OK;
    unsigned slot;
    for (size_t i = 0; i < c->s->conf->variables.count && !e; i++)
        e = slot_of(c, names[i], &slot);
    return e;
}

/* Once here, for its mistakes; workers open it again. */
static err open_script(struct compiler *c)
{
    struct scenario *s = c->s;
    if (!s->conf->script.ptr)
        return OK;
    err e = scenario_read_file(s, s->conf->script, &s->script_text, c->reterr);
    return e ? e : script_open(s->script_text, s->conf->script.ptr, &s->script, c->reterr);
}

static err compile(struct compiler *c, struct bytes url)
{
    err e = open_target(c, url);
    if (!e)
        e = open_data(c);
    if (!e)
        e = stages_compile(c->s, c->reterr);
    if (!e)
        e = open_script(c);
    if (!e)
        e = open_variables(c);
    return e ? e : compile_flows(c);
}

err scenario_open(struct bytes text, const char *file, struct bytes target_url, struct conf_errors *errors,
                  struct scenario **ret_scenario, struct diag *reterr)
{
    struct scenario *s = mem_get(sizeof *s);
    void *conf;
    if (!s)
        return ERR_MEMORY;
    arena_open(&s->arena, &arena_heap, SCENARIO_BYTES_MAX, NULL, 0);
    s->file = file;
    const char *slash = strrchr(file, '/');
    s->folder = (struct bytes){ file, slash ? (size_t)(slash - file) + 1 : 0 };
    struct compiler c = { .finder = { find }, .s = s, .reterr = reterr };
    err e = conf_parse(text, file, &scenario_conf_struct, &s->arena, errors, &conf, reterr);
    if (!e) {
        s->conf = conf;
        e = compile(&c, target_url);
    }
    if (e)
        scenario_close(s);
    else
        *ret_scenario = s;
    return e;
}

static void close_flow(struct scenario_flow *f)
{
    for (size_t i = 0; i < f->steps_count; i++) {
        regex_free(f->steps[i].expect.matches);
        for (size_t n = 0; n < f->steps[i].takes_count; n++)
            regex_free(f->steps[i].takes[n].regex);
    }
}

void scenario_close(struct scenario *s)
{
    close_flow(&s->before);
    for (size_t i = 0; i < s->flows_count; i++)
        close_flow(&s->flows[i]);
    curve_close(&s->curve);
    script_close(s->script);
    for (unsigned i = 0; i < s->files_count; i++)
        file_read_free(s->files[i].text);
    arena_close(&s->arena);
    mem_free(s);
}
