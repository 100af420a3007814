/*
 * A store's life, and its main session.
 *
 * The library connects again by itself. A session that stays without a connection for longer than
 * it lives is given up for a new one: it has expired then. But a server that was emptied, or set
 * back, refuses a client that has seen a later state, for ever, and nothing tells this from a
 * server that is away. So while the main session is without a connection, a second one, the scout,
 * tries as well; if it is served and the main session soon after still is not, it takes its place.
 *
 *     main  UP --> DOWN ----------------------------------> UP (the scout goes)
 *     scout         |--SCOUT_MS--> sent --> UP --GRACE_MS--> it is the main one now
 */
#include "store.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SESSION_MS 10000
#define AGAIN_MS   500
#define SCOUT_MS   500 /* so long without a connection, and a scout is sent */
/* So long it has; the next one begins without the library's pauses between attempts. */
#define SCOUT_LIFE_MS        1500
#define SCOUT_GRACE_MS       500 /* a main session that can connect has done it by then */
#define UNREACHED_MS         1000
#define CLOSE_GRACE_MS       1000
#define PACKET_BYTES_DEFAULT 1048575 /* the server's jute.maxbuffer */
#define PACKET_BYTES_LEAST   4096
#define PACKET_BYTES_MOST    (256u * 1024 * 1024)
#define NO_CONNECTION        "no connection to ZooKeeper"

uint64_t fwi_zk_clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void fwi_zk_see(fwi_zk_store *store, int64_t revision)
{
    if (revision > store->seen)
        store->seen = revision;
}

void fwi_zk_see_stat(fwi_zk_store *store, const struct Stat *stat)
{
    fwi_zk_see(store, stat->mzxid);
    fwi_zk_see(store, stat->pzxid);
}

int fwi_zk_status(int rc)
{
    switch (rc) {
    case ZOK:
        return FW_OK;
    case ZNONODE:
        return FW_ENOTFOUND;
    case ZNODEEXISTS:
        return FW_EEXISTS;
    case ZBADVERSION:
        return FW_EMODIFIED;
    case ZNOAUTH:
        return FW_EDENIED;
    case ZAUTHFAILED:
    case ZINVALIDACL: /* the access list names who we are, and we are nobody */
    case ZSESSIONCLOSEDREQUIRESASLAUTH:
        return FW_EAUTH;
    case ZSYSTEMERROR:
        return UV_ENOMEM; /* ours, when an answer could not be copied */
    default:
        return fwi_zk_is_lost(rc) ? FW_EUNREACHABLE : FW_ESTORE;
    }
}

/* ---- the main session ---- */

static void open_main(fwi_zk_store *store);
static void on_main_state(fwi_zk_session *session, void *arg);
static const fwi_zk_events main_events;

static void give_up_main(fwi_zk_store *store)
{
    fwi_zk_session *session = store->main;
    store->main = NULL;
    if (session)
        fwi_zk_session_close(session, false, CLOSE_GRACE_MS);
}

static void end_scout(fwi_zk_store *store)
{
    fwi_zk_session *scout = store->scout;
    store->scout = NULL;
    fwi_loop_timer_stop(store->loop, &store->scouting);
    if (scout)
        fwi_zk_session_close(scout, false, CLOSE_GRACE_MS);
}

static void on_patience(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_zk_store *store = arg;
    fwi_zk_session *scout = store->scout;
    give_up_main(store);
    if (fwi_zk_is_up(scout)) {
        store->scout = NULL;
        store->main = scout;
        scout->events = &main_events;
        on_main_state(scout, store);
    } else {
        end_scout(store);
        open_main(store);
    }
}

static void on_unreached(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_zk_watches_stale(arg, FW_EUNREACHABLE, NO_CONNECTION);
}

