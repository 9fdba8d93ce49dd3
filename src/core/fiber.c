#include "core/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include "base/must.h"
#include "core/slab.h"
#include "core/stack_tools.h"
#include "core/worker_internal.h"

#define STACKS_KEPT 16
#define SWITCHES_PER_TURN 4096
/* Cache lines by which the tops of stacks are staggered; at page-aligned tops the hot lines of all fibers
 * would fall into the same few sets of the first-level cache. */
#define COLOURS 16
#define COLOUR_BYTES 192

static struct fibers *fibers_this(void)
{
    return &worker_this->fibers;
}

/* ---- stacks ---- */

static size_t guard_bytes(void)
{
    static size_t page_bytes; /* every thread would store the same */
    if (!page_bytes)
        page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    return page_bytes;
}

static struct stack *stack_make(struct fibers *fs)
{
    size_t size = guard_bytes() + FIBER_STACK_BYTES;
    char *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    must(base != MAP_FAILED);
    must(mprotect(base, guard_bytes(), PROT_NONE) == 0);
    size_t colour = fs->stacks++ % COLOURS * COLOUR_BYTES;
    uintptr_t top = ((uintptr_t)base + size - colour - sizeof(struct stack)) & ~(uintptr_t)63;
    struct stack *s = (struct stack *)top;
    *s = (struct stack){ .base = base, .bottom = base + guard_bytes() };
    s->size = top - (uintptr_t)s->bottom;
    s->valgrind_id = stack_register(s->bottom, s);
    s->sp = stack_prepare(s);
    return s;
}

static void stack_free(struct fibers *fs, struct stack *s)
{
    uint32_t used = stack_used_bytes(s->base + guard_bytes(), FIBER_STACK_BYTES);
    if (used > fs->high_water_bytes)
        fs->high_water_bytes = used;
    stack_unregister(s->valgrind_id, s->base, guard_bytes() + FIBER_STACK_BYTES);
    munmap(s->base, guard_bytes() + FIBER_STACK_BYTES);
    fs->stacks--;
}

/* Stacks that nobody needed since the last look go back to the kernel, the coldest first. */
static void stacks_trim(struct timer *t)
{
    struct fibers *fs = container_of(t, struct fibers, trim);
    uint32_t unused = fs->rest_low_water;
    for (; unused > STACKS_KEPT && fs->rest_count > STACKS_KEPT; unused--) {
        struct link *coldest = fs->rest.prev;
        list_remove(coldest);
        fs->rest_count--;
        stack_free(fs, container_of(coldest, struct stack, rest));
    }
    fs->rest_low_water = fs->rest_count;
    if (fs->rest_count > STACKS_KEPT)
        timer_set(t, worker_this->now_us + FIBER_TRIM_US);
}

static struct stack *stack_take(struct fibers *fs)
{
    struct link *hottest = list_pop_front(&fs->rest);
    if (!hottest)
        return stack_make(fs);
    if (--fs->rest_count < fs->rest_low_water)
        fs->rest_low_water = fs->rest_count;
    return container_of(hottest, struct stack, rest);
}

static void stack_rest(struct fibers *fs, struct stack *s)
{
    list_push_front(&fs->rest, &s->rest);
    if (++fs->rest_count > STACKS_KEPT && !timer_is_set(&fs->trim)) {
        fs->rest_low_water = fs->rest_count;
        timer_set(&fs->trim, worker_this->now_us + FIBER_TRIM_US);
    }
}

/* ---- switching ---- */

static void stack_switch(struct fibers *fs, struct stack *from, struct stack *to)
{
    stack_leaving(&from->fake_stack, to->bottom, to->size);
    fiber_switch(&from->sp, to->sp);
    stack_arrived(from->fake_stack, NULL, NULL);
    while (__builtin_expect(fs->dump != NULL, 0)) {
        /* fiber_dump_all came here for the backtrace */
        stack_print_backtrace();
        stack_leaving(&from->fake_stack, fs->loop.bottom, fs->loop.size);
        fiber_switch(&from->sp, fs->loop.sp);
        stack_arrived(from->fake_stack, NULL, NULL);
    }
}

