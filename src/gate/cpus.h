/* cpus: how many cores this process may use: its affinity, and the CPU quota of its cgroup (v2 or v1). Any
 * thread. */
#pragma once

#define CPUS_MAX 256

/* The cores of the affinity mask, at most CPUS_MAX; returns how many, at least 1. */
unsigned cpus_allowed(int out[CPUS_MAX]);
/* What `workers: auto` means here: one for each core allowed, not more than the quota rounded up. */
unsigned cpus_auto(void);
/* Pure: a quota as cgroup v2 writes it ("150000 100000", "max 100000") in cores, rounded up; 0: no quota. */
unsigned cpus_of_quota(const char *cpu_max);
