/* upgrade: the side of the process that takes over. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/must.h"
#include "core/conf.h"
#include "core/io.h"
#include "core/log.h"
#include "gate/control_listener.h"
#include "gate/handover.h"
#include "gate/http3_listen.h"
#include "gate/listeners.h"
#include "gate/shared.h"
#include "gate/upgrade.h"
#include "gate/upgrade_internal.h"

#define RECEIVE_WAIT_MS 10000

struct upgrade upgrade_self;

static struct {
    int socket; /* to the process before; -1: there is none, or all has been said */
    bool active;
    uint64_t generation, rolled_back_to;
    struct bytes conf;
    int entries; /* + 1; 0: none */
    struct {
        int fd; /* + 1; 0: none */
        char addr[ADDR_TEXT_BYTES_MAX];
    } control[CONTROL_LISTENERS];
} self = { .socket = -1 };

bool upgrade_active(void)
{
    return self.active;
}

uint64_t upgrade_generation(void)
{
    return self.generation;
}

unsigned upgrade_elders(void)
{
    return upgrade_self.elders_count;
}

const struct bytes *upgrade_conf(uint64_t *ret_number)
{
    *ret_number = self.rolled_back_to;
    return self.conf.ptr ? &self.conf : NULL;
}

/* ---- taking ---- */

static err take_conf(struct bytes rest, int fd)
{
    struct stat s;
    if (!handover_number(&rest, &self.rolled_back_to) || fstat(fd, &s) < 0 ||
        s.st_size > (off_t)CONF_FILE_BYTES_MAX)
        return ERR_SYNTAX;
    char *text = mem_must_get((size_t)s.st_size + 1); /* for as long as the process: it is loaded once */
    if (pread(fd, text, (size_t)s.st_size, 0) != s.st_size) {
        mem_free(text);
        return ERR_IO;
    }
    self.conf = (struct bytes){ text, (size_t)s.st_size };
    return OK;
}

/* Another layout, or an area that cannot be mapped: what was learnt is learnt again. */
static void take_shared(struct bytes rest, int fd)
{
    uint64_t layout, end;
    err e = ERR_SYNTAX;
    if (handover_number(&rest, &layout) && handover_number(&rest, &end) && layout == SHARED_LAYOUT)
        e = shared_adopt_area(fd, end);
    if (e) {
        log_warn("upgrade", "the state of health, breakers and limits begins anew: %s", err_text(e));
        close(fd);
    }
}

static void take_object(struct bytes rest)
{
    uint64_t offset, size;
    if (handover_number(&rest, &offset) && handover_number(&rest, &size) &&
        shared_adopt(rest, offset, size) != OK)
        log_warn("upgrade", "the state of \"%.*s\" begins anew", BYTES_ARG(rest));
}

/* One descriptor, that is the caller's then; -1: there is not one. */
static int only_fd(struct handover_record *r)
{
    if (r->fds_count != 1)
        return -1;
    r->fds_count = 0;
    return r->fds[0];
}

static err take_with_fd(struct handover_record *r)
{
    struct bytes rest;
    if (handover_word(r->text, BYTES("listener"), &rest)) {
        err e = listeners_adopt(rest, r->fds, r->fds_count);
        r->fds_count = 0;
        return e;
    }
#if WEIR_HAVE_NGTCP2
    uint64_t process;
    if (handover_word(r->text, BYTES("quic"), &rest)) {
        if (!handover_number(&rest, &process) || process >= QUIC_PROCESSES_MAX)
            return ERR_SYNTAX;
        http3_elder((uint32_t)process, r->fds, r->fds_count);
        r->fds_count = 0;
        return OK;
    }
#endif
    int fd = only_fd(r);
    if (fd < 0)
        return r->fds_count ? OK : ERR_SYNTAX; /* several: of a later version */
    if (handover_word(r->text, BYTES("shared"), &rest)) {
        take_shared(rest, fd);
        return OK;
    }
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++) {
        if (!handover_word(r->text, bytes_from(control_listener_names[i]), &rest) || self.control[i].fd)
            continue;
        snprintf(self.control[i].addr, sizeof self.control[i].addr, "%.*s", BYTES_ARG(rest));
        self.control[i].fd = fd + 1;
        return OK;
    }
    if (handover_word(r->text, BYTES("elder"), &rest) && upgrade_self.elders_count < ELDERS_MAX - 1) {
        upgrade_self.elders[upgrade_self.elders_count++] = fd;
        return OK;
    }
    if (handover_word(r->text, BYTES("entries"), &rest) && !self.entries) {
        self.entries = fd + 1;
        return OK;
    }
    err e = handover_word(r->text, BYTES("conf"), &rest) ? take_conf(rest, fd) : OK;
    close(fd);
    return e;
}

