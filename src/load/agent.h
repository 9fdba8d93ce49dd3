/* agent: does runs for somebody else's command line: `weir load agent --listen ADDRESS`.
 *
 *      GET  /v1/clock   {"now_us":...}                 how far apart the clocks are
 *      POST /v1/load    {"args":[...],"files":[...]}   a child process runs; its lines are the answer
 *      POST /v1/stop                                   it ends, as by Ctrl-C
 *
 * One run at a time. All want the token. Main thread: it becomes the control worker. */
#pragma once
#include "base/addr.h"
#include "base/diag.h"
#include "base/err.h"
#include "core/worker.h"

#define AGENT_ARGS_MAX 64u
#define AGENT_FILES_MAX 256u
#define AGENT_TOKEN_BYTES_MIN 8u

/* Until SIGINT or SIGTERM. token: of AGENT_TOKEN_BYTES_MIN and more. */
err agent_run(const struct addr *at, const char *token, enum loop_kind loop,
              struct diag *reterr) CHECK_RESULT;
