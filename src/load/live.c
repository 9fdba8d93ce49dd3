#include "load/live.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "load/report.h"

#define COLUMNS_MAX 200u
#define LINES 4
#define UP "\x1b[4A" /* LINES */

static void put_line(struct text *t, const char *line, unsigned columns)
{
    size_t len = strlen(line);
    text_add(t, (struct bytes){ line, len < columns ? len : columns });
    text_add(t, BYTES("\n"));
}

static void put_bar(struct text *t, const struct load_report *r, unsigned columns)
{
    char line[COLUMNS_MAX + 1];
    double all = r->seconds_planned, done = all > r->seconds_left ? all - r->seconds_left : 0;
    int at = snprintf(line, sizeof line, "  %.0fs of %.0fs ", done, all);
    unsigned width = columns > (unsigned)at + 12 ? columns - (unsigned)at - 12 : 0;
    unsigned full = all > 0 ? (unsigned)((double)width * done / all) : 0;
    width = width > 60 ? 60 : width;
    full = full > width ? width : full;
    char *end = line + at;
    *end++ = '[';
    for (unsigned i = 0; i < width; i++)
        *end++ = i < full ? '=' : i == full ? '>' : ' ';
    *end++ = ']';
    snprintf(end, sizeof line - (size_t)(end - line), "%s", r->warming ? " warm-up" : "");
    put_line(t, line, columns);
}

void live_draw(struct text *t, const struct load_report *r, unsigned columns)
{
    static const struct load_point none;
    const struct load_point *p = r->points_count ? &r->points[r->points_count - 1] : &none;
    char line[COLUMNS_MAX + 1], counts[2][32], times[5][24], wanted[48] = "";
    uint64_t errors = 0;
    columns = columns < COLUMNS_MAX ? columns : COLUMNS_MAX;
    for (unsigned i = 0; i < LOAD_ERRORS; i++)
        errors += p->errors[i];
    put_bar(t, r, columns);
    if (p->wanted > 0)
        snprintf(wanted, sizeof wanted, " of %.0f/s wanted", p->wanted);
    double a_second = p->seconds > 0 ? (double)p->answers / p->seconds : 0;
    snprintf(line, sizeof line, "  %s answers/s%s   errors %s   connections %u   in flight %u",
             report_count((uint64_t)a_second, counts[0]), wanted, report_count(errors, counts[1]),
             p->connections, p->in_flight);
    put_line(t, line, columns);
    snprintf(line, sizeof line, "  p50 %s   p90 %s   p99 %s   p99.9 %s   max %s",
             report_time(p->p50_ns, times[0]), report_time(p->p90_ns, times[1]),
             report_time(p->p99_ns, times[2]), report_time(p->p999_ns, times[3]),
             report_time(p->max_ns, times[4]));
    put_line(t, line, columns);
    snprintf(line, sizeof line, "  generator %.0f%% busy   Ctrl-C ends it", p->busy * 100);
    put_line(t, line, columns);
}

static void draw(struct load_watcher *w, const struct load_report *r)
{
    struct live *l = (struct live *)w;
    struct text t = { 0 };
    struct winsize size;
    unsigned columns = ioctl(l->fd, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : 80;
    if (l->drawn)
        text_add(&t, BYTES(UP "\r\x1b[J"));
    live_draw(&t, r, columns);
    (void)!write(l->fd, t.at, t.len);
    l->drawn = true;
    text_free(&t);
}

void live_open(struct live *l, int fd)
{
    *l = (struct live){ .watcher = { .look = draw }, .fd = fd };
}

void live_close(struct live *l)
{
    if (l->drawn)
        (void)!write(l->fd, UP "\r\x1b[J", sizeof UP "\r\x1b[J" - 1);
    l->drawn = false;
}
