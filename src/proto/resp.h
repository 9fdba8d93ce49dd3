/* resp: RESP2 and RESP3, the protocol of Redis: commands of clients in, replies out.
 *
 *      *2\r\n $3\r\nGET\r\n $1\r\nk\r\n   or inline: GET k\r\n        ─▶ arguments
 *      +OK\r\n  :7\r\n  $1\r\nv\r\n  *2\r\n ...  %1\r\n ...  _\r\n   ◀─ heads, written one by one
 *
 * Pure: no I/O. What has been looked at is not looked at again when more of the same command arrives.
 * Source: redis.io/docs/latest/develop/reference/protocol-spec. Any thread. */
#pragma once
#include "base/arena.h"
#include "base/err.h"

/* ---- commands */

#define RESP_ARGS_MAX 4096
#define RESP_ARG_BYTES_MAX (1u << 20)
#define RESP_COMMAND_BYTES_MAX (RESP_ARG_BYTES_MAX + (256u << 10))
#define RESP_INLINE_BYTES_MAX (64u << 10)

/* Of who has not said the password yet, as Redis has it. */
#define RESP_STRANGER_ARGS_MAX 10
#define RESP_STRANGER_ARG_BYTES_MAX (16u << 10)

struct resp_limits {
    uint32_t args_max, arg_bytes_max; /* at most those above */
};
#define RESP_LIMITS ((struct resp_limits){ RESP_ARGS_MAX, RESP_ARG_BYTES_MAX })
#define RESP_STRANGER_LIMITS ((struct resp_limits){ RESP_STRANGER_ARGS_MAX, RESP_STRANGER_ARG_BYTES_MAX })

struct resp_arg {
    uint32_t at, len; /* from base on */
};

/* One command; zeroed before its first byte. */
struct resp_command {
    const char *base;      /* what the arguments lie in: the caller's bytes, or the arena's */
    struct resp_arg *args; /* the arena's */
    uint32_t count;        /* 0: an empty line; nothing is to be answered */
    uint32_t bytes;        /* of the whole command, when it is whole */
    /* the parser's own */
    uint32_t expected, need;
    const char *mistake; /* of ERR_SYNTAX: Redis' words, without "-ERR " */
};

static inline struct bytes resp_arg(const struct resp_command *c, uint32_t i)
{
    return (struct bytes){ c->base + c->args[i].at, c->args[i].len };
}

/* data: the command's bytes from its first on, as far as they have come (each call the same and more; they
 * may have moved). OK: it is whole, c->bytes long; its arguments live as long as data and the arena.
 * ERR_AGAIN: at least c->need bytes are wanted. ERR_SYNTAX: c->mistake. ERR_LIMIT: the arena is full. */
err resp_parse(struct resp_command *c, struct bytes data, const struct resp_limits *limits,
               struct arena *a) CHECK_RESULT;

/* ---- replies */

/* What each of these writes at most, but resp_line. Each returns the end of what it wrote at out. */
#define RESP_HEAD_BYTES_MAX 32

enum resp_protocol { RESP_2 = 2, RESP_3 = 3 };

/* A type and a count: '*' array, '$' bulk string (its bytes and RESP_END follow), '~' set, '>' push. */
char *resp_head(char *out, char type, uint64_t n);
/* A map of n pairs: in RESP2 an array of twice as many. */
char *resp_map(char *out, enum resp_protocol p, uint64_t n);
char *resp_int(char *out, int64_t value);
char *resp_null(char *out, enum resp_protocol p);
char *resp_null_array(char *out, enum resp_protocol p);
/* '+' or '-' with a text without CR or LF; what is none of those is written as a space. */
char *resp_line(char *out, char type, struct bytes text);
/* Bytes that resp_line writes. */
static inline size_t resp_line_bytes(struct bytes text)
{
    return text.len + 3;
}

#define RESP_END BYTES("\r\n")
