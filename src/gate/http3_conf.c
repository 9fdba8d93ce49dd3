#include "gate/http3_conf.h"

#include <stddef.h>

#define AT(member) offsetof(struct http3_conf, member)

static const char *const congestion_words[] = { "cubic", "reno", "bbr", NULL };

static err http3_check(void *conf, struct diag *reterr)
{
    const struct http3_conf *c = conf;
    if (c->window_bytes >= c->stream_window_bytes)
        return OK;
    diag_set(reterr, "window: it is shared by all requests of a connection, so it is at least stream_window");
    return ERR_CONF;
}

const struct conf_struct http3_conf_struct = {
    .name = "http3",
    .size = sizeof(struct http3_conf),
    .fields =
        (const struct conf_field[]){
            { .name = "connections_max",
              .type = CONF_INT,
              .offset = AT(connections_max),
              .preset = "50000",
              .min = 1,
              .max = 1000000,
              .doc =
                  "connections of one worker; clients beyond that are refused, and come over TCP instead" },
            { .name = "streams_max",
              .type = CONF_INT,
              .offset = AT(streams_max),
              .preset = "100",
              .min = 1,
              .max = 10000,
              .doc = "requests of one connection at a time; more wait at the client" },
            { .name = "stream_window",
              .type = CONF_BYTES,
              .offset = AT(stream_window_bytes),
              .preset = "256k",
              .min = 4096,
              .max = 1 << 30,
              .doc = "of a request's body: what a client may send before its server has taken it" },
            { .name = "window",
              .type = CONF_BYTES,
              .offset = AT(window_bytes),
              .preset = "1m",
              .min = 4096,
              .max = 1 << 30,
              .doc = "the same of all requests of a connection together: its memory" },
            { .name = "idle_timeout",
              .type = CONF_MS,
              .offset = AT(idle_timeout_ms),
              .preset = "30s",
              .min = 1000,
              .doc = "a connection in which nothing is heard of the client is forgotten after that" },
            { .name = "handshake_timeout",
              .type = CONF_MS,
              .offset = AT(handshake_timeout_ms),
              .preset = "10s",
              .min = 100,
              .doc = "for a handshake" },
            { .name = "retry",
              .type = CONF_INT,
              .offset = AT(retry_above),
              .preset = "100",
              .max = 1000000,
              .words = conf_word_off,
              .doc = "with so many handshakes under way in a worker further clients first have to show that "
                     "they "
                     "are where they say (a Retry: one more round trip); 0: always, `off`: never" },
            { .name = "early_data",
              .type = CONF_BOOL,
              .offset = AT(early_data),
              .preset = "on",
              .doc = "0-RTT: GET, HEAD and OPTIONS of a client that comes back are answered before its "
                     "handshake is "
                     "complete, each once; others wait for it" },
            { .name = "alt_svc",
              .type = CONF_MS,
              .offset = AT(alt_svc_ms),
              .preset = "1d",
              .min = 1000,
              .words = conf_word_off,
              .doc = "answers over HTTP/1.1 and HTTP/2 say that there is HTTP/3, and for how long a client "
                     "may rely "
                     "on it; `off`: they do not" },
            { .name = "alt_svc_port",
              .type = CONF_INT,
              .offset = AT(alt_svc_port),
              .preset = "0",
              .max = 65535,
              .doc =
                  "the port that they name, where clients reach it by another one; 0: the listener's own" },
            { .name = "congestion",
              .type = CONF_WORD,
              .offset = AT(congestion),
              .preset = "cubic",
              .words = congestion_words,
              .doc = "congestion control: `cubic`, `reno` or `bbr`" },
            { .name = "gso",
              .type = CONF_BOOL,
              .offset = AT(gso),
              .preset = "on",
              .doc = "many packets in one send (UDP_SEGMENT), where the kernel can" },
            { 0 } },
    .check = http3_check,
    .doc = "HTTP/3 on the same port over UDP, beside HTTP/1.1 and HTTP/2.",
};
