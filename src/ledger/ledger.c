/* The workers' side: entries of one turn go to the writer as one chain, and come back with one mail. */
#include "ledger/ledger.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "core/fiber_internal.h"
#include "ledger/ledger_internal.h"

#define PORT_CALLS_MAX 65536 /* of one worker, under way */

const char *const ledger_durability_words[] = {
#define X(name, word) word,
    LEDGER_DURABILITY_LIST(X)
#undef X
        NULL,
};

/* One worker's way to the writer and back. Lives until the worker ends. */
struct ledger_port {
    struct turn_hook send, end;
    struct ledger *ledger; /* where the chain goes */
    struct ledger_call *newest, *oldest;
    uint32_t count; /* in it */
    uint32_t under_way;
    struct mail mail; /* posted by who puts the first into answered */
    _Atomic(struct ledger_call *) answered;
};

static _Thread_local struct ledger_port *port_here;

static void take_answers(struct mail *m)
{
    struct ledger_port *p = container_of(m, struct ledger_port, mail);
    struct ledger_call *newest = atomic_exchange(&p->answered, NULL), *c = NULL, *next;
    for (; newest; newest = next) {
        next = newest->next;
        __builtin_prefetch(newest->fiber, 1);
        newest->next = c;
        c = newest;
    }
    for (; c; c = next) {
        next = c->next;
        p->under_way--;
        c->answered = true;
        if (c->fiber)
            fiber_resume(c->fiber, OK);
    }
}

/* The mail is ours again when its receiver has taken the chain before. */
static void give_back(struct ledger_port *p, struct ledger_call *newest, struct ledger_call *oldest)
{
    struct ledger_call *before = atomic_load_explicit(&p->answered, memory_order_relaxed);
    struct worker *w = newest->worker;
    do
        oldest->next = before;
    while (!atomic_compare_exchange_weak(&p->answered, &before, newest));
    if (!before)
        worker_post(w, &p->mail);
}

void ledger_answer_all(struct ledger_call *c)
{
    while (c) { /* runs of the same worker's, as they were sent */
        struct ledger_call *newest = c, *oldest = c, *next = c->next;
        struct ledger_port *p = c->port;
        for (; next && next->port == p; next = c) {
            c = next->next;
            next->next = newest;
            newest = next;
        }
        c = next;
        give_back(p, newest, oldest);
    }
}

void ledger_wake(struct ledger *l)
{
    if (atomic_load(&l->asleep) && atomic_exchange(&l->asleep, 0))
        syscall(SYS_futex, &l->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Together at the end of the turn. The newest comes first, as the mailbox has it. */
static void send_chain(struct turn_hook *h)
{
    struct ledger_port *p = container_of(h, struct ledger_port, send);
    struct ledger *l = p->ledger;
    struct ledger_call *before = atomic_load_explicit(&l->mailbox, memory_order_relaxed);
    do
        p->oldest->next = before;
    while (!atomic_compare_exchange_weak(&l->mailbox, &before, p->newest));
    const int32_t count = (int32_t)p->count, mailed = atomic_fetch_add(&l->mailed, count) + count;
    const int32_t asleep = (int32_t)atomic_load(&l->asleep);
    p->newest = p->oldest = NULL;
    p->count = 0;
    if (asleep == 1 || (asleep && mailed >= asleep))
        ledger_wake(l);
}

static void end_port(struct turn_hook *h)
{
    struct ledger_port *p = container_of(h, struct ledger_port, end);
    must(!p->under_way && !p->newest);
    mem_free(p);
    port_here = NULL;
}

static struct ledger_port *port_get(void)
{
    if (port_here)
        return port_here;
    struct ledger_port *p = mem_must_get(sizeof *p);
    p->send.run = send_chain;
    p->end.run = end_port;
    p->mail.run = take_answers;
    worker_on_end(&p->end);
    port_here = p;
    return p;
}

static bool is_passed_on(const struct ledger *l, const struct ledger_call *c)
{
    return c->may_pass && atomic_load_explicit(&l->passes, memory_order_acquire);
}

void ledger_send(struct ledger *l, struct ledger_call *c)
{
    struct ledger_port *p = port_get();
    c->worker = worker_self();
    c->port = p;
    c->fiber = NULL;
    c->answered = true;
    c->ret_durability = l->opts.durability;
    c->ret_failed = ledger_stopped(l) && !is_passed_on(l, c) ? ERR_UNAVAILABLE : OK;
    if (p->under_way >= PORT_CALLS_MAX || !machine_takes(c))
        c->ret_failed = ERR_LIMIT;
    if (c->ret_failed)
        return;
    if (!p->under_way && ledger_do_look(l, c)) /* nothing of ours, that it could overtake, waits */
        return;
    if (p->newest && p->ledger != l)
        send_chain(&p->send);
    c->answered = false;
    c->next = p->newest;
    p->ledger = l;
    p->newest = c;
    p->count++;
    if (!p->oldest)
        p->oldest = c;
    p->under_way++;
    worker_end_of_turn(&p->send);
}

err ledger_wait(struct ledger_call *c)
{
    if (!c->answered) {
        c->fiber = fiber_self();
        must(c->fiber != NULL);
        fiber_hold();
        must(c->answered);
    }
    return c->ret_failed;
}

err ledger_submit(struct ledger *l, struct ledger_call *c)
{
    ledger_send(l, c);
    return ledger_wait(c);
}

bool ledger_look(const struct ledger *l, uint8_t rules, struct bytes key, uint64_t *ret_value)
{
    return board_get(&l->board, board_hash(rules, key), ret_value);
}

struct ledger_status ledger_status(const struct ledger *l)
{
    return (struct ledger_status){ .open = l->open,
                                   .durability = l->opts.durability,
                                   .evicted = l->told_evicted,
                                   .seq = l->told_seq,
                                   .checkpoint_seq = l->told_checkpoint_seq,
                                   .records = l->told_records,
                                   .record_bytes = l->told_record_bytes,
                                   .log_bytes = l->told_log_bytes,
                                   .time_ms = l->told_time_ms };
}

static _Atomic(struct ledger *) ledger_of_process;

struct ledger *ledger_here(void)
{
    return atomic_load_explicit(&ledger_of_process, memory_order_acquire);
}

void ledger_use(struct ledger *l)
{
    atomic_store_explicit(&ledger_of_process, l, memory_order_release);
}

const char *ledger_stopped(const struct ledger *l)
{
    return atomic_load_explicit(&l->stopped, memory_order_acquire);
}
