/* ip_allow: which client addresses may use a route; the others get 403.
 *
 *      ip_allow: [10.0.0.0/8, file:/etc/weir/offices]
 *      ip_allow: {allow: all, deny: file:/etc/weir/blocked}
 *
 * Both lists are one set (base/cidr.h). The most specific entry that holds the address decides, whichever
 * list it is in; of equal ones deny. An address that no entry holds may pass when there is no allow list. */
#include "base/cidr.h"
#include "base/mem.h"
#include "core/metrics.h"
#include "gate/filter.h"
#include "gate/once.h"

struct ip_allow_conf {
    struct conf_list allow, deny; /* struct bytes */
    int64_t status;
};

/* In the set; of equal ranges the higher counts. */
enum verdict { VERDICT_ALLOW, VERDICT_DENY };

#define IP_ALLOW_METRICS(X)                                                       \
    X(ALLOWED, "allowed_total", METRIC_COUNTER, "Requests that were let through") \
    X(DENIED, "denied_total", METRIC_COUNTER, "Requests refused for their address")

enum ip_allow_metric {
#define X(id, name, type, help) METRIC_##id,
    IP_ALLOW_METRICS(X)
#undef X
        METRIC_COUNT
};

static const struct metric_group metric_group = {
    .module = "ip_allow",
    .defs =
        (const struct metric_def[]){
#define X(id, name, type, help) { name, type, help },
            IP_ALLOW_METRICS(X)
#undef X
        },
    .count = METRIC_COUNT,
    .labels = (const char *const[]){ "route", NULL },
};

/* ---- the set, one for all workers ---- */

static err add_all(struct cidr_list *l, const struct conf_list *texts, enum verdict v, struct diag *reterr)
{
    const struct bytes *text = texts->items;
    err e = OK;
    for (size_t i = 0; !e && i < texts->count; i++)
        e = cidr_list_add(l, text[i], v, reterr);
    return e;
}

static err make(const void *conf, void **ret_made, struct diag *reterr)
{
    const struct ip_allow_conf *c = conf;
    struct cidr_list l = CIDR_LIST_EMPTY;
    struct cidr_set *set;
    err e = add_all(&l, &c->allow, VERDICT_ALLOW, reterr);
    if (!e)
        e = add_all(&l, &c->deny, VERDICT_DENY, reterr);
    if (!e)
        e = cidr_set_build(&l, &set);
    cidr_list_close(&l);
    if (!e)
        *ret_made = set;
    return e;
}

static void unmake(void *made)
{
    cidr_set_free(made);
}

static const struct once_kind set_kind = { make, unmake };

/* ---- the filter ---- */

struct ip_allow {
    const struct ip_allow_conf *conf;
    void *set; /* struct cidr_set */
    struct metric_instance *metrics;
    struct metric_cells *cells;
};

static bool may_pass(const struct ip_allow *a, const struct addr *client)
{
    uint32_t found = client ? cidr_set_find(a->set, client) : CIDR_NONE;
    return found == CIDR_NONE ? a->conf->allow.count == 0 : found == VERDICT_ALLOW;
}

static err ip_allow_handle(struct exchange *x, void *state, struct chain *next)
{
    struct ip_allow *a = state;
    if (may_pass(a, x->client)) {
        metric_inc(a->cells, METRIC_ALLOWED);
        return chain_next(next, x);
    }
    metric_inc(a->cells, METRIC_DENIED);
    exchange_answer(x, (unsigned)a->conf->status, BYTES_NONE, BYTES_NONE, BYTES("ip_allow"));
    return OK;
}

static void ip_allow_close(void *state)
{
    struct ip_allow *a = state;
    metric_instance_free(a->metrics);
    once_put(a->set);
    mem_free(a);
}

static err ip_allow_open(const void *conf, struct gate *g, struct bytes scope, void **ret_state,
                         struct diag *reterr)
{
    (void)g;
    struct ip_allow *a = mem_get(sizeof *a);
    if (!a)
        return ERR_MEMORY;
    a->conf = conf;
    err e = once_get(&set_kind, conf, &a->set, reterr);
    if (!e)
        e = metric_instance_open(&metric_group, &scope, &a->metrics);
    if (e) {
        ip_allow_close(a);
        return e;
    }
    a->cells = metric_cells(a->metrics, worker_index(worker_self()));
    *ret_state = a;
    return OK;
}

static err ip_allow_check(void *conf, struct diag *reterr)
{
    const struct ip_allow_conf *c = conf;
    void *set;
    if (c->allow.count + c->deny.count == 0) {
        diag_set(reterr, "ip_allow: say whom to allow or whom to deny");
        return ERR_CONF;
    }
    err e = make(conf, &set, reterr);
    if (!e)
        unmake(set);
    return e;
}

#define ENTRIES                                                                                            \
    "addresses and ranges (`10.0.0.0/8`, `2001:db8::/32`), `private`, `loopback`, `all`, or `file:/path` " \
    "of them"

const struct filter ip_allow_filter = {
    .conf = { .name = "ip_allow",
              .size = sizeof(struct ip_allow_conf),
              .phrases = (const char *const[]){ "{allow}", NULL },
              .fields =
                  (const struct conf_field[]){
                      { .name = "allow",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct ip_allow_conf, allow),
                        .doc = "who may pass: " ENTRIES "; when not said, everybody who is not denied" },
                      { .name = "deny",
                        .type = CONF_LIST,
                        .item = CONF_TEXT,
                        .offset = offsetof(struct ip_allow_conf, deny),
                        .doc =
                            "who may not, written likewise; the most specific entry of both lists decides" },
                      { .name = "status",
                        .type = CONF_INT,
                        .offset = offsetof(struct ip_allow_conf, status),
                        .preset = "403",
                        .min = 400,
                        .max = 599,
                        .doc = "what the others are answered" },
                      { 0 } },
              .check = ip_allow_check,
              .doc = "Lets only some client addresses use a route." },
    .open = ip_allow_open,
    .handle = ip_allow_handle,
    .close = ip_allow_close,
};
