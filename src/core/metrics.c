#include "core/metrics.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "base/utf8.h"

#define CACHE_LINE_BYTES 64

struct metric_instance {
    struct link in_group;
    struct group_state *group;
    unsigned refs;
    unsigned labels_count;
    struct bytes key; /* in labels[0]'s memory: the values, each with its length before */
    struct bytes labels[METRIC_LABELS_MAX]; /* values */
    void *memory;                           /* of the cells, before aligning */
    char *cells;                            /* worker after worker, each on lines of its own */
    size_t stride;
};

struct group_state {
    struct link in_registry;
    const struct metric_group *table;
    struct link instances; /* in the order they were opened */
    struct map by_key;
    size_t cells; /* of one worker */
};

/* Protects the groups, their instances and the counts of references; nothing else is taken or waited for
 * while it is held. Not the cells: each has one writer. */
static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct {
    bool ready;
    unsigned blocks; /* workers_max and the main thread */
    struct link groups;
} registry;

/* ---- groups */

static bool name_is_good(const char *name)
{
    for (const char *c = name; *c; c++) {
        bool letter = *c >= 'a' && *c <= 'z';
        bool other = (*c >= '0' && *c <= '9') || *c == '_';
        if (!letter && !(other && c != name))
            return false;
    }
    return *name != 0;
}

static bool name_ends(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);
    return len > end_len && memcmp(name + len - end_len, end, end_len) == 0;
}

static void group_check(const struct metric_group *g)
{
    unsigned labels = 0;
    must(g->count > 0 && name_is_good(g->module));
    for (unsigned i = 0; i < g->count; i++) {
        const struct metric_def *d = &g->defs[i];
        must(name_is_good(d->name) && d->help && d->help[0]);
        must(name_ends(d->name, "_total") == (d->type == METRIC_COUNTER));
        must(d->type != METRIC_HISTOGRAM || name_ends(d->name, "_seconds"));
    }
    for (; g->labels && g->labels[labels]; labels++)
        must(name_is_good(g->labels[labels]));
    must(labels <= METRIC_LABELS_MAX);
}

/* Two groups may not name one metric: its lines would not stand together. */
static void groups_check_apart(const struct metric_group *a, const struct metric_group *b)
{
    if (strcmp(a->module, b->module) != 0)
        return;
    for (unsigned i = 0; i < a->count; i++) {
        for (unsigned j = 0; j < b->count; j++)
            must(strcmp(a->defs[i].name, b->defs[j].name) != 0);
    }
}

static struct group_state *group_find(const struct metric_group *table)
{
    LIST_EACH (at, &registry.groups) {
        struct group_state *g = container_of(at, struct group_state, in_registry);
        if (g->table == table)
            return g;
    }
    return NULL;
}

static err group_open(const struct metric_group *table, struct group_state **ret_group)
{
    *ret_group = group_find(table);
    if (*ret_group)
        return OK;
    group_check(table);
    LIST_EACH (at, &registry.groups)
        groups_check_apart(container_of(at, struct group_state, in_registry)->table, table);
    struct group_state *g = mem_get(sizeof *g);
    if (!g)
        return ERR_MEMORY;
    g->table = table;
    g->cells = table->count;
    for (unsigned i = 0; i < table->count; i++)
        g->cells += table->defs[i].type == METRIC_HISTOGRAM ? METRIC_BUCKETS + 1 : 0;
    list_init(&g->instances);
    map_init(&g->by_key);
    list_push_back(&registry.groups, &g->in_registry);
    *ret_group = g;
    return OK;
}

/* ---- instances */

static unsigned labels_count(const struct metric_group *g)
{
    unsigned n = 0;
    while (g->labels && g->labels[n])
        n++;
    return n;
}

