/*
 * list and delete_tree: a walk over all znodes below one, several reads at a time.
 *
 * A walk is not a snapshot: ZooKeeper reads one node at a time. So that no key is missed that was
 * there all the time, the walk is done again if it met a node that had moved: one that was
 * listed and is gone, or one that became a directory after it was listed (its pair is under a lease
 * then, in another node). Of a list that is enough after WALKS_MAX; a delete_tree is exact,
 * since all that was seen is checked in its multi.
 */
#include "store.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#define OUT_MAX               256 /* requests at a time */
#define WALKS_MAX             4
#define PACKET_OVERHEAD_BYTES 512

struct item {
    char *path, *key;
    bool leased;
    fwi_zk_seen_node node;
    int64_t listed; /* the directory's revision when it was listed in it */
};

struct walk {
    fwi_zk_job job;
    struct item *items; /* the first is the root of the walk */
    size_t count, capacity, asked;
    size_t *directories; /* items whose children are to be listed */
    size_t directory_count, directory_capacity, directories_asked;
    bool moved;
    unsigned walks;
};

static void forget(struct walk *walk)
{
    for (size_t i = 0; i < walk->count; i++) {
        free(walk->items[i].path);
        free(walk->items[i].key);
        free(walk->items[i].node.data);
    }
    walk->count = walk->asked = walk->directory_count = walk->directories_asked = 0;
    walk->moved = false;
}

static void walk_fini(fwi_zk_job *job)
{
    struct walk *walk = fwi_container_of(job, struct walk, job);
    forget(walk);
    free(walk->items);
    free(walk->directories);
    free(walk);
}

/* Takes over path and key. */
static int add_item(struct walk *walk, char *path, char *key, bool leased, int64_t listed)
{
    if (path && key && walk->count == walk->capacity) {
        size_t capacity = walk->capacity ? walk->capacity * 2 : 16;
        struct item *items = realloc(walk->items, capacity * sizeof *items);
        if (items) {
            walk->items = items;
            walk->capacity = capacity;
        }
    }
    if (!path || !key || walk->count == walk->capacity) {
        free(path);
        free(key);
        return UV_ENOMEM;
    }
    walk->items[walk->count++] =
        (struct item){.path = path, .key = key, .leased = leased, .listed = listed};
    return FW_OK;
}

static int add_directory(struct walk *walk, size_t item)
{
    if (walk->directory_count == walk->directory_capacity) {
        size_t capacity = walk->directory_capacity ? walk->directory_capacity * 2 : 16;
        size_t *directories = realloc(walk->directories, capacity * sizeof *directories);
        if (!directories)
            return UV_ENOMEM;
        walk->directories = directories;
        walk->directory_capacity = capacity;
    }
    walk->directories[walk->directory_count++] = item;
    return FW_OK;
}

static int add_child(struct walk *walk, size_t parent, const char *name, int64_t listed)
{
    char part[FW_KV_MAX_KEY_BYTES * 3 + 2];
    bool leased;
    const struct item *directory = &walk->items[parent];
    if (strlen(name) >= sizeof part ||
        fwi_zk_part(name, !strcmp(directory->path, "/"), part, &leased) < 0)
        return FW_OK; /* not ours */
    char *path = fwi_zk_child(directory->path, name);
    char *key = fwi_zk_key_below(directory->key, part);
    return add_item(walk, path, key, leased, listed);
}

/* ---- what was found ---- */

static int compare_keys(const void *a, const void *b)
{
    const struct item *one = a, *two = b;
    int order = strcmp(one->key, two->key);
    return order ? order : one->leased - two->leased;
}

/* Calls for the pair of each key, in order. Items must be sorted by key. */
static int each_pair(struct walk *walk, int (*fn)(struct walk *, const struct item *, fw_slice))
{
    int err = FW_OK;
    for (size_t i = 0; !err && i < walk->count;) {
        const struct item *best = NULL;
        fw_slice value, best_value = {NULL, 0};
        size_t first = i;
        for (; i < walk->count && !strcmp(walk->items[i].key, walk->items[first].key); i++) {
            const struct item *item = &walk->items[i];
            if (!fwi_zk_node_value(&item->node, &value) ||
                (best && best->node.stat.mzxid > item->node.stat.mzxid))
                continue;
            best = item;
            best_value = value;
        }
        if (best)
            err = fn(walk, best, best_value);
    }
    return err;
}

static int add_pair(struct walk *walk, const struct item *item, fw_slice value)
{
    fwi_kv_op *op = walk->job.op;
    if (!strcmp(item->key, op->key))
        return FW_OK; /* the prefix itself */
    return fwi_kv_pairs_add(&op->pairs, item->key, strlen(item->key), value, item->node.stat.mzxid,
                            fwi_zk_owner(&item->node.stat));
}

static int count_pair(struct walk *walk, const struct item *item, fw_slice value)
{
    (void)value;
    walk->job.op->count += strcmp(item->key, walk->job.op->key) != 0;
    return FW_OK;
}

/* ---- delete_tree ---- */

static void on_deleted(fwi_zk_job *job, fwi_zk_request *multi)
{
    job->wrote = fwi_zk_is_lost(multi->rc);
    if (!multi->rc) {
        job->op->revision = fwi_zk_multi_zxid(multi);
        fwi_zk_job_finish(job, FW_OK, NULL);
    } else if (multi->rc == ZNONODE || multi->rc == ZBADVERSION || multi->rc == ZNOTEMPTY) {
        fwi_zk_job_again(job);
    } else {
        fwi_zk_job_fail(job, multi->rc);
    }
}

static int by_depth(const void *a, const void *b)
{
    /* A child's path is longer than its directory's. */
    size_t one = strlen(((const struct item *)a)->path),
           two = strlen(((const struct item *)b)->path);
    return (one < two) - (one > two);
}