/* May one that has not begun do so now? Those under way go first; but the last of a turn's switches are not
 * theirs, so that they starve nobody who has not begun. */
static bool begins_one(const struct fibers *fs)
{
    if (list_empty(&fs->outside) || (fs->begun >= FIBERS_ADMITTED_PER_TURN && fs->begun >= fs->switches / 4))
        return false;
    return list_empty(&fs->ready) || fs->switches >= SWITCHES_PER_TURN / 4 * 3;
}

/* The next one that is ready; NULL: back to the loop. */
static struct fiber *next_ready(struct fibers *fs)
{
    if (fs->switches == SWITCHES_PER_TURN)
        return NULL;
    struct link *line = &fs->ready;
    if (begins_one(fs)) {
        line = &fs->outside;
        fs->begun++;
    }
    struct link *first = list_pop_front(line);
    if (!first)
        return NULL;
    fs->switches++;
    return container_of(first, struct fiber, line);
}

static void run_fiber(struct fibers *fs, struct stack *from, struct fiber *f)
{
    fs->current = f;
    if (!f) {
        stack_switch(fs, from, &fs->loop);
        return;
    }
    f->state = FIBER_RUNNING;
    if (!f->stack) {
        f->stack = stack_take(fs);
        f->stack->fiber = f;
    }
    if (f->stack != from)
        stack_switch(fs, from, f->stack);
}

static void leave(struct fibers *fs, struct fiber *self)
{
    run_fiber(fs, self->stack, next_ready(fs));
}

static void make_ready(struct fibers *fs, struct fiber *f)
{
    f->state = FIBER_READY;
    list_push_back(&fs->ready, &f->line);
}

void fibers_run(struct fibers *fs)
{
    fs->switches = fs->begun = 0;
    while (!list_empty(&fs->later))
        list_push_back(&fs->ready, list_pop_front(&fs->later));
    struct fiber *f = next_ready(fs);
    if (f)
        run_fiber(fs, &fs->loop, f);
}

/* ---- birth and death ---- */

static void deadline_passed(struct timer *t);

static struct fiber *fiber_make(struct fibers *fs)
{
    if (!fs->free) {
        struct slab *slab = slab_get((struct slab **)&fs->slabs, 16384);
        struct fiber *f = (struct fiber *)(void *)(slab + 1);
        for (; (char *)(f + 1) <= (char *)slab + slab->size; f++) {
            f->line.next = (struct link *)(void *)fs->free;
            fs->free = f;
        }
    }
    struct fiber *f = fs->free;
    fs->free = (struct fiber *)(void *)f->line.next;
    return f;
}

static void fiber_end(struct fibers *fs, struct fiber *f)
{
    timer_stop(&f->timer);
    list_remove(&f->live);
    fs->live_count--;
    f->line.next = (struct link *)(void *)fs->free;
    fs->free = f;
}

/* In the line of those that have not begun. */
static struct fiber *spawn_into(struct link *line, void (*fn)(void *arg), void *arg)
{
    struct fibers *fs = fibers_this();
    struct fiber *f = fiber_make(fs);
    *f = (struct fiber){ .fn = fn, .arg = arg, .deadline_us = DEADLINE_NONE, .timer.fire = deadline_passed };
    list_push_back(&fs->live, &f->live);
    fs->live_count++;
    fs->spawned++;
    f->state = FIBER_READY;
    list_push_back(line, &f->line);
    return f;
}

struct fiber *fiber_spawn_get(void (*fn)(void *arg), void *arg)
{
    return spawn_into(&fibers_this()->ready, fn, arg);
}

void fiber_admit(void (*fn)(void *arg), void *arg)
{
    spawn_into(&fibers_this()->outside, fn, arg);
}

void fiber_spawn(void (*fn)(void *arg), void *arg)
{
    fiber_spawn_get(fn, arg);
}

/* Runs one fiber after the other on this stack, as long as the next one has not begun yet; rests in between.
 */
