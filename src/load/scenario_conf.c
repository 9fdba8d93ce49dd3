#include "load/scenario_conf.h"

#include <stdlib.h>

#include "load/arrivals.h"

#define HOURS_MS(n) ((double)(n)*3600 * 1000)

bool level_parse(struct bytes text, double *ret_level, bool *ret_rate)
{
    char number[32], *end;
    size_t len = bytes_index(text, '/');
    struct bytes unit = bytes_skip(text, len);
    if (!len || len >= sizeof number || (text.ptr[0] != '.' && (text.ptr[0] < '0' || text.ptr[0] > '9')))
        return false;
    memcpy(number, text.ptr, len);
    number[len] = 0;
    double level = strtod(number, &end);
    if (*end || !(level >= 0) || level > CURVE_LEVEL_MAX)
        return false;
    *ret_rate = unit.len > 0;
    *ret_level = bytes_eq(unit, BYTES("/m"))   ? level / 60
                 : bytes_eq(unit, BYTES("/h")) ? level / 3600
                                               : level;
    return !unit.len || bytes_eq(unit, BYTES("/s")) || bytes_eq(unit, BYTES("/m")) ||
           bytes_eq(unit, BYTES("/h"));
}

/* ---- stages ---- */

#define PART(member) offsetof(struct stage_part_conf, member)
#define LEVEL(name_, member, doc_)                                                              \
    {                                                                                           \
        .name = name_, .type = CONF_TEXT, .offset = PART(member), .required = true, .doc = doc_ \
    }
#define TIME(name_, member, doc_)                                                           \
    {                                                                                       \
        .name = name_, .type = CONF_MS, .offset = PART(member), .required = true, .min = 1, \
        .max = HOURS_MS(24 * 30), .doc = doc_                                               \
    }
#define COUNT(name_, member, most, doc_)                                                                  \
    {                                                                                                     \
        .name = name_, .type = CONF_INT, .offset = PART(member), .required = true, .min = 1, .max = most, \
        .doc = doc_                                                                                       \
    }

static err check_level(struct bytes text, struct diag *reterr)
{
    double level;
    bool rate;
    if (!text.ptr || level_parse(text, &level, &rate))
        return OK;
    diag_set(reterr, "\"%.*s\" is neither a rate (100/s) nor a number of users (500)",
             (int)(text.len < 40 ? text.len : 40), text.ptr);
    return ERR_CONF;
}

static err check_part(void *conf, struct diag *reterr)
{
    const struct stage_part_conf *p = conf;
    err e = check_level(p->from, reterr);
    return e ? e : check_level(p->to, reterr);
}

#define STAGE(id, name_, phrases_, doc_, ...)                        \
    static const struct conf_struct id = {                           \
        .name = name_,                                               \
        .size = sizeof(struct stage_part_conf),                      \
        .phrases = (const char *const[]){ phrases_, NULL },          \
        .fields = (const struct conf_field[]){ __VA_ARGS__, { 0 } }, \
        .check = check_part,                                         \
        .doc = doc_,                                                 \
    }

STAGE(constant_struct, "constant", "{level} for {duration}", "The same all the time: `100/s for 1m`.",
      LEVEL("level", from, "`100/s`, or a number of users"), TIME("duration", duration_ms, "how long"));
STAGE(ramp_struct, "ramp", "{from} to {to} over {duration}", "A straight line: `0/s to 500/s over 5m`.",
      LEVEL("from", from, "where it begins"), LEVEL("to", to, "where it ends"),
      TIME("duration", duration_ms, "how long"));
STAGE(steps_struct, "steps", "{from} to {to} in {steps} steps over {duration}",
      "A staircase: `100/s to 1000/s in 10 steps over 10m`.", LEVEL("from", from, "the first step"),
      LEVEL("to", to, "the last step"), COUNT("steps", steps, 10000, "how many"),
      TIME("duration", duration_ms, "of all steps together"));
