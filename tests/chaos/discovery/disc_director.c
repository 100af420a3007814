/* Starts and ends the processes of a scenario, listens to them, and hands on what they wrote. */
#include "disc.h"

#include <fairway/error.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <uv.h>

#define INSTANCES    4
#define TTL_MS       2000
#define CROWD_TTL_MS 3000 /* a thousand leases are to be renewed in it by one process */
#define SAY_MS       5000
/* So long it must be well before it counts as settled: a key under an old lease would be gone. */
#define STAY_MS(stage) ((stage)->ttl_ms + 500)

/* A loaded machine, and sanitizers, take their time. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SLOW true
#else
#define IS_SLOW (getenv("FWT_SLOW") != NULL)
#endif
#define SLOWNESS 3

static uint64_t now_ms(void)
{
    return uv_hrtime() / 1000000;
}

/* ---- what they wrote ---- */

static void read_registrars(disc_stage *stage)
{
    for (size_t i = 0; i < stage->all.registrar_count; i++) {
        disc_sheet *sheet = stage->registrar_sheets[i];
        size_t count = atomic_load(&sheet->count);
        for (; stage->registrars_read[i] < count; stage->registrars_read[i]++) {
            const disc_record *record = &sheet->records[stage->registrars_read[i]];
            stage->registered[record->instance] = record->type == FW_REGISTRAR_REGISTERED;
        }
    }
}

static void read_sheets(disc_stage *stage)
{
    read_registrars(stage);
    for (size_t i = 0; i < stage->all.watcher_count; i++) {
        disc_view *view = &stage->views[i];
        size_t count = atomic_load(&stage->watcher_sheets[i]->count);
        while (view->next < count)
            (void)disc_view_take(view, &stage->watcher_sheets[i]->records[view->next++]);
    }
}

/* True if all that live are listed and registered; else says in words what is missing. */
static bool is_whole(disc_stage *stage, char *ret_words, size_t size)
{
    uint32_t missing;
    read_sheets(stage);
    for (size_t i = 0; i < stage->all.watcher_count; i++) {
        const disc_view *view = &stage->views[i];
        if (disc_view_is_whole(view, uv_hrtime(), &missing))
            continue;
        if (missing == DISC_NO_INSTANCE)
            snprintf(ret_words, size, "watcher %zu: %s, %u held", i,
                     view->stale ? "without contact" : "in contact", view->held);
        else
            snprintf(ret_words, size, "watcher %zu: i%u is not listed (%u are)", i, missing,
                     view->count);
        return false;
    }
    for (size_t i = 0; i < stage->all.instance_count; i++)
        if (!stage->registered[i] && !stage->instances[i].killed_ns) {
            snprintf(ret_words, size, "i%zu is not registered", i);
            return false;
        }
    return true;
}

static bool is_empty(disc_stage *stage, char *ret_words, size_t size)
{
    read_sheets(stage);
    for (size_t i = 0; i < stage->all.watcher_count; i++)
        if (stage->views[i].count) {
            snprintf(ret_words, size, "watcher %zu: still has %u", i, stage->views[i].count);
            return false;
        }
    return true;
}

static void dump_log(FILE *out, const char *kind, size_t number, const disc_sheet *sheet,
                     uint64_t start_ns)
{
    size_t count = atomic_load(&sheet->count);
    for (size_t k = 0; k < count; k++) {
        const disc_record *record = &sheet->records[k];
        fprintf(out, "%10.3f %s %zu what %u type %u i%d count %u held %u\n",
                (double)(int64_t)(record->time_ns - start_ns) / 1e6, kind, number, record->what,
                record->type, (int)record->instance, record->count, record->held);
    }
}

