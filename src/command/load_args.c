#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file_read.h"
#include "base/json.h"
#include "command/command.h"
#include "command/load.h"
#include "core/conf.h"
#include "gate/cpus.h"
#include "proto/http.h"

#define BODY_BYTES_MAX (64u << 20)
#define RATE_MAX 1e8
#define TOKEN_BYTES_MAX 4096

/*    long name     argument    short  help (first column in the order of the help) */
#define OPTION_LIST(X)                                                                                \
    X("connections", "N", 'c', "connections (64; in an open loop as many as are needed, up to 1024)") \
    X("threads", "N", 't', "threads, one core each (1)")                                              \
    X("duration", "TIME", 'd', "how long (10s)")                                                      \
    X("requests", "N", 'n', "ends after so many requests")                                            \
    X("rate", "N", 'r', "open loop: so many requests a second, whatever the answers do")              \
    X("arrivals", "KIND", 'A', "even or poisson (even)")                                              \
    X("header", "'A: b'", 'H', "a field of the requests; may be repeated")                            \
    X("method", "NAME", 'X', "GET; POST with a body")                                                 \
    X("body", "TEXT|@FILE", 'b', "the requests' body")                                                \
    X("http2", "", '2', "HTTP/2: with https by ALPN, else without asking (prior knowledge)")          \
    X("http3", "", '3', "HTTP/3, with https")                                                         \
    X("streams", "N", 'm', "HTTP/2 and 3: requests in flight on each connection (1)")                 \
    X("pipeline", "N", 'p', "HTTP/1.1: the same, in a closed loop (1)")                               \
    X("timeout", "TIME", 'T', "of a connect, and of a whole answer (10s)")                            \
    X("warmup", "TIME", 'w', "before anything counts (0s)")                                           \
    X("connect", "ADDRESS", 'C', "connects there, whatever the URL says (10.0.0.1:80, unix:/path)")   \
    X("ca", "FILE", 'k', "https: whose certificates are believed, instead of the system's")           \
    X("insecure", "", 'I', "https: any certificate will do")                                          \
    X("from", "IP,...", 'F', "own addresses to connect from, in turn: 28,000 connections each")       \
    X("fail-if", "CONDITIONS", 'f', "exit code 3 when one is true: 'p99 > 200ms, errors > 0.1%'")     \
    X("find-limit", "CONDITIONS", 'L',                                                                \
      "the highest rate at which all are true: 'p99 < 200ms, errors < 0.1%'")                         \
    X("json", "FILE|-", 'j', "the result as JSON")                                                    \
    X("csv", "FILE|-", 'v', "a line an interval")                                                     \
    X("hdr", "FILE|-", 'R', "HdrHistogram's log format")                                              \
    X("interval", "TIME", 'i', "of the live view and of what is drawn over time (1s)")                \
    X("html", "FILE", 'y', "a page with plots that needs nothing else")                               \
    X("metrics", "ADDRESS", 'M', "Prometheus metrics there while it runs: 127.0.0.1:9902")            \
    X("replay", "FILE", 'P', "the requests of an access log, at its own pace")                        \
    X("speed", "N", 'x', "of a replay: 2 is twice as fast")                                           \
    X("agents", "ADDRESS,...", 'G',                                                                   \
      "machines that run `weir load agent` do it, all at once; -c, -r, -n are of all")                \
    X("token-file", "FILE", 'K', "what the agents want to see; else WEIR_TOKEN of the environment")   \
    X("loop", "KIND", 'l', "auto, io_uring or epoll (auto)")                                          \
    X("seed", "N", 'S', "the same random numbers in every run with it")                               \
    X("quiet", "", 'q', "no live view, no table")                                                     \
    X("help", "", 'h', "this")

static const struct option options[] = {
#define X(name, argument, letter, help) \
    { name, sizeof argument > 1 ? required_argument : no_argument, NULL, letter },
    OPTION_LIST(X)
#undef X
    /* what an agent tells its child; no person needs it */
    { "emit", no_argument, NULL, 'E' },
    { "share", required_argument, NULL, 'z' },
    { "start-at", required_argument, NULL, 'Z' },
    { "step-rate", required_argument, NULL, 'Q' },
    { NULL, 0, NULL, 0 },
};

