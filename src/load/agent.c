#include "load/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base64.h"
#include "base/json_read.h"
#include "base/mem.h"
#include "core/fiber.h"
#include "core/log.h"
#include "load/load.h"
#include "load/serve.h"

#define JOB_BYTES_MAX ((size_t)1 << 30)
#define REAP_STEP_MS 5
#define SEND_MS 30000
#define PATH_BYTES_MAX 512

struct agent {
    struct serve serve; /* first */
    const char *token;
    const struct addr *at;
    struct diag *reterr;
    pid_t child; /* 0: none */
    struct load_signals signals;
    bool busy;
    err result;
};

/* ---- who may ask ---- */

/* Takes as long whatever is wrong. */
static bool token_is(struct bytes given, struct bytes wanted)
{
    unsigned char off = given.len != wanted.len;
    for (size_t i = 0; i < given.len; i++)
        off |= (unsigned char)(given.ptr[i] ^ wanted.ptr[i % wanted.len]);
    return !off;
}

static bool may(const struct agent *a, const struct serve_call *c)
{
    const struct http_field *f = http_fields_get(&c->request.fields, FIELD_AUTHORIZATION);
    struct bytes value = f ? http_field_value(f) : BYTES_NONE;
    return bytes_starts(value, BYTES("Bearer ")) && token_is(bytes_skip(value, 7), bytes_from(a->token));
}

/* ---- the files of a job, in a folder of its own ---- */

/* Relative, and not out of the folder. */
static bool is_safe_name(struct bytes name)
{
    struct bytes part;
    if (!name.len || name.len > 200 || name.ptr[0] == '/')
        return false;
    while (bytes_split(&name, '/', &part)) {
        if (!part.len || bytes_eq(part, BYTES("..")) || bytes_eq(part, BYTES(".")) ||
            memchr(part.ptr, 0, part.len))
            return false;
    }
    return true;
}

static err make_parents(char *path, size_t from)
{
    for (char *slash = path + from; (slash = strchr(slash, '/')); slash++) {
        *slash = 0;
        int failed = mkdir(path, 0700);
        *slash = '/';
        if (failed && errno != EEXIST)
            return err_from_errno(errno);
    }
    return OK;
}

static err write_bytes(const char *folder, struct bytes name, struct bytes text)
{
    char path[PATH_BYTES_MAX];
    snprintf(path, sizeof path, "%s/%.*s", folder, BYTES_ARG(name));
    err e = make_parents(path, strlen(folder) + 1);
    FILE *f = e ? NULL : fopen(path, "wxe");
    if (!f)
        return e ? e : err_from_errno(errno);
    bool written = fwrite(text.ptr, 1, text.len, f) == text.len;
    return fclose(f) == 0 && written ? OK : ERR_IO;
}

static err write_file(const char *folder, const struct json *file)
{
    struct bytes name = json_member_text(file, "name"), code = json_member_text(file, "base64");
    size_t len;
    if (!is_safe_name(name))
        return ERR_DENIED;
    char *data = mem_must_get(base64_bytes_max(code.len));
    err e = base64_decode(BASE64_STANDARD, code, data, &len);
    if (!e)
        e = write_bytes(folder, name, (struct bytes){ data, len });
    mem_free(data);
    return e;
}
static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *w)
{
    (void)s;
    (void)kind;
    (void)w;
    return remove(path);
}

