#include "ledger/lock.h"

#include "base/must.h"
#include "ledger/rules.h"

#define WAITER_KEY_BYTES_MAX (LOCK_KEY_BYTES_MAX + 1 + 8)

/* On disk. */
struct lock_value {
    uint64_t token, owner;
    uint64_t first, next; /* places in line: from the first that may be there, up to */
    uint64_t waiting;
};
struct lock_waiter {
    uint64_t owner, lease_ms;
};

/* ---- operations as bytes ---- */

static bool name_is_good(struct bytes name)
{
    return name.len > 0 && name.len <= LOCK_NAME_BYTES_MAX && !memchr(name.ptr, 0, name.len);
}

static bool is_good(const struct lock_op *op, struct bytes name)
{
    const bool leases = op->what == LOCK_ACQUIRE || op->what == LOCK_RENEW;
    return op->what < LOCK_WHATS && name_is_good(name) && op->wait_ms <= LOCK_WAIT_MS_MAX &&
           (!leases || (op->lease_ms > 0 && op->lease_ms <= LOCK_LEASE_MS_MAX)) &&
           (op->what != LOCK_ACQUIRE || op->owner);
}

bool lock_write(char *out, const struct lock_op *op, struct bytes name, size_t *ret_bytes)
{
    if (!is_good(op, name))
        return false;
    memcpy(out, op, sizeof *op);
    memcpy(out + sizeof *op, name.ptr, name.len);
    *ret_bytes = sizeof *op + name.len;
    return true;
}

struct bytes lock_key(struct bytes name, char out[LOCK_KEY_BYTES_MAX])
{
    out[0] = 'l';
    memcpy(out + 1, name.ptr, name.len);
    return (struct bytes){ out, 1 + name.len };
}

static struct bytes name_of(const struct record *lock)
{
    return bytes_skip(record_key(lock), 1);
}

static struct bytes waiter_key(struct bytes name, uint64_t place, char out[WAITER_KEY_BYTES_MAX])
{
    const uint64_t big = __builtin_bswap64(place);
    out[0] = 'w';
    memcpy(out + 1, name.ptr, name.len);
    out[1 + name.len] = 0;
    memcpy(out + 2 + name.len, &big, sizeof big);
    return (struct bytes){ out, 2 + name.len + sizeof big };
}

/* ---- holding ---- */

static struct record *find_lock(struct records *rs, struct bytes name)
{
    char key[LOCK_KEY_BYTES_MAX];
    return record_find(rs, LOCK_RULES_ID, lock_key(name, key));
}

static struct record *find_waiter(struct records *rs, struct bytes name, uint64_t place)
{
    char key[WAITER_KEY_BYTES_MAX];
    return record_find(rs, LOCK_RULES_ID, waiter_key(name, place, key));
}

/* What becomes due has the next entry's id: its tokens come before that entry's. */
#define TOKEN_SHIFT 16
#define TOKEN_OF_ENTRY 32768

static void hold(struct ledger_apply *a, struct record *lock, uint64_t owner, uint64_t lease_ms,
                 bool by_entry)
{
    struct lock_value *v = record_value(lock);
    const uint64_t token = (a->id << TOKEN_SHIFT) + (by_entry ? TOKEN_OF_ENTRY : 0);
    record_write(a->records, lock);
    must(owner != 0);
    v->token = token > v->token ? token : v->token + 1;
    v->owner = owner;
    record_set_due(a->records, lock, a->now_ms + lease_ms);
}

/* The next in line has it; or nobody, and the record goes. */
static void pass_on(struct ledger_apply *a, struct record *lock, bool by_entry)
{
    struct lock_value *v = record_value(lock);
    record_write(a->records, lock);
    while (v->first < v->next) {
        struct record *w = find_waiter(a->records, name_of(lock), v->first++);
        if (!w)
            continue;
        const struct lock_waiter next = *(struct lock_waiter *)record_value(w);
        const bool late = w->due_ms <= a->now_ms;
        record_remove(a->records, w);
        v->waiting--;
        if (late)
            continue;
        hold(a, lock, next.owner, next.lease_ms, by_entry);
        return;
    }
    must(v->waiting == 0);
    record_remove(a->records, lock);
}

/* A lease that has ended while much became due at once. */
static struct record *current(struct ledger_apply *a, struct bytes name)
{
    struct record *lock = find_lock(a->records, name);
    while (lock && lock->due_ms <= a->now_ms) {
        pass_on(a, lock, true);
        lock = find_lock(a->records, name);
    }
    return lock;
}

static void answer(struct ledger_apply *a, enum lock_result result, struct bytes name)
{
    struct lock_answer r = { .result = (uint32_t)result };
    const struct record *lock = find_lock(a->records, name);
    if (lock) {
        const struct lock_value *v = record_value((struct record *)(uintptr_t)lock);
        r.waiting = (uint32_t)v->waiting;
        r.token = v->token;
        r.owner = v->owner;
        r.left_ms = lock->due_ms > a->now_ms ? lock->due_ms - a->now_ms : 0;
    }
    ledger_answer(a, &r, sizeof r);
}

/* ---- operations ---- */

