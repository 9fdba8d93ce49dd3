#include "load/framed.h"

#include "proto/http1.h"
#include "proto/http2_head.h"

#define PSEUDO_FIELDS 4u
#define REQUEST_FIELDS_MAX 128u
#define NO_COPIES 6u /* NGHTTP2_NV_FLAG_NO_COPY_NAME and _VALUE, which nghttp3 has the same */

static const struct http1_limits limits = { .line_bytes_max = UINT32_MAX,
                                            .head_bytes_max = UINT32_MAX,
                                            .fields_max = REQUEST_FIELDS_MAX };

static void put(struct framed_field *at, struct bytes name, struct bytes value)
{
    *at = (struct framed_field){ .name = (uint8_t *)(uintptr_t)name.ptr,
                                 .name_len = name.len,
                                 .value = (uint8_t *)(uintptr_t)value.ptr,
                                 .value_len = value.len,
                                 .flags = NO_COPIES };
}

static err put_fields(const struct http_request *r, struct arena *a, struct framed_field *at, size_t *count)
{
    for (uint32_t i = 0; i < r->fields.count; i++) {
        const struct http_field *f = &r->fields.at[i];
        if (!http2_field_passes(f) && f->id != FIELD_CONTENT_LENGTH)
            continue;
        struct bytes name = http2_field_name(f, a);
        if (!name.ptr)
            return ERR_LIMIT;
        put(&at[(*count)++], name, http_field_value(f));
    }
    return OK;
}

err framed_request_make(struct bytes http1, bool tls, struct arena *a, struct framed_request *ret)
{
    struct http_field fields[REQUEST_FIELDS_MAX];
    struct http_request r = { .fields = { .at = fields, .count_max = REQUEST_FIELDS_MAX } };
    size_t used, count = PSEUDO_FIELDS;
    unsigned status;
    if (http1_parse_request(http1, 0, &limits, &r, &used, &status) != OK)
        return ERR_SYNTAX;
    struct framed_field *at = arena_get(a, (PSEUDO_FIELDS + r.fields.count) * sizeof *at);
    if (!at)
        return ERR_LIMIT;
    put(&at[0], BYTES(":method"), r.method_text);
    put(&at[1], BYTES(":scheme"), tls ? BYTES("https") : BYTES("http"));
    put(&at[2], BYTES(":authority"), r.authority);
    put(&at[3], BYTES(":path"), r.target);
    err e = put_fields(&r, a, at, &count);
    if (!e)
        *ret = (struct framed_request){ at, count, bytes_skip(http1, used) };
    return e;
}
