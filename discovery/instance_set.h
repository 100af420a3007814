/*
 * A sorted set of instances, by service and id, whose versions share what they have in common: a
 * change costs O(log n) whether or not somebody holds an older version.
 *
 * It is a B+ tree whose nodes are counted (after Rodeh, "B-trees, shadowing, and clones", 2008). A
 * node that only we refer to is changed in place, one that is shared is copied first.
 */
#ifndef FWI_INSTANCE_SET_H
#define FWI_INSTANCE_SET_H

#include <fairway/discovery.h>

/* A version is a reference to its root; NULL is the empty set. One that was acquired never changes,
 * and may be read and released on any thread. */
typedef struct fwi_set_node fwi_set_node;

FWI_API fwi_set_node *fwi_set_acquire(fwi_set_node *set);
FWI_API void fwi_set_release(fwi_set_node *set);

/* Puts an instance, whose reference is taken over, in the place of one with its names; that one's
 * reference is given back (NULL: there was none). UV_ENOMEM: nothing has changed. */
FWI_API FW_MUST_CHECK int fwi_set_put(fwi_set_node **set, const fw_instance *instance,
                                      const fw_instance **ret_old);
/* Takes an instance out and gives its reference back; NULL if there is none. UV_ENOMEM: nothing has
 * changed. */
FWI_API FW_MUST_CHECK int fwi_set_remove(fwi_set_node **set, const char *service, const char *id,
                                         const fw_instance **ret_old);

/* A set of instances that come in their order, in O(n); their references are taken over, also when
 * it fails. FW_EINSTANCE: not in order, or one twice; UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_set_build(const fw_instance *const *instances, size_t count,
                                        fwi_set_node **ret_set);

FWI_API size_t fwi_set_count(const fwi_set_node *set);
/* All borrowed; NULL: none such. */
FWI_API const fw_instance *fwi_set_find(const fwi_set_node *set, const char *service,
                                        const char *id);
FWI_API const fw_instance *fwi_set_at(const fwi_set_node *set, size_t index);
/* Calls for each in order, until one returns false. */
FWI_API void fwi_set_each(const fwi_set_node *set, bool (*fn)(const fw_instance *, void *),
                          void *arg);
/* Has what a change of this instance touches fetched into the cache, and does not wait for it. */
FWI_API void fwi_set_prefetch(const fwi_set_node *set, const char *service, const char *id);
/* How many instances come before the first of this service that has an id of at least `id`. */
FWI_API size_t fwi_set_rank(const fwi_set_node *set, const char *service, const char *id);

#endif
