/* emit: what an interval has seen, on one line of JSON, for another process to add up: counts as they are and
 * histograms in HdrHistogram's encoding, with what that rounds (min, max, sum) beside them. Nothing is lost.
 *
 *      {"seconds":1.0,"warming":false,...,"lag":{...},"kinds":[{"sent":..,"service":{...},...}]}
 *
 * One thread. */
#pragma once
#include "base/json_read.h"
#include "base/text.h"
#include "load/run.h"

/* `recent` with the last point's figures; a newline behind it. */
void emit_interval(struct text *t, const struct load_report *r);
/* {"end":true,...} */
void emit_end(struct text *t, const struct load_report *r);

struct emitted {
    double seconds, wanted, busy;
    uint32_t connections, in_flight;
    bool warming;
};
/* The same read again: adds to s, which has as many kinds. ERR_SYNTAX. */
err emit_read(const struct json *j, struct load_stats *s, struct emitted *ret_emitted) CHECK_RESULT;
