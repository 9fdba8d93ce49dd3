/* session_store: sessions in the ledger (ledger/kv.h): each is a hash with a time to live, under the keys'
 * prefix and its id, so that servers can read it over RESP as well (`HGETALL session:7f3a...`).
 *
 * A sliding time to live begins again when the session is read, but no more than sixteen times in its length:
 * reading writes nothing else. Values are set one by one: what two requests of a session set at the same
 * time is kept, and a session that has ended does not come back by it.
 *
 * Every call waits for the ledger: from an exchange's fiber. ERR_UNAVAILABLE: it does not serve; ERR_LIMIT:
 * it has no room, or the arena has none, or a session is larger than it may be. */
#pragma once
#include "gate/session.h"

struct session_store {
    struct bytes keys; /* their prefix */
    uint64_t ttl_ms;
    bool sliding;
    size_t bytes_max; /* of a session's names and values */
};

/* *ret_found false: there is none of that id; s then has no id. */
err session_store_load(const struct session_store *st, struct arena *a, struct bytes id, struct session *s,
                       bool *ret_found) CHECK_RESULT;
/* s is new. old: the id of one that ends with it; may be empty. */
err session_store_make(const struct session_store *st, struct arena *a, const struct session *s,
                       struct bytes old) CHECK_RESULT;
/* sets and removes of c. *ret_there false: it has ended meanwhile, and nothing was done. */
err session_store_change(const struct session_store *st, struct arena *a, struct bytes id,
                         const struct session_change *c, bool *ret_there) CHECK_RESULT;
err session_store_end(const struct session_store *st, struct arena *a, struct bytes id) CHECK_RESULT;
/* All that s holds by now goes on under another id, for as long as it had; s->id is that. *ret_there false:
 * as above. */
err session_store_move(const struct session_store *st, struct arena *a, struct session *s, struct bytes id,
                       bool *ret_there) CHECK_RESULT;

/* What cookies are signed with, where no file says it: made once for a ledger, and kept in it. offered: what
 * it is to be if there is none. In the arena. */
#define SESSION_SECRET_BYTES 64
err session_store_secret(struct arena *a, struct bytes offered, struct bytes *ret_secret) CHECK_RESULT;
