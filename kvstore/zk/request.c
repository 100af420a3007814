/* Requests on a session: sent from the loop, answered in the library's thread, carried back. */
#include "session.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <zookeeper/proto.h>

#define OP_OVERHEAD_BYTES 96 /* of an operation in a multi, with its access list */

static void on_answer(fwi_task *task, void *arg)
{
    (void)task;
    fwi_zk_request *request = arg;
    fwi_zk_session *session = request->session;
    if (request->done)
        request->done(request, request->arg);
    fwi_zk_request_free(request);
    fwi_zk_session_answered(session);
}

/* In the library's thread, or on the loop if it did not take the request. */
static void answer(fwi_zk_request *request, int rc)
{
    request->rc = rc;
    fwi_loop_post_task(request->session->loop, &request->task);
}

fwi_zk_request *fwi_zk_request_new(fwi_zk_session *session, fwi_zk_done_fn done, void *arg)
{
    fwi_zk_request *request = calloc(1, sizeof *request);
    if (!request)
        return NULL;
    request->session = session;
    request->done = done;
    request->arg = arg;
    request->data_len = -1;
    request->task = (fwi_task){.fn = on_answer, .arg = request};
    return request;
}

void fwi_zk_request_free(fwi_zk_request *request)
{
    for (size_t i = 0; i < request->owned_count; i++)
        free(request->owned[i]);
    free(request->owned);
    free(request->ops);
    free(request->results);
    free(request->stats);
    free(request->data);
    free(request->names);
    free(request);
}

/* ---- completions ---- */

static fwi_zk_request *mutable_request(const void *data)
{
    /* The library gives back as const what it was given. */
    union {
        const void *given;
        fwi_zk_request *request;
    } back = {.given = data};
    return back.request;
}

static void on_void(int rc, const void *data)
{
    answer(mutable_request(data), rc);
}

static void on_string(int rc, const char *text, const void *data)
{
    (void)text;
    answer(mutable_request(data), rc);
}

static void on_stat(int rc, const struct Stat *stat, const void *data)
{
    fwi_zk_request *request = mutable_request(data);
    if (!rc && stat)
        request->stat = *stat;
    answer(request, rc);
}

static void on_data(int rc, const char *value, int len, const struct Stat *stat, const void *data)
{
    fwi_zk_request *request = mutable_request(data);
    if (!rc) {
        request->stat = *stat;
        request->data_len = len;
        if (len > 0 && !(request->data = malloc((size_t)len)))
            rc = ZSYSTEMERROR;
        else if (len > 0)
            memcpy(request->data, value, (size_t)len);
    }
    answer(request, rc);
}

static void on_created(int rc, const char *path, const struct Stat *stat, const void *data)
{
    fwi_zk_request *request = mutable_request(data);
    if (!rc) {
        request->stat = *stat;
        request->data = strdup(path);
        if (!request->data)
            rc = ZSYSTEMERROR;
    }
    answer(request, rc);
}

static int copy_names(fwi_zk_request *request, const struct String_vector *strings)
{
    size_t count = (size_t)strings->count, bytes = count * sizeof(char *) + 1;
    for (size_t i = 0; i < count; i++)
        bytes += strlen(strings->data[i]) + 1;
    request->names = malloc(bytes);
    if (!request->names)
        return ZSYSTEMERROR;
    char *text = (char *)(request->names + count);
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(strings->data[i]) + 1;
        request->names[i] = memcpy(text, strings->data[i], len);
        text += len;
    }
    request->name_count = count;
    return ZOK;
}

static void on_children(int rc, const struct String_vector *strings, const struct Stat *stat,
                        const void *data)
{
    fwi_zk_request *request = mutable_request(data);
    if (!rc) {
        request->stat = *stat;
        rc = copy_names(request, strings);
    }
    answer(request, rc);
}

/* ---- sending ---- */

static const struct ACL_vector *access_list(const fwi_zk_session *session)
{
    return session->servers->auth ? &ZOO_CREATOR_ALL_ACL : &ZOO_OPEN_ACL_UNSAFE;
}

static void sent(fwi_zk_request *request, int rc)
{
    if (rc)
        answer(request, rc);
}

/* All watches of a session have one watcher, so the library keeps one for each path. */
static watcher_fn watcher_if(bool watch)
{
    return watch ? fwi_zk_on_event : NULL;
}

void fwi_zk_send_sync(fwi_zk_request *request, const char *path)
{
    request->session->outstanding++;
    sent(request, zoo_async(request->session->zh, path, on_string, request));
}

void fwi_zk_send_exists(fwi_zk_request *request, const char *path, bool watch)
{
    request->session->outstanding++;
    sent(request, zoo_awexists(request->session->zh, path, watcher_if(watch), request->session,
                               on_stat, request));
}

void fwi_zk_send_get(fwi_zk_request *request, const char *path, bool watch)
{
    request->session->outstanding++;
    sent(request, zoo_awget(request->session->zh, path, watcher_if(watch), request->session,
                            on_data, request));
}