/* Does the operation delete this node? The root of the walk only if it is a directory: so nobody
 * can have put something into it meanwhile. That of the store stays in any case. */
static bool is_deleted(const struct walk *walk, const struct item *item)
{
    const fwi_kv_op *op = walk->job.op;
    fw_slice value;
    if (strcmp(item->key, op->key))
        return true;
    return *op->key && !item->leased && !fwi_zk_node_value(&item->node, &value);
}

static int add_deletion(fwi_zk_request *multi, const struct item *item)
{
    int version = item->node.stat.version;
    if (!multi->count) { /* the answer to a set says the revision */
        int err = fwi_zk_multi_set(multi, item->path, (fw_slice){"\1", 1}, version++);
        if (err)
            return err;
    }
    return fwi_zk_multi_delete(multi, item->path, version);
}

static void delete_all(struct walk *walk)
{
    fwi_zk_job *job = &walk->job;
    job->op->count = 0;
    (void)each_pair(walk, count_pair);
    if (!job->op->count) {
        fwi_zk_job_finish(job, FW_OK, NULL);
        return;
    }
    fwi_zk_request *multi = fwi_zk_job_request(job, on_deleted, 0);
    if (!multi)
        return;
    qsort(walk->items, walk->count, sizeof *walk->items, by_depth);
    int err = FW_OK;
    for (size_t i = 0; !err && i < walk->count; i++)
        if (is_deleted(walk, &walk->items[i]))
            err = add_deletion(multi, &walk->items[i]);
    if (!err && fwi_zk_multi_bytes(multi) + PACKET_OVERHEAD_BYTES > job->store->packet_bytes)
        err = FW_ELIMIT;
    if (err) {
        fwi_zk_job_drop_request(job, multi);
        fwi_zk_job_finish(job, err, "more than a packet of ZooKeeper takes");
        return;
    }
    job->wrote = true;
    fwi_zk_send_multi(multi);
}

/* ---- the walk ---- */

static void arrive(struct walk *walk)
{
    fwi_zk_job *job = &walk->job;
    if (walk->moved && walk->walks < WALKS_MAX) {
        fwi_zk_job_again(job);
        return;
    }
    qsort(walk->items, walk->count, sizeof *walk->items, compare_keys);
    if (job->op->type == FWI_KV_LIST)
        fwi_zk_job_finish(job, each_pair(walk, add_pair), NULL);
    else
        delete_all(walk);
}

static int take_node(struct walk *walk, size_t index, fwi_zk_request *request)
{
    struct item *item = &walk->items[index];
    fw_slice value;
    fwi_zk_look_take(&item->node, request);
    bool is_root = !index;
    if (!is_root && !item->leased &&
        (!item->node.there ||
         (!fwi_zk_node_value(&item->node, &value) && item->node.stat.mzxid > item->listed)))
        walk->moved = true;
    if (item->node.there && item->node.stat.numChildren && !item->leased)
        return add_directory(walk, index);
    return FW_OK;
}

static int take_children(struct walk *walk, size_t index, const fwi_zk_request *request)
{
    int err = FW_OK;
    for (size_t i = 0; !err && i < request->name_count; i++)
        err = add_child(walk, index, request->names[i], request->stat.pzxid);
    return err;
}

static void on_read(fwi_zk_job *job, fwi_zk_request *request);

static void pump(struct walk *walk)
{
    fwi_zk_job *job = &walk->job;
    while (job->outstanding < OUT_MAX) {
        bool children = walk->directories_asked < walk->directory_count;
        if (!children && walk->asked == walk->count)
            return;
        size_t index = children ? walk->directories[walk->directories_asked++] : walk->asked++;
        fwi_zk_request *request = fwi_zk_job_request(job, on_read, 2 * index + children);
        if (!request)
            return;
        if (children)
            fwi_zk_send_children(request, walk->items[index].path, false);
        else
            fwi_zk_send_get(request, walk->items[index].path, false);
    }
}

static void on_read(fwi_zk_job *job, fwi_zk_request *request)
{
    struct walk *walk = fwi_container_of(job, struct walk, job);
    fwi_zk_job_note(job, request);
    int err = FW_OK;
    if (request->index != SIZE_MAX && !job->lost && !job->error)
        err = request->index % 2 ? take_children(walk, request->index / 2, request)
                                 : take_node(walk, request->index / 2, request);
    if (err) {
        fwi_zk_job_finish(job, err, NULL);
        return;
    }
    if (!job->lost && !job->error) {
        fwi_zk_job_hold(job);
        pump(walk);
        bool over = !job->op || job->waiting;
        fwi_zk_job_release(job);
        if (over)
            return;
    }
    if (fwi_zk_job_gathered(job))
        arrive(walk);
}

static void walk_run(fwi_zk_job *job)
{
    struct walk *walk = fwi_container_of(job, struct walk, job);
    forget(walk);
    walk->walks++;
    fwi_kv_pairs_fini(&job->op->pairs);
    int err =
        add_item(walk, fwi_zk_path(job->store->root, job->op->key), strdup(job->op->key), false, 0);
    if (err) {
        fwi_zk_job_finish(job, err, NULL);
        return;
    }
    fwi_zk_job_hold(job);
    if (fwi_zk_job_sync(job, on_read))
        pump(walk);
    fwi_zk_job_release(job);
}

void fwi_zk_list_start(fwi_zk_store *store, fwi_kv_op *op)
{
    struct walk *walk = calloc(1, sizeof *walk);
    if (!walk) {
        fwi_kv_op_finish(op, UV_ENOMEM, NULL);
        return;
    }
    walk->job.run = walk_run;
    walk->job.fini = walk_fini;
    fwi_zk_job_start(&walk->job, store, op);
}
