/* The mirror of a watch: its nodes, and how they are read. See watch.h. */
#include "watch.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#define OUT_MAX 256 /* requests of one watch at a time */

enum request_kind { DATA, CHILDREN, EXISTS, ANCESTOR };

/* ---- nodes ---- */

/* All nodes of all watches at one path. */
static int watch_path(fwi_zk_node *node)
{
    fwi_map *watched = &node->watch->store->watched;
    size_t len = strlen(node->path);
    fwi_list *all = fwi_map_get(watched, node->path, len);
    if (!all) {
        all = malloc(sizeof *all);
        if (!all || fwi_map_put(watched, node->path, len, all, NULL)) {
            free(all);
            return UV_ENOMEM;
        }
        fwi_list_init(all);
    }
    fwi_list_push_back(all, &node->same_path);
    return FW_OK;
}

static void unwatch_path(fwi_zk_node *node)
{
    fwi_map *watched = &node->watch->store->watched;
    size_t len = strlen(node->path);
    fwi_list *all = fwi_map_get(watched, node->path, len);
    fwi_list_remove(&node->same_path);
    if (all && fwi_list_empty(all)) {
        fwi_map_remove(watched, node->path, len);
        free(all);
    }
}

static void node_free(fwi_zk_node *node)
{
    fwi_list_remove(&node->queued);
    fwi_map_fini(&node->children);
    free(node->seen.data);
    free(node->probe);
    free(node->path);
    free(node->name);
    free(node);
}

static void queue_now(fwi_zk_node *node, bool data, bool children)
{
    node->read_data |= data;
    node->read_children |= children;
    if (fwi_list_empty(&node->queued))
        fwi_list_push_back(&node->watch->now, &node->queued);
}

fwi_zk_node *fwi_zk_node_new(fwi_zk_watch *watch, fwi_zk_node *directory, const char *name,
                             char *path, bool wants_children)
{
    fwi_zk_node *node = path ? calloc(1, sizeof *node) : NULL;
    if (!node) {
        free(path);
        return NULL;
    }
    node->watch = watch;
    node->path = path;
    node->directory = directory;
    node->wants_children = wants_children;
    fwi_list_init(&node->same_path);
    fwi_list_init(&node->queued);
    fwi_list_init(&node->waiting);
    node->name = name ? strdup(name) : NULL;
    if ((name && !node->name) || watch_path(node)) {
        node_free(node);
        return NULL;
    }
    if (directory && fwi_map_put(&directory->children, name, strlen(name), node, NULL)) {
        unwatch_path(node);
        node_free(node);
        return NULL;
    }
    return node;
}

int fwi_zk_node_set_key(fwi_zk_node *node, const char *name, bool leased)
{
    fwi_zk_watch *watch = node->watch;
    size_t len = strlen(name);
    fwi_zk_key *key = fwi_map_get(&watch->keys, name, len);
    if (!key) {
        key = calloc(1, sizeof *key);
        if (!key || !(key->name = strdup(name)) ||
            fwi_map_put(&watch->keys, name, len, key, NULL)) {
            if (key)
                free(key->name);
            free(key);
            return UV_ENOMEM;
        }
        fwi_list_init(&key->touched);
    }
    *(leased ? &key->leased : &key->plain) = node;
    node->key = key;
    return FW_OK;
}

void fwi_zk_node_touch(fwi_zk_node *node)
{
    fwi_zk_key *key = node->key;
    if (key && fwi_list_empty(&key->touched))
        fwi_list_push_back(&node->watch->touched, &key->touched);
}

static void set_gone(fwi_zk_node *node, int64_t gone_at)
{
    if (node->key && node->has_value) {
        if (gone_at > node->key->gone_at)
            node->key->gone_at = gone_at;
        fwi_zk_node_touch(node);
    }
    node->has_value = node->has_data = false;
    free(node->seen.data);
    node->seen = (fwi_zk_seen_node){.there = false};
}