static void on_main_state(fwi_zk_session *session, void *arg)
{
    fwi_zk_store *store = arg;
    switch (session->state) {
    case FWI_ZK_UP: {
        fwi_loop_timer_stop(store->loop, &store->patience);
        fwi_loop_timer_stop(store->loop, &store->unreached);
        end_scout(store);
        bool fresh = store->main_id != session->id;
        store->main_id = session->id;
        fwi_zk_watches_resume(store, fresh);
        fwi_zk_jobs_resume(store, NULL);
        break;
    }
    case FWI_ZK_DOWN:
        fwi_loop_timer_start(store->loop, &store->patience, session->timeout_ms + AGAIN_MS);
        if (session->id) {
            fwi_loop_timer_start(store->loop, &store->scouting, SCOUT_MS);
            fwi_zk_watches_stale(store, FW_EUNREACHABLE, NO_CONNECTION);
        }
        break;
    case FWI_ZK_OVER:
        fwi_zk_watches_stale(store,
                             session->reason == FW_ELEASE ? FW_EUNREACHABLE : session->reason,
                             session->detail);
        give_up_main(store);
        fwi_loop_timer_start(store->loop, &store->patience, AGAIN_MS);
        break;
    default:
        break;
    }
}

static void on_main_change(const char *path, int type, void *arg)
{
    fwi_zk_watches_changed(arg, path, type);
}

static void on_main_closed(fwi_zk_session *session, void *arg)
{
    fwi_zk_store *store = arg;
    (void)session;
    fwi_zk_session_gone(store);
}

static const fwi_zk_events main_events = {
    .on_state = on_main_state, .on_change = on_main_change, .on_closed = on_main_closed};

static void on_scout_state(fwi_zk_session *session, void *arg)
{
    fwi_zk_store *store = arg;
    if (session->state == FWI_ZK_UP) {
        fwi_loop_timer_start(store->loop, &store->patience, SCOUT_GRACE_MS);
    } else if (session->state == FWI_ZK_DOWN && session->id) { /* it is the network, then */
        fwi_loop_timer_start(store->loop, &store->scouting, SCOUT_MS);
        fwi_loop_timer_start(store->loop, &store->patience, session->timeout_ms + AGAIN_MS);
    } else if (session->state == FWI_ZK_OVER) {
        end_scout(store);
        fwi_loop_timer_start(store->loop, &store->scouting, SCOUT_MS);
    }
}

static const fwi_zk_events scout_events = {.on_state = on_scout_state, .on_closed = on_main_closed};

static void on_scouting(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_zk_store *store = arg;
    if (fwi_zk_is_up(store->scout))
        return;
    end_scout(store);
    fwi_loop_timer_start(store->loop, &store->scouting, SCOUT_LIFE_MS);
    store->scout =
        fwi_zk_session_new(store->loop, &store->servers, SESSION_MS, &scout_events, store);
    if (store->scout)
        store->sessions++;
}

static void open_main(fwi_zk_store *store)
{
    store->main = fwi_zk_session_new(store->loop, &store->servers, SESSION_MS, &main_events, store);
    if (store->main)
        store->sessions++;
    else
        fwi_loop_timer_start(store->loop, &store->patience, AGAIN_MS);
}

/* ---- operations ---- */

void fwi_zk_submit(void *arg, fwi_kv_op *op)
{
    fwi_zk_store *store = arg;
    switch (op->type) {
    case FWI_KV_GET:
    case FWI_KV_EXISTS:
        fwi_zk_get_start(store, op);
        break;
    case FWI_KV_LIST:
    case FWI_KV_DELETE_TREE:
        fwi_zk_list_start(store, op);
        break;
    case FWI_KV_ENQUEUE:
        fwi_zk_enqueue_start(store, op);
        break;
    default:
        fwi_zk_change_start(store, op);
        break;
    }
}

/* ---- life ---- */

static void store_free(fwi_zk_store *store)
{
    for (size_t i = 0; i < store->host_count; i++)
        free(store->hosts[i].name);
    free(store->hosts);
    free(store->root);
    free(store->auth);
    fwi_map_fini(&store->watched);
    fwi_map_fini(&store->probes);
    free(store);
}

void fwi_zk_session_gone(fwi_zk_store *store)
{
    store->sessions--;
    if (!store->closing || store->sessions)
        return;
    fw_kv *kv = store->kv;
    store_free(store);
    fwi_kv_closed(kv);
}

static int copy_hosts(fwi_zk_store *store, const fw_url *url)
{
    store->hosts = calloc(url->host_count, sizeof *store->hosts);
    if (!store->hosts)
        return UV_ENOMEM;
    for (; store->host_count < url->host_count; store->host_count++) {
        fw_url_host *host = &store->hosts[store->host_count];
        host->port = url->hosts[store->host_count].port;
        host->name = strdup(url->hosts[store->host_count].name);
        if (!host->name)
            return UV_ENOMEM;
    }
    return FW_OK;
}