static int print_help(FILE *to)
{
    fprintf(to, "usage: weir load [OPTIONS] URL\n       weir load [OPTIONS] SCENARIO.yaml [URL]\n       weir "
                "load compare [--worse N%%] A.json B.json\n\n");
    static const struct {
        const char *name, *argument;
        char letter;
        const char *help;
    } lines[] = {
#define X(name, argument, letter, help) { name, argument, letter, help },
        OPTION_LIST(X)
#undef X
    };
    for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++) {
        char left[48], letter[8] = "    ";
        if (strchr("ctdnrHXmhq", lines[i].letter))
            snprintf(letter, sizeof letter, "-%c, ", lines[i].letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, lines[i].name, *lines[i].argument ? " " : "",
                 lines[i].argument);
        fprintf(to, "  %-30s %s\n", left, lines[i].help);
    }
    fprintf(to, "\nExit: 0 done, 1 it could not, 2 not understood, 3 a condition of --fail-if is true.\n");
    return to == stdout ? LOAD_HELPED : LOAD_MISUSED;
}

static int misused(const char *option, const char *why, const char *value)
{
    fprintf(stderr, "weir: load %s: %s%s\n", option, why, value ? value : "");
    return LOAD_MISUSED;
}

/* ---- values ---- */

static int read_count(const char *option, const char *value, uint64_t least, uint64_t most, uint64_t *out)
{
    uint64_t n;
    if (bytes_to_u64(bytes_from(value), &n) && n >= least && n <= most) {
        *out = n;
        return LOAD_OK;
    }
    fprintf(stderr, "weir: load %s takes a number from %llu to %llu, not %s\n", option,
            (unsigned long long)least, (unsigned long long)most, value);
    return LOAD_MISUSED;
}

/* wrk's habit, 30 for 30s, is understood. */
static int read_time(struct load_args *a, const char *option, const char *value, uint64_t *ret_ms)
{
    const struct conf_field field = {
        .name = option, .type = CONF_MS, .min = 0, .max = CURVE_SECONDS_MAX * 1000
    };
    struct diag d = DIAG_NONE;
    uint64_t seconds;
    if (bytes_to_u64(bytes_from(value), &seconds) && (double)seconds <= CURVE_SECONDS_MAX) {
        *ret_ms = seconds * 1000;
        return LOAD_OK;
    }
    if (conf_parse_scalar(bytes_from(value), &field, &a->arena, ret_ms, &d) == OK)
        return LOAD_OK;
    return misused(option, d.text, NULL);
}

static int read_rate(struct load_args *a, const char *value)
{
    char *end;
    double rate = strtod(value, &end);
    bool unit = strcmp(end, "/s") == 0 || !*end;
    if (!unit || !(rate >= 0.001) || rate > RATE_MAX)
        return misused("--rate", "takes requests a second (50000, 0.5/s), not ", value);
    a->rate = rate;
    return LOAD_OK;
}

/* "2", "0.5x" */
static int read_speed(struct load_args *a, const char *value)
{
    char *end;
    double speed = strtod(value, &end);
    if (!(speed >= 0.001) || speed > 1000000 || (*end && strcmp(end, "x") != 0))
        return misused("--speed", "takes how many times as fast (2, 0.5x), not ", value);
    a->speed = speed;
    return LOAD_OK;
}

static int read_address(const char *option, const char *value, struct addr *out)
{
    return addr_parse(bytes_from(value), out) == OK ? LOAD_OK : misused(option, "is no address: ", value);
}

/* "2/6": the shares from the third of six on. */
static int read_share(struct load_args *a, const char *value)
{
    struct bytes text = bytes_from(value), first = { value, bytes_index(text, '/') };
    uint64_t from, all;
    if (first.len == text.len || !bytes_to_u64(first, &from) ||
        !bytes_to_u64(bytes_skip(text, first.len + 1), &all) || from >= all ||
        all > LOAD_THREADS_MAX * AGENTS_MAX)
        return misused("--share", "is no share: ", value);
    a->load.share_first = (unsigned)from;
    a->load.shares = (unsigned)all;
    return LOAD_OK;
}

static int read_agents(struct load_args *a, const char *value)
{
    struct bytes rest = bytes_from(value), part;
    while (bytes_split(&rest, ',', &part)) {
        struct bytes name = arena_copy(&a->arena, bytes_trim(part));
        if (a->agents_count == AGENTS_MAX || addr_parse(name, &a->agents[a->agents_count]) != OK)
            return misused("--agents", "takes up to 64 addresses (10.0.0.1:9903,10.0.0.2:9903), not ", value);
        a->agent_names[a->agents_count++] = name.ptr;
    }
    return LOAD_OK;
}