static void bury_children(fwi_zk_node *node, int64_t gone_at)
{
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&node->children, &position));) {
        fwi_zk_node *child = entry->value;
        child->directory = NULL;
        fwi_zk_node_bury(child, gone_at);
    }
    fwi_map_fini(&node->children);
    node->children = (fwi_map){.count = 0};
}

void fwi_zk_node_bury(fwi_zk_node *node, int64_t gone_at)
{
    set_gone(node, gone_at);
    bury_children(node, gone_at);
    if (node->directory)
        fwi_map_remove(&node->directory->children, node->name, strlen(node->name));
    node->directory = NULL;
    fwi_zk_key *key = node->key;
    if (key) {
        *(key->plain == node ? &key->plain : &key->leased) = NULL;
        node->key = NULL;
        fwi_zk_key_free_if_unused(node->watch, key);
    }
    unwatch_path(node);
    fwi_list_remove(&node->queued);
    node->gone = true;
    if (node->outstanding)
        fwi_list_push_back(&node->watch->graves, &node->queued);
    else
        node_free(node);
}

void fwi_zk_node_dirty(fwi_zk_node *node, bool data, bool children)
{
    node->read_data |= data && node->key;
    node->read_children |= children && node->wants_children;
    if ((node->read_data || node->read_children) && fwi_list_empty(&node->queued))
        fwi_list_push_back(&node->watch->next, &node->queued);
}

void fwi_zk_node_dirty_all(fwi_zk_node *node)
{
    fwi_zk_node_dirty(node, true, true);
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&node->children, &position));)
        fwi_zk_node_dirty_all(entry->value);
}

/* ---- answers ---- */

static void see(fwi_zk_watch *watch, const struct Stat *stat)
{
    if (stat->mzxid > watch->seen)
        watch->seen = stat->mzxid;
    if (stat->pzxid > watch->seen)
        watch->seen = stat->pzxid;
}

static void send_read(fwi_zk_node *node, enum request_kind kind);
static void send_probe(fwi_zk_node *node);

/* The node is not there. One of a tree is left to its directory, which is told of it, too; for a
 * root existence is watched. */
static void on_missing(fwi_zk_node *node)
{
    if (node->directory)
        fwi_zk_node_dirty(node->directory, false, true);
    else
        send_read(node, EXISTS);
}

static void on_data(fwi_zk_node *node, fwi_zk_request *request)
{
    if (request->rc == ZNONODE) {
        node->missing = true;
        on_missing(node);
        return;
    }
    node->missing = false;
    bool had_value = node->has_value;
    fw_slice value;
    fwi_zk_look_take(&node->seen, request);
    node->has_value = node->has_data = fwi_zk_node_value(&node->seen, &value);
    /* It became a directory: its pair is gone, or in the other node. */
    if (had_value && !node->has_value && node->seen.stat.mzxid > node->key->gone_at)
        node->key->gone_at = node->seen.stat.mzxid;
    fwi_zk_node_touch(node);
}

static int add_child(fwi_zk_node *directory, const char *name)
{
    fwi_zk_watch *watch = directory->watch;
    char part[FW_KV_MAX_KEY_BYTES * 3 + 2];
    bool leased;
    if (strlen(name) >= sizeof part ||
        fwi_zk_part(name, !strcmp(directory->path, "/"), part, &leased) < 0)
        return FW_OK; /* not ours */
    fwi_zk_node *child =
        fwi_zk_node_new(watch, directory, name, fwi_zk_child(directory->path, name), !leased);
    if (!child)
        return UV_ENOMEM;
    child->epoch = watch->epoch;
    const char *above = directory->key ? directory->key->name : watch->front->key;
    char *key = fwi_zk_key_below(above, part);
    int err = key ? fwi_zk_node_set_key(child, key, leased) : UV_ENOMEM;
    free(key);
    if (!err)
        queue_now(child, true, child->wants_children);
    return err;
}

