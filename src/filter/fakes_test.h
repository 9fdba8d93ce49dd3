/* fakes_test: what a filter's unit test puts in place of the gate and the worker. Included first: everything
 * behind it, the headers too, then means the fakes. The real ones may be in the same program. */
#pragma once
#define worker_now_us fake_worker_now_us
#define worker_self fake_worker_self
#define worker_index fake_worker_index
#define chain_next fake_chain_next
#define exchange_answer fake_exchange_answer
#define shared_get fake_shared_get
#define shared_put fake_shared_put

#include "base/mem.h"
#include "base/must.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/priority.h"

static struct {
    uint64_t now_us;
    unsigned chained; /* calls of chain_next */
    err chain_result;
    void (*on_chain)(struct exchange *x);
    unsigned shared_held;
    void *shared;
} fake = { .now_us = 1000000 };

uint64_t fake_worker_now_us(void)
{
    return fake.now_us;
}

struct worker *fake_worker_self(void)
{
    return NULL;
}

unsigned fake_worker_index(const struct worker *w)
{
    (void)w;
    return 0;
}

err fake_chain_next(struct chain *next, struct exchange *x)
{
    (void)next;
    fake.chained++;
    if (fake.on_chain)
        fake.on_chain(x);
    return fake.chain_result;
}

void fake_exchange_answer(struct exchange *x, unsigned status, struct bytes content_type, struct bytes body,
                          struct bytes by)
{
    (void)content_type;
    (void)body;
    x->response.status = status;
    x->answered_by = by;
}

/* One name is enough here. */
void *fake_shared_get(struct bytes name, size_t size)
{
    (void)name;
    if (!fake.shared_held && !(fake.shared = mem_get(size)))
        return NULL;
    fake.shared_held++;
    return fake.shared;
}

void fake_shared_put(void *memory)
{
    must(memory == fake.shared);
    if (--fake.shared_held == 0)
        mem_free(memory);
}

static inline void fake_exchange_open(struct exchange *x)
{
    *x = (struct exchange){ .priority = PRIORITY_NORMAL };
    arena_open(&x->arena, &arena_heap, 1 << 20, NULL, 0);
}

static inline void fake_exchange_close(struct exchange *x)
{
    for (struct exchange_hook *h = x->hooks; h; h = h->next)
        h->run(x, h->arg);
    arena_close(&x->arena);
}
