#include "proto/websocket.h"

#include "base/base64.h"
#include "base/sha1.h"
#include "base/utf8.h"

/* ---- the handshake ---- */

bool websocket_key_is_valid(struct bytes key)
{
    char raw[WEBSOCKET_KEY_BYTES];
    size_t len;
    return key.len == WEBSOCKET_KEY_BYTES && base64_decode(BASE64_STANDARD, key, raw, &len) == OK &&
           len == 16;
}

void websocket_make_key(const unsigned char random[16], char ret_key[WEBSOCKET_KEY_BYTES])
{
    base64_encode((struct bytes){ (const char *)random, 16 }, ret_key);
}

void websocket_accept_of(struct bytes key, char ret_accept[WEBSOCKET_ACCEPT_BYTES])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[WEBSOCKET_KEY_BYTES + sizeof guid - 1];
    unsigned char digest[SHA1_BYTES];
    const size_t len = key.len < WEBSOCKET_KEY_BYTES ? key.len : WEBSOCKET_KEY_BYTES;
    memcpy(text, key.ptr, len);
    memcpy(text + len, guid, sizeof guid - 1);
    sha1((struct bytes){ text, len + sizeof guid - 1 }, digest);
    base64_encode((struct bytes){ (const char *)digest, sizeof digest }, ret_accept);
}

/* ---- frames ---- */

static uint64_t load_be(const char *p, unsigned bytes)
{
    uint64_t x = 0;
    for (unsigned i = 0; i < bytes; i++)
        x = x << 8 | (unsigned char)p[i];
    return x;
}

static void store_be(char *p, uint64_t x, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (char)(x >> 8 * (bytes - 1 - i) & 0xff);
}

/* How many bytes of length follow the second byte. */
static unsigned length_bytes(unsigned seven)
{
    return seven == 126 ? 2 : seven == 127 ? 8 : 0;
}

err websocket_read_head(struct bytes in, struct websocket_head *ret_head)
{
    if (in.len < 2)
        return ERR_AGAIN;
    const unsigned char first = (unsigned char)in.ptr[0];
    const unsigned char second = (unsigned char)in.ptr[1];
    const unsigned more = length_bytes(second & 0x7f);
    struct websocket_head h = {
        .length = second & 0x7f,
        .opcode = first & 0xf,
        .rsv = first >> 4 & 7,
        .fin = first >> 7,
        .masked = second >> 7,
    };
    h.size = (uint8_t)(2 + more + (h.masked ? 4 : 0));
    if (in.len < h.size)
        return ERR_AGAIN;
    if (more) {
        h.length = load_be(in.ptr + 2, more);
        if (h.length < (more == 2 ? 126 : 65536) || h.length >> 63)
            return ERR_SYNTAX;
    }
    if (h.masked)
        memcpy(h.mask, in.ptr + 2 + more, 4);
    *ret_head = h;
    return OK;
}

size_t websocket_put_head(char *out, const struct websocket_head *h)
{
    const unsigned seven = h->length < 126 ? (unsigned)h->length : h->length < 65536 ? 126 : 127;
    const unsigned more = length_bytes(seven);
    out[0] = (char)((unsigned)h->fin << 7 | (unsigned)h->rsv << 4 | h->opcode);
    out[1] = (char)((unsigned)h->masked << 7 | seven);
    store_be(out + 2, h->length, more);
    if (!h->masked)
        return 2 + more;
    memcpy(out + 2 + more, h->mask, 4);
    return 2 + more + 4;
}

/* Sixteen bytes at a time: the compiler makes vectors of it. */
void websocket_mask(char *data, size_t n, const unsigned char mask[4], size_t at)
{
    unsigned char turned[16];
    for (unsigned i = 0; i < 16; i++)
        turned[i] = mask[(at + i) & 3];
    uint64_t key[2];
    memcpy(key, turned, 16);
    while (n >= 16) {
        uint64_t x[2];
        memcpy(x, data, 16);
        x[0] ^= key[0];
        x[1] ^= key[1];
        memcpy(data, x, 16);
        data += 16;
        n -= 16;
    }
    for (size_t i = 0; i < n; i++)
        data[i] = (char)((unsigned char)data[i] ^ turned[i]);
}

size_t websocket_put_control(char *out, enum websocket_opcode opcode, struct bytes payload,
                             const unsigned char *mask)
{
    struct websocket_head h = {
        .length = payload.len, .opcode = (uint8_t)opcode, .fin = true, .masked = mask
    };
    if (mask)
        memcpy(h.mask, mask, 4);
    size_t size = websocket_put_head(out, &h);
    if (payload.len)
        memcpy(out + size, payload.ptr, payload.len);
    if (mask)
        websocket_mask(out + size, payload.len, mask, 0);
    return size + payload.len;
}

size_t websocket_put_close(char *out, unsigned code, struct bytes reason, const unsigned char *mask)
{
    char payload[WEBSOCKET_CONTROL_PAYLOAD_MAX];
    size_t len = 2;
    store_be(payload, code, 2);
    while (reason.len) {
        uint32_t c;
        const size_t n = utf8_take(reason, &c);
        if (!n || len + n > sizeof payload)
            break;
        memcpy(payload + len, reason.ptr, n);
        len += n;
        reason = bytes_skip(reason, n);
    }
    return websocket_put_control(out, WEBSOCKET_CLOSE, (struct bytes){ payload, len }, mask);
}

