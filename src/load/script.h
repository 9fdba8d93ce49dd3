/* script: what YAML cannot say, in Lua (LuaJIT): hooks around the requests of a scenario.
 *
 *      function request(r)    r.kind, r.method: read; r.path, r.body, r.fields, r.vars: read and written
 *      function response(r)   r.kind, r.status, r.ms, r.body, r.fields: read; r.vars: written
 *                             returns nothing or true: well; false, or a text: a `script` error
 *
 * Each worker has a Lua state of its own: globals are shared by its users, and by nobody else. A hook runs on
 * its user's fiber and must not wait. Without LuaJIT in the build opening is ERR_CONF, with words. */
#pragma once
#include "load/scenario.h"

struct script;

/* path: for messages. ERR_CONF (a mistake in it), ERR_MEMORY. */
err script_open(struct bytes text, const char *path, struct script **ret_script,
                struct diag *reterr) CHECK_RESULT;
void script_close(struct script *s);
bool script_has_request(const struct script *s);
bool script_has_response(const struct script *s);

/* What hooks see. slots are the user's variables by the scenario's numbers. */
struct script_call {
    const struct scenario *scenario;
    struct bytes kind;
    struct bytes *slots;
    struct arena *arena;
};

/* May change the parts and the slots; new texts are in the arena. False: it failed, or made what is no
 * request. */
bool script_request(struct script *s, const struct script_call *c, struct scenario_parts *parts);
bool script_response(struct script *s, const struct script_call *c, const struct expect_answer *a);
