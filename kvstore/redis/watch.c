/*
 * Watches. A watch is `unlisted` until it has the state, then `live`: it takes what the log of
 * changes has behind its last revision. One look at the log serves all live watches of the handle.
 *
 *     unlisted --list (list.c), up to date with the others--> live
 *         ^                                                    |
 *         +---- the log does not reach back: birth, then ------+
 *
 * On a link of its own the handle waits for the bell and looks, in turns:
 *
 *     look --there is more: again-- ... --> XREAD BLOCK on the bell, after the revision `seen`
 *      ^                                        |
 *      +------ a revision, or LOOK_MS passed ---+
 *
 * The bell is a stream that holds the last revision, so a ring is never missed: whoever waits for
 * a later one than it has seen is answered at once if there is one. Its content is not used; the
 * look after LOOK_MS finds what happened if the bell should fail (a store that was wiped, and whose
 * clock went back). When the link breaks, all watches are STALE, and LIVE after the next look.
 */
#include "redis.h"

#include <fairway/error.h>
#include <string.h>

#define LOOK_MS    1000
#define RETRY_MS   1000
#define LOOK_BYTES ((int64_t)1024 * 1024)

static void cycle(fwi_redis_client *client);
static void list(fwi_redis_client *client, fw_kv_watch *watch);

static fw_kv_watch *watch_of(fwi_list *node)
{
    return fwi_container_of(node, fw_kv_watch, node);
}

/* The last watch has gone. */
static void rest(fwi_redis_client *client)
{
    if (fwi_list_empty(&client->unlisted) && fwi_list_empty(&client->live) && !client->serving)
        fwi_redis_watches_fini(client);
}

/* Calls fn for each watch of a list; any may be stopped inside. */
static void for_each(fwi_redis_client *client, fwi_list *watches,
                     void (*fn)(fw_kv_watch *watch, const void *arg), const void *arg)
{
    fwi_list unserved; /* each is back in its list before it is served */
    fwi_list_init(&unserved);
    fwi_list_splice(&unserved, watches);
    client->serving++;
    for (fwi_list *node; (node = fwi_list_pop(&unserved));) {
        fwi_list_push_back(watches, node);
        fn(watch_of(node), arg);
    }
    client->serving--;
    rest(client);
}

struct trouble {
    int reason;
    const char *detail;
};

static void tell_stale(fw_kv_watch *watch, const void *arg)
{
    const struct trouble *trouble = arg;
    (void)fwi_kv_watch_stale(watch, trouble->reason, trouble->detail);
}

static void retry_soon(fwi_redis_client *client)
{
    if (!fwi_timer_armed(&client->retry))
        fwi_loop_timer_start(client->loop, &client->retry, RETRY_MS);
}

/* ---- the state ---- */

static void feed(fw_kv_watch *watch, const fwi_kv_pairs *pairs, int64_t revision)
{
    fwi_kv_watch_list_begin(watch);
    for (size_t i = 0; i < pairs->count; i++) {
        const fw_kv_pair *pair = &pairs->items[i];
        fwi_kv_watch_list_pair(watch, pair->key, strlen(pair->key), pair->value, pair->revision,
                               pair->lease);
    }
    (void)fwi_kv_watch_list_end(watch, revision);
}

static void on_listed(fwi_redis_client *client, fwi_redis_listing *listing, int status,
                      const char *detail, void *arg)
{
    fw_kv_watch *watch = arg;
    /* A look may have overtaken the list: the others are further. */
    if (!status && fwi_redis_listing_revision(listing) < client->seen) {
        status = fwi_redis_listing_catch_up(listing);
        if (!status)
            return;
        detail = "";
    }
    watch->driver_data = NULL;
    if (status) {
        struct trouble trouble = {status, detail};
        retry_soon(client);
        tell_stale(watch, &trouble);
        fwi_redis_listing_free(listing);
        return;
    }
    int64_t revision;
    fwi_kv_pairs pairs = fwi_redis_listing_take(listing, &revision);
    fwi_redis_listing_free(listing);
    fwi_list_remove(&watch->node);
    fwi_list_push_back(&client->live, &watch->node);
    if (!client->seen) {
        client->seen = revision;
        client->must_look = true;
    }
    feed(watch, &pairs, revision);
    fwi_kv_pairs_fini(&pairs);
    cycle(client);
}

