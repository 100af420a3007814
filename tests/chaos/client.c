/*
 * The parts of a client, each a small machine of its own on one store:
 *
 *     slots    SLOTS operations at a time, each followed by a pause and the next
 *     locker   pause -> asked -> held (guarded writes, one after the other) -> closing -> pause
 *     leaser   pause -> asked -> granted (puts, now and then) -> lost -> closing -> pause
 *     watcher  of the whole store, from the beginning to the end
 *
 * A timer looks at the sheet: in CHAOS_DRAIN no new operation and no lock is begun, in CHAOS_FINISH
 * everything is closed.
 */
#include "client.h"

#include <fairway/error.h>
#include <fairway/loop.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define SLOTS   2
#define LOOK_MS 10

struct client;

/* One operation in flight. */
struct flight {
    struct client *client;
    void (*next)(struct flight *flight, const fw_kv_result *result);
    uint64_t op;
    chaos_kind kind;
    bool busy, swaps; /* swaps: it has read what it will compare with */
    int64_t previous;
    char key[CHAOS_KEY_BYTES];
    char value[24];
};

struct client {
    const chaos_client_options *options;
    chaos_sheet *sheet;
    fw_loop *loop;
    fw_kv *kv;
    uint64_t random;
    uint32_t seq, batch;
    unsigned capabilities;
    bool closing;
    uv_timer_t look;

    struct flight slots[SLOTS];
    uv_timer_t pauses[SLOTS];

    fw_kv_watch *watch;

    fw_kv_lock *lock;
    bool lock_held, lock_lost, lock_closing, wrote_last;
    struct flight guarded;
    uv_timer_t lock_timer;
    uint64_t hold_until_ms;

    fw_kv_lease *lease;
    int64_t lease_id, written_under;
    bool lease_granted, lease_closing, lease_written;
    struct flight leased;
    uv_timer_t lease_timer;
};

/* ---- helpers ---- */

static uint64_t roll(struct client *client, uint64_t below)
{
    /* xorshift64*: the same seed gives the same choices. */
    client->random ^= client->random >> 12;
    client->random ^= client->random << 25;
    client->random ^= client->random >> 27;
    return (client->random * UINT64_C(2685821657736338717) >> 32) % below;
}

static bool is_running(const struct client *client)
{
    return atomic_load(&client->sheet->phase) == CHAOS_RUN;
}

static void record(struct client *client, const chaos_record *what)
{
    size_t count = atomic_load(&client->sheet->count);
    if (count == CHAOS_MAX_RECORDS) {
        atomic_store(&client->sheet->full, true);
        return;
    }
    client->sheet->records[count] = *what;
    client->sheet->records[count].time_ns = uv_hrtime();
    atomic_store(&client->sheet->count, count + 1);
}

static void record_hold(struct client *client, chaos_what what, int status, int64_t token)
{
    record(client, &(chaos_record){.what = (uint8_t)what, .status = status, .token = token});
}

static void fail(const char *what, int err)
{
    fprintf(stderr, "chaos client: %s: %s\n", what, fw_error_name(err));
    abort();
}

/* ---- operations on the record ---- */

static void on_done(const fw_kv_result *result, void *arg)
{
    struct flight *flight = arg;
    struct client *client = flight->client;
    if (!flight->busy)
        fail("an operation was answered twice", result->status);
    chaos_record answer = {.what = CHAOS_RETURN,
                           .op = flight->op,
                           .status = result->status,
                           .succeeded = result->succeeded,
                           .revision = result->revision};
    snprintf(answer.key, sizeof answer.key, "%s", result->detail); /* for who reads a dump */
    if (flight->kind == CHAOS_GET)
        answer.revision = result->count ? result->pairs[0].revision : 0;
    record(client, &answer);
    flight->busy = false;
    if (flight->kind != CHAOS_GET && !result->status)
        atomic_fetch_add(&client->sheet->acked, 1);
    flight->next(flight, result);
}

