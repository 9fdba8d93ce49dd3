/* JetStream: PUB with a reply, whose answer is the acknowledgement; a pull consumer, and +ACK of each
 * message. */
#include <stdio.h>
#include <unistd.h>

#include "bench/queue.h"

static void greet(struct queue_conn *c)
{
    queue_print(&c->out,
                "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"protocol\":1}\r\nSUB "
                "_INBOX.%d.%u 1\r\n",
                getpid(), c->number);
}

static void publish(struct queue_conn *c, const char *body)
{
    queue_print(&c->out, "PUB %s _INBOX.%d.%u %u\r\n", queue_options.topic, getpid(), c->number,
                queue_options.body_bytes);
    queue_add(&c->out, (struct bytes){ body, queue_options.body_bytes });
    queue_add(&c->out, BYTES("\r\n"));
}

static void pull(struct queue_conn *c)
{
    char ask[100];
    const int len = snprintf(ask, sizeof ask, "{\"batch\":%u,%s}", queue_options.pull,
                             queue_options.waits ? "\"expires\":1000000000" : "\"no_wait\":true");
    queue_print(&c->out, "PUB $JS.API.CONSUMER.MSG.NEXT.%s.%s _INBOX.%d.%u %d\r\n%s\r\n", queue_options.topic,
                queue_options.group, getpid(), c->number, len, ask);
}

/* MSG subject sid [reply] bytes, HMSG subject sid [reply] head-bytes bytes */
static size_t take_message(struct queue_conn *c, struct bytes in, struct bytes line)
{
    const bool has_head = *line.ptr == 'H';
    struct bytes words[7], rest = line;
    unsigned count = 0;
    uint64_t bytes;
    while (count < 7 && bytes_split(&rest, ' ', &words[count]))
        count++;
    if (count < 4 || !bytes_to_u64(words[count - 1], &bytes))
        queue_fail("the answer:", line);
    const struct bytes body = bytes_skip(in, line.len + 2);
    if (body.len < bytes + 2)
        return 0;
    const struct bytes text = { body.ptr, bytes };
    if (!c->consumes) {
        if (has_head || !memmem(text.ptr, text.len, "\"seq\":", 6))
            queue_fail("the acknowledgement:", text);
        queue_acked(c, 1);
    } else if (has_head) { /* the pull's end: 404, 408 */
        queue_pulled(c);
    } else {
        if (count != 5)
            queue_fail("the message:", line);
        queue_print(&c->out, "PUB %.*s 4\r\n+ACK\r\n", BYTES_ARG(words[3]));
        queue_delivered(c, text);
        if (++c->pulled == queue_options.pull)
            queue_pulled(c);
    }
    return line.len + 2 + bytes + 2;
}

static size_t take(struct queue_conn *c, struct bytes in)
{
    const struct bytes line = queue_line(in);
    if (!line.ptr)
        return 0;
    if (bytes_starts(line, BYTES("MSG ")) || bytes_starts(line, BYTES("HMSG ")))
        return take_message(c, in, line);
    if (bytes_eq(line, BYTES("PING")))
        queue_add(&c->out, BYTES("PONG\r\n"));
    else if (!bytes_starts(line, BYTES("INFO ")) && !bytes_eq(line, BYTES("PONG")) &&
             !bytes_eq(line, BYTES("+OK")))
        queue_fail("the answer:", line);
    return line.len + 2;
}

const struct queue_protocol queue_nats = {
    .name = "nats", .greet = greet, .publish = publish, .pull = pull, .take = take
};
