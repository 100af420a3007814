/*
 * A lease is a session of its own; its pairs are the session's ephemeral znodes, which the server
 * deletes in one transaction when the session is closed or has expired.
 *
 *     ASKED -> GRANTED -> OVER        any -> (revoked) -> gone
 *
 * Renewal: the library pings by itself, but does not say when a ping was answered. So a read is
 * sent at a third of the time; the lease is lost when none that was sent within the time was
 * answered.
 *
 * Only so many are connecting at a time, the others wait for their turn: while it finds no server,
 * the library tries again every sixtieth of the session's time, and hundreds of sessions that do so
 * would be in the way of the server's return.
 *
 * A put with a time to live gets a session for itself that is then dropped without being closed:
 * the server deletes the pair when it has expired, whatever becomes of this process.
 */
#include "store.h"

#include <fairway/error.h>
#include <stdlib.h>

#define DROP_GRACE_MS 2000
#define MAX_OPENING   64 /* leases that have no connection yet */
#define SHORT_LIFE    "longer than the server's sessions live (maxSessionTimeout)"
#define BAD_ID        "session ids of a server whose number is above 127 are no lease ids"

static void set_timer(fwi_zk_lease *lease, uint64_t delay_ms)
{
    fwi_loop_timer_start(lease->store->loop, &lease->timer, delay_ms);
}

static void open_next(fwi_zk_store *store);

/* It is connected, or will not be. */
static void opened(fwi_zk_lease *lease)
{
    fwi_list_remove(&lease->unopened);
    if (!lease->opening)
        return;
    lease->opening = false;
    lease->store->opening--;
    open_next(lease->store);
}

static void end_session(fwi_zk_lease *lease, bool drop, uint32_t grace_ms)
{
    fwi_loop_timer_stop(lease->store->loop, &lease->timer);
    opened(lease);
    if (lease->session && !lease->session->closed)
        fwi_zk_session_close(lease->session, drop, grace_ms);
}

/* It was not granted, or is lost. */
static void set_over(fwi_zk_lease *lease, int status, const char *detail)
{
    if (lease->over)
        return;
    lease->over = true;
    end_session(lease, false, fwi_kv_timeout_ms(lease->store->kv));
    fwi_zk_jobs_lease_over(lease->store, lease, status, detail);
    if (!lease->lease || lease->revoked)
        return;
    if (lease->granted)
        fwi_kv_lease_lost(lease->lease, status, detail);
    else
        fwi_kv_lease_granted(lease->lease, status, detail, 0, 0);
}

/* ---- renewal ---- */

/* By our own clock: before anything else after a pause. */
static bool has_expired(fwi_zk_lease *lease)
{
    if (!lease->granted || lease->over ||
        fwi_zk_clock_ms() - lease->confirmed_ms < lease->session->timeout_ms)
        return lease->over;
    set_over(lease, FW_ELEASE, "not renewed in time");
    return true;
}

static void on_renewed(fwi_zk_request *request, void *arg)
{
    fwi_zk_lease *lease = arg;
    lease->renewing = false;
    if (lease->over || lease->revoked || has_expired(lease) || request->rc)
        return;
    lease->confirmed_ms = lease->sent_ms;
    if (lease->granted)
        return;
    lease->granted = true;
    fwi_kv_lease_granted(lease->lease, FW_OK, NULL, lease->session->id, lease->session->timeout_ms);
    set_timer(lease, lease->session->timeout_ms / 3);
}

static void renew(fwi_zk_lease *lease)
{
    if (lease->renewing || !fwi_zk_is_up(lease->session))
        return;
    fwi_zk_request *request = fwi_zk_request_new(lease->session, on_renewed, lease);
    if (!request)
        return; /* again at the next turn of the timer */
    lease->renewing = true;
    lease->sent_ms = fwi_zk_clock_ms();
    fwi_zk_send_exists(request, "/", false);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_zk_lease *lease = arg;
    if (lease->revoked) { /* the store was not reached: the pairs go when the session expires */
        end_session(lease, false, 0);
    } else if (!lease->granted) {
        set_over(lease, FW_EUNREACHABLE, "no connection to ZooKeeper");
    } else if (!has_expired(lease)) {
        renew(lease);
        uint64_t left = lease->session->timeout_ms - (fwi_zk_clock_ms() - lease->confirmed_ms) + 1;
        uint64_t third = lease->session->timeout_ms / 3;
        set_timer(lease, left < third ? left : third);
    }
}

/* ---- the session ---- */

static void on_up(fwi_zk_lease *lease)
{
    fwi_zk_session *session = lease->session;
    opened(lease);
    if (lease->revoked)
        end_session(lease, false, fwi_kv_timeout_ms(lease->store->kv));
    else if (session->id < FWI_KV_LEAST_LEASE)
        set_over(lease, FW_ESTORE, BAD_ID);
    else if (!lease->lease && session->timeout_ms < lease->ttl_ms)
        set_over(lease, FW_EUNSUPPORTED, SHORT_LIFE);
    else if (!has_expired(lease)) {
        if (lease->lease)
            renew(lease);
        fwi_zk_jobs_resume(lease->store, lease);
    }
}