/* For a look at what happened: all records. */
static void dump(const disc_stage *stage)
{
    const char *dir = getenv("CHAOS_DUMP");
    char path[400];
    if (!dir)
        return;
    snprintf(path, sizeof path, "%s/disc-%s-%s.txt", dir, disc_this_driver.name,
             stage->scenario->name);
    FILE *out = fopen(path, "w");
    if (!out)
        return;
    for (size_t i = 0; i < stage->all.fault_count; i++)
        fprintf(out, "%10.3f to %10.3f fault %s\n",
                (double)(int64_t)(stage->faults[i].from_ns - stage->chaos.start_ns) / 1e6,
                (double)(int64_t)(stage->faults[i].until_ns - stage->chaos.start_ns) / 1e6,
                stage->faults[i].name);
    for (size_t i = 0; i < stage->all.registrar_count; i++)
        dump_log(out, "registrar", i, stage->registrar_sheets[i], stage->chaos.start_ns);
    for (size_t i = 0; i < stage->all.watcher_count; i++)
        dump_log(out, "watcher", i, stage->watcher_sheets[i], stage->chaos.start_ns);
    fclose(out);
}

/* ---- waiting ---- */

/* Their output is read, so that none waits for us; fails if one has ended. */
static void look_after(disc_stage *stage)
{
    for (size_t i = 0; i < stage->child_count; i++) {
        siginfo_t info = {.si_pid = 0};
        fwt_proc *proc = stage->children[i].proc;
        if (!proc)
            continue;
        (void)fwt_proc_printed(proc, "");
        if (!waitid(P_PID, (id_t)fwt_proc_pid(proc), &info, WEXITED | WNOHANG | WNOWAIT) &&
            info.si_pid) {
            dump(stage);
            fwt_proc_expect(proc, "(no_exit: why did it end?)", 0);
        }
    }
}

void disc_run_for(disc_stage *stage, unsigned ms)
{
    uint64_t end_ms = now_ms() + ms;
    for (uint64_t now; (now = now_ms()) < end_ms;) {
        fwt_run_for(end_ms - now < 20 ? (unsigned)(end_ms - now) : 20);
        look_after(stage);
    }
}

static void await(disc_stage *stage, bool (*is_so)(disc_stage *stage, char *ret_words, size_t size),
                  const char *after)
{
    char words[100];
    uint64_t deadline = now_ms() + CHAOS_WAIT_MS, say = now_ms() + SAY_MS;
    while (!is_so(stage, words, sizeof words)) {
        if (now_ms() >= say) { /* seen if the scenario fails, or hangs */
            printf("after %s: %s\n", after, words);
            fflush(stdout);
            say = now_ms() + SAY_MS;
        }
        if (now_ms() >= deadline) {
            dump(stage);
            ck_abort_msg("%d ms after %s: %s", CHAOS_WAIT_MS, after, words);
        }
        disc_run_for(stage, 10);
    }
}

/* ---- faults ---- */

static void update_logs(disc_stage *stage)
{
    for (size_t i = 0; i < stage->all.registrar_count; i++)
        stage->registrars[i] = (disc_log){stage->registrar_sheets[i]->records,
                                          atomic_load(&stage->registrar_sheets[i]->count)};
    for (size_t i = 0; i < stage->all.watcher_count; i++)
        stage->watchers[i] = (disc_log){stage->watcher_sheets[i]->records,
                                        atomic_load(&stage->watcher_sheets[i]->count)};
    stage->all.end_ns = uv_hrtime();
}

/* Waits until all is well, and has been so for a time. */
static void await_settled(disc_stage *stage, const char *after)
{
    char words[100];
    uint64_t deadline = now_ms() + CHAOS_WAIT_MS;
    for (;;) {
        await(stage, is_whole, after);
        uint64_t end_ms = now_ms() + STAY_MS(stage);
        while (now_ms() < end_ms && is_whole(stage, words, sizeof words))
            disc_run_for(stage, 10);
        if (now_ms() >= end_ms && is_whole(stage, words, sizeof words))
            return;
        if (now_ms() >= deadline) {
            dump(stage);
            ck_abort_msg("%d ms after %s it comes and goes: %s", CHAOS_WAIT_MS, after, words);
        }
    }
}

void disc_fault_begins(disc_stage *stage, const char *name)
{
    ck_assert_uint_lt(stage->all.fault_count, DISC_MAX_FAULTS);
    stage->faults[stage->all.fault_count] = (disc_fault){.name = name, .from_ns = uv_hrtime()};
    /* It counts when it has ended. */
}