_Noreturn void fiber_main(struct stack *s)
{
    struct fibers *fs = fibers_this();
    stack_arrived(NULL, fs->loop.bottom ? NULL : &fs->loop.bottom, &fs->loop.size);
    for (;;) {
        struct fiber *f = s->fiber;
        f->fn(f->arg);
        fiber_end(fs, f);
        struct fiber *next = next_ready(fs);
        if (next && !next->stack) {
            next->stack = s;
            next->state = FIBER_RUNNING;
            s->fiber = next;
            fs->current = next;
            continue;
        }
        s->fiber = NULL;
        stack_rest(fs, s);
        run_fiber(fs, s, next);
    }
}

void fibers_open(struct fibers *fs)
{
    *fs = (struct fibers){ 0 };
    list_init(&fs->ready);
    list_init(&fs->later);
    list_init(&fs->outside);
    list_init(&fs->live);
    list_init(&fs->rest);
    timer_init(&fs->trim, stacks_trim);
}

void fibers_close(struct fibers *fs)
{
    must(fs->live_count == 0);
    for (struct link *l; (l = list_pop_front(&fs->rest));)
        stack_free(fs, container_of(l, struct stack, rest));
    slabs_free((struct slab **)&fs->slabs);
}

/* ---- waiting ---- */

struct fiber *fiber_self(void)
{
    return worker_this ? fibers_this()->current : NULL;
}

void fiber_yield(void)
{
    struct fibers *fs = fibers_this();
    struct fiber *self = fs->current;
    must(self != NULL);
    self->state = FIBER_READY;
    list_push_back(&fs->later, &self->line);
    leave(fs, self);
}

static err block_as(enum fiber_state state)
{
    struct fibers *fs = fibers_this();
    struct fiber *self = fs->current;
    must(self != NULL);
    self->state = (uint8_t)state;
    leave(fs, self);
    self->wake_seen = false;
    return (err)self->result;
}

static bool is_stopped(const struct fiber *f)
{
    return f->cancelled || f->interrupted;
}

err fiber_block(void)
{
    struct fiber *self = fibers_this()->current;
    must(self != NULL);
    return is_stopped(self) ? ERR_CANCELLED : block_as(FIBER_BLOCKED);
}

void fiber_hold(void)
{
    err e = block_as(FIBER_HELD);
    must(e == OK);
}

static void end_wait(struct fiber *f, err result)
{
    if (f->queue) {
        list_remove(&f->line);
        f->queue->count--;
        f->queue = NULL;
    }
    f->deadline_us = DEADLINE_NONE;
    f->result = (uint8_t)result;
    make_ready(fibers_this(), f);
}

void fiber_resume(struct fiber *f, err result)
{
    if (f->state == FIBER_BLOCKED || f->state == FIBER_HELD)
        end_wait(f, result);
}

void fiber_wake(struct fiber *f)
{
    if (f->state == FIBER_WAITING) {
        end_wait(f, OK);
        f->wake_seen = true;
    } else if (!f->wake_seen) {
        f->woken = true;
    }
}

void fiber_cancel(struct fiber *f)
{
    f->cancelled = true;
    if (f->state == FIBER_WAITING || f->state == FIBER_BLOCKED)
        end_wait(f, ERR_CANCELLED);
}

void fiber_interrupt(struct fiber *f)
{
    f->interrupted = true;
    if (f->state == FIBER_WAITING || f->state == FIBER_BLOCKED)
        end_wait(f, ERR_CANCELLED);
}

void fiber_interrupt_end(void)
{
    struct fiber *self = fibers_this()->current;
    must(self != NULL);
    self->interrupted = false;
}

void fiber_cancel_all(void)
{
    struct fibers *fs = fibers_this();
    LIST_EACH (at, &fs->live) {
        struct fiber *f = container_of(at, struct fiber, live);
        if (f != fs->current)
            fiber_cancel(f);
    }
}

static void deadline_passed(struct timer *t)
{
    struct fiber *f = container_of(t, struct fiber, timer);
    if (f->deadline_us == DEADLINE_NONE)
        return;
    if (f->deadline_us > worker_this->now_us)
        timer_set(t, f->deadline_us);
    else
        end_wait(f, ERR_TIMEOUT);
}

