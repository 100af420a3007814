/* Changes of the tree, and reading it. Its nodes: set_node.h. */
#include "instance_set.h"

#include "set_node.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define FEW  (FWI_SET_WIDTH / 4)     /* with fewer a node looks for a neighbour to join */
#define JOIN (FWI_SET_WIDTH * 3 / 4) /* which it does if both together have no more */

/* ---- putting ---- */

/* Puts the instance in the place of one with its name, if there is one. */
static int replace(fwi_set_node **slot, const fwi_set_name *name, const fw_instance *instance,
                   const fw_instance **ret_old)
{
    for (;;) {
        int err = fwi_set_own(slot);
        if (err)
            return err;
        if (!(*slot)->height)
            break;
        fwi_set_inner *inner = fwi_set_inner_of(*slot);
        slot = &inner->children[fwi_set_child_at(inner, name)];
    }
    fwi_set_leaf *leaf = fwi_set_leaf_of(*slot);
    size_t i = fwi_set_index_of(leaf, name);
    if (i == leaf->head.used)
        return FW_OK;
    *ret_old = leaf->instances[i];
    leaf->instances[i] = instance;
    return FW_OK;
}

/* Moves what is behind the first `keep` of a node, which is ours, into a new one. */
static fwi_set_node *cut(fwi_set_node *node, size_t keep)
{
    fwi_set_node *rest;
    if (node->height) {
        fwi_set_parts parts = {.used = 0};
        fwi_set_parts_add_from(&parts, fwi_set_inner_of(node), keep, node->used);
        rest = fwi_set_inner_new(&parts);
    } else {
        fwi_set_leaf *from = fwi_set_leaf_of(node), *to = fwi_set_leaf_new();
        rest = to ? &to->head : NULL;
        if (to) {
            to->head.used = (uint16_t)(node->used - keep);
            memcpy(to->tags, from->tags + keep, to->head.used * sizeof *to->tags);
            memcpy(to->instances, from->instances + keep,
                   to->head.used * sizeof(const fw_instance *));
        }
    }
    if (rest)
        node->used = (uint16_t)keep;
    return rest;
}

/* Splits a full child of a node that is not full; both are ours. */
static int split_child(fwi_set_node **slot, size_t at, size_t keep)
{
    fwi_set_inner *parent = fwi_set_inner_of(*slot);
    fwi_set_node *left = parent->children[at], *right = cut(left, keep);
    if (!right)
        return UV_ENOMEM;
    fwi_set_parts parts = {.used = 0};
    fwi_set_parts_add_from(&parts, parent, 0, at + 1);
    if (left->height) {
        const char *bound = fwi_set_bound(fwi_set_inner_of(left), keep);
        fwi_set_parts_add(&parts, right, bound, fwi_set_second_text(bound));
    } else {
        const fw_instance *first = fwi_set_leaf_of(right)->instances[0];
        fwi_set_parts_add(&parts, right, first->service, first->id);
    }
    fwi_set_parts_add_from(&parts, parent, at + 1, parent->head.used);
    fwi_set_node *wider = fwi_set_inner_new(&parts);
    if (!wider) { /* what was cut off is still in its place */
        left->used = FWI_SET_WIDTH;
        free(right);
        return UV_ENOMEM;
    }
    free(parent);
    *slot = wider;
    return FW_OK;
}

static void leaf_insert(fwi_set_leaf *leaf, const fwi_set_name *name, const fw_instance *instance)
{
    size_t at = fwi_set_place_of(leaf, name), behind = leaf->head.used++ - at;
    memmove(leaf->tags + at + 1, leaf->tags + at, behind * sizeof *leaf->tags);
    memmove(leaf->instances + at + 1, leaf->instances + at, behind * sizeof(const fw_instance *));
    leaf->tags[at] = name->tag;
    leaf->instances[at] = instance;
}

/* Puts an instance that is not there below a node that is ours and not full. Full nodes are split
 * on the way down, so that there is room for what a split below adds: wherever memory ends, the
 * tree is whole. The last node is split at its end, so that what comes in order fills its nodes. */
