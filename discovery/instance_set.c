/*
 * The tree: leaves hold up to WIDTH instances in order, inner nodes up to WIDTH children and, for
 * each but the first, a bound: no name below the child is before it, and all below the child to
 * its left are. All leaves are at the same depth.
 *
 * What a search needs lies in the nodes themselves, so that it touches few cache lines: the bounds
 * are texts in their inner node, and a leaf has a tag for each instance, a hash of its names, which
 * finds the one that is looked for without reading the others.
 */
#include "instance_set.h"

#include "base/bytes.h"
#include "keys.h"

#include <fairway/error.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define WIDTH 16              /* most that a node has */
#define FEW   (WIDTH / 4)     /* with fewer a node looks for a neighbour to join */
#define JOIN  (WIDTH * 3 / 4) /* which it does if both together have no more */

struct fwi_set_node {
    atomic_uint references;
    uint16_t height; /* 0: a leaf */
    uint16_t used;
};

struct leaf {
    fwi_set_node head;
    uint32_t tags[WIDTH];
    const fw_instance *instances[WIDTH];
};

struct inner {
    fwi_set_node head;
    uint32_t text_bytes;
    uint32_t skip;          /* bytes that all bounds begin with */
    uint64_t words[WIDTH];  /* of each bound, what follows them; its order is that of the bounds */
    uint32_t bounds[WIDTH]; /* where in texts each begins; of the first there is none */
    uint32_t counts[WIDTH]; /* instances below each child */
    fwi_set_node *children[WIDTH];
    char texts[]; /* a bound: a service, NUL, an id, NUL */
};

/* What is looked for, written as bounds are, and then NULs. A name that is longer than any is cut
 * where it is still longer: its place is the same. */
struct name {
    const char *id;
    uint32_t tag;
    char text[2 * (FWI_MAX_NAME_BYTES + 2) + sizeof(uint64_t)];
};

static struct leaf *leaf_of(const fwi_set_node *node)
{
    return (struct leaf *)node;
}

static struct inner *inner_of(const fwi_set_node *node)
{
    return (struct inner *)node;
}

/* ---- names ---- */

/* Copies a name, with its end, and returns where that is. The hash goes on: FNV-1a. */
static char *copy_name(char *to, const char *from, uint32_t *hash)
{
    for (size_t i = 0; from[i] && i <= FWI_MAX_NAME_BYTES; i++) {
        *to++ = from[i];
        *hash = (*hash ^ (uint8_t)from[i]) * 16777619u;
    }
    *to = 0;
    return to;
}

static void name_init(struct name *name, const char *service, const char *id)
{
    uint32_t hash = 2166136261u;
    char *end = copy_name(name->text, service, &hash);
    hash = (hash ^ '/') * 16777619u;
    name->id = end + 1;
    end = copy_name(end + 1, id, &hash);
    memset(end + 1, 0, sizeof(uint64_t));
    name->tag = hash ^ hash >> 16;
}

static int compare(const struct name *name, const char *service, const char *id)
{
    int order = strcmp(name->text, service);
    return order ? order : strcmp(name->id, id);
}

static int compare_instance(const struct name *name, const fw_instance *instance)
{
    return compare(name, instance->service, instance->id);
}

/* Up to eight bytes, so that their order is that of the numbers. */
static uint64_t word_of(const char *text, size_t len)
{
    uint8_t bytes[sizeof(uint64_t)] = {0};
    memcpy(bytes, text, len < sizeof bytes ? len : sizeof bytes);
    return fwi_get_u64be(bytes);
}

static const char *second_text(const char *bound)
{
    return bound + strlen(bound) + 1;
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
    for (size_t i = 0; i < set->used; i++)
        if (set->height)
            fwi_set_release(inner_of(set)->children[i]);
        else
            fw_instance_release(leaf_of(set)->instances[i]);
    free(set);
}

