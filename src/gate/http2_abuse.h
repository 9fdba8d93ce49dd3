/* http2_abuse: what a peer may send that costs us more than it, counted over a while. One count for each
 * kind; past its bound the connection is told ENHANCE_YOUR_CALM and closed (RFC 9113 10.5).
 *
 * Pure: the time is an argument. One connection. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define HTTP2_ABUSE_OVER_MS 10000

/*    id             word               bound in HTTP2_ABUSE_OVER_MS, what it is for */
#define HTTP2_ABUSE_LIST(X)                                                                                  \
    X(RESETS, "resets", 500)               /* streams begun and taken back: CVE-2023-44487               */  \
    X(ERRORS, "errors", 100)               /* streams that we had to reset: "made you reset"             */  \
    X(SETTINGS, "settings", 100)           /* each has to be acknowledged: CVE-2019-9515                 */  \
    X(PINGS, "pings", 500)                 /* the same: CVE-2019-9512                                    */  \
    X(EMPTY, "empty_frames", 500)          /* frames that bring nothing and end nothing: CVE-2019-9518   */  \
    X(CONTINUATIONS, "continuations", 500) /* pieces of heads                                            */  \
    X(PRIORITIES, "priorities", 2000)      /* PRIORITY and PRIORITY_UPDATE: CVE-2019-9513                */  \
    X(WINDOWS, "window_updates", 4000)     /* beyond those that data of ours explain                     */  \
    X(TINY, "tiny_windows", 500)           /* frames of ours that a window cut to next to nothing:           \
                                               CVE-2019-9511                                              */ \
    X(HEADS, "heads", 0)                   /* of a size far beyond what may be: CVE-2016-6581, HPACK bombs  */

enum http2_abuse_kind {
#define X(id, word, bound) HTTP2_ABUSE_##id,
    HTTP2_ABUSE_LIST(X)
#undef X
        HTTP2_ABUSE_KINDS
};

struct http2_abuse {
    uint64_t since_ms;
    uint32_t counts[HTTP2_ABUSE_KINDS];
};

/* One more; scale: what the bounds are multiplied with (1: as they are). True: too many. */
bool http2_abuse_note(struct http2_abuse *a, enum http2_abuse_kind kind, uint64_t now_ms, uint32_t scale);
/* One of that kind is explained by what we did. */
void http2_abuse_forgive(struct http2_abuse *a, enum http2_abuse_kind kind);
const char *http2_abuse_word(enum http2_abuse_kind kind);
