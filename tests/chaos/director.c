/* Starts, stops and listens to clients, and hands what they recorded to the checker. */
#include "chaos.h"

#include <fairway/error.h>
#include <fairway/kvstore.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* An operation is answered within its timeout and 250 ms; the rest is for a busy machine. */
#define ANSWER_LATE_MS (250 + 10000)
#define SAY_MS         5000

uint64_t chaos_roll(chaos_stage *chaos, uint64_t below)
{
    chaos->random ^= chaos->random >> 12;
    chaos->random ^= chaos->random << 25;
    chaos->random ^= chaos->random >> 27;
    return (chaos->random * UINT64_C(2685821657736338717) >> 32) % below;
}

void chaos_run_for(chaos_stage *chaos, unsigned ms)
{
    (void)chaos;
    fwt_run_for(ms);
}

void chaos_run_some(chaos_stage *chaos, unsigned least_ms, unsigned most_ms)
{
    fwt_run_for(least_ms + (unsigned)chaos_roll(chaos, most_ms - least_ms + 1));
}

/* ---- a look at the records ---- */

static const char *name_of(const chaos_record *record)
{
    static const char *const events[] = {"PUT",   "DELETE", "END",  "RESYNC",
                                         "STALE", "LIVE",   "FATAL"};
    static const char *const kinds[] = {"?",      "get",  "put",     "cas",
                                        "delete", "pair", "guarded", "leased"};
    static const char *const whats[] = {"?",          "invoke",        "return",
                                        "event",      "lock asked",    "lock acquired",
                                        "lock lost",  "lock released", "lease granted",
                                        "lease lost", "lease released"};
    if (record->what == CHAOS_EVENT)
        return events[record->event];
    return record->what == CHAOS_INVOKE ? kinds[record->kind] : whats[record->what];
}

/* For a look at what happened: all records of each client. */
static void dump(const chaos_stage *chaos)
{
    const char *dir = getenv("CHAOS_DUMP");
    char path[400];
    if (!dir)
        return;
    snprintf(path, sizeof path, "%s/%s-%s.txt", dir, chaos->driver->name, chaos->scenario->name);
    FILE *out = fopen(path, "w");
    for (size_t i = 0; out && i < chaos->count; i++)
        for (size_t k = 0; k < atomic_load(&chaos->clients[i].sheet->count); k++) {
            const chaos_record *record = &chaos->clients[i].sheet->records[k];
            fprintf(out,
                    "%10.3f %2zu %-14s %-12s op %" PRIx64 " rev %" PRId64 " prev %" PRId64
                    " token %" PRIx64 " batch %u %s%s\n",
                    (double)(int64_t)(record->time_ns - chaos->start_ns) / 1e6, i, name_of(record),
                    record->key, record->op, record->revision, record->previous, record->token,
                    record->batch, record->status ? fw_error_name(record->status) : "",
                    record->succeeded ? " succeeded" : "");
        }
    if (out)
        fclose(out);
}

/* ---- waiting ---- */

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

bool chaos_await(chaos_stage *chaos, const atomic_bool *flag, unsigned ms)
{
    (void)chaos;
    uint64_t deadline = now_ms() + ms;
    while (!atomic_load(flag)) {
        if (now_ms() >= deadline)
            return false;
        fwt_run_for(5);
    }
    return true;
}

/* Waits for something of every client that lives; `what` is for the message. */
static void await_clients(chaos_stage *chaos,
                          bool (*is_so)(const chaos_client *client, int64_t wanted),
                          const int64_t *wanted, const char *what)
{
    uint64_t deadline = now_ms() + CHAOS_WAIT_MS, say = now_ms() + SAY_MS;
    for (size_t i = 0; i < chaos->count; i++) {
        chaos_client *client = &chaos->clients[i];
        while (!client->killed_ns && !is_so(client, wanted ? wanted[i] : 0)) {
            if (now_ms() >= say) { /* seen if the scenario fails, or hangs */
                printf("client %zu %s yet (busy: %x)\n", i, what,
                       atomic_load(&client->sheet->busy));
                fflush(stdout);
                say = now_ms() + SAY_MS;
            }
            if (now_ms() >= deadline) {
                dump(chaos);
                ck_abort_msg("client %zu %s within %d ms (busy: %x, see client.c)", i, what,
                             CHAOS_WAIT_MS, atomic_load(&client->sheet->busy));
            }
            if (client->proc)
                (void)fwt_proc_printed(client->proc, "");
            fwt_run_for(5);
        }
    }
}

static bool has_begun(const chaos_client *client, int64_t wanted)
{
    (void)wanted;
    return atomic_load(&client->sheet->ready) && atomic_load(&client->sheet->acked) > 2;
}

