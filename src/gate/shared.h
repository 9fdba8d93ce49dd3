/* shared: how the memory behind shared_get (gate/filter.h) and server_shared_get goes to the next process in
 * an upgrade.
 *
 *   one memfd, mapped by both   [ server1 shop 10.0.0.1:80 │ rate_limit ... │ free │ ...          ]
 *                                 ▲ offset, size and name of each: told over the upgrade's socket
 *
 * Both processes work in the same memory while the old one drains: what it still counts down (requests that
 * run) is counted down for its successor. So nothing in it may be a pointer, and its layout is part of its
 * name. One process at a time gives out and takes back: the old one until shared_given, then the new one; and
 * that takes nothing back that the old one may hold until shared_settle. Any thread, under shared's mutex. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

/* Names, sizes and this number must fit, else the next process begins with zeroed memory. */
#define SHARED_LAYOUT 1

/* ---- the old process */

/* *ret_end: how much of it is in use. -1: there is none that could be handed over. */
int shared_area(uint64_t *ret_end);
/* Each that is held. fn must not call back. */
void shared_each(void (*fn)(void *arg, struct bytes name, uint64_t offset, uint64_t size), void *arg);
/* The next process has taken over: from now on nothing new is given out, and nothing is taken back. */
void shared_given(void);
bool shared_is_given(void);
/* It has not: what it may have written beyond the end is zeroed again. */
void shared_kept(void);

/* ---- the new process, before anything else asks for memory */

/* Takes over the descriptor. ERR_MEMORY, ERR_SYSTEM: the area stays empty. */
err shared_adopt_area(int fd, uint64_t end) CHECK_RESULT;
/* An object in it. ERR_SYNTAX: not within it. */
err shared_adopt(struct bytes name, uint64_t offset, uint64_t size) CHECK_RESULT;
/* The old process has ended: what nobody has asked for goes. */
void shared_settle(void);
