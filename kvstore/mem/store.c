#include "mem/store.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static fwi_list stores = {&stores, &stores};
static pthread_mutex_t stores_mutex = PTHREAD_MUTEX_INITIALIZER;

uint64_t fwi_mem_clock_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* ---- the store; all with its mutex held ---- */

static fw_slice copy_bytes(fw_slice from)
{
    void *copy = malloc(from.len ? from.len : 1);
    if (copy && from.len)
        memcpy(copy, from.data, from.len);
    return (fw_slice){copy, from.len};
}

static void change_fini(struct fwi_mem_change *change)
{
    free(change->key);
    free((void *)change->value.data);
}

static void entry_free(struct fwi_mem_entry *entry)
{
    if (entry)
        free((void *)entry->value.data);
    free(entry);
}

static void kick_locked(struct fwi_mem_store *store)
{
    fwi_list_for_each (node, &store->handles) {
        struct fwi_mem_handle *handle = fwi_container_of(node, struct fwi_mem_handle, node);
        if (handle->kicked)
            continue;
        handle->kicked = true;
        fwi_loop_post_task(handle->loop, &handle->kick);
    }
}

static int log_locked(struct fwi_mem_store *store, const char *key, size_t key_len,
                      const struct fwi_mem_entry *entry)
{
    struct fwi_mem_change change = {.revision = store->revision,
                                    .is_delete = !entry,
                                    .lease = entry ? entry->lease : 0,
                                    .key = malloc(key_len + 1)};
    if (entry)
        change.value = copy_bytes(entry->value);
    if (!change.key || (entry && !change.value.data)) {
        change_fini(&change);
        return UV_ENOMEM;
    }
    memcpy(change.key, key, key_len);
    change.key[key_len] = 0;
    size_t at = (store->log_start + store->log_count) % FWI_MEM_LOG_ENTRIES;
    if (store->log_count == FWI_MEM_LOG_ENTRIES) {
        change_fini(&store->log[at]);
        store->log_start = (store->log_start + 1) % FWI_MEM_LOG_ENTRIES;
    } else {
        store->log_count++;
    }
    store->log[at] = change;
    return FW_OK;
}

/* Puts in the store's present revision, which the caller has begun. */
static int put_locked(struct fwi_mem_store *store, const char *key, fw_slice value, int64_t lease)
{
    struct fwi_mem_entry *entry = malloc(sizeof *entry);
    if (!entry)
        return UV_ENOMEM;
    *entry = (struct fwi_mem_entry){
        .revision = store->revision, .lease = lease, .value = copy_bytes(value)};
    size_t key_len = strlen(key);
    void *old;
    if (!entry->value.data || log_locked(store, key, key_len, entry) ||
        fwi_map_put(&store->entries, key, key_len, entry, &old)) {
        entry_free(entry);
        return UV_ENOMEM;
    }
    entry_free(old);
    kick_locked(store);
    return FW_OK;
}

/* Deletes all keys for which the predicate holds, in one revision. Returns their number or an
 * error. */
static int delete_if_locked(struct fwi_mem_store *store,
                            bool (*wanted)(const fwi_map_entry *entry, const void *arg),
                            const void *arg)
{
    fwi_map doomed = {.count = 0};
    int err = FW_OK;
    size_t position = 0;
    for (fwi_map_entry *entry; !err && (entry = fwi_map_next(&store->entries, &position));)
        if (wanted(entry, arg))
            err = fwi_map_put(&doomed, entry->key, entry->key_len, NULL, NULL);
    int count = (int)doomed.count;
    if (!err && count) {
        store->revision++;
        position = 0;
        for (fwi_map_entry *entry; !err && (entry = fwi_map_next(&doomed, &position));) {
            err = log_locked(store, (const char *)entry->key, entry->key_len, NULL);
            if (!err)
                entry_free(fwi_map_remove(&store->entries, entry->key, entry->key_len));
        }
        kick_locked(store);
    }
    fwi_map_fini(&doomed);
    return err ? err : count;
}