/* Before an operation is submitted. Its number is the value that it writes. */
static fw_slice begin(struct flight *flight, chaos_kind kind, const char *key, int64_t previous,
                      int64_t token)
{
    struct client *client = flight->client;
    flight->busy = true;
    flight->kind = kind;
    flight->op = chaos_op_id(client->options->index, ++client->seq);
    if (key != flight->key)
        snprintf(flight->key, sizeof flight->key, "%s", key);
    chaos_record invocation = {.what = CHAOS_INVOKE,
                               .kind = (uint8_t)kind,
                               .op = flight->op,
                               .previous = previous,
                               .token = token};
    memcpy(invocation.key, flight->key, sizeof invocation.key);
    record(client, &invocation);
    int len = snprintf(flight->value, sizeof flight->value, "%" PRIu64, flight->op);
    return (fw_slice){flight->value, (size_t)len};
}

/* After it was submitted. An error of the call is an answer, too. */
static void begun(struct flight *flight, int err)
{
    if (err)
        on_done(&(fw_kv_result){.status = err, .detail = ""}, flight);
}

/* ---- slots ---- */

static void on_pause(uv_timer_t *timer);

static void pause_slot(struct flight *flight, const fw_kv_result *result)
{
    struct client *client = flight->client;
    size_t index = (size_t)(flight - client->slots);
    uint64_t least = result->status && result->status != FW_ENOTFOUND ? 20 : 3;
    uv_timer_start(&client->pauses[index], on_pause, least + roll(client, 20), 0);
}

static void read_for_swap(struct flight *flight, const fw_kv_result *result)
{
    if (result->status && result->status != FW_ENOTFOUND) {
        pause_slot(flight, result);
        return;
    }
    struct client *client = flight->client;
    flight->previous = result->count ? result->pairs[0].revision : 0;
    flight->swaps = true;
    /* So that others come between. */
    uv_timer_start(&client->pauses[flight - client->slots], on_pause, roll(client, 8), 0);
}

static void submit_swap(struct flight *flight)
{
    int64_t previous = flight->previous;
    flight->swaps = false;
    flight->next = pause_slot;
    fw_slice value = begin(flight, CHAOS_CAS, flight->key, previous, 0);
    begun(flight, fw_kv_atomic_put(flight->client->kv, flight->key, value, previous, NULL, on_done,
                                   flight));
}

static void submit_pair(struct flight *flight)
{
    char keys[2][CHAOS_KEY_BYTES + 2];
    fw_slice value = begin(flight, CHAOS_PAIR, flight->key, 0, 0);
    fw_kv_txn_op ops[2];
    for (size_t i = 0; i < 2; i++) {
        snprintf(keys[i], sizeof keys[i], "%s/%c", flight->key, i ? 'b' : 'a');
        ops[i] = (fw_kv_txn_op){.type = FW_KV_TXN_PUT, .key = keys[i], .value = value};
    }
    fw_kv_txn txn = {.then = ops, .then_count = 2};
    begun(flight, fw_kv_do_txn(flight->client->kv, &txn, on_done, flight));
}

static void submit(struct flight *flight)
{
    struct client *client = flight->client;
    uint64_t choice = roll(client, 100);
    flight->next = pause_slot;
    if (choice < 20) {
        snprintf(flight->key, sizeof flight->key, "c/%d", (int)roll(client, 3));
        flight->next = read_for_swap;
        begin(flight, CHAOS_GET, flight->key, 0, 0);
        begun(flight, fw_kv_get(client->kv, flight->key, on_done, flight));
        return;
    }
    if (choice < 35 && client->capabilities & FW_KV_CAN_TXN) {
        snprintf(flight->key, sizeof flight->key, "p/%d", (int)roll(client, 2));
        submit_pair(flight);
        return;
    }
    snprintf(flight->key, sizeof flight->key, "k/%d", (int)roll(client, 6));
    if (choice < 45) {
        begin(flight, CHAOS_GET, flight->key, 0, 0);
        begun(flight, fw_kv_get(client->kv, flight->key, on_done, flight));
    } else if (choice < 58) {
        begin(flight, CHAOS_DELETE, flight->key, 0, 0);
        begun(flight, fw_kv_delete(client->kv, flight->key, on_done, flight));
    } else {
        fw_slice value = begin(flight, CHAOS_PUT, flight->key, 0, 0);
        begun(flight, fw_kv_put(client->kv, flight->key, value, NULL, on_done, flight));
    }
}

