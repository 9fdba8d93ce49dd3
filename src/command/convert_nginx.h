/* convert_nginx: an nginx.conf as a tree. Main thread; in the arena of a struct conv. */
#pragma once
#include "command/convert.h"

#define NGINX_WORDS_MAX 64

struct directive {
    struct directive *next, *parent;
    struct directive *first; /* of its block */
    struct bytes name;
    struct bytes args[NGINX_WORDS_MAX];
    unsigned count; /* of args */
    struct bytes file;
    unsigned line;
    bool block;
    bool done; /* converted, or nothing to convert */
};

/* include is followed. ERR_CONF. */
err nginx_parse(struct conv *c, struct bytes text, struct directive *root, struct diag *reterr) CHECK_RESULT;

static inline bool nginx_is(const struct directive *d, const char *name)
{
    return bytes_eq(d->name, bytes_from(name));
}

/* The first of that name in the block; then those after it. NULL: none. */
struct directive *nginx_in(struct directive *block, const char *name);
struct directive *nginx_next(struct directive *d);
/* The same, in the innermost block around that has one; marked as done. */
struct directive *nginx_find(struct directive *block, const char *name);
/* Its i-th word; empty: it has none. */
struct bytes nginx_arg(const struct directive *d, unsigned i);
/* "weight" of weight=5; empty: it has none. */
struct bytes nginx_option(const struct directive *d, const char *name);
bool nginx_flag(const struct directive *d, const char *word);
/* As it stood there, about. */
struct bytes nginx_text(struct conv *c, const struct directive *d);

/* stream { }: TCP and UDP services. */
void nginx_stream(struct conv *c, struct directive *stream);
void nginx_upstream(struct conv *c, struct directive *upstream, const char *port);
/* The service that an address or an upstream's name stands for; host: of its Host field, empty: the client's.
 */
struct conv_service *nginx_service(struct conv *c, struct bytes target, struct bytes host, const char *port);
/* Where a listen directive listens, in weir's words. */
struct bytes nginx_address(struct conv *c, struct bytes said, const char *port);

/* http { }: routes. */
void nginx_http(struct conv *c, struct directive *http);
/* What a location says besides where requests go: fields, limits, addresses, compression. */
void nginx_route_settings(struct conv *c, struct directive *loc, struct conv_route *r);
/* The Host field that its servers get: *ret_host stays, is another, or is empty for the client's. */
void nginx_proxy_host(struct conv *c, struct directive *loc, struct bytes *ret_host);
/* With weir's variables; false: there is one that weir has not. groups: what $1 is to begin with ("$", or
 * "${capture.g"); NULL: there are none. */
bool nginx_translate(struct conv *c, struct bytes text, const char *groups, struct bytes *ret);
/* Not this one after all, and why. */
void nginx_give_up(struct conv *c, struct directive *d, const char *why);
