/* handover: the messages between the process that serves and the one that shall follow it, over a socket pair
 * (SOCK_SEQPACKET): a line of text each, with descriptors where it speaks of them.
 *
 *   old ─▶ new   weir 1 GENERATION PID   hash K0 K1       log LEVEL
 *                shared LAYOUT END [fd]    object OFFSET SIZE NAME
 *                quic PROCESS [fds]
 *                listener NAME [fds]     admin ADDR [fd]  conf NUMBER [fd]
 *                elder [fd]   entries [fd]   end
 *   new ─▶ old   taken NAME   taken admin ADDR   then   ready   or   failed WHY
 *
 * From a fiber, or from the main thread before there are workers. */
#pragma once
#include "base/bytes.h"
#include "base/err.h"

#define HANDOVER_VERSION 1
#define HANDOVER_TEXT_BYTES_MAX (32 * 1024)
#define HANDOVER_FDS_MAX 250 /* SCM_MAX_FD is 253 */

struct handover_record {
    struct bytes text; /* of buffer; a NUL stands behind it */
    unsigned fds_count;
    int fds[HANDOVER_FDS_MAX]; /* the receiver's to close */
    char buffer[HANDOVER_TEXT_BYTES_MAX + 1];
};

/* fds may be NULL when there are none. Waits at most wait_ms. */
err handover_send(int fd, struct bytes text, const int *fds, unsigned fds_count,
                  uint64_t wait_ms) CHECK_RESULT;
/* ERR_CLOSED: the other process has ended, or closed it. */
err handover_receive(int fd, struct handover_record *ret_record, uint64_t wait_ms) CHECK_RESULT;

/* Does the text begin with that word? Then *ret_rest is what stands behind the space. */
bool handover_word(struct bytes text, struct bytes word, struct bytes *ret_rest);
/* Takes a number off the front. */
bool handover_number(struct bytes *rest, uint64_t *ret_value);
