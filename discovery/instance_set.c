#include "instance_set.h"

#include <fairway/error.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct fwi_set_node {
    atomic_uint references;
    uint32_t priority; /* a node's is never below its children's */
    size_t count;      /* of the whole subtree */
    const fw_instance *instance;
    fwi_set_node *child[2];
};

static int compare(const char *service, const char *id, const fw_instance *instance)
{
    int order = strcmp(service, instance->service);
    return order ? order : strcmp(id, instance->id);
}

/* FNV-1a of both names, then mixed: names differ mostly in their last letters, and the treap needs
 * high bits that look random. */
static uint32_t priority_of(const fw_instance *instance)
{
    uint32_t hash = 2166136261u;
    for (const char *p = instance->service; *p; p++)
        hash = (hash ^ (uint8_t)*p) * 16777619u;
    hash = (hash ^ '/') * 16777619u;
    for (const char *p = instance->id; *p; p++)
        hash = (hash ^ (uint8_t)*p) * 16777619u;
    hash = (hash ^ (hash >> 16)) * 0x85ebca6bu;
    hash = (hash ^ (hash >> 13)) * 0xc2b2ae35u;
    return hash ^ (hash >> 16);
}

/* ---- nodes ---- */

fwi_set_node *fwi_set_acquire(fwi_set_node *set)
{
    if (set)
        atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
    return set;
}

void fwi_set_release(fwi_set_node *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->references, 1, memory_order_acq_rel) != 1)
        return;
    fwi_set_release(set->child[0]);
    fwi_set_release(set->child[1]);
    fw_instance_release(set->instance);
    free(set);
}

static void recount(fwi_set_node *node)
{
    node->count = 1 + fwi_set_count(node->child[0]) + fwi_set_count(node->child[1]);
}

/* Makes the node in this slot ours alone, so that it may be changed. */
static int own(fwi_set_node **slot)
{
    fwi_set_node *shared = *slot;
    if (atomic_load_explicit(&shared->references, memory_order_acquire) == 1)
        return FW_OK;
    fwi_set_node *copy = malloc(sizeof *copy);
    if (!copy)
        return UV_ENOMEM;
    copy->priority = shared->priority;
    copy->count = shared->count;
    copy->instance = fw_instance_acquire(shared->instance);
    copy->child[0] = fwi_set_acquire(shared->child[0]);
    copy->child[1] = fwi_set_acquire(shared->child[1]);
    atomic_init(&copy->references, 1);
    *slot = copy;
    fwi_set_release(shared);
    return FW_OK;
}

/* Lifts the child on this side, which is ours, over its parent, which is too. */
static void rotate(fwi_set_node **slot, int side)
{
    fwi_set_node *parent = *slot, *child = parent->child[side];
    parent->child[side] = child->child[!side];
    child->child[!side] = parent;
    recount(parent);
    recount(child);
    *slot = child;
}

/* ---- changes ---- */

/* The recursion is as deep as the tree: about twice the logarithm of its size. */
static int put(fwi_set_node **slot, fwi_set_node *leaf, const fw_instance **ret_old)
{
    if (!*slot) {
        *slot = leaf;
        return FW_OK;
    }
    int err = own(slot);
    if (err)
        return err;
    fwi_set_node *node = *slot;
    int order = compare(leaf->instance->service, leaf->instance->id, node->instance);
    if (!order) {
        *ret_old = node->instance;
        node->instance = leaf->instance;
        free(leaf);
        return FW_OK;
    }
    int side = order > 0;
    err = put(&node->child[side], leaf, ret_old);
    if (err)
        return err;
    recount(node);
    if (node->child[side]->priority > node->priority)
        rotate(slot, side);
    return FW_OK;
}

static fwi_set_node *leaf_new(const fw_instance *instance)
{
    fwi_set_node *leaf = calloc(1, sizeof *leaf);
    if (!leaf)
        return NULL;
    atomic_init(&leaf->references, 1);
    leaf->priority = priority_of(instance);
    leaf->count = 1;
    leaf->instance = instance;
    return leaf;
}

int fwi_set_put(fwi_set_node **set, const fw_instance *instance, const fw_instance **ret_old)
{
    fwi_set_node *leaf = leaf_new(instance);
    if (!leaf)
        return UV_ENOMEM;
    *ret_old = NULL;
    int err = put(set, leaf, ret_old);
    if (err)
        free(leaf);
    return err;
}

