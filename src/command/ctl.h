/* ctl: `weir ctl`, the command line of the admin API: who is asked, how, and how the answer looks. One
 * request a process; blocking. */
#pragma once
#include "base/json_read.h"
#include "base/text.h"
#include "core/conf.h"

struct ctl_tls;

struct ctl {
    struct addr address;
    struct ctl_tls *tls; /* NULL: in the clear */
    char token[1024];    /* empty: none */
    bool json;           /* the answer as it came */
    struct arena arena;
};

enum { CTL_OK, CTL_REFUSED, CTL_MISUSED, CTL_UNREACHABLE };

struct ctl_answer {
    unsigned status;
    struct bytes body;
};

/* Asks; the answer is the arena's. CTL_UNREACHABLE, said on stderr. */
int ctl_ask(struct ctl *c, const char *method, const char *target, struct bytes body,
            struct ctl_answer *ret_answer);
/* The same, and says a problem on stderr (CTL_REFUSED). */
int ctl_get_good(struct ctl *c, const char *method, const char *target, struct bytes body,
                 struct ctl_answer *ret_answer);
/* Copies an answer that does not end to stdout, until it does. */
int ctl_stream(struct ctl *c, const char *target);
/* What may not stand in a path or a query is escaped; the arena's. */
const char *ctl_escaped(struct ctl *c, const char *text);

/* The words that are asked at the ledger's own address. */
int ctl_stock(struct ctl *c, int argc, char **argv);
int ctl_order(struct ctl *c, int argc, char **argv);

/* Tables. */
void ctl_show_status(const struct json *j);
void ctl_show_services(const struct json *j);
void ctl_show_filters(const struct json *j);
void ctl_show_generations(const struct json *j);
void ctl_show_ledger(const struct json *j);

/* ---- top: one look a second */

struct top_row {
    struct bytes name, state;
    bool server;
    double rate, errors, p50_ms, p99_ms; /* a second; p -1: nothing was answered */
    uint64_t active;
};
#define TOP_ROWS_MAX 512
/* What happened from one answer of /v1/services to the next: pure. Returns how many rows. */
unsigned top_rows(const struct json *before, const struct json *now, struct top_row out[TOP_ROWS_MAX]);
/* A frame of that many columns and lines. */
void top_draw(struct text *t, const struct top_row *rows, unsigned count, const char *title, unsigned columns,
              unsigned lines);
int ctl_top(struct ctl *c, unsigned frames);
