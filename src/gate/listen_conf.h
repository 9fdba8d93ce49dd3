/* listen_conf: the tables of what stands around sockets: TCP options, and an address that takes clients. For
 * gate_conf.c. */
#pragma once
#include "gate/gate_conf.h"

extern const struct conf_struct listen_conf_struct;

/* All addresses that take clients: those of the list, then weir's own (struct listen_conf). ERR_MEMORY. */
err listen_conf_all(const struct gate_conf *conf, struct arena *a, struct conf_list *ret) CHECK_RESULT;

/* Can this kernel do what tcp asks for? ERR_CONF. */
err tcp_conf_check(const struct tcp_conf *tcp, struct diag *reterr) CHECK_RESULT;

/* The fields of a struct tcp_conf that stands at offset base of the table's struct. */
#define TCP_CONF_FIELDS(base)                                                                           \
    { .name = "congestion",                                                                             \
      .type = CONF_TEXT,                                                                                \
      .offset = (base) + offsetof(struct tcp_conf, congestion),                                         \
      .doc = "TCP congestion control (`reno`, `cubic`, `bbr`); the system's when not said" },           \
        { .name = "nodelay",                                                                            \
          .type = CONF_BOOL,                                                                            \
          .offset = (base) + offsetof(struct tcp_conf, nodelay),                                        \
          .preset = "true",                                                                             \
          .doc = "send small segments at once (TCP_NODELAY)" },                                         \
        { .name = "keepalive",                                                                          \
          .type = CONF_BOOL,                                                                            \
          .offset = (base) + offsetof(struct tcp_conf, keepalive),                                      \
          .preset = "true",                                                                             \
          .doc = "probe silent connections (SO_KEEPALIVE)" },                                           \
        { .name = "keepalive_idle",                                                                     \
          .type = CONF_MS,                                                                              \
          .offset = (base) + offsetof(struct tcp_conf, keepalive_idle_ms),                              \
          .preset = "60s",                                                                              \
          .min = 1000,                                                                                  \
          .max = 32767000,                                                                              \
          .doc = "silence before the first probe" },                                                    \
        { .name = "fast_open",                                                                          \
          .type = CONF_BOOL,                                                                            \
          .offset = (base) + offsetof(struct tcp_conf, fast_open),                                      \
          .preset = "false",                                                                            \
          .doc = "TCP Fast Open (RFC 7413)" },                                                          \
        { .name = "send_buffer",                                                                        \
          .type = CONF_BYTES,                                                                           \
          .offset = (base) + offsetof(struct tcp_conf, send_buffer_bytes),                              \
          .preset = "0",                                                                                \
          .max = 1 << 30,                                                                               \
          .doc = "SO_SNDBUF; 0: the kernel sizes it" },                                                 \
    {                                                                                                   \
        .name = "recv_buffer", .type = CONF_BYTES,                                                      \
        .offset = (base) + offsetof(struct tcp_conf, recv_buffer_bytes), .preset = "0", .max = 1 << 30, \
        .doc = "SO_RCVBUF; 0: the kernel sizes it"                                                      \
    }
