/*
 * Operations that write: put, delete, their atomic kin, and transactions.
 *
 *     put without a lease:   SET -> (no such node) CREATE -> (no directory) parents -> SET
 *     all others:            LOOK -> decide -> MULTI -> (something was changed meanwhile) LOOK
 *
 * LOOK reads the znodes of all keys, with their versions. What is to be done follows from that, and
 * is done in one multi, that fails if a key is not any more as it was seen. A node that is there is
 * guarded by its version; one that is not, by creating and deleting it in the multi.
 *
 * Which guards are needed: a put without a lease touches NAME only, one under a lease always both.
 * So where NAME was seen to hold a value, its version guards the key; where not, both are guarded.
 *
 * Each multi sets the data of a node, if only to delete it then, because ZooKeeper's answer to a
 * set is the one that says the revision.
 */
#include "store.h"

#include <assert.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#define PACKET_OVERHEAD_BYTES 512
#define MAX_TTL_PUTS          64

enum effect { GUARD, PUT, DELETE };

struct entry {
    const char *key; /* the operation's */
    fwi_zk_look look;
    bool wanted;
    enum effect effect;
    fw_slice value;
    bool leased;
    bool above; /* another key of the transaction lies below */
};

struct change {
    fwi_zk_job job;
    struct entry *entries;
    size_t count;
    bool slow;          /* no SET and CREATE */
    fwi_zk_lease *own;  /* for a put with a time to live */
    bool may_have_been; /* done */
    char *data;         /* SET: what is stored */
    size_t data_len;
};

static const fw_slice marker = {"\1", 1};
static const fw_slice nothing = {"", 0};

static void change_fini(fwi_zk_job *job)
{
    struct change *change = fwi_container_of(job, struct change, job);
    if (change->own)
        fwi_zk_lease_put_done(change->own, change->may_have_been);
    for (size_t i = 0; i < change->count; i++)
        fwi_zk_look_fini(&change->entries[i].look);
    free(change->entries);
    free(change->data);
    free(change);
}

/* ---- what a multi consists of ---- */

static int guard_absence(fwi_zk_request *multi, const char *path)
{
    int err = fwi_zk_multi_create(multi, path, ZOO_PERSISTENT);
    return err ? err : fwi_zk_multi_delete(multi, path, -1);
}

static int guard(fwi_zk_request *multi, const char *path, const fwi_zk_seen_node *node)
{
    return node->there ? fwi_zk_multi_check(multi, path, node->stat.version)
                       : guard_absence(multi, path);
}

static bool has_value(const fwi_zk_seen_node *node)
{
    fw_slice value;
    return fwi_zk_node_value(node, &value);
}

static int guard_leased_if_needed(fwi_zk_request *multi, const struct entry *entry)
{
    const fwi_zk_look *look = &entry->look;
    return has_value(&look->plain) ? FW_OK : guard(multi, look->leased_path, &look->leased);
}

static int add_guard(fwi_zk_request *multi, const struct entry *entry)
{
    int err = guard(multi, entry->look.path, &entry->look.plain);
    return err ? err : guard_leased_if_needed(multi, entry);
}

static int set_value(fwi_zk_request *multi, const char *path, fw_slice value, int version)
{
    char *escaped;
    size_t len;
    int err = fwi_zk_data(value, &escaped, &len);
    if (err)
        return err;
    fw_slice data = {escaped ? (const void *)escaped : value.data, len};
    err = fwi_zk_multi_set(multi, path, data, version);
    free(escaped);
    return err;
}

/* Makes the node anew, in the place of one that was seen or of none. */
static int make(fwi_zk_request *multi, const char *path, const fwi_zk_seen_node *old,
                fw_slice value, int mode)
{
    int err = old->there ? fwi_zk_multi_delete(multi, path, old->stat.version) : FW_OK;
    if (!err)
        err = fwi_zk_multi_create(multi, path, mode);
    return err ? err : set_value(multi, path, value, -1);
}

