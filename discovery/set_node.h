/*
 * A node of the set.
 *
 * The tree: leaves hold up to FWI_SET_WIDTH instances in order, inner nodes as many children and,
 * for each but the first, a bound: no name below the child is before it, and all below the child to
 * its left are. All leaves are at the same depth.
 *
 * What a search needs lies in the nodes themselves, so that it touches few cache lines: the bounds
 * are texts in their inner node, and a leaf has a tag for each instance, a hash of its names, which
 * finds the one that is looked for without reading the others.
 */
#ifndef FWI_SET_NODE_H
#define FWI_SET_NODE_H

#include "instance_set.h"
#include "keys.h"

#include <stdatomic.h>
#include <string.h>

#define FWI_SET_WIDTH 16 /* most that a node has */

struct fwi_set_node {
    atomic_uint references;
    uint16_t height; /* 0: a leaf */
    uint16_t used;
};

typedef struct fwi_set_leaf {
    fwi_set_node head;
    uint32_t tags[FWI_SET_WIDTH];
    const fw_instance *instances[FWI_SET_WIDTH];
} fwi_set_leaf;

typedef struct fwi_set_inner {
    fwi_set_node head;
    uint32_t text_bytes;
    uint32_t skip;                  /* bytes that all bounds begin with */
    uint64_t words[FWI_SET_WIDTH];  /* what of each bound comes next */
    uint32_t bounds[FWI_SET_WIDTH]; /* where in texts each begins; of the first there is none */
    uint32_t counts[FWI_SET_WIDTH]; /* instances below each child */
    fwi_set_node *children[FWI_SET_WIDTH];
    char texts[]; /* a bound: a service, NUL, an id, NUL */
} fwi_set_inner;

/* What is looked for, written as bounds are, and then NULs. A name that is longer than any is cut
 * where it is still longer: its place is the same. */
typedef struct fwi_set_name {
    const char *id;
    uint32_t tag;
    char text[2 * (FWI_MAX_NAME_BYTES + 2) + sizeof(uint64_t)];
} fwi_set_name;

static inline fwi_set_leaf *fwi_set_leaf_of(const fwi_set_node *node)
{
    return (fwi_set_leaf *)node;
}

static inline fwi_set_inner *fwi_set_inner_of(const fwi_set_node *node)
{
    return (fwi_set_inner *)node;
}

static inline const char *fwi_set_second_text(const char *bound)
{
    return bound + strlen(bound) + 1;
}

/* What an inner node is made of. */
typedef struct fwi_set_parts {
    size_t used;
    fwi_set_node *children[FWI_SET_WIDTH];
    struct {
        const char *service, *id;
    } bounds[FWI_SET_WIDTH]; /* the first is not used */
} fwi_set_parts;

void fwi_set_name_init(fwi_set_name *name, const char *service, const char *id);

/* ---- making ---- */

/* NULL: no memory. */
fwi_set_leaf *fwi_set_leaf_new(void);
/* The service of the bound, before its id. */
const char *fwi_set_bound(const fwi_set_inner *inner, size_t index);
void fwi_set_parts_add(fwi_set_parts *parts, fwi_set_node *child, const char *service,
                       const char *id);
void fwi_set_parts_add_from(fwi_set_parts *parts, const fwi_set_inner *inner, size_t first,
                            size_t end);
/* Takes the references of the children over, if it is not NULL. */
fwi_set_node *fwi_set_inner_new(const fwi_set_parts *parts);
/* Makes the node in this slot ours alone, so that it may be changed. UV_ENOMEM. */
FW_MUST_CHECK int fwi_set_own(fwi_set_node **slot);

/* ---- searching ---- */

/* The child that has this name, if any has. */
size_t fwi_set_child_at(const fwi_set_inner *inner, const fwi_set_name *name);
/* The instance with this name, or `used`. */
size_t fwi_set_index_of(const fwi_set_leaf *leaf, const fwi_set_name *name);
/* The first instance that is not before this name, or `used`. */
size_t fwi_set_place_of(const fwi_set_leaf *leaf, const fwi_set_name *name);

#endif
