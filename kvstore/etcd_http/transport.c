/*
 * What the core (kvstore/etcd_core) asks, as JSON, and what it reads of the replies. A field that
 * has its zero value is left out of a reply.
 */
#include "etcd_http.h"

#include <fairway/error.h>
#include <string.h>

#define RETRY_MS 100

/* ---- requests ---- */

static const char *const paths[FWI_EC_METHODS] = {
    [FWI_EC_RANGE] = "/v3/kv/range",
    [FWI_EC_PUT] = "/v3/kv/put",
    [FWI_EC_DELETE] = "/v3/kv/deleterange",
    [FWI_EC_TXN] = "/v3/kv/txn",
    [FWI_EC_GRANT] = "/v3/lease/grant",
    [FWI_EC_REVOKE] = "/v3/lease/revoke",
    [FWI_EC_KEEP_ALIVE] = "/v3/lease/keepalive",
};

static void write_number(fwi_eh_text *text, const char *name, int64_t number)
{
    if (!number)
        return;
    fwi_eh_text_add(text, name);
    fwi_eh_text_add_int64(text, number);
}

void fwi_eh_keys_write(fw_slice key, fw_slice end, fwi_eh_text *text)
{
    fwi_eh_text_add(text, "\"key\":");
    fwi_eh_text_add_bytes(text, key);
    if (end.len) {
        fwi_eh_text_add(text, ",\"range_end\":");
        fwi_eh_text_add_bytes(text, end);
    }
}

/* A range, a put or a deletion, by itself or in a transaction. */
static void write_action(const fwi_ec_action *action, fwi_eh_text *text)
{
    fwi_eh_text_add(text, "{");
    fwi_eh_keys_write(action->key, action->end, text);
    if (action->method == FWI_EC_PUT) {
        fwi_eh_text_add(text, ",\"value\":");
        fwi_eh_text_add_bytes(text, action->value);
        write_number(text, ",\"lease\":", action->lease);
    } else if (action->method == FWI_EC_RANGE) {
        write_number(text, ",\"limit\":", action->limit);
        write_number(text, ",\"revision\":", action->revision);
        fwi_eh_text_add(text, action->keys_only ? ",\"keys_only\":true" : "");
        fwi_eh_text_add(text, action->count_only ? ",\"count_only\":true" : "");
    }
    fwi_eh_text_add(text, "}");
}

static void write_compare(const fwi_ec_compare *compare, fwi_eh_text *text)
{
    static const char *const relations[] = {[FW_KV_EQUAL] = "EQUAL",
                                            [FW_KV_NOT_EQUAL] = "NOT_EQUAL",
                                            [FW_KV_LESS] = "LESS",
                                            [FW_KV_GREATER] = "GREATER"};
    fwi_eh_text_add(text, "{\"key\":");
    fwi_eh_text_add_bytes(text, compare->key);
    fwi_eh_text_add(text, ",\"result\":\"");
    fwi_eh_text_add(text, relations[compare->relation]);
    if (compare->by_value) {
        fwi_eh_text_add(text, "\",\"target\":\"VALUE\",\"value\":");
        fwi_eh_text_add_bytes(text, compare->value);
    } else {
        fwi_eh_text_add(text, "\",\"target\":\"MOD\",\"mod_revision\":");
        fwi_eh_text_add_int64(text, compare->revision);
    }
    fwi_eh_text_add(text, "}");
}

static void write_branch(const fwi_ec_action *actions, size_t count, fwi_eh_text *text)
{
    static const char *const names[] = {[FWI_EC_RANGE] = "{\"request_range\":",
                                        [FWI_EC_PUT] = "{\"request_put\":",
                                        [FWI_EC_DELETE] = "{\"request_delete_range\":"};
    for (size_t i = 0; i < count; i++) {
        fwi_eh_text_add(text, i ? "," : "");
        fwi_eh_text_add(text, names[actions[i].method]);
        write_action(&actions[i], text);
        fwi_eh_text_add(text, "}");
    }
}