static void on_state(fwi_zk_session *session, void *arg)
{
    fwi_zk_lease *lease = arg;
    if (session->state == FWI_ZK_UP)
        on_up(lease);
    else if (session->state == FWI_ZK_OVER && lease->revoked)
        end_session(lease, false, 0);
    else if (session->state == FWI_ZK_OVER)
        set_over(lease, session->reason, session->detail);
}

static void gone(fwi_zk_lease *lease)
{
    fw_kv_lease *front = lease->lease;
    fwi_list_remove(&lease->node);
    fwi_loop_timer_stop(lease->store->loop, &lease->timer);
    opened(lease);
    free(lease);
    if (front)
        fwi_kv_lease_gone(front);
}

static void on_session_closed(fwi_zk_session *session, void *arg)
{
    (void)session;
    fwi_zk_lease *lease = arg;
    fwi_zk_store *store = lease->store;
    lease->session = NULL;
    if (lease->revoked)
        gone(lease);
    fwi_zk_session_gone(store);
}

static const fwi_zk_events events = {.on_state = on_state, .on_closed = on_session_closed};

/* ---- what the store asks for ---- */

static int open_session(fwi_zk_lease *lease)
{
    fwi_zk_store *store = lease->store;
    lease->session =
        fwi_zk_session_new(store->loop, &store->servers, lease->ttl_ms, &events, lease);
    if (!lease->session)
        return UV_ENOMEM;
    store->sessions++;
    return FW_OK;
}

static void open_next(fwi_zk_store *store)
{
    while (store->opening < MAX_OPENING && !fwi_list_empty(&store->unopened)) {
        fwi_zk_lease *lease = fwi_container_of(store->unopened.next, fwi_zk_lease, unopened);
        fwi_list_remove(&lease->unopened);
        if (open_session(lease)) {
            set_over(lease, UV_ENOMEM, NULL);
            continue;
        }
        lease->opening = true;
        store->opening++;
    }
}

static fwi_zk_lease *lease_new(fwi_zk_store *store, fw_kv_lease *front, uint32_t ttl_ms)
{
    fwi_zk_lease *lease = calloc(1, sizeof *lease);
    if (!lease)
        return NULL;
    lease->store = store;
    lease->lease = front;
    lease->ttl_ms = ttl_ms;
    lease->timer = (fwi_timer){.fn = on_timer, .arg = lease};
    fwi_list_init(&lease->unopened);
    fwi_list_push_back(&store->leases, &lease->node);
    return lease;
}

void fwi_zk_lease_grant(void *arg, fw_kv_lease *front)
{
    fwi_zk_store *store = arg;
    uint32_t ttl_ms = front->ttl_ms < INT32_MAX ? front->ttl_ms : INT32_MAX;
    fwi_zk_lease *lease = lease_new(store, front, ttl_ms);
    front->driver_data = lease;
    if (!lease) {
        fwi_kv_lease_granted(front, UV_ENOMEM, NULL, 0, 0);
        return;
    }
    set_timer(lease, fwi_kv_timeout_ms(store->kv));
    fwi_list_push_back(&store->unopened, &lease->unopened);
    open_next(store);
}

void fwi_zk_lease_revoke(void *arg, fw_kv_lease *front)
{
    fwi_zk_store *store = arg;
    fwi_zk_lease *lease = front->driver_data;
    if (!lease) {
        fwi_kv_lease_gone(front);
        return;
    }
    lease->revoked = true;
    fwi_zk_jobs_lease_over(store, lease, FW_ELEASE, NULL);
    uint32_t timeout_ms = fwi_kv_timeout_ms(store->kv);
    if (!lease->session)
        gone(lease);
    else if (lease->granted && !lease->over && lease->session->state == FWI_ZK_DOWN)
        set_timer(lease, timeout_ms); /* for the connection to come back */
    else
        end_session(lease, false, timeout_ms);
}

fwi_zk_lease *fwi_zk_lease_find(fwi_zk_store *store, int64_t id)
{
    fwi_list_for_each (node, &store->leases) {
        fwi_zk_lease *lease = fwi_container_of(node, fwi_zk_lease, node);
        if (lease->lease && lease->granted && !lease->over && !lease->revoked &&
            lease->session->id == id)
            return lease;
    }
    return NULL;
}

fwi_zk_lease *fwi_zk_lease_for_put(fwi_zk_store *store, uint32_t ttl_ms)
{
    fwi_zk_lease *lease = ttl_ms < INT32_MAX ? lease_new(store, NULL, ttl_ms) : NULL;
    if (lease && open_session(lease)) {
        gone(lease);
        return NULL;
    }
    store->ttl_puts += lease != NULL;
    return lease;
}

void fwi_zk_lease_put_done(fwi_zk_lease *lease, bool drop)
{
    lease->store->ttl_puts--;
    lease->revoked = true;
    if (lease->session)
        end_session(lease, drop, DROP_GRACE_MS);
    else
        gone(lease);
}