static void remove_folder(const char *folder)
{
    if (folder[0])
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static err make_folder(char folder[64], const struct json *files)
{
    const char *home = getenv("TMPDIR");
    snprintf(folder, 64, "%s/weir-load.XXXXXX", home && strlen(home) < 40 ? home : "/tmp");
    if (!mkdtemp(folder)) {
        folder[0] = 0;
        return err_from_errno(errno);
    }
    err e = OK;
    unsigned count = 0;
    JSON_EACH(file, files)
    {
        if (!e)
            e = count++ < AGENT_FILES_MAX ? write_file(folder, file) : ERR_LIMIT;
    }
    return e;
}

/* ---- the child ---- */

static bool is_one_of(struct bytes word, const char *const *words)
{
    while (*words && !bytes_eq(word, bytes_from(*words)))
        words++;
    return *words;
}

/* Its own words: nothing that writes files, or reads them outside of the folder, is among what a job may say.
 */
static bool is_safe_option(struct bytes word)
{
    static const char *const options[] = { "--connections", "--threads",  "--duration", "--requests",
                                           "--rate",        "--arrivals", "--header",   "--method",
                                           "--pipeline",    "--timeout",  "--warmup",   "--connect",
                                           "--from",        "--interval", "--loop",     "--seed",
                                           "--share",       "--start-at", "--speed",    "--streams",
                                           "--step-rate",   NULL };
    return is_one_of(word, options);
}

/* Those name a file of the folder. */
static bool is_file_option(struct bytes word)
{
    static const char *const options[] = { "--body", "--replay", "--ca", NULL };
    return is_one_of(word, options);
}

static bool is_flag(struct bytes word)
{
    static const char *const options[] = { "--http2", "--http3", "--insecure", NULL };
    return is_one_of(word, options);
}

/* What is no option is a URL or a scenario of the folder. */
static bool are_safe(const struct json *args)
{
    bool value = false, file = false;
    JSON_EACH(arg, args)
    {
        struct bytes word = arg->text;
        if (arg->kind != JSON_TEXT || memchr(word.ptr, 0, word.len))
            return false;
        if (bytes_starts(word, BYTES("unix:"))) /* sockets of this machine's own programs */
            return false;
        if (file && !is_safe_name(word.len && word.ptr[0] == '@' ? bytes_skip(word, 1) : word))
            return false;
        if (!value && !file && word.len && word.ptr[0] == '-') {
            file = is_file_option(word);
            value = is_safe_option(word);
            if (!file && !value && !is_flag(word))
                return false;
            continue;
        }
        if (!value && !file && !memmem(word.ptr, word.len, "://", 3) && !is_safe_name(word))
            return false;
        value = file = false;
    }
    return !value && !file;
}

static err spawn_child(struct agent *a, const struct json *args, const char *folder, int out)
{
    const char *argv[AGENT_ARGS_MAX + 5] = { "weir", "load", "--emit" };
    unsigned count = 3;
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    JSON_EACH(arg, args)
    {
        if (count == AGENT_ARGS_MAX + 3)
            return ERR_LIMIT;
        argv[count++] = arg->text.ptr; /* json_read puts a NUL behind */
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_adddup2(&actions, out, 2);
    posix_spawn_file_actions_addchdir_np(&actions, folder);
    int failed =
        posix_spawn(&a->child, "/proc/self/exe", &actions, &attributes, (char *const *)argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (failed)
        a->child = 0;
    return err_from_errno(failed);
}

static void end_child(struct agent *a, int number)
{
    if (a->child)
        kill(a->child, number);
}

/* What it writes goes on as it comes; who does not take it any more ends it. */
static void pass_on(struct agent *a, struct serve_call *c, int in)
{
    char *part = mem_must_get(64 * 1024);
    bool heard = true;
    for (;;) {
        ssize_t n = read(in, part, 64 * 1024);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            break;
        if (n > 0 && heard &&
            io_write(c->io, (struct bytes){ part, (size_t)n }, deadline_in_ms(SEND_MS)) != OK)
            heard = false;
        err e = n > 0 ? OK : io_wait_fd(in, POLLIN, deadline_in_ms(200));
        if (e == ERR_CANCELLED || io_peer_ended(c->io) || io_failed(c->io))
            heard = false;
        if (!heard)
            end_child(a, SIGKILL);
        if (e == ERR_CANCELLED)
            break;
    }
    mem_free(part);
}

static int reap(struct agent *a)
{
    int status = 0;
    while (waitpid(a->child, &status, WNOHANG) == 0) {
        if (fiber_sleep_us(REAP_STEP_MS * 1000) == ERR_CANCELLED)
            fiber_yield(); /* it was killed: soon */
    }
    a->child = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static err run_child(struct agent *a, struct serve_call *c, const struct json *job, const char *folder)
{
    int ends[2];
    char line[48];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return err_from_errno(errno);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    err e = spawn_child(a, json_member(job, "args"), folder, ends[1]);
    close(ends[1]);
    if (!e) {
        e = serve_begin(c, 200, "application/x-ndjson");
        pass_on(a, c, ends[0]);
        int len = snprintf(line, sizeof line, "{\"exit\":%d}\n", reap(a));
        if (!e)
            e = io_write(c->io, (struct bytes){ line, (size_t)len }, deadline_in_ms(SEND_MS));
    }
    close(ends[0]);
    return e;
}

static void take_job(struct agent *a, struct serve_call *c)
{
    struct arena arena;
    struct json *job;
    char folder[64] = "";
    arena_open(&arena, &arena_heap, JOB_BYTES_MAX, NULL, 0);
    err e = json_read(c->body, &arena, &job);
    if (!e && !are_safe(json_member(job, "args")))
        e = ERR_DENIED;
    if (!e)
        e = make_folder(folder, json_member(job, "files"));
    if (!e)
        log_info("load", "a run begins");
    if (e || (e = run_child(a, c, job, folder)) != OK)
        serve_answer(c, e == ERR_SYNTAX || e == ERR_DENIED ? 400 : 500, "text/plain",
                     bytes_from(err_text(e)));
    remove_folder(folder);
    arena_close(&arena);
}

/* ---- what is asked ---- */

static void answer_clock(struct serve_call *c)
{
    struct timespec t;
    char text[64];
    clock_gettime(CLOCK_REALTIME, &t);
    int len = snprintf(text, sizeof text, "{\"now_us\":%llu}\n",
                       (unsigned long long)t.tv_sec * 1000000 + (unsigned long long)t.tv_nsec / 1000);
    serve_answer(c, 200, "application/json", (struct bytes){ text, (size_t)len });
}

static void handle(struct serve *s, struct serve_call *c)
{
    struct agent *a = (struct agent *)s;
    bool post = c->request.method == HTTP_POST;
    if (!may(a, c)) {
        serve_answer(c, 401, "text/plain", BYTES("the token is missing or wrong\n"));
    } else if (bytes_eq(c->request.path, BYTES("/v1/clock"))) {
        answer_clock(c);
    } else if (bytes_eq(c->request.path, BYTES("/v1/stop")) && post) {
        end_child(a, SIGINT);
        serve_answer(c, 200, "text/plain", BYTES("told\n"));
    } else if (!bytes_eq(c->request.path, BYTES("/v1/load")) || !post) {
        serve_answer(c, 404, "text/plain",
                     BYTES("there are GET /v1/clock, POST /v1/load and POST /v1/stop\n"));
    } else if (a->busy) {
        serve_answer(c, 409, "text/plain", BYTES("it runs something already\n"));
    } else {
        a->busy = true;
        take_job(a, c);
        a->busy = false;
    }
}

/* ---- life ---- */

static void agent_control(void *arg)
{
    struct agent *a = arg;
    char text[ADDR_TEXT_BYTES_MAX];
    a->result = serve_open(&a->serve, a->at, a->reterr);
    if (!a->result) {
        addr_print(&a->serve.bound, text);
        log_info("load", "agent: listening address=%s", text);
        (void)!io_wait_fd(a->signals.fd, POLLIN, DEADLINE_NONE);
        log_info("load", "agent: ends");
        serve_close(&a->serve);
        end_child(a, SIGKILL);
    }
    fiber_cancel_all();
    while (fiber_stats(worker_self()).live > 1)
        fiber_yield();
    worker_stop(worker_self());
}

err agent_run(const struct addr *at, const char *token, enum loop_kind loop, struct diag *reterr)
{
    struct agent a = { .serve = { .handle = handle }, .token = token, .at = at, .reterr = reterr };
    struct worker_opts o = { .index = 0, .loop = loop, .cpu = -1, .name = "agent" };
    err e = load_signals_open(&a.signals);
    if (e)
        return e;
    e = worker_run(&o, agent_control, &a, reterr);
    load_signals_close(&a.signals);
    return e ? e : a.result;
}
