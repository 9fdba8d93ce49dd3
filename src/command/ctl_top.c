/* `weir ctl top`: services and servers, a line each, what happened since the last look. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "command/ctl.h"

#define LOOK_MS 1000
#define ARENA_BYTES_MAX ((size_t)256 << 20)
#define COLUMNS_MAX 400
#define LINES_MAX 500

/* ---- what happened: pure ---- */

static double count_before(const struct json *latency, double bound_us)
{
    JSON_EACH(pair, latency)
    {
        const struct json *bound = json_at(pair, 0), *count = json_at(pair, 1);
        if (bound && count && bound->number == bound_us)
            return count->number;
    }
    return 0;
}

/* The bound of the bucket that the share falls into, in milliseconds. */
static double percentile(const struct json *before, const struct json *now, double share)
{
    double all = 0, seen = 0, last_us = 0;
    JSON_EACH(pair, now)
    all += json_at(pair, 1) ? json_at(pair, 1)->number - count_before(before, pair->first->number) : 0;
    if (all <= 0)
        return -1;
    JSON_EACH(pair, now)
    {
        double bound_us = pair->first ? pair->first->number : 0;
        seen += json_at(pair, 1) ? json_at(pair, 1)->number - count_before(before, bound_us) : 0;
        last_us = bound_us > 0 ? bound_us : last_us;
        if (seen >= share * all)
            break;
    }
    return last_us / 1000;
}

static const struct json *find(const struct json *list, const char *key, struct bytes name)
{
    JSON_EACH(at, list)
    {
        if (bytes_eq(json_member_text(at, key), name))
            return at;
    }
    return NULL;
}

static double since(const struct json *before, const struct json *now, const char *key, double seconds)
{
    double d = json_member_number(now, key) - json_member_number(before, key);
    return d > 0 && seconds > 0 ? d / seconds : 0;
}

static void fill_latency(struct top_row *r, const struct json *before, const struct json *now)
{
    r->p50_ms = percentile(json_member(before, "latency"), json_member(now, "latency"), 0.5);
    r->p99_ms = percentile(json_member(before, "latency"), json_member(now, "latency"), 0.99);
}

static void fill_service(struct top_row *r, const struct json *before, const struct json *now, double seconds)
{
    static const char *const classes[] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };
    const struct json *a = json_member(before, "requests"), *b = json_member(now, "requests");
    *r = (struct top_row){ .name = json_member_text(now, "name") };
    for (unsigned i = 0; i < 6; i++)
        r->rate += since(a, b, classes[i], seconds);
    r->errors = since(a, b, "5xx", seconds);
    fill_latency(r, before, now);
}

static void fill_server(struct top_row *r, const struct json *before, const struct json *now, double seconds)
{
    struct bytes state = json_member_text(now, "state");
    *r = (struct top_row){ .name = json_member_text(now, "address"), .server = true };
    r->state = bytes_eq(state, BYTES("enabled")) ? json_member_text(now, "health") : state;
    r->rate = since(before, now, "requests_total", seconds);
    r->errors = since(before, now, "failures_total", seconds);
    r->active = (uint64_t)json_member_number(now, "active");
    fill_latency(r, before, now);
}

unsigned top_rows(const struct json *before, const struct json *now, struct top_row out[TOP_ROWS_MAX])
{
    double seconds = (json_member_number(now, "now_us") - json_member_number(before, "now_us")) / 1e6;
    unsigned count = 0;
    JSON_EACH(service, json_member(now, "services"))
    {
        const struct json *was =
            find(json_member(before, "services"), "name", json_member_text(service, "name"));
        if (count == TOP_ROWS_MAX)
            break;
        struct top_row *row = &out[count++];
        fill_service(row, was, service, seconds);
        JSON_EACH(server, json_member(service, "servers"))
        {
            row->active += (uint64_t)json_member_number(server, "active");
            if (count == TOP_ROWS_MAX)
                break;
            fill_server(&out[count++],
                        find(json_member(was, "servers"), "address", json_member_text(server, "address")),
                        server, seconds);
        }
    }
    return count;
}

/* ---- how it looks ---- */

#define FIXED_COLUMNS 52 /* what stands right of the name */

static void put_line(struct text *t, const char *line, unsigned columns)
{
    size_t len = strlen(line);
    text_add(t, (struct bytes){ line, len < columns ? len : columns });
    text_add(t, BYTES("\n"));
}

static void time_cell(double ms, char out[16])
{
    if (ms < 0)
        snprintf(out, 16, "-");
    else
        snprintf(out, 16, ms < 10 ? "%.2fms" : ms < 1000 ? "%.0fms" : "%.1fs", ms < 1000 ? ms : ms / 1000);
}

static void put_row(struct text *t, const struct top_row *r, unsigned columns)
{
    char line[COLUMNS_MAX + 1], p50[16], p99[16];
    int width = columns > FIXED_COLUMNS + 8 ? (int)(columns - FIXED_COLUMNS) : 8;
    int indent = r->server ? 2 : 0;
    int name = (int)r->name.len < width - indent ? (int)r->name.len : width - indent;
    time_cell(r->p50_ms, p50);
    time_cell(r->p99_ms, p99);
    snprintf(line, sizeof line, "%*s%-*.*s %-9.*s%9.1f%8.1f%7llu%9s%9s", indent, "", width - indent, name,
             r->name.ptr ? r->name.ptr : "", (int)(r->state.len < 8 ? r->state.len : 8),
             r->state.ptr ? r->state.ptr : "", r->rate, r->errors, (unsigned long long)r->active, p50, p99);
    put_line(t, line, columns);
}