static int copy_auth(fwi_zk_store *store, const fwi_kv_access *access)
{
    if (!access->user)
        return access->password
                   ? fwi_kv_open_failed(store->kv, FW_EOPTION, "a password without a user")
                   : FW_OK;
    if (!access->password)
        return fwi_kv_open_failed(store->kv, FW_EOPTION, "a user without a password");
    if (strchr(access->user, ':'))
        return fwi_kv_open_failed(store->kv, FW_EOPTION,
                                  "a user of ZooKeeper has no colon in the name");
    size_t user_len = strlen(access->user), size = user_len + strlen(access->password) + 2;
    store->auth = malloc(size);
    if (!store->auth)
        return UV_ENOMEM;
    memcpy(store->auth, access->user, user_len);
    store->auth[user_len] = ':';
    memcpy(store->auth + user_len + 1, access->password, size - user_len - 1);
    return FW_OK;
}

static int read_packet_bytes(fwi_zk_store *store, const fw_url *url)
{
    const char *text = fw_url_get(url, "jute_maxbuffer");
    store->packet_bytes = PACKET_BYTES_DEFAULT;
    if (!text)
        return FW_OK;
    char *end;
    unsigned long bytes = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || bytes < PACKET_BYTES_LEAST ||
        bytes > PACKET_BYTES_MOST)
        return fwi_kv_open_failed(store->kv, FW_EOPTION,
                                  "jute_maxbuffer is a number of bytes from %u to %u",
                                  PACKET_BYTES_LEAST, PACKET_BYTES_MOST);
    store->packet_bytes = bytes;
    return FW_OK;
}

static int store_init(fwi_zk_store *store, const fw_url *url, const fwi_kv_access *access)
{
    if (!url->host_count)
        return fwi_kv_open_failed(store->kv, FW_EURL, "no server is named");
    for (size_t i = 0; i < url->host_count; i++)
        if (!*url->hosts[i].name)
            return fwi_kv_open_failed(store->kv, FW_EURL, "a server without a name");
    char *prefix;
    int err = fwi_kv_key_normalise(url->path, true, &prefix);
    if (err)
        return err == FW_EKEY ? FW_EURL : err;
    store->root = *prefix ? fwi_zk_path("", prefix) : strdup("");
    free(prefix);
    if (!store->root)
        return UV_ENOMEM;
    err = copy_hosts(store, url);
    if (!err)
        err = copy_auth(store, access);
    return err ? err : read_packet_bytes(store, url);
}

int fwi_zk_open(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store)
{
    fwi_zk_store *store = calloc(1, sizeof *store);
    if (!store)
        return UV_ENOMEM;
    store->kv = kv;
    store->loop = fw_kv_loop(kv);
    int err = store_init(store, url, access);
    if (err) {
        store_free(store);
        return err;
    }
    /* The library's log is the process's: it would print. */
    zoo_set_debug_level(0);
    store->servers =
        (fwi_zk_servers){.hosts = store->hosts, .count = store->host_count, .auth = store->auth};
    fwi_list_init(&store->jobs);
    fwi_list_init(&store->leases);
    fwi_list_init(&store->unopened);
    store->patience = (fwi_timer){.fn = on_patience, .arg = store};
    store->scouting = (fwi_timer){.fn = on_scouting, .arg = store};
    store->unreached = (fwi_timer){.fn = on_unreached, .arg = store};
    fwi_zk_watches_init(store);
    fwi_loop_timer_start(store->loop, &store->unreached, UNREACHED_MS);
    open_main(store);
    *ret_store = store;
    return FW_OK;
}

void fwi_zk_close(void *arg)
{
    fwi_zk_store *store = arg;
    store->closing = true;
    fwi_loop_timer_stop(store->loop, &store->patience);
    fwi_loop_timer_stop(store->loop, &store->unreached);
    fwi_zk_watches_fini(store);
    store->sessions++; /* so that it is not freed before the end of this call */
    fwi_list_for_each_safe (node, &store->jobs) {
        fwi_zk_job *job = fwi_container_of(node, fwi_zk_job, node);
        if (job->op)
            fwi_zk_job_finish(job, FW_ECANCELED, NULL);
    }
    end_scout(store);
    give_up_main(store);
    fwi_zk_session_gone(store);
}