static void bury_unlisted(fwi_zk_node *directory, int64_t gone_at)
{
    fwi_zk_node *child;
    do {
        child = NULL;
        size_t position = 0;
        for (fwi_map_entry *entry; (entry = fwi_map_next(&directory->children, &position));) {
            child = entry->value;
            if (child->epoch != directory->watch->epoch)
                break;
            child = NULL;
        }
        if (child)
            fwi_zk_node_bury(child, gone_at);
    } while (child);
}

static void on_children(fwi_zk_node *node, const fwi_zk_request *request)
{
    if (request->rc == ZNONODE) {
        on_missing(node);
        return;
    }
    fwi_zk_watch *watch = node->watch;
    watch->epoch++;
    int err = FW_OK;
    for (size_t i = 0; !err && i < request->name_count; i++) {
        const char *name = request->names[i];
        fwi_zk_node *child = fwi_map_get(&node->children, name, strlen(name));
        if (!child) {
            err = add_child(node, name);
            continue;
        }
        child->epoch = watch->epoch;
        if (child->missing) /* when it was read; it was made again */
            queue_now(child, true, child->wants_children);
    }
    if (err)
        fwi_zk_watch_fatal(watch, err, "");
    else
        bury_unlisted(node, request->stat.pzxid);
}

/* A root is missing: what it held went not after the last change of the directory above it. */
static void ask_ancestor(fwi_zk_node *node)
{
    if (!node->probe)
        node->probe = strdup(node->path);
    char *slash = node->probe ? strrchr(node->probe, '/') : NULL;
    if (!slash) {
        fwi_zk_watch_fatal(node->watch, UV_ENOMEM, "");
        return;
    }
    slash[slash == node->probe] = 0;
    send_probe(node);
}

static void end_probe(fwi_zk_node *node)
{
    free(node->probe);
    node->probe = NULL;
}

static void on_exists(fwi_zk_node *node, const fwi_zk_request *request)
{
    if (request->rc == ZNONODE)
        ask_ancestor(node);
    else /* made meanwhile */
        send_read(node, node->wants_children ? CHILDREN : DATA);
}

static void on_ancestor(fwi_zk_node *node, const fwi_zk_request *request)
{
    if (request->rc == ZNONODE && strcmp(node->probe, "/") != 0) {
        ask_ancestor(node);
        return;
    }
    end_probe(node);
    set_gone(node, request->stat.pzxid);
    bury_children(node, request->stat.pzxid);
}

static void lost(fwi_zk_node *node)
{
    node->watch->round_lost = true;
    end_probe(node);
    fwi_zk_node_dirty(node, true, true);
}

/* Of a read that the node was waiting for. */
static void answered(fwi_zk_node *node, fwi_zk_request *request, enum request_kind kind)
{
    fwi_zk_watch *watch = node->watch;
    watch->outstanding--;
    node->outstanding--;
    fwi_zk_watch_read_ended(watch->store);
    if (node->gone) {
        if (!node->outstanding)
            node_free(node);
    } else if (!watch->front || watch->ended) {
        /* nobody wants it any more */
    } else if (fwi_zk_is_lost(request->rc) || request->session != watch->store->main) {
        lost(node);
    } else if (request->rc && request->rc != ZNONODE) {
        fwi_zk_watch_fatal(watch, fwi_zk_status(request->rc), zerror(request->rc));
    } else {
        see(watch, &request->stat);
        fwi_zk_see_stat(watch->store, &request->stat);
        if (kind == DATA)
            on_data(node, request);
        else if (kind == CHILDREN)
            on_children(node, request);
        else if (kind == EXISTS)
            on_exists(node, request);
        else
            on_ancestor(node, request);
    }
    if (watch->front)
        fwi_zk_watch_step(watch);
    fwi_zk_watch_release(watch);
}

static void on_answer(fwi_zk_request *request, void *arg)
{
    answered(arg, request, (enum request_kind)request->index);
}

