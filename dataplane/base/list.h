/* Intrusive doubly linked ring with a sentinel.  A link that points to itself is in no list. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct base_list {
    struct base_list *next, *prev;
};

#define base_container(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define base_list_each(it, head) for (struct base_list *it = (head)->next; it != (head); it = it->next)
#define base_list_each_safe(it, head)                                                                                  \
    for (struct base_list *it = (head)->next, *it##_next = it->next; it != (head); it = it##_next, it##_next = it->next)

static inline void base_list_init(struct base_list *l)
{
    l->next = l->prev = l;
}

static inline bool base_list_empty(const struct base_list *l)
{
    return l->next == l;
}

static inline void base_list_insert_after(struct base_list *at, struct base_list *n)
{
    n->prev = at;
    n->next = at->next;
    at->next->prev = n;
    at->next = n;
}

static inline void base_list_push_back(struct base_list *head, struct base_list *n)
{
    base_list_insert_after(head->prev, n);
}

static inline void base_list_push_front(struct base_list *head, struct base_list *n)
{
    base_list_insert_after(head, n);
}

/* Leaves n in no list; harmless where it is in none. */
static inline void base_list_remove(struct base_list *n)
{
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = n;
}

static inline struct base_list *base_list_pop_front(struct base_list *head)
{
    struct base_list *n = head->next;
    if (n == head)
        return NULL;
    base_list_remove(n);
    return n;
}

/* All of `from` goes to the end of `to`. */
static inline void base_list_splice_back(struct base_list *to, struct base_list *from)
{
    if (base_list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    base_list_init(from);
}

#endif
