/*
 * Operations: each is one request, but for a list (pages) and a put with a time to live, which is a
 * grant and the put. If the put does not happen the fresh lease is revoked; if nobody knows whether
 * it happened, the lease is left to run out, and the pair with it, if there is one.
 *
 * The else-branch of an atomic operation reads the key, so that the reason of a refusal is of the
 * same revision as the refusal.
 */
#include "etcd_http.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

struct job {
    fwi_eh_client *client;
    fwi_kv_op *op;
    fwi_eh_keys keys;
    int64_t fresh_lease; /* granted for this put's time to live; 0: none */
};

static const char *const malformed = "malformed reply";

static void job_finish(struct job *job, int status, const char *detail)
{
    fwi_kv_op *op = job->op;
    fwi_eh_keys_fini(&job->keys);
    free(job);
    fwi_kv_op_finish(op, status, detail);
}

static int ask(struct job *job, const char *path, fwi_eh_text *body, bool repeatable,
               fwi_eh_answer_fn fn)
{
    fwi_eh_request *request; /* ends by itself, or with the client */
    fwi_eh_request_options options = {.path = path,
                                      .body = body,
                                      .deadline_ms = job->op->deadline_ms,
                                      .repeatable = repeatable,
                                      .fn = fn,
                                      .arg = job};
    return fwi_eh_request_start(job->client, &options, &request);
}

/* ---- the fresh lease of a put that failed ---- */

static void on_revoked(const fwi_eh_answer *answer, void *arg)
{
    (void)answer; /* if it did not work the lease runs out by itself */
    (void)arg;
}

static void revoke_fresh(const struct job *job)
{
    fwi_eh_text text = {.data = NULL};
    fwi_eh_lease_id_write(job->fresh_lease, &text);
    fwi_eh_request *request;
    fwi_eh_request_options options = {.path = "/v3/lease/revoke",
                                      .body = &text,
                                      .deadline_ms = fw_loop_now_ms(job->client->loop) +
                                                     fwi_kv_timeout_ms(job->client->kv),
                                      .repeatable = true,
                                      .fn = on_revoked};
    if (fwi_eh_request_start(job->client, &options, &request))
        return; /* closing, or no memory: as above */
}

static void write_finish(struct job *job, int status, const char *detail)
{
    if (job->fresh_lease && status && status != FW_EUNKNOWN)
        revoke_fresh(job);
    job_finish(job, status, detail);
}

/* ---- answers ---- */

/* The revision of a reply; false if it is malformed. */
static bool take_revision(struct job *job, const cJSON *reply)
{
    uint64_t cluster;
    return fwi_eh_json_header(reply, &cluster, &job->op->revision) && job->op->revision > 0;
}

/* After the status of a request for a write: what it answered, or why that cannot be known. */
static bool is_well_done(struct job *job, const fwi_eh_answer *answer)
{
    if (answer->status)
        write_finish(job, answer->status, answer->detail);
    else if (!take_revision(job, answer->json))
        write_finish(job, FW_EUNKNOWN, malformed);
    else
        return true;
    return false;
}

static void on_put(const fwi_eh_answer *answer, void *arg)
{
    struct job *job = arg;
    if (is_well_done(job, answer))
        job_finish(job, FW_OK, NULL);
}

static void on_delete(const fwi_eh_answer *answer, void *arg)
{
    struct job *job = arg;
    if (!is_well_done(job, answer))
        return;
    int64_t deleted;
    if (!fwi_eh_json_int64(answer->json, "deleted", &deleted) || deleted < 0) {
        job_finish(job, FW_EUNKNOWN, malformed);
        return;
    }
    bool tree = job->op->type == FWI_KV_DELETE_TREE;
    job->op->count = tree ? (size_t)deleted : 0;
    job_finish(job, tree || deleted ? FW_OK : FW_ENOTFOUND, NULL);
}

