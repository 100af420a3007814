#include "policy/subset.h"

#include <stdlib.h>

#include "hash.h"

static int compare(const void *a, const void *b)
{
    const fwi_subset_member *x = a, *y = b;
    return x->id != y->id ? (x->id < y->id ? -1 : 1) : 0;
}

size_t fwi_subset_choose(fwi_subset_member *members, size_t count, size_t size, uint32_t client)
{
    if (!size || count <= size)
        return count;
    size_t subsets = count / size; /* of a round; what is over is in others' rounds */
    uint64_t round = fwi_hash_mix(client / subsets);
    for (size_t i = 0; i < count; i++)
        members[i].id = fwi_hash_mix(members[i].id ^ round);
    qsort(members, count, sizeof *members, compare);
    size_t first = client % subsets * size;
    for (size_t i = 0; i < size; i++) {
        fwi_subset_member chosen = members[first + i];
        members[first + i] = members[i];
        members[i] = chosen;
    }
    return size;
}
