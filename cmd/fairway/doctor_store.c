/*
 * The store, both ways, and its leases.
 *
 *     reached? -> watch opened -> written -> read back -> watch saw it -> deleted -> watch saw it
 *
 * The key has a time to live, should we be killed between.
 */
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

#define KEY_TTL_MS 60000

static const char reach_remedy[] = "is the URL right, does the server run, is the port open?";
static const char rights_remedy[] = "may this user write below the store's prefix?";
static const char watch_remedy[] =
    "consumers do not see changes; is a proxy between here and the store?";

static double since_ms(uint64_t began_ns)
{
    return (double)(uv_hrtime() - began_ns) / 1e6;
}

static void begin_step(cli_doctor *doctor, uv_timer_cb on_timeout)
{
    doctor->store.began_ns = uv_hrtime();
    uv_timer_start(&doctor->timer, on_timeout, doctor->cli->timeout_ms, 0);
}

static void end_store_check(cli_doctor *doctor)
{
    if (doctor->store.watch)
        fw_kv_watch_close(doctor->store.watch, NULL, NULL);
    doctor->store.watch = NULL;
    doctor_done(doctor);
}

static void fail(cli_doctor *doctor, const char *check, int status, const char *detail,
                 const char *remedy)
{
    if (!doctor_failed(doctor, check, status, detail, remedy))
        end_store_check(doctor);
}

static void on_watch_timeout(uv_timer_t *timer)
{
    cli_doctor *doctor = timer->data;
    doctor_report(doctor, "watch", DOCTOR_FAIL, NULL, watch_remedy, "nothing was seen in %u ms",
                  doctor->cli->timeout_ms);
    end_store_check(doctor);
}

/* ---- the steps, the last one first ---- */

static void finish_if_seen(cli_doctor *doctor)
{
    struct doctor_store *store = &doctor->store;
    if (!store->has_deleted || !store->has_seen_delete)
        return;
    doctor_report(doctor, "watch", DOCTOR_OK, NULL, NULL,
                  "opened in %.1f ms, saw the write after %.1f ms, the deletion after %.1f ms",
                  store->opened_ms, store->put_seen_ms, store->delete_seen_ms);
    end_store_check(doctor);
}

static void on_deleted(const fw_kv_result *result, void *arg)
{
    cli_doctor *doctor = arg;
    if (doctor->ended)
        return;
    if (result->status) {
        fail(doctor, "delete", result->status, result->detail, rights_remedy);
        return;
    }
    doctor_report(doctor, "delete", DOCTOR_OK, NULL, NULL, "%.1f ms",
                  since_ms(doctor->store.began_ns));
    doctor->store.has_deleted = true;
    finish_if_seen(doctor);
}

static void delete_if_seen(cli_doctor *doctor)
{
    struct doctor_store *store = &doctor->store;
    if (!store->has_written || !store->has_seen_put)
        return;
    begin_step(doctor, on_watch_timeout);
    int err = fw_kv_delete(doctor->cli->kv, store->key, on_deleted, doctor);
    if (err)
        fail(doctor, "delete", err, NULL, rights_remedy);
}

static void on_read(const fw_kv_result *result, void *arg)
{
    cli_doctor *doctor = arg;
    struct doctor_store *store = &doctor->store;
    if (doctor->ended)
        return;
    if (result->status) {
        fail(doctor, "read", result->status, result->detail,
             "the store does not show what was written");
        return;
    }
    if (result->pairs->value.len != strlen(store->value) ||
        memcmp(result->pairs->value.data, store->value, strlen(store->value)) != 0)
        doctor_report(doctor, "read", DOCTOR_FAIL, NULL, "does somebody else write below doctor/?",
                      "the store shows something else than was written");
    else
        doctor_report(doctor, "read", DOCTOR_OK, NULL, NULL, "%.1f ms", since_ms(store->began_ns));
    store->has_written = true;
    begin_step(doctor, on_watch_timeout);
    delete_if_seen(doctor);
}

static void on_written(const fw_kv_result *result, void *arg)
{
    cli_doctor *doctor = arg;
    if (doctor->ended)
        return;
    if (result->status) {
        fail(doctor, "write", result->status, result->detail, rights_remedy);
        return;
    }
    doctor_report(doctor, "write", DOCTOR_OK, NULL, NULL, "%.1f ms",
                  since_ms(doctor->store.began_ns));
    begin_step(doctor, on_watch_timeout);
    int err = fw_kv_get(doctor->cli->kv, doctor->store.key, on_read, doctor);
    if (err)
        fail(doctor, "read", err, NULL, rights_remedy);
}

static void write_key(cli_doctor *doctor)
{
    struct doctor_store *store = &doctor->store;
    store->opened_ms = since_ms(store->began_ns);
    store->is_open = true;
    begin_step(doctor, on_watch_timeout);
    fw_kv_put_options options = {.ttl_ms = KEY_TTL_MS};
    int err = fw_kv_put(doctor->cli->kv, store->key, (fw_slice){store->value, strlen(store->value)},
                        &options, on_written, doctor);
    if (err)
        fail(doctor, "write", err, NULL, rights_remedy);
}

