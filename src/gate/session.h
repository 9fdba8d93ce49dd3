/* session: what the `session` filter knows of a client while its request runs: an id and values by name.
 *
 *      ledger ─▶ filter/session.c: x->session ─▶ $session.user, ${session.user} of the access log,
 *                     ▲                          `hash by session`, the server that it stays at, headers
 *                     └── X-Session-Set, -Remove, -End, -New-Id of the server's answer (session_change)
 *
 * Names are letters, digits, - and _; `id` is none. What weir itself keeps begins with an @, which no name
 * can: @made (milliseconds since 1970), @server/SERVICE (the one that the session stays at).
 * In header fields values are percent-encoded where they have to be (session_encode), so that any bytes will
 * do. All of it lives in the exchange's arena; the exchange's fiber. Pure. */
#pragma once
#include "base/arena.h"
#include "gate/exchange.h"
#include "gate/random_id.h"

#define SESSION_ID_BYTES RANDOM_ID_BYTES
#define SESSION_NAME_BYTES_MAX 64
#define SESSION_SETS_MAX 32 /* of one answer; as many removals */
#define SESSION_MADE BYTES("@made")

struct session_value {
    struct bytes name, value;
};

struct session {
    struct bytes id; /* empty: there is no session */
    struct session_value *values;
    uint32_t count, count_max;
};

bool session_name_is_good(struct bytes name);
/* ptr NULL: there is none. */
struct bytes session_find(const struct session *s, struct bytes name);
/* Sets or adds one; borrows both texts. ERR_LIMIT: the arena has no more. */
err session_put(struct session *s, struct arena *a, struct bytes name, struct bytes value) CHECK_RESULT;
void session_take(struct session *s, struct bytes name);

/* $session.NAME: the id, or a value; empty: the request has no session, or that no such value. */
struct bytes session_variable(const struct exchange *x, struct bytes name);
/* The address of the server that it stays at; empty: none of that service. s may be NULL. */
struct bytes session_server(const struct session *s, struct bytes service);
/* The name that it is kept under. ptr NULL: the arena has no more. */
struct bytes session_server_name(struct bytes service, struct arena *a);

/* All but visible ASCII, and the %, become %HH. ptr NULL: the arena has no more. */
struct bytes session_encode(struct bytes value, struct arena *a);
/* A % without two digits behind it stands for itself. ptr NULL as above. */
struct bytes session_decode(struct bytes text, struct arena *a);

/* ---- header fields */

/* Takes out every field whose name is prefix and something behind it, _ for - as well (servers that make
 * variables of fields cannot tell the two apart). Returns how many. */
unsigned session_strip(struct http_fields *f, struct bytes prefix);

/* What a server's answer asks for. */
struct session_change {
    struct session_value sets[SESSION_SETS_MAX];
    struct bytes removes[SESSION_SETS_MAX];
    unsigned sets_count, removes_count;
    bool end, new_id;
    const char *wrong; /* what cannot be done, in words; NULL: nothing */
};
/* Reads them; does not take them out. ERR_LIMIT: the arena has no more. */
err session_change_read(const struct http_fields *f, struct bytes prefix, struct arena *a,
                        struct session_change *ret_change) CHECK_RESULT;
/* What names and values of s take when c is done. */
size_t session_bytes_after(const struct session *s, const struct session_change *c);
