/* jwt_source: where a route's keys come from, and how they change while weir runs.
 *
 *      file, secret   read with the configuration
 *      service, path  asked for by a fiber of the control worker: at once, then every `refresh`, sooner when
 * a token names a key that nobody knows; after a failure with growing pauses
 *
 *   control worker: fetch ─▶ parse ─▶ publish (version + 1)        each worker: jwt_reader, looks at the
 * version │ fails: the old keys stay                   (one relaxed load), takes the new set when it ▼ pause,
 * twice as long each time             has changed
 *
 * A source is made once for a generation (gate/once.h). Without keys nothing is let through. */
#pragma once
#include "core/conf.h"
#include "gate/filter.h"
#include "gate/jwt_keys.h"

struct jwt_source_conf {
    struct bytes file, secret_file;
    struct bytes service, path, host; /* of a key set that is fetched */
    uint64_t refresh_ms, timeout_ms;
    bool secrets; /* oct keys of `file` count */
};

struct jwt_source;

/* Reads files; asks nobody yet. conf lies still as long as the source lives. */
err jwt_source_open(const struct jwt_source_conf *conf, struct jwt_source **ret_source,
                    struct diag *reterr) CHECK_RESULT;
void jwt_source_close(struct jwt_source *s);
/* On the control worker, once for each generation: begins to fetch, in g. scope: the route, for the log;
 * on_fetch is told of each fetch that has ended, on that worker. Does nothing where nothing is to be fetched.
 */
struct jwt_fetcher;
err jwt_fetcher_start(struct jwt_source *s, struct gate *g, struct bytes scope,
                      void (*on_fetch)(void *arg, bool fine), void *arg,
                      struct jwt_fetcher **ret_fetcher) CHECK_RESULT;
/* Its fiber ends by itself soon; s may be closed at once. NULL is allowed. */
void jwt_fetcher_stop(struct jwt_fetcher *f);

/* What one worker has of a source. */
struct jwt_reader {
    struct jwt_source *source;
    struct jwt_keys *keys; /* NULL: there are none yet */
    uint64_t version;
};
void jwt_reader_open(struct jwt_reader *r, struct jwt_source *s);
void jwt_reader_close(struct jwt_reader *r);
/* Takes what is newest. */
void jwt_reader_look(struct jwt_reader *r);
/* A key is missing: has the source asked for again, unless it was a moment ago, and waits for what comes of
 * it, a few seconds at most. From a fiber. true: there is something new. */
bool jwt_reader_want(struct jwt_reader *r);

/* How long to wait before the next fetch, failures in a row and a random number given. Pure. */
uint64_t jwt_fetch_pause_ms(uint64_t refresh_ms, unsigned failures, uint64_t random);
