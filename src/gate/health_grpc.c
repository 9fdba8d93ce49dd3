#include "gate/health_grpc.h"

#include "proto/grpc.h"

#define SERVING 1

/* ---- the two messages: protocol buffers, by hand ---- */

/* health.proto: string service = 1. */
size_t health_grpc_request(char *out, struct bytes service)
{
    char *at = out + GRPC_PREFIX_BYTES;
    if (service.len) {
        *at++ = 0x0a;
        if (service.len >= 128)
            *at++ = (char)((service.len & 0x7f) | 0x80);
        *at++ = (char)(service.len >= 128 ? service.len >> 7 : service.len);
        memcpy(at, service.ptr, service.len);
        at += service.len;
    }
    const size_t len = (size_t)(at - out) - GRPC_PREFIX_BYTES;
    grpc_prefix_put(out, 0, (uint32_t)len);
    return GRPC_PREFIX_BYTES + len;
}

static bool take_varint(struct bytes *in, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && in->len; shift += 7) {
        const unsigned char c = (unsigned char)in->ptr[0];
        *in = bytes_skip(*in, 1);
        value |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* Over a field of another number than ours: by its wire type. */
static bool skip_field(struct bytes *in, unsigned type)
{
    uint64_t n = type == 1 ? 8 : type == 5 ? 4 : 0;
    if (type == 0)
        return take_varint(in, &n);
    if (type == 2 && !take_varint(in, &n))
        return false;
    if ((type != 1 && type != 2 && type != 5) || n > in->len)
        return false;
    *in = bytes_skip(*in, (size_t)n);
    return true;
}

/* ServingStatus status = 1; the last one counts. */
const char *health_grpc_lacks(struct bytes message)
{
    uint64_t status = 0;
    if (message.len < GRPC_PREFIX_BYTES || message.ptr[0] ||
        grpc_prefix_length(message.ptr) != message.len - GRPC_PREFIX_BYTES)
        return "the answer is no message of gRPC";
    struct bytes rest = bytes_skip(message, GRPC_PREFIX_BYTES);
    while (rest.len) {
        uint64_t tag;
        if (!take_varint(&rest, &tag) ||
            !(tag == 0x08 ? take_varint(&rest, &status) : skip_field(&rest, (unsigned)(tag & 7))))
            return "the answer is no HealthCheckResponse";
    }
    return status == SERVING ? NULL : "it says that it does not serve";
}

#if WEIR_HAVE_NGHTTP2
#include "gate/grpc.h"
#include "gate/health_http2.h"

/* Longer answers are none. */
#define ANSWER_BYTES_MAX 256

void health_grpc_ask(struct io *io, struct bytes service, struct bytes name, bool secure,
                     uint64_t deadline_us, struct health_answer *ret)
{
    char request[HEALTH_REQUEST_BYTES_MAX], answer[ANSWER_BYTES_MAX];
    struct health_http2 q = { .method = "POST",
                              .authority = name,
                              .path = BYTES("/grpc.health.v1.Health/Check"),
                              .secure = secure,
                              .grpc = true,
                              .message = { request, health_grpc_request(request, service) },
                              .body = answer,
                              .body_max = sizeof answer };
    ret->failed = health_http2_ask(&q, io, deadline_us);
    if (ret->failed)
        return;
    if (q.status != 200)
        ret->status = q.status;
    else if (q.body_len < sizeof answer && q.grpc_status == GRPC_NO_STATUS)
        ret->why = "the answer has no grpc-status";
    else if (q.grpc_status > GRPC_OK)
        ret->why = grpc_status_name((unsigned)q.grpc_status);
    else
        ret->why = health_grpc_lacks((struct bytes){ answer, q.body_len });
    ret->well = q.status == 200 && !ret->why;
}
#endif