void disc_fault_ended(disc_stage *stage)
{
    disc_fault *fault = &stage->faults[stage->all.fault_count++];
    fault->until_ns = uv_hrtime();
    await_settled(stage, fault->name);
    update_logs(stage);
    uint64_t recovery_ns = disc_recovery_ns(&stage->all, stage->all.fault_count - 1);
    fault->settled_ns = fault->until_ns + recovery_ns + 1;
    printf("measured: %s, %zu instances: listed again after %.0f ms (bound %u ms)\n", fault->name,
           stage->all.instance_count, (double)recovery_ns / 1e6, stage->all.relist_ms);
    fflush(stdout);
}

void disc_signal(disc_stage *stage, size_t child, int sig)
{
    fwt_proc_signal(stage->children[child].proc, sig);
}

void disc_kill_all(disc_stage *stage)
{
    uint64_t killed_ns = uv_hrtime();
    for (size_t i = 0; i < stage->all.instance_count; i++)
        stage->instances[i].killed_ns = killed_ns;
    for (size_t i = 0; i < stage->child_count; i++)
        if (!stage->children[i].watches) {
            stage->processes[i].killed = true;
            fwt_proc_end(stage->children[i].proc);
            stage->children[i].proc = NULL;
        }
    await(stage, is_empty, "the death of all");
    disc_run_for(stage, STAY_MS(stage));
    update_logs(stage);
    printf("measured: death of all, %zu instances: unlisted after %.0f ms (bound %u ms)\n",
           stage->all.instance_count, (double)disc_unlisting_ns(&stage->all) / 1e6,
           stage->all.unlist_ms);
}

void disc_command(const char *const *argv, const char *input)
{
    char *out = NULL, *err = NULL;
    int rc = fwt_run(argv, input, &out, &err, CHAOS_WAIT_MS);
    ck_assert_msg(rc == 0, "%s: %s%s", argv[0], out, err);
    free(out);
    free(err);
}

/* ---- the director's own look into the store ---- */

struct listing {
    bool done;
    int status;
    size_t count; /* of instances */
    uint32_t *numbers;
    int64_t *leases;
};

static void on_listed(const fw_kv_result *result, void *arg)
{
    static const char directory[] = "services/" DISC_SERVICE "/i";
    struct listing *listing = arg;
    listing->done = true;
    listing->status = result->status;
    listing->count = 0;
    for (size_t i = 0; i < result->count; i++) {
        const char *key = result->pairs[i].key;
        if (strncmp(key, directory, sizeof directory - 1))
            continue;
        listing->numbers[listing->count] = (uint32_t)strtoul(key + sizeof directory - 1, NULL, 10);
        listing->leases[listing->count++] = result->pairs[i].lease;
    }
}

