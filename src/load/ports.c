#include <stdio.h>

#include "load/ports.h"

void ports_open(struct ports *p, uint16_t first, uint16_t last, unsigned seed)
{
    *p = (struct ports){ .first = first, .last = last };
    p->window = seed % ports_windows(p);
}

unsigned ports_windows(const struct ports *p)
{
    return ((unsigned)(p->last - p->first) + PORTS_WINDOW) / PORTS_WINDOW;
}

void ports_window(const struct ports *p, uint16_t *ret_min, uint16_t *ret_max)
{
    unsigned from = p->first + p->window * PORTS_WINDOW, to = from + PORTS_WINDOW - 1;
    *ret_min = (uint16_t)from;
    *ret_max = (uint16_t)(to < p->last ? to : p->last);
}

void ports_next(struct ports *p)
{
    p->window = (p->window + 1) % ports_windows(p);
}

bool ports_of_system(uint16_t *ret_first, uint16_t *ret_last)
{
    unsigned first = 0, last = 0;
    FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    if (!f)
        return false;
    bool read = fscanf(f, "%u %u", &first, &last) == 2 && first > 0 && first < last && last <= UINT16_MAX;
    fclose(f);
    *ret_first = (uint16_t)first;
    *ret_last = (uint16_t)last;
    return read;
}
