/* Life of the environments of this process, their clients, and reading. */
#include "lmdb/env_impl.h"

#include <errno.h>
#include <fairway/error.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

/* All environments that are open, or being closed: LMDB must not open one file twice in a process
 * (closing the second would drop the first one's file locks). */
static fwi_list environments = {&environments, &environments};
static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;

int fwi_lmdb_status(int rc, const char **ret_detail)
{
    *ret_detail = rc ? mdb_strerror(rc) : "";
    switch (rc) {
    case 0:
        return FW_OK;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
        return FW_ENOSPACE;
    case EACCES:
    case EPERM:
    case EROFS:
        return FW_EDENIED;
    case ENOMEM:
        return UV_ENOMEM;
    case ENOENT:
    case ENOTDIR:
        return FW_EUNREACHABLE;
    default:
        return FW_ESTORE;
    }
}

/* ---- life ---- */

static int make_directory(const char *directory, struct stat *ret_info)
{
    char path[PATH_MAX];
    size_t len = strlen(directory);
    if (len >= sizeof path)
        return UV_ENAMETOOLONG;
    memcpy(path, directory, len + 1);
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        if (mkdir(path, 0700) && errno != EEXIST)
            return uv_translate_sys_error(errno);
        *p = '/';
    }
    if (mkdir(path, 0700) && errno != EEXIST)
        return uv_translate_sys_error(errno);
    if (stat(path, ret_info))
        return uv_translate_sys_error(errno);
    return S_ISDIR(ret_info->st_mode) ? FW_OK : UV_ENOTDIR;
}

static void env_free(fwi_lmdb_env *env)
{
    if (!env)
        return;
    if (env->wake >= 0)
        close(env->wake);
    pthread_mutex_destroy(&env->mutex);
    pthread_rwlock_destroy(&env->map_lock);
    free(env->directory);
    free(env);
}

static int env_new(const char *directory, const struct stat *info,
                   const fwi_lmdb_env_options *options, fwi_lmdb_env **ret_env)
{
    fwi_lmdb_env *env = calloc(1, sizeof *env);
    if (!env)
        return UV_ENOMEM;
    pthread_mutex_init(&env->mutex, NULL);
    pthread_rwlock_init(&env->map_lock, NULL);
    fwi_list_init(&env->queue);
    fwi_list_init(&env->working);
    fwi_list_init(&env->clients);
    env->device = info->st_dev;
    env->inode = info->st_ino;
    env->options = *options;
    env->references = 1;
    env->next_expiry_ms = UINT64_MAX;
    env->bell = (fwi_lmdb_bell){-1, -1};
    env->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    env->directory = strdup(directory);
    int err = !env->directory ? UV_ENOMEM : env->wake < 0 ? uv_translate_sys_error(errno) : FW_OK;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    if (!err)
        err = uv_translate_sys_error(pthread_create(&thread, &attributes, fwi_lmdb_worker, env));
    pthread_attr_destroy(&attributes);
    if (err) {
        env_free(env);
        return err;
    }
    fwi_list_push_back(&environments, &env->node);
    *ret_env = env;
    return FW_OK;
}

static void tell_closer_locked(fwi_lmdb_env *env)
{
    fwi_lmdb_client *closer = env->closer;
    if (!closer)
        return;
    env->closer = NULL;
    closer->closing = NULL;
    fwi_loop_post_task(closer->loop, &closer->gone);
}

int fwi_lmdb_env_acquire(const char *directory, const fwi_lmdb_env_options *options,
                         fwi_lmdb_env **ret_env)
{
    struct stat info;
    int err = make_directory(directory, &info);
    if (err)
        return err;
    pthread_mutex_lock(&registry_mutex);
    fwi_lmdb_env *env = NULL;
    fwi_list_for_each (node, &environments) {
        fwi_lmdb_env *one = fwi_container_of(node, fwi_lmdb_env, node);
        if (one->device == info.st_dev && one->inode == info.st_ino)
            env = one;
    }
    if (!env) {
        err = env_new(directory, &info, options, &env);
    } else if (env->options.sync_flags != options->sync_flags) {
        err = FW_EOPTION;
    } else {
        env->references++;
        tell_closer_locked(env); /* it lives on: for the one who left it is closed */
    }
    pthread_mutex_unlock(&registry_mutex);
    if (!err)
        *ret_env = env;
    return err;
}

static void wake(fwi_lmdb_env *env)
{
    if (eventfd_write(env->wake, 1))
        return; /* only if it is full: then it wakes anyway */
}

bool fwi_lmdb_env_release(fwi_lmdb_env *env, fwi_lmdb_client *client)
{
    pthread_mutex_lock(&registry_mutex);
    bool last = --env->references == 0;
    if (last) {
        env->closer = client;
        client->closing = env;
        wake(env); /* under the mutex: the worker cannot end and free it before */
    }
    pthread_mutex_unlock(&registry_mutex);
    return !last;
}

bool fwi_lmdb_env_abandon(fwi_lmdb_client *client)
{
    pthread_mutex_lock(&registry_mutex);
    bool waiting = client->closing != NULL;
    if (waiting) {
        client->closing->closer = NULL;
        client->closing = NULL;
    }
    pthread_mutex_unlock(&registry_mutex);
    return waiting;
}