static void list(fwi_redis_client *client, fw_kv_watch *watch)
{
    fwi_redis_listing *listing;
    int err =
        fwi_redis_list(client, watch->key, watch->tree, UINT64_MAX, on_listed, watch, &listing);
    if (err)
        retry_soon(client);
    else
        watch->driver_data = listing;
}

static void list_unlisted(fwi_redis_client *client)
{
    fwi_list_for_each (node, &client->unlisted)
        if (!watch_of(node)->driver_data)
            list(client, watch_of(node));
}

static void on_retry(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_redis_client *client = arg;
    client->is_troubled = false;
    if (!client->birth)
        list_unlisted(client);
    cycle(client);
}

static void on_birth(const fwi_redis_reply *reply, void *arg)
{
    fwi_redis_client *client = arg;
    client->birth = NULL;
    if (reply->status)
        retry_soon(client);
    else
        list_unlisted(client);
}

/* The log does not reach back to what we have seen, or does not know it: the store was wiped, or
 * is another one. */
static void begin_anew(fwi_redis_client *client)
{
    client->seen = 0;
    fwi_list_splice(&client->unlisted, &client->live);
    fwi_redis_args args = {.count = 0};
    fwi_redis_args_script(&args, client, "birth");
    if (!client->birth && fwi_redis_ask(&client->ops, FWI_REDIS_REPEAT, UINT64_MAX, &args, on_birth,
                                        client, &client->birth)) {
        client->birth = NULL;
        retry_soon(client);
    }
}

/* ---- looking and waiting ---- */

#define CHANGES (FWI_REDIS_HEAD + 2) /* where they begin in the answer */

static void tell_all_stale(fwi_redis_client *client, int reason, const char *detail)
{
    struct trouble trouble = {reason, detail};
    for_each(client, &client->live, tell_stale, &trouble);
    for_each(client, &client->unlisted, tell_stale, &trouble);
}

static void be_troubled(fwi_redis_client *client, int reason, const char *detail)
{
    client->is_troubled = client->must_look = true;
    retry_soon(client);
    tell_all_stale(client, reason, detail);
}

struct changes {
    const redisReply *reply;
    int64_t reached;
    bool is_last;
};

static void tell_changes(fw_kv_watch *watch, const void *arg)
{
    const struct changes *changes = arg;
    for (size_t at = CHANGES; at < changes->reply->elements; at += FWI_REDIS_PAIR) {
        fwi_redis_pair pair;
        if (!fwi_redis_pair_at(changes->reply, at, &pair) ||
            !fwi_kv_watch_matches(watch, pair.key.data))
            continue;
        if (pair.lease < 0)
            fwi_kv_watch_delete(watch, pair.key.data, pair.key.len, pair.revision);
        else
            fwi_kv_watch_put(watch, pair.key.data, pair.key.len, pair.value, pair.revision,
                             pair.lease);
    }
    if (fwi_kv_watch_commit(watch, changes->reached) && changes->is_last)
        (void)fwi_kv_watch_live(watch);
}

static bool is_well_formed(const redisReply *reply, struct changes *ret_changes)
{
    int64_t more;
    if (!fwi_redis_integer_at(reply, FWI_REDIS_HEAD, &ret_changes->reached) ||
        !fwi_redis_integer_at(reply, FWI_REDIS_HEAD + 1, &more) || ret_changes->reached <= 0 ||
        (reply->elements - CHANGES) % FWI_REDIS_PAIR)
        return false;
    fwi_redis_pair pair;
    for (size_t at = CHANGES; at < reply->elements; at += FWI_REDIS_PAIR)
        if (!fwi_redis_pair_at(reply, at, &pair))
            return false;
    ret_changes->reply = reply;
    ret_changes->is_last = !more;
    return true;
}

