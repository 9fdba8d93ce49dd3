/* waiting_ticket: a place in a waiting room (gate/waiting_room.h) as a text that a client keeps and cannot
 * change: HMAC-SHA-256 (RFC 2104) over the ticket, the time until which it is good, and who it was given to.
 *
 *      epoch (16 hex digits) ticket (16) until_s (8) the first half of the HMAC (32)
 *
 * The key is the room's own, made of the kernel's random numbers, the same as long as the room lives (over
 * reloads and upgrades); or a file's, and the tickets of several weirs are then told apart by their epoch.
 * Any thread. */
#pragma once
#include "base/arena.h"
#include "gate/waiting_room.h"

#define WAITING_TICKET_BYTES 72

/* Before any other use: once by each that opens the room. */
void waiting_room_ready(struct waiting_room *w);

struct waiting_whose {
    struct bytes key;   /* of the HMAC; empty: the room's own */
    struct bytes route; /* tickets of one are none on another */
    struct bytes user;  /* may be empty */
};
void waiting_ticket_write(const struct waiting_room *w, const struct waiting_whose *whose, uint64_t ticket,
                          uint32_t until_s, char out[WAITING_TICKET_BYTES]);
/* 0: it is none of this room, not this user's, or too old. */
uint64_t waiting_ticket_read(const struct waiting_room *w, const struct waiting_whose *whose,
                             struct bytes text, uint64_t now_s);
