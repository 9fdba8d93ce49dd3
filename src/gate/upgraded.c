#include "gate/upgraded.h"

#include "gate/gate.h"

/* Of this worker: those that are over wait for the one fiber that ends them all, so that thousands that are
 * cut at the same time do not take a stack each. */
static _Thread_local struct {
    struct link all, over;
    bool ready, running;
} here;

static void end_all(void *arg)
{
    (void)arg;
    struct link *l;
    while ((l = list_pop_front(&here.over))) {
        struct upgraded *u = container_of(l, struct upgraded, link);
        u->over(u);
    }
    here.running = false;
}

static void is_over(struct upgraded *u, const struct tunnel *t, err why)
{
    struct exchange *x = u->x;
    x->failed = why;
    x->request_bytes += t->ways[0].moved;
    x->response_bytes += t->ways[1].moved;
    list_remove(&u->link);
    list_push_back(&here.over, &u->link);
    if (!here.running) {
        here.running = true;
        fiber_spawn(end_all, NULL);
    }
}

static void tunnel_over(struct tunnel *t, err why)
{
    is_over(container_of(t, struct upgraded, by.tunnel), t, why);
}

static void websocket_over(struct websocket *w, err why)
{
    struct upgraded *u = container_of(w, struct upgraded, by.websocket);
    u->x->close_code = w->code;
    is_over(u, &w->tunnel, why);
}

void upgraded_start(struct upgraded *u, struct exchange *x, struct io *client,
                    void (*over)(struct upgraded *u))
{
    if (!here.ready) {
        list_init(&here.all);
        list_init(&here.over);
        here.ready = true;
    }
    u->x = x;
    u->is_websocket = websocket_is_asked(x);
    u->over = over;
    list_push_back(&here.all, &u->link);
    if (u->is_websocket)
        websocket_start(&u->by.websocket, x, client, websocket_over);
    else
        tunnel_start(&u->by.tunnel, client, x->tunnel, x->service->conf->idle_timeout_ms * 1000, tunnel_over);
}

void upgraded_abort(void)
{
    struct link *at = here.ready ? here.all.next : &here.all;
    while (at != &here.all) {
        struct upgraded *u = container_of(at, struct upgraded, link);
        at = at->next;
        tunnel_cancel(u->is_websocket ? &u->by.websocket.tunnel : &u->by.tunnel);
    }
}
