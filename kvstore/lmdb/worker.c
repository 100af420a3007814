/*
 * The worker of an environment:
 *
 *     open  ->  ( do what is queued  ->  look for changes  ->  wait )*  ->  close
 *
 * What is queued is done in batches, one transaction and one commit each; every request has its own
 * revision and outcome. When something makes the transaction impossible, it is aborted and the
 * requests are tried one by one, so that only the guilty one fails.
 *
 * The transaction of LMDB is begun under a mutex shared by all processes, so the worker may wait
 * there for as long as a stopped process holds it; nothing else depends on it.
 */
#include "lmdb/env_impl.h"

#include "base/log.h"

#include <errno.h>
#include <fairway/error.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <uv.h>

#define BATCH_REQUESTS  512
#define BATCH_BYTES     (32u * 1024 * 1024)
#define MAX_READERS     1022
#define MAX_TABLES      8
#define MAX_MAP_BYTES   ((size_t)1 << 40)

#define LOOK_MS         250   /* with watches, in case a writer dies between commit and bell */
#define LOOK_DEAF_MS    20    /* the same when inotify cannot be had */
#define RETRY_MS        1000  /* after a failure */
#define READER_CHECK_MS 10000 /* slots of dead readers keep old pages from being used again */

/* ---- transactions ---- */

/* Moves the map to a new size; 0: the size that another process has given the file. */
static int resize(fwi_lmdb_env *env, size_t bytes)
{
    pthread_rwlock_wrlock(&env->map_lock);
    int rc = mdb_env_set_mapsize(env->mdb, bytes);
    pthread_rwlock_unlock(&env->map_lock);
    return rc;
}

static int grow(fwi_lmdb_env *env)
{
    MDB_envinfo info;
    int rc = mdb_env_info(env->mdb, &info);
    if (rc || info.me_mapsize >= MAX_MAP_BYTES)
        return rc ? rc : MDB_MAP_FULL;
    return resize(env, info.me_mapsize * 2) ? MDB_MAP_FULL : 0;
}

typedef int (*txn_fn)(fwi_lmdb_env *env, MDB_txn *txn, void *arg, bool *ret_dirty);

/* Runs fn in a write transaction, again with a larger map if need be. *ret_ambiguous: it failed in
 * a way that may have left the change in the file. */
static int in_txn(fwi_lmdb_env *env, txn_fn fn, void *arg, bool *ret_ambiguous)
{
    *ret_ambiguous = false;
    for (;;) {
        MDB_txn *txn;
        bool dirty = false;
        int rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);
        if (rc == MDB_MAP_RESIZED) {
            rc = resize(env, 0);
            if (rc)
                return rc;
            continue;
        }
        if (rc)
            return rc;
        rc = fn(env, txn, arg, &dirty);
        if (rc || !dirty) {
            mdb_txn_abort(txn);
        } else {
            rc = mdb_txn_commit(txn);
            *ret_ambiguous = rc == EIO;
        }
        if (rc != MDB_MAP_FULL)
            return rc;
        rc = grow(env);
        if (rc)
            return rc;
    }
}

struct batch {
    fwi_lmdb_request **requests;
    size_t count;
    bool audible;
};

static int run_batch(fwi_lmdb_env *env, MDB_txn *txn, void *arg, bool *ret_dirty)
{
    struct batch *batch = arg;
    fwi_lmdb_write write;
    int rc = fwi_lmdb_write_begin(&write, &env->schema, txn);
    for (size_t i = 0; !rc && i < batch->count; i++)
        rc = fwi_lmdb_write_execute(&write, batch->requests[i]);
    if (!rc)
        rc = fwi_lmdb_write_end(&write);
    *ret_dirty = write.dirty;
    batch->audible = write.audible;
    return rc;
}

static void fail_batch(struct batch *batch, int rc, bool ambiguous)
{
    for (size_t i = 0; i < batch->count; i++) {
        fwi_lmdb_request *request = batch->requests[i];
        request->status = fwi_lmdb_status(rc, &request->detail);
        if (ambiguous)
            request->status = FW_EUNKNOWN;
    }
}

