/* What all workers share and what outlives reloads and upgrades: found by name, held by count. */
#include "gate/shared.h"

#include <pthread.h>
#include <stdio.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/must.h"
#include "gate/filter.h"
#include "gate/service.h"
#include "gate/shared_area.h"

struct shared {
    struct bytes name; /* the map's copy is its own; this one is freed with it */
    uint32_t holds;
    bool inherited; /* the process before this one may be at work in it */
    uint64_t size;
    void *memory;
    struct shared *next; /* of orphans */
};

/* Protects the maps, the counts and the area. Nothing is waited for while it is held; start-up, reload and
 * upgrade only. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct map by_name;
static struct map by_memory;   /* key: the pointer's bytes */
static struct shared *orphans; /* inherited, and of no use here; freed when the other process has ended */
static bool settled = true;    /* nobody else looks into the area */
static bool given;             /* it is another process's now */

static struct bytes key_of(void *const *memory)
{
    return (struct bytes){ (const char *)memory, sizeof *memory };
}

static void shared_free(struct shared *s)
{
    if (s->memory && !given)
        area_give(s->memory, s->size);
    mem_free((void *)(uintptr_t)s->name.ptr);
    mem_free(s);
}

/* Out of the maps; freed as soon as nobody can look at it. */
static void shared_end(struct shared *s)
{
    map_remove(&by_memory, key_of(&s->memory));
    map_remove(&by_name, s->name);
    if (s->inherited && !settled) {
        s->next = orphans;
        orphans = s;
    } else {
        shared_free(s);
    }
}

static struct shared *shared_add(struct bytes name, void *memory, uint64_t size)
{
    struct shared *s = mem_get(sizeof *s);
    if (!s)
        return NULL;
    char *copy = mem_get(name.len + 1);
    s->memory = memory;
    s->size = size;
    s->name.ptr = copy;
    if (!copy || !memory) {
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
    if (s && s->size != size && s->holds == 0) { /* the process before had another layout */
        shared_end(s);
        s = NULL;
    }
    if (s && s->size != size)
        s = NULL; /* another layout under that name: the caller puts what matters into the name */
    else if (!s && !given)
        s = shared_add(name, area_take(size), size);
    if (s)
        s->holds++;
    pthread_mutex_unlock(&lock);
    return s ? s->memory : NULL;
}

static struct shared *find_memory(void *memory)
{
    struct shared *s = map_get(&by_memory, key_of(&memory));
    must(s != NULL);
    return s;
}

void shared_put(void *memory)
{
    if (!memory)
        return;
    pthread_mutex_lock(&lock);
    struct shared *s = find_memory(memory);
    must(s->holds > 0);
    if (--s->holds == 0 && (!s->inherited || settled)) /* else it is found again */
        shared_end(s);
    pthread_mutex_unlock(&lock);
}

/* ---- to and from another process ---- */

int shared_area(uint64_t *ret_end)
{
    pthread_mutex_lock(&lock);
    int fd = area_fd(ret_end);
    pthread_mutex_unlock(&lock);
    return fd;
}

void shared_each(void (*fn)(void *arg, struct bytes name, uint64_t offset, uint64_t size), void *arg)
{
    size_t at = 0;
    struct bytes name;
    void *value;
    pthread_mutex_lock(&lock);
    while (map_next(&by_name, &at, &name, &value)) {
        const struct shared *s = value;
        if (s->holds)
            fn(arg, name, area_offset(s->memory), s->size);
    }
    pthread_mutex_unlock(&lock);
}

void shared_given(void)
{
    pthread_mutex_lock(&lock);
    given = true;
    pthread_mutex_unlock(&lock);
}

bool shared_is_given(void)
{
    pthread_mutex_lock(&lock);
    bool is = given;
    pthread_mutex_unlock(&lock);
    return is;
}

void shared_kept(void)
{
    pthread_mutex_lock(&lock);
    area_trim();
    pthread_mutex_unlock(&lock);
}

err shared_adopt_area(int fd, uint64_t end)
{
    pthread_mutex_lock(&lock);
    err e = area_open(fd, end);
    settled = e != OK;
    pthread_mutex_unlock(&lock);
    return e;
}

err shared_adopt(struct bytes name, uint64_t offset, uint64_t size)
{
    err e = ERR_SYNTAX;
    pthread_mutex_lock(&lock);
    void *memory = area_at(offset, size);
    if (memory && !map_get(&by_name, name) && !map_get(&by_memory, key_of(&memory))) {
        struct shared *s = shared_add(name, memory, size);
        e = s ? OK : ERR_MEMORY;
        if (s)
            s->inherited = true;
    }
    pthread_mutex_unlock(&lock);
    return e;
}

void shared_settle(void)
{
    size_t at = 0;
    struct bytes name;
    void *value;
    struct shared *s;
    pthread_mutex_lock(&lock);
    settled = true;
    while (map_next(&by_name, &at, &name, &value)) {
        s = value;
        if (s->holds == 0)
            shared_end(s);
    }
    while ((s = orphans)) {
        orphans = s->next;
        shared_free(s);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- servers ---- */

static struct bytes server_name(char *out, size_t size, struct bytes service, const char *addr)
{
    int n = snprintf(out, size, "server 4 %.*s %s", BYTES_ARG(service), addr);
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
    find_memory(memory)->holds++;
    pthread_mutex_unlock(&lock);
}

void server_shared_drop(struct server_shared *s)
{
    shared_put(s);
}