static int add_plain_put(fwi_zk_request *multi, const struct entry *entry)
{
    const fwi_zk_seen_node *plain = &entry->look.plain;
    int err = guard_leased_if_needed(multi, entry);
    if (err)
        return err;
    if (plain->there && !plain->stat.ephemeralOwner)
        return set_value(multi, entry->look.path, entry->value, plain->stat.version);
    return make(multi, entry->look.path, plain, entry->value, ZOO_PERSISTENT);
}

static bool stays_directory(const struct entry *entry)
{
    const struct Stat *stat = &entry->look.plain.stat;
    return !stat->ephemeralOwner && (stat->numChildren || entry->above);
}

static int add_leased_put(fwi_zk_request *multi, const struct entry *entry)
{
    const fwi_zk_look *look = &entry->look;
    const fwi_zk_seen_node *plain = &look->plain, *leased = &look->leased;
    int err;
    if (!has_value(plain))
        err = guard(multi, look->path, plain);
    else if (stays_directory(entry))
        err = fwi_zk_multi_set(multi, look->path, marker, plain->stat.version);
    else
        err = fwi_zk_multi_delete(multi, look->path, plain->stat.version);
    if (err)
        return err;
    if (leased->there && leased->stat.ephemeralOwner == multi->session->id)
        return set_value(multi, look->leased_path, entry->value, leased->stat.version);
    return make(multi, look->leased_path, leased, entry->value, ZOO_EPHEMERAL);
}

static int delete_node(fwi_zk_request *multi, const char *path, const fwi_zk_seen_node *node)
{
    int err = fwi_zk_multi_set(multi, path, nothing, node->stat.version);
    return err ? err : fwi_zk_multi_delete(multi, path, node->stat.version + 1);
}

static int add_delete(fwi_zk_request *multi, const struct entry *entry)
{
    const fwi_zk_look *look = &entry->look;
    int err;
    if (!has_value(&look->plain))
        err = guard(multi, look->path, &look->plain);
    else if (stays_directory(entry))
        err = fwi_zk_multi_set(multi, look->path, marker, look->plain.stat.version);
    else
        err = delete_node(multi, look->path, &look->plain);
    if (!err && look->leased.there)
        err = delete_node(multi, look->leased_path, &look->leased);
    else if (!err)
        err = guard_leased_if_needed(multi, entry);
    return err;
}

static int add_entry(fwi_zk_request *multi, const struct entry *entry)
{
    fw_slice value;
    switch (entry->effect) {
    case PUT:
        return entry->leased ? add_leased_put(multi, entry) : add_plain_put(multi, entry);
    case DELETE:
        if (fwi_zk_look_pair(&entry->look, &value))
            return add_delete(multi, entry);
        break; /* of nothing: nothing, but it must still be so */
    case GUARD:
        break;
    }
    return add_guard(multi, entry);
}

/* ---- MULTI ---- */

static bool is_conflict(int rc)
{
    return rc == ZBADVERSION || rc == ZNONODE || rc == ZNODEEXISTS || rc == ZNOTEMPTY;
}

/* The path whose directory was missing, or NULL if it was a conflict. */
static const char *missing_parent(const fwi_zk_request *multi)
{
    for (size_t i = 0; i < multi->count; i++)
        if (multi->results[i].err == ZNONODE && fwi_zk_multi_creates(multi, i))
            return multi->ops[i].create_op.path;
    return NULL;
}

static void on_changed(fwi_zk_job *job, fwi_zk_request *multi)
{
    struct change *change = fwi_container_of(job, struct change, job);
    if (!multi->rc) {
        change->may_have_been = true;
        job->op->revision = fwi_zk_multi_zxid(multi);
        fwi_zk_job_finish(job, FW_OK, NULL);
        return;
    }
    job->wrote = change->may_have_been = fwi_zk_is_lost(multi->rc);
    if (!is_conflict(multi->rc)) {
        fwi_zk_job_fail(job, multi->rc);
        return;
    }
    const char *path = multi->rc == ZNONODE ? missing_parent(multi) : NULL;
    if (path)
        fwi_zk_job_make_parents(job, path);
    else
        fwi_zk_job_again(job);
}