/* Values one after the other, each behind its length: no two sets of values share a key. */
static char *key_new(const struct bytes *values, unsigned count, size_t *ret_len)
{
    size_t len = 0;
    for (unsigned i = 0; i < count; i++)
        len += sizeof(size_t) + values[i].len;
    char *key = mem_get(len);
    if (!key)
        return NULL;
    char *at = key;
    for (unsigned i = 0; i < count; i++) {
        memcpy(at, &values[i].len, sizeof(size_t));
        at += sizeof(size_t);
        if (values[i].len)
            memcpy(at, values[i].ptr, values[i].len);
        at += values[i].len;
    }
    *ret_len = len;
    return key;
}

static void labels_point(struct metric_instance *m)
{
    const char *at = m->key.ptr;
    for (unsigned i = 0; i < m->labels_count; i++) {
        size_t len;
        memcpy(&len, at, sizeof len);
        m->labels[i] = (struct bytes){ at + sizeof len, len };
        at += sizeof len + len;
    }
}

static void instance_release(struct metric_instance *m)
{
    mem_free((void *)(uintptr_t)m->key.ptr);
    mem_free(m->memory);
    mem_free(m);
}

static void histograms_place(struct metric_instance *m)
{
    const struct metric_group *table = m->group->table;
    for (unsigned block = 0; block < registry.blocks; block++) {
        uint64_t *cells = (uint64_t *)(void *)(m->cells + block * m->stride);
        uint64_t at = table->count;
        for (unsigned i = 0; i < table->count; i++) {
            if (table->defs[i].type != METRIC_HISTOGRAM)
                continue;
            cells[i] = at;
            at += METRIC_BUCKETS + 1;
        }
    }
}

/* Takes the key, whatever comes of it. */
static err instance_new(struct group_state *g, struct bytes key, struct metric_instance **ret_instance)
{
    struct metric_instance *m = mem_get(sizeof *m);
    if (!m) {
        mem_free((void *)(uintptr_t)key.ptr);
        return ERR_MEMORY;
    }
    m->group = g;
    m->refs = 1;
    m->key = key;
    m->labels_count = labels_count(g->table);
    labels_point(m);
    m->stride = (g->cells * sizeof(uint64_t) + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
    m->memory = mem_get(m->stride * registry.blocks + CACHE_LINE_BYTES);
    err e = m->memory ? map_set(&g->by_key, key, m) : ERR_MEMORY;
    if (e) {
        instance_release(m);
        return e;
    }
    m->cells = (char *)m->memory + (CACHE_LINE_BYTES - (uintptr_t)m->memory % CACHE_LINE_BYTES);
    histograms_place(m);
    list_push_back(&g->instances, &m->in_group);
    *ret_instance = m;
    return OK;
}

static err open_locked(const struct metric_group *table, const struct bytes *values,
                       struct metric_instance **ret_instance)
{
    struct group_state *g;
    struct bytes key;
    err e = group_open(table, &g);
    if (e)
        return e;
    key.ptr = key_new(values, labels_count(table), &key.len);
    if (!key.ptr)
        return ERR_MEMORY;
    struct metric_instance *m = map_get(&g->by_key, key);
    if (!m && g->by_key.count < METRIC_INSTANCES_MAX)
        return instance_new(g, key, ret_instance);
    mem_free((void *)(uintptr_t)key.ptr);
    if (!m)
        return ERR_LIMIT;
    m->refs++;
    *ret_instance = m;
    return OK;
}

err metric_instance_open(const struct metric_group *group, const struct bytes *values,
                         struct metric_instance **ret_instance)
{
    pthread_mutex_lock(&registry_mutex);
    must(registry.ready);
    err e = open_locked(group, values, ret_instance);
    pthread_mutex_unlock(&registry_mutex);
    return e;
}

void metric_instance_free(struct metric_instance *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&registry_mutex);
    must(m->refs > 0);
    if (--m->refs == 0) {
        must(map_remove(&m->group->by_key, m->key) == m);
        list_remove(&m->in_group);
        instance_release(m);
    }
    pthread_mutex_unlock(&registry_mutex);
}