STAGE(sine_struct, "sine", "{from} to {to} every {period} for {duration}",
      "Waves, from low to high and back: `100/s to 900/s every 10m for 1h`.",
      LEVEL("from", from, "the lowest"), LEVEL("to", to, "the highest"),
      TIME("period", period_ms, "of one wave"), TIME("duration", duration_ms, "how long"));
#define NORMAL_PHRASES \
    "{to} around {peak} within {deviation} for {duration}", "as {history}", "{to} as {history}"
STAGE(normal_struct, "normal", NORMAL_PHRASES,
      "A bell around an hour: `1000/s around 30m within 10m for 1h`. `as FILE` takes hour, width and "
      "duration from "
      "a CSV of requests a second, and the height too unless one is said.",
      { .name = "to", .type = CONF_TEXT, .offset = PART(to), .doc = "at its peak" },
      { .name = "from", .type = CONF_TEXT, .offset = PART(from), .doc = "far from it; 0 when not said" },
      { .name = "peak",
        .type = CONF_MS,
        .offset = PART(peak_ms),
        .max = HOURS_MS(24 * 30),
        .doc = "when it is" },
      { .name = "deviation",
        .type = CONF_MS,
        .offset = PART(deviation_ms),
        .max = HOURS_MS(24 * 30),
        .doc = "the standard deviation: two thirds of all lie within" },
      { .name = "duration",
        .type = CONF_MS,
        .offset = PART(duration_ms),
        .max = HOURS_MS(24 * 30),
        .doc = "how long" },
      { .name = "history", .type = CONF_TEXT, .offset = PART(history), .doc = "a CSV file, see history" });
STAGE(history_struct, "history", "{file}",
      "As it was: a CSV file whose first column is the time (seconds, or 20:15 and 20:15:30) and whose "
      "second is the "
      "level then; between two lines it goes straight. With one column alone each line is a second.",
      { .name = "file", .type = CONF_TEXT, .offset = PART(history), .required = true, .doc = "the file" },
      { .name = "peak",
        .type = CONF_TEXT,
        .offset = PART(to),
        .doc = "scaled so that this is its highest level" });
STAGE(burst_struct, "burst", "{times}x for {duration}",
      "The opening burst: so many times the level that the stage before ended with: `300x for 5m`.",
      COUNT("times", times, 1000000, "how many times"), TIME("duration", duration_ms, "how long"));

static err check_stage(void *conf, struct diag *reterr)
{
    const struct stage_conf *s = conf;
    int count = !!s->constant + !!s->ramp + !!s->steps + !!s->sine + !!s->normal + !!s->history + !!s->burst;
    if (count != 1)
        diag_set(reterr,
                 "a stage is one of constant, ramp, steps, sine, normal, history and burst; this is %d",
                 count);
    return count == 1 ? OK : ERR_CONF;
}

#define STAGE_FIELD(member)                                                                  \
    {                                                                                        \
        .name = #member, .type = CONF_STRUCT, .offset = offsetof(struct stage_conf, member), \
        .sub = &member##_struct, .doc = "see " #member                                       \
    }

static const struct conf_struct stage_struct = {
    .name = "stage",
    .size = sizeof(struct stage_conf),
    .fields = (const struct conf_field[]){ STAGE_FIELD(constant),
                                           STAGE_FIELD(ramp),
                                           STAGE_FIELD(steps),
                                           STAGE_FIELD(sine),
                                           STAGE_FIELD(normal),
                                           STAGE_FIELD(history),
                                           STAGE_FIELD(burst),
                                           { 0 } },
    .check = check_stage,
    .mark_offset = offsetof(struct stage_conf, mark),
    .doc = "A part of the run, with a shape of its own.",
};

/* ---- steps ---- */

