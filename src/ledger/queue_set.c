/* Which positions a group has in hand, in order: a tree of 512 bits a node, whose nodes are records and are
 * there only while a bit of theirs is set. */
#include "ledger/queue_internal.h"

#define NODE_BITS 9
#define NODE_MASK ((1u << NODE_BITS) - 1)
#define NODE_WORDS (1u << (NODE_BITS - 6))
#define LEVELS 5 /* 2^45 positions */

struct node {
    uint64_t words[NODE_WORDS];
};

static struct record *node_at(struct ledger_apply *a, uint32_t group, unsigned level, uint64_t index)
{
    return queue_find_at(a, 'b', group, (uint8_t)level, index);
}

bool queue_set_add(struct ledger_apply *a, uint32_t group, uint64_t position)
{
    uint64_t at = position;
    for (unsigned level = 0; level < LEVELS; level++, at >>= NODE_BITS) {
        struct record *r = node_at(a, group, level, at >> NODE_BITS);
        const bool is_new = !r;
        if (is_new)
            r = queue_make_at(a, 'b', group, (uint8_t)level, at >> NODE_BITS, sizeof(struct node));
        if (!r)
            return false;
        record_write(a->records, r);
        struct node *n = record_value(r);
        n->words[(at & NODE_MASK) / 64] |= 1ULL << (at & 63);
        if (!is_new)
            return true;
    }
    return true;
}

static bool is_empty(const struct node *n)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < NODE_WORDS; i++)
        all |= n->words[i];
    return !all;
}

void queue_set_remove(struct ledger_apply *a, uint32_t group, uint64_t position)
{
    uint64_t at = position;
    for (unsigned level = 0; level < LEVELS; level++, at >>= NODE_BITS) {
        struct record *r = node_at(a, group, level, at >> NODE_BITS);
        must(r);
        record_write(a->records, r);
        struct node *n = record_value(r);
        n->words[(at & NODE_MASK) / 64] &= ~(1ULL << (at & 63));
        if (!is_empty(n))
            return;
        record_remove(a->records, r);
    }
}

/* The first bit from there on; -1: there is none. */
static int bit_from(const struct node *n, unsigned from)
{
    uint64_t word = n->words[from / 64] & (UINT64_MAX << (from & 63));
    for (unsigned i = from / 64;; word = n->words[i]) {
        if (word)
            return (int)(i * 64) + __builtin_ctzll(word);
        if (++i == NODE_WORDS)
            return -1;
    }
}

/* The last bit up to there. */
static int bit_up_to(const struct node *n, unsigned to)
{
    uint64_t word = n->words[to / 64] & (UINT64_MAX >> (63 - (to & 63)));
    for (unsigned i = to / 64;; word = n->words[i]) {
        if (word)
            return (int)(i * 64) + 63 - __builtin_clzll(word);
        if (i-- == 0)
            return -1;
    }
}

/* Up until there is a bit on the right side, then down along the nearest ones. */
static uint64_t nearest(struct ledger_apply *a, uint32_t group, uint64_t at, bool up)
{
    for (unsigned level = 0; level < LEVELS; level++) {
        const struct record *r = node_at(a, group, level, at >> NODE_BITS);
        const unsigned bit = (unsigned)(at & NODE_MASK);
        int found = r ? (up ? bit_from(record_value(r), bit) : bit_up_to(record_value(r), bit)) : -1;
        if (found >= 0) {
            at = (at & ~(uint64_t)NODE_MASK) | (uint64_t)found;
            while (level-- > 0) {
                r = node_at(a, group, level, at);
                must(r);
                found = up ? bit_from(record_value(r), 0) : bit_up_to(record_value(r), NODE_MASK);
                must(found >= 0);
                at = at << NODE_BITS | (uint64_t)found;
            }
            return at;
        }
        at >>= NODE_BITS;
        if (!up && at == 0)
            break;
        at = up ? at + 1 : at - 1;
    }
    return QUEUE_NO_POSITION;
}

uint64_t queue_set_next(struct ledger_apply *a, uint32_t group, uint64_t position)
{
    return nearest(a, group, position, true);
}

uint64_t queue_set_last(struct ledger_apply *a, uint32_t group, uint64_t position)
{
    return nearest(a, group, position, false);
}