static err get_in_line(struct ledger_apply *a, struct record *lock, const struct lock_op *op,
                       struct bytes name)
{
    struct lock_value *v = record_value(lock);
    char key[WAITER_KEY_BYTES_MAX];
    if (!op->wait_ms || v->next - v->first >= LOCK_LINE_MAX) {
        answer(a, LOCK_BUSY, name);
        return OK;
    }
    struct record *w =
        record_make(a->records, LOCK_RULES_ID, waiter_key(name, v->next, key), sizeof(struct lock_waiter));
    if (!w)
        return ERR_LIMIT;
    *(struct lock_waiter *)record_value(w) = (struct lock_waiter){ op->owner, op->lease_ms };
    record_set_due(a->records, w, a->now_ms + op->wait_ms);
    record_write(a->records, lock);
    v->next++;
    v->waiting++;
    answer(a, LOCK_WAITING, name);
    return OK;
}

static err acquire(struct ledger_apply *a, const struct lock_op *op, struct bytes name)
{
    char key[LOCK_KEY_BYTES_MAX];
    struct record *lock = current(a, name);
    if (lock)
        return get_in_line(a, lock, op, name);
    lock = record_make(a->records, LOCK_RULES_ID, lock_key(name, key), sizeof(struct lock_value));
    if (!lock)
        return ERR_LIMIT;
    hold(a, lock, op->owner, op->lease_ms, true);
    answer(a, LOCK_HELD, name);
    return OK;
}

static void take_out(struct ledger_apply *a, struct record *lock, uint64_t place, struct record *w)
{
    struct lock_value *v = record_value(lock);
    record_remove(a->records, w);
    record_write(a->records, lock);
    v->waiting--;
    if (place == v->first)
        v->first++;
}

static void leave(struct ledger_apply *a, struct record *lock, uint64_t owner)
{
    const struct lock_value *v = record_value(lock);
    if (v->owner == owner) {
        pass_on(a, lock, true);
        return;
    }
    for (uint64_t place = v->first; place < v->next; place++) {
        struct record *w = find_waiter(a->records, name_of(lock), place);
        if (!w || ((struct lock_waiter *)record_value(w))->owner != owner)
            continue;
        take_out(a, lock, place, w);
        return;
    }
}

static err lock_apply(struct ledger_apply *a, struct bytes bytes)
{
    struct lock_op op;
    if (bytes.len < sizeof op)
        return ERR_SYNTAX;
    memcpy(&op, bytes.ptr, sizeof op);
    const struct bytes name = bytes_skip(bytes, sizeof op);
    if (!is_good(&op, name))
        return ERR_SYNTAX;
    if (op.what == LOCK_ACQUIRE)
        return acquire(a, &op, name);
    struct record *lock = op.what == LOCK_STATUS ? find_lock(a->records, name) : current(a, name);
    const bool ended = lock && lock->due_ms <= a->now_ms;
    const bool owns = lock && ((struct lock_value *)record_value(lock))->token == op.token;
    enum lock_result result = lock && !ended ? LOCK_HELD : LOCK_FREE;
    if (op.what == LOCK_LEAVE && lock)
        leave(a, lock, op.owner);
    else if (op.what != LOCK_STATUS && op.what != LOCK_LEAVE && !owns)
        result = LOCK_OTHER;
    else if (op.what == LOCK_RENEW)
        record_set_due(a->records, lock, a->now_ms + op.lease_ms);
    else if (op.what == LOCK_RELEASE) {
        pass_on(a, lock, true);
        result = LOCK_FREE;
    }
    answer(a, result, name);
    return OK;
}

static void lock_due(struct ledger_apply *a, struct record *r)
{
    const struct bytes key = record_key(r);
    uint64_t big;
    if (key.ptr[0] == 'l') {
        pass_on(a, r, false);
        return;
    }
    const struct bytes name = { key.ptr + 1, key.len - 2 - sizeof big };
    memcpy(&big, key.ptr + key.len - sizeof big, sizeof big);
    struct record *lock = find_lock(a->records, name);
    must(lock != NULL);
    take_out(a, lock, __builtin_bswap64(big), r);
}

static bool lock_shown(const struct record *r, uint64_t *ret_value)
{
    if (r->data[0] != 'l')
        return false;
    *ret_value = ((struct lock_value *)record_value(r))->owner;
    return true;
}

/* ---- what they promise ---- */

struct count {
    uint64_t said, counted, unowned;
};

static void count_record(void *arg, const struct record *r)
{
    struct count *c = arg;
    const struct lock_value *v = record_value(r);
    c->counted += r->data[0] == 'w';
    if (r->data[0] != 'l')
        return;
    c->said += v->waiting;
    c->unowned += !v->owner || !r->due_ms;
}

static bool lock_check(struct records *rs, struct diag *reterr)
{
    struct count c = { 0 };
    record_each(rs, LOCK_RULES_ID, count_record, &c);
    if (c.said == c.counted && !c.unowned)
        return true;
    diag_set(reterr, "%llu wait in line, the locks say %llu; %llu are held by nobody or for ever",
             (unsigned long long)c.counted, (unsigned long long)c.said, (unsigned long long)c.unowned);
    return false;
}

const struct ledger_rules lock_rules = {
    .name = "lock",
    .id = LOCK_RULES_ID,
    .version = 1,
    .apply = lock_apply,
    .due = lock_due,
    .shown = lock_shown,
    .check = lock_check,
};
