/* target: where the requests go: a URL cut into what a connection and a request line need, and its address.
 *
 *      http://shop.example:8080/a?b      host "shop.example:8080"  address 10.0.0.1:8080  path "/a?b"
 *
 * Made on the main thread before anything runs (names are resolved by the system, which may wait); immutable
 * then; any thread. Lives as long as the text of the URL and the arena. */
#pragma once
#include "base/addr.h"
#include "base/arena.h"
#include "base/diag.h"

struct target {
    bool tls;
    struct bytes host; /* as the Host field says it */
    struct bytes name; /* without port and brackets */
    struct bytes path; /* "/..." with the query */
    uint16_t port;
    struct addr addr; /* len 0: not looked up yet */
};

/* ERR_SYNTAX, with words. */
err target_parse(struct bytes url, struct arena *a, struct target *ret_target,
                 struct diag *reterr) CHECK_RESULT;
/* Sets addr: the first address of the name that takes a connection (within a second each), else the first.
 * ERR_NOT_FOUND, with words. */
err target_resolve(struct target *t, struct diag *reterr) CHECK_RESULT;
