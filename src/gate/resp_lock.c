/* LOCK.*: leases with fencing tokens. What a connection holds is released when it ends, unless it said KEEP.
 *
 *      LOCK.ACQUIRE ─▶ held: its token    ─▶ in line: watches who has the lock, until it is its turn or its
 *                                            time is over */
#include "base/hash.h"
#include "base/pool.h"
#include "gate/resp.h"
#include "ledger/lock.h"
#include "ledger/watch.h"

#define HELD_MAX 64 /* by one connection */

struct resp_lock {
    struct resp_lock *next;
    uint64_t token;
    uint8_t name_bytes;
    char name[LOCK_NAME_BYTES_MAX];
};

static _Thread_local struct pool held;
static _Thread_local struct turn_hook held_end;

static void end_pool(struct turn_hook *h)
{
    (void)h;
    pool_close(&held);
    held.object_bytes = 0;
}

static err ask(const struct lock_op *op, struct bytes name, struct lock_answer *ret_answer)
{
    char bytes[LOCK_OP_BYTES_MAX];
    size_t len;
    if (!lock_write(bytes, op, name, &len))
        return ERR_SYNTAX;
    struct ledger_op o = { .rules = LOCK_RULES_ID,
                           .body = { bytes, len },
                           .answer = (char *)ret_answer,
                           .answer_size = sizeof *ret_answer };
    return resp_submit_op(&o);
}

/* ---- what a connection holds ---- */

static void release_all(void *arg)
{
    for (struct resp_lock *h = arg, *next; h; h = next) {
        const struct lock_op op = { .what = LOCK_RELEASE, .token = h->token };
        struct lock_answer r;
        next = h->next;
        (void)!ask(&op, (struct bytes){ h->name, h->name_bytes }, &r); /* or its lease ends */
        pool_give(&held, h);
    }
}

void resp_locks_free(struct resp_client *k)
{
    if (k->locks)
        fiber_spawn(release_all, k->locks);
    k->locks = NULL;
}

static unsigned count(const struct resp_client *k)
{
    unsigned n = 0;
    for (const struct resp_lock *h = k->locks; h; h = h->next)
        n++;
    return n;
}

static bool is_held(const struct resp_lock *h)
{
    const struct lock_op status = { .what = LOCK_STATUS };
    struct lock_answer r = { 0 };
    err e = ask(&status, (struct bytes){ h->name, h->name_bytes }, &r);
    return e || (r.result == LOCK_HELD && r.token == h->token);
}

/* Leases end by themselves, and a lock may be released over another connection. */
static void forget_ended(struct resp_client *k)
{
    for (struct resp_lock **at = &k->locks; *at;) {
        struct resp_lock *h = *at;
        if (is_held(h)) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        pool_give(&held, h);
    }
}

static bool has_room(struct resp_client *k)
{
    if (count(k) == HELD_MAX)
        forget_ended(k);
    return count(k) < HELD_MAX;
}

static void remember(struct resp_client *k, struct bytes name, uint64_t token)
{
    if (!held.object_bytes) {
        pool_init(&held, sizeof(struct resp_lock));
        held_end.run = end_pool;
        worker_on_end(&held_end);
    }
    struct resp_lock *h = pool_take(&held);
    *h = (struct resp_lock){ .next = k->locks, .token = token, .name_bytes = (uint8_t)name.len };
    memcpy(h->name, name.ptr, name.len);
    k->locks = h;
}

static void forget(struct resp_client *k, uint64_t token)
{
    for (struct resp_lock **at = &k->locks; *at; at = &(*at)->next) {
        struct resp_lock *h = *at;
        if (h->token != token)
            continue;
        *at = h->next;
        pool_give(&held, h);
        return;
    }
}

/* ---- commands ---- */

static void failed(struct resp_client *k, err e)
{
    if (e == ERR_SYNTAX)
        resp_fail(k->batch,
                  "ERR a lock's name has 1 to %d bytes, a lease 1 ms to a day, a wait at most an hour",
                  LOCK_NAME_BYTES_MAX);
    else
        resp_say_failure(k->batch, e);
}

static bool number(struct resp_client *k, struct bytes text, uint64_t *ret_n)
{
    if (bytes_to_u64(text, ret_n) && *ret_n <= INT64_MAX)
        return true;
    resp_fail(k->batch, "ERR value is not an integer or out of range");
    return false;
}

/* Who holds it (0: nobody), as workers know it; the writer is asked when what it shows has no room for it. */
static err find_owner(struct bytes name, uint64_t *ret_owner)
{
    const struct lock_op status = { .what = LOCK_STATUS };
    struct lock_answer r = { 0 };
    char key[LOCK_KEY_BYTES_MAX];
    const struct ledger *l = ledger_here();
    if (l && ledger_look(l, LOCK_RULES_ID, lock_key(name, key), ret_owner))
        return OK;
    err e = ask(&status, name, &r);
    *ret_owner = r.result == LOCK_HELD ? r.owner : 0;
    return e;
}