bool fwi_lmdb_env_try_end(fwi_lmdb_env *env)
{
    pthread_mutex_lock(&registry_mutex);
    bool unused = env->references == 0;
    if (unused) {
        fwi_list_remove(&env->node);
        /* Still under the mutex: whoever opens this file next finds it closed. */
        if (env->reader)
            mdb_txn_abort(env->reader);
        if (env->mdb)
            mdb_env_close(env->mdb);
        fwi_lmdb_bell_fini(&env->bell);
        tell_closer_locked(env);
    }
    pthread_mutex_unlock(&registry_mutex);
    if (unused)
        env_free(env);
    return unused;
}

/* ---- clients ---- */

void fwi_lmdb_env_kick_locked(fwi_lmdb_client *client)
{
    if (client->kicked)
        return;
    client->kicked = true;
    fwi_loop_post_task(client->loop, &client->kick);
}

void fwi_lmdb_env_join(fwi_lmdb_env *env, fwi_lmdb_client *client)
{
    fwi_list_init(&client->done);
    pthread_mutex_lock(&env->mutex);
    fwi_list_push_back(&env->clients, &client->node);
    fwi_lmdb_env_kick_locked(client); /* to learn of the phase */
    pthread_mutex_unlock(&env->mutex);
}

bool fwi_lmdb_env_leave(fwi_lmdb_env *env, fwi_lmdb_client *client)
{
    pthread_mutex_lock(&env->mutex);
    fwi_list_remove(&client->node);
    bool kicked = client->kicked;
    pthread_mutex_unlock(&env->mutex);
    return kicked;
}

void fwi_lmdb_env_kick(fwi_lmdb_env *env, fwi_lmdb_client *client)
{
    pthread_mutex_lock(&env->mutex);
    fwi_lmdb_env_kick_locked(client);
    pthread_mutex_unlock(&env->mutex);
}

void fwi_lmdb_env_set_watches(fwi_lmdb_env *env, fwi_lmdb_client *client, size_t watches)
{
    pthread_mutex_lock(&env->mutex);
    bool first = watches && !client->watches;
    client->watches = watches;
    pthread_mutex_unlock(&env->mutex);
    if (first)
        wake(env); /* the worker looks more often from now on */
}

void fwi_lmdb_env_submit(fwi_lmdb_env *env, fwi_lmdb_request *request)
{
    pthread_mutex_lock(&env->mutex);
    bool was_empty = fwi_list_empty(&env->queue);
    fwi_list_push_back(&env->queue, &request->node);
    request->client->in_hand++;
    pthread_mutex_unlock(&env->mutex);
    if (was_empty)
        wake(env);
}

fwi_lmdb_phase fwi_lmdb_env_collect(fwi_lmdb_env *env, fwi_lmdb_client *client, fwi_list *ret_done,
                                    int *ret_status, const char **ret_detail)
{
    pthread_mutex_lock(&env->mutex);
    client->kicked = false;
    fwi_list_splice(ret_done, &client->done);
    fwi_lmdb_phase phase = env->phase;
    *ret_status = env->status;
    *ret_detail = env->detail;
    pthread_mutex_unlock(&env->mutex);
    return phase;
}

size_t fwi_lmdb_env_cancel(fwi_lmdb_env *env, fwi_lmdb_client *client, fwi_list *ret_queued)
{
    pthread_mutex_lock(&env->mutex);
    fwi_list_for_each_safe (node, &env->queue) {
        fwi_lmdb_request *request = fwi_container_of(node, fwi_lmdb_request, node);
        if (request->client != client)
            continue;
        fwi_list_remove(node);
        fwi_list_push_back(ret_queued, node);
        client->in_hand--;
    }
    size_t working = client->in_hand;
    pthread_mutex_unlock(&env->mutex);
    return working;
}

void fwi_lmdb_env_detach(fwi_lmdb_env *env, fwi_lmdb_client *client, fwi_list *ret_ops)
{
    pthread_mutex_lock(&env->mutex);
    fwi_list_for_each (node, &env->working) {
        fwi_lmdb_request *request = fwi_container_of(node, fwi_lmdb_request, node);
        if (request->client != client)
            continue;
        request->client = NULL;
        if (request->kind == FWI_LMDB_OP)
            fwi_list_push_back(ret_ops, &((fwi_kv_op *)request->owner)->node);
    }
    client->in_hand = 0;
    pthread_mutex_unlock(&env->mutex);
}

/* ---- reading ---- */

int fwi_lmdb_env_read_begin(fwi_lmdb_env *env, MDB_txn **reader)
{
    pthread_rwlock_rdlock(&env->map_lock);
    /* A reader that is only reset keeps its slot: renewing it takes no lock of other processes. */
    int rc = *reader ? mdb_txn_renew(*reader) : mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, reader);
    if (rc)
        pthread_rwlock_unlock(&env->map_lock);
    return rc;
}

void fwi_lmdb_env_read_end(fwi_lmdb_env *env, MDB_txn *reader)
{
    mdb_txn_reset(reader);
    pthread_rwlock_unlock(&env->map_lock);
}

void fwi_lmdb_env_read_fini(fwi_lmdb_env *env, MDB_txn *reader)
{
    if (!reader)
        return;
    pthread_rwlock_rdlock(&env->map_lock);
    mdb_txn_abort(reader);
    pthread_rwlock_unlock(&env->map_lock);
}

const fwi_lmdb_schema *fwi_lmdb_env_schema(const fwi_lmdb_env *env)
{
    return &env->schema;
}
