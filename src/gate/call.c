#include "gate/call.h"

#include "base/list.h"
#include "core/fiber.h"

struct call {
    struct mail there, back;
    struct worker *from;
    struct fiber *fiber;
    void (*fn)(void *arg);
    void *arg;
    bool done;
};

static void run_back(struct mail *m)
{
    struct call *c = container_of(m, struct call, back);
    c->done = true;
    fiber_wake(c->fiber);
}

static void run_there(struct mail *m)
{
    struct call *c = container_of(m, struct call, there);
    c->fn(c->arg);
    worker_post(c->from, &c->back);
}

void call_worker(struct worker *w, void (*fn)(void *arg), void *arg)
{
    struct call c = {
        .there = { .run = run_there },
        .back = { .run = run_back },
        .from = worker_self(),
        .fiber = fiber_self(),
        .fn = fn,
        .arg = arg,
    };
    if (w == c.from) {
        fn(arg);
        return;
    }
    worker_post(w, &c.there);
    while (!c.done) { /* the mail points into this frame: a cancelled fiber has to stay for it too */
        if (fiber_wait(DEADLINE_NONE) != OK && !c.done)
            fiber_yield();
    }
}