/* What is not known is of a later version, and passed over. */
static err take(struct handover_record *r)
{
    struct bytes rest;
    uint64_t number;
    if (r->fds_count)
        return take_with_fd(r);
    if (handover_word(r->text, BYTES("object"), &rest))
        take_object(rest);
    else if (handover_word(r->text, BYTES("hash"), &rest)) {
        struct hash_key key;
        if (!handover_number(&rest, &key.k0) || !handover_number(&rest, &key.k1))
            return ERR_SYNTAX;
        hash_set_key(key);
    } else if (handover_word(r->text, BYTES("log"), &rest) && handover_number(&rest, &number) &&
               number <= LOG_ERROR)
        log_set_level((enum log_level)number);
    else if (handover_word(r->text, BYTES("weir"), &rest)) {
        if (!handover_number(&rest, &number) || number != HANDOVER_VERSION)
            return ERR_UNSUPPORTED;
        return handover_number(&rest, &self.generation) ? OK : ERR_SYNTAX;
    }
    return OK;
}

static err take_all(struct handover_record *r)
{
    struct bytes rest;
    for (;;) {
        err e = handover_receive(self.socket, r, RECEIVE_WAIT_MS);
        if (e)
            return e;
        if (handover_word(r->text, BYTES("end"), &rest))
            return OK;
        e = take(r);
        for (unsigned i = 0; i < r->fds_count; i++)
            close(r->fds[i]);
        if (e)
            return e;
    }
}

err upgrade_receive(struct diag *reterr)
{
    const char *number = getenv(UPGRADE_ENV);
    uint64_t fd;
    if (!number)
        return OK;
    bool sane = bytes_to_u64(bytes_from(number), &fd) && fd > 2 && fd < 1u << 20;
    unsetenv(UPGRADE_ENV);
    if (!sane || fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0) {
        diag_set(reterr, "%s is set, but names no socket", UPGRADE_ENV);
        return ERR_SYSTEM;
    }
    self.socket = (int)fd;
    self.active = true;
    struct handover_record *r = mem_must_get(sizeof *r);
    err e = take_all(r);
    mem_free(r);
    if (e)
        diag_set(reterr, "cannot take over from the process before: %s", err_text(e));
    return e;
}

int upgrade_take_control(unsigned which, const struct addr *a)
{
    char text[ADDR_TEXT_BYTES_MAX];
    addr_print(a, text);
    const int fd = self.control[which].fd - 1;
    if (fd < 0 || strcmp(text, self.control[which].addr) != 0)
        return -1;
    self.control[which].fd = 0;
    return fd;
}

int upgrade_take_entries(void)
{
    const int fd = self.entries - 1;
    self.entries = 0;
    return fd;
}

/* ---- telling ---- */

static void tell(struct bytes text)
{
    err e = handover_send(self.socket, text, NULL, 0, RECEIVE_WAIT_MS);
    if (e)
        log_warn("upgrade", "cannot tell the process before: %s", err_text(e));
}

static void tell_taken(void *arg, const char *name)
{
    char text[1024];
    (void)arg;
    int len = snprintf(text, sizeof text, "taken %s", name);
    tell((struct bytes){ text, (size_t)len });
}

/* Until the process at the other end has ended. */
static void watch_elder(void *arg)
{
    int fd = (int)(intptr_t)arg;
    char nothing;
    for (;;) {
        if (io_wait_fd(fd, POLLIN, DEADLINE_NONE) != OK)
            return; /* we are stopping */
        if (recv(fd, &nothing, 1, MSG_DONTWAIT) == 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    unsigned i = 0;
    while (upgrade_self.elders[i] != fd)
        i++;
    upgrade_self.elders[i] = upgrade_self.elders[--upgrade_self.elders_count];
    close(fd);
    log_info("upgrade", "a process before this one has ended");
    if (upgrade_self.elders_count == 0)
        shared_settle();
}

void upgrade_ready(void)
{
    if (self.socket < 0)
        return;
    listeners_adopted(tell_taken, NULL);
    for (unsigned i = 0; i < CONTROL_LISTENERS; i++) {
        if (self.control[i].fd)
            close(self.control[i].fd - 1);
        self.control[i].fd = 0;
    }
    tell(BYTES("ready"));
    must(upgrade_self.elders_count < ELDERS_MAX);
    upgrade_self.elders[upgrade_self.elders_count++] = self.socket;
    self.socket = -1;
    for (unsigned i = 0; i < upgrade_self.elders_count; i++)
        fiber_spawn(watch_elder, (void *)(intptr_t)upgrade_self.elders[i]);
}

void upgrade_failed(const char *why)
{
    char text[700];
    if (self.socket < 0)
        return;
    int len = snprintf(text, sizeof text, "failed %s", why);
    size_t size = (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    (void)!handover_send(self.socket, (struct bytes){ text, size }, NULL, 0, RECEIVE_WAIT_MS);
    close(self.socket);
    self.socket = -1;
}