static void begin_wait(fwi_zk_node *node)
{
    node->outstanding++;
    node->watch->outstanding++;
    node->watch->store->reads_out++;
    fwi_zk_watch_hold(node->watch);
}

/* ---- ancestors ---- */

/* A look at a directory for all that miss something below it. It serves those that had sent the
 * read which found nothing before it was sent. */
struct probe {
    fwi_zk_store *store;
    uint64_t sent;
    fwi_list waiting; /* fwi_zk_node.waiting */
    char path[];
};

static void on_probed(fwi_zk_request *request, void *arg)
{
    struct probe *probe = arg;
    size_t len = strlen(probe->path);
    if (fwi_map_get(&probe->store->probes, probe->path, len) == probe)
        fwi_map_remove(&probe->store->probes, probe->path, len);
    for (fwi_list *first; (first = fwi_list_pop(&probe->waiting));) {
        fwi_zk_node *node = fwi_container_of(first, fwi_zk_node, waiting);
        node->sent = probe->sent;
        answered(node, request, ANCESTOR);
    }
    free(probe);
}

static struct probe *probe_new(fwi_zk_store *store, const char *path)
{
    size_t len = strlen(path);
    struct probe *probe = malloc(sizeof *probe + len + 1);
    if (!probe)
        return NULL;
    *probe = (struct probe){.store = store, .sent = ++store->reads};
    fwi_list_init(&probe->waiting);
    memcpy(probe->path, path, len + 1);
    fwi_zk_request *request = fwi_zk_request_new(store->main, on_probed, probe);
    if (!request || fwi_map_put(&store->probes, path, len, probe, NULL)) {
        if (request)
            fwi_zk_request_free(request);
        free(probe);
        return NULL;
    }
    fwi_zk_send_exists(request, path, false);
    return probe;
}

static void send_probe(fwi_zk_node *node)
{
    fwi_zk_store *store = node->watch->store;
    if (!fwi_zk_is_up(store->main)) {
        lost(node);
        return;
    }
    struct probe *probe = fwi_map_get(&store->probes, node->probe, strlen(node->probe));
    if (!probe || probe->sent < node->sent)
        probe = probe_new(store, node->probe);
    if (!probe) {
        fwi_zk_watch_fatal(node->watch, UV_ENOMEM, "");
        return;
    }
    begin_wait(node);
    fwi_list_push_back(&probe->waiting, &node->waiting);
}

/* ---- sending ---- */

static void send_read(fwi_zk_node *node, enum request_kind kind)
{
    fwi_zk_session *session = node->watch->store->main;
    if (!fwi_zk_is_up(session)) {
        lost(node);
        return;
    }
    fwi_zk_request *request = fwi_zk_request_new(session, on_answer, node);
    if (!request) {
        fwi_zk_watch_fatal(node->watch, UV_ENOMEM, "");
        return;
    }
    request->index = kind;
    node->sent = ++node->watch->store->reads;
    begin_wait(node);
    if (kind == DATA)
        fwi_zk_send_get(request, node->path, true);
    else if (kind == CHILDREN)
        fwi_zk_send_children(request, node->path, true);
    else
        fwi_zk_send_exists(request, node->path, true);
}

void fwi_zk_watch_pump(fwi_zk_watch *watch)
{
    while (watch->front && !watch->ended && watch->outstanding < OUT_MAX) {
        fwi_list *first = fwi_list_pop(&watch->now);
        if (!first)
            return;
        fwi_zk_node *node = fwi_container_of(first, fwi_zk_node, queued);
        bool data = node->read_data, children = node->read_children;
        node->read_data = node->read_children = false;
        /* A root that was missing is most likely so still. */
        bool is_missing = node->missing && !node->directory;
        if (data)
            send_read(node, is_missing ? EXISTS : DATA);
        if (children && watch->front && !node->gone)
            send_read(node, CHILDREN);
    }
}
