#include "set_node.h"

#include "base/bytes.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

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

void fwi_set_name_init(fwi_set_name *name, const char *service, const char *id)
{
    uint32_t hash = 2166136261u;
    char *end = copy_name(name->text, service, &hash);
    hash = (hash ^ '/') * 16777619u;
    name->id = end + 1;
    end = copy_name(end + 1, id, &hash);
    memset(end + 1, 0, sizeof(uint64_t));
    name->tag = hash ^ hash >> 16;
}

static int compare(const fwi_set_name *name, const char *service, const char *id)
{
    int order = strcmp(name->text, service);
    return order ? order : strcmp(name->id, id);
}

static int compare_instance(const fwi_set_name *name, const fw_instance *instance)
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
            fwi_set_release(fwi_set_inner_of(set)->children[i]);
        else
            fw_instance_release(fwi_set_leaf_of(set)->instances[i]);
    free(set);
}

fwi_set_leaf *fwi_set_leaf_new(void)
{
    fwi_set_leaf *leaf = malloc(sizeof *leaf);
    if (leaf) {
        atomic_init(&leaf->head.references, 1);
        leaf->head.height = leaf->head.used = 0;
    }
    return leaf;
}

const char *fwi_set_bound(const fwi_set_inner *inner, size_t index)
{
    static const char least[] = {0, 0};
    return index ? inner->texts + inner->bounds[index] : least;
}

void fwi_set_parts_add(fwi_set_parts *parts, fwi_set_node *child, const char *service,
                       const char *id)
{
    parts->children[parts->used] = child;
    parts->bounds[parts->used].service = service;
    parts->bounds[parts->used++].id = id;
}

void fwi_set_parts_add_from(fwi_set_parts *parts, const fwi_set_inner *inner, size_t first,
                            size_t end)
{
    for (size_t i = first; i < end; i++) {
        const char *bound = fwi_set_bound(inner, i);
        fwi_set_parts_add(parts, inner->children[i], bound, fwi_set_second_text(bound));
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

fwi_set_node *fwi_set_inner_new(const fwi_set_parts *parts)
{
    size_t text_bytes = 0;
    for (size_t i = 1; i < parts->used; i++)
        text_bytes += strlen(parts->bounds[i].service) + strlen(parts->bounds[i].id) + 2;
    fwi_set_inner *inner = malloc(sizeof *inner + text_bytes);
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
        inner->skip = (uint32_t)common_prefix(fwi_set_bound(inner, 1), fwi_set_bound(inner, last));
    for (size_t i = 1; i <= last; i++) {
        const char *bound = fwi_set_bound(inner, i), *id = fwi_set_second_text(bound);
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
            __builtin_prefetch(fwi_set_inner_of(node)->children[i], 1);
        else
            __builtin_prefetch(fwi_set_leaf_of(node)->instances[i], 1);
    for (size_t i = 0; i < node->used; i++)
        if (node->height)
            fwi_set_acquire(fwi_set_inner_of(node)->children[i]);
        else
            fw_instance_acquire(fwi_set_leaf_of(node)->instances[i]);
}

int fwi_set_own(fwi_set_node **slot)
{
    fwi_set_node *shared = *slot;
    if (atomic_load_explicit(&shared->references, memory_order_acquire) == 1)
        return FW_OK;
    size_t size = shared->height ? sizeof(fwi_set_inner) + fwi_set_inner_of(shared)->text_bytes
                                 : sizeof(fwi_set_leaf);
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

size_t fwi_set_child_at(const fwi_set_inner *inner, const fwi_set_name *name)
{
    size_t used = inner->head.used;
    int order = used > 1 ? memcmp(name->text, fwi_set_bound(inner, 1), inner->skip) : -1;
    if (order)
        return order < 0 ? 0 : used - 1;
    uint64_t word = word_of(name->text + inner->skip, sizeof word);
    size_t i = 1;
    while (i < used && inner->words[i] < word)
        i++;
    for (; i < used && inner->words[i] == word; i++) {
        const char *bound = fwi_set_bound(inner, i);
        if (compare(name, bound, fwi_set_second_text(bound)) < 0)
            break;
    }
    return i - 1;
}

size_t fwi_set_index_of(const fwi_set_leaf *leaf, const fwi_set_name *name)
{
    size_t i = 0;
    while (i < leaf->head.used &&
           (leaf->tags[i] != name->tag || compare_instance(name, leaf->instances[i])))
        i++;
    return i;
}

size_t fwi_set_place_of(const fwi_set_leaf *leaf, const fwi_set_name *name)
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