/* Does the requests in one transaction; with none, only ends leases. */
static void do_batch(fwi_lmdb_env *env, fwi_lmdb_request **requests, size_t count)
{
    struct batch batch = {.requests = requests, .count = count};
    bool ambiguous;
    int rc = in_txn(env, run_batch, &batch, &ambiguous);
    if (!rc && batch.audible)
        fwi_lmdb_bell_ring(&env->bell);
    if (!rc)
        return;
    if (count > 1 && !ambiguous) {
        for (size_t i = 0; i < count; i++)
            do_batch(env, &requests[i], 1);
        return;
    }
    fwi_log(FW_LOG_WARN, "lmdb", "transaction failed", FWI_TEXT("directory", env->directory),
            FWI_TEXT("reason", mdb_strerror(rc)));
    fail_batch(&batch, rc, ambiguous);
    env->retry_ms = fwi_lmdb_clock_ms() + RETRY_MS;
}

/* ---- opening ---- */

static int open_tables(fwi_lmdb_env *env, MDB_txn *txn, void *arg, bool *ret_dirty)
{
    (void)arg;
    *ret_dirty = true; /* handles of tables live on only if it is committed */
    return fwi_lmdb_schema_open(&env->schema, txn);
}

static int open_env(fwi_lmdb_env *env)
{
    unsigned flags = MDB_NOTLS | env->options.sync_flags;
    int dead;
    bool ambiguous;
    int rc = mdb_env_create(&env->mdb);
    if (rc) {
        env->mdb = NULL;
        return rc;
    }
    if (!rc)
        rc = mdb_env_set_maxdbs(env->mdb, MAX_TABLES);
    if (!rc)
        rc = mdb_env_set_maxreaders(env->mdb, MAX_READERS);
    if (!rc)
        rc = mdb_env_set_mapsize(env->mdb, env->options.map_bytes);
    if (!rc)
        rc = mdb_env_open(env->mdb, env->directory, flags, 0600);
    if (!rc)
        rc = mdb_reader_check(env->mdb, &dead);
    if (!rc)
        rc = fwi_lmdb_bell_init(&env->bell, env->directory);
    if (!rc)
        rc = in_txn(env, open_tables, NULL, &ambiguous);
    if (rc) {
        fwi_lmdb_bell_fini(&env->bell);
        mdb_env_close(env->mdb);
        env->mdb = NULL;
    }
    return rc;
}

static void set_phase(fwi_lmdb_env *env, fwi_lmdb_phase phase, int rc)
{
    pthread_mutex_lock(&env->mutex);
    env->phase = phase;
    env->status = fwi_lmdb_status(rc, &env->detail);
    fwi_list_for_each (node, &env->clients)
        fwi_lmdb_env_kick_locked(fwi_container_of(node, fwi_lmdb_client, node));
    pthread_mutex_unlock(&env->mutex);
}

/* True if the environment is open. */
static bool ensure_open(fwi_lmdb_env *env)
{
    if (env->mdb)
        return true;
    if (fwi_lmdb_clock_ms() < env->retry_ms)
        return false;
    int rc = open_env(env);
    if (rc)
        env->retry_ms = fwi_lmdb_clock_ms() + RETRY_MS;
    set_phase(env, rc ? FWI_LMDB_FAILED : FWI_LMDB_READY, rc);
    return !rc;
}

/* ---- the queue ---- */

static size_t take_batch(fwi_lmdb_env *env, fwi_lmdb_request **requests)
{
    size_t count = 0, bytes = 0;
    pthread_mutex_lock(&env->mutex);
    while (count < BATCH_REQUESTS && bytes < BATCH_BYTES && !fwi_list_empty(&env->queue)) {
        fwi_list *node = fwi_list_pop(&env->queue);
        fwi_list_push_back(&env->working, node);
        fwi_lmdb_request *request = fwi_container_of(node, fwi_lmdb_request, node);
        requests[count++] = request;
        bytes += request->value.len;
    }
    pthread_mutex_unlock(&env->mutex);
    return count;
}

static void give_back(fwi_lmdb_env *env)
{
    pthread_mutex_lock(&env->mutex);
    for (fwi_list *node; (node = fwi_list_pop(&env->working));) {
        fwi_lmdb_request *request = fwi_container_of(node, fwi_lmdb_request, node);
        fwi_lmdb_client *client = request->client;
        if (!client) {
            fwi_lmdb_request_free(request);
            continue;
        }
        client->in_hand--;
        fwi_list_push_back(&client->done, node);
        fwi_lmdb_env_kick_locked(client);
    }
    pthread_mutex_unlock(&env->mutex);
}

/* Adopts the map's size if another process has made it larger. */
static void refresh_map(fwi_lmdb_env *env)
{
    int rc = fwi_lmdb_env_read_begin(env, &env->reader);
    if (!rc)
        fwi_lmdb_env_read_end(env, env->reader);
    else if (rc == MDB_MAP_RESIZED)
        resize(env, 0);
}

