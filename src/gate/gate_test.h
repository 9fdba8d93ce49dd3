/* gate_test: what the tests of the gate share: a configuration from a text, opened on this worker. From a
 * fiber of io_test's worker where it says so. */
#pragma once
#include "core/io_test.h"
#include "core/metrics.h"
#include "gate/gate.h"
#include "gate/registry.h"
#include "gate/upstream.h"

static inline int gate_test_setup(void **state)
{
    (void)state;
    gate_conf_modules(filter_registry, balancer_registry, service_module_registry);
    metrics_init(1);
    return 0;
}

static inline int gate_test_teardown(void **state)
{
    (void)state;
    metrics_close();
    return 0;
}

/* The gate of a text that must be right, in use on this worker. From a fiber. */
static inline struct gate *gate_test_use(const char *text)
{
    struct generation *generation;
    struct gate *g;
    struct diag d = DIAG_NONE;
    char said[600];
    err e = generation_load(bytes_from(text), "weir.yaml", NULL, &generation, &d);
    if (!e) {
        generation->workers = 1;
        e = gate_open(generation, &g, &d);
        generation_drop(generation);
    }
    if (e)
        print_error("%s %s\n", err_name(e), diag_print(&d, said, sizeof said));
    must(e == OK);
    gate_use(g);
    return g;
}

/* Nothing is used any more, and nothing may be left of it: an exchange may still hold its gate. */
static inline void gate_test_end(void)
{
    gate_use(NULL);
    upstream_close_idle();
}