/* The wheel is touched only when the timer does not already stand at an earlier time. */
static void set_deadline(struct fiber *f, uint64_t deadline_us)
{
    f->deadline_us = deadline_us;
    if (deadline_us != DEADLINE_NONE && (!timer_is_set(&f->timer) || f->timer.due_us > deadline_us))
        timer_set(&f->timer, deadline_us);
}

err fiber_wait(uint64_t deadline_us)
{
    struct fiber *self = fibers_this()->current;
    must(self != NULL);
    if (self->woken && !is_stopped(self)) {
        self->woken = false;
        return OK;
    }
    if (is_stopped(self))
        return ERR_CANCELLED;
    set_deadline(self, deadline_us);
    return block_as(FIBER_WAITING);
}

err fiber_block_until(uint64_t deadline_us)
{
    struct fiber *self = fibers_this()->current;
    must(self != NULL);
    if (is_stopped(self))
        return ERR_CANCELLED;
    set_deadline(self, deadline_us);
    return block_as(FIBER_BLOCKED);
}

err fiber_sleep_us(uint64_t us)
{
    uint64_t now_us = worker_this->now_us;
    err e = fiber_block_until(us < DEADLINE_NONE - now_us ? now_us + us : DEADLINE_NONE);
    return e == ERR_TIMEOUT ? OK : e;
}

/* ---- lines ---- */

void wait_queue_init(struct wait_queue *q)
{
    list_init(&q->fibers);
    q->count = 0;
}

err wait_queue_wait(struct wait_queue *q, uint64_t deadline_us)
{
    struct fiber *self = fibers_this()->current;
    must(self != NULL);
    if (is_stopped(self))
        return ERR_CANCELLED;
    list_push_back(&q->fibers, &self->line);
    q->count++;
    self->queue = q;
    set_deadline(self, deadline_us);
    return block_as(FIBER_BLOCKED);
}

bool wait_queue_wake_one(struct wait_queue *q)
{
    if (list_empty(&q->fibers))
        return false;
    end_wait(container_of(q->fibers.next, struct fiber, line), OK);
    return true;
}

void wait_queue_wake_all(struct wait_queue *q)
{
    while (wait_queue_wake_one(q))
        ;
}

/* ---- looking ---- */

struct fiber_stats fiber_stats(struct worker *w)
{
    struct fibers *fs = &w->fibers;
    if (w == worker_this) {
        LIST_EACH (at, &fs->rest) {
            uint32_t used = stack_used_bytes(container_of(at, struct stack, rest)->base + guard_bytes(),
                                             FIBER_STACK_BYTES);
            if (used > fs->high_water_bytes)
                fs->high_water_bytes = used;
        }
    }
    return (struct fiber_stats){ .live = fs->live_count,
                                 .pooled = fs->rest_count,
                                 .stack_high_water_bytes = fs->high_water_bytes,
                                 .spawned = fs->spawned };
}

void fiber_dump_all(struct worker *w)
{
    must(w == worker_this);
    struct fibers *fs = &w->fibers;
    struct fiber *self = fs->current;
    static const char *const states[] = { "ready", "running", "waiting", "blocked", "held" };
    struct stack here = { 0 }, loop = fs->loop;
    LIST_EACH (at, &fs->live) {
        struct fiber *f = container_of(at, struct fiber, live);
        stack_print("fiber %p of worker %u: %s, fn %p\n", (void *)f, w->index, states[f->state],
                    (void *)f->fn);
        if (f == self)
            stack_print_backtrace();
        if (f == self || !f->stack)
            continue;
        /* The fiber prints its own backtrace (stack_switch above) and comes back to where fs->loop says. */
        fs->dump = f;
        stack_leaving(&here.fake_stack, f->stack->bottom, f->stack->size);
        fs->loop.bottom = self ? self->stack->bottom : loop.bottom;
        fs->loop.size = self ? self->stack->size : loop.size;
        fiber_switch(&fs->loop.sp, f->stack->sp);
        stack_arrived(here.fake_stack, NULL, NULL);
        fs->loop = loop;
        fs->dump = NULL;
    }
}
