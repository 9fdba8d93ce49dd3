/* weir's API: POST of one message, or of several at once. */
#include "bench/queue.h"

static void publish(struct queue_conn *c, const char *body)
{
    static struct queue_buffer json;
    const unsigned messages = queue_options.messages;
    json.len = 0;
    if (messages > 1)
        queue_add(&json, BYTES("{\"messages\":["));
    for (unsigned i = 0; i < messages; i++)
        queue_print(&json, "%s{\"body\":\"%.*s\"}", i ? "," : "", (int)queue_options.body_bytes, body);
    if (messages > 1)
        queue_add(&json, BYTES("]}"));
    queue_print(&c->out,
                "POST /v1/topics/%s/messages HTTP/1.1\r\nHost: weir\r\nAuthorization: Bearer %s\r\n"
                "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                queue_options.topic, queue_options.token, json.len);
    queue_add(&c->out, (struct bytes){ json.at, json.len });
}

static size_t take(struct queue_conn *c, struct bytes in)
{
    uint64_t length = UINT64_MAX;
    struct bytes rest = in, line = queue_line(rest);
    if (line.ptr && !bytes_starts(line, BYTES("HTTP/1.1 20")))
        queue_fail("the answer:", in);
    while (line.ptr && line.len) {
        const struct bytes name = BYTES("content-length:");
        if (line.len > name.len && bytes_eq_nocase((struct bytes){ line.ptr, name.len }, name))
            (void)bytes_to_u64(bytes_trim(bytes_skip(line, name.len)), &length);
        rest = bytes_skip(rest, line.len + 2);
        line = queue_line(rest);
    }
    if (!line.ptr)
        return 0;
    rest = bytes_skip(rest, 2);
    if (length == UINT64_MAX)
        queue_fail("an answer without a length:", in);
    if (rest.len < length)
        return 0;
    queue_acked(c, queue_options.messages);
    return in.len - rest.len + length;
}

const struct queue_protocol queue_http = { .name = "http", .publish = publish, .take = take };