static void write_txn(const fwi_ec_txn *txn, fwi_eh_text *text)
{
    fwi_eh_text_add(text, "{\"compare\":[");
    for (size_t i = 0; i < txn->compare_count; i++) {
        fwi_eh_text_add(text, i ? "," : "");
        write_compare(&txn->compares[i], text);
    }
    fwi_eh_text_add(text, "],\"success\":[");
    write_branch(txn->then, txn->then_count, text);
    fwi_eh_text_add(text, "],\"failure\":[");
    write_branch(txn->otherwise, txn->otherwise_count, text);
    fwi_eh_text_add(text, "]}");
}

static void write_question(const fwi_ec_question *question, fwi_eh_text *text)
{
    switch (question->method) {
    case FWI_EC_RANGE:
    case FWI_EC_PUT:
    case FWI_EC_DELETE:
        write_action(question->action, text);
        break;
    case FWI_EC_TXN:
        write_txn(question->txn, text);
        break;
    case FWI_EC_GRANT:
        fwi_eh_text_add(text, "{\"TTL\":");
        fwi_eh_text_add_int64(text, question->ttl_s);
        fwi_eh_text_add(text, "}");
        break;
    case FWI_EC_REVOKE:
    case FWI_EC_KEEP_ALIVE:
        fwi_eh_text_add(text, "{\"ID\":");
        fwi_eh_text_add_int64(text, question->lease);
        fwi_eh_text_add(text, "}");
        break;
    case FWI_EC_METHODS:
        break;
    }
}

static int ask(fwi_ec_store *store, const fwi_ec_question *question, void **ret_request)
{
    fwi_eh_request *request;
    fwi_eh_text text = {.data = NULL};
    write_question(question, &text);
    fwi_eh_request_options options = {.path = paths[question->method],
                                      .body = &text,
                                      .deadline_ms = question->deadline_ms,
                                      .repeatable = question->repeatable,
                                      .impatient = question->impatient,
                                      .urgent = question->urgent,
                                      .fn = question->fn,
                                      .arg = question->arg};
    int err = fwi_eh_request_start((fwi_eh_client *)store, &options, &request);
    if (!err)
        *ret_request = request;
    return err;
}

static void drop(void *request)
{
    fwi_eh_request_drop(request);
}

/* ---- replies ---- */

static const cJSON *json_of(const void *reply)
{
    return ((const fwi_eh_reply *)reply)->json;
}

/* The revision of a reply; false if it is malformed. */
static bool read_revision(const cJSON *json, int64_t *ret_revision)
{
    uint64_t cluster;
    return fwi_eh_json_header(json, &cluster, ret_revision) && *ret_revision > 0;
}

static bool read_change(const void *reply, int64_t *ret_revision, int64_t *ret_deleted)
{
    const cJSON *json = json_of(reply);
    return read_revision(json, ret_revision) && fwi_eh_json_int64(json, "deleted", ret_deleted) &&
           *ret_deleted >= 0;
}

/* No time is how etcd says that there is no such lease. */
static bool read_lease(const void *reply, int64_t *ret_id, int64_t *ret_ttl_s)
{
    const cJSON *json = json_of(reply);
    return fwi_eh_json_int64(json, "ID", ret_id) && fwi_eh_json_int64(json, "TTL", ret_ttl_s);
}

/* A range in a reply of its own, or in that of a transaction. */
static bool read_pairs(const cJSON *json, fwi_ec_range *ret_range)
{
    const cJSON *kvs = fwi_eh_json_get(json, "kvs");
    *ret_range = (fwi_ec_range){.has_pair = kvs && kvs->child};
    return fwi_eh_json_int64(json, "count", &ret_range->count) &&
           (!ret_range->has_pair || fwi_eh_json_pair(kvs->child, &ret_range->pair));
}