static bool has_written(const chaos_client *client, int64_t wanted)
{
    return atomic_load(&client->sheet->acked) >= wanted;
}

static bool has_drained(const chaos_client *client, int64_t wanted)
{
    (void)wanted;
    return atomic_load(&client->sheet->drained);
}

static bool has_seen_end(const chaos_client *client, int64_t wanted)
{
    return atomic_load(&client->sheet->saw_end) >= wanted;
}

static bool has_finished(const chaos_client *client, int64_t wanted)
{
    (void)wanted;
    return atomic_load(&client->sheet->finished);
}

static bool has_resynced(const chaos_client *client, int64_t wanted)
{
    (void)wanted;
    return !client->by_proxy || atomic_load(&client->sheet->resyncs) > 0;
}

void chaos_recover(chaos_stage *chaos)
{
    int64_t wanted[CHAOS_MAX_CLIENTS];
    for (size_t i = 0; i < chaos->count; i++)
        wanted[i] = (int64_t)atomic_load(&chaos->clients[i].sheet->acked) + 10;
    await_clients(chaos, has_written, wanted, "did not get writes done again");
}

void chaos_await_resyncs(chaos_stage *chaos)
{
    await_clients(chaos, has_resynced, NULL, "had no RESYNC");
}

/* ---- clients ---- */

static void *run_thread(void *arg)
{
    chaos_client *client = arg;
    client->result = chaos_client_run(&client->options, client->sheet);
    return NULL;
}

static void start_process(chaos_stage *chaos, chaos_client *client)
{
    char index[16], seed[24];
    snprintf(index, sizeof index, "%zu", client->options.index);
    snprintf(seed, sizeof seed, "%" PRIu64, chaos->seed);
    const char *argv[] = {chaos->self, "client", client->url, client->path, index, seed, NULL};
    client->proc = fwt_proc_start(argv);
}

chaos_client *chaos_add_client(chaos_stage *chaos, bool by_proxy)
{
    ck_assert_uint_lt(chaos->count, CHAOS_MAX_CLIENTS);
    size_t index = chaos->count++;
    chaos_client *client = &chaos->clients[index];
    client->by_proxy = by_proxy && chaos->proxy;
    int port = 0;
    if (chaos->driver->port)
        port = client->by_proxy ? fwt_proxy_port(chaos->proxy) : chaos->driver->port(chaos);
    chaos->driver->url(chaos, port, client->url, sizeof client->url);
    client->options = (chaos_client_options){.url = client->url,
                                             .index = index,
                                             .seed = chaos->seed,
                                             .timeout_ms = chaos->scenario->timeout_ms,
                                             .user = chaos->user,
                                             .password = chaos->password};
    snprintf(client->path, sizeof client->path, "%s/sheet", fwt_tmpdir());
    client->sheet = chaos_sheet_open(client->path);
    ck_assert_ptr_nonnull(client->sheet);
    if (chaos->scenario->processes)
        start_process(chaos, client);
    else
        ck_assert_int_eq(pthread_create(&client->thread, NULL, run_thread, client), 0);
    return client;
}

void chaos_kill_client(chaos_stage *chaos, chaos_client *client)
{
    (void)chaos;
    ck_assert(client->proc && !client->killed_ns);
    fwt_proc_end(client->proc);
    client->proc = NULL;
    client->killed_ns = uv_hrtime();
}

void chaos_pause_client(chaos_stage *chaos, chaos_client *client, unsigned ms)
{
    client->paused = true;
    fwt_proc_signal(client->proc, SIGSTOP);
    chaos_run_for(chaos, ms);
    fwt_proc_signal(client->proc, SIGCONT);
}

static void set_phase(chaos_stage *chaos, chaos_phase phase)
{
    for (size_t i = 0; i < chaos->count; i++)
        atomic_store(&chaos->clients[i].sheet->phase, phase);
}

static void join_clients(chaos_stage *chaos)
{
    set_phase(chaos, CHAOS_FINISH);
    await_clients(chaos, has_finished, NULL, "did not close its store");
    for (size_t i = 0; i < chaos->count; i++) {
        chaos_client *client = &chaos->clients[i];
        if (client->killed_ns)
            continue;
        if (client->proc) {
            client->result = fwt_proc_wait(client->proc, CHAOS_WAIT_MS);
            if (client->result) /* shows what it printed */
                fwt_proc_expect(client->proc, "(why it failed)", 0);
            fwt_proc_end(client->proc);
        } else {
            pthread_join(client->thread, NULL);
        }
        ck_assert_msg(client->result == 0, "client %zu ended with %d", i, client->result);
        ck_assert_msg(!atomic_load(&client->sheet->full), "client %zu: too many records", i);
    }
}