struct metric_cells *metric_cells(struct metric_instance *m, unsigned worker_index)
{
    must(worker_index < registry.blocks);
    return (struct metric_cells *)(void *)(m->cells + worker_index * m->stride);
}

unsigned metrics_beside(void)
{
    return registry.blocks - 1;
}

void metrics_init(unsigned workers_max)
{
    pthread_mutex_lock(&registry_mutex);
    must(!registry.ready);
    registry.ready = true;
    registry.blocks = workers_max + 2;
    list_init(&registry.groups);
    pthread_mutex_unlock(&registry_mutex);
}

void metrics_close(void)
{
    pthread_mutex_lock(&registry_mutex);
    must(registry.ready);
    for (struct link *l; (l = list_pop_front(&registry.groups)) != NULL;) {
        struct group_state *g = container_of(l, struct group_state, in_registry);
        for (struct link *i; (i = list_pop_front(&g->instances)) != NULL;)
            instance_release(container_of(i, struct metric_instance, in_group));
        map_close(&g->by_key);
        mem_free(g);
    }
    registry.ready = false;
    pthread_mutex_unlock(&registry_mutex);
}

/* ---- reading */

static uint64_t cell_sum(const struct metric_instance *m, uint64_t at)
{
    uint64_t sum = 0;
    for (unsigned block = 0; block < registry.blocks; block++) {
        const uint64_t *cells = (const uint64_t *)(const void *)(m->cells + block * m->stride);
        sum += __atomic_load_n(&cells[at], __ATOMIC_RELAXED);
    }
    return sum;
}

/* Where a histogram's buckets begin, in cells: the same in every worker's. */
static uint64_t histogram_at(const struct metric_instance *m, unsigned i)
{
    return ((const uint64_t *)(const void *)m->cells)[i];
}

uint64_t metric_value(const struct metric_instance *m, unsigned i)
{
    must(i < m->group->table->count);
    if (m->group->table->defs[i].type != METRIC_HISTOGRAM)
        return cell_sum(m, i);
    uint64_t count = 0;
    for (unsigned b = 0; b < METRIC_BUCKETS; b++)
        count += cell_sum(m, histogram_at(m, i) + b);
    return count;
}

void metric_histogram(const struct metric_instance *m, unsigned i, uint64_t ret_counts[METRIC_BUCKETS])
{
    must(i < m->group->table->count && m->group->table->defs[i].type == METRIC_HISTOGRAM);
    for (unsigned b = 0; b < METRIC_BUCKETS; b++)
        ret_counts[b] = cell_sum(m, histogram_at(m, i) + b);
}

uint64_t metric_bucket_bound_ns(unsigned i)
{
    if (i == 0)
        return UINT64_C(1) << METRIC_BUCKET_SHIFT_MIN;
    if (i >= METRIC_BUCKETS - 1)
        return UINT64_MAX;
    unsigned octave = METRIC_BUCKET_SHIFT_MIN + (i - 1) / 2;
    return (UINT64_C(1) << octave) + ((i - 1) % 2 + 1) * (UINT64_C(1) << (octave - 1));
}

/* ---- the text format: https://prometheus.io/docs/instrumenting/exposition_formats/ */

static void put(const struct metric_writer *w, const char *text)
{
    w->write(w->arg, bytes_from(text));
}

