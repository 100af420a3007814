/* Watches: what a watch has read (watch_read.c) brought to the front in order. See watch.h. */
#include "watch.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

/* Of a tree that is written to without a pause the state is told after so many rounds, though some
 * of it is later than the revision it is told with. */
#define ROUNDS_MAX 64
/* With so many reads out no other watch begins: what else is asked shall not wait behind thousands
 * of them, nor those that are first for the last. */
#define READS_OUT_MAX 256

void fwi_zk_watch_hold(fwi_zk_watch *watch)
{
    watch->references++;
}

void fwi_zk_watch_release(fwi_zk_watch *watch)
{
    if (--watch->references)
        return;
    fwi_map_fini(&watch->keys);
    free(watch);
}

void fwi_zk_key_free_if_unused(fwi_zk_watch *watch, fwi_zk_key *key)
{
    if (key->plain || key->leased || !fwi_list_empty(&key->touched))
        return;
    fwi_map_remove(&watch->keys, key->name, strlen(key->name));
    free(key->name);
    free(key);
}

void fwi_zk_watch_fatal(fwi_zk_watch *watch, int reason, const char *detail)
{
    /* Nothing is read any more; the front stops the watch, perhaps in this call. */
    watch->ended = true;
    if (watch->front)
        (void)fwi_kv_watch_fatal(watch->front, reason, detail);
}

/* ---- telling ---- */

/* The node that holds the key now, or NULL. */
static fwi_zk_node *holder(const fwi_zk_key *key)
{
    fwi_zk_node *plain = key->plain && key->plain->has_value ? key->plain : NULL;
    fwi_zk_node *leased = key->leased && key->leased->has_value ? key->leased : NULL;
    if (!plain || !leased)
        return plain ? plain : leased;
    return leased->seen.stat.mzxid > plain->seen.stat.mzxid ? leased : plain;
}

static void drop_data(fwi_zk_node *node)
{
    if (!node)
        return;
    free(node->seen.data);
    node->seen.data = NULL;
    node->has_data = false;
}

static void untouch(fwi_zk_watch *watch, fwi_zk_key *key)
{
    fwi_list_remove(&key->touched);
    drop_data(key->plain);
    drop_data(key->leased);
    fwi_zk_key_free_if_unused(watch, key);
}

static bool tell_list(fwi_zk_watch *watch, int64_t revision)
{
    fwi_kv_watch_list_begin(watch->front);
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&watch->keys, &position));) {
        fwi_zk_key *key = entry->value;
        fwi_zk_node *node = holder(key);
        fw_slice value;
        key->told = node ? node->seen.stat.mzxid : 0;
        if (node && node->has_data && fwi_zk_node_value(&node->seen, &value))
            fwi_kv_watch_list_pair(watch->front, key->name, strlen(key->name), value, key->told,
                                   fwi_zk_owner(&node->seen.stat));
    }
    for (fwi_list *node; (node = watch->touched.next) != &watch->touched;)
        untouch(watch, fwi_container_of(node, fwi_zk_key, touched));
    watch->listed = true;
    watch->coming_back = false;
    return fwi_kv_watch_list_end(watch->front, revision > 0 ? revision : 1);
}

struct change {
    int64_t revision;
    fwi_zk_key *key;
};

static int by_revision(const void *a, const void *b)
{
    const struct change *one = a, *two = b;
    return (one->revision > two->revision) - (one->revision < two->revision);
}

/* The revision of what is to be told of a key; 0: nothing. */
static int64_t change_of(const fwi_zk_watch *watch, const fwi_zk_key *key)
{
    const fwi_zk_node *node = holder(key);
    if (node)
        return node->seen.stat.mzxid == key->told ? 0 : node->seen.stat.mzxid;
    if (!key->told)
        return 0;
    return key->gone_at > watch->front->revision ? key->gone_at : watch->front->revision + 1;
}

static void tell_change(fwi_zk_watch *watch, const struct change *change)
{
    fwi_zk_key *key = change->key;
    fwi_zk_node *node = holder(key);
    fw_slice value;
    if (node && fwi_zk_node_value(&node->seen, &value)) {
        key->told = change->revision;
        fwi_kv_watch_put(watch->front, key->name, strlen(key->name), value, change->revision,
                         fwi_zk_owner(&node->seen.stat));
    } else {
        key->told = 0;
        fwi_kv_watch_delete(watch->front, key->name, strlen(key->name), change->revision);
    }
    untouch(watch, key);
}

/* The changes up to a revision that are to be told, sorted. */
static struct change *collect(fwi_zk_watch *watch, int64_t limit, size_t *ret_count)
{
    size_t count = 0, touched = 0;
    fwi_list_for_each (node, &watch->touched)
        touched++;
    struct change *changes = malloc((touched + 1) * sizeof *changes);
    if (!changes)
        return NULL;
    fwi_list_for_each_safe (node, &watch->touched) {
        fwi_zk_key *key = fwi_container_of(node, fwi_zk_key, touched);
        int64_t revision = change_of(watch, key);
        fwi_zk_node *held = holder(key);
        if (!revision)
            untouch(watch, key);
        else if (held && !held->has_data) /* what was hidden is to be seen again */
            fwi_zk_node_dirty(held, true, false);
        else if (revision <= limit)
            changes[count++] = (struct change){revision, key};
    }
    qsort(changes, count, sizeof *changes, by_revision);
    *ret_count = count;
    return changes;
}

