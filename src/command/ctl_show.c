/* The answers of the admin API as tables for people. */
#include <stdio.h>
#include <time.h>

#include "command/ctl.h"

#define COLUMNS_MAX 8
#define CELL_BYTES_MAX 128

/* A table whose columns are as wide as they have to be. */
struct table {
    unsigned columns;
    bool right[COLUMNS_MAX];
    struct text cells; /* one after the other, a NUL behind each */
};

static void put_cell(struct table *t, struct bytes text)
{
    if (text.len >= CELL_BYTES_MAX)
        text.len = CELL_BYTES_MAX - 1;
    text_add(&t->cells, text);
    text_add(&t->cells, (struct bytes){ "", 1 });
}

static void put_number(struct table *t, double value)
{
    char text[32];
    snprintf(text, sizeof text, "%.0f", value);
    put_cell(t, bytes_from(text));
}

static void print_table(struct table *t)
{
    int widths[COLUMNS_MAX] = { 0 };
    const char *end = t->cells.at + t->cells.len;
    unsigned i = 0;
    for (const char *at = t->cells.at; at < end; at += strlen(at) + 1, i++) {
        int len = (int)strlen(at);
        if (len > widths[i % t->columns])
            widths[i % t->columns] = len;
    }
    i = 0;
    for (const char *at = t->cells.at; at < end; at += strlen(at) + 1, i++) {
        unsigned column = i % t->columns;
        bool last = column + 1 == t->columns;
        int width = last && !t->right[column] ? 0 : widths[column];
        printf(t->right[column] ? "%*s%s" : "%-*s%s", width, at, last ? "\n" : "  ");
    }
    text_free(&t->cells);
}

static void head(struct table *t, const char *names)
{
    struct bytes left = bytes_from(names), name;
    while (bytes_split(&left, ' ', &name)) {
        bool right = name.ptr[0] == '>';
        t->right[t->columns++] = right;
        put_cell(t, bytes_skip(name, right));
    }
}

static void print_member(const struct json *j, const char *label, const char *key)
{
    const struct json *m = json_member(j, key);
    if (m && m->kind == JSON_TEXT)
        printf("%-12s %.*s\n", label, BYTES_ARG(m->text));
    else if (m)
        printf("%-12s %.0f\n", label, m->number);
}

static void time_text(double seconds, char out[32])
{
    time_t t = (time_t)seconds;
    struct tm tm;
    localtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%d %H:%M:%S", &tm);
}

void ctl_show_status(const struct json *j)
{
    const struct json *g = json_member(j, "generation");
    char when[32];
    time_text(json_member_number(g, "time"), when);
    print_member(j, "version", "version");
    print_member(j, "pid", "pid");
    print_member(j, "state", "state");
    print_member(j, "uptime_s", "uptime_s");
    print_member(j, "workers", "workers");
    print_member(j, "connections", "connections");
    printf("%-12s %.0f (%.*s, by %.*s, %s)\n", "generation", json_member_number(g, "number"),
           BYTES_ARG(json_member_text(g, "reason")), BYTES_ARG(json_member_text(g, "author")), when);
    if (json_member(g, "rolled_back_to"))
        printf(
            "%-12s a rollback to %.0f is in force; the file is another one, and the next reload takes it\n",
            "", json_member_number(g, "rolled_back_to"));
    print_member(j, "file", "file");
    print_member(j, "state_dir", "state_dir");
    print_member(j, "reloads", "reloads");
    print_member(j, "refused", "reloads_refused");
    print_member(j, "predecessors", "draining_predecessors");
    print_member(j, "log", "log");
}

static void put_server(struct table *t, struct bytes service, const struct json *s)
{
    put_cell(t, service);
    put_cell(t, json_member_text(s, "address"));
    put_cell(t, json_member_text(s, "state"));
    put_cell(t, json_member_text(s, "health"));
    put_number(t, json_member_number(s, "weight"));
    put_number(t, json_member_number(s, "active"));
    put_number(t, json_member_number(s, "requests_total"));
    put_number(t, json_member_number(s, "failures_total"));
}

void ctl_show_services(const struct json *j)
{
    struct table t = { 0 };
    head(&t, "SERVICE SERVER STATE HEALTH >WEIGHT >ACTIVE >REQUESTS >FAILURES");
    JSON_EACH(service, json_member(j, "services"))
    {
        JSON_EACH(s, json_member(service, "servers"))
        put_server(&t, json_member_text(service, "name"), s);
    }
    print_table(&t);
}

/* "state=open errors=12": what is no list or object. */
static void put_state(struct table *t, const struct json *state)
{
    char text[CELL_BYTES_MAX] = "";
    size_t len = 0;
    JSON_EACH(m, state)
    {
        int n = 0;
        if (m->kind == JSON_TEXT || m->kind == JSON_NUMBER)
            n = snprintf(text + len, sizeof text - len, "%s%.*s=%.*s", len ? " " : "", BYTES_ARG(m->key),
                         BYTES_ARG(m->text));
        else if (m->kind == JSON_BOOL)
            n = snprintf(text + len, sizeof text - len, "%s%.*s=%s", len ? " " : "", BYTES_ARG(m->key),
                         m->number != 0 ? "true" : "false");
        if (n < 0 || len + (size_t)n >= sizeof text)
            break;
        len += (size_t)n;
    }
    put_cell(t, (struct bytes){ text, len });
}

void ctl_show_filters(const struct json *j)
{
    struct table t = { 0 };
    head(&t, "ROUTE FILTER STATE");
    JSON_EACH(f, json_member(j, "filters"))
    {
        put_cell(&t, json_member_text(f, "route"));
        put_cell(&t, json_member_text(f, "filter"));
        put_state(&t, json_member(f, "state"));
    }
    print_table(&t);
}

void ctl_show_generations(const struct json *j)
{
    struct table t = { 0 };
    char when[32];
    if (!json_member_text(j, "state_dir").len) {
        printf("generation %.0f is in force; none are kept: there is no state_dir\n",
               json_member_number(j, "in_force"));
        return;
    }
    head(&t, ">NUMBER TIME AUTHOR REASON >BYTES");
    JSON_EACH(g, json_member(j, "generations"))
    {
        put_number(&t, json_member_number(g, "number"));
        time_text(json_member_number(g, "time"), when);
        put_cell(&t, bytes_from(when));
        put_cell(&t, json_member_text(g, "author"));
        put_cell(&t, json_member_text(g, "reason"));
        put_number(&t, json_member_number(g, "bytes"));
    }
    print_table(&t);
    printf("generation %.0f is in force\n", json_member_number(j, "in_force"));
}

void ctl_show_ledger(const struct json *j)
{
    struct bytes reason = json_member_text(j, "reason"), path = json_member_text(j, "path");
    printf("state        %.*s\n", BYTES_ARG(json_member_text(j, "state")));
    if (reason.len)
        printf("reason       %.*s\n", BYTES_ARG(reason));
    if (!json_member(j, "batch"))
        return;
    printf("path         %.*s\n", BYTES_ARG(path));
    printf("durability   %.*s\n", BYTES_ARG(json_member_text(j, "durability")));
    printf("batch        %.0f\n", json_member_number(j, "batch"));
    printf("checkpoint   %.0f\n", json_member_number(j, "checkpoint_batch"));
    printf("records      %.0f (%.0f bytes)\n", json_member_number(j, "records"),
           json_member_number(j, "record_bytes"));
    printf("log          %.0f bytes\n", json_member_number(j, "log_bytes"));
}