/* Deletes a key, if it is there, in the store's present revision. */
static int delete_one_locked(struct fwi_mem_store *store, const char *key)
{
    if (!fwi_map_get(&store->entries, key, strlen(key)))
        return FW_OK;
    int err = log_locked(store, key, strlen(key), NULL);
    if (!err)
        entry_free(fwi_map_remove(&store->entries, key, strlen(key)));
    kick_locked(store);
    return err;
}

static bool is_below(const fwi_map_entry *entry, const void *arg)
{
    const char *prefix = arg;
    return fwi_kv_key_below((const char *)entry->key, entry->key_len, prefix, strlen(prefix));
}

static bool is_key(const fwi_map_entry *entry, const void *arg)
{
    const char *key = arg;
    return entry->key_len == strlen(key) && !memcmp(entry->key, key, entry->key_len);
}

static bool is_leased(const fwi_map_entry *entry, const void *arg)
{
    const struct fwi_mem_entry *value = entry->value;
    return value->lease == *(const int64_t *)arg;
}

struct fwi_mem_lease *fwi_mem_lease_find_locked(struct fwi_mem_store *store, int64_t id)
{
    fwi_list_for_each (node, &store->leases) {
        struct fwi_mem_lease *lease = fwi_container_of(node, struct fwi_mem_lease, node);
        if (lease->id == id)
            return lease;
    }
    return NULL;
}

struct fwi_mem_lease *fwi_mem_lease_add_locked(struct fwi_mem_store *store, uint32_t ttl_ms)
{
    struct fwi_mem_lease *lease = malloc(sizeof *lease);
    if (!lease)
        return NULL;
    *lease = (struct fwi_mem_lease){
        .id = ++store->last_lease, .ttl_ms = ttl_ms, .expires_ms = fwi_mem_clock_ms() + ttl_ms};
    fwi_list_push_back(&store->leases, &lease->node);
    kick_locked(store); /* every handle's timer shall know of it */
    return lease;
}

void fwi_mem_lease_end_locked(struct fwi_mem_store *store, struct fwi_mem_lease *lease)
{
    delete_if_locked(store, is_leased, &lease->id);
    fwi_list_remove(&lease->node);
    free(lease);
}

void fwi_mem_expire_locked(struct fwi_mem_store *store)
{
    uint64_t now = fwi_mem_clock_ms();
    fwi_list_for_each_safe (node, &store->leases) {
        struct fwi_mem_lease *lease = fwi_container_of(node, struct fwi_mem_lease, node);
        if (lease->expires_ms <= now)
            fwi_mem_lease_end_locked(store, lease);
    }
}

/* ---- operations ---- */

static int by_key(const void *a, const void *b)
{
    return strcmp(((const fw_kv_pair *)a)->key, ((const fw_kv_pair *)b)->key);
}

static int add_pair(fwi_kv_op *op, const char *key, size_t key_len,
                    const struct fwi_mem_entry *entry)
{
    return fwi_kv_pairs_add(&op->pairs, key, key_len, entry->value, entry->revision, entry->lease);
}

static int list_locked(struct fwi_mem_store *store, fwi_kv_op *op)
{
    size_t position = 0;
    int err = FW_OK;
    for (fwi_map_entry *entry; !err && (entry = fwi_map_next(&store->entries, &position));)
        if (is_below(entry, op->key))
            err = add_pair(op, (const char *)entry->key, entry->key_len, entry->value);
    if (op->pairs.count)
        qsort(op->pairs.items, op->pairs.count, sizeof *op->pairs.items, by_key);
    return err;
}

static int put_op_locked(struct fwi_mem_store *store, fwi_kv_op *op)
{
    int64_t id = op->lease;
    if (id && !fwi_mem_lease_find_locked(store, id))
        return FW_ELEASE;
    if (op->ttl_ms) {
        struct fwi_mem_lease *lease = fwi_mem_lease_add_locked(store, op->ttl_ms);
        if (!lease)
            return UV_ENOMEM;
        id = lease->id;
    }
    store->revision++;
    return put_locked(store, op->key, op->value, id);
}