static int insert(fwi_set_node **slot, const fwi_set_name *name, const fw_instance *instance,
                  bool is_last)
{
    if (!(*slot)->height) {
        leaf_insert(fwi_set_leaf_of(*slot), name, instance);
        return FW_OK;
    }
    size_t at = fwi_set_child_at(fwi_set_inner_of(*slot), name);
    int err = fwi_set_own(&fwi_set_inner_of(*slot)->children[at]);
    is_last &= at + 1 == (*slot)->used;
    if (!err && fwi_set_inner_of(*slot)->children[at]->used == FWI_SET_WIDTH) {
        err = split_child(slot, at, is_last ? FWI_SET_WIDTH - 1 : FWI_SET_WIDTH / 2);
        at = fwi_set_child_at(fwi_set_inner_of(*slot), name);
        is_last &= at + 1 == (*slot)->used;
    }
    if (!err)
        err = insert(&fwi_set_inner_of(*slot)->children[at], name, instance, is_last);
    if (!err)
        fwi_set_inner_of(*slot)->counts[at]++;
    return err;
}

/* Makes a set one level higher. */
static int add_level(fwi_set_node **set)
{
    fwi_set_parts parts = {.used = 0};
    fwi_set_parts_add(&parts, *set, "", "");
    fwi_set_node *root = fwi_set_inner_new(&parts);
    if (!root)
        return UV_ENOMEM;
    *set = root;
    return FW_OK;
}

int fwi_set_put(fwi_set_node **set, const fw_instance *instance, const fw_instance **ret_old)
{
    fwi_set_name name;
    fwi_set_name_init(&name, instance->service, instance->id);
    const fw_instance *old = NULL;
    int err = FW_OK;
    if (!*set) {
        fwi_set_leaf *leaf = fwi_set_leaf_new();
        if (!leaf)
            return UV_ENOMEM;
        *set = &leaf->head;
    } else {
        err = replace(set, &name, instance, &old);
    }
    if (!err && !old && (*set)->used == FWI_SET_WIDTH)
        err = add_level(set);
    if (!err && !old)
        err = insert(set, &name, instance, true);
    if (!err)
        *ret_old = old;
    return err;
}

/* ---- removing ---- */

static void drop_child(fwi_set_inner *inner, size_t at)
{
    size_t behind = --inner->head.used - at;
    memmove(inner->children + at, inner->children + at + 1, behind * sizeof(fwi_set_node *));
    memmove(inner->counts + at, inner->counts + at + 1, behind * sizeof *inner->counts);
    memmove(inner->words + at, inner->words + at + 1, behind * sizeof *inner->words);
    memmove(inner->bounds + at, inner->bounds + at + 1, behind * sizeof *inner->bounds);
}

/* Moves what the child at `at` + 1 has into the one before it; both are ours. */
static int join(fwi_set_inner *parent, size_t at)
{
    fwi_set_node *left = parent->children[at], *right = parent->children[at + 1];
    if (left->height) {
        fwi_set_parts parts = {.used = 0};
        const char *bound = fwi_set_bound(parent, at + 1);
        fwi_set_parts_add_from(&parts, fwi_set_inner_of(left), 0, left->used);
        fwi_set_parts_add(&parts, fwi_set_inner_of(right)->children[0], bound,
                          fwi_set_second_text(bound));
        fwi_set_parts_add_from(&parts, fwi_set_inner_of(right), 1, right->used);
        fwi_set_node *both = fwi_set_inner_new(&parts);
        if (!both)
            return UV_ENOMEM;
        free(left);
        parent->children[at] = both;
    } else {
        fwi_set_leaf *to = fwi_set_leaf_of(left), *from = fwi_set_leaf_of(right);
        memcpy(to->tags + left->used, from->tags, right->used * sizeof *to->tags);
        memcpy(to->instances + left->used, from->instances,
               right->used * sizeof(const fw_instance *));
        left->used = (uint16_t)(left->used + right->used);
    }
    parent->counts[at] += parent->counts[at + 1];
    free(right);
    drop_child(parent, at + 1);
    return FW_OK;
}

/* Joins a child that has become small with a neighbour. Without the memory for it the child stays
 * as it is: in order, only small. */