static void on_look(const fwi_redis_reply *reply, void *arg)
{
    fwi_redis_client *client = arg;
    client->look = NULL;
    struct changes changes;
    if (reply->status == FW_ECOMPACTED) {
        begin_anew(client);
    } else if (reply->status) {
        be_troubled(client, reply->status, reply->detail);
    } else if (!is_well_formed(reply->reply, &changes)) {
        be_troubled(client, FW_ESTORE, "malformed reply");
    } else {
        client->seen = changes.reached;
        client->must_look = !changes.is_last;
        for_each(client, &client->live, tell_changes, &changes);
    }
    cycle(client);
}

static void on_bell(const fwi_redis_reply *reply, void *arg)
{
    fwi_redis_client *client = arg;
    client->look = NULL;
    client->must_look = true;
    if (reply->status)
        be_troubled(client, reply->status, reply->detail);
    cycle(client);
}

static int look(fwi_redis_client *client)
{
    fwi_redis_args args = {.count = 0};
    fwi_redis_args_script(&args, client, "changes");
    fwi_redis_args_number(&args, client->seen);
    fwi_redis_args_number(&args, LOOK_BYTES);
    return fwi_redis_ask(&client->bell, FWI_REDIS_REPEAT, UINT64_MAX, &args, on_look, client,
                         &client->look);
}

static int wait_for_bell(fwi_redis_client *client)
{
    fwi_redis_args args = {.count = 0};
    fwi_redis_args_text(&args, "XREAD");
    fwi_redis_args_text(&args, "BLOCK");
    fwi_redis_args_number(&args, LOOK_MS);
    fwi_redis_args_text(&args, "STREAMS");
    fwi_redis_args_text(&args, client->names[FWI_REDIS_BELL]);
    fwi_redis_args_number(&args, client->seen);
    return fwi_redis_ask(&client->bell, FWI_REDIS_PLAIN, UINT64_MAX, &args, on_bell, client,
                         &client->look);
}

/* Takes the next step, if none is under way. */
static void cycle(fwi_redis_client *client)
{
    if (client->look || client->is_troubled || client->bell.state != FWI_REDIS_UP)
        return;
    if (fwi_list_empty(&client->live)) {
        client->seen = 0;
        return;
    }
    int err = client->must_look ? look(client) : wait_for_bell(client);
    if (err) {
        client->look = NULL;
        client->is_troubled = true;
        retry_soon(client);
    }
}

static void on_up(fwi_redis_client *client)
{
    client->must_look = true;
    client->is_troubled = false;
    cycle(client);
}

static void on_down(fwi_redis_client *client, int reason, const char *detail)
{
    if (client->look)
        fwi_redis_forget(client->look);
    client->look = NULL;
    tell_all_stale(client, reason, detail);
}

/* ---- from the front ---- */

void fwi_redis_watch_start(void *store, fw_kv_watch *watch)
{
    fwi_redis_client *client = store;
    watch->driver_data = NULL;
    fwi_list_push_back(&client->unlisted, &watch->node);
    fwi_redis_link_start(&client->bell);
    list(client, watch);
}

void fwi_redis_watch_stop(void *store, fw_kv_watch *watch)
{
    fwi_redis_client *client = store;
    if (watch->driver_data)
        fwi_redis_listing_free(watch->driver_data);
    watch->driver_data = NULL;
    fwi_list_remove(&watch->node);
    fwi_kv_watch_stopped(watch);
    rest(client);
}

void fwi_redis_watches_init(fwi_redis_client *client)
{
    fwi_list_init(&client->unlisted);
    fwi_list_init(&client->live);
    client->retry = (fwi_timer){.fn = on_retry, .arg = client};
    client->bell.on_up = on_up;
    client->bell.on_down = on_down;
}

void fwi_redis_watches_fini(fwi_redis_client *client)
{
    if (client->look)
        fwi_redis_forget(client->look);
    if (client->birth)
        fwi_redis_forget(client->birth);
    client->look = client->birth = NULL;
    client->seen = 0;
    client->is_troubled = false;
    fwi_loop_timer_stop(client->loop, &client->retry);
    fwi_redis_link_stop(&client->bell);
}
