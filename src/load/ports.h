/* ports: which of this machine's ports connections come from. The kernel looks for a free one among all
 * 28,000, and once most are taken that costs 2 ms a connection; asked for one among a few hundred at a time
 * it costs nothing that counts.
 *
 *      first ├──window──┼──window──┼─ ... ─┤ last        the same one until it is full, then the next
 *
 * Pure; one worker's. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define PORTS_WINDOW 512u

struct ports {
    uint16_t first, last;
    unsigned window; /* at hand */
};

/* The system's range (net.ipv4.ip_local_port_range); the window it begins with is the seed's. */
void ports_open(struct ports *p, uint16_t first, uint16_t last, unsigned seed);
unsigned ports_windows(const struct ports *p);
/* The one at hand, both ends included. */
void ports_window(const struct ports *p, uint16_t *ret_min, uint16_t *ret_max);
/* It is full. */
void ports_next(struct ports *p);
/* From the system. False: it does not say. */
bool ports_of_system(uint16_t *ret_first, uint16_t *ret_last);
