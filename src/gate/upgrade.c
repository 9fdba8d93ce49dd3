/* upgrade: the side of the process that serves. */
#include "gate/upgrade.h"
#include "gate/control_listener.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "core/fiber.h"
#include "core/log.h"
#include "gate/handover.h"
#include "gate/http3_listen.h"
#include "gate/listeners.h"
#include "gate/process_internal.h"
#include "gate/shared.h"
#include "gate/upgrade_internal.h"
#include "ledger/ledger_conf.h"

#define SEND_WAIT_MS 10000
#define END_WAIT_MS 5000 /* after it has said that it failed */
#define END_LOOK_MS 10

extern char **environ;

/* ---- starting it ---- */

/* The environment with the socket's number in it. ret: mem_free. */
static char **environment(char *entry)
{
    size_t count = 0;
    while (environ[count])
        count++;
    char **all = mem_must_get((count + 2) * sizeof *all);
    memcpy(all, environ, count * sizeof *all);
    all[count] = entry;
    return all;
}

/* As it was started: by the same name, so that a link that points to a new version by now counts. */
static err spawn(int socket, pid_t *ret_pid, struct diag *reterr)
{
    posix_spawn_file_actions_t actions;
    char entry[64];
    char **argv = process_self.opts->argv;
    snprintf(entry, sizeof entry, "%s=%d", UPGRADE_ENV, socket);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, socket, socket); /* onto itself: stays open over exec */
    char **env = environment(entry);
    int why = posix_spawnp(ret_pid, argv[0], &actions, NULL, argv, env);
    mem_free(env);
    posix_spawn_file_actions_destroy(&actions);
    if (!why)
        return OK;
    diag_set(reterr, "cannot start %s: %s", argv[0], strerror(why));
    return err_from_errno(why);
}

/* ---- telling it all ---- */

struct sending {
    int socket;
    err failed;
};

static void put(struct sending *s, struct bytes text, const int *fds, unsigned count)
{
    if (!s->failed)
        s->failed = handover_send(s->socket, text, fds, count, SEND_WAIT_MS);
}

static void put_listener(void *arg, const char *name, const int *fds, unsigned count)
{
    char text[1024];
    int len = snprintf(text, sizeof text, "listener %s", name);
    for (unsigned i = 0; i < count; i += HANDOVER_FDS_MAX)
        put(arg, (struct bytes){ text, (size_t)len }, fds + i,
            count - i < HANDOVER_FDS_MAX ? count - i : HANDOVER_FDS_MAX);
}

#if WEIR_HAVE_NGTCP2
static void put_inlets(void *arg, uint32_t process, const int *fds, unsigned count)
{
    char text[32];
    int len = snprintf(text, sizeof text, "quic %u", process);
    for (unsigned i = 0; i < count; i += HANDOVER_FDS_MAX)
        put(arg, (struct bytes){ text, (size_t)len }, fds + i,
            count - i < HANDOVER_FDS_MAX ? count - i : HANDOVER_FDS_MAX);
}

/* Where it passes on the datagrams of connections that stay with us, and with those before us. */
static void put_quic(struct sending *s)
{
    err e = http3_each_inlet(put_inlets, s);
    if (e && !s->failed)
        s->failed = e;
}
#endif

static void put_control(void *arg, const char *name, const struct addr *at, int fd)
{
    char addr[ADDR_TEXT_BYTES_MAX], text[ADDR_TEXT_BYTES_MAX + 16];
    addr_print(at, addr);
    int len = snprintf(text, sizeof text, "%s %s", name, addr);
    put(arg, (struct bytes){ text, (size_t)len }, &fd, 1);
}

/* shared_each holds a mutex, so nothing may wait there: the lines are gathered first. */
static void gather_object(void *arg, struct bytes name, uint64_t offset, uint64_t size)
{
    char head[64];
    struct text *t = arg;
    if (name.len + sizeof head > HANDOVER_TEXT_BYTES_MAX)
        return;
    int len = snprintf(head, sizeof head, "object %llu %llu ", (unsigned long long)offset,
                       (unsigned long long)size);
    uint32_t whole = (uint32_t)len + (uint32_t)name.len;
    text_add(t, (struct bytes){ (const char *)&whole, sizeof whole });
    text_add(t, (struct bytes){ head, (size_t)len });
    text_add(t, name);
}

static void put_shared(struct sending *s)
{
    struct text objects = { 0 };
    uint64_t end;
    char text[64];
    int fd = shared_area(&end);
    if (fd < 0)
        return;
    int len = snprintf(text, sizeof text, "shared %d %llu", SHARED_LAYOUT, (unsigned long long)end);
    put(s, (struct bytes){ text, (size_t)len }, &fd, 1);
    shared_each(gather_object, &objects);
    for (size_t at = 0; at < objects.len;) {
        uint32_t whole;
        memcpy(&whole, objects.at + at, sizeof whole);
        put(s, (struct bytes){ objects.at + at + sizeof whole, whole }, NULL, 0);
        at += sizeof whole + whole;
    }
    text_free(&objects);
}