/* ---- the director's own operations ---- */

struct answer {
    bool done;
    int status;
    int64_t revision;
    chaos_pair *pairs;
    size_t count;
};

static void on_done(const fw_kv_result *result, void *arg)
{
    struct answer *answer = arg;
    answer->done = true;
    answer->status = result->status;
    answer->revision = result->revision;
    if (!result->pairs)
        return;
    answer->pairs = calloc(result->count + 1, sizeof *answer->pairs);
    for (size_t i = 0; i < result->count; i++) {
        const fw_kv_pair *from = &result->pairs[i];
        chaos_pair *pair = &answer->pairs[answer->count];
        char value[24] = "";
        snprintf(pair->key, sizeof pair->key, "%s", from->key);
        if (!strcmp(pair->key, CHAOS_LOCK_KEY))
            continue;
        if (from->value.len < sizeof value)
            memcpy(value, from->value.data, from->value.len);
        pair->op = strtoull(value, NULL, 10);
        pair->revision = from->revision;
        answer->count++;
    }
}

int64_t chaos_put_end(chaos_stage *chaos, int word)
{
    char value[24];
    uint64_t deadline = now_ms() + CHAOS_WAIT_MS;
    snprintf(value, sizeof value, "%d", word);
    for (;;) {
        struct answer answer = {.done = false};
        fw_slice slice = {value, strlen(value)};
        FWT_OK(fw_kv_put(chaos->kv, CHAOS_END_KEY, slice, NULL, on_done, &answer));
        fwt_run_until(&answer.done, CHAOS_WAIT_MS);
        if (!answer.status)
            return answer.revision;
        if (now_ms() >= deadline)
            ck_abort_msg("the director cannot write: %s", fw_error_name(answer.status));
        fwt_run_for(50);
    }
}

void chaos_put_ends(chaos_stage *chaos, int count)
{
    for (int i = 0; i < count; i++)
        chaos_put_end(chaos, 0);
}

/* The pairs are to be freed. */
static struct answer list(chaos_stage *chaos)
{
    uint64_t deadline = now_ms() + CHAOS_WAIT_MS;
    for (;;) {
        struct answer answer = {.done = false};
        FWT_OK(fw_kv_list(chaos->kv, "", on_done, &answer));
        fwt_run_until(&answer.done, CHAOS_WAIT_MS);
        if (!answer.status)
            return answer;
        if (now_ms() >= deadline)
            ck_abort_msg("the director cannot read: %s", fw_error_name(answer.status));
        fwt_run_for(50);
    }
}

/* True if who lives has its pair under its lease, and who was killed has none. A store may take a
 * lease before its time (etcd, when its old leader awakes): the owner learns of it with its next
 * renewal, and gets another. */
static bool are_leases_settled(const chaos_stage *chaos, const struct answer *answer)
{
    for (size_t k = 0; k < chaos->count; k++) {
        char key[CHAOS_KEY_BYTES];
        bool there = false;
        snprintf(key, sizeof key, "lease/%zu", k);
        for (size_t i = 0; i < answer->count; i++)
            there |= !strcmp(answer->pairs[i].key, key);
        if (there == (chaos->clients[k].killed_ns != 0))
            return false;
    }
    return true;
}

/* True if between two lists nothing happened but the director's last word. */
static bool are_equal(const struct answer *a, const struct answer *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->pairs[i].key, b->pairs[i].key) ||
            (strcmp(a->pairs[i].key, CHAOS_END_KEY) &&
             a->pairs[i].revision != b->pairs[i].revision))
            return false;
    return true;
}

/* What the store has when nothing happens in it any more, and all watches have seen all of it. */
static struct answer come_to_rest(chaos_stage *chaos, uint64_t *ret_ns)
{
    uint64_t deadline = now_ms() + CHAOS_WAIT_MS;
    set_phase(chaos, CHAOS_DRAIN);
    await_clients(chaos, has_drained, NULL, "did not come to rest");
    chaos_put_end(chaos, ++chaos->ends);
    struct answer first = list(chaos);
    for (;;) {
        int64_t wanted[CHAOS_MAX_CLIENTS];
        await_clients(chaos, has_drained, NULL, "did not come to rest");
        chaos_put_end(chaos, ++chaos->ends);
        for (size_t i = 0; i < chaos->count; i++)
            wanted[i] = chaos->ends;
        await_clients(chaos, has_seen_end, wanted, "did not see the last write");
        *ret_ns = uv_hrtime();
        struct answer second = list(chaos);
        bool at_rest = are_equal(&first, &second) && are_leases_settled(chaos, &second);
        free(first.pairs);
        if (at_rest)
            return second;
        first = second;
        if (now_ms() >= deadline) {
            dump(chaos);
            ck_abort_msg("the store did not come to rest");
        }
        fwt_run_for(100);
    }
}