static void on_pause(uv_timer_t *timer)
{
    struct flight *flight = timer->data;
    if (!is_running(flight->client))
        return;
    if (flight->swaps)
        submit_swap(flight);
    else
        submit(flight);
}

/* ---- the watcher ---- */

static void on_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    struct client *client = arg;
    if (watch != client->watch)
        fail("an event before the call returned", FW_OK);
    int saw_end = 0;
    client->batch++;
    for (size_t i = 0; i < count; i++) {
        const fw_kv_event *event = &events[i];
        chaos_record seen = {.what = CHAOS_EVENT,
                             .event = (uint8_t)event->type,
                             .batch = client->batch,
                             .status = event->reason,
                             .revision = event->pair.revision};
        char value[24] = "";
        snprintf(seen.key, sizeof seen.key, "%s", event->pair.key);
        if (event->type == FW_KV_PUT && event->pair.value.len < sizeof value)
            memcpy(value, event->pair.value.data, event->pair.value.len);
        seen.op = strtoull(value, NULL, 10);
        record(client, &seen);
        if (event->type == FW_KV_PUT && !strcmp(seen.key, CHAOS_END_KEY))
            saw_end = (int)seen.op;
        if (event->type == FW_KV_END_OF_SNAPSHOT)
            atomic_store(&client->sheet->ready, true);
        if (event->type == FW_KV_RESYNC)
            atomic_fetch_add(&client->sheet->resyncs, 1);
    }
    /* When the whole batch is on the record. */
    if (saw_end)
        atomic_store(&client->sheet->saw_end, saw_end);
}

/* ---- the locker ---- */

static void on_lock_timer(uv_timer_t *timer);

static void on_lock_closed(void *arg)
{
    struct client *client = arg;
    client->lock = NULL;
    client->lock_closing = client->lock_held = client->lock_lost = false;
    if (is_running(client) && !client->closing)
        uv_timer_start(&client->lock_timer, on_lock_timer, 20 + roll(client, 100), 0);
}

static void close_lock(struct client *client)
{
    if (client->lock_closing)
        return;
    if (client->lock_held && !client->lock_lost)
        record_hold(client, CHAOS_LOCK_RELEASED, 0, fw_kv_lock_token(client->lock));
    atomic_store(&client->sheet->holding, false);
    client->lock_closing = true;
    fw_kv_lock_close(client->lock, on_lock_closed, client);
}

static void after_guarded(struct flight *flight, const fw_kv_result *result)
{
    (void)result;
    if (flight->client->lock && !flight->client->lock_closing)
        uv_timer_start(&flight->client->lock_timer, on_lock_timer, 10 + roll(flight->client, 40),
                       0);
}

static void submit_guarded(struct client *client)
{
    fw_slice value = begin(&client->guarded, CHAOS_GUARDED, "g", 0, fw_kv_lock_token(client->lock));
    fw_kv_compare compare = fw_kv_lock_compare(client->lock);
    fw_kv_txn_op op = {.type = FW_KV_TXN_PUT, .key = "g", .value = value};
    fw_kv_txn txn = {.compares = &compare, .compare_count = 1, .then = &op, .then_count = 1};
    begun(&client->guarded, fw_kv_do_txn(client->kv, &txn, on_done, &client->guarded));
}

static void on_acquired(fw_kv_lock *lock, int status, const char *detail, void *arg)
{
    (void)detail;
    struct client *client = arg;
    if (lock != client->lock || client->lock_held)
        fail("a lock was answered twice, or too early", status);
    if (client->lock_closing)
        return;
    if (status) {
        close_lock(client);
        return;
    }
    client->lock_held = true;
    client->wrote_last = false;
    record_hold(client, CHAOS_LOCK_ACQUIRED, 0, fw_kv_lock_token(lock));
    atomic_store(&client->sheet->holding, true);
    client->hold_until_ms = fw_loop_now_ms(client->loop) + 50 + roll(client, 250);
    uv_timer_start(&client->lock_timer, on_lock_timer, 1, 0);
}

static void on_lock_lost(fw_kv_lock *lock, int reason, const char *detail, void *arg)
{
    (void)detail;
    struct client *client = arg;
    if (!client->lock_held || client->lock_lost)
        fail("a lock was lost that was not held", reason);
    client->lock_lost = true;
    record_hold(client, CHAOS_LOCK_LOST, reason, fw_kv_lock_token(lock));
    close_lock(client);
}

