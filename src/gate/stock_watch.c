#include "gate/stock_watch.h"

#include "base/file_read.h"
#include "base/mem.h"
#include "core/log.h"
#include "core/metrics.h"
#include "gate/stock_csv.h"
#include "gate/stock_http.h"

#define LOOK_US 1000000
#define RATE_SAMPLES 11
#define CSV_BYTES_MAX (64u << 20)
/* Metrics of more items than these say less than they cost: of the others there are the sums alone. */
#define ITEMS_SHOWN_MAX 200

/* ---- metrics ---- */

#define STOCK_METRICS(X)                                                                    \
    X(ITEMS, "items", METRIC_GAUGE, "Items")                                                \
    X(RESERVED, "reserved_orders", METRIC_GAUGE, "Orders reserved so far")                  \
    X(PAID, "paid_orders", METRIC_GAUGE, "Of those, paid")                                  \
    X(DELIVERED, "delivered_orders", METRIC_GAUGE, "Of those, delivered")                   \
    X(RETURNED, "returned_orders", METRIC_GAUGE, "Of those, returned")                      \
    X(RELEASED, "released_orders", METRIC_GAUGE, "Orders given up by the client")           \
    X(EXPIRED, "expired_orders", METRIC_GAUGE, "Orders that were not paid in time")         \
    X(PAID_AMOUNT, "paid_amount", METRIC_GAUGE, "What was paid, in the smallest unit")      \
    X(RETURNED_AMOUNT, "returned_amount", METRIC_GAUGE, "What of it was paid back")         \
    X(RATE, "orders_per_second", METRIC_GAUGE, "Orders reserved a second, of the last ten") \
    X(CONVERSION, "conversion_permille", METRIC_GAUGE, "Of 1,000 reserved orders, paid")    \
    X(AVERAGE, "average_amount", METRIC_GAUGE, "Of a paid order, in the smallest unit")

enum stock_metric {
#define X(id, name, type, help) METRIC_##id,
    STOCK_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group sums_group = {
    .module = "stock",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            STOCK_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
};

enum { ITEM_FREE, ITEM_HELD, ITEM_SOLD, ITEM_METRICS };
static const struct metric_group item_group = {
    .module = "stock",
    .defs = (const struct metric_def[]){ { "free_units", METRIC_GAUGE, "Units that can be ordered" },
                                         { "held_units", METRIC_GAUGE, "Units reserved and not paid" },
                                         { "sold_units", METRIC_GAUGE, "Units sold" } },
    .count = ITEM_METRICS,
    .labels = (const char *const[]){ "item", NULL },
};

/* ---- once a second ---- */

static struct {
    uint64_t reserved[RATE_SAMPLES]; /* as of the last seconds */
    uint64_t taken_us[RATE_SAMPLES];
    unsigned count;
    struct metric_instance *sums, *items[ITEMS_SHOWN_MAX];
    unsigned items_count;
    bool runs;
} watch;

double stock_watch_rate(void)
{
    if (watch.count < 2)
        return 0;
    const unsigned last = (watch.count - 1) % RATE_SAMPLES;
    const unsigned first = watch.count > RATE_SAMPLES ? watch.count % RATE_SAMPLES : 0;
    const uint64_t us = watch.taken_us[last] - watch.taken_us[first];
    return us ? (double)(watch.reserved[last] - watch.reserved[first]) * 1e6 / (double)us : 0;
}

static void show_sums(const struct stock_sums *s)
{
    struct metric_cells *cells = metric_cells(watch.sums, worker_index(worker_self()));
    const uint64_t reserved = s->sums[STOCK_SUM_RESERVED], paid = s->sums[STOCK_SUM_PAID];
    watch.reserved[watch.count % RATE_SAMPLES] = reserved;
    watch.taken_us[watch.count % RATE_SAMPLES] = worker_now_us();
    watch.count++;
    metric_set(cells, METRIC_ITEMS, (int64_t)s->items);
    for (unsigned i = 0; i < STOCK_SUMS; i++)
        metric_set(cells, METRIC_RESERVED + i, (int64_t)s->sums[i]);
    metric_set(cells, METRIC_RATE, (int64_t)(stock_watch_rate() + 0.5));
    metric_set(cells, METRIC_CONVERSION, reserved ? (int64_t)(paid * 1000 / reserved) : 0);
    metric_set(cells, METRIC_AVERAGE, paid ? (int64_t)(s->sums[STOCK_SUM_PAID_AMOUNT] / paid) : 0);
}

static void show_item(const struct stock_item_shown *i)
{
    const uint32_t number = i->item.number;
    if (number >= ITEMS_SHOWN_MAX)
        return;
    if (!watch.items[number] && metric_instance_open(&item_group, &i->name, &watch.items[number]) != OK)
        return;
    struct metric_cells *cells = metric_cells(watch.items[number], worker_index(worker_self()));
    metric_set(cells, ITEM_FREE, (int64_t)stock_free(&i->item));
    metric_set(cells, ITEM_HELD, (int64_t)i->item.held);
    metric_set(cells, ITEM_SOLD, (int64_t)i->item.sold);
}

static void look(void)
{
    char room[sizeof(struct stock_answer) + sizeof(struct stock_sums)];
    struct stock_ask q = { 0 };
    struct stock_sums s;
    struct stock_item_shown i;
    stock_write_look_sums(&q.op);
    if (stock_ask(&q, room, sizeof room) != OK || !stock_read_sums(&q.rest, &s))
        return;
    show_sums(&s);
    const size_t size = sizeof(struct stock_answer) + ITEMS_SHOWN_MAX * STOCK_ITEM_SHOWN_BYTES_MAX;
    char *items = mem_must_get(size);
    stock_write_look_items(&q.op, 0, ITEMS_SHOWN_MAX);
    if (s.items && stock_ask(&q, items, size) == OK) {
        while (stock_read_item(&q.rest, &i))
            show_item(&i);
    }
    mem_free(items);
}

void stock_watch_load(struct bytes path)
{
    struct stock_csv csv = { .if_new = true };
    struct diag d = DIAG_NONE;
    err e = file_read_whole(path.ptr, CSV_BYTES_MAX, &csv.text, &d);
    if (!e) {
        const struct bytes text = csv.text;
        e = stock_csv_load(&csv, &d);
        file_read_free(text);
    }
    if (e)
        log_error("stock", "%s: %s", path.ptr, d.set ? d.text : err_text(e));
    else
        log_info("stock", "%s: items=%u", path.ptr, csv.items);
}

static void close_metrics(void)
{
    metric_instance_free(watch.sums);
    for (unsigned i = 0; i < ITEMS_SHOWN_MAX; i++)
        metric_instance_free(watch.items[i]);
    memset(&watch, 0, sizeof watch);
}

static void run(void *arg)
{
    char *path = arg;
    if (path)
        stock_watch_load(bytes_from(path));
    mem_free(path);
    do
        look();
    while (fiber_sleep_us(LOOK_US) == OK);
    close_metrics();
}

void stock_watch_start(struct bytes csv_path)
{
    char *path = csv_path.len ? mem_get(csv_path.len + 1) : NULL;
    if (watch.runs || metric_instance_open(&sums_group, NULL, &watch.sums) != OK) {
        mem_free(path);
        return;
    }
    if (path)
        memcpy(path, csv_path.ptr, csv_path.len);
    watch.runs = true;
    fiber_spawn(run, path);
}