static void list(disc_stage *stage, struct listing *listing)
{
    uint64_t deadline = now_ms() + CHAOS_WAIT_MS;
    size_t most = stage->all.instance_count + 1;
    *listing = (struct listing){.numbers = calloc(most, sizeof *listing->numbers),
                                .leases = calloc(most, sizeof *listing->leases)};
    do {
        listing->done = false;
        FWT_OK(fw_kv_list(stage->chaos.kv, "services", on_listed, listing));
        fwt_run_until(&listing->done, CHAOS_WAIT_MS);
        if (listing->status && now_ms() >= deadline)
            ck_abort_msg("the director cannot read: %s", fw_error_name(listing->status));
    } while (listing->status);
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

void disc_leases(disc_stage *stage, int64_t *ret_leases)
{
    struct listing listing;
    list(stage, &listing);
    ck_assert_uint_eq(listing.count, stage->all.instance_count);
    for (size_t i = 0; i < listing.count; i++)
        ret_leases[listing.numbers[i]] = listing.leases[i];
    free(listing.numbers);
    free(listing.leases);
}

static void on_deleted(const fw_kv_result *result, void *arg)
{
    struct listing *answer = arg;
    answer->done = true;
    answer->status = result->status;
}

void disc_delete_by_front(disc_stage *stage, uint32_t instance)
{
    char key[64];
    struct listing answer = {.done = false};
    snprintf(key, sizeof key, "services/" DISC_SERVICE "/i%u", instance);
    FWT_OK(fw_kv_delete(stage->chaos.kv, key, on_deleted, &answer));
    fwt_run_until(&answer.done, CHAOS_WAIT_MS);
    FWT_OK(answer.status);
}

void disc_wipe_by_front(disc_stage *stage)
{
    struct listing answer = {.done = false};
    FWT_OK(fw_kv_delete_tree(stage->chaos.kv, "", on_deleted, &answer));
    fwt_run_until(&answer.done, CHAOS_WAIT_MS);
    FWT_OK(answer.status);
}

/* ---- processes ---- */

static disc_sheet *new_sheet(char *ret_path, size_t size)
{
    snprintf(ret_path, size, "%s/sheet", fwt_tmpdir());
    disc_sheet *sheet = disc_sheet_open(ret_path);
    ck_assert_ptr_nonnull(sheet);
    return sheet;
}

/* The URL of the store for a process: before it the proxy, if there is one, or not. */
static void write_url(disc_stage *stage, bool by_proxy, char *ret_url, size_t size)
{
    static const char loopback[] = "127.0.0.1";
    const chaos_driver *driver = stage->chaos.driver;
    int port = driver->port ? driver->port(&stage->chaos) : 0;
    char url[300];
    if (stage->chaos.proxy && (by_proxy || stage->net.outer))
        port = fwt_proxy_port(stage->chaos.proxy);
    driver->url(&stage->chaos, port, url, sizeof url);
    char *host = stage->net.outer ? strstr(url, loopback) : NULL;
    if (host)
        snprintf(ret_url, size, "%.*s" DISC_NET_OUTER "%s", (int)(host - url), url,
                 host + sizeof loopback - 1);
    else
        snprintf(ret_url, size, "%s", url);
}

static disc_child *add_child(disc_stage *stage, const char *name, const char *const *argv)
{
    size_t number = stage->child_count++;
    disc_child *child = &stage->children[number];
    snprintf(stage->processes[number].name, sizeof stage->processes[number].name, "%s %zu", name,
             number);
    if (stage->net.outer)
        disc_net_enter(&stage->net, true);
    child->proc = fwt_proc_start(argv);
    if (stage->net.outer)
        disc_net_enter(&stage->net, false);
    return child;
}

static void add_watchers(disc_stage *stage, bool by_proxy)
{
    char url[300], paths[2][300];
    disc_sheet *sheets[2];
    write_url(stage, by_proxy, url, sizeof url);
    for (size_t i = 0; i < 2; i++)
        sheets[i] = new_sheet(paths[i], sizeof paths[i]);
    const char *argv[] = {stage->chaos.self, "watchers", url, paths[0], paths[1], NULL};
    disc_child *child = add_child(stage, "watchers", argv);
    child->watches = true;
    child->sheet_count = 2;
    for (size_t i = 0; i < 2; i++)
        stage->watcher_sheets[stage->all.watcher_count++] = child->sheets[i] = sheets[i];
}

static void add_instances(disc_stage *stage, uint32_t first, uint32_t count)
{
    char url[300], path[300], ttl[16], from[16], many[16];
    write_url(stage, true, url, sizeof url);
    snprintf(ttl, sizeof ttl, "%u", stage->ttl_ms);
    snprintf(from, sizeof from, "%u", first);
    snprintf(many, sizeof many, "%u", count);
    disc_sheet *sheet = new_sheet(path, sizeof path);
    for (uint32_t i = 0; i < count; i++)
        stage->instances[first + i].log = stage->all.registrar_count;
    const char *argv[] = {stage->chaos.self, "registrars", url, path, ttl, from, many, NULL};
    disc_child *child = add_child(stage, "registrars", argv);
    child->sheet_count = 1;
    stage->registrar_sheets[stage->all.registrar_count++] = child->sheets[0] = sheet;
}

static void start_children(disc_stage *stage)
{
    uint32_t crowd = stage->scenario->crowd, count = crowd ? crowd : INSTANCES;
    unsigned slowness = IS_SLOW ? SLOWNESS : 1;
    stage->ttl_ms = crowd ? CROWD_TTL_MS : TTL_MS;
    stage->instances = calloc(count, sizeof *stage->instances);
    stage->registered = calloc(count, sizeof *stage->registered);
    stage->all = (disc_histories){.registrars = stage->registrars,
                                  .watchers = stage->watchers,
                                  .instances = stage->instances,
                                  .instance_count = count,
                                  .faults = stage->faults,
                                  .processes = stage->processes,
                                  .relist_ms = (stage->ttl_ms / 2 + 2000) * slowness,
                                  .unlist_ms = (stage->ttl_ms + 3000) * slowness};
    /* Who watches a thousand is one process, which goes on while they are cut off. */
    add_watchers(stage, !crowd);
    if (!crowd)
        add_watchers(stage, false);
    for (size_t i = 0; i < stage->all.watcher_count; i++)
        disc_view_init(&stage->views[i], &stage->all);
    if (crowd)
        add_instances(stage, 0, crowd);
    for (uint32_t i = 0; i < count && !crowd; i++)
        add_instances(stage, i, 1);
    await(stage, is_whole, "the start");
}

static void end_children(disc_stage *stage)
{
    for (size_t i = 0; i < stage->child_count; i++)
        atomic_store(&stage->children[i].sheets[0]->finish, true);
    for (size_t i = 0; i < stage->child_count; i++) {
        disc_child *child = &stage->children[i];
        if (child->proc)
            stage->processes[i].code = fwt_proc_wait(child->proc, CHAOS_WAIT_MS);
        if (stage->processes[i].code) /* shows what it printed */
            fwt_proc_expect(child->proc, "(no_exit: why did it fail?)", 0);
        fwt_proc_end(child->proc);
        for (size_t k = 0; k < child->sheet_count; k++)
            ck_assert_msg(!atomic_load(&child->sheets[k]->full), "%s: too many records",
                          stage->processes[i].name);
    }
    stage->all.process_count = stage->child_count;
}

/* ---- the whole ---- */

static void start_server(disc_stage *stage)
{
    chaos_stage *chaos = &stage->chaos;
    if (stage->scenario->in_network)
        disc_net_start(&stage->net);
    (stage->scenario->start ? stage->scenario->start : chaos->driver->start)(chaos);
    if (stage->net.outer)
        chaos->proxy = fwt_proxy_start_at(DISC_NET_OUTER, chaos->driver->port(chaos));
    else if (chaos->driver->port)
        chaos->proxy = fwt_proxy_start(chaos->driver->port(chaos));
    chaos_open_kv(chaos);
}

static void end_all(disc_stage *stage)
{
    chaos_close_kv(&stage->chaos);
    for (size_t i = 0; i < stage->child_count; i++)
        for (size_t k = 0; k < stage->children[i].sheet_count; k++)
            disc_sheet_close(stage->children[i].sheets[k]);
    for (size_t i = 0; i < stage->all.watcher_count; i++)
        disc_view_fini(&stage->views[i]);
    free(stage->instances);
    free(stage->registered);
    if (stage->chaos.proxy)
        fwt_proxy_end(stage->chaos.proxy);
    stage->chaos.driver->stop(&stage->chaos);
    disc_net_end(&stage->net);
}

void disc_direct(disc_stage *stage)
{
    struct listing final;
    stage->chaos.start_ns = uv_hrtime();
    start_server(stage);
    start_children(stage);
    stage->scenario->run(stage);
    update_logs(stage);
    list(stage, &final);
    qsort(final.numbers, final.count, sizeof *final.numbers, compare_numbers);
    stage->all.final = final.numbers;
    stage->all.final_count = final.count;
    dump(stage);
    end_children(stage);
    size_t breaches = disc_check(&stage->all, stdout);
    free(final.numbers);
    free(final.leases);
    end_all(stage);
    ck_assert_msg(!breaches, "%zu breaches of the rules", breaches);
}
