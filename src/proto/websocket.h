/* websocket: RFC 6455 as bytes: the handshake's key, frames, and one direction of a connection followed frame
 * by frame.
 *
 *      frame    [ FIN RSV opcode | MASK length | longer length | mask ] [ payload ]
 *      stream   frame │ frame │ frame ...      between two frames, and nowhere else, somebody in the middle
 * may put a control frame of its own
 *
 * A follower looks at heads and lets payloads pass: what it costs does not grow with the messages' length. It
 * keeps no bytes: what is not whole stays with its caller. Pure; one thread. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

/* ---- the handshake (RFC 6455 4) ---- */

#define WEBSOCKET_KEY_BYTES 24
#define WEBSOCKET_ACCEPT_BYTES 28

/* 4.2.1: 16 bytes in base64. */
bool websocket_key_is_valid(struct bytes key);
/* From 16 random bytes. */
void websocket_make_key(const unsigned char random[16], char ret_key[WEBSOCKET_KEY_BYTES]);
/* 4.2.2: what the server has to say to that key. */
void websocket_accept_of(struct bytes key, char ret_accept[WEBSOCKET_ACCEPT_BYTES]);

/* ---- frames (5.2) ---- */

/*    id            code, and whether it is a control frame (5.5) */
#define WEBSOCKET_OPCODE_LIST(X) \
    X(CONTINUATION, 0x0)         \
    X(TEXT, 0x1)                 \
    X(BINARY, 0x2)               \
    X(CLOSE, 0x8)                \
    X(PING, 0x9)                 \
    X(PONG, 0xa)

enum websocket_opcode {
#define X(id, code) WEBSOCKET_##id = code,
    WEBSOCKET_OPCODE_LIST(X)
#undef X
};

/* 7.4.1, and IANA's registry of close codes. Those marked false are never sent.
 *    id                 code  sent   what the metric calls it */
#define WEBSOCKET_CODE_LIST(X)                      \
    X(NORMAL, 1000, true, "normal")                 \
    X(GOING_AWAY, 1001, true, "going_away")         \
    X(PROTOCOL_ERROR, 1002, true, "protocol_error") \
    X(UNSUPPORTED, 1003, true, "unsupported")       \
    X(NONE, 1005, false, "none")                    \
    X(ABNORMAL, 1006, false, "abnormal")            \
    X(BAD_DATA, 1007, true, "bad_data")             \
    X(POLICY, 1008, true, "policy")                 \
    X(TOO_BIG, 1009, true, "too_big")               \
    X(EXTENSION, 1010, true, "extension")           \
    X(INTERNAL_ERROR, 1011, true, "internal_error") \
    X(RESTART, 1012, true, "restart")               \
    X(TRY_LATER, 1013, true, "try_later")           \
    X(BAD_GATEWAY, 1014, true, "bad_gateway")

enum websocket_code {
#define X(id, code, sent, name) WEBSOCKET_CODE_##id = code,
    WEBSOCKET_CODE_LIST(X)
#undef X
};

#define WEBSOCKET_HEAD_BYTES_MAX 14
#define WEBSOCKET_CONTROL_PAYLOAD_MAX 125
#define WEBSOCKET_CONTROL_BYTES_MAX (WEBSOCKET_HEAD_BYTES_MAX + WEBSOCKET_CONTROL_PAYLOAD_MAX)
#define WEBSOCKET_REASON_BYTES_MAX (WEBSOCKET_CONTROL_PAYLOAD_MAX - 2)

struct websocket_head {
    uint64_t length; /* of the payload */
    uint8_t opcode;  /* 4 bits */
    uint8_t rsv;     /* RSV1 to RSV3, 3 bits */
    bool fin;
    bool masked;
    uint8_t size; /* bytes of the head itself */
    unsigned char mask[4];
};

/* ERR_AGAIN: not all of it is there. ERR_SYNTAX: a length that is longer than it needs to be, or above 2^63.
 */
err websocket_read_head(struct bytes in, struct websocket_head *ret_head) CHECK_RESULT;
/* Writes at most WEBSOCKET_HEAD_BYTES_MAX; size is not looked at. */
size_t websocket_put_head(char *out, const struct websocket_head *h);
/* 5.3, in place: masks and unmasks. at: how many bytes of the payload came before. */
void websocket_mask(char *data, size_t n, const unsigned char mask[4], size_t at);
/* A whole control frame, at most WEBSOCKET_CONTROL_BYTES_MAX. mask NULL: none (from a server). */
size_t websocket_put_control(char *out, enum websocket_opcode opcode, struct bytes payload,
                             const unsigned char *mask);
/* A Close; reason is cut to what fits, at a character's boundary. */
size_t websocket_put_close(char *out, unsigned code, struct bytes reason, const unsigned char *mask);
/* May a Close carry it (7.4)? */
bool websocket_code_is_valid(unsigned code);
/* The payload of a Close, unmasked: its code, WEBSOCKET_CODE_NONE when it is empty. OK, or the code that an
 * endpoint fails the connection with: *ret_code is then that. */
err websocket_read_close(struct bytes payload, unsigned *ret_code) CHECK_RESULT;

/* ---- a direction, followed ---- */

struct websocket_stream {
    uint64_t left;              /* of the payload that is passing */
    uint64_t message_bytes;     /* of the message that is passing: payloads as far as they were announced */
    uint64_t message_bytes_max; /* 0: no bound */
    bool from_client;           /* frames are masked (5.1) */
    bool extended;              /* an extension was agreed on: RSV bits may be set on data */
    bool in_message;            /* fragments are still to come (5.4) */
    bool closed;                /* a Close has passed: what comes now is not looked at (5.5.1) */
};

enum websocket_step_kind {
    WEBSOCKET_PASSES,  /* n bytes of data frames; messages: so many messages began their last frame in them */
    WEBSOCKET_CONTROL, /* n bytes: one whole control frame */
    WEBSOCKET_WANTS,   /* a head or a control frame is not whole: nothing was taken */
    WEBSOCKET_FAILS    /* code says why; nothing was taken */
};

struct websocket_step {
    enum websocket_step_kind kind;
    unsigned code;     /* of WEBSOCKET_FAILS; of a Close */
    size_t n;          /* bytes taken */
    uint32_t messages; /* of WEBSOCKET_PASSES */
    enum websocket_opcode opcode;
    struct bytes payload; /* of a control frame, unmasked; points into text */
    char text[WEBSOCKET_CONTROL_PAYLOAD_MAX];
};

/* Is the next byte a frame's first? */
static inline bool websocket_at_boundary(const struct websocket_stream *s)
{
    return s->left == 0;
}

/* Takes what `in` begins with: as many data frames as stand there, or one control frame. in is not empty, and
 * s is not closed. */
void websocket_follow(struct websocket_stream *s, struct bytes in, struct websocket_step *ret_step);
