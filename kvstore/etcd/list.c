/*
 * A range of any size: pages of PAGE_KEYS keys, the later ones at the revision of the first, so
 * that together they are one state of the store. If that revision is compacted meanwhile, it starts
 * again. Pages are large because etcd counts the whole range for each; if one is larger than a
 * message may be, it is asked for in smaller ones.
 */
#include "etcd.h"

#include "etcd.pb-c.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define PAGE_KEYS 16384

struct fwi_etcd_list {
    fwi_etcd_client *client;
    fwi_etcd_keys keys;
    uint64_t deadline_ms;
    bool impatient;
    int64_t page_keys;
    fwi_etcd_list_fn fn;
    void *arg;
    fwi_etcd_request *request;
    uint64_t cluster;
    int64_t revision; /* of the first page; 0: it has not come */
    fwi_kv_pairs pairs;
    uint8_t *next; /* the first key of the next page */
    size_t next_len;
};

static void restart(fwi_etcd_list *list)
{
    fwi_kv_pairs_fini(&list->pairs);
    free(list->next);
    list->next = NULL;
    list->revision = 0;
}

void fwi_etcd_list_drop(fwi_etcd_list *list)
{
    if (list->request)
        fwi_etcd_request_drop(list->request);
    restart(list);
    fwi_etcd_keys_fini(&list->keys);
    free(list);
}

static void finish(fwi_etcd_list *list, int status, const char *detail)
{
    fwi_etcd_listing listing = {.status = status,
                                .detail = detail,
                                .cluster = list->cluster,
                                .revision = list->revision,
                                .pairs = &list->pairs};
    list->fn(&listing, list->arg);
    fwi_etcd_list_drop(list);
}

/* A reply that stays with the pairs, for their values are in it: copying megabytes, and having the
 * pages for them mapped, is what a big list costs most. */
struct kept_reply {
    fwi_kv_keep keep;
    grpc_slice slice;
};

static void release_reply(fwi_kv_keep *keep)
{
    struct kept_reply *kept = fwi_container_of(keep, struct kept_reply, keep);
    grpc_slice_unref(kept->slice);
    free(kept);
}

static int keep_reply(fwi_etcd_list *list, const grpc_slice *slice)
{
    struct kept_reply *kept = malloc(sizeof *kept);
    if (!kept)
        return UV_ENOMEM;
    *kept =
        (struct kept_reply){.keep = {.release = release_reply}, .slice = grpc_slice_ref(*slice)};
    fwi_kv_pairs_keep(&list->pairs, &kept->keep);
    return FW_OK;
}

/* Adds a page. Returns an error, with *ret_more unset, or FW_OK. */
static int add_page(fwi_etcd_list *list, const fwi_etcd_answer *answer, bool *ret_more)
{
    fwi_etcd_range range;
    fwi_etcd_pair pair = {.key = {NULL, 0}};
    if (!fwi_etcd_range_init(&range, answer->message))
        return FW_ESTORE;
    /* A small one has its bytes in the slice itself, which is gone soon. */
    bool is_kept = answer->slice->refcount != NULL;
    if (is_kept && keep_reply(list, answer->slice))
        return UV_ENOMEM;
    int (*add)(fwi_kv_pairs *, const char *, size_t, fw_slice, int64_t, int64_t) =
        is_kept ? fwi_kv_pairs_add_view : fwi_kv_pairs_add;
    while (fwi_etcd_range_next(&range, &pair)) {
        fw_slice key;
        if (fwi_etcd_key_strip(list->client, pair.key, &key) &&
            add(&list->pairs, key.data, key.len, pair.value, pair.revision, pair.lease))
            return UV_ENOMEM;
    }
    if (range.pairs.bad)
        return FW_ESTORE;
    if (!list->revision) {
        list->revision = range.revision;
        list->cluster = range.cluster;
    }
    *ret_more = range.more && pair.key.len;
    if (!*ret_more)
        return FW_OK;
    /* The least key that is greater than the last one. */
    uint8_t *next = malloc(pair.key.len + 1);
    if (!next)
        return UV_ENOMEM;
    memcpy(next, pair.key.data, pair.key.len);
    next[pair.key.len] = 0;
    free(list->next);
    list->next = next;
    list->next_len = pair.key.len + 1;
    return FW_OK;
}

static int ask(fwi_etcd_list *list);

static void on_page(const fwi_etcd_answer *answer, void *arg)
{
    fwi_etcd_list *list = arg;
    list->request = NULL;
    int status = answer->status;
    bool more = false;
    if (status == FW_ECOMPACTED && list->revision) {
        restart(list);
        more = true;
        status = FW_OK;
    } else if (status == FW_EVALUESIZE && list->page_keys > 1) {
        list->page_keys = list->page_keys > 16 ? list->page_keys / 16 : 1;
        more = true;
        status = FW_OK;
    } else if (!status) {
        status = add_page(list, answer, &more);
    }
    if (!status && more)
        status = ask(list);
    if (status || !more)
        finish(list, status,
               status == answer->status ? answer->detail : "malformed or broken reply");
}

static int ask(fwi_etcd_list *list)
{
    Epb__RangeRequest range = EPB__RANGE_REQUEST__INIT;
    range.key = list->keys.key;
    range.range_end = list->keys.end;
    range.limit = list->keys.end.len ? list->page_keys : 0;
    range.revision = list->revision;
    if (list->next)
        range.key = (ProtobufCBinaryData){list->next_len, list->next};
    fwi_etcd_request_options options = {.method = FWI_ETCD_RANGE,
                                        .message = &range.base,
                                        .deadline_ms = list->deadline_ms,
                                        .repeatable = true,
                                        .impatient = list->impatient,
                                        .fn = on_page,
                                        .arg = list};
    return fwi_etcd_request_start(list->client, &options, &list->request);
}

int fwi_etcd_list_start(fwi_etcd_client *client, const char *key, bool tree, uint64_t deadline_ms,
                        bool impatient, fwi_etcd_list_fn fn, void *arg, fwi_etcd_list **ret_list)
{
    fwi_etcd_list *list = calloc(1, sizeof *list);
    if (!list)
        return UV_ENOMEM;
    *list = (fwi_etcd_list){.client = client,
                            .deadline_ms = deadline_ms,
                            .impatient = impatient,
                            .page_keys = PAGE_KEYS,
                            .fn = fn,
                            .arg = arg};
    int err = fwi_etcd_keys_init(&list->keys, client, key, tree) ? FW_OK : UV_ENOMEM;
    if (!err)
        err = ask(list);
    if (err)
        fwi_etcd_list_drop(list);
    else
        *ret_list = list;
    return err;
}