static void putf(const struct metric_writer *w, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void putf(const struct metric_writer *w, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    must(n >= 0 && (size_t)n < sizeof text);
    w->write(w->arg, (struct bytes){ text, (size_t)n });
}

static void put_escaped(const struct metric_writer *w, struct bytes text, bool quotes)
{
    while (text.len) {
        uint32_t code = 0;
        size_t len = utf8_take(text, &code);
        if (len == 0)
            put(w, "\xef\xbf\xbd"); /* U+FFFD */
        else if (code == '\n')
            put(w, "\\n");
        else if (code == '\\')
            put(w, "\\\\");
        else if (code == '"' && quotes)
            put(w, "\\\"");
        else
            w->write(w->arg, (struct bytes){ text.ptr, len });
        text = bytes_skip(text, len ? len : 1);
    }
}

static void put_name(const struct metric_writer *w, const struct metric_group *g, unsigned i, const char *end)
{
    put(w, "weir_");
    put(w, g->module);
    put(w, "_");
    put(w, g->defs[i].name);
    put(w, end);
}

/* {a="x",b="y",le="0.5"}; nothing when there is no label at all. le may be NULL. */
static void put_labels(const struct metric_writer *w, const struct metric_instance *m, const char *le)
{
    const char *before = "{";
    for (unsigned i = 0; i < m->labels_count; i++, before = ",") {
        put(w, before);
        put(w, m->group->table->labels[i]);
        put(w, "=\"");
        put_escaped(w, m->labels[i], true);
        put(w, "\"");
    }
    if (le)
        putf(w, "%sle=\"%s\"", before, le);
    if (le || m->labels_count)
        put(w, "}");
}

/* Exactly, without trailing zeros. */
static void seconds_print(uint64_t ns, char out[40])
{
    int n = snprintf(out, 40, "%llu.%09llu", (unsigned long long)(ns / 1000000000),
                     (unsigned long long)(ns % 1000000000));
    while (out[n - 1] == '0')
        n--;
    out[out[n - 1] == '.' ? n - 1 : n] = 0;
}

static void put_histogram(const struct metric_writer *w, const struct metric_instance *m, unsigned i)
{
    const struct metric_group *g = m->group->table;
    uint64_t at = histogram_at(m, i), count = 0;
    char seconds[40];
    for (unsigned b = 0; b < METRIC_BUCKETS; b++) {
        count += cell_sum(m, at + b);
        seconds_print(metric_bucket_bound_ns(b), seconds);
        put_name(w, g, i, "_bucket");
        put_labels(w, m, b == METRIC_BUCKETS - 1 ? "+Inf" : seconds);
        putf(w, " %llu\n", (unsigned long long)count);
    }
    seconds_print(cell_sum(m, at + METRIC_BUCKETS), seconds);
    put_name(w, g, i, "_sum");
    put_labels(w, m, NULL);
    putf(w, " %s\n", seconds);
    put_name(w, g, i, "_count");
    put_labels(w, m, NULL);
    putf(w, " %llu\n", (unsigned long long)count);
}

static void put_metric(const struct metric_writer *w, const struct group_state *state, unsigned i)
{
    static const char *const type_text[] = { "counter", "gauge", "histogram" };
    const struct metric_group *g = state->table;
    put(w, "# HELP ");
    put_name(w, g, i, " ");
    put_escaped(w, bytes_from(g->defs[i].help), false);
    put(w, "\n# TYPE ");
    put_name(w, g, i, " ");
    putf(w, "%s\n", type_text[g->defs[i].type]);
    LIST_EACH (at, &state->instances) {
        const struct metric_instance *m = container_of(at, struct metric_instance, in_group);
        if (g->defs[i].type == METRIC_HISTOGRAM) {
            put_histogram(w, m, i);
            continue;
        }
        put_name(w, g, i, "");
        put_labels(w, m, NULL);
        if (g->defs[i].type == METRIC_GAUGE)
            putf(w, " %lld\n", (long long)cell_sum(m, i));
        else
            putf(w, " %llu\n", (unsigned long long)cell_sum(m, i));
    }
}

void metrics_write(const struct metric_writer *w)
{
    pthread_mutex_lock(&registry_mutex);
    must(registry.ready);
    LIST_EACH (at, &registry.groups) {
        const struct group_state *g = container_of(at, struct group_state, in_registry);
        for (unsigned i = 0; i < g->table->count && !list_empty(&g->instances); i++)
            put_metric(w, g, i);
    }
    pthread_mutex_unlock(&registry_mutex);
}