/* ---- the report ---- */

static void print_sums(const chaos_stage *chaos)
{
    size_t writes = 0, unknown = 0, refused = 0, events = 0, resyncs = 0, stales = 0, locks = 0,
           losses = 0;
    for (size_t i = 0; i < chaos->count; i++)
        for (size_t k = 0; k < atomic_load(&chaos->clients[i].sheet->count); k++) {
            const chaos_record *record = &chaos->clients[i].sheet->records[k];
            bool event = record->what == CHAOS_EVENT, answer = record->what == CHAOS_RETURN;
            writes += record->what == CHAOS_INVOKE && record->kind != CHAOS_GET;
            unknown += answer && record->status == FW_EUNKNOWN;
            refused += answer && record->status == FW_EUNREACHABLE;
            events += event;
            resyncs += event && record->event == FW_KV_RESYNC;
            stales += event && record->event == FW_KV_STALE;
            locks += record->what == CHAOS_LOCK_ACQUIRED;
            losses += record->what == CHAOS_LOCK_LOST || record->what == CHAOS_LEASE_LOST;
        }
    printf("%zu writes (%zu unknown, %zu unreachable), %zu events, %zu stale, %zu resyncs, %zu "
           "locks, %zu losses\n",
           writes, unknown, refused, events, stales, resyncs, locks, losses);
}

static void check_all(chaos_stage *chaos, const struct answer *rest, uint64_t rest_ns,
                      bool sees_all)
{
    chaos_client_history histories[CHAOS_MAX_CLIENTS];
    uint32_t timeout_ms =
        chaos->scenario->timeout_ms ? chaos->scenario->timeout_ms : CHAOS_TIMEOUT_MS;
    for (size_t i = 0; i < chaos->count; i++)
        histories[i] = (chaos_client_history){.records = chaos->clients[i].sheet->records,
                                              .count = chaos->clients[i].sheet->count,
                                              .killed_ns = chaos->clients[i].killed_ns,
                                              .paused = chaos->clients[i].paused};
    chaos_histories all = {.clients = histories,
                           .client_count = chaos->count,
                           .final = rest->pairs,
                           .final_count = rest->count,
                           .final_ns = rest_ns,
                           .sees_every_change = sees_all,
                           .wiped_from_ns = chaos->wiped_from_ns,
                           .wiped_ns = chaos->wiped_ns,
                           .answer_ms = timeout_ms + ANSWER_LATE_MS};
    print_sums(chaos);
    dump(chaos);
    size_t breaches = chaos_check(&all, stdout);
    ck_assert_msg(!breaches, "%zu breaches of the rules", breaches);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

void chaos_open_kv(chaos_stage *chaos)
{
    char url[300];
    fw_kv_options options = {
        .timeout_ms = CHAOS_TIMEOUT_MS, .user = chaos->user, .password = chaos->password};
    chaos->driver->url(chaos, chaos->driver->port ? chaos->driver->port(chaos) : 0, url,
                       sizeof url);
    fwt_run_for(1); /* the loop's clock stood still while the server was started */
    FWT_OK(fw_kv_open(fwt_loop, url, &options, &chaos->kv));
}

void chaos_close_kv(chaos_stage *chaos)
{
    bool closed = false;
    fw_kv_close(chaos->kv, set_flag, &closed);
    fwt_run_until(&closed, CHAOS_WAIT_MS);
}

void chaos_direct(chaos_stage *chaos)
{
    const chaos_driver *driver = chaos->driver;
    uint64_t rest_ns;
    chaos->start_ns = uv_hrtime();
    (chaos->scenario->start ? chaos->scenario->start : driver->start)(chaos);
    if (driver->port)
        chaos->proxy = fwt_proxy_start(driver->port(chaos));
    chaos_open_kv(chaos);
    size_t clients = chaos->scenario->clients ? chaos->scenario->clients : 3;
    for (size_t i = 0; i < clients; i++)
        chaos_add_client(chaos, i + 1 < clients);
    await_clients(chaos, has_begun, NULL, "did not begin");
    chaos->scenario->run(chaos);
    struct answer rest = come_to_rest(chaos, &rest_ns);
    join_clients(chaos);
    bool sees_all = fw_kv_capabilities(chaos->kv) & FW_KV_CAN_SEE_EVERY_CHANGE;
    chaos_close_kv(chaos);
    check_all(chaos, &rest, rest_ns, sees_all);
    for (size_t i = 0; i < chaos->count; i++)
        chaos_sheet_close(chaos->clients[i].sheet);
    free(rest.pairs);
    fwt_proxy_end(chaos->proxy);
    driver->stop(chaos);
}
