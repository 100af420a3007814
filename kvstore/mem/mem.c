/*
 * mem:NAME, the reference: a store in this process, shared by all who open the same name on any
 * loop.
 *
 * A store is a map, a revision, and the log of its last changes, under one mutex. Operations run
 * where they are submitted. Every handle (one fw_kv) has its watches; a change kicks the handles,
 * and each watch then takes from the log, on its own loop, what it has not seen. A watch that has
 * fallen behind the log lists again. Leases carry a time; whichever handle's timer comes first
 * deletes what has expired.
 */
#include "driver.h"

#include <fairway/error.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define LOG_ENTRIES     10000
#define MAX_VALUE_BYTES (16u * 1024 * 1024)

struct entry {
    int64_t revision, lease;
    fw_slice value;
};

struct change {
    int64_t revision, lease;
    bool is_delete;
    char *key;
    fw_slice value;
};

struct lease {
    fwi_list node;
    int64_t id;
    uint32_t ttl_ms;
    uint64_t expires_ms; /* on uv_hrtime's clock, common to all loops */
};

struct store {
    fwi_list node; /* in stores */
    char *name;
    size_t references; /* guarded by stores_mutex */

    pthread_mutex_t mutex; /* guards what follows */
    int64_t revision, last_lease;
    fwi_map entries; /* key -> struct entry */
    struct change log[LOG_ENTRIES];
    size_t log_start, log_count;
    fwi_list leases;
    fwi_list handles;
};

struct handle {
    fwi_list node; /* in store->handles */
    fw_kv *kv;
    fw_loop *loop;
    struct store *store;
    fwi_list watches; /* fw_kv_watch.node */
    fwi_list leases;  /* fw_kv_lease.node; the granted ones, to be renewed */
    fwi_timer timer;
    fwi_task kick;
    bool kicked; /* guarded by store->mutex: the kick task is on its way */
    bool closing;
};

static fwi_list stores = {&stores, &stores};
static pthread_mutex_t stores_mutex = PTHREAD_MUTEX_INITIALIZER;

static uint64_t clock_ms(void)
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

static void change_fini(struct change *change)
{
    free(change->key);
    free((void *)change->value.data);
}

static void entry_free(struct entry *entry)
{
    if (entry)
        free((void *)entry->value.data);
    free(entry);
}

static void kick_locked(struct store *store)
{
    fwi_list_for_each (node, &store->handles) {
        struct handle *handle = fwi_container_of(node, struct handle, node);
        if (handle->kicked)
            continue;
        handle->kicked = true;
        fwi_loop_post_task(handle->loop, &handle->kick);
    }
}

