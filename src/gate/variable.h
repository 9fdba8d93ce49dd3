/* variable: texts of a configuration with parts that each request fills in.
 *
 *      https://$host/users/${capture.id}?from=$client          "$$" is a $
 *
 * $word ends where no letter or _ follows; one that takes a name goes on behind its dot: letters, digits, _
 * and -.
 * ${...} says where it ends. Compiled when the file is loaded: an unknown variable is a mistake there.
 *
 * What a variable stands for may come from outside, so whoever prints says what for: nothing that is printed
 * can end a field, a request line, a string or a tag. What is in no request is empty. */
#pragma once
#include "base/diag.h"
#include "gate/exchange.h"

struct route_conf;
struct regex_match;

/*    id       word               takes a name  is a piece of a URL as it stands  meaning */
#define VARIABLE_LIST(X)                                                                              \
    X(HOST, "host", false, true, "the host that was asked for, without its port")                     \
    X(AUTHORITY, "authority", false, true, "the same with its port, as it came")                      \
    X(METHOD, "method", false, false, "`GET`")                                                        \
    X(SCHEME, "scheme", false, true, "`http` or `https`")                                             \
    X(PATH, "path", false, true, "the path, without the query; after `rewrite` the new one")          \
    X(QUERY, "query", false, true, "the query, without its `?`")                                      \
    X(TARGET, "target", false, true, "path and query as they came")                                   \
    X(REST, "rest", false, true, "what the `*` of the route's match stands for")                      \
    X(CAPTURE, "capture", true, true,                                                                 \
      "`$capture.NAME`: what `{NAME}` of the match captured, or its regex's group")                   \
    X(HEADER, "header", true, false, "`$header.NAME`: the first field of the request with that name") \
    X(COOKIE, "cookie", true, false, "`$cookie.NAME`")                                                \
    X(ARG, "arg", true, false, "`$arg.NAME`: a parameter of the query, decoded")                      \
    X(CLIENT, "client", false, false, "the client's address, without its port")                       \
    X(REQUEST_ID, "request_id", false, false, "the request's id, as in the access log")               \
    X(ROUTE, "route", false, false, "the route's match")                                              \
    X(SERVICE, "service", false, false, "the service that is to answer")                              \
    X(SERVER, "server", false, false, "the server that was asked last; in answers only")              \
    X(STATUS, "status", false, false, "the answer's status; in answers only")                         \
    X(ANSWER, "answer", true, false, "`$answer.NAME`: a field of the answer; in answers only")        \
    X(SESSION, "session", true, false,                                                                \
      "`$session.id`, or `$session.NAME`: a value of the request's [session](session.md)")            \
    X(GROUP, "", false, true, "a group of a regular expression that the text stands beside: `$1`")

/* And those of net/tls_fact.h: $tls_version, $tls_client_subject, ... */

/* Where texts stand: what they may refer to. */
struct variable_scope {
    const struct route_conf *route; /* whose captures there are; NULL: not known yet, any will do */
    unsigned groups;                /* $0 to $groups - 1; 0: none */
};

struct variable_text;

/* ERR_CONF with words; without them what is wrong is known already. */
err variable_check(struct bytes text, const struct variable_scope *scope, struct diag *reterr) CHECK_RESULT;
/* text lives as long; it has passed variable_check, or this is ERR_CONF. ERR_MEMORY. */
err variable_open(struct bytes text, struct variable_text **ret_text) CHECK_RESULT;
/* NULL is allowed. */
void variable_close(struct variable_text *t);

enum variable_form {
    VARIABLE_FIELD, /* a field's value: control characters become ? */
    VARIABLE_URL,   /* what is no piece of a URL already is percent-encoded */
    VARIABLE_PLAIN, /* as it is */
    VARIABLE_HTML,  /* & < > " ' escaped */
    VARIABLE_JSON,  /* for inside of quotes */
};
/* groups: of the regex that scope.groups told of; NULL: none. In the exchange's arena, or as it stands where
 * there is nothing to fill in; ptr NULL: the arena has no more (ERR_LIMIT). */
struct bytes variable_print(const struct variable_text *t, struct exchange *x, enum variable_form form,
                            const struct regex_match *groups);
