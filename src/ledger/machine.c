#include "ledger/machine.h"

#include "base/mem.h"
#include "base/must.h"
#include "ledger/ledger_log.h"
#include "ledger/watch.h"

err machine_open(struct machine *m, const struct ledger_rules *const *rules, uint64_t bytes_max)
{
    *m = (struct machine){ .next_id = 1 };
    for (; *rules; rules++) {
        must((*rules)->id != 0 && !m->rules[(*rules)->id]);
        m->rules[(*rules)->id] = *rules;
    }
    err e = records_open(bytes_max, &m->records);
    if (e)
        return e;
    m->batch = mem_get_aligned(LEDGER_BATCH_BYTES_MAX, DISK_BLOCK_BYTES);
    if (!m->batch) {
        records_close(m->records);
        m->records = NULL;
        return ERR_MEMORY;
    }
    return OK;
}

void machine_close(struct machine *m)
{
    records_close(m->records);
    mem_free(m->batch);
    mem_free(m->shown);
    *m = (struct machine){ 0 };
}

void machine_set(struct machine *m, uint64_t seq, uint64_t now_ms, uint64_t next_id)
{
    m->seq = seq;
    m->now_ms = now_ms;
    m->next_id = next_id;
}

/* ---- what workers may see ---- */

static void note_shown(struct machine *m, struct machine_shown s)
{
    if (m->shown_count == m->shown_room) {
        m->shown_room = m->shown_room ? m->shown_room * 2 : 256;
        m->shown = mem_must_resize(m->shown, m->shown_room * sizeof *m->shown);
    }
    m->shown[m->shown_count++] = s;
}

static void note_changed(void *arg, const struct record *r)
{
    struct machine *m = arg;
    const struct ledger_rules *rules = m->rules[r->rules];
    struct machine_shown s = { .record = r, .gone = !record_is_here(r) };
    if (!rules || !rules->shown || !rules->shown(r, &s.value))
        return;
    if (m->shown_count && m->shown[m->shown_count - 1].record == r) {
        m->shown[m->shown_count - 1].value = s.value;
        m->shown[m->shown_count - 1].gone = s.gone;
        return;
    }
    s.hash = board_hash(r->rules, record_key(r));
    note_shown(m, s);
}

void machine_show(struct machine *m, struct board *b)
{
    for (size_t i = 0; i < m->shown_count; i++) {
        const struct machine_shown *s = &m->shown[i];
        if (s->gone)
            board_clear(b, s->hash);
        else
            board_set(b, s->hash, s->value);
        watch_tell(s->hash, s->gone, s->value);
    }
    m->shown_count = 0;
}

err machine_load_begin(struct machine_load *l, struct machine *m, struct board *b, uint64_t count,
                       unsigned threads)
{
    *l = (struct machine_load){ .machine = m, .board = b };
    pthread_mutex_init(&l->board_lock, NULL);
    err e = records_expect(m->records, count);
    must(threads <= CHECKPOINT_LOADERS_MAX);
    for (unsigned i = 0; !e && i < threads; i++)
        e = records_loader_open(m->records, &l->loaders[i]);
    return e;
}

err machine_load(struct machine_load *l, unsigned thread, const struct record_image *image)
{
    const struct ledger_rules *rules = l->machine->rules[image->rules];
    struct record *r;
    uint64_t value;
    err e = records_loader_put(l->loaders[thread], image, &r);
    if (e || !rules || !rules->shown || !rules->shown(r, &value))
        return e;
    const uint64_t hash = board_hash(r->rules, record_key(r));
    pthread_mutex_lock(&l->board_lock);
    board_set(l->board, hash, value);
    pthread_mutex_unlock(&l->board_lock);
    return OK;
}

void machine_load_end(struct machine_load *l)
{
    for (unsigned i = 0; i < CHECKPOINT_LOADERS_MAX; i++) {
        if (l->loaders[i])
            records_loader_close(l->loaders[i]);
    }
    pthread_mutex_destroy(&l->board_lock);
    records_loaded(l->machine->records);
}

/* ---- a batch ---- */

void machine_begin(struct machine *m, uint64_t now_ms)
{
    m->now_ms = now_ms > m->now_ms ? now_ms : m->now_ms;
    m->head = (struct batch_head){ .magic = BATCH_MAGIC, .time_ms = m->now_ms, .id_first = m->next_id };
    m->batch_bytes = BATCH_HEAD_BYTES;
    m->taken = m->refused = 0;
    m->shown_count = 0;
}