static void send_multi(struct change *change)
{
    fwi_zk_job *job = &change->job;
    fwi_zk_request *multi = fwi_zk_job_request(job, on_changed, 0);
    if (!multi)
        return;
    int err = FW_OK;
    for (size_t i = 0; !err && i < change->count; i++)
        if (change->entries[i].wanted)
            err = add_entry(multi, &change->entries[i]);
    if (!err && fwi_zk_multi_bytes(multi) + PACKET_OVERHEAD_BYTES > job->store->packet_bytes)
        err = job->op->type == FWI_KV_TXN ? FW_ELIMIT : FW_EVALUESIZE;
    if (err || !multi->count) {
        fwi_zk_job_drop_request(job, multi);
        fwi_zk_job_finish(job, err, err ? "more than a packet of ZooKeeper takes" : NULL);
        return;
    }
    job->wrote = change->may_have_been = true;
    fwi_zk_send_multi(multi);
}

/* ---- what is to be done ---- */

static struct entry *find_entry(struct change *change, const char *key)
{
    for (size_t i = 0; i < change->count; i++)
        if (!strcmp(change->entries[i].key, key))
            return &change->entries[i];
    return NULL;
}

/* Of the operations on one key: what it does to what was seen. */
static int decide(struct change *change)
{
    const fwi_kv_op *op = change->job.op;
    struct entry *entry = change->entries;
    fw_slice value;
    const fwi_zk_seen_node *pair = fwi_zk_look_pair(&entry->look, &value);
    entry->wanted = true;
    entry->value = op->value;
    entry->leased = change->job.lease != NULL;
    entry->effect = op->type == FWI_KV_DELETE || op->type == FWI_KV_ATOMIC_DELETE ? DELETE : PUT;
    switch (op->type) {
    case FWI_KV_DELETE:
        return pair ? FW_OK : FW_ENOTFOUND;
    case FWI_KV_ATOMIC_PUT:
        if (!op->previous)
            return pair ? FW_EEXISTS : FW_OK;
        break;
    case FWI_KV_ATOMIC_DELETE:
        break;
    default:
        return FW_OK;
    }
    if (!pair)
        return FW_ENOTFOUND;
    return pair->stat.mzxid == op->previous ? FW_OK : FW_EMODIFIED;
}

static bool compares_hold(struct change *change)
{
    const fwi_kv_txn *txn = change->job.op->txn;
    bool hold = true;
    for (size_t i = 0; i < txn->compare_count; i++) {
        struct entry *entry = find_entry(change, txn->compares[i].key);
        fw_slice value;
        const fwi_zk_seen_node *pair = fwi_zk_look_pair(&entry->look, &value);
        entry->wanted = true;
        if (!fwi_kv_compare_holds(&txn->compares[i], pair ? pair->stat.mzxid : 0, value))
            hold = false;
    }
    return hold;
}

/* A key of the branch that is done. */
static int decide_op(struct change *change, const fwi_kv_txn_op *txn_op)
{
    struct entry *entry = find_entry(change, txn_op->key);
    entry->wanted = true;
    if (txn_op->type == FW_KV_TXN_GET) {
        fw_slice value;
        const fwi_zk_seen_node *pair = fwi_zk_look_pair(&entry->look, &value);
        return fwi_kv_pairs_add(&change->job.op->pairs, txn_op->key, strlen(txn_op->key), value,
                                pair ? pair->stat.mzxid : 0, pair ? fwi_zk_owner(&pair->stat) : 0);
    }
    entry->effect = txn_op->type == FW_KV_TXN_PUT ? PUT : DELETE;
    entry->value = txn_op->value;
    entry->leased = txn_op->lease != 0;
    return FW_OK;
}

/* The lease of a branch's puts: a transaction is one session's, so there may be one only. */
static int find_lease(const struct change *change, const fwi_kv_branch *branch,
                      fwi_zk_lease **ret_lease)
{
    int64_t id = 0;
    for (size_t i = 0; i < branch->count; i++) {
        int64_t lease = branch->ops[i].lease;
        if (id && lease && lease != id)
            return FW_EUNSUPPORTED;
        id = lease ? lease : id;
    }
    *ret_lease = id ? fwi_zk_lease_find(change->job.store, id) : NULL;
    return id && !*ret_lease ? FW_ELEASE : FW_OK;
}

