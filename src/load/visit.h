/* visit: what the files of one visit share. Inside the scenario's carrier only. */
#pragma once
#include "load/expect.h"
#include "load/user.h"

struct visit {
    struct template_values values; /* first */
    struct user *u;
    struct arena arena;
    uint64_t due_ns; /* of the next request; 0: when it is sent */
};

/* The parts of the step's request, the script's hook included. False: it failed. */
bool visit_parts(struct visit *v, const struct scenario_step *step, struct scenario_parts *ret_parts);
struct bytes visit_cookies(const struct user *u);
void visit_take_cookies(struct user *u, const struct http_response *head);
void visit_record(struct visit *v, struct load_kind *k, uint64_t sent_ns, uint64_t now_ns);
/* Is it as expected? Takes its variables; a->head, body, ns and arena are set. */
enum load_error visit_look(struct visit *v, const struct scenario_step *step, struct expect_answer *a);

/* ---- visit_websocket.c */

/* Any step but a request. False: the visit ends. */
bool visit_websocket_step(struct visit *v, const struct scenario_step *step);
/* Sleeps; what comes meanwhile is counted, and pings are answered. ERR_CANCELLED. */
err visit_websocket_rest(struct user *u, uint64_t us) CHECK_RESULT;
/* Closes what is open. */
void visit_websocket_end(struct user *u);