static bool read_range(const void *reply, fwi_ec_range *ret_range)
{
    return read_pairs(json_of(reply), ret_range) &&
           read_revision(json_of(reply), &ret_range->revision);
}

static bool read_response(const cJSON *json, fwi_ec_response *ret_response)
{
    const cJSON *range = fwi_eh_json_get(json, "response_range");
    const cJSON *deletion = fwi_eh_json_get(json, "response_delete_range");
    *ret_response = (fwi_ec_response){.method = range      ? FWI_EC_RANGE
                                                : deletion ? FWI_EC_DELETE
                                                           : FWI_EC_PUT};
    if (range)
        return read_pairs(range, &ret_response->range);
    return !deletion || fwi_eh_json_int64(deletion, "deleted", &ret_response->deleted);
}

static bool read_txn(const void *reply, fwi_ec_txn_reply *ret_reply)
{
    const cJSON *response;
    ret_reply->count = 0;
    ret_reply->succeeded = fwi_eh_json_true(json_of(reply), "succeeded");
    if (!read_revision(json_of(reply), &ret_reply->revision))
        return false;
    cJSON_ArrayForEach(response, fwi_eh_json_get(json_of(reply), "responses"))
    {
        if (ret_reply->count == FW_KV_TXN_MAX ||
            !read_response(response, &ret_reply->responses[ret_reply->count++]))
            return false;
    }
    return true;
}

static int take_page(const fwi_ec_store *store, const void *reply, fwi_kv_pairs *pairs,
                     fwi_ec_page *ret_page)
{
    const cJSON *object, *json = json_of(reply);
    fwi_ec_page page = {.bytes = ((const fwi_eh_reply *)reply)->bytes};
    fwi_ec_pair pair = {.key = {NULL, 0}};
    if (!fwi_eh_json_header(json, &page.cluster, &page.revision) || page.revision <= 0)
        return FW_ESTORE;
    cJSON_ArrayForEach(object, fwi_eh_json_get(json, "kvs"))
    {
        fw_slice key;
        if (!fwi_eh_json_pair(object, &pair))
            return FW_ESTORE;
        page.count++;
        if (fwi_ec_key_strip(store, pair.key, &key) &&
            fwi_kv_pairs_add(pairs, key.data, key.len, pair.value, pair.revision, pair.lease))
            return UV_ENOMEM;
    }
    page.last = pair.key;
    page.more = fwi_eh_json_true(json, "more");
    *ret_page = page;
    return FW_OK;
}

/* ---- the renewals of leases ----
 *
 * A held lease is renewed a third of its time after the last renewal that the store confirmed. Each
 * renewal is one POST, with the deadline of a third of the time, and moves to another endpoint by
 * itself; so a member that says nothing costs a third of the time, not the lease. */

static uint64_t renewal_due(fwi_ec_lease *lease)
{
    return lease->confirmed_ms + lease->ttl_ms / 3;
}

static void renew(fwi_ec_lease *lease)
{
    uint64_t now = fw_loop_now_ms(lease->store->loop);
    bool is_asked = !fwi_ec_lease_request(lease, now + lease->ttl_ms / 3);
    fwi_ec_lease_set_timer(lease, is_asked ? UINT64_MAX : now + RETRY_MS);
}

const fwi_ec_transport fwi_eh_transport = {
    .ask = ask,
    .drop = drop,
    .read_change = read_change,
    .read_range = read_range,
    .read_txn = read_txn,
    .read_lease = read_lease,
    .take_page = take_page,
    /* A page is to be about so long that neither the server nor we hold more at a time. */
    .paging = {.first_keys = 512,
               .most_keys = 8192,
               .bytes = (size_t)2 << 20,
               .too_long = FW_ELIMIT,
               .shrink = 8},
    .renewer = {.lease_bytes = sizeof(fwi_ec_lease),
                .confirmed = renewal_due,
                .due = renew,
                .retry_ms = RETRY_MS},
};
