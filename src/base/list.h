/* list: an intrusive doubly linked ring. The head is a link too; an empty list points at itself.
 * Nothing is allocated. A link that is in no list has next == NULL. One thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct link {
    struct link *next;
    struct link *prev;
};

#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define LIST_EACH(at, head) for (struct link *at = (head)->next; at != (head); at = at->next)

static inline void list_init(struct link *head)
{
    head->next = head->prev = head;
}

static inline bool list_empty(const struct link *head)
{
    return head->next == head;
}

static inline bool list_linked(const struct link *l)
{
    return l->next != NULL;
}

static inline void list_insert_after(struct link *at, struct link *l)
{
    l->prev = at;
    l->next = at->next;
    at->next->prev = l;
    at->next = l;
}

static inline void list_push_front(struct link *head, struct link *l)
{
    list_insert_after(head, l);
}

static inline void list_push_back(struct link *head, struct link *l)
{
    list_insert_after(head->prev, l);
}

/* A link that is in no list may be removed too: nothing happens. */
static inline void list_remove(struct link *l)
{
    if (!l->next)
        return;
    l->next->prev = l->prev;
    l->prev->next = l->next;
    l->next = l->prev = NULL;
}

/* NULL when empty. */
static inline struct link *list_pop_front(struct link *head)
{
    if (list_empty(head))
        return NULL;
    struct link *l = head->next;
    list_remove(l);
    return l;
}