bool websocket_code_is_valid(unsigned code)
{
    switch (code) {
#define X(id, number, sent, name) \
    case number:                  \
        return sent;
        WEBSOCKET_CODE_LIST(X)
#undef X
    default:
        return code >= 3000 && code <= 4999;
    }
}

err websocket_read_close(struct bytes payload, unsigned *ret_code)
{
    *ret_code = WEBSOCKET_CODE_NONE;
    if (!payload.len)
        return OK;
    const unsigned code = payload.len < 2 ? 0 : (unsigned)load_be(payload.ptr, 2);
    if (!websocket_code_is_valid(code)) {
        *ret_code = WEBSOCKET_CODE_PROTOCOL_ERROR;
        return ERR_SYNTAX;
    }
    struct bytes reason = bytes_skip(payload, 2);
    while (reason.len) {
        uint32_t c;
        const size_t n = utf8_take(reason, &c);
        if (!n) {
            *ret_code = WEBSOCKET_CODE_BAD_DATA;
            return ERR_SYNTAX;
        }
        reason = bytes_skip(reason, n);
    }
    *ret_code = code;
    return OK;
}

/* ---- a direction, followed ---- */

static bool is_control(unsigned opcode)
{
    return opcode & 8;
}

/* 5.1, 5.2, 5.4 and 5.5: what a frame may be where it stands. 0: nothing is wrong. */
static unsigned head_mistake(const struct websocket_stream *s, const struct websocket_head *h)
{
    const bool known =
        h->opcode <= WEBSOCKET_BINARY || (h->opcode >= WEBSOCKET_CLOSE && h->opcode <= WEBSOCKET_PONG);
    const bool control = is_control(h->opcode);
    if (!known || h->masked != s->from_client || (h->rsv && (control || !s->extended)))
        return WEBSOCKET_CODE_PROTOCOL_ERROR;
    if (control)
        return h->fin && h->length <= WEBSOCKET_CONTROL_PAYLOAD_MAX ? 0 : WEBSOCKET_CODE_PROTOCOL_ERROR;
    if ((h->opcode == WEBSOCKET_CONTINUATION) != s->in_message)
        return WEBSOCKET_CODE_PROTOCOL_ERROR;
    const uint64_t before = s->in_message ? s->message_bytes : 0;
    if (s->message_bytes_max && h->length > s->message_bytes_max - before)
        return WEBSOCKET_CODE_TOO_BIG;
    return h->length > UINT64_MAX - before ? WEBSOCKET_CODE_TOO_BIG : 0;
}

static void take_control(struct websocket_stream *s, struct bytes in, const struct websocket_head *h,
                         struct websocket_step *step)
{
    const size_t len = (size_t)h->length;
    if (in.len - h->size < len) {
        step->kind = WEBSOCKET_WANTS;
        return;
    }
    memcpy(step->text, in.ptr + h->size, len);
    if (h->masked)
        websocket_mask(step->text, len, h->mask, 0);
    step->payload = (struct bytes){ step->text, len };
    step->opcode = (enum websocket_opcode)h->opcode;
    step->kind = WEBSOCKET_CONTROL;
    if (h->opcode == WEBSOCKET_CLOSE) {
        if (websocket_read_close(step->payload, &step->code)) {
            step->kind = WEBSOCKET_FAILS;
            return;
        }
        s->closed = true;
    }
    step->n = h->size + len;
}

static void begin_data(struct websocket_stream *s, const struct websocket_head *h,
                       struct websocket_step *step)
{
    s->message_bytes = h->length + (s->in_message ? s->message_bytes : 0);
    s->in_message = !h->fin;
    s->left = h->length;
    step->messages += h->fin;
    step->n += h->size;
}

static void pass_payload(struct websocket_stream *s, size_t there, struct websocket_step *step)
{
    const size_t n = s->left < there ? (size_t)s->left : there;
    s->left -= n;
    step->n += n;
}

void websocket_follow(struct websocket_stream *s, struct bytes in, struct websocket_step *ret_step)
{
    struct websocket_step *step = ret_step;
    step->kind = WEBSOCKET_PASSES;
    step->n = 0;
    step->messages = 0;
    pass_payload(s, in.len, step);
    while (step->n < in.len) {
        const struct bytes rest = bytes_skip(in, step->n);
        struct websocket_head h;
        const err e = websocket_read_head(rest, &h);
        const unsigned mistake = e == OK          ? head_mistake(s, &h)
                                 : e == ERR_AGAIN ? 0
                                                  : WEBSOCKET_CODE_PROTOCOL_ERROR;
        const bool passes = e == OK && !mistake && !is_control(h.opcode);
        if (passes) {
            begin_data(s, &h, step);
            pass_payload(s, in.len - step->n, step);
            continue;
        }
        if (step->n) /* what stands before it first */
            return;
        step->kind = mistake ? WEBSOCKET_FAILS : WEBSOCKET_WANTS;
        step->code = mistake;
        if (e == OK && !mistake)
            take_control(s, rest, &h, step);
        return;
    }
}