static void keep(struct machine *m)
{
    records_each_changed(m->records, note_changed, m);
    records_keep(m->records);
}

static void expire_one(struct machine *m, struct record *r)
{
    struct ledger_apply a = { .records = m->records, .now_ms = m->now_ms, .id = m->next_id };
    const struct ledger_rules *rules = m->rules[r->rules];
    must(rules && rules->due);
    a.version = rules->version;
    records_begin(m->records);
    rules->due(&a, r);
    keep(m);
    m->head.expired++;
}

static void expire(struct machine *m, uint32_t most)
{
    struct record *r, *before = NULL;
    uint64_t due_ms = 0;
    records_set_unbounded(m->records, true);
    while (m->head.expired < most && (r = records_due(m->records, m->now_ms))) {
        must(r != before || r->due_ms != due_ms); /* a rule that leaves it due would never end */
        before = r;
        due_ms = r->due_ms;
        expire_one(m, r);
    }
    records_set_unbounded(m->records, false);
}

void machine_expire(struct machine *m)
{
    expire(m, MACHINE_EXPIRED_MAX);
}

static size_t entry_bytes(const struct ledger_call *c)
{
    size_t bytes = sizeof(struct batch_entry_head);
    for (uint32_t i = 0; i < c->ops_count; i++)
        bytes += sizeof(struct batch_op_head) + c->ops[i].body.len;
    return bytes;
}

bool machine_takes(const struct ledger_call *c)
{
    return c->ops_count > 0 && c->ops_count <= LEDGER_OPS_MAX && entry_bytes(c) <= LEDGER_ENTRY_BYTES_MAX;
}

/* Room is left for what encryption puts behind, and to fill the last block. */
#define BATCH_SLACK_BYTES 4096

bool machine_has_room(const struct machine *m, const struct ledger_call *c)
{
    return m->batch_bytes + entry_bytes(c) + BATCH_SLACK_BYTES <= LEDGER_BATCH_BYTES_MAX;
}

static void add(struct machine *m, const void *data, size_t len)
{
    if (len)
        memcpy(m->batch + m->batch_bytes, data, len);
    m->batch_bytes += len;
}

static void log_entry(struct machine *m, const struct ledger_call *c)
{
    struct batch_entry_head h = { .bytes = (uint32_t)entry_bytes(c), .ops = (uint16_t)c->ops_count };
    add(m, &h, sizeof h);
    for (uint32_t i = 0; i < c->ops_count; i++) {
        const struct ledger_op *op = &c->ops[i];
        struct batch_op_head oh = { .rules = op->rules,
                                    .version = m->rules[op->rules]->version,
                                    .bytes = (uint32_t)op->body.len };
        add(m, &oh, sizeof oh);
        add(m, op->body.ptr, op->body.len);
    }
    m->head.entries++;
    m->next_id++;
}

static err apply(struct machine *m, struct ledger_op *op, uint32_t i, uint8_t version,
                 const struct ledger_ahead *ahead, uint32_t *crc)
{
    const struct ledger_rules *rules = m->rules[op->rules];
    struct ledger_apply a = { .records = m->records,
                              .now_ms = m->now_ms,
                              .id = m->next_id,
                              .op = i,
                              .version = version,
                              .ahead = ahead,
                              .answer = op->answer,
                              .answer_size = op->answer_size };
    err e = rules->apply(&a, op->body);
    const uint32_t sum[2] = { a.answer_bytes, a.answer_crc };
    op->ret_answer_bytes = a.answer_bytes;
    *crc = crc32c(*crc, sum, sizeof sum);
    return e;
}

static err apply_all(struct machine *m, struct ledger_call *c, const struct ledger_ahead *ahead,
                     uint32_t *crc)
{
    for (uint32_t i = 0; i < c->ops_count; i++) {
        const struct ledger_rules *rules = m->rules[c->ops[i].rules];
        err e = rules ? apply(m, &c->ops[i], i, rules->version, i ? NULL : ahead, crc) : ERR_UNSUPPORTED;
        if (e) {
            c->ret_op = i;
            return e;
        }
    }
    return OK;
}

void machine_fetch(const struct machine *m, const struct ledger_call *c, struct ledger_ahead *ret_ahead)
{
    const struct ledger_rules *rules = m->rules[c->ops->rules];
    ret_ahead->count = 0;
    if (!rules || !rules->fetch)
        return;
    rules->fetch(c->ops->body, ret_ahead);
    for (unsigned i = 0; i < ret_ahead->count; i++)
        record_fetch_bucket(m->records, ret_ahead->hashes[i]);
}

