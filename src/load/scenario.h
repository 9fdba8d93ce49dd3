/* scenario: a scenario's file, compiled: what virtual users do. Immutable once open; any thread.
 *
 *      kinds ──▶ flows, chosen by weight ──▶ steps ──▶ templates, expectations, what is taken
 *
 * Opened on the main thread before anything runs. */
#pragma once
#include "load/csv.h"
#include "load/curve.h"
#include "load/expect.h"
#include "load/scenario_conf.h"
#include "load/target.h"
#include "load/template.h"

#define SCENARIO_BYTES_MAX ((size_t)1 << 30)
#define SCENARIO_VARIABLES_MAX 4096u
#define SCENARIO_FILES_MAX 250u

/*    id         word         meaning */
#define SCENARIO_VARIABLE_LIST(X)                                                          \
    X(UUID, "uuid", "a new random UUID (version 4) each time")                             \
    X(COUNTER, "counter", "1, 2, 3 ... each number once in the whole run")                 \
    X(USER, "user", "the virtual user's number, from 0")                                   \
    X(VISIT, "visit", "how many visits this user has made before")                         \
    X(NOW_MS, "now_ms", "milliseconds since 1970")                                         \
    X(RANDOM, "random", "`${random 1 100}`: a whole number from 1 to 100, each as likely") \
    X(DATA, "", "`${people.mail}`: a column of the data")                                  \
    X(SLOT, "", "`${order}`: what an earlier step took")

enum scenario_variable_kind {
#define X(id, word, meaning) SCENARIO_##id,
    SCENARIO_VARIABLE_LIST(X)
#undef X
};

struct scenario_variable {
    enum scenario_variable_kind kind;
    unsigned index, column; /* of DATA; index of SLOT */
    uint64_t from, to;      /* of RANDOM */
};

struct scenario_field {
    struct bytes name;
    struct template value;
};

/*    id         what */
#define SCENARIO_ACT_LIST(X)                            \
    X(NONE, "")               /* a think time alone */  \
    X(REQUEST, "")            /* named by its method */ \
    X(WEBSOCKET, "WEBSOCKET") /* opens one */           \
    X(SEND, "SEND")                                     \
    X(RECEIVE, "RECEIVE")                               \
    X(CLOSE, "CLOSE")

enum scenario_act {
#define X(id, word) SCENARIO_##id,
    SCENARIO_ACT_LIST(X)
#undef X
};

struct scenario_step {
    enum scenario_act act;
    unsigned number; /* of messages to RECEIVE; code of CLOSE */
    bool awaits;     /* SEND: a message is waited for */
    struct bytes method_text;
    enum http_method method;
    struct template path, body;
    struct scenario_field *fields;
    size_t fields_count;
    struct bytes fixed; /* the whole request, when nothing in it changes (but for cookies); else ptr NULL */
    unsigned kind;      /* of the results */
    struct expect expect;
    struct take *takes;
    size_t takes_count;
    bool wants_body; /* of the answer */
    const struct think_conf *think;
};

struct scenario_flow {
    struct bytes name;
    uint64_t weight_to; /* weights up to here, this one included */
    struct scenario_step *steps;
    size_t steps_count;
};

struct scenario_data {
    struct bytes name;
    struct csv csv;
    enum data_order order;
};

/* A request before it is bytes. */
struct scenario_part_field {
    struct bytes name, value;
};
struct scenario_parts {
    struct bytes method, path, body;
    struct scenario_part_field *fields;
    size_t fields_count;
};

struct script;

struct scenario {
    const struct scenario_conf *conf;
    struct arena arena;
    const char *file;
    struct bytes folder; /* that file names are relative to, with its / */
    struct target target;
    bool websocket; /* some step opens one */
    bool rate;      /* visits begin by a rate; else there are users */
    struct curve curve;
    double seconds;
    struct scenario_variable variables[SCENARIO_VARIABLES_MAX];
    unsigned variables_count;
    struct bytes slots[SCENARIO_VARIABLES_MAX]; /* their names */
    unsigned slots_count;
    struct scenario_data *data;
    size_t data_count;
    struct scenario_flow *flows;
    size_t flows_count;
    uint64_t weights;
    struct scenario_flow before;
    struct bytes *kinds; /* names of what is counted apart */
    unsigned kinds_count;
    struct bytes script_text;
    struct script *script; /* this thread's: to know what hooks there are; NULL: no script */
    struct scenario_file {
        struct bytes name, text;
    } files[SCENARIO_FILES_MAX]; /* that were read, as they are named in it; given back at the end */
    unsigned files_count;
};

/* text is borrowed, and so is target_url (ptr NULL: the file's own). errors: as conf_parse. ERR_CONF, with
 * file and line; ERR_MEMORY. */
err scenario_open(struct bytes text, const char *file, struct bytes target_url, struct conf_errors *errors,
                  struct scenario **ret_scenario, struct diag *reterr) CHECK_RESULT;
void scenario_close(struct scenario *s);
/* The number of the flow that this random number means. */
size_t scenario_choose(const struct scenario *s, uint64_t random);
/* The parts of a step's request, then its bytes; in the arena. False, ptr NULL: it has no more. */
bool scenario_parts(const struct scenario_step *step, struct template_values *values, struct arena *a,
                    struct scenario_parts *ret_parts);
struct bytes scenario_compose(const struct scenario *s, const struct scenario_parts *p, struct bytes cookies,
                              struct arena *a);
/* Both. The bytes of a request, in the arena. values may be NULL for a step without variables. ptr NULL: the
 * arena has no more. */
struct bytes scenario_print(const struct scenario *s, const struct scenario_step *step,
                            struct template_values *values, struct bytes cookies, struct arena *a);
/* A file that the scenario names, relative to it; given back with the scenario. Main thread, while it is
 * opened. */
err scenario_read_file(struct scenario *s, struct bytes name, struct bytes *ret_text,
                       struct diag *reterr) CHECK_RESULT;
