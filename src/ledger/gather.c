#include "ledger/gather.h"

#define SMOOTH 8

static uint64_t most_us(const struct gather *g)
{
    const uint64_t us = (uint64_t)g->commit_us * 2;
    return us < GATHER_US_MAX ? us : GATHER_US_MAX;
}

/* One or two never wait. */
static uint32_t enough(const struct gather *g)
{
    return g->about / 2 + g->about % 2;
}

static void smooth(uint32_t *value, uint64_t now)
{
    const int64_t to = now < UINT32_MAX ? (int64_t)now : UINT32_MAX;
    *value = *value ? (uint32_t)((int64_t)*value + (to - (int64_t)*value) / SMOOTH) : (uint32_t)to;
}

void gather_answered(struct gather *g, uint32_t entries, uint32_t waiting, uint64_t commit_us)
{
    if (commit_us)
        smooth(&g->commit_us, commit_us);
    g->about = entries + waiting;
}

uint32_t gather_missing(const struct gather *g, uint32_t entries)
{
    return entries < enough(g) ? enough(g) - entries : 1;
}

bool gather_is_enough(const struct gather *g, uint32_t entries)
{
    return entries >= enough(g) && entries <= GATHER_AT_ONCE_MAX && g->commit_us >= GATHER_COMMIT_US_MIN;
}

uint64_t gather_begin(struct gather *g, uint32_t entries, uint64_t now_us)
{
    g->begun_us = now_us;
    if (entries >= enough(g) || g->commit_us < GATHER_COMMIT_US_MIN)
        return 0;
    if (g->rests_left) {
        g->rests_left--;
        return 0;
    }
    return most_us(g);
}

uint64_t gather_look(struct gather *g, uint32_t entries, uint64_t now_us)
{
    const uint64_t end_us = g->begun_us + most_us(g);
    const bool there = entries >= enough(g);
    if (!there && now_us < end_us)
        return end_us - now_us;
    if (there)
        g->rest = 0;
    else
        g->rest = g->rest < GATHER_RESTS_MAX / 2 ? g->rest * 2 + 1 : GATHER_RESTS_MAX;
    g->rests_left = g->rest;
    return 0;
}
