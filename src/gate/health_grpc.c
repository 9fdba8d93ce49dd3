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
#include <nghttp2/nghttp2.h>

/* Longer answers are none. */
#define ANSWER_BYTES_MAX 256

struct check {
    struct bytes request; /* not sent yet */
    char answer[ANSWER_BYTES_MAX];
    size_t answered;
    int grpc_status; /* -1: not said */
    unsigned status;
    bool over; /* the stream has ended */
};

static ssize_t give_request(nghttp2_session *ng, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
                            nghttp2_data_source *source, void *arg)
{
    (void)ng;
    (void)id;
    (void)arg;
    struct check *c = source->ptr;
    const size_t n = c->request.len < room ? c->request.len : room;
    memcpy(out, c->request.ptr, n);
    c->request = bytes_skip(c->request, n);
    if (!c->request.len)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}

static int on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *arg)
{
    (void)ng;
    (void)flags;
    (void)id;
    struct check *c = arg;
    if (len > sizeof c->answer - c->answered)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    memcpy(c->answer + c->answered, data, len);
    c->answered += len;
    return 0;
}

static int on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
    (void)ng;
    (void)frame;
    (void)flags;
    struct check *c = arg;
    const struct bytes field = { (const char *)name, name_len };
    const struct bytes text = { (const char *)value, value_len };
    uint64_t status;
    if (bytes_eq(field, BYTES("grpc-status")))
        c->grpc_status = (int)grpc_status_read(text);
    else if (bytes_eq(field, BYTES(":status")) && bytes_to_u64(text, &status))
        c->status = (unsigned)status;
    return 0;
}

static int on_close(nghttp2_session *ng, int32_t id, uint32_t error, void *arg)
{
    (void)ng;
    (void)id;
    (void)error;
    ((struct check *)arg)->over = true;
    return 0;
}

static nghttp2_session *session_new(struct check *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *ng = NULL;
    if (nghttp2_session_callbacks_new(&callbacks))
        return NULL;
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    if (nghttp2_session_client_new(&ng, callbacks, c))
        ng = NULL;
    nghttp2_session_callbacks_del(callbacks);
    return ng;
}

static bool submit(nghttp2_session *ng, struct check *c, struct bytes name)
{
#define FIELD(name, text)                                                                \
    { (uint8_t *)(name), (uint8_t *)(uintptr_t)(text).ptr, sizeof(name) - 1, (text).len, \
      NGHTTP2_NV_FLAG_NONE }
    nghttp2_nv fields[] = {
        FIELD(":method", BYTES("POST")),
        FIELD(":scheme", BYTES("http")),
        FIELD(":authority", name),
        FIELD(":path", BYTES("/grpc.health.v1.Health/Check")),
        FIELD("content-type", BYTES("application/grpc")),
        FIELD("te", BYTES("trailers")),
        FIELD("user-agent", BYTES("weir-health-check")),
    };
#undef FIELD
    nghttp2_data_provider provider = { .source.ptr = c, .read_callback = give_request };
    return nghttp2_submit_settings(ng, NGHTTP2_FLAG_NONE, NULL, 0) == 0 &&
           nghttp2_submit_request(ng, NULL, fields, sizeof fields / sizeof *fields, &provider, NULL) > 0;
}

static err send_all(nghttp2_session *ng, struct io *io, uint64_t deadline_us)
{
    for (;;) {
        const uint8_t *data;
        const ssize_t n = nghttp2_session_mem_send(ng, &data);
        if (n <= 0)
            return n ? ERR_PROTOCOL : OK;
        err e = io_write(io, (struct bytes){ (const char *)data, (size_t)n }, deadline_us);
        if (e)
            return e;
    }
}

static err run(nghttp2_session *ng, struct check *c, struct io *io, uint64_t deadline_us)
{
    err e = send_all(ng, io, deadline_us);
    while (!e && !c->over) {
        struct bytes in;
        e = io_pull(io, deadline_us, &in);
        if (e)
            break;
        if (nghttp2_session_mem_recv(ng, (const uint8_t *)in.ptr, in.len) != (ssize_t)in.len)
            return ERR_PROTOCOL;
        io_consume(io, in.len);
        e = send_all(ng, io, deadline_us);
    }
    return e;
}

void health_grpc_ask(struct io *io, struct bytes service, struct bytes name, uint64_t deadline_us,
                     struct health_answer *ret)
{
    char request[HEALTH_REQUEST_BYTES_MAX];
    struct check c = { .request = { request, health_grpc_request(request, service) }, .grpc_status = -1 };
    nghttp2_session *ng = session_new(&c);
    ret->failed = ng && submit(ng, &c, name) ? run(ng, &c, io, deadline_us) : ERR_MEMORY;
    nghttp2_session_del(ng);
    if (ret->failed)
        return;
    if (c.status != 200)
        ret->status = c.status;
    else if (c.grpc_status != GRPC_OK)
        ret->why =
            c.grpc_status == -1 ? "the answer has no grpc-status" : grpc_status_name((unsigned)c.grpc_status);
    else
        ret->why = health_grpc_lacks((struct bytes){ c.answer, c.answered });
    ret->well = c.status == 200 && !ret->why;
}
#endif
