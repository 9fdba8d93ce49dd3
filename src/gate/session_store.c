#include "gate/session_store.h"

#include "ledger/kv.h"
#include "ledger/ledger.h"

#define ROOM_SMALL 1024 /* of an answer; most sessions are smaller */
#define TRIES_MAX 8     /* to move a session that others change at the same time */
#define SECRET_KEY BYTES("weir:session-secret")

/* ---- asking ---- */

/* An operation of kv that is being written, in the arena. */
struct ask {
    struct arena *a;
    char *start, *at;
    size_t size, room;
};

/* size: of all its commands together. */
static err ask_begin(struct ask *q, struct arena *a, size_t size, size_t room)
{
    *q = (struct ask){ a, arena_get(a, KV_OP_BYTES + size), NULL, KV_OP_BYTES + size, room };
    if (!q->start)
        return ERR_LIMIT;
    q->at = kv_op_begin(q->start, (uint32_t)room);
    return OK;
}

static void ask_add(struct ask *q, enum kv_what what, unsigned flags, int64_t number,
                    const struct bytes *args, unsigned count)
{
    q->at = kv_op_add(q->at, what, flags, number, args, count);
}

/* ERR_AGAIN: the answer needs more room. */
static err ask_end(struct ask *q, struct bytes *ret_answer)
{
    struct ledger *l = ledger_here();
    struct ledger_op op = { .rules = KV_RULES_ID,
                            .body = { q->start, (size_t)(q->at - q->start) },
                            .answer = arena_get(q->a, q->room),
                            .answer_size = (uint32_t)q->room };
    struct ledger_call c = { .ops = &op, .ops_count = 1, .may_pass = true };
    if (!l)
        return ERR_UNAVAILABLE;
    if (!op.answer)
        return ERR_LIMIT;
    const err e = ledger_submit(l, &c);
    if (e || c.ret_refused)
        return e ? e : c.ret_refused;
    if (op.ret_answer_bytes > q->room)
        return ERR_AGAIN;
    *ret_answer = (struct bytes){ op.answer, op.ret_answer_bytes };
    return OK;
}

static struct bytes key_of(const struct session_store *st, struct arena *a, struct bytes id)
{
    return arena_print(a, "%.*s%.*s", BYTES_ARG(st->keys), BYTES_ARG(id));
}

/* All of one session; room: for the answer. version, due_ms: NULL, or asked for as well. */
static err load(const struct session_store *st, struct arena *a, struct bytes id, size_t room,
                struct session *s, int64_t *version, int64_t *due_ms)
{
    const struct bytes key = key_of(st, a, id);
    struct ask q;
    struct bytes answer;
    struct kv_value v, name, value, number;
    err e = key.ptr ? ask_begin(&q, a, 3 * kv_command_bytes(&key, 1), room) : ERR_LIMIT;
    if (e)
        return e;
    ask_add(&q, KV_HGETALL, 0, 0, &key, 1);
    if (version) {
        ask_add(&q, KV_VERSION, 0, 0, &key, 1);
        ask_add(&q, KV_TTL, KV_ABSOLUTE, 0, &key, 1);
    }
    e = ask_end(&q, &answer);
    *s = (struct session){ .id = id };
    if (e || !kv_read(&answer, &v) || v.type != KV_MAP)
        return e;
    for (int64_t i = 0; !e && i < v.number && kv_read(&answer, &name) && kv_read(&answer, &value); i++)
        e = session_put(s, a, name.text, value.text.ptr ? value.text : BYTES(""));
    if (version && kv_read(&answer, &number))
        *version = number.number;
    if (version && kv_read(&answer, &number))
        *due_ms = number.number;
    return e;
}

/* First with the room that most of them need. */
static err load_whole(const struct session_store *st, struct arena *a, struct bytes id, struct session *s,
                      int64_t *version, int64_t *due_ms)
{
    err e = load(st, a, id, ROOM_SMALL, s, version, due_ms);
    if (e == ERR_AGAIN)
        e = load(st, a, id, ROOM_SMALL + 4 * st->bytes_max, s, version, due_ms);
    return e == ERR_AGAIN ? ERR_LIMIT : e;
}

err session_store_load(const struct session_store *st, struct arena *a, struct bytes id, struct session *s,
                       bool *ret_found)
{
    const err e = load_whole(st, a, id, s, NULL, NULL);
    *ret_found = !e && s->count;
    if (!*ret_found)
        *s = (struct session){ 0 };
    return e;
}

/* ---- changing ---- */

/* key, and names and values by turns. ptr NULL: the arena has no more. */
static struct bytes *args_of(struct arena *a, struct bytes key, const struct session_value *values,
                             unsigned count)
{
    struct bytes *args = arena_get(a, (1 + 2 * (size_t)count) * sizeof *args);
    if (!args)
        return NULL;
    args[0] = key;
    for (unsigned i = 0; i < count; i++) {
        args[1 + 2 * i] = values[i].name;
        args[2 + 2 * i] = values[i].value;
    }
    return args;
}

/* A whole session under its key, until due_ms (0: for the time to live). old: a key that goes, and must be of
 * that version (0: of any) or nothing happens; NULL: none. */