static int decide_txn(struct change *change, bool *ret_elsewhere)
{
    fwi_zk_job *job = &change->job;
    fwi_kv_op *op = job->op;
    for (size_t i = 0; i < change->count; i++) {
        change->entries[i].wanted = false;
        change->entries[i].effect = GUARD;
    }
    fwi_kv_pairs_fini(&op->pairs);
    op->succeeded = compares_hold(change);
    const fwi_kv_branch *branch = op->succeeded ? &op->txn->then : &op->txn->otherwise;
    fwi_zk_lease *lease = NULL;
    int err = find_lease(change, branch, &lease);
    for (size_t i = 0; !err && i < branch->count; i++)
        err = decide_op(change, &branch->ops[i]);
    *ret_elsewhere = !err && lease != job->lease;
    if (!err)
        job->lease = lease;
    return err;
}

static void act(struct change *change)
{
    fwi_zk_job *job = &change->job;
    bool elsewhere = false;
    int status = job->op->type == FWI_KV_TXN ? decide_txn(change, &elsewhere) : decide(change);
    if (status)
        fwi_zk_job_finish(job, status,
                          status == FW_EUNSUPPORTED
                              ? "ZooKeeper has no transaction with the pairs of several leases"
                              : NULL);
    else if (elsewhere)
        fwi_zk_job_again(job); /* on that lease's session */
    else
        send_multi(change);
}

/* ---- LOOK ---- */

static void on_looked(fwi_zk_job *job, fwi_zk_request *request)
{
    struct change *change = fwi_container_of(job, struct change, job);
    if (request->index < 2 * change->count) {
        fwi_zk_look *look = &change->entries[request->index / 2].look;
        fwi_zk_look_take(request->index % 2 ? &look->leased : &look->plain, request);
    }
    fwi_zk_job_note(job, request);
    if (fwi_zk_job_gathered(job))
        act(change);
}

static void send_look(struct change *change)
{
    bool going = fwi_zk_job_sync(&change->job, on_looked);
    for (size_t i = 0; going && i < change->count; i++)
        going = fwi_zk_look_ask(&change->entries[i].look, &change->job, on_looked, 2 * i);
}

/* ---- SET, CREATE ---- */

static void send_create(struct change *change);
static void change_run(fwi_zk_job *job);

/* What became of the one node. True: the put has ended, or goes on otherwise. */
static bool put_ended(struct change *change, const fwi_zk_request *request, int expected)
{
    fwi_zk_job *job = &change->job;
    job->wrote = fwi_zk_is_lost(request->rc);
    if (!request->rc && !request->stat.ephemeralOwner) {
        job->op->revision = request->stat.mzxid;
        fwi_zk_job_finish(job, FW_OK, NULL);
        return true;
    }
    if (!request->rc) {
        change->slow = true; /* somebody's ephemeral node: it has to be another */
        change_run(job);
        return true;
    }
    if (request->rc == expected)
        return false;
    if (request->rc == ZNONODE)
        fwi_zk_job_make_parents(job, change->entries->look.path);
    else
        fwi_zk_job_fail(job, request->rc);
    return true;
}

static void on_set(fwi_zk_job *job, fwi_zk_request *request)
{
    struct change *change = fwi_container_of(job, struct change, job);
    if (!put_ended(change, request, ZNONODE))
        send_create(change);
}

static void on_created(fwi_zk_job *job, fwi_zk_request *request)
{
    struct change *change = fwi_container_of(job, struct change, job);
    if (!put_ended(change, request, ZNODEEXISTS))
        fwi_zk_job_again(job);
}

static const char *stored(const struct change *change)
{
    return change->data ? change->data : change->job.op->value.data;
}

