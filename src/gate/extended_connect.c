#include "gate/extended_connect.h"

#include "base/base64.h"
#include "base/hash.h"

#define KEY_TEXT_BYTES 25

err extended_connect_begin(struct exchange *x)
{
    uint64_t random[2] = { random_u64(), random_u64() };
    char *text = arena_get(&x->arena, KEY_TEXT_BYTES);
    if (!text)
        return ERR_LIMIT;
    struct bytes key = { text, base64_encode((struct bytes){ (const char *)random, sizeof random }, text) };
    http_fields_remove(&x->request.fields, BYTES("sec-websocket-key"));
    return http_fields_add(&x->request.fields, &x->arena, BYTES("sec-websocket-key"), key);
}

void extended_connect_answer(struct exchange *x)
{
    struct http_response *r = &x->response;
    if (x->tunnel) {
        r->status = 200;
        r->has_content_length = false;
        http_fields_remove(&r->fields, BYTES("sec-websocket-accept")); /* to a key that was ours */
    } else if (r->status / 100 == 2) {
        exchange_answer(x, 502, BYTES("text/plain; charset=utf-8"),
                        BYTES("502 Bad Gateway: the server did not take it for a WebSocket\n"),
                        BYTES("websocket"));
    }
}
