/* `weir ctl stock` and `order`: the ledger's own address (ledger.http), for people. */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/file_read.h"
#include "base/json.h"
#include "command/command.h"
#include "command/ctl.h"
#include "ledger/stock.h"

#define TARGET_BYTES_MAX 1024
#define CSV_BYTES_MAX ((size_t)16 << 20) /* what the ledger takes at once */

/* ---- tables ---- */

static double number(const struct json *j, const char *name)
{
    return json_member_number(j, name);
}

static void print_row(const struct json *i)
{
    printf("%-24.*s %10.0f %10.0f %10.0f %10.0f %10.0f\n", BYTES_ARG(json_member_text(i, "item")),
           number(i, "total"), number(i, "free"), number(i, "held"), number(i, "sold"), number(i, "price"));
}

static void print_title(void)
{
    printf("%-24s %10s %10s %10s %10s %10s\n", "item", "total", "free", "held", "sold", "price");
}

static void print_item(const struct json *i)
{
    const struct json *orders = json_member(i, "orders");
    print_title();
    print_row(i);
    printf("per user %.0f, per order %.0f (0: no limit)\n", number(i, "per_user"), number(i, "per_order"));
    for (const struct json *sum = orders ? orders->first : NULL; sum; sum = sum->next)
        printf("%-24.*s %.*s\n", BYTES_ARG(sum->key), BYTES_ARG(sum->text));
}

static void print_time(const char *what, double ms)
{
    const time_t s = (time_t)(ms / 1000);
    struct tm tm;
    char text[40];
    if (ms <= 0 || !gmtime_r(&s, &tm))
        return;
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    printf("%-8s %s\n", what, text);
}

static void print_order(const struct json *o)
{
    printf("order    %.*s\nstate    %.*s\n", BYTES_ARG(json_member_text(o, "order")),
           BYTES_ARG(json_member_text(o, "state")));
    if (json_member_text(o, "user").len)
        printf("user     %.*s\n", BYTES_ARG(json_member_text(o, "user")));
    printf("amount   %.0f\n", number(o, "amount"));
    print_time("placed", number(o, "placed_ms"));
    print_time("since", number(o, "since_ms"));
    print_time("due", number(o, "due_ms"));
    JSON_EACH(line, json_member(o, "items"))
    printf("item     %.*s, %.0f at %.0f\n", BYTES_ARG(json_member_text(line, "item")),
           number(line, "quantity"), number(line, "price"));
}

/* ---- words ---- */

static int print_json(const struct ctl_answer *a)
{
    return fwrite(a->body.ptr, 1, a->body.len, stdout) == a->body.len ? CTL_OK : CTL_REFUSED;
}

static int show(struct ctl *c, const char *method, const char *target, struct bytes body,
                void (*table)(const struct json *j))
{
    struct ctl_answer a;
    struct json *j;
    const int result = ctl_get_good(c, method, target, body, &a);
    if (result)
        return result;
    if (c->json)
        return print_json(&a);
    if (json_read(a.body, &c->arena, &j) != OK) {
        fprintf(stderr, "weir: the answer is no JSON\n");
        return CTL_REFUSED;
    }
    table(j);
    return CTL_OK;
}

static void print_loaded(const struct json *j)
{
    printf("loaded: %.0f items\n", number(j, "items"));
}

static int load(struct ctl *c, const char *path)
{
    struct bytes csv;
    struct diag d = DIAG_NONE;
    char said[700];
    if (file_read_whole(path, CSV_BYTES_MAX, &csv, &d) != OK) {
        fprintf(stderr, "weir: %s\n", diag_print(&d, said, sizeof said));
        return CTL_REFUSED;
    }
    const int result = show(c, "POST", "/v1/stock", csv, print_loaded);
    file_read_free(csv);
    return result;
}

/* A page of the items; *from: where the next begins, -1: it was the last. */
static int list_page(struct ctl *c, double *from)
{
    struct ctl_answer a;
    struct json *j;
    char target[TARGET_BYTES_MAX];
    snprintf(target, sizeof target, "/v1/stock?from=%.0f&max=%d", *from, STOCK_TAKE_MAX);
    const int result = ctl_get_good(c, "GET", target, BYTES_NONE, &a);
    if (result)
        return result;
    if (json_read(a.body, &c->arena, &j) != OK) {
        fprintf(stderr, "weir: the answer is no JSON\n");
        return CTL_REFUSED;
    }
    *from = json_member(j, "next") ? number(j, "next") : -1;
    if (c->json)
        return print_json(&a); /* a line each */
    JSON_EACH(i, json_member(j, "items"))
    print_row(i);
    return CTL_OK;
}

static int list(struct ctl *c)
{
    double from = 0;
    int result = CTL_OK;
    if (!c->json)
        print_title();
    while (!result && from >= 0)
        result = list_page(c, &from);
    return result;
}

static int add(struct ctl *c, const char *item, const char *more)
{
    struct text body = { 0 };
    char target[TARGET_BYTES_MAX];
    int64_t n;
    if (!bytes_to_i64(bytes_from(more), &n) || !n)
        return command_misused("ctl stock add takes an item and how many more (or, with a -, fewer); not ",
                               more);
    snprintf(target, sizeof target, "/v1/stock/%s/add", ctl_escaped(c, item));
    json_begin(&body, NULL, '{');
    json_i64(&body, "add", n);
    json_end(&body, '}');
    const int result = show(c, "POST", target, (struct bytes){ body.at, body.len }, print_item);
    text_free(&body);
    return result;
}

static bool is(const char *word, const char *wanted, int argc, int wanted_argc)
{
    return strcmp(word, wanted) == 0 && argc == wanted_argc;
}

int ctl_stock(struct ctl *c, int argc, char **argv)
{
    char target[TARGET_BYTES_MAX];
    if (is(argv[1], "load", argc, 3))
        return load(c, argv[2]);
    if (is(argv[1], "list", argc, 2))
        return list(c);
    if (is(argv[1], "add", argc, 4))
        return add(c, argv[2], argv[3]);
    if (!is(argv[1], "show", argc, 3))
        return command_misused("ctl stock takes load FILE.csv, list, show ITEM, or add ITEM N", "");
    snprintf(target, sizeof target, "/v1/stock/%s", ctl_escaped(c, argv[2]));
    return show(c, "GET", target, BYTES_NONE, print_item);
}

int ctl_order(struct ctl *c, int argc, char **argv)
{
    char target[TARGET_BYTES_MAX];
    if (!is(argv[1], "show", argc, 3))
        return command_misused("ctl order takes show ID", "");
    snprintf(target, sizeof target, "/v1/orders/%s", ctl_escaped(c, argv[2]));
    return show(c, "GET", target, BYTES_NONE, print_order);
}