static struct leaf *leaf_new(void)
{
    struct leaf *leaf = malloc(sizeof *leaf);
    if (leaf) {
        atomic_init(&leaf->head.references, 1);
        leaf->head.height = leaf->head.used = 0;
    }
    return leaf;
}

/* The service of the bound, before its id. */
static const char *bound_of(const struct inner *inner, size_t index)
{
    static const char least[] = {0, 0};
    return index ? inner->texts + inner->bounds[index] : least;
}

/* What an inner node is made of. */
struct parts {
    size_t used;
    fwi_set_node *children[WIDTH];
    struct {
        const char *service, *id;
    } bounds[WIDTH]; /* the first is not used */
};

static void add_part(struct parts *parts, fwi_set_node *child, const char *service, const char *id)
{
    parts->children[parts->used] = child;
    parts->bounds[parts->used].service = service;
    parts->bounds[parts->used++].id = id;
}

static void add_parts(struct parts *parts, const struct inner *inner, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        const char *bound = bound_of(inner, i);
        add_part(parts, inner->children[i], bound, second_text(bound));
    }
}

/* How many bytes the bounds of a node, which come in order, begin with. */
static size_t common_prefix(const char *first, const char *last)
{
    size_t len = 0;
    while (first != last && first[len] == last[len])
        len++; /* no bound is the beginning of another */
    return len;
}

/* Takes the references of the children over, if it is not NULL. */
static fwi_set_node *inner_new(const struct parts *parts)
{
    size_t text_bytes = 0;
    for (size_t i = 1; i < parts->used; i++)
        text_bytes += strlen(parts->bounds[i].service) + strlen(parts->bounds[i].id) + 2;
    struct inner *inner = malloc(sizeof *inner + text_bytes);
    if (!inner)
        return NULL;
    atomic_init(&inner->head.references, 1);
    inner->head.height = (uint16_t)(parts->children[0]->height + 1);
    inner->head.used = (uint16_t)parts->used;
    inner->text_bytes = (uint32_t)text_bytes;
    inner->skip = 0;
    char *room = inner->texts;
    for (size_t i = 0; i < parts->used; i++) {
        inner->children[i] = parts->children[i];
        inner->counts[i] = (uint32_t)fwi_set_count(parts->children[i]);
        inner->bounds[i] = (uint32_t)(room - inner->texts);
        if (i) {
            room = stpcpy(room, parts->bounds[i].service) + 1;
            room = stpcpy(room, parts->bounds[i].id) + 1;
        }
    }
    size_t last = parts->used - 1;
    if (last)
        inner->skip = (uint32_t)common_prefix(bound_of(inner, 1), bound_of(inner, last));
    for (size_t i = 1; i <= last; i++) {
        const char *bound = bound_of(inner, i), *id = second_text(bound);
        size_t len = (size_t)(id - bound) + strlen(id);
        inner->words[i] = word_of(bound + inner->skip, len - inner->skip);
    }
    return &inner->head;
}

/* What a copy shares is counted in as many places of memory as it has: they are fetched together.
 */
static void share_children(const fwi_set_node *node)
{
    for (size_t i = 0; i < node->used; i++)
        if (node->height)
            __builtin_prefetch(inner_of(node)->children[i], 1);
        else
            __builtin_prefetch(leaf_of(node)->instances[i], 1);
    for (size_t i = 0; i < node->used; i++)
        if (node->height)
            fwi_set_acquire(inner_of(node)->children[i]);
        else
            fw_instance_acquire(leaf_of(node)->instances[i]);
}

/* Makes the node in this slot ours alone, so that it may be changed. */
static int own(fwi_set_node **slot)
{
    fwi_set_node *shared = *slot;
    if (atomic_load_explicit(&shared->references, memory_order_acquire) == 1)
        return FW_OK;
    size_t size =
        shared->height ? sizeof(struct inner) + inner_of(shared)->text_bytes : sizeof(struct leaf);
    fwi_set_node *copy = malloc(size);
    if (!copy)
        return UV_ENOMEM;
    memcpy((char *)copy + sizeof copy->references, (char *)shared + sizeof copy->references,
           size - sizeof copy->references);
    atomic_init(&copy->references, 1);
    share_children(copy);
    *slot = copy;
    fwi_set_release(shared);
    return FW_OK;
}