void top_draw(struct text *t, const struct top_row *rows, unsigned count, const char *title, unsigned columns,
              unsigned lines)
{
    char line[COLUMNS_MAX + 1];
    columns = columns > COLUMNS_MAX ? COLUMNS_MAX : columns;
    int width = columns > FIXED_COLUMNS + 8 ? (int)(columns - FIXED_COLUMNS) : 8;
    put_line(t, title, columns);
    snprintf(line, sizeof line, "%-*s %-9s%9s%8s%7s%9s%9s", width, "SERVICE", "STATE", "REQ/S", "ERR/S",
             "ACTIVE", "P50", "P99");
    put_line(t, line, columns);
    for (unsigned i = 0; i < count && i + 3 < lines; i++)
        put_row(t, &rows[i], columns);
    if (count + 3 > lines && lines > 3) {
        snprintf(line, sizeof line, "... %u more", count - (lines - 3));
        put_line(t, line, columns);
    }
}

/* ---- the terminal ---- */

static struct termios saved;
static bool raw;

static void leave(void)
{
    if (!raw)
        return;
    raw = false;
    tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    (void)!write(STDOUT_FILENO, "\x1b[?25h\x1b[?1049l", 14); /* the cursor, the screen that was there */
}

static void interrupted(int number)
{
    (void)number;
    leave();
    _exit(CTL_OK);
}

/* Keys come one by one; the screen is another one meanwhile. */
static void enter(void)
{
    struct termios now;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &saved) < 0)
        return;
    now = saved;
    now.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &now);
    raw = true;
    signal(SIGINT, interrupted);
    signal(SIGTERM, interrupted);
    (void)!write(STDOUT_FILENO, "\x1b[?1049h\x1b[?25l", 14);
}

/* True: q was pressed, or there is no more input to wait for. */
static bool wait_or_quit(void)
{
    struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
    char key;
    if (!raw) {
        nanosleep(&(struct timespec){ LOOK_MS / 1000, LOOK_MS % 1000 * 1000000L }, NULL);
        return false;
    }
    if (poll(&p, 1, LOOK_MS) <= 0)
        return false;
    return read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q';
}

static void size_of(unsigned *columns, unsigned *lines)
{
    struct winsize w;
    *columns = 80;
    *lines = raw ? 24 : LINES_MAX;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col) {
        *columns = w.ws_col;
        *lines = raw && w.ws_row ? w.ws_row : *lines;
    }
}

static void print_frame(const struct json *before, const struct json *now)
{
    struct top_row *rows = mem_must_get(TOP_ROWS_MAX * sizeof *rows);
    struct text t = { 0 };
    char title[128], when[32];
    unsigned columns, lines;
    time_t seconds = time(NULL);
    struct tm tm;
    localtime_r(&seconds, &tm);
    strftime(when, sizeof when, "%H:%M:%S", &tm);
    snprintf(title, sizeof title, "weir  %s%s", when, raw ? "  q quits" : "");
    size_of(&columns, &lines);
    if (raw)
        text_add(&t, BYTES("\x1b[H\x1b[2J"));
    top_draw(&t, rows, top_rows(before, now, rows), title, columns, lines);
    fwrite(t.at, 1, t.len, stdout);
    fflush(stdout);
    text_free(&t);
    mem_free(rows);
}

static int look(struct ctl *c, struct arena *a, struct json **ret_json)
{
    struct ctl_answer answer;
    c->arena = *a;
    int result = ctl_get_good(c, "GET", "/v1/services", BYTES_NONE, &answer);
    if (!result && json_read(answer.body, &c->arena, ret_json) != OK)
        result = CTL_REFUSED;
    *a = c->arena;
    return result;
}

/* Two looks are alive at a time, each in an arena of its own. frames 0: until q. */
int ctl_top(struct ctl *c, unsigned frames)
{
    struct arena kept = c->arena, arenas[2];
    struct json *looks[2] = { NULL, NULL };
    for (unsigned i = 0; i < 2; i++)
        arena_open(&arenas[i], &arena_heap, ARENA_BYTES_MAX, NULL, 0);
    int result = look(c, &arenas[0], &looks[0]);
    if (!result)
        enter();
    for (unsigned n = 1; !result; n++) {
        if (wait_or_quit())
            break;
        struct arena *a = &arenas[n % 2];
        arena_close(a);
        arena_open(a, &arena_heap, ARENA_BYTES_MAX, NULL, 0);
        result = look(c, a, &looks[n % 2]);
        if (!result)
            print_frame(looks[(n + 1) % 2], looks[n % 2]);
        if (n == frames)
            break;
    }
    leave();
    arena_close(&arenas[0]);
    arena_close(&arenas[1]);
    c->arena = kept;
    return result;
}