static const struct fwi_mem_entry *entry_of(struct fwi_mem_store *store, const char *key)
{
    return fwi_map_get(&store->entries, key, strlen(key));
}

/* What a branch reads is what was there before it. */
static int read_branch_locked(struct fwi_mem_store *store, const fwi_kv_branch *branch,
                              fwi_kv_op *op)
{
    int err = FW_OK;
    for (size_t i = 0; !err && i < branch->count; i++) {
        const fwi_kv_txn_op *step = &branch->ops[i];
        if (step->type == FW_KV_TXN_PUT && step->lease &&
            !fwi_mem_lease_find_locked(store, step->lease))
            err = FW_ELEASE;
        if (step->type != FW_KV_TXN_GET)
            continue;
        static const struct fwi_mem_entry missing = {.revision = 0};
        const struct fwi_mem_entry *entry = entry_of(store, step->key);
        err = add_pair(op, step->key, strlen(step->key), entry ? entry : &missing);
    }
    return err;
}

static int write_branch_locked(struct fwi_mem_store *store, const fwi_kv_branch *branch)
{
    bool changes = false;
    for (size_t i = 0; i < branch->count; i++)
        changes |= branch->ops[i].type == FW_KV_TXN_PUT ||
                   (branch->ops[i].type == FW_KV_TXN_DELETE && entry_of(store, branch->ops[i].key));
    if (!changes)
        return FW_OK;
    store->revision++;
    int err = FW_OK;
    for (size_t i = 0; !err && i < branch->count; i++) {
        const fwi_kv_txn_op *step = &branch->ops[i];
        if (step->type == FW_KV_TXN_PUT)
            err = put_locked(store, step->key, step->value, step->lease);
        else if (step->type == FW_KV_TXN_DELETE)
            err = delete_one_locked(store, step->key);
    }
    return err;
}

static int txn_locked(struct fwi_mem_store *store, fwi_kv_op *op)
{
    op->succeeded = true;
    for (size_t i = 0; op->succeeded && i < op->txn->compare_count; i++) {
        const fw_kv_compare *compare = &op->txn->compares[i];
        const struct fwi_mem_entry *entry = entry_of(store, compare->key);
        fw_slice value = entry ? entry->value : (fw_slice){NULL, 0};
        op->succeeded = fwi_kv_compare_holds(compare, entry ? entry->revision : 0, value);
    }
    const fwi_kv_branch *branch = op->succeeded ? &op->txn->then : &op->txn->otherwise;
    int err = read_branch_locked(store, branch, op);
    return err ? err : write_branch_locked(store, branch);
}

static int check_previous(const fwi_kv_op *op, const struct fwi_mem_entry *entry)
{
    if (!op->previous)
        return entry ? FW_EEXISTS : FW_OK;
    if (!entry)
        return FW_ENOTFOUND;
    return entry->revision == op->previous ? FW_OK : FW_EMODIFIED;
}

int fwi_mem_run_locked(struct fwi_mem_store *store, fwi_kv_op *op)
{
    const struct fwi_mem_entry *entry = fwi_map_get(&store->entries, op->key, strlen(op->key));
    int rc;
    switch (op->type) {
    case FWI_KV_PUT:
        return put_op_locked(store, op);
    case FWI_KV_ATOMIC_PUT:
        rc = check_previous(op, entry);
        return rc ? rc : put_op_locked(store, op);
    case FWI_KV_GET:
        return entry ? add_pair(op, op->key, strlen(op->key), entry) : FW_ENOTFOUND;
    case FWI_KV_EXISTS:
        op->count = entry ? 1 : 0;
        return FW_OK;
    case FWI_KV_LIST:
        return list_locked(store, op);
    case FWI_KV_ATOMIC_DELETE:
        rc = !entry ? FW_ENOTFOUND : entry->revision != op->previous ? FW_EMODIFIED : FW_OK;
        if (rc)
            return rc;
        rc = delete_if_locked(store, is_key, op->key);
        return rc < 0 ? rc : FW_OK;
    case FWI_KV_DELETE:
        rc = delete_if_locked(store, is_key, op->key);
        return rc < 0 ? rc : rc ? FW_OK : FW_ENOTFOUND;
    case FWI_KV_TXN:
        return txn_locked(store, op);
    case FWI_KV_ENQUEUE:
        return FW_EUNSUPPORTED;
    case FWI_KV_DELETE_TREE:
        rc = delete_if_locked(store, is_below, op->key);
        op->count = rc > 0 ? (size_t)rc : 0;
        return rc < 0 ? rc : FW_OK;
    }
    return FW_EUNSUPPORTED;
}

