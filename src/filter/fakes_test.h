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

#define FAKE_SHARED_MAX 16

static struct {
    uint64_t now_us;
    unsigned chained; /* calls of chain_next */
    err chain_result;
    void (*on_chain)(struct exchange *x);
    unsigned shared_held; /* holds of all of them */
    struct fake_shared {
        char name[512];
        unsigned holds;
        void *memory;
    } shared[FAKE_SHARED_MAX];
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

void *fake_shared_get(struct bytes name, size_t size)
{
    struct fake_shared *free_one = NULL;
    for (unsigned i = 0; i < FAKE_SHARED_MAX; i++) {
        struct fake_shared *s = &fake.shared[i];
        if (s->holds && bytes_eq(bytes_from(s->name), name)) {
            s->holds++;
            fake.shared_held++;
            return s->memory;
        }
        if (!s->holds && !free_one)
            free_one = s;
    }
    must(free_one != NULL && name.len < sizeof free_one->name);
    free_one->memory = mem_get_aligned(size, 64);
    if (!free_one->memory)
        return NULL;
    memcpy(free_one->name, name.ptr, name.len);
    free_one->name[name.len] = 0;
    free_one->holds = 1;
    fake.shared_held++;
    return free_one->memory;
}

void fake_shared_put(void *memory)
{
    unsigned i = 0;
    while (i < FAKE_SHARED_MAX && (!fake.shared[i].holds || fake.shared[i].memory != memory))
        i++;
    must(i < FAKE_SHARED_MAX);
    fake.shared_held--;
    if (--fake.shared[i].holds == 0)
        mem_free(memory);
}

static inline void fake_exchange_open(struct exchange *x)
{
    *x = (struct exchange){ .priority = PRIORITY_NORMAL, .weight = 1 };
    arena_open(&x->arena, &arena_heap, 1 << 20, NULL, 0);
}

static inline void fake_exchange_close(struct exchange *x)
{
    for (struct exchange_hook *h = x->hooks; h; h = h->next)
        h->run(x, h->arg);
    arena_close(&x->arena);
}