static void ask_for_lock(struct client *client)
{
    fw_kv_lock_options options = {
        .ttl_ms = CHAOS_TTL_MS, .on_acquired = on_acquired, .on_lost = on_lock_lost, .arg = client};
    record_hold(client, CHAOS_LOCK_ASKED, 0, 0);
    int err = fw_kv_lock_new(client->kv, CHAOS_LOCK_KEY, &options, &client->lock);
    if (err)
        fail("fw_kv_lock_new", err);
}

static void on_lock_timer(uv_timer_t *timer)
{
    struct client *client = timer->data;
    if (client->closing || client->lock_closing)
        return;
    if (!client->lock) {
        if (is_running(client))
            ask_for_lock(client);
        return;
    }
    bool guards = client->capabilities & FW_KV_CAN_TXN;
    if (!client->lock_held || client->guarded.busy)
        return;
    uint64_t now_ms = fw_loop_now_ms(client->loop);
    bool is_over = now_ms >= client->hold_until_ms || !is_running(client);
    if (is_over && (client->wrote_last || !guards)) {
        close_lock(client);
    } else if (guards) {
        /* Also when the time is over: who has slept believes to hold the lock still, and it is the
         * store that has to refuse the write. */
        client->wrote_last = is_over;
        submit_guarded(client);
    } else {
        uv_timer_start(timer, on_lock_timer, client->hold_until_ms - now_ms, 0);
    }
}

/* ---- the leaser ---- */

static void on_lease_timer(uv_timer_t *timer);

static void on_lease_closed(void *arg)
{
    struct client *client = arg;
    client->lease = NULL;
    client->lease_id = 0;
    client->lease_granted = client->lease_closing = false;
    if (!client->closing)
        uv_timer_start(&client->lease_timer, on_lease_timer, 50 + roll(client, 100), 0);
}

static void close_lease(struct client *client)
{
    client->lease_written = false;
    client->lease_closing = true;
    fw_kv_lease_close(client->lease, on_lease_closed, client);
}

static void after_leased(struct flight *flight, const fw_kv_result *result)
{
    struct client *client = flight->client;
    if (client->closing || client->lease_closing)
        return;
    /* The lease may be another than the one it was asked for, or none: the timer sees to it. */
    client->lease_written = !result->status && client->lease_id == client->written_under;
    uv_timer_start(&client->lease_timer, on_lease_timer,
                   client->lease_written ? 200 + roll(client, 400) : 50, 0);
}

static void on_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    (void)detail;
    struct client *client = arg;
    if (lease != client->lease || client->lease_granted)
        fail("a lease was answered twice, or too early", status);
    if (status) {
        close_lease(client);
        return;
    }
    client->lease_granted = true;
    client->lease_id = fw_kv_lease_id(lease);
    record_hold(client, CHAOS_LEASE_GRANTED, 0, client->lease_id);
    uv_timer_start(&client->lease_timer, on_lease_timer, 0, 0);
}

static void on_lease_lost(fw_kv_lease *lease, int reason, const char *detail, void *arg)
{
    (void)lease;
    (void)detail;
    struct client *client = arg;
    record_hold(client, CHAOS_LEASE_LOST, reason, client->lease_id);
    close_lease(client);
}

static void on_lease_timer(uv_timer_t *timer)
{
    struct client *client = timer->data;
    if (client->closing || client->lease_closing || client->leased.busy)
        return;
    if (!client->lease) {
        fw_kv_lease_options options = {.ttl_ms = CHAOS_TTL_MS,
                                       .on_granted = on_granted,
                                       .on_lost = on_lease_lost,
                                       .arg = client};
        int err = fw_kv_lease_new(client->kv, &options, &client->lease);
        if (err)
            fail("fw_kv_lease_new", err);
        return;
    }
    if (!client->lease_granted || (client->lease_written && !is_running(client)))
        return;
    char key[CHAOS_KEY_BYTES];
    snprintf(key, sizeof key, "lease/%zu", client->options->index);
    fw_slice value = begin(&client->leased, CHAOS_LEASED, key, 0, client->lease_id);
    fw_kv_put_options options = {.lease = client->lease};
    client->written_under = client->lease_id;
    begun(&client->leased, fw_kv_put(client->kv, key, value, &options, on_done, &client->leased));
}