static int read_token_file(struct load_args *a, const char *value)
{
    struct bytes text;
    struct diag d = DIAG_NONE;
    if (file_read_whole(value, TOKEN_BYTES_MAX, &text, &d) != OK)
        return misused("--token-file", d.text, NULL);
    struct bytes line = { text.ptr, bytes_index(text, '\n') };
    a->token = arena_copy(&a->arena, bytes_trim(line)).ptr;
    file_read_free(text);
    return LOAD_OK;
}

/* An option as agents are told it. */
static void ship(struct load_args *a, int letter, const char *value)
{
    static const char letters[] = "ctdnrAHXm23IpTwCFilSx";
    for (unsigned i = 0; options[i].name && strchr(letters, letter); i++) {
        char name[32];
        if (options[i].val != letter)
            continue;
        snprintf(name, sizeof name, "--%s", options[i].name);
        json_text(&a->shipped, NULL, bytes_from(name));
        if (options[i].has_arg)
            json_text(&a->shipped, NULL, bytes_from(value));
    }
}

static int read_word(const char *option, const char *value, const char *const *words, unsigned *ret_index)
{
    for (unsigned i = 0; words[i]; i++) {
        if (strcmp(words[i], value) == 0) {
            *ret_index = i;
            return LOAD_OK;
        }
    }
    return misused(option, "does not know ", value);
}

static int read_field(struct load_args *a, const char *value)
{
    struct bytes line = bytes_from(value);
    struct bytes name = { line.ptr, bytes_index(line, ':') };
    struct bytes text = name.len < line.len ? bytes_trim(bytes_skip(line, name.len + 1)) : BYTES_NONE;
    if (name.len == line.len || !http_is_token(name) || !http_is_field_value(text))
        return misused("--header", "takes 'Name: value', not ", value);
    enum http_field_id id = http_field_id_of(name);
    if (id == FIELD_CONTENT_LENGTH || id == FIELD_TRANSFER_ENCODING)
        return misused("--header", "the length of the body is written by itself: ", value);
    a->has_host = a->has_host || id == FIELD_HOST;
    a->fields =
        arena_print(&a->arena, "%.*s%.*s: %.*s\r\n", BYTES_ARG(a->fields), BYTES_ARG(name), BYTES_ARG(text));
    return a->fields.ptr ? LOAD_OK : misused("--header", "there are too many", NULL);
}

static int read_body(struct load_args *a, const char *value)
{
    if (value[0] != '@') {
        a->body = bytes_from(value);
        return LOAD_OK;
    }
    struct diag d = DIAG_NONE;
    struct bytes body;
    if (file_read_whole(value + 1, BODY_BYTES_MAX, &body, &d) != OK)
        return misused("--body", d.text, NULL);
    a->body = arena_copy(&a->arena, body);
    file_read_free(body);
    return a->body.ptr ? LOAD_OK : misused("--body", "is too large", NULL);
}

static int read_sources(struct load_args *a, const char *value)
{
    struct bytes rest = bytes_from(value), part;
    unsigned count = 0;
    while (bytes_split(&rest, ',', &part)) {
        bool v6 = bytes_index(part, ':') < part.len;
        struct bytes text = arena_print(&a->arena, v6 ? "[%.*s]:1" : "%.*s:1", BYTES_ARG(part));
        struct addr *at = &a->sources[count];
        if (count == LOAD_SOURCES_MAX || addr_parse(text, at) != OK)
            return misused("--from", "takes up to 64 addresses (127.0.0.2,127.0.0.3), not ", value);
        if (v6)
            at->sock.v6.sin6_port = 0;
        else
            at->sock.v4.sin_port = 0;
        a->tcp[count] = (struct tcp_options){ .nodelay = true, .source = at };
        count++;
    }
    a->load.tcp_count = count;
    return count ? LOAD_OK : misused("--from", "is empty", NULL);
}

static int read_thresholds(const char *option, const char *value, struct thresholds *out)
{
    struct diag d = DIAG_NONE;
    return thresholds_parse(bytes_from(value), out, &d) == OK ? LOAD_OK : misused(option, d.text, NULL);
}

/* ---- all of them ---- */

