/* convert: what a configuration of another program says, on its way to a weir.yaml. The readers
 * (convert_nginx.c, convert_haproxy.c) fill a struct conv; convert.c writes it. All memory is in its arena;
 * everything is kept in the order in which it was added. Main thread. */
#pragma once
#include "base/arena.h"
#include "base/bytes.h"
#include "base/diag.h"
#include "base/err.h"

#define CONV_FILE_BYTES_MAX (4u << 20)
#define CONV_BYTES_MAX (256u << 20)

/* A key of a YAML mapping; value is YAML, on one line. */
struct conv_setting {
    struct conv_setting *next;
    struct bytes key, value;
};

struct conv_server {
    struct conv_server *next;
    struct bytes address;
    uint64_t weight;
    bool backup;
};

struct conv_service {
    struct conv_service *next;
    struct bytes name;
    struct conv_server *servers;
    struct conv_setting *settings;
    bool used;
};

struct conv_route {
    struct conv_route *next;
    struct bytes match;   /* YAML */
    struct bytes service; /* empty: a filter answers */
    struct conv_setting *settings;
    unsigned line;
};

struct conv_listen {
    struct conv_listen *next;
    struct bytes address;
    struct conv_setting *settings;
};

/* A line that was not converted. */
struct conv_miss {
    struct conv_miss *next;
    struct bytes file;
    unsigned line;
    struct bytes text, why;
};

struct conv {
    struct arena arena;
    struct bytes path; /* of the file */
    struct conv_listen *listens;
    struct conv_setting *settings, *client;
    struct conv_route *routes;
    struct conv_service *services;
    struct conv_miss *misses;
};

/* A file's text, NUL behind it. ERR_CONF, with words. */
err conv_read(struct conv *c, const char *path, struct bytes *ret_text, struct diag *reterr) CHECK_RESULT;
void *conv_get(struct conv *c, size_t size);
struct bytes conv_text(struct conv *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As a YAML scalar, quoted where that is needed. */
struct bytes conv_quote(struct conv *c, struct bytes text);
/* The same for a text that has no variables here, where weir knows some: `$` is doubled. */
struct bytes conv_plain(struct conv *c, struct bytes text);

/* In small letters (ASCII). */
struct bytes conv_lower(struct conv *c, struct bytes text);

/* Replaces what stands under that key already. */
void conv_set(struct conv *c, struct conv_setting **list, const char *key, struct bytes value);
const struct conv_setting *conv_setting_get(const struct conv_setting *list, const char *key);
/* Into a flow mapping under key: {a: b} becomes {a: b, name: value}. What is there already stays. */
void conv_set_in(struct conv *c, struct conv_setting **list, const char *key, struct bytes name,
                 struct bytes value);
/* Finds or adds. */
struct conv_service *conv_service(struct conv *c, struct bytes name);
struct conv_service *conv_service_find(struct conv *c, struct bytes name);
void conv_server(struct conv *c, struct conv_service *s, struct bytes address, uint64_t weight, bool backup);
struct conv_route *conv_route(struct conv *c, struct bytes match, unsigned line);
struct conv_listen *conv_listen(struct conv *c, struct bytes address, const char *kind);
void conv_miss(struct conv *c, struct bytes file, unsigned line, struct bytes text, const char *why);

/* Is there such a filter, balancer, or service module in this weir? */
bool conv_knows(const char *module);
/* Is there such a setting, named from the root ("services.servers.weight")? */
bool conv_has(const char *setting);
/* "Nr/s" and the like in weir's words; 10s, 500 (milliseconds or what `unit` says), 1m, 1h30m. Empty: not
 * one. */
struct bytes conv_duration(struct conv *c, struct bytes text, const char *unit);
/* The same length of path for a search expression, as a match of the whole path. Empty: that cannot be said.
 * nocase: letters of both cases. */
struct bytes conv_regex(struct conv *c, struct bytes re, bool nocase);
/* {path: P} for hosts (YAML list items joined by ", "; empty: any), as short as it can be. Empty: this weir
 * cannot ask for that. */
struct bytes conv_match(struct conv *c, struct bytes hosts, unsigned hosts_count, const char *key,
                        struct bytes value, struct bytes more);

err convert_nginx(struct conv *c, struct bytes text, struct diag *reterr) CHECK_RESULT;
err convert_haproxy(struct conv *c, struct bytes text, struct diag *reterr) CHECK_RESULT;
