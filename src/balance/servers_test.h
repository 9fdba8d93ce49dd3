/* servers_test: servers for the tests of balancers. */
#pragma once
#include "gate/service.h"

#define SERVERS_MAX 1000

struct test_servers {
    struct server at[SERVERS_MAX];
    struct server_shared shared[SERVERS_MAX];
    uint32_t count;
    uint64_t picked[SERVERS_MAX];
};

/* All of weight 1 when weights is NULL. */
static inline void test_servers_init(struct test_servers *t, uint32_t count, const uint32_t *weights)
{
    *t = (struct test_servers){ .count = count };
    for (uint32_t i = 0; i < count; i++)
        t->at[i] = (struct server){ .index = i, .weight = weights ? weights[i] : 1, .shared = &t->shared[i] };
}

static inline void test_servers_set_down(struct test_servers *t, uint32_t from, uint32_t to, bool down)
{
    for (uint32_t i = from; i < to; i++)
        t->shared[i].down = down;
}