/* ---- searching in a node ---- */

/* The child that has this name, if any has. */
static size_t child_at(const struct inner *inner, const struct name *name)
{
    size_t used = inner->head.used;
    int order = used > 1 ? memcmp(name->text, bound_of(inner, 1), inner->skip) : -1;
    if (order)
        return order < 0 ? 0 : used - 1;
    uint64_t word = word_of(name->text + inner->skip, sizeof word);
    size_t i = 1;
    while (i < used && inner->words[i] < word)
        i++;
    for (; i < used && inner->words[i] == word; i++) {
        const char *bound = bound_of(inner, i);
        if (compare(name, bound, second_text(bound)) < 0)
            break;
    }
    return i - 1;
}

/* The instance with this name, or `used`. */
static size_t index_of(const struct leaf *leaf, const struct name *name)
{
    size_t i = 0;
    while (i < leaf->head.used &&
           (leaf->tags[i] != name->tag || compare_instance(name, leaf->instances[i])))
        i++;
    return i;
}

/* The first instance that is not before this name, or `used`. */
static size_t place_of(const struct leaf *leaf, const struct name *name)
{
    size_t low = 0, high = leaf->head.used;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare_instance(name, leaf->instances[middle]) > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- putting ---- */

/* Puts the instance in the place of one with its name, if there is one. */
static int replace(fwi_set_node **slot, const struct name *name, const fw_instance *instance,
                   const fw_instance **ret_old)
{
    for (;;) {
        int err = own(slot);
        if (err)
            return err;
        if (!(*slot)->height)
            break;
        struct inner *inner = inner_of(*slot);
        slot = &inner->children[child_at(inner, name)];
    }
    struct leaf *leaf = leaf_of(*slot);
    size_t i = index_of(leaf, name);
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
        struct parts parts = {.used = 0};
        add_parts(&parts, inner_of(node), keep, node->used);
        rest = inner_new(&parts);
    } else {
        struct leaf *from = leaf_of(node), *to = leaf_new();
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
    struct inner *parent = inner_of(*slot);
    fwi_set_node *left = parent->children[at], *right = cut(left, keep);
    if (!right)
        return UV_ENOMEM;
    struct parts parts = {.used = 0};
    add_parts(&parts, parent, 0, at + 1);
    if (left->height) {
        const char *bound = bound_of(inner_of(left), keep);
        add_part(&parts, right, bound, second_text(bound));
    } else {
        const fw_instance *first = leaf_of(right)->instances[0];
        add_part(&parts, right, first->service, first->id);
    }
    add_parts(&parts, parent, at + 1, parent->head.used);
    fwi_set_node *wider = inner_new(&parts);
    if (!wider) { /* what was cut off is still in its place */
        left->used = WIDTH;
        free(right);
        return UV_ENOMEM;
    }
    free(parent);
    *slot = wider;
    return FW_OK;
}

static void leaf_insert(struct leaf *leaf, const struct name *name, const fw_instance *instance)
{
    size_t at = place_of(leaf, name), behind = leaf->head.used++ - at;
    memmove(leaf->tags + at + 1, leaf->tags + at, behind * sizeof *leaf->tags);
    memmove(leaf->instances + at + 1, leaf->instances + at, behind * sizeof(const fw_instance *));
    leaf->tags[at] = name->tag;
    leaf->instances[at] = instance;
}

/* Puts an instance that is not there below a node that is ours and not full. Full nodes are split
 * on the way down, so that there is room for what a split below adds: wherever memory ends, the
 * tree is whole. The last node is split at its end, so that what comes in order fills its nodes. */
static int insert(fwi_set_node **slot, const struct name *name, const fw_instance *instance,
                  bool is_last)
{
    if (!(*slot)->height) {
        leaf_insert(leaf_of(*slot), name, instance);
        return FW_OK;
    }
    size_t at = child_at(inner_of(*slot), name);
    int err = own(&inner_of(*slot)->children[at]);
    is_last &= at + 1 == (*slot)->used;
    if (!err && inner_of(*slot)->children[at]->used == WIDTH) {
        err = split_child(slot, at, is_last ? WIDTH - 1 : WIDTH / 2);
        at = child_at(inner_of(*slot), name);
        is_last &= at + 1 == (*slot)->used;
    }
    if (!err)
        err = insert(&inner_of(*slot)->children[at], name, instance, is_last);
    if (!err)
        inner_of(*slot)->counts[at]++;
    return err;
}

/* Makes a set one level higher. */
static int add_level(fwi_set_node **set)
{
    struct parts parts = {.used = 0};
    add_part(&parts, *set, "", "");
    fwi_set_node *root = inner_new(&parts);
    if (!root)
        return UV_ENOMEM;
    *set = root;
    return FW_OK;
}

int fwi_set_put(fwi_set_node **set, const fw_instance *instance, const fw_instance **ret_old)
{
    struct name name;
    name_init(&name, instance->service, instance->id);
    const fw_instance *old = NULL;
    int err = FW_OK;
    if (!*set) {
        struct leaf *leaf = leaf_new();
        if (!leaf)
            return UV_ENOMEM;
        *set = &leaf->head;
    } else {
        err = replace(set, &name, instance, &old);
    }
    if (!err && !old && (*set)->used == WIDTH)
        err = add_level(set);
    if (!err && !old)
        err = insert(set, &name, instance, true);
    if (!err)
        *ret_old = old;
    return err;
}

/* ---- removing ---- */

static void drop_child(struct inner *inner, size_t at)
{
    size_t behind = --inner->head.used - at;
    memmove(inner->children + at, inner->children + at + 1, behind * sizeof(fwi_set_node *));
    memmove(inner->counts + at, inner->counts + at + 1, behind * sizeof *inner->counts);
    memmove(inner->words + at, inner->words + at + 1, behind * sizeof *inner->words);
    memmove(inner->bounds + at, inner->bounds + at + 1, behind * sizeof *inner->bounds);
}

/* Moves what the child at `at` + 1 has into the one before it; both are ours. */
static int join(struct inner *parent, size_t at)
{
    fwi_set_node *left = parent->children[at], *right = parent->children[at + 1];
    if (left->height) {
        struct parts parts = {.used = 0};
        const char *bound = bound_of(parent, at + 1);
        add_parts(&parts, inner_of(left), 0, left->used);
        add_part(&parts, inner_of(right)->children[0], bound, second_text(bound));
        add_parts(&parts, inner_of(right), 1, right->used);
        fwi_set_node *both = inner_new(&parts);
        if (!both)
            return UV_ENOMEM;
        free(left);
        parent->children[at] = both;
    } else {
        struct leaf *to = leaf_of(left), *from = leaf_of(right);
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
static void tidy(struct inner *parent, size_t at)
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
        !own(&parent->children[left]) && !own(&parent->children[left + 1]))
        (void)join(parent, left);
}

/* Takes out an instance that is there. */
static int take_out(fwi_set_node **slot, const struct name *name, const fw_instance **ret_old)
{
    int err = own(slot);
    if (err)
        return err;
    if ((*slot)->height) {
        struct inner *inner = inner_of(*slot);
        size_t at = child_at(inner, name);
        err = take_out(&inner->children[at], name, ret_old);
        if (!err) {
            inner->counts[at]--;
            tidy(inner, at);
        }
        return err;
    }
    struct leaf *leaf = leaf_of(*slot);
    size_t at = index_of(leaf, name), behind = --leaf->head.used - at;
    *ret_old = leaf->instances[at];
    memmove(leaf->tags + at, leaf->tags + at + 1, behind * sizeof *leaf->tags);
    memmove(leaf->instances + at, leaf->instances + at + 1, behind * sizeof(const fw_instance *));
    return FW_OK;
}

int fwi_set_remove(fwi_set_node **set, const char *service, const char *id,
                   const fw_instance **ret_old)
{
    struct name name;
    *ret_old = NULL;
    if (!fwi_set_find(*set, service, id))
        return FW_OK;
    name_init(&name, service, id);
    int err = take_out(set, &name, ret_old);
    /* A root that has but one child is of no use. */
    while (!err && (*set)->height && (*set)->used == 1) {
        fwi_set_node *root = *set;
        *set = inner_of(root)->children[0];
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
    struct leaf *leaf = leaf_new();
    for (size_t i = 0; leaf && i < count; i++) {
        struct name name;
        name_init(&name, instances[i]->service, instances[i]->id);
        leaf->tags[i] = name.tag;
        leaf->instances[i] = instances[i];
        leaf->head.used++;
    }
    return leaf ? &leaf->head : NULL;
}

static const fw_instance *first_of(const fwi_set_node *node)
{
    while (node->height)
        node = inner_of(node)->children[0];
    return leaf_of(node)->instances[0];
}

static fwi_set_node *build_inner(fwi_set_node *const *nodes, size_t count)
{
    struct parts parts = {.used = 0};
    for (size_t i = 0; i < count; i++)
        add_part(&parts, nodes[i], first_of(nodes[i])->service, first_of(nodes[i])->id);
    return inner_new(&parts);
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
        size_t some = least_of(count - *ret_taken, WIDTH);
        if (!(nodes[made] = build_leaf(instances + *ret_taken, some)))
            break;
        *ret_taken += some;
    }
    *ret_nodes = made;
    while (*ret_taken == count && *ret_nodes > 1) {
        made = 0;
        for (size_t i = 0; i < *ret_nodes; i += WIDTH, made++) {
            fwi_set_node *inner = build_inner(nodes + i, least_of(*ret_nodes - i, WIDTH));
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
    fwi_set_node **nodes = malloc((count / WIDTH + 1) * sizeof(fwi_set_node *));
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
        count += inner_of(set)->counts[i];
    return count;
}

const fw_instance *fwi_set_find(const fwi_set_node *set, const char *service, const char *id)
{
    if (!set)
        return NULL;
    struct name name;
    name_init(&name, service, id);
    while (set->height)
        set = inner_of(set)->children[child_at(inner_of(set), &name)];
    size_t i = index_of(leaf_of(set), &name);
    return i < set->used ? leaf_of(set)->instances[i] : NULL;
}

const fw_instance *fwi_set_at(const fwi_set_node *set, size_t index)
{
    if (index >= fwi_set_count(set))
        return NULL;
    while (set->height) {
        const struct inner *inner = inner_of(set);
        size_t i = 0;
        for (; index >= inner->counts[i]; i++)
            index -= inner->counts[i];
        set = inner->children[i];
    }
    return leaf_of(set)->instances[index];
}

static bool each(const fwi_set_node *set, bool (*fn)(const fw_instance *, void *), void *arg)
{
    bool goes_on = true;
    for (size_t i = 0; goes_on && i < set->used; i++)
        goes_on = set->height ? each(inner_of(set)->children[i], fn, arg)
                              : fn(leaf_of(set)->instances[i], arg);
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
    struct name name;
    name_init(&name, service, id);
    while (set->height)
        set = inner_of(set)->children[child_at(inner_of(set), &name)];
    const struct leaf *leaf = leaf_of(set);
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
    struct name name;
    name_init(&name, service, id);
    size_t rank = 0;
    while (set->height) {
        const struct inner *inner = inner_of(set);
        size_t at = child_at(inner, &name);
        for (size_t i = 0; i < at; i++)
            rank += inner->counts[i];
        set = inner->children[at];
    }
    return rank + place_of(leaf_of(set), &name);
}