static void tidy(fwi_set_inner *parent, size_t at)
{
    fwi_set_node *child = parent->children[at];
    if (!child->used) {
        free(child);
        drop_child(parent, at);
        return;
    }
    if (child->used >= FEW || parent->head.used == 1)
        return;
    size_t left = at ? at - 1 : 0;
    if (parent->children[left]->used + parent->children[left + 1]->used <= JOIN &&
        !fwi_set_own(&parent->children[left]) && !fwi_set_own(&parent->children[left + 1]))
        (void)join(parent, left);
}

/* Takes out an instance that is there. */
static int take_out(fwi_set_node **slot, const fwi_set_name *name, const fw_instance **ret_old)
{
    int err = fwi_set_own(slot);
    if (err)
        return err;
    if ((*slot)->height) {
        fwi_set_inner *inner = fwi_set_inner_of(*slot);
        size_t at = fwi_set_child_at(inner, name);
        err = take_out(&inner->children[at], name, ret_old);
        if (!err) {
            inner->counts[at]--;
            tidy(inner, at);
        }
        return err;
    }
    fwi_set_leaf *leaf = fwi_set_leaf_of(*slot);
    size_t at = fwi_set_index_of(leaf, name), behind = --leaf->head.used - at;
    *ret_old = leaf->instances[at];
    memmove(leaf->tags + at, leaf->tags + at + 1, behind * sizeof *leaf->tags);
    memmove(leaf->instances + at, leaf->instances + at + 1, behind * sizeof(const fw_instance *));
    return FW_OK;
}

int fwi_set_remove(fwi_set_node **set, const char *service, const char *id,
                   const fw_instance **ret_old)
{
    fwi_set_name name;
    *ret_old = NULL;
    if (!fwi_set_find(*set, service, id))
        return FW_OK;
    fwi_set_name_init(&name, service, id);
    int err = take_out(set, &name, ret_old);
    /* A root that has but one child is of no use. */
    while (!err && (*set)->height && (*set)->used == 1) {
        fwi_set_node *root = *set;
        *set = fwi_set_inner_of(root)->children[0];
        free(root);
    }
    if (!err && !(*set)->used) {
        free(*set);
        *set = NULL;
    }
    return err;
}

/* ---- building ---- */

static fwi_set_node *build_leaf(const fw_instance *const *instances, size_t count)
{
    fwi_set_leaf *leaf = fwi_set_leaf_new();
    for (size_t i = 0; leaf && i < count; i++) {
        fwi_set_name name;
        fwi_set_name_init(&name, instances[i]->service, instances[i]->id);
        leaf->tags[i] = name.tag;
        leaf->instances[i] = instances[i];
        leaf->head.used++;
    }
    return leaf ? &leaf->head : NULL;
}

static const fw_instance *first_of(const fwi_set_node *node)
{
    while (node->height)
        node = fwi_set_inner_of(node)->children[0];
    return fwi_set_leaf_of(node)->instances[0];
}

static fwi_set_node *build_inner(fwi_set_node *const *nodes, size_t count)
{
    fwi_set_parts parts = {.used = 0};
    for (size_t i = 0; i < count; i++)
        fwi_set_parts_add(&parts, nodes[i], first_of(nodes[i])->service, first_of(nodes[i])->id);
    return fwi_set_inner_new(&parts);
}

static size_t least_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* A level at a time. What of a level was not made stays what it is made of: instances whose first
 * is at *ret_taken, nodes in `nodes`. */
static int build(const fw_instance *const *instances, size_t count, fwi_set_node **nodes,
                 size_t *ret_nodes, size_t *ret_taken)
{
    size_t made = 0;
    for (; *ret_taken < count; made++) {
        size_t some = least_of(count - *ret_taken, FWI_SET_WIDTH);
        if (!(nodes[made] = build_leaf(instances + *ret_taken, some)))
            break;
        *ret_taken += some;
    }
    *ret_nodes = made;
    while (*ret_taken == count && *ret_nodes > 1) {
        made = 0;
        for (size_t i = 0; i < *ret_nodes; i += FWI_SET_WIDTH, made++) {
            fwi_set_node *inner = build_inner(nodes + i, least_of(*ret_nodes - i, FWI_SET_WIDTH));
            if (!inner) {
                memmove(nodes + made, nodes + i, (*ret_nodes - i) * sizeof(fwi_set_node *));
                *ret_nodes -= i - made;
                return UV_ENOMEM;
            }
            nodes[made] = inner;
        }
        *ret_nodes = made;
    }
    return *ret_taken == count ? FW_OK : UV_ENOMEM;
}