void fwi_zk_send_children(fwi_zk_request *request, const char *path, bool watch)
{
    request->session->outstanding++;
    sent(request, zoo_awget_children2(request->session->zh, path, watcher_if(watch),
                                      request->session, on_children, request));
}

void fwi_zk_send_set(fwi_zk_request *request, const char *path, const char *data, size_t len)
{
    request->session->outstanding++;
    sent(request, zoo_aset(request->session->zh, path, data, (int)len, -1, on_stat, request));
}

void fwi_zk_send_create(fwi_zk_request *request, const char *path, const char *data, size_t len,
                        int mode)
{
    request->session->outstanding++;
    sent(request, zoo_acreate2(request->session->zh, path, data, (int)len,
                               access_list(request->session), mode, on_created, request));
}

void fwi_zk_send_multi(fwi_zk_request *request)
{
    request->session->outstanding++;
    /* Where a set's answer goes is told now, as the array has moved while it grew. */
    for (size_t i = 0; i < request->count; i++)
        if (request->ops[i].type == ZOO_SETDATA_OP)
            request->ops[i].set_op.stat = &request->stats[i];
    sent(request, zoo_amulti(request->session->zh, (int)request->count, request->ops,
                             request->results, on_void, request));
}

/* ---- multi ---- */

static zoo_op_t *add_op(fwi_zk_request *request)
{
    if (request->count == request->capacity) {
        size_t capacity = request->capacity ? request->capacity * 2 : 8;
        zoo_op_t *ops = realloc(request->ops, capacity * sizeof *ops);
        if (ops)
            request->ops = ops;
        zoo_op_result_t *results = realloc(request->results, capacity * sizeof *results);
        if (results)
            request->results = results;
        struct Stat *stats = realloc(request->stats, capacity * sizeof *stats);
        if (stats)
            request->stats = stats;
        if (!ops || !results || !stats)
            return NULL;
        request->capacity = capacity;
    }
    size_t at = request->count++;
    request->results[at] = (zoo_op_result_t){.err = 0};
    request->stats[at] = (struct Stat){.mzxid = 0};
    return &request->ops[at];
}

/* A copy that lives as long as the request. */
static char *own(fwi_zk_request *request, const void *bytes, size_t len)
{
    if (request->owned_count == request->owned_capacity) {
        size_t capacity = request->owned_capacity ? request->owned_capacity * 2 : 8;
        char **owned = realloc(request->owned, capacity * sizeof *owned);
        if (!owned)
            return NULL;
        request->owned = owned;
        request->owned_capacity = capacity;
    }
    char *copy = malloc(len + 1);
    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, bytes, len);
    copy[len] = 0;
    request->owned[request->owned_count++] = copy;
    request->bytes += len;
    return copy;
}

int fwi_zk_multi_create(fwi_zk_request *request, const char *path, int mode)
{
    char *copy = own(request, path, strlen(path));
    zoo_op_t *op = copy ? add_op(request) : NULL;
    if (!op)
        return UV_ENOMEM;
    zoo_create_op_init(op, copy, "", 0, access_list(request->session), mode, NULL, 0);
    return FW_OK;
}

int fwi_zk_multi_delete(fwi_zk_request *request, const char *path, int version)
{
    char *copy = own(request, path, strlen(path));
    zoo_op_t *op = copy ? add_op(request) : NULL;
    if (!op)
        return UV_ENOMEM;
    zoo_delete_op_init(op, copy, version);
    return FW_OK;
}

int fwi_zk_multi_check(fwi_zk_request *request, const char *path, int version)
{
    char *copy = own(request, path, strlen(path));
    zoo_op_t *op = copy ? add_op(request) : NULL;
    if (!op)
        return UV_ENOMEM;
    zoo_check_op_init(op, copy, version);
    return FW_OK;
}

int fwi_zk_multi_set(fwi_zk_request *request, const char *path, fw_slice data, int version)
{
    char *copy = own(request, path, strlen(path));
    char *bytes = copy ? own(request, data.data, data.len) : NULL;
    zoo_op_t *op = bytes ? add_op(request) : NULL;
    if (!op)
        return UV_ENOMEM;
    zoo_set_op_init(op, copy, bytes, (int)data.len, version, NULL);
    return FW_OK;
}

bool fwi_zk_multi_creates(const fwi_zk_request *request, size_t index)
{
    return request->ops[index].type == ZOO_CREATE_OP;
}

size_t fwi_zk_multi_bytes(const fwi_zk_request *request)
{
    return request->bytes + request->count * OP_OVERHEAD_BYTES;
}

int64_t fwi_zk_multi_zxid(const fwi_zk_request *request)
{
    for (size_t i = 0; i < request->count; i++)
        if (request->stats[i].mzxid > 0)
            return request->stats[i].mzxid;
    return 0;
}