static const struct conf_struct expect_struct = {
    .name = "expect",
    .size = sizeof(struct expect_conf),
    .phrases = (const char *const[]){ "{status}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "status",
              .type = CONF_LIST,
              .item = CONF_TEXT,
              .offset = offsetof(struct expect_conf, status),
              .doc = "statuses that are well: 200, 2xx, 200-299; 100 to 399 when none is said" },
            { .name = "contains",
              .type = CONF_TEXT,
              .offset = offsetof(struct expect_conf, contains),
              .doc = "stands somewhere in the body" },
            { .name = "matches",
              .type = CONF_TEXT,
              .offset = offsetof(struct expect_conf, matches),
              .doc = "a regular expression that fits somewhere in the body" },
            { .name = "json",
              .type = CONF_PAIRS,
              .offset = offsetof(struct expect_conf, json),
              .doc = "values of the body as JSON, each behind its pointer (RFC 6901): `/order/state: paid`" },
            { .name = "within",
              .type = CONF_MS,
              .offset = offsetof(struct expect_conf, within_ms),
              .min = 0,
              .max = HOURS_MS(1),
              .doc = "the whole answer, from when it was asked" },
            { 0 } },
    .doc = "What the answer must be; anything else is an error of the run.",
};

#define STEP(member) offsetof(struct step_conf, member)
#define STEP_TEXT(name_, member, doc_)                                        \
    {                                                                         \
        .name = name_, .type = CONF_TEXT, .offset = STEP(member), .doc = doc_ \
    }

static err check_step(void *conf, struct diag *reterr)
{
    const struct step_conf *s = conf;
    int verbs = !!s->get.ptr + !!s->head.ptr + !!s->post.ptr + !!s->put.ptr + !!s->patch.ptr + !!s->del.ptr +
                !!s->options.ptr;
    int messages = !!s->send.ptr + !!s->receive, acts = verbs + !!s->websocket.ptr + messages + !!s->close;
    int bodies = !!s->body.ptr + !!s->body_file.ptr + !!s->json.ptr;
    bool seen = s->take.count || s->expect || s->name.ptr;
    if (acts > 1 || (!acts && (bodies || s->fields.count || seen || !s->think)))
        diag_set(reterr,
                 "a step is one request (get: /path, post: /path ...), one thing done with a WebSocket "
                 "(websocket: /path, send, receive, close), or a think time alone");
    else if (acts && !verbs && (bodies || (s->fields.count && !s->websocket.ptr)))
        diag_set(reterr, "a body is for a request, header fields are for a request and for websocket");
    else if (s->close && seen)
        diag_set(reterr, "close is not looked at, and not counted: it has neither name nor expect nor take");
    else if (messages && s->expect && s->expect->status.count)
        diag_set(reterr, "a message has no status");
    else if (bodies > 1)
        diag_set(reterr, "a request has one of body, body_file and json");
    else
        return OK;
    return ERR_CONF;
}

static const struct conf_struct step_struct = {
    .name = "step",
    .size = sizeof(struct step_conf),
    .phrases = (const char *const[]){ "GET {get}", NULL },
    .fields =
        (const struct conf_field[]){
            STEP_TEXT("get", get, "GET this path"),
            STEP_TEXT("head", head, "HEAD"),
            STEP_TEXT("post", post, "POST"),
            STEP_TEXT("put", put, "PUT"),
            STEP_TEXT("patch", patch, "PATCH"),
            STEP_TEXT("delete", del, "DELETE"),
            STEP_TEXT("options", options, "OPTIONS"),
            STEP_TEXT("websocket", websocket, "opens a WebSocket there; the visit's end closes it"),
            STEP_TEXT("send", send,
                      "sends this as a text message; with expect or take the answer is waited for: the first "
                      "message that is as expected"),
            { .name = "receive",
              .type = CONF_INT,
              .offset = STEP(receive),
              .min = 1,
              .max = 1000000,
              .doc = "waits for so many messages that are as expected" },
            { .name = "close",
              .type = CONF_INT,
              .offset = STEP(close),
              .min = 1000,
              .max = 4999,
              .doc = "closes the WebSocket with this code, and waits for the server's own" },
            STEP_TEXT("name", name,
                      "what the results call it; the kind's name, with method and path when it has several "
                      "requests"),
            STEP_TEXT("body", body, "the request's body"),
            STEP_TEXT("body_file", body_file, "the body is this file's content, as it is"),
            STEP_TEXT("json", json, "a body of JSON, with its Content-Type"),
            { .name = "fields", .type = CONF_PAIRS, .offset = STEP(fields), .doc = "header fields" },
            { .name = "expect",
              .type = CONF_STRUCT,
              .offset = STEP(expect),
              .sub = &expect_struct,
              .doc = "what the answer must be" },
            { .name = "take",
              .type = CONF_PAIRS,
              .offset = STEP(take),
              .doc = "variables from the answer: `json /order/id`, `header X-Token`, `cookie SID`, `regex "
                     "id=([0-9]+)`" },
            { .name = "think",
              .type = CONF_STRUCT,
              .offset = STEP(think),
              .sub = &think_conf_struct,
              .doc = "a wait behind it" },
            { 0 } },
    .check = check_step,
    .mark_offset = STEP(mark),
    .doc = "One request of a virtual user, or one thing that it does with its WebSocket.",
};