static err write_whole(const struct session_store *st, struct arena *a, const struct session *s,
                       const struct bytes *old, int64_t old_version, int64_t due_ms, bool *ret_there)
{
    const struct bytes key = key_of(st, a, s->id);
    struct bytes *args = key.ptr ? args_of(a, key, s->values, s->count) : NULL;
    const unsigned args_count = 1 + 2 * s->count;
    const unsigned flags = due_ms ? KV_ABSOLUTE : st->sliding ? KV_SLIDING : 0;
    const size_t old_bytes = old ? 2 * kv_command_bytes(old, 1) : 0;
    struct ask q;
    struct bytes answer;
    struct kv_value v;
    if (!args)
        return ERR_LIMIT;
    err e = ask_begin(&q, a, old_bytes + kv_command_bytes(args, args_count) + kv_command_bytes(&key, 1),
                      ROOM_SMALL);
    if (e)
        return e;
    if (old && old_version)
        ask_add(&q, KV_UNLESS, 0, old_version, old, 1);
    ask_add(&q, KV_HSET, 0, 0, args, args_count);
    ask_add(&q, KV_EXPIRE, flags, due_ms ? due_ms : (int64_t)st->ttl_ms, &key, 1);
    if (old)
        ask_add(&q, KV_DEL, 0, 0, old, 1);
    e = ask_end(&q, &answer);
    *ret_there = !e && kv_read(&answer, &v) && v.type != KV_CHANGED;
    return e == ERR_AGAIN ? ERR_LIMIT : e;
}

err session_store_make(const struct session_store *st, struct arena *a, const struct session *s,
                       struct bytes old)
{
    const struct bytes old_key = old.len ? key_of(st, a, old) : BYTES_NONE;
    bool there;
    if (old.len && !old_key.ptr)
        return ERR_LIMIT;
    return write_whole(st, a, s, old.len ? &old_key : NULL, 0, 0, &there);
}

err session_store_change(const struct session_store *st, struct arena *a, struct bytes id,
                         const struct session_change *c, bool *ret_there)
{
    const struct bytes key = key_of(st, a, id);
    struct bytes *sets = key.ptr ? args_of(a, key, c->sets, c->sets_count) : NULL;
    struct bytes removes[1 + SESSION_SETS_MAX] = { key };
    const unsigned sets_count = 1 + 2 * c->sets_count, removes_count = 1 + c->removes_count;
    struct ask q;
    struct bytes answer;
    struct kv_value v;
    if (!sets)
        return ERR_LIMIT;
    for (unsigned i = 0; i < c->removes_count; i++)
        removes[1 + i] = c->removes[i];
    err e = ask_begin(&q, a,
                      kv_command_bytes(&key, 1) + kv_command_bytes(sets, sets_count) +
                          kv_command_bytes(removes, removes_count),
                      ROOM_SMALL);
    if (e)
        return e;
    ask_add(&q, KV_EXISTS, 0, 0, &key, 1);
    if (c->sets_count)
        ask_add(&q, KV_HSET, KV_XX, 0, sets, sets_count);
    if (c->removes_count)
        ask_add(&q, KV_HDEL, 0, 0, removes, removes_count);
    e = ask_end(&q, &answer);
    *ret_there = !e && kv_read(&answer, &v) && v.type == KV_INT && v.number;
    return e == ERR_AGAIN ? ERR_LIMIT : e;
}

err session_store_end(const struct session_store *st, struct arena *a, struct bytes id)
{
    const struct bytes key = key_of(st, a, id);
    struct ask q;
    struct bytes answer;
    err e = key.ptr ? ask_begin(&q, a, kv_command_bytes(&key, 1), ROOM_SMALL) : ERR_LIMIT;
    if (e)
        return e;
    ask_add(&q, KV_DEL, 0, 0, &key, 1);
    e = ask_end(&q, &answer);
    return e == ERR_AGAIN ? ERR_LIMIT : e;
}

err session_store_move(const struct session_store *st, struct arena *a, struct session *s, struct bytes id,
                       bool *ret_there)
{
    const struct bytes old = s->id, old_key = key_of(st, a, old);
    *ret_there = false;
    if (!old_key.ptr)
        return ERR_LIMIT;
    for (unsigned i = 0; i < TRIES_MAX; i++) {
        int64_t version = 0, due_ms = 0;
        bool unchanged;
        err e = load_whole(st, a, old, s, &version, &due_ms);
        if (e || !s->count)
            return e;
        s->id = id;
        e = write_whole(st, a, s, &old_key, version, st->sliding || due_ms < 0 ? 0 : due_ms, &unchanged);
        *ret_there = unchanged;
        if (e || unchanged)
            return e;
    }
    return ERR_LIMIT;
}

err session_store_secret(struct arena *a, struct bytes offered, struct bytes *ret_secret)
{
    const struct bytes set[] = { SECRET_KEY, offered };
    struct ask q;
    struct bytes answer;
    struct kv_value v;
    err e = ask_begin(&q, a, kv_command_bytes(set, 2) + kv_command_bytes(set, 1), ROOM_SMALL);
    if (e)
        return e;
    ask_add(&q, KV_SET, KV_NX, 0, set, 2);
    ask_add(&q, KV_GET, 0, 0, set, 1);
    e = ask_end(&q, &answer);
    if (e)
        return e == ERR_AGAIN ? ERR_LIMIT : e;
    if (!kv_read(&answer, &v) || !kv_read(&answer, &v) || v.type != KV_TEXT || v.text.len < 16)
        return ERR_UNAVAILABLE;
    *ret_secret = v.text;
    return OK;
}
