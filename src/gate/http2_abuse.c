#include "gate/http2_abuse.h"

#include <string.h>

static const uint32_t bounds[] = {
#define X(id, word, bound) bound,
    HTTP2_ABUSE_LIST(X)
#undef X
};

bool http2_abuse_note(struct http2_abuse *a, enum http2_abuse_kind kind, uint64_t now_ms, uint32_t scale)
{
    if (now_ms - a->since_ms >= HTTP2_ABUSE_OVER_MS) {
        memset(a->counts, 0, sizeof a->counts);
        a->since_ms = now_ms;
    }
    return ++a->counts[kind] > (uint64_t)bounds[kind] * scale;
}

void http2_abuse_forgive(struct http2_abuse *a, enum http2_abuse_kind kind)
{
    if (a->counts[kind])
        a->counts[kind]--;
}

const char *http2_abuse_word(enum http2_abuse_kind kind)
{
    static const char *const words[] = {
#define X(id, word, bound) word,
        HTTP2_ABUSE_LIST(X)
#undef X
    };
    return words[kind];
}
