#include "load/users.h"

#include <stdio.h>

#include "base/mem.h"
#include "core/fiber.h"
#include "load/script.h"
#include "load/user.h"
#include "load/visit.h"

#define STEP_MS 10   /* users come and go in such steps */
#define AGAIN_MS 100 /* behind a visit that could not even connect, so that nothing spins */
#define MAPPINGS_SPARE 4096u
#define MAPPINGS_DEFAULT 65530u

unsigned users_max(void)
{
    unsigned most = MAPPINGS_DEFAULT;
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    if (f && fscanf(f, "%u", &most) != 1)
        most = MAPPINGS_DEFAULT;
    if (f)
        fclose(f);
    return most > 2 * MAPPINGS_SPARE ? (most - MAPPINGS_SPARE) / 2 : 1000;
}

bool user_think(struct user *u, const struct think_conf *think)
{
    struct users *all = u->all;
    uint64_t us = think_draw(think, &all->lw->random);
    if (!us || all->lw->stopping)
        return !all->lw->stopping;
    list_push_back(&all->thinking, &u->link);
    u->thinking = true;
    err e = u->websocket ? visit_websocket_rest(u, us) : fiber_sleep_us(us);
    u->thinking = false;
    list_remove(&u->link);
    return !e && !all->lw->stopping;
}

static struct user *new_user(struct users *all)
{
    struct load_worker *lw = all->lw;
    size_t slots = all->scenario->slots_count + 1;
    if (all->count == all->most)
        return NULL;
    struct user *u = mem_must_get(sizeof *u + 2 * slots * sizeof *u->slots);
    u->all = all;
    u->here = all->count;
    u->number = all->count * lw->load->shares + load_share_number(lw);
    u->slots = (struct bytes *)(void *)(u + 1);
    if (all->scenario->before.steps_count)
        u->slots_kept = u->slots + slots;
    arena_open(&u->kept, &arena_heap, KEPT_BYTES_MAX, NULL, 0);
    all->users[all->count++] = u;
    return u;
}

/* ---- a closed loop: so many users ---- */

static unsigned wanted_now(const struct users *all)
{
    const struct load_worker *lw = all->lw;
    const struct load *l = lw->load;
    uint64_t now_ns = load_now_ns();
    double at_s = now_ns > lw->start_ns ? (double)(now_ns - lw->start_ns) / 1e9 : 0;
    double level = lw->curve ? curve_level(lw->curve, at_s) : 0;
    double spread_s = (double)all->scenario->conf->spread_ms / 1000;
    if (at_s < spread_s)
        level = level * at_s / spread_s;
    uint64_t users = (uint64_t)(level + 0.5);
    uint64_t share = load_share(users, load_share_number(lw), l->shares);
    return share < all->most ? (unsigned)share : all->most;
}

static void user_run(void *arg)
{
    struct user *u = arg;
    struct users *all = u->all;
    struct load_worker *lw = all->lw;
    u->fiber = fiber_self();
    while (!lw->stopping && lw->left && u->here < all->alive) {
        lw->left--;
        lw->in_flight++;
        visit_run(u, 0);
        lw->in_flight--;
        if (!user_think(u, all->scenario->conf->think) ||
            (u->refused && fiber_sleep_us(AGAIN_MS * 1000) != OK))
            break;
    }
    u->fiber = NULL;
}

/* Those above `alive` leave when their visit is over, or from their thoughts. */
static void send_home(struct users *all)
{
    LIST_EACH (l, &all->thinking) {
        struct user *u = container_of(l, struct user, link);
        if (u->here >= all->alive)
            fiber_cancel(u->fiber);
    }
}

static void steward_run(void *arg)
{
    struct users *all = arg;
    while (!all->lw->stopping) {
        unsigned wanted = wanted_now(all);
        bool fewer = wanted < all->alive;
        all->alive = wanted;
        if (fewer)
            send_home(all);
        for (unsigned i = 0; i < wanted; i++) {
            struct user *u = i < all->count ? all->users[i] : new_user(all);
            if (!u->fiber && all->lw->left)
                fiber_spawn(user_run, u);
        }
        if (fiber_sleep_us(STEP_MS * 1000) != OK)
            break;
    }
}

/* ---- an open loop: visits that are due ---- */

static void due_run(void *arg)
{
    struct user *u = arg;
    struct load_worker *lw = u->all->lw;
    u->fiber = fiber_self();
    if (lw->stopping)
        lw->stats->kinds[0].errors[LOAD_ERROR_UNSENT]++;
    else
        visit_run(u, u->due_ns);
    u->fiber = NULL;
    lw->in_flight--;
    list_push_front(&u->all->idle, &u->link);
    load_worker_free(lw);
}

static bool users_due(struct load_worker *lw, uint64_t due_ns)
{
    struct users *all = lw->carrier;
    struct link *l = list_pop_front(&all->idle);
    struct user *u = l ? container_of(l, struct user, link) : new_user(all);
    if (!u)
        return false;
    lw->left--;
    lw->in_flight++;
    u->due_ns = due_ns;
    fiber_spawn(due_run, u);
    return true;
}

/* ---- the carrier ---- */

static void users_begin(struct load_worker *lw)
{
    fiber_spawn(steward_run, lw->carrier);
}

/* Who asks is waited for; who thinks goes. */
static void users_stop(struct load_worker *lw)
{
    struct users *all = lw->carrier;
    LIST_EACH (l, &all->thinking)
        fiber_cancel(container_of(l, struct user, link)->fiber);
}

static err users_open(struct load_worker *lw)
{
    struct users *all = mem_get(sizeof *all);
    lw->carrier = all;
    if (!all)
        return ERR_MEMORY;
    all->lw = lw;
    all->scenario = lw->load->plan;
    all->most = (unsigned)load_share(lw->load->connections, load_share_number(lw), lw->load->shares);
    list_init(&all->idle);
    list_init(&all->thinking);
    all->users = mem_get((all->most + 1) * sizeof(struct user *));
    if (!all->users)
        return ERR_MEMORY;
    err e = regex_ready();
    const struct scenario *s = all->scenario;
    if (!e && s->script)
        e = script_open(s->script_text, s->conf->script.ptr, &all->script, NULL);
    return e;
}

static void close_user(struct user *u)
{
    user_drop_io(u);
    cookies_close(&u->cookies);
    text_free(&u->body);
    arena_close(&u->kept);
    mem_free(u);
}

static void users_close(struct load_worker *lw)
{
    struct users *all = lw->carrier;
    for (unsigned i = 0; all && all->users && i < all->count; i++)
        close_user(all->users[i]);
    if (all) {
        script_close(all->script);
        mem_free(all->users);
    }
    mem_free(all);
    lw->carrier = NULL;
}

const struct load_carrier users_carrier = {
    .unit = "user",
    .open = users_open,
    .begin = users_begin,
    .due = users_due,
    .stop = users_stop,
    .close = users_close,
};