/* Until the lock is its owner's, or nobody's; OK also when the time is over. */
static err wait_for_turn(struct resp_client *k, struct bytes name, uint64_t owner, uint64_t wait_ms)
{
    const uint64_t until_us = deadline_in_ms(wait_ms);
    char key[LOCK_KEY_BYTES_MAX];
    struct waiter w;
    struct watch x;
    uint64_t has_it;
    waiter_open(&w);
    watch_begin(&x, &w, LOCK_RULES_ID, lock_key(name, key), 0);
    err e = find_owner(name, &has_it);
    while (!e && has_it && has_it != owner) {
        e = resp_wait(k, &w, until_us);
        if (!e)
            e = find_owner(name, &has_it);
    }
    watch_end(&x);
    waiter_close(&w);
    return e == ERR_TIMEOUT ? OK : e;
}

/* In line, until it is held (OK), the time is over or its lease was before it was seen (ERR_TIMEOUT), or
 * nobody waits any more. */
static err wait_in_line(struct resp_client *k, struct bytes name, uint64_t owner, uint64_t wait_ms,
                        struct lock_answer *ret_answer)
{
    const struct lock_op status = { .what = LOCK_STATUS }, leave = { .what = LOCK_LEAVE, .owner = owner };
    err e = wait_for_turn(k, name, owner, wait_ms);
    if (!e)
        e = ask(&status, name, ret_answer);
    if (!e && ret_answer->owner == owner)
        return OK;
    struct lock_answer r;
    err left = ask(&leave, name, &r);
    return e ? e : left ? left : ERR_TIMEOUT;
}

/* name, lease in ms [WAIT ms] [KEEP] */
void resp_do_lock_acquire(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    const struct bytes name = resp_arg(c, 1);
    struct lock_op op = { .what = LOCK_ACQUIRE, .owner = random_u64() | 1 };
    struct lock_answer r = { 0 };
    bool keep = false;
    if (!number(k, resp_arg(c, 2), &op.lease_ms))
        return;
    for (uint32_t i = 3; i < c->count; i++) {
        if (bytes_eq_nocase(resp_arg(c, i), BYTES("KEEP"))) {
            keep = true;
        } else if (bytes_eq_nocase(resp_arg(c, i), BYTES("WAIT")) && i + 1 < c->count) {
            if (!number(k, resp_arg(c, ++i), &op.wait_ms))
                return;
        } else {
            resp_fail(k->batch, "ERR syntax error");
            return;
        }
    }
    if (!keep && !has_room(k)) {
        resp_fail(k->batch, "ERR a connection holds at most %d locks", HELD_MAX);
        return;
    }
    err e = ask(&op, name, &r);
    if (!e && r.result == LOCK_WAITING)
        e = wait_in_line(k, name, op.owner, op.wait_ms, &r);
    else if (!e && r.result == LOCK_BUSY)
        e = ERR_TIMEOUT;
    if (e == ERR_TIMEOUT) {
        resp_say_null(k);
        return;
    }
    if (e) {
        failed(k, e);
        return;
    }
    if (!keep)
        remember(k, name, r.token);
    resp_say_int(k->batch, (int64_t)r.token);
}

static void move(struct resp_client *k, const struct resp_command *c, struct lock_op *op,
                 enum lock_result wanted)
{
    struct lock_answer r = { 0 };
    err e = ask(op, resp_arg(c, 1), &r);
    if (e)
        failed(k, e);
    else
        resp_say_int(k->batch, r.result == (uint32_t)wanted);
}

/* name, token, lease in ms */
void resp_do_lock_renew(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct lock_op op = { .what = LOCK_RENEW };
    if (number(k, resp_arg(c, 2), &op.token) && number(k, resp_arg(c, 3), &op.lease_ms))
        move(k, c, &op, LOCK_HELD);
}

/* name, token */
void resp_do_lock_release(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    struct lock_op op = { .what = LOCK_RELEASE };
    if (!number(k, resp_arg(c, 2), &op.token))
        return;
    move(k, c, &op, LOCK_FREE);
    forget(k, op.token);
}

static void say_pair(struct resp_client *k, struct bytes name, uint64_t n)
{
    resp_say_text(k->batch, name);
    resp_say_int(k->batch, (int64_t)n);
}

/* name */
void resp_do_lock_status(struct resp_client *k, const struct resp_command *c, const struct resp_def *d)
{
    (void)d;
    const struct lock_op op = { .what = LOCK_STATUS };
    struct lock_answer r = { 0 };
    err e = ask(&op, resp_arg(c, 1), &r);
    if (e) {
        failed(k, e);
        return;
    }
    const bool is_held = r.result == LOCK_HELD;
    resp_say_static(k->batch, k->protocol == RESP_3 ? BYTES("%4\r\n") : BYTES("*8\r\n"));
    say_pair(k, BYTES("held"), is_held);
    say_pair(k, BYTES("token"), is_held ? r.token : 0);
    say_pair(k, BYTES("left_ms"), is_held ? r.left_ms : 0);
    say_pair(k, BYTES("waiting"), r.waiting);
}