/* Takes the node in this slot, which is ours, down to where it is a leaf, and out. If there is no
 * memory on the way it stays where it has come to: still in order, only less balanced. */
static int sink(fwi_set_node **slot, const fw_instance **ret_old)
{
    fwi_set_node *node = *slot;
    if (!node->child[0] || !node->child[1]) {
        *slot = node->child[node->child[0] ? 0 : 1];
        *ret_old = node->instance;
        free(node);
        return FW_OK;
    }
    int side = node->child[1]->priority > node->child[0]->priority;
    int err = own(&node->child[side]);
    if (err)
        return err;
    rotate(slot, side);
    fwi_set_node *parent = *slot;
    err = sink(&parent->child[!side], ret_old);
    recount(parent);
    return err;
}

static int take_out(fwi_set_node **slot, const char *service, const char *id,
                    const fw_instance **ret_old)
{
    int err = own(slot);
    if (err)
        return err;
    fwi_set_node *node = *slot;
    int order = compare(service, id, node->instance);
    if (!order)
        return sink(slot, ret_old);
    err = take_out(&node->child[order > 0], service, id, ret_old);
    recount(node);
    return err;
}

int fwi_set_remove(fwi_set_node **set, const char *service, const char *id,
                   const fw_instance **ret_old)
{
    *ret_old = NULL;
    return fwi_set_find(*set, service, id) ? take_out(set, service, id, ret_old) : FW_OK;
}

/* ---- building ---- */

static size_t count_all(fwi_set_node *node)
{
    if (node)
        node->count = 1 + count_all(node->child[0]) + count_all(node->child[1]);
    return node ? node->count : 0;
}

/* The right spine is a stack: the next instance takes from its end what has a lower priority as its
 * left child, and becomes the end (Vuillemin, "A unifying look at data structures", 1980). */
int fwi_set_build(const fw_instance *const *instances, size_t count, fwi_set_node **ret_set)
{
    fwi_set_node *root = NULL;
    fwi_set_node **spine = malloc((count + 1) * sizeof(fwi_set_node *));
    size_t height = 0, i = 0;
    int err = spine ? FW_OK : UV_ENOMEM;
    for (; !err && i < count; i++) {
        const fw_instance *before = i ? instances[i - 1] : NULL;
        if (before && compare(before->service, before->id, instances[i]) >= 0) {
            err = FW_EINSTANCE;
            break;
        }
        fwi_set_node *leaf = leaf_new(instances[i]);
        if (!leaf) {
            err = UV_ENOMEM;
            break;
        }
        while (height && spine[height - 1]->priority < leaf->priority)
            leaf->child[0] = spine[--height];
        if (height)
            spine[height - 1]->child[1] = leaf;
        else
            root = leaf;
        spine[height++] = leaf;
    }
    free(spine);
    if (err) {
        for (; i < count; i++)
            fw_instance_release(instances[i]);
        fwi_set_release(root);
        return err;
    }
    count_all(root);
    *ret_set = root;
    return FW_OK;
}

/* ---- reading ---- */

size_t fwi_set_count(const fwi_set_node *set)
{
    return set ? set->count : 0;
}

const fw_instance *fwi_set_find(const fwi_set_node *set, const char *service, const char *id)
{
    while (set) {
        int order = compare(service, id, set->instance);
        if (!order)
            return set->instance;
        set = set->child[order > 0];
    }
    return NULL;
}

const fw_instance *fwi_set_at(const fwi_set_node *set, size_t index)
{
    while (set) {
        size_t before = fwi_set_count(set->child[0]);
        if (index == before)
            return set->instance;
        bool after = index > before;
        if (after)
            index -= before + 1;
        set = set->child[after];
    }
    return NULL;
}

static bool each(const fwi_set_node *set, bool (*fn)(const fw_instance *, void *), void *arg)
{
    return !set ||
           (each(set->child[0], fn, arg) && fn(set->instance, arg) && each(set->child[1], fn, arg));
}

void fwi_set_each(const fwi_set_node *set, bool (*fn)(const fw_instance *, void *), void *arg)
{
    (void)each(set, fn, arg);
}

size_t fwi_set_rank(const fwi_set_node *set, const char *service, const char *id)
{
    size_t rank = 0;
    while (set) {
        bool below = compare(service, id, set->instance) > 0;
        if (below)
            rank += fwi_set_count(set->child[0]) + 1;
        set = set->child[below];
    }
    return rank;
}