static bool tell_changes(fwi_zk_watch *watch, int64_t limit, int64_t revision)
{
    size_t count;
    struct change *changes = collect(watch, limit, &count);
    if (!changes) {
        fwi_zk_watch_fatal(watch, UV_ENOMEM, "");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (changes[i].revision > revision)
            revision = changes[i].revision;
        tell_change(watch, &changes[i]);
    }
    free(changes);
    return fwi_kv_watch_commit(watch->front, revision);
}

/* ---- rounds ---- */

/* True if a key was read that has changed after this revision: how it was then is not known. */
static bool is_past(const fwi_zk_watch *watch, int64_t revision)
{
    fwi_list_for_each (node, &watch->touched)
        if (change_of(watch, fwi_container_of(node, fwi_zk_key, touched)) > revision)
            return true;
    return false;
}

static void end_round(fwi_zk_watch *watch)
{
    watch->in_round = false;
    if (watch->round_lost)
        return;
    int64_t known = watch->horizon; /* all changes up to here */
    bool all = fwi_list_empty(&watch->next);
    watch->horizon = watch->seen;
    watch->rounds++;
    watch->untold++;
    if (!all && watch->untold < ROUNDS_MAX && (!known || is_past(watch, known)))
        return;
    watch->untold = 0;
    if (!watch->listed) {
        (void)tell_list(watch, all ? watch->horizon : known);
        return;
    }
    bool going = tell_changes(watch, all ? INT64_MAX : known, all ? watch->horizon : known);
    /* After a loss of contact: the first round comes behind all that was missed, the second has
     * read it. */
    if (going && watch->coming_back && (all || watch->rounds > 1)) {
        watch->coming_back = false;
        (void)fwi_kv_watch_live(watch->front);
    }
}

void fwi_zk_watch_step(fwi_zk_watch *watch)
{
    fwi_zk_watch_hold(watch);
    while (watch->front && !watch->ended && fwi_zk_is_up(watch->store->main)) {
        if (!watch->in_round) {
            if (fwi_list_empty(&watch->next) && fwi_list_empty(&watch->now))
                break;
            watch->in_round = true;
            watch->round_lost = false;
            fwi_list_splice(&watch->now, &watch->next);
        }
        fwi_zk_watch_pump(watch);
        if (!watch->front || watch->outstanding || !fwi_list_empty(&watch->now))
            break;
        end_round(watch);
    }
    fwi_zk_watch_release(watch);
}

/* ---- what the store tells ---- */

/* Calls for each watch; it may stop any of them. */
static void for_each_watch(fwi_zk_store *store, void (*fn)(fwi_zk_watch *watch))
{
    fwi_list rest;
    fwi_list_init(&rest);
    fwi_list_splice(&rest, &store->watches);
    for (fwi_list *node; (node = fwi_list_pop(&rest));) {
        fwi_list_push_back(&store->watches, node);
        fwi_zk_watch *watch = fwi_container_of(node, struct fwi_zk_watch, node);
        fwi_zk_watch_hold(watch);
        fn(watch);
        fwi_zk_watch_release(watch);
    }
}

static void make_runnable(fwi_zk_watch *watch)
{
    if (fwi_list_empty(&watch->runnable))
        fwi_list_push_back(&watch->store->runnable, &watch->runnable);
    fwi_loop_defer(watch->store->loop, &watch->store->run_watches);
}

static void tell_stale(fwi_zk_watch *watch)
{
    const fwi_zk_store *store = watch->store;
    watch->coming_back = true;
    (void)fwi_kv_watch_stale(watch->front, store->stale_reason, store->stale_detail);
}

void fwi_zk_watches_stale(fwi_zk_store *store, int reason, const char *detail)
{
    store->told_stale = true;
    store->stale_reason = reason;
    store->stale_detail = detail;
    for_each_watch(store, tell_stale);
}

/* Another session, perhaps with a server that was emptied and counts anew: no revision that is
 * known means anything. */
static void read_all_again(fwi_zk_watch *watch)
{
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&watch->keys, &position));)
        ((fwi_zk_key *)entry->value)->gone_at = 0;
    for (size_t i = 0; i < 2; i++)
        if (watch->roots[i])
            fwi_zk_node_dirty_all(watch->roots[i]);
    watch->rounds = watch->untold = 0;
    watch->listed = false;
    watch->horizon = watch->seen = 0;
    make_runnable(watch);
}

/* The session is the same: it tells what was missed before it answers a read. */
static void catch_up(fwi_zk_watch *watch)
{
    fwi_zk_node_dirty(watch->roots[0], true, true);
    watch->rounds = 0;
    make_runnable(watch);
}

