/*
 * A list of any size, as it is at one revision, in pages.
 *
 * Redis has no snapshots, and one script that reads everything would stop the server for as long.
 * So each page tells, besides its pairs, what has changed since the page before (the server does
 * both in one script): applied to what was read so far, that and the page are the state at the
 * page's revision. A change of a key that no page has reached yet does no harm: the page will
 * have it again, or not.
 *
 * If the log no longer reaches back to the page before, the list begins again, the last time with
 * one page for all.
 */
#include "redis.h"

#include <fairway/error.h>
#include <string.h>

#include "base/map.h"

#define PAGE_PAIRS 1000
#define PAGE_BYTES ((int64_t)1024 * 1024)
#define TRIES      4
#define EVERYTHING INT64_C(1000000000000)

struct fwi_redis_listing {
    fwi_redis_client *client;
    char *key;
    bool is_tree;
    uint64_t deadline_ms;
    fwi_redis_listed_fn on_listed;
    void *arg;
    fwi_redis_request *request;
    fwi_kv_pairs pairs; /* in order; key NULL: changed or deleted since it was read */
    fwi_map index;      /* key -> position in pairs + 1; only once something has changed */
    bool is_indexed;
    char *after;       /* the next page begins behind this key; NULL: there is none */
    int64_t revision;  /* of the last page, 0: none yet */
    int64_t caught_up; /* revision at the last catch-up */
    unsigned tries;
};

static int ask(fwi_redis_listing *listing);

static void clear(fwi_redis_listing *listing)
{
    fwi_kv_pairs_fini(&listing->pairs);
    listing->pairs = (fwi_kv_pairs){.count = 0};
    fwi_map_fini(&listing->index);
    listing->index = (fwi_map){.count = 0};
    listing->is_indexed = false;
    listing->revision = 0;
    free(listing->after);
    listing->after = strdup("");
}

/* ---- the pages ---- */

static int index_pair(fwi_redis_listing *listing, fw_slice key, size_t position)
{
    return fwi_map_put(&listing->index, key.data, key.len, (void *)(position + 1), NULL);
}

static int index_all(fwi_redis_listing *listing)
{
    listing->is_indexed = true;
    int err = FW_OK;
    for (size_t i = 0; !err && i < listing->pairs.count; i++) {
        const char *key = listing->pairs.items[i].key;
        err = index_pair(listing, (fw_slice){key, strlen(key)}, i);
    }
    return err;
}

static int apply(fwi_redis_listing *listing, const fwi_redis_pair *pair)
{
    fwi_kv_pairs *pairs = &listing->pairs;
    if (listing->is_indexed) {
        size_t known = (size_t)fwi_map_remove(&listing->index, pair->key.data, pair->key.len);
        if (known)
            pairs->items[known - 1].key = NULL;
    }
    if (pair->lease < 0)
        return FW_OK;
    int err = fwi_kv_pairs_add(pairs, pair->key.data, pair->key.len, pair->value, pair->revision,
                               pair->lease);
    if (!err && listing->is_indexed)
        err = index_pair(listing, pair->key, pairs->count - 1);
    return err;
}

/* Takes a page in. FW_ESTORE: it is malformed. */
static int take_page(fwi_redis_listing *listing, const redisReply *reply)
{
    fw_slice after;
    int64_t changes;
    size_t at = FWI_REDIS_HEAD + 2;
    if (!fwi_redis_text_at(reply, FWI_REDIS_HEAD, &after) ||
        !fwi_redis_integer_at(reply, FWI_REDIS_HEAD + 1, &changes) || changes < 0 ||
        (reply->elements - at) % FWI_REDIS_PAIR ||
        (uint64_t)changes > (reply->elements - at) / FWI_REDIS_PAIR)
        return FW_ESTORE;
    int err = changes && !listing->is_indexed ? index_all(listing) : FW_OK;
    for (; !err && at < reply->elements; at += FWI_REDIS_PAIR) {
        fwi_redis_pair pair;
        err = fwi_redis_pair_at(reply, at, &pair) ? apply(listing, &pair) : FW_ESTORE;
    }
    free(listing->after);
    listing->after = after.len ? strdup(after.data) : NULL;
    return err ? err : after.len && !listing->after ? UV_ENOMEM : FW_OK;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const fw_kv_pair *)a)->key, ((const fw_kv_pair *)b)->key);
}

