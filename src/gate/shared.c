/* What all workers share and what outlives reloads: found by name, held by count. */
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "gate/filter.h"
#include "gate/service.h"

/* What is touched here and there, as large tables are, is found sooner in huge pages; below this they would
 * only cost memory. */
#define HUGE_PAGES_BYTES_MIN (16u << 20)

struct shared {
    struct bytes name; /* the map's copy is its own; this one is freed with it */
    uint32_t holds;
    size_t size;
    void *memory;
};

/* Protects both maps and the counts. Nothing is waited for while it is held; start-up and reload only. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct map by_name;
static struct map by_memory; /* key: the pointer's bytes */

static struct bytes key_of(void *const *memory)
{
    return (struct bytes){ (const char *)memory, sizeof *memory };
}

static void shared_free(struct shared *s)
{
    if (s->memory)
        munmap(s->memory, s->size);
    mem_free((void *)(uintptr_t)s->name.ptr);
    mem_free(s);
}

static struct shared *shared_new(struct bytes name, size_t size)
{
    struct shared *s = mem_get(sizeof *s);
    if (!s)
        return NULL;
    char *copy = mem_get(name.len + 1);
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    s->memory = memory == MAP_FAILED ? NULL : memory;
    if (s->memory && size >= HUGE_PAGES_BYTES_MIN)
        (void)!madvise(memory, size, MADV_HUGEPAGE); /* a wish */
    s->size = size;
    s->name.ptr = copy;
    if (!copy || !s->memory) {
        shared_free(s);
        return NULL;
    }
    memcpy(copy, name.ptr, name.len);
    s->name.len = name.len;
    if (map_set(&by_name, name, s) != OK || map_set(&by_memory, key_of(&s->memory), s) != OK) {
        map_remove(&by_name, name);
        shared_free(s);
        return NULL;
    }
    return s;
}

void *shared_get(struct bytes name, size_t size)
{
    pthread_mutex_lock(&lock);
    struct shared *s = map_get(&by_name, name);
    if (s && s->size != size)
        s = NULL; /* another layout under that name: the caller puts what matters into the name */
    else if (!s)
        s = shared_new(name, size);
    if (s)
        s->holds++;
    pthread_mutex_unlock(&lock);
    return s ? s->memory : NULL;
}

void shared_put(void *memory)
{
    if (!memory)
        return;
    pthread_mutex_lock(&lock);
    struct shared *s = map_get(&by_memory, key_of(&memory));
    must(s != NULL);
    if (--s->holds == 0) {
        map_remove(&by_memory, key_of(&s->memory));
        map_remove(&by_name, s->name);
        shared_free(s);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- servers ---- */

static struct bytes server_name(char *out, size_t size, struct bytes service, const char *addr)
{
    int n = snprintf(out, size, "server 2 %.*s %s", BYTES_ARG(service), addr);
    return (struct bytes){ out, (size_t)n < size ? (size_t)n : size - 1 };
}

struct server_shared *server_shared_get(struct bytes service, const struct addr *addr)
{
    char text[ADDR_TEXT_BYTES_MAX];
    char name[512];
    size_t len = addr_print(addr, text);
    struct server_shared *s = shared_get(server_name(name, sizeof name, service, text), sizeof *s);
    if (s) /* the same bytes each time, so it does not matter who writes first */
        memcpy(s->text, text, len + 1);
    return s;
}

void server_shared_hold(struct server_shared *s)
{
    void *memory = s;
    pthread_mutex_lock(&lock);
    struct shared *found = map_get(&by_memory, key_of(&memory));
    must(found != NULL);
    found->holds++;
    pthread_mutex_unlock(&lock);
}

void server_shared_drop(struct server_shared *s)
{
    shared_put(s);
}