static int log_locked(struct store *store, const char *key, size_t key_len,
                      const struct entry *entry)
{
    struct change change = {.revision = store->revision,
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
    size_t at = (store->log_start + store->log_count) % LOG_ENTRIES;
    if (store->log_count == LOG_ENTRIES) {
        change_fini(&store->log[at]);
        store->log_start = (store->log_start + 1) % LOG_ENTRIES;
    } else {
        store->log_count++;
    }
    store->log[at] = change;
    return FW_OK;
}

static int put_locked(struct store *store, const char *key, fw_slice value, int64_t lease)
{
    struct entry *entry = malloc(sizeof *entry);
    if (!entry)
        return UV_ENOMEM;
    *entry =
        (struct entry){.revision = ++store->revision, .lease = lease, .value = copy_bytes(value)};
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
static int delete_if_locked(struct store *store,
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
    const struct entry *value = entry->value;
    return value->lease == *(const int64_t *)arg;
}

static struct lease *lease_find_locked(struct store *store, int64_t id)
{
    fwi_list_for_each (node, &store->leases) {
        struct lease *lease = fwi_container_of(node, struct lease, node);
        if (lease->id == id)
            return lease;
    }
    return NULL;
}

static struct lease *lease_add_locked(struct store *store, uint32_t ttl_ms)
{
    struct lease *lease = malloc(sizeof *lease);
    if (!lease)
        return NULL;
    *lease = (struct lease){
        .id = ++store->last_lease, .ttl_ms = ttl_ms, .expires_ms = clock_ms() + ttl_ms};
    fwi_list_push_back(&store->leases, &lease->node);
    kick_locked(store); /* every handle's timer shall know of it */
    return lease;
}

static void lease_end_locked(struct store *store, struct lease *lease)
{
    delete_if_locked(store, is_leased, &lease->id);
    fwi_list_remove(&lease->node);
    free(lease);
}

static void expire_locked(struct store *store)
{
    uint64_t now = clock_ms();
    fwi_list_for_each_safe (node, &store->leases) {
        struct lease *lease = fwi_container_of(node, struct lease, node);
        if (lease->expires_ms <= now)
            lease_end_locked(store, lease);
    }
}

/* ---- operations ---- */

static int by_key(const void *a, const void *b)
{
    return strcmp(((const fw_kv_pair *)a)->key, ((const fw_kv_pair *)b)->key);
}

static int add_pair(fwi_kv_op *op, const char *key, size_t key_len, const struct entry *entry)
{
    return fwi_kv_pairs_add(&op->pairs, key, key_len, entry->value, entry->revision, entry->lease);
}

static int list_locked(struct store *store, fwi_kv_op *op)
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

static int put_op_locked(struct store *store, fwi_kv_op *op)
{
    int64_t id = op->lease;
    if (id && !lease_find_locked(store, id))
        return FW_ELEASE;
    if (op->ttl_ms) {
        struct lease *lease = lease_add_locked(store, op->ttl_ms);
        if (!lease)
            return UV_ENOMEM;
        id = lease->id;
    }
    return put_locked(store, op->key, op->value, id);
}

static int check_previous(const fwi_kv_op *op, const struct entry *entry)
{
    if (!op->previous)
        return entry ? FW_EEXISTS : FW_OK;
    if (!entry)
        return FW_ENOTFOUND;
    return entry->revision == op->previous ? FW_OK : FW_EMODIFIED;
}

static int run_locked(struct store *store, fwi_kv_op *op)
{
    const struct entry *entry = fwi_map_get(&store->entries, op->key, strlen(op->key));
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
    case FWI_KV_DELETE_TREE:
        rc = delete_if_locked(store, is_below, op->key);
        op->count = rc > 0 ? (size_t)rc : 0;
        return rc < 0 ? rc : FW_OK;
    }
    return FW_EUNSUPPORTED;
}

static void submit(void *arg, fwi_kv_op *op)
{
    struct handle *handle = arg;
    struct store *store = handle->store;
    pthread_mutex_lock(&store->mutex);
    expire_locked(store);
    int status = run_locked(store, op);
    op->revision = store->revision;
    pthread_mutex_unlock(&store->mutex);
    fwi_kv_op_finish(op, status, NULL);
}

/* ---- watches ---- */

/* Gives a watch what it has not seen. */
static void catch_up(struct store *store, fw_kv_watch *watch)
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
            const struct entry *value = entry->value;
            const char *key = (const char *)entry->key;
            bool matches = watch->tree ? is_below(entry, watch->key) : is_key(entry, watch->key);
            if (matches)
                fwi_kv_watch_list_pair(watch, key, entry->key_len, value->value, value->revision,
                                       value->lease);
        }
    } else {
        for (size_t i = 0; i < store->log_count; i++) {
            const struct change *change = &store->log[(store->log_start + i) % LOG_ENTRIES];
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

static void catch_up_all(struct handle *handle)
{
    /* A callback may stop any watch: each is back in its list before it is served. */
    fwi_list todo;
    fwi_list_init(&todo);
    fwi_list_splice(&todo, &handle->watches);
    for (fwi_list *node; (node = fwi_list_pop(&todo));) {
        fwi_list_push_back(&handle->watches, node);
        catch_up(handle->store, fwi_container_of(node, fw_kv_watch, node));
    }
}

static void kick(struct handle *handle)
{
    pthread_mutex_lock(&handle->store->mutex);
    if (!handle->kicked) {
        handle->kicked = true;
        fwi_loop_post_task(handle->loop, &handle->kick);
    }
    pthread_mutex_unlock(&handle->store->mutex);
}

static void watch_start(void *arg, fw_kv_watch *watch)
{
    struct handle *handle = arg;
    fwi_list_push_back(&handle->watches, &watch->node);
    kick(handle);
}

static void watch_stop(void *arg, fw_kv_watch *watch)
{
    (void)arg;
    fwi_list_remove(&watch->node);
    fwi_kv_watch_stopped(watch);
}

/* ---- leases ---- */

static void lease_grant(void *arg, fw_kv_lease *lease)
{
    struct handle *handle = arg;
    pthread_mutex_lock(&handle->store->mutex);
    struct lease *granted = lease_add_locked(handle->store, lease->ttl_ms);
    int64_t id = granted ? granted->id : 0;
    pthread_mutex_unlock(&handle->store->mutex);
    fwi_kv_lease_granted(lease, id ? FW_OK : UV_ENOMEM, NULL, id, lease->ttl_ms);
    if (id)
        fwi_list_push_back(&handle->leases, &lease->node);
}

static void lease_revoke(void *arg, fw_kv_lease *lease)
{
    struct handle *handle = arg;
    fwi_list_remove(&lease->node);
    pthread_mutex_lock(&handle->store->mutex);
    struct lease *granted = lease_find_locked(handle->store, lease->id);
    if (granted)
        lease_end_locked(handle->store, granted);
    pthread_mutex_unlock(&handle->store->mutex);
    fwi_kv_lease_gone(lease);
}

/* Renews this handle's leases that have passed a third of their time; reports the lost ones. */
static void renew(struct handle *handle)
{
    uint64_t now = clock_ms();
    fwi_list_for_each_safe (node, &handle->leases) {
        fw_kv_lease *lease = fwi_container_of(node, fw_kv_lease, node);
        struct lease *granted = lease_find_locked(handle->store, lease->id);
        if (!granted) {
            fwi_list_remove(node);
            fwi_kv_lease_lost(lease, FW_ELEASE, "expired");
        } else if (granted->expires_ms - now <= granted->ttl_ms - granted->ttl_ms / 3) {
            granted->expires_ms = now + granted->ttl_ms;
        }
    }
}

/* Sets the timer to the next renewal of ours or the next expiry of anybody's. */
static void set_timer(struct handle *handle)
{
    uint64_t next = UINT64_MAX;
    fwi_list_for_each (node, &handle->store->leases) {
        struct lease *lease = fwi_container_of(node, struct lease, node);
        if (lease->expires_ms < next)
            next = lease->expires_ms;
    }
    fwi_list_for_each (node, &handle->leases) {
        const fw_kv_lease *own = fwi_container_of(node, fw_kv_lease, node);
        struct lease *lease = lease_find_locked(handle->store, own->id);
        uint64_t renewal = lease ? lease->expires_ms - (lease->ttl_ms - lease->ttl_ms / 3) : 0;
        if (renewal < next)
            next = renewal;
    }
    fwi_loop_timer_stop(handle->loop, &handle->timer);
    uint64_t now = clock_ms();
    if (next != UINT64_MAX)
        fwi_loop_timer_start(handle->loop, &handle->timer, next > now ? next - now : 0);
}

static void handle_free(struct handle *handle);

static void keep_time(struct handle *handle)
{
    pthread_mutex_lock(&handle->store->mutex);
    renew(handle);
    expire_locked(handle->store);
    set_timer(handle);
    pthread_mutex_unlock(&handle->store->mutex);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    keep_time(arg);
}

static void on_kick(fwi_task *task, void *arg)
{
    (void)task;
    struct handle *handle = arg;
    pthread_mutex_lock(&handle->store->mutex);
    handle->kicked = false;
    pthread_mutex_unlock(&handle->store->mutex);
    if (handle->closing) {
        handle_free(handle);
        return;
    }
    keep_time(handle);
    catch_up_all(handle);
}

/* ---- life ---- */

static struct store *store_acquire(const char *name)
{
    pthread_mutex_lock(&stores_mutex);
    struct store *store = NULL;
    fwi_list_for_each (node, &stores) {
        struct store *one = fwi_container_of(node, struct store, node);
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
            store->revision = 1; /* a list of the empty store has a revision, too */
            fwi_list_push_back(&stores, &store->node);
        }
    }
    if (store)
        store->references++;
    pthread_mutex_unlock(&stores_mutex);
    return store;
}

static void store_release(struct store *store)
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
        change_fini(&store->log[(store->log_start + i) % LOG_ENTRIES]);
    for (fwi_list *node; (node = fwi_list_pop(&store->leases));)
        free(fwi_container_of(node, struct lease, node));
    pthread_mutex_destroy(&store->mutex);
    free(store->name);
    free(store);
}