/* What the reply to an atomic operation means for it. */
static int atomic_status(const fwi_kv_op *op, const cJSON *reply)
{
    const cJSON *responses = fwi_eh_json_get(reply, "responses");
    const cJSON *first = responses ? responses->child : NULL;
    if (fwi_eh_json_true(reply, "succeeded")) {
        /* A delete with previous 0 succeeds on a key that does not exist. */
        const cJSON *deletion = fwi_eh_json_get(first, "response_delete_range");
        return deletion && !fwi_eh_json_get(deletion, "deleted") ? FW_ENOTFOUND : FW_OK;
    }
    const cJSON *range = fwi_eh_json_get(first, "response_range");
    if (!range)
        return FW_ESTORE;
    if (!fwi_eh_json_get(range, "kvs"))
        return FW_ENOTFOUND;
    return op->type == FWI_KV_ATOMIC_PUT && !op->previous ? FW_EEXISTS : FW_EMODIFIED;
}

static void on_atomic(const fwi_eh_answer *answer, void *arg)
{
    struct job *job = arg;
    if (is_well_done(job, answer))
        write_finish(job, atomic_status(job->op, answer->json), NULL);
}

static void on_txn(const fwi_eh_answer *answer, void *arg)
{
    struct job *job = arg;
    bool writes = fwi_kv_op_is_write(job->op);
    int status = answer->status;
    const char *detail = answer->detail;
    if (!status) {
        status =
            take_revision(job, answer->json) ? fwi_eh_txn_read(answer->json, job->op) : FW_ESTORE;
        detail = status ? malformed : NULL;
        if (status && writes)
            status = FW_EUNKNOWN;
    }
    job_finish(job, status, detail);
}

static int take_range(struct job *job, const cJSON *reply)
{
    fwi_kv_op *op = job->op;
    int64_t count;
    if (!take_revision(job, reply) || !fwi_eh_json_int64(reply, "count", &count))
        return FW_ESTORE;
    if (op->type == FWI_KV_EXISTS) {
        op->count = count ? 1 : 0;
        return FW_OK;
    }
    const cJSON *kvs = fwi_eh_json_get(reply, "kvs");
    fwi_eh_pair pair;
    if (!kvs || !kvs->child)
        return FW_ENOTFOUND;
    if (!fwi_eh_json_pair(kvs->child, &pair))
        return FW_ESTORE;
    return fwi_kv_pairs_add(&op->pairs, op->key, strlen(op->key), pair.value, pair.revision,
                            pair.lease);
}

static void on_range(const fwi_eh_answer *answer, void *arg)
{
    struct job *job = arg;
    int status = answer->status ? answer->status : take_range(job, answer->json);
    job_finish(job, status, status == FW_ESTORE && !answer->status ? malformed : answer->detail);
}

static void on_list(const fwi_eh_listing *listing, void *arg)
{
    struct job *job = arg;
    if (!listing->status) {
        job->op->revision = listing->revision;
        job->op->pairs = *listing->pairs;
        *listing->pairs = (fwi_kv_pairs){.count = 0};
    }
    job_finish(job, listing->status, listing->detail);
}

/* ---- requests ---- */

static void write_put(const struct job *job, fwi_eh_text *text)
{
    fwi_eh_text_add(text, "{\"key\":");
    fwi_eh_text_add_bytes(text, job->keys.key);
    fwi_eh_text_add(text, ",\"value\":");
    fwi_eh_text_add_bytes(text, job->op->value);
    fwi_eh_text_add(text, ",\"lease\":");
    fwi_eh_text_add_int64(text, job->fresh_lease ? job->fresh_lease : job->op->lease);
    fwi_eh_text_add(text, "}");
}

static void write_deletion(const struct job *job, fwi_eh_text *text)
{
    fwi_eh_text_add(text, "{\"key\":");
    fwi_eh_text_add_bytes(text, job->keys.key);
    if (job->keys.end.len) {
        fwi_eh_text_add(text, ",\"range_end\":");
        fwi_eh_text_add_bytes(text, job->keys.end);
    }
    fwi_eh_text_add(text, "}");
}