/* ---- life ---- */

static void on_kv_closed(void *arg)
{
    struct client *client = arg;
    uv_close((uv_handle_t *)&client->look, NULL);
    uv_close((uv_handle_t *)&client->lock_timer, NULL);
    uv_close((uv_handle_t *)&client->lease_timer, NULL);
    for (size_t i = 0; i < SLOTS; i++)
        uv_close((uv_handle_t *)&client->pauses[i], NULL);
    atomic_store(&client->sheet->finished, true);
}

/* 0: at rest. */
static unsigned busy_parts(const struct client *client)
{
    unsigned busy = 0;
    for (unsigned i = 0; i < SLOTS; i++)
        busy |= client->slots[i].busy ? 1u << i : 0;
    busy |= client->lock ? 0x10 : 0;
    busy |= client->lock_closing ? 0x20 : 0;
    busy |= client->guarded.busy ? 0x40 : 0;
    busy |= client->leased.busy ? 0x100 : 0;
    busy |= !client->lease ? 0x200 : 0;
    busy |= client->lease_closing ? 0x400 : 0;
    busy |= !client->lease_written ? 0x800 : 0;
    return busy;
}

static void on_look(uv_timer_t *timer)
{
    struct client *client = timer->data;
    int phase = atomic_load(&client->sheet->phase);
    if (phase == CHAOS_RUN || client->closing)
        return;
    if (client->lock && !client->guarded.busy && !client->lock_closing)
        close_lock(client);
    unsigned busy = busy_parts(client);
    atomic_store(&client->sheet->busy, busy);
    atomic_store(&client->sheet->drained, !busy);
    if (phase == CHAOS_FINISH) {
        client->closing = true;
        fw_kv_close(client->kv, on_kv_closed, client);
    }
}

static void timer_init(struct client *client, uv_timer_t *timer, void *data)
{
    uv_timer_init(fw_loop_uv(client->loop), timer);
    timer->data = data;
}

static void start(struct client *client)
{
    timer_init(client, &client->look, client);
    timer_init(client, &client->lock_timer, client);
    timer_init(client, &client->lease_timer, client);
    uv_timer_start(&client->look, on_look, LOOK_MS, LOOK_MS);
    uv_timer_start(&client->lock_timer, on_lock_timer, 1, 0);
    uv_timer_start(&client->lease_timer, on_lease_timer, 1, 0);
    client->guarded = (struct flight){.client = client, .next = after_guarded};
    client->leased = (struct flight){.client = client, .next = after_leased};
    for (size_t i = 0; i < SLOTS; i++) {
        client->slots[i] = (struct flight){.client = client, .next = pause_slot};
        timer_init(client, &client->pauses[i], &client->slots[i]);
        uv_timer_start(&client->pauses[i], on_pause, 1, 0);
    }
    int err = fw_kv_watch_tree(client->kv, "", on_events, client, &client->watch);
    if (err)
        fail("fw_kv_watch_tree", err);
}

int chaos_client_run(const chaos_client_options *options, chaos_sheet *sheet)
{
    struct client client = {.options = options, .sheet = sheet};
    char detail[300];
    client.random = options->seed * UINT64_C(0x9e3779b97f4a7c15) + options->index + 1;
    fw_kv_options kv_options = {.timeout_ms =
                                    options->timeout_ms ? options->timeout_ms : CHAOS_TIMEOUT_MS,
                                .user = options->user,
                                .password = options->password,
                                .detail = detail,
                                .detail_size = sizeof detail};
    int err = fw_loop_new(&client.loop);
    if (err)
        fail("fw_loop_new", err);
    err = fw_kv_open(client.loop, options->url, &kv_options, &client.kv);
    if (err) {
        fprintf(stderr, "%s: %s\n", options->url, detail);
        fail("fw_kv_open", err);
    }
    client.capabilities = fw_kv_capabilities(client.kv);
    start(&client);
    fw_loop_run(client.loop);
    err = fw_loop_close(client.loop);
    if (err)
        fprintf(stderr, "chaos client: something is left on its loop\n");
    return err ? 1 : 0;
}