void fwi_zk_watches_resume(fwi_zk_store *store, bool fresh)
{
    store->told_stale = false;
    for_each_watch(store, fresh ? read_all_again : catch_up);
}

void fwi_zk_watches_changed(fwi_zk_store *store, const char *path, int type)
{
    size_t len = strlen(path);
    fwi_list *all = fwi_map_get(&store->watched, path, len);
    if (!all)
        return;
    bool children = type != ZOO_CHANGED_EVENT;
    bool data = type != ZOO_CHILD_EVENT;
    fwi_list_for_each (entry, all) {
        fwi_zk_node *node = fwi_container_of(entry, fwi_zk_node, same_path);
        fwi_zk_node_dirty(node, data, children);
        make_runnable(node->watch);
    }
}

/* At the end of the turn: what one transaction has changed is mostly told in one. */
static void on_run(fwi_task *task, void *arg)
{
    (void)task;
    fwi_zk_store *store = arg;
    for (fwi_list *node; (node = fwi_list_pop(&store->failed_watches));)
        (void)fwi_kv_watch_fatal(fwi_container_of(node, fw_kv_watch, node), UV_ENOMEM, "");
    while (store->reads_out < READS_OUT_MAX && !fwi_list_empty(&store->runnable)) {
        fwi_zk_watch *watch =
            fwi_container_of(fwi_list_pop(&store->runnable), struct fwi_zk_watch, runnable);
        fwi_zk_watch_hold(watch);
        if (watch->out_of_memory)
            fwi_zk_watch_fatal(watch, UV_ENOMEM, "");
        else if (store->told_stale)
            tell_stale(watch);
        fwi_zk_watch_step(watch);
        fwi_zk_watch_release(watch);
    }
}

void fwi_zk_watch_read_ended(fwi_zk_store *store)
{
    store->reads_out--;
    if (store->reads_out < READS_OUT_MAX && !fwi_list_empty(&store->runnable))
        fwi_loop_defer(store->loop, &store->run_watches);
}

void fwi_zk_watches_init(fwi_zk_store *store)
{
    fwi_list_init(&store->watches);
    fwi_list_init(&store->runnable);
    fwi_list_init(&store->failed_watches);
    store->run_watches = (fwi_task){.fn = on_run, .arg = store};
}

void fwi_zk_watches_fini(fwi_zk_store *store)
{
    fwi_loop_defer_cancel(store->loop, &store->run_watches);
}

/* ---- life ---- */

static int make_roots(fwi_zk_watch *watch)
{
    const char *key = watch->front->key;
    char *path = fwi_zk_path(watch->store->root, key);
    if (!path)
        return UV_ENOMEM;
    char *leased_path = watch->front->tree ? NULL : fwi_zk_leased_path(path);
    watch->roots[0] = fwi_zk_node_new(watch, NULL, NULL, path, watch->front->tree);
    if (!watch->roots[0]) {
        free(leased_path);
        return UV_ENOMEM;
    }
    if (watch->front->tree)
        return FW_OK;
    watch->roots[1] = fwi_zk_node_new(watch, NULL, NULL, leased_path, false);
    int err = fwi_zk_node_set_key(watch->roots[0], key, false);
    if (!err)
        err = watch->roots[1] ? fwi_zk_node_set_key(watch->roots[1], key, true) : UV_ENOMEM;
    return err;
}

void fwi_zk_watch_start(void *arg, fw_kv_watch *front)
{
    fwi_zk_store *store = arg;
    fwi_zk_watch *watch = calloc(1, sizeof *watch);
    front->driver_data = watch;
    if (!watch) {
        fwi_list_push_back(&store->failed_watches, &front->node);
        fwi_loop_defer(store->loop, &store->run_watches);
        return;
    }
    watch->store = store;
    watch->front = front;
    watch->references = 1;
    fwi_list_init(&watch->next);
    fwi_list_init(&watch->now);
    fwi_list_init(&watch->touched);
    fwi_list_init(&watch->graves);
    fwi_list_init(&watch->runnable);
    fwi_list_push_back(&store->watches, &watch->node);
    if (make_roots(watch))
        watch->out_of_memory = true;
    for (size_t i = 0; i < 2; i++)
        if (watch->roots[i])
            fwi_zk_node_dirty(watch->roots[i], true, true);
    make_runnable(watch); /* the callback does not run before this call returns */
}

void fwi_zk_watch_stop(void *arg, fw_kv_watch *front)
{
    (void)arg;
    fwi_zk_watch *watch = front->driver_data;
    fwi_list_remove(&front->node);
    if (watch) {
        watch->front = NULL;
        fwi_list_remove(&watch->node);
        fwi_list_remove(&watch->runnable);
        for (size_t i = 0; i < 2; i++) {
            if (watch->roots[i])
                fwi_zk_node_bury(watch->roots[i], 0);
            watch->roots[i] = NULL;
        }
        for (fwi_list *node; (node = watch->touched.next) != &watch->touched;)
            untouch(watch, fwi_container_of(node, fwi_zk_key, touched));
        fwi_zk_watch_release(watch);
    }
    fwi_kv_watch_stopped(front);
}
