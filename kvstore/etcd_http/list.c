/*
 * A range of any size, in pages; the later ones at the revision of the first, so that together they
 * are one state of the store. If that revision is compacted meanwhile, it starts again.
 *
 * How many keys a page has follows from how large the last one was: it is to be about PAGE_BYTES
 * long, so that neither the server nor we hold more than that at a time. A page that was too long
 * all the same is asked for again with fewer keys.
 */
#include "etcd_http.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_KEYS 512
#define MOST_KEYS  8192
#define PAGE_BYTES ((size_t)2 << 20)

struct fwi_eh_list {
    fwi_eh_client *client;
    fwi_eh_keys keys;
    uint64_t deadline_ms;
    bool impatient;
    fwi_eh_list_fn fn;
    void *arg;
    fwi_eh_request *request;
    size_t page_keys;
    uint64_t cluster;
    int64_t revision; /* of the first page; 0: it has not come */
    fwi_kv_pairs pairs;
    uint8_t *next; /* the first key of the next page */
    size_t next_len;
};

static void restart(fwi_eh_list *list)
{
    fwi_kv_pairs_fini(&list->pairs);
    free(list->next);
    list->next = NULL;
    list->revision = 0;
}

void fwi_eh_list_drop(fwi_eh_list *list)
{
    if (list->request)
        fwi_eh_request_drop(list->request);
    restart(list);
    fwi_eh_keys_fini(&list->keys);
    free(list);
}

static void finish(fwi_eh_list *list, int status, const char *detail)
{
    fwi_eh_listing listing = {.status = status,
                              .detail = detail,
                              .cluster = list->cluster,
                              .revision = list->revision,
                              .pairs = &list->pairs};
    list->fn(&listing, list->arg);
    fwi_eh_list_drop(list);
}

/* The least key that is greater than the last one. */
static int set_next(fwi_eh_list *list, fw_slice last)
{
    uint8_t *next = malloc(last.len + 1);
    if (!next)
        return UV_ENOMEM;
    memcpy(next, last.data, last.len);
    next[last.len] = 0;
    free(list->next);
    list->next = next;
    list->next_len = last.len + 1;
    return FW_OK;
}

static void adapt(fwi_eh_list *list, size_t bytes, size_t count)
{
    size_t each = bytes / count + 1;
    size_t keys = PAGE_BYTES / each + 1;
    list->page_keys = keys < MOST_KEYS ? keys : MOST_KEYS;
}

/* Adds a page. Returns an error, with *ret_more unset, or FW_OK. */
static int add_page(fwi_eh_list *list, const fwi_eh_answer *answer, bool *ret_more)
{
    uint64_t cluster;
    int64_t revision;
    fwi_eh_pair pair = {.key = {NULL, 0}};
    size_t count = 0;
    if (!fwi_eh_json_header(answer->json, &cluster, &revision) || revision <= 0)
        return FW_ESTORE;
    const cJSON *object;
    cJSON_ArrayForEach(object, fwi_eh_json_get(answer->json, "kvs"))
    {
        fw_slice key;
        if (!fwi_eh_json_pair(object, &pair))
            return FW_ESTORE;
        count++;
        if (fwi_eh_key_strip(list->client, pair.key, &key) &&
            fwi_kv_pairs_add(&list->pairs, key.data, key.len, pair.value, pair.revision,
                             pair.lease))
            return UV_ENOMEM;
    }
    if (!list->revision) {
        list->revision = revision;
        list->cluster = cluster;
    }
    *ret_more = count && fwi_eh_json_true(answer->json, "more");
    if (!*ret_more)
        return FW_OK;
    adapt(list, answer->bytes, count);
    return set_next(list, pair.key);
}

static int ask(fwi_eh_list *list);

static void on_page(const fwi_eh_answer *answer, void *arg)
{
    fwi_eh_list *list = arg;
    list->request = NULL;
    int status = answer->status;
    bool more = false;
    if (status == FW_ECOMPACTED && list->revision) {
        restart(list);
        more = true;
        status = FW_OK;
    } else if (status == FW_ELIMIT && list->keys.end.len && list->page_keys > 1) {
        list->page_keys = list->page_keys / 8 + 1;
        more = true;
        status = FW_OK;
    } else if (!status) {
        status = add_page(list, answer, &more);
    }
    if (!status && more)
        status = ask(list);
    if (status || !more)
        finish(list, status, answer->status ? answer->detail : status ? "malformed reply" : "");
}

static int ask(fwi_eh_list *list)
{
    fwi_eh_text text = {.data = NULL};
    fw_slice from = list->next ? (fw_slice){list->next, list->next_len} : list->keys.key;
    fwi_eh_text_add(&text, "{\"key\":");
    fwi_eh_text_add_bytes(&text, from);
    if (list->keys.end.len) {
        fwi_eh_text_add(&text, ",\"range_end\":");
        fwi_eh_text_add_bytes(&text, list->keys.end);
        fwi_eh_text_add(&text, ",\"limit\":");
        fwi_eh_text_add_int64(&text, (int64_t)list->page_keys);
    }
    if (list->revision) {
        fwi_eh_text_add(&text, ",\"revision\":");
        fwi_eh_text_add_int64(&text, list->revision);
    }
    fwi_eh_text_add(&text, "}");
    fwi_eh_request_options options = {.path = "/v3/kv/range",
                                      .body = &text,
                                      .deadline_ms = list->deadline_ms,
                                      .repeatable = true,
                                      .impatient = list->impatient,
                                      .fn = on_page,
                                      .arg = list};
    return fwi_eh_request_start(list->client, &options, &list->request);
}

int fwi_eh_list_start(fwi_eh_client *client, const char *key, bool tree, uint64_t deadline_ms,
                      bool impatient, fwi_eh_list_fn fn, void *arg, fwi_eh_list **ret_list)
{
    fwi_eh_list *list = calloc(1, sizeof *list);
    if (!list)
        return UV_ENOMEM;
    *list = (fwi_eh_list){.client = client,
                          .deadline_ms = deadline_ms,
                          .impatient = impatient,
                          .page_keys = FIRST_KEYS,
                          .fn = fn,
                          .arg = arg};
    int err = fwi_eh_keys_init(&list->keys, client, key, tree) ? FW_OK : UV_ENOMEM;
    if (!err)
        err = ask(list);
    if (err)
        fwi_eh_list_drop(list);
    else
        *ret_list = list;
    return err;
}
