#include "gate/control_listener.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/io.h"
#include "core/log.h"
#include "gate/gate.h"
#include "gate/http1_server.h"
#include "gate/listening.h"
#include "gate/tls_listener.h"
#include "gate/upgrade.h"
#include "ledger/ledger_conf.h"
#include "net/tcp.h"

const char *const control_listener_names[] = { "admin", "ledger" };

static struct {
    struct io_listener *listener; /* NULL: there is none */
    int fd;
    struct addr addr;
} listeners[CONTROL_LISTENERS];

static const struct api_conf *conf_of(const struct gate_conf *conf, unsigned i)
{
    return i == CONTROL_ADMIN ? conf->admin : conf->ledger ? conf->ledger->http : NULL;
}

/* owner: of process_self.control. */
static void on_accept(void *owner, struct io *io)
{
    struct clients *clients = owner;
    const unsigned i = (unsigned)(clients - process_self.control);
    struct listening *here =
        listening_find(gate_current(), &listeners[i].addr, (enum listen_kind)(LISTEN_ADMIN + i));
    if (!here) /* it is being taken away */
        io_abort(io, true);
    else if (here->tls)
        tls_listener_accept(here, clients, io, false, NULL);
    else
        http1_server_accept(clients, io);
}

static void stop(unsigned i)
{
    if (listeners[i].listener)
        io_listener_close(listeners[i].listener, true);
    listeners[i].listener = NULL;
}

void control_listeners_stop(void)
{
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++)
        stop(i);
}

/* *ret_fd -1: nothing new to listen on. */
static err open_one(const struct api_conf *conf, unsigned i, int *ret_fd, struct diag *reterr)
{
    static const struct tcp_options opts = { .nodelay = true };
    *ret_fd = -1;
    if (!conf || (listeners[i].listener && addr_eq(&conf->address, &listeners[i].addr)))
        return OK;
    if (conf->token_file.len && access(conf->token_file.ptr, R_OK) < 0) {
        diag_set(reterr, "%s: cannot read token_file %s: %s", control_listener_names[i], conf->token_file.ptr,
                 strerror(errno));
        return ERR_CONF;
    }
    *ret_fd = upgrade_take_control(i, &conf->address);
    if (*ret_fd >= 0)
        return OK;
    /* a unix socket is made with its mode: nobody slips in before it is set */
    mode_t mask = umask(0777 & ~(mode_t)conf->mode_bits);
    err e = tcp_listen(&conf->address, &opts, false, ret_fd, reterr);
    umask(mask);
    return e;
}

void control_listeners_undo(const struct control_opened *opened)
{
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++) {
        if (opened->fds[i] >= 0)
            close(opened->fds[i]);
    }
}

err control_listeners_open(const struct gate_conf *conf, struct control_opened *o, struct diag *reterr)
{
    err e = OK;
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++)
        o->fds[i] = -1;
    for (unsigned i = 0; !e && i < CONTROL_LISTENERS; i++) {
        e = open_one(conf_of(conf, i), i, &o->fds[i], reterr);
        if (e)
            o->fds[i] = -1;
    }
    if (e)
        control_listeners_undo(o);
    return e;
}

/* Nobody is accepted before the configuration is in use: it says how long a client may idle. */
static void use_one(const struct api_conf *conf, unsigned i, int fd)
{
    if (listeners[i].listener && (!conf || !addr_eq(&conf->address, &listeners[i].addr)))
        stop(i);
    if (fd < 0)
        return;
    listeners[i].addr = conf->address;
    listeners[i].fd = fd;
    err e = io_listen(fd, on_accept, &process_self.control[i], &listeners[i].listener);
    if (e) {
        log_error(control_listener_names[i], "cannot accept: %s", err_text(e));
        close(fd);
    }
}

void control_listeners_use(const struct gate_conf *conf, const struct control_opened *opened)
{
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++)
        use_one(conf_of(conf, i), i, opened->fds[i]);
}

void control_listeners_each(void (*fn)(void *arg, const char *name, const struct addr *at, int fd), void *arg)
{
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++) {
        if (listeners[i].listener)
            fn(arg, control_listener_names[i], &listeners[i].addr, listeners[i].fd);
    }
}