static void on_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    cli_doctor *doctor = arg;
    struct doctor_store *store = &doctor->store;
    for (size_t i = 0; i < count && !doctor->ended && store->watch == watch; i++) {
        const fw_kv_event *event = &events[i];
        if (event->type == FW_KV_FATAL || event->type == FW_KV_STALE) {
            fail(doctor, "watch", event->reason, event->detail, watch_remedy);
        } else if (event->type == FW_KV_END_OF_SNAPSHOT && !store->is_open) {
            write_key(doctor);
        } else if (event->type == FW_KV_PUT && !store->has_seen_put) {
            store->has_seen_put = true;
            store->put_seen_ms = since_ms(store->began_ns);
            delete_if_seen(doctor);
        } else if (event->type == FW_KV_DELETE && !store->has_seen_delete) {
            store->has_seen_delete = true;
            store->delete_seen_ms = since_ms(store->began_ns);
            finish_if_seen(doctor);
        }
    }
}

static void describe(cli_doctor *doctor, double ms)
{
    static const struct {
        unsigned capability;
        const char *words;
    } all[] = {{FW_KV_CAN_SHARE_MACHINES, "shared by machines"},
               {FW_KV_CAN_SHARE_PROCESSES, "shared by processes"},
               {FW_KV_CAN_PERSIST, "durable"},
               {FW_KV_CAN_TXN, "transactions"},
               {FW_KV_CAN_SEE_EVERY_CHANGE, "every change is seen"},
               {FW_KV_CAN_RESUME, "watches resume"}};
    unsigned can = fw_kv_capabilities(doctor->cli->kv);
    char text[256];
    size_t len = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (can & all[i].capability)
            len += (size_t)snprintf(text + len, sizeof text - len, ", %s", all[i].words);
    text[len] = 0;
    bool shared = can & (FW_KV_CAN_SHARE_MACHINES | FW_KV_CAN_SHARE_PROCESSES);
    doctor_report(doctor, "store", shared ? DOCTOR_OK : DOCTOR_WARN, NULL,
                  shared ? NULL : "no other process sees this store: take another with --store",
                  "%s answers in %.1f ms%s", doctor->cli->store, ms, text);
}

static void on_reached(const fw_kv_result *result, void *arg)
{
    cli_doctor *doctor = arg;
    if (doctor->ended)
        return;
    if (result->status) {
        fail(doctor, "store", result->status, result->detail,
             result->status == FW_EAUTH || result->status == FW_ETLS
                 ? "see FAIRWAY_STORE_USER, _PASSWORD, _CACERT, _CERT, _KEY"
                 : reach_remedy);
        return;
    }
    describe(doctor, since_ms(doctor->store.began_ns));
    begin_step(doctor, on_watch_timeout);
    int err = fw_kv_watch_key(doctor->cli->kv, doctor->store.key, on_events, doctor,
                              &doctor->store.watch);
    if (err)
        fail(doctor, "watch", err, NULL, watch_remedy);
}

void doctor_check_store(cli_doctor *doctor)
{
    struct doctor_store *store = &doctor->store;
    uint64_t random = 0;
    uv_random(NULL, NULL, &random, sizeof random, 0, NULL);
    snprintf(store->key, sizeof store->key, "doctor/%016llx", (unsigned long long)random);
    snprintf(store->value, sizeof store->value, "%lld", (long long)cli_unix_ms());
    store->began_ns = uv_hrtime();
    int err = fw_kv_exists(doctor->cli->kv, store->key, on_reached, doctor);
    if (err)
        fail(doctor, "store", err, NULL, reach_remedy);
}

/* ---- leases ---- */

static void on_lease_closed(void *arg)
{
    doctor_done(arg);
}

static void on_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    cli_doctor *doctor = arg;
    if (doctor->ended)
        return;
    uint32_t granted_ms = status ? 0 : fw_kv_lease_ttl_ms(lease);
    if (status) {
        if (doctor_failed(doctor, "lease", status, detail, "nothing can be registered"))
            return;
    } else if (granted_ms > doctor->ttl_ms + doctor->ttl_ms / 4 || granted_ms < doctor->ttl_ms) {
        doctor_report(doctor, "lease", DOCTOR_WARN, NULL,
                      "an instance that crashes stays listed so long; see the server's least and "
                      "largest time",
                      "asked for %.1f s, granted %.1f s", doctor->ttl_ms / 1e3, granted_ms / 1e3);
    } else {
        doctor_report(doctor, "lease", DOCTOR_OK, NULL, NULL,
                      "asked for %.1f s, granted %.1f s in %.1f ms", doctor->ttl_ms / 1e3,
                      granted_ms / 1e3, since_ms(doctor->store.began_ns));
    }
    fw_kv_lease_close(lease, on_lease_closed, doctor);
}

void doctor_check_lease(cli_doctor *doctor)
{
    fw_kv_lease_options options = {
        .ttl_ms = doctor->ttl_ms, .on_granted = on_granted, .arg = doctor};
    doctor->store.began_ns = uv_hrtime();
    int err = fw_kv_lease_new(doctor->cli->kv, &options, &doctor->lease);
    if (err && !doctor_failed(doctor, "lease", err, NULL, "nothing can be registered"))
        doctor_done(doctor);
}