static int read_number_option(struct load_args *a, int letter, const char *value)
{
    uint64_t n = 0;
    int result;
    switch (letter) {
    case 'c':
        result = read_count("--connections", value, 1, LOAD_CONNECTIONS_MAX, &n);
        a->load.connections = (unsigned)n;
        a->connections_given = true;
        return result;
    case 't':
        result = read_count("--threads", value, 1, LOAD_THREADS_MAX, &n);
        a->load.threads = (unsigned)n;
        return result;
    case 'n':
        return read_count("--requests", value, 1, UINT64_MAX / 2, &a->load.requests_max);
    case 'm':
        a->streams_given = true;
        return read_count("--streams", value, 1, LOAD_PIPELINE_MAX, &a->pipeline);
    case 'p':
        a->pipeline_given = true;
        return read_count("--pipeline", value, 1, LOAD_PIPELINE_MAX, &a->pipeline);
    default:
        return read_count("--seed", value, 0, UINT64_MAX, &a->load.seed);
    }
}

static int read_time_option(struct load_args *a, int letter, const char *value)
{
    switch (letter) {
    case 'd':
        a->duration_given = true;
        return read_time(a, "--duration", value, &a->duration_ms);
    case 'T':
        return read_time(a, "--timeout", value, &a->timeout_ms);
    case 'w':
        a->warmup_given = true;
        return read_time(a, "--warmup", value, &a->warmup_ms);
    default:
        return read_time(a, "--interval", value, &a->interval_ms);
    }
}

static int read_option(struct load_args *a, int letter, const char *value)
{
    static const char *const arrivals[] = {
#define X(id, word) word,
        ARRIVALS_LIST(X)
#undef X
            NULL
    };
    static const char *const loops[] = { "auto", "io_uring", "epoll", NULL };
    unsigned index = 0;
    int result;
    switch (letter) {
    case 'r':
        return read_rate(a, value);
    case 'A':
        result = read_word("--arrivals", value, arrivals, &index);
        a->load.arrivals = (enum arrivals_kind)index;
        return result;
    case 'l':
        result = read_word("--loop", value, loops, &index);
        a->load.loop = (enum loop_kind)index;
        return result;
    case 'H':
        return read_field(a, value);
    case '2':
        a->load.http2 = true;
        return LOAD_OK;
    case '3':
        a->load.http3 = true;
        return LOAD_OK;
    case 'X':
        a->method = bytes_from(value);
        return http_is_token(a->method) ? LOAD_OK : misused("--method", "is no method: ", value);
    case 'b':
        return read_body(a, value);
    case 'C':
        return read_address("--connect", value, &a->target.addr);
    case 'M':
        return read_address("--metrics", value, &a->metrics);
    case 'x':
        return read_speed(a, value);
    case 'I':
        a->insecure = true;
        return LOAD_OK;
    case 'k':
        a->ca = bytes_from(value);
        return LOAD_OK;
    case 'G':
        return read_agents(a, value);
    case 'K':
        return read_token_file(a, value);
    case 'E':
        a->emit = a->quiet = true;
        return LOAD_OK;
    case 'z':
        return read_share(a, value);
    case 'Q':
        a->step = true;
        return read_rate(a, value);
    case 'Z':
        return read_count("--start-at", value, 0, UINT64_MAX, &a->start_us);
    case 'y':
        a->html = value;
        return LOAD_OK;
    case 'P':
        a->replay = value;
        return LOAD_OK;
    case 'F':
        return read_sources(a, value);
    case 'f':
        return read_thresholds("--fail-if", value, &a->fail_if);
    case 'L':
        return read_thresholds("--find-limit", value, &a->find_limit);
    case 'j':
        a->json = value;
        return LOAD_OK;
    case 'v':
        a->csv = value;
        return LOAD_OK;
    case 'R':
        a->hdr = value;
        return LOAD_OK;
    case 'q':
        a->quiet = true;
        return LOAD_OK;
    case 'h':
        return print_help(stdout);
    default:
        return strchr("ctnpmS", letter) ? read_number_option(a, letter, value)
                                        : read_time_option(a, letter, value);
    }
}