static void serve(fwi_lmdb_env *env)
{
    fwi_lmdb_request *requests[BATCH_REQUESTS];
    for (size_t count; (count = take_batch(env, requests));) {
        struct batch all = {.requests = requests, .count = count};
        if (!ensure_open(env)) {
            for (size_t i = 0; i < count; i++) {
                requests[i]->status = env->status;
                requests[i]->detail = env->detail;
            }
            give_back(env);
            continue;
        }
        size_t writes = 0;
        for (size_t i = 0; i < all.count; i++)
            if (requests[i]->kind != FWI_LMDB_REFRESH)
                requests[writes++] = requests[i];
        if (writes < all.count)
            refresh_map(env);
        if (writes)
            do_batch(env, requests, writes);
        give_back(env);
    }
}

/* ---- looking and waiting ---- */

static void kick_watchers(fwi_lmdb_env *env)
{
    pthread_mutex_lock(&env->mutex);
    fwi_list_for_each (node, &env->clients) {
        fwi_lmdb_client *client = fwi_container_of(node, fwi_lmdb_client, node);
        if (client->watches)
            fwi_lmdb_env_kick_locked(client);
    }
    pthread_mutex_unlock(&env->mutex);
}

/* Looks whether anybody has committed since the last look. */
static void look(fwi_lmdb_env *env)
{
    int rc = fwi_lmdb_env_read_begin(env, &env->reader);
    if (rc == MDB_MAP_RESIZED && !resize(env, 0))
        rc = fwi_lmdb_env_read_begin(env, &env->reader);
    if (rc)
        return;
    /* Not mdb_env_info's number: that may be ahead of what a reader sees. */
    size_t txn = mdb_txn_id(env->reader);
    bool changed = txn != env->seen_txn;
    if (changed && !fwi_lmdb_read_next_expiry(&env->schema, env->reader, &env->next_expiry_ms))
        env->seen_txn = txn;
    fwi_lmdb_env_read_end(env, env->reader);
    if (changed)
        kick_watchers(env);
}

static void keep_house(fwi_lmdb_env *env)
{
    uint64_t now = fwi_lmdb_clock_ms();
    if (!ensure_open(env))
        return;
    look(env);
    if (env->next_expiry_ms <= now && env->retry_ms <= now) {
        do_batch(env, NULL, 0);
        look(env);
    }
    if (env->check_ms <= now) {
        int dead;
        env->check_ms = now + READER_CHECK_MS;
        mdb_reader_check(env->mdb, &dead);
    }
}

static int wait_ms(fwi_lmdb_env *env)
{
    bool has_watches = false, has_clients = false;
    pthread_mutex_lock(&env->mutex);
    fwi_list_for_each (node, &env->clients) {
        has_clients = true;
        has_watches |= fwi_container_of(node, fwi_lmdb_client, node)->watches != 0;
    }
    pthread_mutex_unlock(&env->mutex);
    uint64_t now = fwi_lmdb_clock_ms(), wait = READER_CHECK_MS;
    if (!env->mdb)
        return has_clients ? RETRY_MS : -1;
    if (has_watches)
        wait = env->bell.listener < 0 ? LOOK_DEAF_MS : LOOK_MS;
    else if (env->bell.listener < 0)
        wait = LOOK_MS;
    uint64_t due = env->next_expiry_ms > env->retry_ms ? env->next_expiry_ms : env->retry_ms;
    if (due <= now)
        return 0;
    return (int)(due - now < wait ? due - now : wait);
}

static void wait_for_work(fwi_lmdb_env *env)
{
    struct pollfd fds[2] = {{.fd = env->wake, .events = POLLIN},
                            {.fd = env->bell.listener, .events = POLLIN}};
    if (poll(fds, 2, wait_ms(env)) <= 0)
        return;
    eventfd_t count;
    if (fds[0].revents && eventfd_read(env->wake, &count))
        return;
    if (fds[1].revents)
        fwi_lmdb_bell_drain(&env->bell);
}

void *fwi_lmdb_worker(void *arg)
{
    fwi_lmdb_env *env = arg;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL); /* signals are the program's business */
    ensure_open(env);
    do {
        serve(env);
        keep_house(env);
        /* The queue is empty when the last client has left, and stays so. */
        if (fwi_lmdb_env_try_end(env))
            return NULL;
        wait_for_work(env);
    } while (true);
}