/* After a rollback the file is not what runs. */
static void put_conf(struct sending *s)
{
    const struct bytes text = process_self.generation->text;
    uint64_t number = process_self.origin.rolled_back_to;
    char line[64];
    if (!number)
        return;
    int fd = memfd_create("weir-conf", MFD_CLOEXEC);
    if (fd < 0 || pwrite(fd, text.ptr, text.len, 0) != (ssize_t)text.len) {
        s->failed = ERR_SYSTEM;
    } else {
        int len = snprintf(line, sizeof line, "conf %llu", (unsigned long long)number);
        put(s, (struct bytes){ line, (size_t)len }, &fd, 1);
    }
    if (fd >= 0)
        close(fd);
}

/* Where entries go that reach us when it has the ledger already. *ret_ours: our end; -1: there is none. */
static void put_entries(struct sending *s, int *ret_ours)
{
    int pair[2];
    *ret_ours = -1;
    if (!ledger_here() || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    put(s, BYTES("entries"), &pair[1], 1);
    close(pair[1]);
    *ret_ours = pair[0];
}

static err send_all(int socket, int *ret_entries)
{
    struct sending s = { .socket = socket };
    char text[96];
    int len = snprintf(text, sizeof text, "weir %d %llu %d", HANDOVER_VERSION,
                       (unsigned long long)process_self.generation->number, (int)getpid());
    put(&s, (struct bytes){ text, (size_t)len }, NULL, 0);
    struct hash_key key = hash_key(); /* tables in the shared memory are filled by it */
    len =
        snprintf(text, sizeof text, "hash %llu %llu", (unsigned long long)key.k0, (unsigned long long)key.k1);
    put(&s, (struct bytes){ text, (size_t)len }, NULL, 0);
    len = snprintf(text, sizeof text, "log %d", (int)log_level());
    put(&s, (struct bytes){ text, (size_t)len }, NULL, 0);
    put_shared(&s);
    listeners_each(put_listener, &s);
#if WEIR_HAVE_NGTCP2
    put_quic(&s);
#endif
    control_listeners_each(put_control, &s);
    put_entries(&s, ret_entries);
    put_conf(&s);
    for (unsigned i = 0; i < upgrade_self.elders_count; i++)
        put(&s, BYTES("elder"), &upgrade_self.elders[i], 1);
    put(&s, BYTES("end"), NULL, 0);
    return s.failed;
}

/* ---- hearing from it ---- */

static err hear(int socket, struct handover_record *r, struct diag *reterr)
{
    struct bytes rest;
    uint64_t end_us = deadline_in_ms(process_self.generation->conf->upgrade->start_timeout_ms);
    for (;;) {
        uint64_t now_us = worker_now_us();
        err e = handover_receive(socket, r, now_us < end_us ? (end_us - now_us) / 1000 + 1 : 0);
        if (e == ERR_TIMEOUT)
            diag_set(reterr, "the new process was not ready in time (upgrade.start_timeout)");
        else if (e)
            diag_set(reterr, "the new process ended before it was ready; its own log says why");
        if (e)
            return e;
        for (unsigned i = 0; i < r->fds_count; i++)
            close(r->fds[i]); /* it has none to give */
        if (handover_word(r->text, BYTES("taken"), &rest))
            listeners_give(rest);
        else if (handover_word(r->text, BYTES("ready"), &rest))
            return OK;
        else if (handover_word(r->text, BYTES("failed"), &rest)) {
            diag_set(reterr, "the new process cannot serve: %.*s", BYTES_ARG(rest));
            return ERR_CONF;
        }
    }
}

/* It may still be on its way out; if it does not go, it is made to. */
static void end_child(pid_t pid, bool at_once)
{
    for (unsigned i = 0;; i++) {
        if (waitpid(pid, NULL, WNOHANG) == pid)
            return;
        if (at_once || i * END_LOOK_MS >= END_WAIT_MS)
            kill(pid, SIGKILL);
        if (fiber_sleep_us(END_LOOK_MS * 1000) != OK) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            return;
        }
    }
}

static err run(int socket, struct handover_record *r, int *ret_entries, struct diag *reterr)
{
    err e = send_all(socket, ret_entries);
    if (e == ERR_CLOSED)
        return hear(socket, r, reterr) == OK ? ERR_CLOSED : ERR_CONF; /* it said why before it closed */
    if (e) {
        diag_set(reterr, "cannot hand over: %s", err_text(e));
        return e;
    }
    return hear(socket, r, reterr);
}

err upgrade_run(pid_t *ret_pid, struct diag *reterr)
{
    int pair[2], entries = -1;
    pid_t pid;
    if (upgrade_self.elders_count == ELDERS_MAX) {
        diag_set(reterr, "%d processes of earlier upgrades are still draining", ELDERS_MAX);
        return ERR_LIMIT;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
        diag_set(reterr, "cannot make a socket: %s", strerror(errno));
        return err_from_errno(errno);
    }
    err e = spawn(pair[1], &pid, reterr);
    close(pair[1]);
    if (!e) {
        log_info("upgrade", "started process %d", (int)pid);
        struct handover_record *r = mem_must_get(sizeof *r);
        e = run(pair[0], r, &entries, reterr);
        mem_free(r);
        if (e)
            end_child(pid, e == ERR_TIMEOUT);
    }
    if (e) {
        close(pair[0]);
        if (entries >= 0)
            close(entries);
        listeners_give_none();
        shared_kept();
        return e;
    }
    ledger_next_process(entries);
    shared_given(); /* the socket stays open: its end tells the new process of ours */
    *ret_pid = pid;
    return OK;
}
