/* Intrusive doubly linked list with a sentinel. A node that is in no list points to itself. */
#ifndef FWI_LIST_H
#define FWI_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fwi_list {
    struct fwi_list *next, *prev;
} fwi_list;

#define fwi_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define fwi_list_for_each(node, list)                                                              \
    for (fwi_list *node = (list)->next; node != (list); node = node->next)
/* The current node may be removed (but not its successor). */
#define fwi_list_for_each_safe(node, list)                                                         \
    for (fwi_list *node = (list)->next, *node##_next = node->next; node != (list);                 \
         node = node##_next, node##_next = node->next)

static inline void fwi_list_init(fwi_list *list)
{
    list->next = list->prev = list;
}

static inline bool fwi_list_empty(const fwi_list *list)
{
    return list->next == list;
}

static inline void fwi_list_push_back(fwi_list *list, fwi_list *node)
{
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

static inline void fwi_list_remove(fwi_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = node;
}

/* First node, taken out, or NULL. */
static inline fwi_list *fwi_list_pop(fwi_list *list)
{
    fwi_list *node = list->next;
    if (node == list)
        return NULL;
    fwi_list_remove(node);
    return node;
}

/* Moves all nodes of from to the end of list. */
static inline void fwi_list_splice(fwi_list *list, fwi_list *from)
{
    if (fwi_list_empty(from))
        return;
    from->next->prev = list->prev;
    list->prev->next = from->next;
    from->prev->next = list;
    list->prev = from->prev;
    fwi_list_init(from);
}

#endif
