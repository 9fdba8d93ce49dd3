/* err: the one error type. OK is zero, so `if (e)` reads "if it failed".
 * Results come back through ret_ pointers, which are untouched when the function fails.
 * Words for people are in struct diag (base/diag.h), and only where a person waits for them. */
#pragma once

/*    name              text */
#define ERR_LIST(X)                                   \
    X(OK, "ok")                                       \
    X(ERR_AGAIN, "more input is needed")              \
    X(ERR_TIMEOUT, "deadline passed")                 \
    X(ERR_CLOSED, "closed by the peer")               \
    X(ERR_RESET, "connection reset")                  \
    X(ERR_REFUSED, "connection refused")              \
    X(ERR_UNREACHABLE, "host or network unreachable") \
    X(ERR_CANCELLED, "cancelled")                     \
    X(ERR_LIMIT, "a limit is reached")                \
    X(ERR_MEMORY, "out of memory")                    \
    X(ERR_SYNTAX, "malformed")                        \
    X(ERR_PROTOCOL, "the peer broke the protocol")    \
    X(ERR_UNSUPPORTED, "not supported here")          \
    X(ERR_NOT_FOUND, "not found")                     \
    X(ERR_EXISTS, "exists already")                   \
    X(ERR_IN_USE, "address in use")                   \
    X(ERR_DENIED, "permission denied")                \
    X(ERR_IO, "input or output failed")               \
    X(ERR_CONF, "the configuration is wrong")         \
    X(ERR_UNAVAILABLE, "no server can take it")       \
    X(ERR_SYSTEM, "the operating system refused")

enum err_code {
#define X(name, text) name,
    ERR_LIST(X)
#undef X
        ERR_COUNT
};

typedef enum err_code err;

#define CHECK_RESULT __attribute__((warn_unused_result))
/* A static text for people, never NULL. */
const char *err_text(err e);
/* "ERR_TIMEOUT" */
const char *err_name(err e);
/* What an errno value means to us; OK for 0, ERR_SYSTEM for those we do not name. */
err err_from_errno(int number);
