#include "gate/once.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/must.h"

struct once {
    struct once *next;
    const struct once_kind *kind;
    const void *conf;
    void *made;
    uint32_t holds;
};

/* Protects the list and what hangs in it. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct once *first;

static err add_locked(const struct once_kind *kind, const void *conf, struct once **ret_once,
                      struct diag *reterr)
{
    struct once *o = mem_get(sizeof *o);
    if (!o)
        return ERR_MEMORY;
    *o = (struct once){ .next = first, .kind = kind, .conf = conf };
    err e = kind->make(conf, &o->made, reterr);
    if (e) {
        mem_free(o);
        return e;
    }
    must(o->made != NULL);
    first = o;
    *ret_once = o;
    return OK;
}

err once_get(const struct once_kind *kind, const void *conf, void **ret_made, struct diag *reterr)
{
    err e = OK;
    pthread_mutex_lock(&lock);
    struct once *o = first;
    while (o && (o->kind != kind || o->conf != conf))
        o = o->next;
    if (!o)
        e = add_locked(kind, conf, &o, reterr);
    if (!e) {
        o->holds++;
        *ret_made = o->made;
    }
    pthread_mutex_unlock(&lock);
    return e;
}

void once_put(void *made)
{
    if (!made)
        return;
    pthread_mutex_lock(&lock);
    struct once **at = &first;
    while (*at && (*at)->made != made)
        at = &(*at)->next;
    struct once *o = *at;
    must(o != NULL);
    bool last = --o->holds == 0;
    if (last)
        *at = o->next;
    pthread_mutex_unlock(&lock);
    if (!last)
        return;
    o->kind->free(o->made);
    mem_free(o);
}