static int open_mem(fw_kv *kv, const fw_url *url, const fw_kv_options *options, void **ret_store)
{
    (void)options;
    static const char *const no_params[] = {NULL};
    if (url->host_count)
        return FW_EURL;
    int err = fwi_kv_check_params(url, no_params);
    if (err)
        return err;
    struct handle *handle = calloc(1, sizeof *handle);
    if (!handle)
        return UV_ENOMEM;
    handle->store = store_acquire(url->path);
    if (!handle->store) {
        free(handle);
        return UV_ENOMEM;
    }
    handle->kv = kv;
    handle->loop = fw_kv_loop(kv);
    fwi_list_init(&handle->watches);
    fwi_list_init(&handle->leases);
    handle->timer = (fwi_timer){.fn = on_timer, .arg = handle};
    handle->kick = (fwi_task){.fn = on_kick, .arg = handle};
    pthread_mutex_lock(&handle->store->mutex);
    fwi_list_push_back(&handle->store->handles, &handle->node);
    pthread_mutex_unlock(&handle->store->mutex);
    *ret_store = handle;
    return FW_OK;
}

static void handle_free(struct handle *handle)
{
    fw_kv *kv = handle->kv;
    store_release(handle->store);
    free(handle);
    fwi_kv_closed(kv);
}

static void close_mem(void *arg)
{
    struct handle *handle = arg;
    fwi_loop_timer_stop(handle->loop, &handle->timer);
    pthread_mutex_lock(&handle->store->mutex);
    fwi_list_remove(&handle->node); /* nobody kicks it any more */
    bool kicked = handle->kicked;
    pthread_mutex_unlock(&handle->store->mutex);
    handle->closing = true;
    if (!kicked)
        handle_free(handle);
}

const fwi_kv_driver fwi_kv_driver_mem = {
    .scheme = "mem",
    .capabilities = 0,
    .max_value_bytes = MAX_VALUE_BYTES,
    .open = open_mem,
    .close = close_mem,
    .submit = submit,
    .watch_start = watch_start,
    .watch_stop = watch_stop,
    .lease_grant = lease_grant,
    .lease_revoke = lease_revoke,
};
