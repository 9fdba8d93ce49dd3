#include "gate/clients.h"

#include "gate/carrier.h"
#include "gate/gate.h"

bool exchange_admit_body(struct exchange *x, struct bytes protocol)
{
    const struct http_request *q = &x->request;
    if (q->framing != HTTP_BODY_LENGTH ||
        q->content_length <= x->gate->generation->conf->client->body_bytes_max)
        return true;
    x->failed = x->request_failed = ERR_LIMIT;
    exchange_answer(x, 413, BYTES_NONE, BYTES_NONE, protocol);
    return false;
}

void clients_init(struct clients *s, void (*serve)(struct exchange *x), void (*done)(struct exchange *x))
{
    *s = (struct clients){ .serve = serve, .done = done, .scheme = "http" };
    list_init(&s->conns);
}

/* What does not fit waits in the kernel's queue, where it costs nothing. */
static void look_at_room(struct clients *s)
{
    const struct gate *g = gate_current();
    bool full = g && s->conns_count >= (uint64_t)g->generation->conf->client->connections_max;
    if (full == s->full || !s->on_full)
        return;
    s->full = full;
    s->on_full(full);
}

void clients_add(struct clients *s, struct client_conn *c, const struct client_protocol *protocol)
{
    c->clients = s;
    c->protocol = protocol;
    list_push_back(&s->conns, &c->link);
    s->conns_count++;
    look_at_room(s);
}

void clients_remove(struct client_conn *c)
{
    struct clients *s = c->clients;
    list_remove(&c->link);
    s->conns_count--;
    if (s->full)
        look_at_room(s);
}

/* at may remove itself. */
#define EACH_CONN(s, at, c)                                                                        \
    for (struct link *at = (s)->conns.next, *next_; at != &(s)->conns && (next_ = at->next, true); \
         at = next_)                                                                               \
        for (struct client_conn *c = container_of(at, struct client_conn, link); c; c = NULL)

void clients_drain(struct clients *s)
{
    s->draining = true;
    EACH_CONN(s, at, c)
    {
        if (c->protocol->drain)
            c->protocol->drain(c);
    }
}

void clients_close_idle(struct clients *s, bool used_only)
{
    EACH_CONN(s, at, c)
    c->protocol->close_idle(c, used_only);
}

void clients_abort(struct clients *s)
{
    clients_close_idle(s, false);
    EACH_CONN(s, at, c)
    c->protocol->abort(c);
}