static const struct conf_struct flow_struct = {
    .name = "kind",
    .size = sizeof(struct flow_conf),
    .fields =
        (const struct conf_field[]){
            { .name = "weight",
              .type = CONF_INT,
              .offset = offsetof(struct flow_conf, weight),
              .preset = "1",
              .min = 1,
              .max = 1000000,
              .doc = "how often, beside the other kinds: 70, 20 and 10 are 70%, 20% and 10%" },
            { .name = "steps",
              .type = CONF_LIST,
              .offset = offsetof(struct flow_conf, steps),
              .sub = &step_struct,
              .required = true,
              .max = 1000,
              .doc = "what is done, one after the other" },
            { 0 } },
    .mark_offset = offsetof(struct flow_conf, mark),
    .doc = "What a virtual user may do: the steps of one visit.",
};

/* ---- data ---- */

static const char *const orders[] = {
#define X(id, word) word,
    DATA_ORDER_LIST(X)
#undef X
        NULL
};

static const struct conf_struct data_struct = {
    .name = "data",
    .size = sizeof(struct data_conf),
    .phrases = (const char *const[]){ "{file}", "{file} {order}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "file",
              .type = CONF_TEXT,
              .offset = offsetof(struct data_conf, file),
              .required = true,
              .doc = "a CSV file; its first line names the columns" },
            { .name = "order",
              .type = CONF_WORD,
              .offset = offsetof(struct data_conf, order),
              .preset = "in_order",
              .words = orders,
              .doc = "each visit gets the next line (in_order), any (random), or always the same of its "
                     "user (per_user)" },
            { 0 } },
    .mark_offset = offsetof(struct data_conf, mark),
    .doc = "Lines of a CSV file as variables: `${people.mail}` is the column mail of the data people.",
};

/* ---- all ---- */

static const char *const arrivals[] = {
#define X(id, word) word,
    ARRIVALS_LIST(X)
#undef X
        NULL
};

static err check_scenario(void *conf, struct diag *reterr)
{
    const struct scenario_conf *s = conf;
    int ways = (s->users > 0) + !!s->rate.ptr + (s->stages.count > 0);
    double level;
    bool rate;
    if (ways != 1) {
        diag_set(reterr, "how much is said by one of users, rate and stages; here it is %d of them", ways);
        return ERR_CONF;
    }
    if (s->rate.ptr && (!level_parse(s->rate, &level, &rate) || !rate || level <= 0)) {
        diag_set(reterr, "\"%.*s\" is no rate (like 100/s)", (int)(s->rate.len < 40 ? s->rate.len : 40),
                 s->rate.ptr);
        return ERR_CONF;
    }
    return OK;
}

#define AT(member) offsetof(struct scenario_conf, member)