static void send_create(struct change *change)
{
    fwi_zk_request *request = fwi_zk_job_request(&change->job, on_created, 0);
    if (!request)
        return;
    change->job.wrote = true;
    fwi_zk_send_create(request, change->entries->look.path, stored(change), change->data_len,
                       ZOO_PERSISTENT);
}

static void send_set(struct change *change)
{
    fwi_zk_request *request = fwi_zk_job_request(&change->job, on_set, 0);
    if (!request)
        return;
    change->job.wrote = true;
    fwi_zk_send_set(request, change->entries->look.path, stored(change), change->data_len);
}

static void change_run(fwi_zk_job *job)
{
    struct change *change = fwi_container_of(job, struct change, job);
    fwi_zk_job_hold(job);
    if (change->slow)
        send_look(change);
    else
        send_set(change);
    fwi_zk_job_release(job);
}

/* ---- start ---- */

static int add_key(struct change *change, const char *key)
{
    if (find_entry(change, key))
        return FW_OK;
    struct entry *entry = &change->entries[change->count];
    int err = fwi_zk_look_init(&entry->look, change->job.store->root, key);
    if (err)
        return err;
    entry->key = key;
    change->count++;
    return FW_OK;
}

static int add_txn_keys(struct change *change, const fwi_kv_txn *txn)
{
    int err = FW_OK;
    for (size_t i = 0; !err && i < txn->compare_count; i++)
        err = add_key(change, txn->compares[i].key);
    for (size_t i = 0; !err && i < txn->then.count; i++)
        err = add_key(change, txn->then.ops[i].key);
    for (size_t i = 0; !err && i < txn->otherwise.count; i++)
        err = add_key(change, txn->otherwise.ops[i].key);
    for (size_t i = 0; !err && i < change->count; i++)
        for (size_t j = 0; j < change->count; j++) {
            struct entry *entry = &change->entries[i];
            const char *other = change->entries[j].key;
            entry->above |=
                i != j && fwi_kv_key_below(other, strlen(other), entry->key, strlen(entry->key));
        }
    return err;
}

static int prepare(struct change *change, fwi_kv_op *op)
{
    fwi_zk_store *store = change->job.store;
    const fwi_kv_txn *txn = op->type == FWI_KV_TXN ? op->txn : NULL;
    size_t capacity = txn ? txn->compare_count + txn->then.count + txn->otherwise.count + 1 : 1;
    change->entries = calloc(capacity, sizeof *change->entries);
    if (!change->entries)
        return UV_ENOMEM;
    int err = txn ? add_txn_keys(change, txn) : add_key(change, op->key);
    if (err)
        return err;
    change->slow = op->type != FWI_KV_PUT || op->lease || op->ttl_ms;
    if (op->lease && !(change->job.lease = fwi_zk_lease_find(store, op->lease)))
        return FW_ELEASE;
    if (!change->slow) {
        err = fwi_zk_data(op->value, &change->data, &change->data_len);
        if (!err && change->data_len + strlen(change->entries->look.path) + PACKET_OVERHEAD_BYTES >
                        store->packet_bytes)
            err = FW_EVALUESIZE;
    }
    if (!op->ttl_ms || op->lease || err)
        return err;
    if (store->ttl_puts >= MAX_TTL_PUTS)
        return FW_ELIMIT;
    change->own = fwi_zk_lease_for_put(store, op->ttl_ms);
    change->job.lease = change->own;
    return change->own ? FW_OK : UV_ENOMEM;
}

void fwi_zk_change_start(fwi_zk_store *store, fwi_kv_op *op)
{
    struct change *change = calloc(1, sizeof *change);
    if (!change) {
        fwi_kv_op_finish(op, UV_ENOMEM, NULL);
        return;
    }
    change->job.store = store;
    change->job.run = change_run;
    change->job.fini = change_fini;
    int err = prepare(change, op);
    if (err) {
        change_fini(&change->job);
        fwi_kv_op_finish(op, err,
                         err == FW_EVALUESIZE ? "more than a packet of ZooKeeper takes"
                         : err == FW_ELIMIT   ? "too many puts with a time to live at a time"
                                              : NULL);
        return;
    }
    fwi_zk_job_start(&change->job, store, op);
}
