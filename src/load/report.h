/* report: what a run has seen, written down: for people, and for programs. Into a text; one thread. */
#pragma once
#include "base/text.h"
#include "load/limit.h"
#include "load/run.h"

struct report_about {
    struct bytes target;             /* the URL, or the scenario's file */
    const struct limit_found *limit; /* of a search; NULL: none */
};

/* Why the figures say more of the generator than of the server; empty: they do not. Written to out. */
struct bytes report_verdict(const struct load_report *r, char out[256]);

void report_table(struct text *t, const struct load_report *r, const struct report_about *about);
void report_json(struct text *t, const struct load_report *r, const struct report_about *about);
/* One line an interval. */
void report_csv(struct text *t, const struct load_report *r);
/* A page that needs nothing else. */
void report_html(struct text *t, const struct load_report *r, const struct report_about *about);

/* "812us" "1.52ms" "30.0s" */
const char *report_time(uint64_t ns, char out[24]);
/* "1,234,567" */
const char *report_count(uint64_t n, char out[32]);
/* "1.2 MB" */
const char *report_bytes(double bytes, char out[24]);
/* What latency means here: of an open loop from when it was due. */
static inline const struct histogram *report_latency(const struct load *l, const struct load_kind *k)
{
    return l->open_loop ? &k->response : &k->service;
}