void machine_fetch_records(const struct machine *m, const struct ledger_ahead *ahead)
{
    for (unsigned i = 0; i < ahead->count; i++)
        record_fetch(m->records, ahead->hashes[i]);
}

void machine_entry(struct machine *m, struct ledger_call *c, const struct ledger_ahead *ahead)
{
    uint32_t crc = m->head.answers_crc;
    c->ret_id = m->next_id;
    c->ret_time_ms = m->now_ms;
    c->ret_failed = c->ret_refused = OK;
    must(machine_takes(c));
    records_begin(m->records);
    c->ret_refused = apply_all(m, c, ahead, &crc);
    m->taken++;
    if (c->ret_refused) {
        m->refused++;
        records_undo(m->records);
    } else if (records_changed(m->records)) {
        keep(m);
        m->head.answers_crc = crc;
        log_entry(m, c);
    }
}

bool machine_look(struct machine *m, struct ledger_call *c, uint64_t now_ms)
{
    uint32_t crc = 0;
    m->now_ms = now_ms > m->now_ms ? now_ms : m->now_ms;
    c->ret_id = m->next_id;
    c->ret_time_ms = m->now_ms;
    records_begin(m->records);
    c->ret_refused = apply_all(m, c, NULL, &crc);
    if (!records_changed(m->records))
        return true;
    records_undo(m->records);
    return false;
}

bool machine_end(struct machine *m)
{
    if (!m->head.entries && !m->head.expired)
        return false;
    m->head.seq = ++m->seq;
    m->head.bytes = (uint32_t)m->batch_bytes;
    return true;
}

/* ---- again ---- */

static err differs(const struct batch_head *head, const char *what, struct diag *reterr)
{
    diag_set(reterr,
             "batch %llu does not come out as it was answered (%s): another version of weir wrote it, or the "
             "state is damaged. Start the version that wrote it and stop it cleanly, or restore a backup",
             (unsigned long long)head->seq, what);
    return ERR_SYNTAX;
}

static err replay_op(struct machine *m, const struct batch_op *op, uint32_t *crc)
{
    struct ledger_op o = { .rules = op->rules, .body = op->body };
    if (!m->rules[op->rules] || op->version > m->rules[op->rules]->version)
        return ERR_UNSUPPORTED;
    return apply(m, &o, op->op, op->version, NULL, crc);
}

static err replay_entries(struct machine *m, const struct batch_head *head, struct bytes payload,
                          struct diag *reterr)
{
    struct batch_reader reader;
    struct batch_op op;
    uint32_t crc = 0;
    err e;
    batch_read(&reader, payload);
    while ((e = batch_next(&reader, &op)) == OK) {
        if (op.op == 0)
            records_begin(m->records);
        e = replay_op(m, &op, &crc);
        if (e == ERR_UNSUPPORTED)
            return differs(head, "it has operations that this weir does not know", reterr);
        if (e)
            return differs(head, err_text(e), reterr);
        if (op.op + 1 < op.ops)
            continue;
        if (!records_changed(m->records))
            return differs(head, "an entry changes nothing", reterr);
        keep(m);
        m->head.entries++;
        m->next_id++;
    }
    if (e != ERR_NOT_FOUND)
        return differs(head, "its entries are malformed", reterr);
    if (m->head.entries != head->entries || crc != head->answers_crc)
        return differs(head, "the answers are others", reterr);
    return OK;
}

err machine_replay(struct machine *m, const struct batch_head *head, struct bytes payload,
                   struct diag *reterr)
{
    if (head->seq != m->seq + 1)
        return differs(head, "it is not the next", reterr);
    m->next_id = head->id_first;
    machine_begin(m, head->time_ms);
    expire(m, head->expired);
    if (m->head.expired != head->expired)
        return differs(head, "other records are due", reterr);
    records_set_unbounded(m->records, true);
    err e = replay_entries(m, head, payload, reterr);
    records_set_unbounded(m->records, false);
    if (e)
        return e;
    m->seq = head->seq;
    return OK;
}

err machine_check(struct machine *m, struct diag *reterr)
{
    for (unsigned id = 1; id < 256; id++) {
        const struct ledger_rules *rules = m->rules[id];
        struct diag d = DIAG_NONE;
        if (!rules || !rules->check || rules->check(m->records, &d))
            continue;
        diag_set(reterr, "the records of %s contradict themselves: %s", rules->name, d.text);
        return ERR_SYNTAX;
    }
    return OK;
}
