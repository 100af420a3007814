/*
 * Deterministic subsets: each client uses so many of the endpoints, and all endpoints get equally
 * many clients ("Site Reliability Engineering", 2016, chapter 20). The clients of one round share
 * out one shuffled list; each round has a shuffle of its own. Here a shuffle is the order of a hash
 * of round and endpoint, so that a change of the list moves each client's subset by one at most
 * within its round, where shuffling anew would change all of it. Pure.
 */
#ifndef FWI_SUBSET_H
#define FWI_SUBSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct fwi_subset_member {
    uint64_t id; /* hash of the endpoint's; changed on the way */
    void *endpoint;
} fwi_subset_member;

/* Puts the subset of this client first in the list and returns its size, size at most. */
size_t fwi_subset_choose(fwi_subset_member *members, size_t count, size_t size, uint32_t client);

#endif
