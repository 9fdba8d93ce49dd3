#include "gate/priority.h"

const char *const priority_words[] = {
#define X(id, word) word,
    PRIORITY_LIST(X)
#undef X
        NULL
};

/* The urgency of RFC 9218 4.1, a Structured Field dictionary's member "u"; the last one of that name counts
 * (RFC 8941 4.2.2). -1: there is none. */
static int urgency_of(struct bytes value)
{
    struct bytes member;
    int urgency = -1;
    while (bytes_split(&value, ',', &member)) {
        member = bytes_trim(member);
        if (member.len >= 3 && bytes_starts(member, BYTES("u=")) && member.ptr[2] >= '0' &&
            member.ptr[2] <= '7' && (member.len == 3 || member.ptr[3] == ';'))
            urgency = member.ptr[2] - '0';
    }
    return urgency;
}

enum priority priority_of(const struct priority_conf *c, const struct http_fields *request)
{
    const struct http_field *f = c->header.len ? http_fields_find(request, c->header) : NULL;
    if (!f)
        return (enum priority)c->class;
    for (int i = 0; i < PRIORITY_COUNT; i++) {
        if (bytes_eq_nocase(http_field_value(f), bytes_from(priority_words[i])))
            return (enum priority)i;
    }
    const int urgency = urgency_of(http_field_value(f));
    if (urgency < 0)
        return (enum priority)c->class;
    return urgency <= 2 ? PRIORITY_HIGH : urgency <= 4 ? PRIORITY_NORMAL : PRIORITY_LOW;
}

static err priority_check(void *conf, struct diag *reterr)
{
    const struct priority_conf *c = conf;
    if (!c->header.len || http_is_token(c->header))
        return OK;
    diag_set(reterr, "header: \"%.*s\" cannot be the name of a header", BYTES_ARG(c->header));
    return ERR_CONF;
}

const struct conf_struct priority_struct = {
    .name = "priority",
    .size = sizeof(struct priority_conf),
    .phrases = (const char *const[]){ "{class}", "header {header}", NULL },
    .fields =
        (const struct conf_field[]){
            { .name = "class",
              .type = CONF_WORD,
              .offset = offsetof(struct priority_conf, class),
              .preset = "normal",
              .words = priority_words,
              .doc = "of the route's requests; with `header`, of those that do not say it" },
            { .name = "header",
              .type = CONF_TEXT,
              .offset = offsetof(struct priority_conf, header),
              .doc = "a request field that says it: `low`, `normal`, `high`, or `u=0` to `u=7` (RFC 9218); "
                     "it is "
                     "believed" },
            { 0 } },
    .check = priority_check,
    .doc = "How much a request matters when not all can be served: `overload` sheds the low first.",
};