/* ---- watches ---- */

/* Gives a watch what it has not seen. */
void fwi_mem_catch_up(struct fwi_mem_store *store, fw_kv_watch *watch)
{
    pthread_mutex_lock(&store->mutex);
    int64_t revision = store->revision;
    bool has_history =
        watch->revision &&
        (watch->revision >= revision ||
         (store->log_count && store->log[store->log_start].revision <= watch->revision + 1));
    if (!has_history) {
        fwi_kv_watch_list_begin(watch);
        size_t position = 0;
        for (fwi_map_entry *entry; (entry = fwi_map_next(&store->entries, &position));) {
            const struct fwi_mem_entry *value = entry->value;
            const char *key = (const char *)entry->key;
            bool matches = watch->tree ? is_below(entry, watch->key) : is_key(entry, watch->key);
            if (matches)
                fwi_kv_watch_list_pair(watch, key, entry->key_len, value->value, value->revision,
                                       value->lease);
        }
    } else {
        for (size_t i = 0; i < store->log_count; i++) {
            const struct fwi_mem_change *change =
                &store->log[(store->log_start + i) % FWI_MEM_LOG_ENTRIES];
            if (change->revision <= watch->revision || !fwi_kv_watch_matches(watch, change->key))
                continue;
            size_t key_len = strlen(change->key);
            if (change->is_delete)
                fwi_kv_watch_delete(watch, change->key, key_len, change->revision);
            else
                fwi_kv_watch_put(watch, change->key, key_len, change->value, change->revision,
                                 change->lease);
        }
    }
    pthread_mutex_unlock(&store->mutex);
    if (has_history)
        fwi_kv_watch_commit(watch, revision);
    else
        fwi_kv_watch_list_end(watch, revision);
}

/* ---- life ---- */

struct fwi_mem_store *fwi_mem_store_acquire(const char *name)
{
    pthread_mutex_lock(&stores_mutex);
    struct fwi_mem_store *store = NULL;
    fwi_list_for_each (node, &stores) {
        struct fwi_mem_store *one = fwi_container_of(node, struct fwi_mem_store, node);
        if (!strcmp(one->name, name))
            store = one;
    }
    if (!store) {
        store = calloc(1, sizeof *store);
        if (store && !(store->name = strdup(name))) {
            free(store);
            store = NULL;
        }
        if (store) {
            pthread_mutex_init(&store->mutex, NULL);
            fwi_list_init(&store->leases);
            fwi_list_init(&store->handles);
            store->last_lease = FWI_KV_LEAST_LEASE;
            store->revision = 1; /* a list of the empty store has a revision, too */
            fwi_list_push_back(&stores, &store->node);
        }
    }
    if (store)
        store->references++;
    pthread_mutex_unlock(&stores_mutex);
    return store;
}

void fwi_mem_store_release(struct fwi_mem_store *store)
{
    pthread_mutex_lock(&stores_mutex);
    bool last = --store->references == 0;
    if (last)
        fwi_list_remove(&store->node);
    pthread_mutex_unlock(&stores_mutex);
    if (!last)
        return;
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&store->entries, &position));)
        entry_free(entry->value);
    fwi_map_fini(&store->entries);
    for (size_t i = 0; i < store->log_count; i++)
        change_fini(&store->log[(store->log_start + i) % FWI_MEM_LOG_ENTRIES]);
    for (fwi_list *node; (node = fwi_list_pop(&store->leases));)
        free(fwi_container_of(node, struct fwi_mem_lease, node));
    pthread_mutex_destroy(&store->mutex);
    free(store->name);
    free(store);
}