static bool in_order(const fw_instance *const *instances, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const fw_instance *before = instances[i - 1], *after = instances[i];
        int order = strcmp(before->service, after->service);
        if (order > 0 || (!order && strcmp(before->id, after->id) >= 0))
            return false;
    }
    return true;
}

int fwi_set_build(const fw_instance *const *instances, size_t count, fwi_set_node **ret_set)
{
    fwi_set_node **nodes = malloc((count / FWI_SET_WIDTH + 1) * sizeof(fwi_set_node *));
    size_t node_count = 0, taken = 0;
    int err = !nodes ? UV_ENOMEM : in_order(instances, count) ? FW_OK : FW_EINSTANCE;
    if (!err)
        err = build(instances, count, nodes, &node_count, &taken);
    if (!err) {
        *ret_set = node_count ? nodes[0] : NULL;
    } else {
        for (; taken < count; taken++)
            fw_instance_release(instances[taken]);
        while (node_count)
            fwi_set_release(nodes[--node_count]);
    }
    free(nodes);
    return err;
}

/* ---- reading ---- */

size_t fwi_set_count(const fwi_set_node *set)
{
    size_t count = 0;
    if (!set || !set->height)
        return set ? set->used : 0;
    for (size_t i = 0; i < set->used; i++)
        count += fwi_set_inner_of(set)->counts[i];
    return count;
}

const fw_instance *fwi_set_find(const fwi_set_node *set, const char *service, const char *id)
{
    if (!set)
        return NULL;
    fwi_set_name name;
    fwi_set_name_init(&name, service, id);
    while (set->height)
        set = fwi_set_inner_of(set)->children[fwi_set_child_at(fwi_set_inner_of(set), &name)];
    size_t i = fwi_set_index_of(fwi_set_leaf_of(set), &name);
    return i < set->used ? fwi_set_leaf_of(set)->instances[i] : NULL;
}

const fw_instance *fwi_set_at(const fwi_set_node *set, size_t index)
{
    if (index >= fwi_set_count(set))
        return NULL;
    while (set->height) {
        const fwi_set_inner *inner = fwi_set_inner_of(set);
        size_t i = 0;
        for (; index >= inner->counts[i]; i++)
            index -= inner->counts[i];
        set = inner->children[i];
    }
    return fwi_set_leaf_of(set)->instances[index];
}

static bool each(const fwi_set_node *set, bool (*fn)(const fw_instance *, void *), void *arg)
{
    bool goes_on = true;
    for (size_t i = 0; goes_on && i < set->used; i++)
        goes_on = set->height ? each(fwi_set_inner_of(set)->children[i], fn, arg)
                              : fn(fwi_set_leaf_of(set)->instances[i], arg);
    return goes_on;
}

void fwi_set_each(const fwi_set_node *set, bool (*fn)(const fw_instance *, void *), void *arg)
{
    if (set)
        (void)each(set, fn, arg);
}

void fwi_set_prefetch(const fwi_set_node *set, const char *service, const char *id)
{
    if (!set)
        return;
    fwi_set_name name;
    fwi_set_name_init(&name, service, id);
    while (set->height)
        set = fwi_set_inner_of(set)->children[fwi_set_child_at(fwi_set_inner_of(set), &name)];
    const fwi_set_leaf *leaf = fwi_set_leaf_of(set);
    for (size_t i = 0; i < set->used; i++)
        if (leaf->tags[i] == name.tag) {
            __builtin_prefetch(leaf->instances[i], 1);
            __builtin_prefetch(leaf->instances[i] + 1, 1); /* its texts */
        }
}

size_t fwi_set_rank(const fwi_set_node *set, const char *service, const char *id)
{
    if (!set)
        return 0;
    fwi_set_name name;
    fwi_set_name_init(&name, service, id);
    size_t rank = 0;
    while (set->height) {
        const fwi_set_inner *inner = fwi_set_inner_of(set);
        size_t at = fwi_set_child_at(inner, &name);
        for (size_t i = 0; i < at; i++)
            rank += inner->counts[i];
        set = inner->children[at];
    }
    return rank + fwi_set_place_of(fwi_set_leaf_of(set), &name);
}
