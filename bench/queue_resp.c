/* Streams of Redis: XADD; XREADGROUP, and XACK of what came. */
#include "bench/queue.h"

static void add_word(struct queue_buffer *b, struct bytes word)
{
    queue_print(b, "$%zu\r\n", word.len);
    queue_add(b, word);
    queue_add(b, BYTES("\r\n"));
}

static void publish(struct queue_conn *c, const char *body)
{
    queue_print(&c->out, "*5\r\n$4\r\nXADD\r\n$%zu\r\n%s\r\n$1\r\n*\r\n$4\r\nbody\r\n",
                strlen(queue_options.topic), queue_options.topic);
    add_word(&c->out, (struct bytes){ body, queue_options.body_bytes });
}

static void pull(struct queue_conn *c)
{
    char count[20], name[24] = "c";
    queue_print(&c->out, "*%d\r\n$10\r\nXREADGROUP\r\n$5\r\nGROUP\r\n", queue_options.waits ? 11 : 9);
    add_word(&c->out, bytes_from(queue_options.group));
    add_word(&c->out, (struct bytes){ name, 1 + u64_to_text(c->number, name + 1) });
    add_word(&c->out, BYTES("COUNT"));
    add_word(&c->out, (struct bytes){ count, u64_to_text(queue_options.pull, count) });
    if (queue_options.waits)
        queue_add(&c->out, BYTES("$5\r\nBLOCK\r\n$4\r\n1000\r\n"));
    add_word(&c->out, BYTES("STREAMS"));
    add_word(&c->out, bytes_from(queue_options.topic));
    add_word(&c->out, BYTES(">"));
}

/* ---- answers */

struct head {
    char type;
    int64_t n; /* of '*', '$', ':' */
    struct bytes line;
};

static bool take_head(struct bytes *in, struct head *h)
{
    const struct bytes line = queue_line(*in);
    if (!line.ptr)
        return false;
    h->type = line.len ? *line.ptr : 0;
    h->line = line.len ? bytes_skip(line, 1) : line;
    h->n = -1;
    if (h->type == '-' || !strchr("+:$*", h->type))
        queue_fail("the answer:", line);
    if (h->type != '+' && !bytes_to_i64(h->line, &h->n))
        queue_fail("the answer:", line);
    *in = bytes_skip(*in, line.len + 2);
    return true;
}

static bool take_text(struct bytes *in, struct bytes *ret_text)
{
    struct head h;
    if (!take_head(in, &h) || h.n < 0 || in->len < (size_t)h.n + 2)
        return false;
    *ret_text = (struct bytes){ in->ptr, (size_t)h.n };
    *in = bytes_skip(*in, (size_t)h.n + 2);
    return true;
}

/* [id, [field, value ...]] */
static bool take_message(struct bytes *in, struct bytes *ret_id, struct bytes *ret_body)
{
    struct head h;
    struct bytes name;
    if (!take_head(in, &h) || !take_text(in, ret_id) || !take_head(in, &h))
        return false;
    for (int64_t i = 0; i < h.n; i += 2) {
        if (!take_text(in, &name) || !take_text(in, ret_body))
            return false;
    }
    return true;
}

/* [[topic, [message ...]]]; none: nil */
static bool take_messages(struct queue_conn *c, struct bytes *in, uint64_t count)
{
    static struct {
        struct bytes id, body;
    } m[QUEUE_PULL_MAX];
    if (count > QUEUE_PULL_MAX)
        queue_fail("more than was asked for", BYTES_NONE);
    for (uint64_t i = 0; i < count; i++) {
        if (!take_message(in, &m[i].id, &m[i].body))
            return false;
    }
    queue_print(&c->out, "*%u\r\n$4\r\nXACK\r\n", 3 + (unsigned)count);
    add_word(&c->out, bytes_from(queue_options.topic));
    add_word(&c->out, bytes_from(queue_options.group));
    for (uint64_t i = 0; i < count; i++) {
        add_word(&c->out, m[i].id);
        queue_delivered(c, m[i].body);
    }
    return true;
}

static size_t take(struct queue_conn *c, struct bytes in)
{
    struct bytes rest = in, topic;
    struct head h;
    if (!c->consumes) {
        if (!take_text(&rest, &topic))
            return 0;
        queue_acked(c, 1);
        return in.len - rest.len;
    }
    if (!take_head(&rest, &h))
        return 0;
    if (h.type == ':') /* of XACK */
        return in.len - rest.len;
    if (h.n > 0 && (!take_head(&rest, &h) || !take_text(&rest, &topic) || !take_head(&rest, &h) ||
                    !take_messages(c, &rest, (uint64_t)h.n)))
        return 0;
    queue_pulled(c);
    return in.len - rest.len;
}

const struct queue_protocol queue_resp = { .name = "resp", .publish = publish, .pull = pull, .take = take };