/* Compares, then puts or deletes, else reads the key. */
static int ask_atomic(struct job *job)
{
    const fwi_kv_op *op = job->op;
    fwi_eh_text text = {.data = NULL};
    fwi_eh_text_add(&text, "{\"compare\":[{\"key\":");
    fwi_eh_text_add_bytes(&text, job->keys.key);
    fwi_eh_text_add(&text, ",\"result\":\"EQUAL\",\"target\":\"MOD\",\"mod_revision\":");
    fwi_eh_text_add_int64(&text, op->previous);
    fwi_eh_text_add(&text, "}],\"success\":[{");
    if (op->type == FWI_KV_ATOMIC_PUT) {
        fwi_eh_text_add(&text, "\"request_put\":");
        write_put(job, &text);
    } else {
        fwi_eh_text_add(&text, "\"request_delete_range\":");
        write_deletion(job, &text);
    }
    fwi_eh_text_add(&text, "}],\"failure\":[{\"request_range\":{\"keys_only\":true,\"key\":");
    fwi_eh_text_add_bytes(&text, job->keys.key);
    fwi_eh_text_add(&text, "}}]}");
    return ask(job, "/v3/kv/txn", &text, false, on_atomic);
}

static int ask_put(struct job *job)
{
    if (job->op->type == FWI_KV_ATOMIC_PUT)
        return ask_atomic(job);
    fwi_eh_text text = {.data = NULL};
    write_put(job, &text);
    return ask(job, "/v3/kv/put", &text, false, on_put);
}

static int ask_delete(struct job *job)
{
    fwi_eh_text text = {.data = NULL};
    write_deletion(job, &text);
    return ask(job, "/v3/kv/deleterange", &text, false, on_delete);
}

static int ask_range(struct job *job)
{
    fwi_eh_text text = {.data = NULL};
    fwi_eh_text_add(&text, "{\"key\":");
    fwi_eh_text_add_bytes(&text, job->keys.key);
    fwi_eh_text_add(&text, job->op->type == FWI_KV_EXISTS ? ",\"count_only\":true}" : "}");
    return ask(job, "/v3/kv/range", &text, true, on_range);
}

static int ask_txn(struct job *job)
{
    fwi_eh_text text = {.data = NULL};
    if (!fwi_eh_txn_write(job->client, job->op->txn, &text)) {
        fwi_eh_text_fini(&text);
        return UV_ENOMEM;
    }
    return ask(job, "/v3/kv/txn", &text, !fwi_kv_op_is_write(job->op), on_txn);
}

static void on_granted(const fwi_eh_answer *answer, void *arg)
{
    struct job *job = arg;
    int status = answer->status;
    if (status) {
        job_finish(job, status, answer->detail);
        return;
    }
    uint32_t ttl_ms;
    if (!fwi_eh_grant_read(answer->json, &job->fresh_lease, &ttl_ms)) {
        job_finish(job, FW_ESTORE, malformed);
        return;
    }
    status = ask_put(job);
    if (status)
        write_finish(job, status, NULL);
}

/* Granting twice leaves a lease without keys, which runs out: so it may be retried. */
static int ask_grant(struct job *job)
{
    fwi_eh_text text = {.data = NULL};
    fwi_eh_grant_write(job->op->ttl_ms, &text);
    return ask(job, "/v3/lease/grant", &text, true, on_granted);
}

static int begin(struct job *job)
{
    fwi_kv_op *op = job->op;
    fwi_eh_list *list;
    switch (op->type) {
    case FWI_KV_PUT:
    case FWI_KV_ATOMIC_PUT:
        return op->ttl_ms ? ask_grant(job) : ask_put(job);
    case FWI_KV_GET:
    case FWI_KV_EXISTS:
        return ask_range(job);
    case FWI_KV_DELETE:
    case FWI_KV_DELETE_TREE:
        return ask_delete(job);
    case FWI_KV_ATOMIC_DELETE:
        return ask_atomic(job);
    case FWI_KV_LIST:
        return fwi_eh_list_start(job->client, op->key, true, op->deadline_ms, false, on_list, job,
                                 &list);
    case FWI_KV_TXN:
        return ask_txn(job);
    case FWI_KV_ENQUEUE:
        break; /* the front does it: has_queue is not set */
    }
    return FW_EUNSUPPORTED;
}

void fwi_eh_submit(void *store, fwi_kv_op *op)
{
    fwi_eh_client *client = store;
    struct job *job = calloc(1, sizeof *job);
    if (!job) {
        fwi_kv_op_finish(op, UV_ENOMEM, NULL);
        return;
    }
    *job = (struct job){.client = client, .op = op};
    bool tree = op->type == FWI_KV_DELETE_TREE;
    int err = fwi_eh_keys_init(&job->keys, client, op->key, tree) ? begin(job) : UV_ENOMEM;
    if (err)
        job_finish(job, err, NULL);
}
