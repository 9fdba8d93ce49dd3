#include "base/err.h"

#include <errno.h>

static const char *const texts[] = {
#define X(name, text) text,
    ERR_LIST(X)
#undef X
};

static const char *const names[] = {
#define X(name, text) #name,
    ERR_LIST(X)
#undef X
};

const char *err_text(err e)
{
    return (unsigned)e < ERR_COUNT ? texts[e] : "unknown error";
}

const char *err_name(err e)
{
    return (unsigned)e < ERR_COUNT ? names[e] : "ERR_UNKNOWN";
}

err err_from_errno(int number)
{
    switch (number) {
    case 0:
        return OK;
    case EAGAIN:
        return ERR_AGAIN;
    case ETIMEDOUT:
    case ETIME:
        return ERR_TIMEOUT;
    case EPIPE:
    case ECONNRESET:
    case ECONNABORTED:
    case ENOTCONN:
        return ERR_RESET;
    case ECONNREFUSED:
        return ERR_REFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case EADDRNOTAVAIL:
        return ERR_UNREACHABLE;
    case ECANCELED:
        return ERR_CANCELLED;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
        return ERR_LIMIT;
    case ENOMEM:
        return ERR_MEMORY;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EADDRINUSE:
        return ERR_IN_USE;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case ENOSYS:
    case EOPNOTSUPP:
    case EPROTONOSUPPORT:
    case EAFNOSUPPORT:
        return ERR_UNSUPPORTED;
    case EIO:
    case ENOSPC:
        return ERR_IO;
    default:
        return ERR_SYSTEM;
    }
}
