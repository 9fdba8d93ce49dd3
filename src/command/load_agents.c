/* `weir load --agents` and `weir load agent`: what goes over the wire, and who may ask. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/file_read.h"
#include "base/json.h"
#include "base/mem.h"
#include "command/command.h"
#include "command/load.h"
#include "load/agent.h"
#include "load/scenario.h"

#define LOG_BYTES_MAX ((size_t)256 << 20)

static void add_file(struct text *files, struct bytes name, struct bytes data)
{
    char *code = mem_must_get(base64_text_bytes(data.len) + 1);
    size_t len = base64_encode(data, code);
    json_begin(files, NULL, '{');
    json_text(files, "name", name);
    json_text(files, "base64", (struct bytes){ code, len });
    json_end(files, '}');
    mem_free(code);
}

static err add_file_at(struct text *files, const char *path, const char *name, struct diag *reterr)
{
    struct bytes data;
    err e = file_read_whole(path, LOG_BYTES_MAX, &data, reterr);
    if (e)
        return e;
    add_file(files, bytes_from(name), data);
    file_read_free(data);
    return OK;
}

static err add_scenario(struct load_args *a, const struct scenario *s, struct text *files,
                        struct diag *reterr)
{
    for (unsigned i = 0; i < s->files_count; i++) {
        struct bytes name = s->files[i].name;
        if (name.ptr[0] == '/' || memmem(name.ptr, name.len, "..", 2)) {
            diag_set(reterr, "agents are given the files beside the scenario or below it, not %.*s",
                     BYTES_ARG(name));
            return ERR_CONF;
        }
        add_file(files, name, s->files[i].text);
    }
    json_text(&a->shipped, NULL, BYTES("scenario.yaml"));
    return add_file_at(files, a->scenario, "scenario.yaml", reterr);
}

/* What the child's command line ends with, and the files that it names. */
static err add_operands(struct load_args *a, const struct load_job *job, struct text *files,
                        struct diag *reterr)
{
    err e = OK;
    if (a->body.len) {
        json_text(&a->shipped, NULL, BYTES("--body"));
        json_text(&a->shipped, NULL, BYTES("@body"));
        add_file(files, BYTES("body"), a->body);
    }
    if (a->ca.ptr) {
        json_text(&a->shipped, NULL, BYTES("--ca"));
        json_text(&a->shipped, NULL, BYTES("ca.pem"));
        e = add_file_at(files, a->ca.ptr, "ca.pem", reterr);
    }
    if (a->replay && !e) {
        json_text(&a->shipped, NULL, BYTES("--replay"));
        json_text(&a->shipped, NULL, BYTES("access.log"));
        e = add_file_at(files, a->replay, "access.log", reterr);
    }
    if (!e && job->scenario)
        e = add_scenario(a, job->scenario, files, reterr);
    if (a->url.ptr)
        json_text(&a->shipped, NULL, a->url);
    return e;
}

err load_by_agents(struct load_args *a, const struct load_job *job, const struct run_plan *plan,
                   struct load_find *find, struct load_report *ret_report, struct diag *reterr)
{
    struct text files = { 0 };
    if (!a->token || strlen(a->token) < AGENT_TOKEN_BYTES_MIN) {
        diag_set(reterr, "agents want a token of %u characters or more: --token-file or WEIR_TOKEN",
                 AGENT_TOKEN_BYTES_MIN);
        return ERR_CONF;
    }
    err e = add_operands(a, job, &files, reterr);
    struct agents_plan agents = { .load = &a->load,
                                  .addrs = a->agents,
                                  .names = a->agent_names,
                                  .count = a->agents_count,
                                  .token = a->token,
                                  .args = { a->shipped.at, a->shipped.len },
                                  .files = { files.at, files.len },
                                  .threads = a->load.threads,
                                  .seconds_planned = plan->seconds + plan->warmup_s,
                                  .watchers = plan->watchers,
                                  .parts = plan->parts,
                                  .drive = find ? load_find_by_agents : NULL,
                                  .arg = find };
    if (!e)
        e = agents_run(&agents, ret_report, reterr);
    text_free(&files);
    return e;
}

/* ---- the agent itself ---- */

static int run_agent(const char *listen, const char *token)
{
    struct addr at;
    struct diag d = DIAG_NONE;
    if (addr_parse(bytes_from(listen), &at) != OK)
        return command_misused("load agent: no address: ", listen);
    if (!token || strlen(token) < AGENT_TOKEN_BYTES_MIN)
        return command_misused("load agent wants a token of 8 characters or more: --token-file or WEIR_TOKEN",
                               "");
    return agent_run(&at, token, LOOP_AUTO, &d) == OK ? LOAD_OK : load_fail(d.text, NULL);
}

int load_agent(int argc, char **argv)
{
    static const struct option options[] = { { "listen", required_argument, NULL, 'l' },
                                             { "token-file", required_argument, NULL, 't' },
                                             { NULL, 0, NULL, 0 } };
    const char *listen = NULL, *path = NULL;
    struct bytes text = BYTES_NONE;
    struct diag d = DIAG_NONE;
    char token[256] = "";
    int letter;
    while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (letter == 'l')
            listen = optarg;
        else if (letter == 't')
            path = optarg;
        else
            return command_misused("", "");
    }
    if (!listen || optind != argc)
        return command_misused("load agent needs --listen ADDRESS", "");
    if (!path)
        return run_agent(listen, getenv("WEIR_TOKEN"));
    if (file_read_whole(path, sizeof token - 1, &text, &d) != OK)
        return load_fail(d.text, NULL);
    struct bytes line = bytes_trim((struct bytes){ text.ptr, bytes_index(text, '\n') });
    memcpy(token, line.ptr, line.len);
    file_read_free(text);
    return run_agent(listen, token);
}
