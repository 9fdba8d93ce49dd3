/* http1: HTTP/1.0 and 1.1 on the wire (RFC 9112): bytes <-> heads, chunked bodies. Pure: no I/O, no clock.
 *
 * The parser is strict. What request smuggling lives on is refused (ERR_SYNTAX), never repaired:
 * Content-Length together with Transfer-Encoding, repeated, listed, signed or overflowing lengths, any
 * Transfer-Encoding but exactly "chunked", obs-fold, bare LF or CR, white space before a colon or in front of
 * the first field, control characters, a missing, repeated or malformed Host, a bad target, an unknown HTTP
 * version (only 1.0 and 1.1 are known). A target holds visible ASCII but '#': bytes of 0x80 and more, which
 * some parsers let through, are refused too. Connection cannot name Host, Content-Length or Transfer-Encoding
 * in a request, and where it names fields that say who asks and who is trusted (Authorization, Cookie,
 * X-Forwarded-*, Via ...), they stay.
 *
 * A head is parsed when all of it is there, in one contiguous run of bytes; its slices point into that run.
 * There are a SIMD variant and a scalar one, chosen once at start by what the machine has; both pass the same
 * corpus. Any thread. */
#pragma once
#include "proto/http.h"

struct http1_limits {
    uint32_t line_bytes_max; /* request or status line, and each field line */
    uint32_t head_bytes_max; /* the whole head with its last CRLF */
    uint32_t fields_max;     /* how many field lines */
};

/* Reads one request head off the front of in.
 *
 *   seen        bytes of in that an earlier call has looked at already (0 at first), so that a head that
 *               trickles in costs linear time
 *   ret         fields.at/count_max are given by the caller (room for limits->fields_max) and are filled;
 *               path may be a constant ("/" of an absolute target that has none); upgrade stays false for
 *               h2c, which would carry requests past every filter; expect_continue is true only where a
 *               body follows. After a failure all but fields.at/count_max is undefined
 *   ret_used    how many bytes the head took, with its empty line; leading empty lines (RFC 9112 2.2, at
 *               most two) count too
 *   ret_status  when it fails: the status to answer with: 400, 414 (line too long), 417 (an Expect that is
 *               not 100-continue), 431 (fields too large or too many), 501 (unknown transfer coding), 505
 *               (neither HTTP/1.0 nor 1.1)
 *
 * Lines are measured without their CRLF. OK; ERR_AGAIN: not all there yet (and no limit is passed);
 * ERR_SYNTAX; ERR_LIMIT; ERR_UNSUPPORTED. */
err http1_parse_request(struct bytes in, size_t seen, const struct http1_limits *limits,
                        struct http_request *ret, size_t *ret_used, unsigned *ret_status) CHECK_RESULT;

/* The same for a response to a request of that method (HEAD and CONNECT change what frames the body; so do
 * 1xx, 204 and 304). A 1xx is returned like any other: the caller reads on. ERR_SYNTAX means 502 to the
 * client. */
err http1_parse_response(struct bytes in, size_t seen, const struct http1_limits *limits,
                         enum http_method method, struct http_response *ret, size_t *ret_used) CHECK_RESULT;

/* Decodes a chunked body (RFC 9112 7.1) in place, slice by slice, however the bytes were cut.
 *
 *     5 \r\n  h e l l o  \r\n  0 \r\n  trailers \r\n
 *             ▲──data──▲
 */
struct http1_chunked {
    uint64_t left;       /* of the chunk at hand */
    uint64_t line_bytes; /* of the size line (against line_bytes_max) or of all trailers (head_bytes_max) */
    uint8_t state;
    uint8_t digits;
    bool done; /* the last CRLF was read */
};
#define HTTP1_CHUNKED_START ((struct http1_chunked){ 0 })

/* Reads from in until it meets data, the end, or the end of in.
 *   ret_data  the data found (a slice of in), len 0 when there was none
 *   ret_used  bytes of in that are done with, framing and the data itself included
 * After OK: d->done says whether the body has ended. Trailer lines are checked as strictly as fields are and
 * their bytes are appended to *trailers (in the arena, "name: value\r\n" each, at most
 * limits->head_bytes_max; NULL drops them); http1_parse_trailers cuts them into fields. ERR_SYNTAX,
 * ERR_LIMIT. */
struct http1_trailers {
    struct arena *arena;
    char *text;
    uint32_t len, size;
};
err http1_chunked_decode(struct http1_chunked *d, struct bytes in, const struct http1_limits *limits,
                         struct http1_trailers *trailers, struct bytes *ret_data,
                         size_t *ret_used) CHECK_RESULT;
/* Fields that must not stand in trailers (framing, routing, Host, Content-*: RFC 9110 6.5.1) are left out. */
err http1_parse_trailers(struct bytes text, struct arena *a, struct http_fields *ret) CHECK_RESULT;

#define HTTP1_CHUNK_HEAD_BYTES_MAX 18 /* 16 hex digits and CRLF */
/* "1f40\r\n" for a chunk of size > 0; returns its length. The chunk's data is to be followed by "\r\n". */
size_t http1_chunk_head(uint64_t size, char out[HTTP1_CHUNK_HEAD_BYTES_MAX]);
#define HTTP1_LAST_CHUNK BYTES("0\r\n\r\n")

/* Writers. Removed and FIELD_HOP fields are skipped, and so are Content-Length, Transfer-Encoding and
 * Connection: framing is the writer's, from framing and content_length. Fields that stand next to each other
 * in the buffer they came in are copied as one run. The *_size functions give an upper bound; the put
 * functions return the end of what they wrote. A request's bound counts r's own target (or path and query)
 * and authority: who puts a longer target or host adds the difference. Names and values are copied as they
 * are: what does not come from a parser is checked by http_is_token and http_is_field_value before it is
 * added. */
enum http1_connection {
    HTTP1_CONNECTION_DEFAULT, /* says nothing: keep-alive in 1.1 */
    HTTP1_CONNECTION_CLOSE,
    HTTP1_CONNECTION_KEEP_ALIVE, /* said to a 1.0 client */
    HTTP1_CONNECTION_UPGRADE,    /* "Connection: upgrade"; the Upgrade field is passed on though it is a hop
                                    field */
};
size_t http1_request_size(const struct http_request *r);
/* target: what stands in the request line; host: the Host field to write (first), taken instead of the
 * client's. */
char *http1_put_request(char *out, const struct http_request *r, struct bytes target, struct bytes host,
                        enum http1_connection connection);
size_t http1_response_size(const struct http_response *r);
/* With HTTP_BODY_NONE "Content-Length: 0" is written unless the status or (for HEAD) no_body forbids it. */
char *http1_put_response(char *out, const struct http_response *r, bool head_request,
                         enum http1_connection connection);
/* "Name: value\r\n" */
char *http1_put_field(char *out, struct bytes name, struct bytes value);

/* For tests: forces the scalar variant (true) or goes back to the machine's best. Says which is in use. */
const char *http1_use_scalar(bool scalar);
