/* What it costs to find a route among 10, 100, 1,000 and 10,000, and to load a file with so many: as
 * Markdown, the table of doc/route.md. A third of the routes each are exact, prefixes, and patterns with a
 * capture, on 100 hosts and on none; every one of them is asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gate/gate.h"
#include "gate/registry.h"

#define ROUTES_MAX 10000
#define FIND_ROUNDS 7
#define FINDS 200000
#define LOAD_ROUNDS 5

static char text[ROUTES_MAX * 96 + 200];

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

#define HOST_BYTES 32

static void put_host(char out[HOST_BYTES], unsigned i)
{
    if (i % 2)
        snprintf(out, HOST_BYTES, "h%u.example.com", i % 100);
    else
        out[0] = 0;
}

static struct bytes file_of(unsigned routes, unsigned changed)
{
    size_t len = (size_t)snprintf(
        text, sizeof text, "listen: [\":8080\"]\nservices: {a: {servers: [\"127.0.0.1:1\"]}}\nroutes:\n");
    for (unsigned i = 0; i < routes; i++) {
        static const char *const tails[] = { "/items/all", "/items/*", "/items/{id}" };
        char host[HOST_BYTES];
        put_host(host, i);
        len +=
            (size_t)snprintf(text + len, sizeof text - len, "  - {match: \"%s/shop%u/v%u%s\", service: a}\n",
                             host, i, i == changed ? 3 : i % 3, tails[i % 3]);
    }
    return (struct bytes){ text, len };
}

static struct generation *load(struct bytes file)
{
    struct generation *g;
    struct diag d = DIAG_NONE;
    char words[600];
    if (generation_load(file, "weir.yaml", NULL, &g, &d)) {
        fprintf(stderr, "%s\n", diag_print(&d, words, sizeof words));
        exit(1);
    }
    return g;
}

static double load_ms(unsigned routes)
{
    double best = 1e18;
    for (unsigned i = 0; i < LOAD_ROUNDS; i++) {
        struct bytes file = file_of(routes, i);
        double start = now_ns();
        struct generation *g = load(file);
        double ns = now_ns() - start;
        generation_drop(g);
        best = ns < best ? ns : best;
    }
    return best / 1e6;
}

struct question {
    char host[HOST_BYTES], path[48];
};

static void ask_for(struct question *q, unsigned i)
{
    put_host(q->host, i);
    snprintf(q->path, sizeof q->path, "/shop%u/v%u/items/%s", i, i % 3, i % 3 ? "4711" : "all");
}

/* In a gate the request has just been read, so it is in the nearest cache: it is copied there first, and what
 * that takes is taken off. */
static double round_ns(const struct generation *g, const struct question *questions, unsigned routes,
                       struct arena *a)
{
    static struct question q;
    double start = now_ns();
    for (unsigned i = 0, at = 0; i < FINDS; i++, at = (at + 7919) % routes) {
        struct route_hit hit = { .route = at };
        memcpy(&q, &questions[at], sizeof q);
        const struct http_request request = { .method = HTTP_GET,
                                              .authority = bytes_from(q.host),
                                              .path = bytes_from(q.path) };
        if ((g && router_find(g->router, &request, request.path, a, &hit) != OK) || hit.route != at) {
            fprintf(stderr, "%s%s is not found\n", q.host, q.path);
            exit(1);
        }
    }
    return (now_ns() - start) / FINDS;
}

static double find_ns(const struct generation *g, unsigned routes)
{
    struct question *q = calloc(routes, sizeof *q);
    struct arena a;
    double best = 1e18, best_without = 1e18;
    arena_open(&a, &arena_heap, 1 << 20, NULL, 0);
    for (unsigned i = 0; i < routes; i++)
        ask_for(&q[i], i);
    for (unsigned round = 0; round < FIND_ROUNDS; round++) {
        double with = round_ns(g, q, routes, &a);
        double without = round_ns(NULL, q, routes, &a);
        best = with < best ? with : best;
        best_without = without < best_without ? without : best_without;
    }
    arena_close(&a);
    free(q);
    return best - best_without;
}

int main(void)
{
    gate_conf_modules(filter_registry, balancer_registry, service_module_registry);
    printf("| routes | finding one | loading the file |\n| ---: | ---: | ---: |\n");
    for (unsigned routes = 10; routes <= ROUTES_MAX; routes *= 10) {
        struct generation *g = load(file_of(routes, UINT32_MAX));
        printf("| %u | %.0f ns | %.1f ms |\n", routes, find_ns(g, routes), load_ms(routes));
        generation_drop(g);
    }
    return 0;
}