const struct conf_struct scenario_conf_struct = {
    .name = "scenario",
    .size = sizeof(struct scenario_conf),
    .fields =
        (const struct conf_field[]){
            { .name = "target",
              .type = CONF_TEXT,
              .offset = AT(target),
              .doc = "the server's URL, without a path; the command line may say another" },
            { .name = "users",
              .type = CONF_INT,
              .offset = AT(users),
              .min = 1,
              .max = 1000000,
              .doc = "so many virtual users, each going through one visit after the other" },
            { .name = "rate",
              .type = CONF_TEXT,
              .offset = AT(rate),
              .doc = "visits a second that begin, whatever became of those before (`100/s`)" },
            { .name = "stages",
              .type = CONF_LIST,
              .offset = AT(stages),
              .sub = &stage_struct,
              .max = 1000,
              .doc = "users or rate over time, one stage after the other" },
            { .name = "duration",
              .type = CONF_MS,
              .offset = AT(duration_ms),
              .preset = "1m",
              .min = 1,
              .max = HOURS_MS(24 * 30),
              .doc = "how long, without stages" },
            { .name = "warmup",
              .type = CONF_MS,
              .offset = AT(warmup_ms),
              .preset = "0s",
              .min = 0,
              .max = HOURS_MS(24),
              .doc = "of that, the beginning that does not count" },
            { .name = "spread",
              .type = CONF_MS,
              .offset = AT(spread_ms),
              .preset = "1s",
              .min = 0,
              .max = HOURS_MS(24),
              .doc = "users begin spread over so long" },
            { .name = "users_max",
              .type = CONF_INT,
              .offset = AT(users_max),
              .preset = "1000",
              .min = 1,
              .max = 1000000,
              .doc = "with a rate: how many visits may be on their way at the same time" },
            { .name = "arrivals",
              .type = CONF_WORD,
              .offset = AT(arrivals),
              .preset = "poisson",
              .words = arrivals,
              .doc = "with a rate: at random, or at equal distances" },
            { .name = "timeout",
              .type = CONF_MS,
              .offset = AT(timeout_ms),
              .preset = "10s",
              .min = 1,
              .max = HOURS_MS(1),
              .doc = "of a connect, and of a whole answer" },
            { .name = "think",
              .type = CONF_STRUCT,
              .offset = AT(think),
              .sub = &think_conf_struct,
              .doc = "with users: the wait between two visits" },
            { .name = "fields",
              .type = CONF_PAIRS,
              .offset = AT(fields),
              .doc = "header fields of all requests" },
            { .name = "cookies",
              .type = CONF_BOOL,
              .offset = AT(cookies),
              .preset = "on",
              .doc = "each user keeps the cookies that it is given" },
            { .name = "http2",
              .type = CONF_BOOL,
              .offset = AT(http2),
              .preset = "off",
              .doc =
                  "HTTP/2 instead of HTTP/1.1: with https by ALPN, else without asking (prior knowledge)" },
            { .name = "http3",
              .type = CONF_BOOL,
              .offset = AT(http3),
              .preset = "off",
              .doc = "HTTP/3 instead, with https" },
            { .name = "data",
              .type = CONF_MAP,
              .offset = AT(data),
              .sub = &data_struct,
              .max = 64,
              .doc = "variables from CSV files" },
            { .name = "before",
              .type = CONF_LIST,
              .offset = AT(before),
              .sub = &step_struct,
              .max = 1000,
              .doc = "steps that each user does once, at its beginning; variables that they take stay" },
            { .name = "kinds",
              .type = CONF_MAP,
              .offset = AT(flows),
              .sub = &flow_struct,
              .required = true,
              .max = 1000,
              .doc = "what users do; each visit is one of these, by weight" },
            { .name = "script", .type = CONF_TEXT, .offset = AT(script), .doc = "a Lua file with hooks" },
            { .name = "variables",
              .type = CONF_LIST,
              .item = CONF_TEXT,
              .offset = AT(variables),
              .doc = "names of variables that the script sets" },
            { 0 } },
    .check = check_scenario,
    .doc = "A scenario of `weir load`.",
};
