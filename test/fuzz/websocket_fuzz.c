/* websocket: a stream followed whole and followed in pieces comes out the same, takes no more than it was
 * given, and stands at a boundary exactly where a frame begins; a head that was read is written the same
 * again. */
#include "fuzz.h"
#include "proto/websocket.h"

struct followed {
    size_t taken, controls;
    uint64_t messages;
    unsigned code;
    bool failed, closed;
};

static void check_boundary(struct bytes rest)
{
    struct websocket_head h;
    char out[WEBSOCKET_HEAD_BYTES_MAX];
    if (websocket_read_head(rest, &h))
        return;
    fuzz_check(h.size <= rest.len && h.size <= sizeof out);
    fuzz_check(
        bytes_eq((struct bytes){ out, websocket_put_head(out, &h) }, (struct bytes){ rest.ptr, h.size }));
}

static struct followed follow(struct bytes in, struct websocket_stream s, size_t piece)
{
    struct followed f = { 0 };
    size_t end = 0;
    bool wants = false;
    while (f.taken < in.len && !f.failed && !f.closed && !(wants && end == in.len)) {
        end = in.len - end < piece ? in.len : end + piece;
        wants = false;
        while (f.taken < end && !f.failed && !f.closed && !wants) {
            struct websocket_step step;
            if (websocket_at_boundary(&s))
                check_boundary(bytes_skip(in, f.taken));
            websocket_follow(&s, (struct bytes){ in.ptr + f.taken, end - f.taken }, &step);
            fuzz_check(step.kind == WEBSOCKET_FAILS || step.kind == WEBSOCKET_WANTS || step.n > 0);
            wants = step.kind == WEBSOCKET_WANTS;
            f.failed = step.kind == WEBSOCKET_FAILS;
            if (f.failed || wants) {
                f.code = f.failed ? step.code : 0;
                continue;
            }
            fuzz_check(step.n <= end - f.taken);
            f.taken += step.n;
            f.messages += step.messages;
            f.controls += step.kind == WEBSOCKET_CONTROL;
            f.closed = s.closed;
        }
    }
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const struct websocket_stream s = { .from_client = data[0] & 1,
                                        .extended = data[0] & 2,
                                        .message_bytes_max = data[0] & 4 ? data[0] : 0 };
    const size_t piece = data[1] % 31 + 1u;
    const struct bytes in = { (const char *)data + 2, size - 2 };
    const struct followed whole = follow(in, s, in.len ? in.len : 1);
    const struct followed cut = follow(in, s, piece);
    fuzz_check(whole.taken == cut.taken && whole.controls == cut.controls && whole.messages == cut.messages);
    fuzz_check(whole.failed == cut.failed && whole.closed == cut.closed && whole.code == cut.code);
    return 0;
}