/* Takes out what is no more, and sorts. */
static void settle(fwi_redis_listing *listing)
{
    fwi_kv_pairs *pairs = &listing->pairs;
    if (!listing->is_indexed)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < pairs->count; i++)
        if (pairs->items[i].key)
            pairs->items[kept++] = pairs->items[i];
    pairs->count = kept;
    if (kept)
        qsort(pairs->items, kept, sizeof *pairs->items, by_key);
    fwi_map_fini(&listing->index);
    listing->index = (fwi_map){.count = 0};
    listing->is_indexed = false;
}

static void on_page(const fwi_redis_reply *reply, void *arg)
{
    fwi_redis_listing *listing = arg;
    listing->request = NULL;
    int err = reply->status;
    const char *detail = reply->detail;
    if (!err) {
        err = take_page(listing, reply->reply);
        listing->revision = reply->revision;
        detail = err == FW_ESTORE ? "malformed list" : "";
    } else if (err == FW_ECOMPACTED && listing->tries < TRIES) {
        clear(listing);
        listing->tries++;
        err = listing->after ? FW_OK : UV_ENOMEM;
    }
    if (!err && listing->after) {
        err = ask(listing);
        if (!err)
            return;
        detail = "";
    }
    if (!err)
        settle(listing);
    listing->on_listed(listing->client, listing, err, detail, listing->arg);
}

static int ask(fwi_redis_listing *listing)
{
    bool is_last_try = listing->tries == TRIES;
    fwi_redis_args args = {.count = 0};
    fwi_redis_args_script(&args, listing->client, "list");
    fwi_redis_args_text(&args, listing->is_tree ? "tree" : "key");
    fwi_redis_args_text(&args, listing->key);
    fwi_redis_args_number(&args, listing->revision);
    fwi_redis_args_text(&args, listing->after ? "1" : "0");
    fwi_redis_args_text(&args, listing->after ? listing->after : "");
    fwi_redis_args_number(&args, is_last_try ? EVERYTHING : PAGE_PAIRS);
    fwi_redis_args_number(&args, is_last_try ? EVERYTHING : PAGE_BYTES);
    return fwi_redis_ask(&listing->client->ops, FWI_REDIS_REPEAT, listing->deadline_ms, &args,
                         on_page, listing, &listing->request);
}

/* ---- life ---- */

int fwi_redis_list(fwi_redis_client *client, const char *key, bool is_tree, uint64_t deadline_ms,
                   fwi_redis_listed_fn on_listed, void *arg, fwi_redis_listing **ret_listing)
{
    fwi_redis_listing *listing = calloc(1, sizeof *listing);
    if (!listing)
        return UV_ENOMEM;
    *listing = (fwi_redis_listing){.client = client,
                                   .key = strdup(key),
                                   .is_tree = is_tree,
                                   .deadline_ms = deadline_ms,
                                   .on_listed = on_listed,
                                   .arg = arg};
    clear(listing);
    int err = listing->key && listing->after ? ask(listing) : UV_ENOMEM;
    if (err) {
        listing->request = NULL;
        fwi_redis_listing_free(listing);
        return err;
    }
    *ret_listing = listing;
    return FW_OK;
}

fwi_kv_pairs fwi_redis_listing_take(fwi_redis_listing *listing, int64_t *ret_revision)
{
    fwi_kv_pairs pairs = listing->pairs;
    listing->pairs = (fwi_kv_pairs){.count = 0};
    *ret_revision = listing->revision;
    return pairs;
}

int64_t fwi_redis_listing_revision(const fwi_redis_listing *listing)
{
    return listing->revision;
}

int fwi_redis_listing_catch_up(fwi_redis_listing *listing)
{
    if (listing->caught_up == listing->revision)
        return FW_ECOMPACTED;
    listing->caught_up = listing->revision;
    return ask(listing);
}

void fwi_redis_listing_free(fwi_redis_listing *listing)
{
    if (listing->request)
        fwi_redis_forget(listing->request);
    fwi_kv_pairs_fini(&listing->pairs);
    fwi_map_fini(&listing->index);
    free(listing->after);
    free(listing->key);
    free(listing);
}
