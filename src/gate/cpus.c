#include "gate/cpus.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

unsigned cpus_allowed(int out[CPUS_MAX])
{
    cpu_set_t set;
    unsigned count = 0;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        for (size_t i = 0; i < CPU_SETSIZE && count < CPUS_MAX; i++) {
            if (CPU_ISSET(i, &set))
                out[count++] = (int)i;
        }
    }
    if (!count)
        out[count++] = 0;
    return count;
}

unsigned cpus_of_quota(const char *cpu_max)
{
    unsigned long long quota;
    unsigned long long period;
    if (sscanf(cpu_max, "%llu %llu", &quota, &period) != 2 || !period || !quota)
        return 0;
    unsigned long long cores = (quota + period - 1) / period;
    return cores > CPUS_MAX ? CPUS_MAX : (unsigned)cores;
}

static bool read_line(const char *path, char *out, int size)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool got = fgets(out, size, f) != NULL;
    fclose(f);
    return got;
}

/* The path of this process's cgroup from /proc/self/cgroup: "0::/a/b" of v2, "4:cpu,cpuacct:/a/b" of v1. */
static bool cgroup_path(const char *controller, char *out, size_t size)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[512];
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *controllers = strchr(line, ':');
        char *path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = 0;
        struct bytes names = bytes_from(controllers + 1);
        struct bytes name;
        if (!*controller && !names.len)
            found = true;
        while (*controller && !found && bytes_split(&names, ',', &name))
            found = bytes_eq(name, bytes_from(controller));
        if (found)
            snprintf(out, size, "%s", path);
    }
    if (f)
        fclose(f);
    return found;
}

static unsigned quota_v2(void)
{
    char group[512];
    char path[600];
    char line[128];
    if (!cgroup_path("", group, sizeof group))
        return 0;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
    return read_line(path, line, sizeof line) ? cpus_of_quota(line) : 0;
}

static unsigned quota_v1(void)
{
    char group[512];
    char path[600];
    char quota[64];
    char period[64];
    char both[160];
    if (!cgroup_path("cpu", group, sizeof group))
        return 0;
    snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", group);
    if (!read_line(path, quota, sizeof quota) || quota[0] == '-')
        return 0;
    snprintf(path, sizeof path, "/sys/fs/cgroup/cpu%s/cpu.cfs_period_us", group);
    if (!read_line(path, period, sizeof period))
        return 0;
    quota[strcspn(quota, "\n")] = 0;
    snprintf(both, sizeof both, "%s %s", quota, period);
    return cpus_of_quota(both);
}

unsigned cpus_auto(void)
{
    int cpus[CPUS_MAX];
    unsigned allowed = cpus_allowed(cpus);
    unsigned quota = quota_v2();
    if (!quota)
        quota = quota_v1();
    return quota && quota < allowed ? quota : allowed;
}
