/*
 * A range of any size, in pages; the later ones at the revision of the first, so that together they
 * are one state of the store. If that revision is compacted meanwhile, it starts again.
 *
 * How long pages are, the transport says (fwi_ec_paging). One that was too long all the same is
 * asked for again with fewer keys.
 */
#include "etcd_core.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct fwi_ec_list {
    fwi_ec_store *store;
    fwi_ec_keys keys;
    uint64_t deadline_ms;
    bool impatient;
    fwi_ec_list_fn fn;
    void *arg;
    void *request;
    int64_t page_keys;
    uint64_t cluster;
    int64_t revision; /* of the first page; 0: it has not come */
    fwi_kv_pairs pairs;
    fw_slice next; /* the first key of the next page; ours */
};

static void restart(fwi_ec_list *list)
{
    fwi_kv_pairs_fini(&list->pairs);
    free((void *)list->next.data);
    list->next = (fw_slice){NULL, 0};
    list->revision = 0;
}

void fwi_ec_list_drop(fwi_ec_list *list)
{
    if (list->request)
        list->store->transport->drop(list->request);
    restart(list);
    fwi_ec_keys_fini(&list->keys);
    free(list);
}

static void finish(fwi_ec_list *list, int status, const char *detail)
{
    fwi_ec_listing listing = {.status = status,
                              .detail = detail,
                              .cluster = list->cluster,
                              .revision = list->revision,
                              .pairs = &list->pairs};
    list->fn(&listing, list->arg);
    fwi_ec_list_drop(list);
}

/* The least key that is greater than the last one. */
static int set_next(fwi_ec_list *list, fw_slice last)
{
    uint8_t *next = malloc(last.len + 1);
    if (!next)
        return UV_ENOMEM;
    memcpy(next, last.data, last.len);
    next[last.len] = 0;
    free((void *)list->next.data);
    list->next = (fw_slice){next, last.len + 1};
    return FW_OK;
}

/* How many keys the next page is to have, by what those of the last one needed. */
static void adapt(fwi_ec_list *list, const fwi_ec_page *page)
{
    const fwi_ec_paging *paging = &list->store->transport->paging;
    if (!paging->bytes)
        return;
    size_t each = page->bytes / page->count + 1;
    int64_t keys = (int64_t)(paging->bytes / each) + 1;
    list->page_keys = keys < paging->most_keys ? keys : paging->most_keys;
}

/* Adds a page. Returns an error, with *ret_more unset, or FW_OK. */
static int add_page(fwi_ec_list *list, const fwi_ec_answer *answer, bool *ret_more)
{
    fwi_ec_page page;
    int err = list->store->transport->take_page(list->store, answer->reply, &list->pairs, &page);
    if (err)
        return err;
    if (!list->revision) {
        list->revision = page.revision;
        list->cluster = page.cluster;
    }
    *ret_more = page.more && page.last.len;
    if (!*ret_more)
        return FW_OK;
    adapt(list, &page);
    return set_next(list, page.last);
}

static int ask(fwi_ec_list *list);

static void on_page(const fwi_ec_answer *answer, void *arg)
{
    fwi_ec_list *list = arg;
    const fwi_ec_paging *paging = &list->store->transport->paging;
    list->request = NULL;
    int status = answer->status;
    bool more = false;
    if (status == FW_ECOMPACTED && list->revision) {
        restart(list);
        more = true;
        status = FW_OK;
    } else if (status == paging->too_long && list->keys.end.len && list->page_keys > 1) {
        list->page_keys = list->page_keys > paging->shrink ? list->page_keys / paging->shrink : 1;
        more = true;
        status = FW_OK;
    } else if (!status) {
        status = add_page(list, answer, &more);
    }
    if (!status && more)
        status = ask(list);
    if (status || !more)
        finish(list, status,
               answer->status        ? answer->detail
               : status == FW_ESTORE ? "malformed reply"
                                     : "");
}

static int ask(fwi_ec_list *list)
{
    bool is_range = list->keys.end.len != 0;
    fwi_ec_action range = {.method = FWI_EC_RANGE,
                           .key = list->next.data ? list->next : list->keys.key,
                           .end = list->keys.end,
                           .limit = is_range ? list->page_keys : 0,
                           .revision = list->revision};
    fwi_ec_question question = {.method = FWI_EC_RANGE,
                                .action = &range,
                                .deadline_ms = list->deadline_ms,
                                .repeatable = true,
                                .impatient = list->impatient,
                                .fn = on_page,
                                .arg = list};
    return list->store->transport->ask(list->store, &question, &list->request);
}

int fwi_ec_list_start(fwi_ec_store *store, const char *key, bool tree, uint64_t deadline_ms,
                      bool impatient, fwi_ec_list_fn fn, void *arg, fwi_ec_list **ret_list)
{
    fwi_ec_list *list = calloc(1, sizeof *list);
    if (!list)
        return UV_ENOMEM;
    *list = (fwi_ec_list){.store = store,
                          .deadline_ms = deadline_ms,
                          .impatient = impatient,
                          .page_keys = store->transport->paging.first_keys,
                          .fn = fn,
                          .arg = arg};
    int err = fwi_ec_keys_init(&list->keys, store, key, tree) ? FW_OK : UV_ENOMEM;
    if (!err)
        err = ask(list);
    if (err)
        fwi_ec_list_drop(list);
    else
        *ret_list = list;
    return err;
}

int fwi_ec_ask_revision(fwi_ec_store *store, fw_slice key, int64_t revision, fwi_ec_answer_fn fn,
                        void *arg, void **ret_request)
{
    fwi_ec_action range = {
        .method = FWI_EC_RANGE, .key = key, .revision = revision, .count_only = true};
    fwi_ec_question question = {.method = FWI_EC_RANGE,
                                .action = &range,
                                .deadline_ms =
                                    fw_loop_now_ms(store->loop) + fwi_kv_timeout_ms(store->kv),
                                .repeatable = true,
                                .impatient = true,
                                .fn = fn,
                                .arg = arg};
    return store->transport->ask(store, &question, ret_request);
}

void fwi_ec_listing_tell(const fwi_ec_listing *listing, fw_kv_watch *front)
{
    fwi_kv_watch_list_begin(front);
    for (size_t i = 0; i < listing->pairs->count; i++) {
        const fw_kv_pair *pair = &listing->pairs->items[i];
        fwi_kv_watch_list_pair(front, pair->key, strlen(pair->key), pair->value, pair->revision,
                               pair->lease);
    }
}
