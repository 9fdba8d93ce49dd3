#include "gate/http1_gone.h"

#include <poll.h>

#include "core/io.h"
#include "gate/gate_conf.h"

#define PROBE_FIRST_MS 100
#define PROBE_MS_MAX 2000

static void leave(struct http1_gone *g)
{
    g->left = true;
    g->x->client_gone = !g->answering;
    timer_stop(&g->timer);
    fiber_cancel(g->fiber);
}

/* Both directions are over: the connection was reset (or, of a Unix socket, closed). */
static bool is_broken(const struct http1_gone *g)
{
    struct pollfd p = { .fd = io_fd(g->io) };
    return io_failed(g->io) || (poll(&p, 1, 0) > 0 && p.revents & (POLLERR | POLLHUP));
}

static void look(struct timer *t)
{
    struct http1_gone *g = container_of(t, struct http1_gone, timer);
    if (is_broken(g)) {
        leave(g);
        return;
    }
    if (!g->probed) {
        g->probed = true;
        err e = io_write(g->io, BYTES("HTTP/1.1 100 Continue\r\n\r\n"), 0);
        (void)e; /* the next look finds out */
    } else if (g->pause_ms < PROBE_MS_MAX) {
        g->pause_ms *= 2;
    }
    timer_set(t, deadline_in_ms(g->pause_ms));
}

static void client_ended(void *owner, err why)
{
    (void)why;
    struct http1_gone *g = owner;
    if (g->ended_is_gone || is_broken(g)) {
        leave(g);
        return;
    }
    if (g->answering || g->x->request.version_minor == 0)
        return;
    g->pause_ms = PROBE_FIRST_MS;
    timer_set(&g->timer, deadline_in_ms(PROBE_FIRST_MS));
}

void http1_gone_watch(struct http1_gone *g, struct io *io, struct exchange *x, const struct client_conf *conf,
                      bool answering)
{
    g->io = NULL;
    if (conf->cancel_when_gone == GONE_OFF)
        return;
    g->io = io;
    g->x = x;
    g->fiber = fiber_self();
    g->ended_is_gone = conf->cancel_when_gone == GONE_ENDED;
    g->answering = answering;
    g->probed = g->left = false;
    timer_init(&g->timer, look);
    io_watch(io, client_ended, g);
}

bool http1_gone_unwatch(struct http1_gone *g)
{
    if (!g->io)
        return false;
    io_unwatch(g->io);
    if (timer_is_set(&g->timer))
        timer_stop(&g->timer);
    return g->left;
}