static bool is_scenario(const char *word)
{
    const char *dot = strrchr(word, '.');
    return !strstr(word, "://") && dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

static int read_url(struct load_args *a)
{
    struct diag d = DIAG_NONE;
    struct addr connect = a->target.addr;
    if (target_parse(a->url, &a->arena, &a->target, &d) != OK)
        return misused("URL", d.text, NULL);
    a->target.addr = connect;
    return LOAD_OK;
}

static int read_operands(struct load_args *a, int argc, char **argv)
{
    if (optind < argc && is_scenario(argv[optind]))
        a->scenario = argv[optind++];
    if (optind < argc)
        a->url = bytes_from(argv[optind++]);
    if (optind < argc || (!a->url.ptr && !a->scenario)) {
        fprintf(stderr, "weir: load takes one URL, or a scenario and perhaps the server's URL\n");
        return print_help(stderr);
    }
    if (a->scenario && a->quick_only)
        return misused(a->quick_only, "is said by the scenario", NULL);
    return a->scenario ? LOAD_OK : read_url(a);
}

static int check(struct load_args *a)
{
    if (!a->connections_given)
        a->load.connections = a->rate > 0 || a->find_limit.count || a->replay ? 1024 : 64;
    if (a->load.connections < a->load.threads * (a->agents_count ? a->agents_count : 1))
        return misused("--connections", "must be one a thread at least, of all machines", NULL);
    if (a->load.http2 && !WEIR_HAVE_NGHTTP2)
        return misused("--http2", "this weir was built without libnghttp2", NULL);
    if (a->load.http3 && !WEIR_HAVE_NGTCP2)
        return misused("--http3", "this weir was built without libngtcp2 and libnghttp3", NULL);
    if (a->load.http3 && a->load.http2)
        return misused("--http3", "is not for --http2", NULL);
    if (a->streams_given && !a->load.http2 && !a->load.http3)
        return misused("--streams", "is for --http2 and --http3; HTTP/1.1 has --pipeline", NULL);
    if (a->pipeline_given && (a->load.http2 || a->load.http3))
        return misused("--pipeline", "is for HTTP/1.1; HTTP/2 and 3 have --streams", NULL);
    if (a->rate > 0 && a->pipeline_given && a->pipeline > 1)
        return misused("--pipeline", "is for a closed loop, without --rate", NULL);
    if (a->replay && (a->rate > 0 || a->find_limit.count || a->load.requests_max || a->pipeline_given ||
                      a->scenario || a->duration_given || a->warmup_ms))
        return misused("--replay",
                       "is an open loop at the log's own times: no --rate, --duration and the like", NULL);
    if (a->find_limit.count && a->load.requests_max)
        return misused("--find-limit", "takes a --duration for each step, not --requests", NULL);
    if (a->find_limit.count && a->rate > 0)
        return misused("--find-limit", "looks for the rate: leave out --rate", NULL);
    if (a->find_limit.count && a->pipeline_given)
        return misused("--find-limit", "is an open loop: leave out --pipeline", NULL);
    if (a->duration_ms == 0 || a->interval_ms < 50 || a->timeout_ms == 0)
        return misused("--duration", "must be more than 0; so must --timeout; --interval at least 50ms",
                       NULL);
    return LOAD_OK;
}

/* For a mistake that is seen later. */
static void note_quick_only(struct load_args *a, int letter)
{
    static const char letters[] = "crAHXmbpT";
    for (unsigned i = 0; options[i].name && letter != '?'; i++) {
        if (options[i].val == letter && strchr(letters, letter))
            a->quick_only = options[i].name;
    }
}

int load_args_read(struct load_args *a, int argc, char **argv)
{
    int letter, result = LOAD_OK;
    arena_open(&a->arena, &arena_heap, (size_t)1 << 30, NULL, 0);
    a->load.threads = 1;
    a->load.tcp_count = 1;
    a->tcp[0] = (struct tcp_options){ .nodelay = true };
    a->load.seed = 1;
    a->duration_ms = a->timeout_ms = 10000;
    a->interval_ms = 1000;
    a->pipeline = 1;
    a->speed = 1;
    a->fields = BYTES("");
    while (!result && (letter = getopt_long(argc, argv, "c:t:d:n:r:H:m:X:hq", options, NULL)) != -1) {
        note_quick_only(a, letter);
        ship(a, letter, optarg);
        result = letter == '?' ? print_help(stderr) : read_option(a, letter, optarg);
    }
    if (!result)
        result = read_operands(a, argc, argv);
    if (!result)
        result = check(a);
    if (!a->token)
        a->token = getenv("WEIR_TOKEN");
    a->load.tcp = a->tcp;
    a->load.timeout_us = a->timeout_ms * 1000;
    return result;
}
