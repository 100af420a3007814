/*
 * What a watcher costs.
 *   bench_discovery change N          CPU per change and bytes per instance, in a list of N
 *   bench_discovery start N DIRECTORY from the call to the list that was saved on disk
 *   bench_discovery told N PUTS URL   from a put to the callback of the last of N watchers
 *   bench_discovery store N PUTS URL  CPU per change of a process that watches N instances, with
 * all that the store's client does; another process puts In the first two the store is one that
 * says what it is told to, so that only the watcher, and the front of the store below it, are
 * measured. A change is what the driver reports: it is decoded, applied and told. Prints one JSON
 * object.
 */
#include "driver.h"

#include <fairway/discovery.h>
#include <fairway/error.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHANGES 100000

static fw_loop *loop;
static fw_kv_watch *kv_watch;
static int64_t revision;
static size_t added, changed;
static bool restored, closed;
static struct told {
    size_t watchers, synced, wanted, heard;
    bool done;
} told;

static void must(int err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "bench_discovery: %s: %s\n", what, fw_strerror(err));
    exit(1);
}

static double clock_s(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double resident_bytes(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file || fscanf(file, "%ld %ld", &pages, &resident) != 2)
        must(FW_ENOTFOUND, "statm");
    fclose(file);
    return (double)resident * (double)sysconf(_SC_PAGESIZE);
}

/* ---- the store ---- */

static int open_quiet(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store)
{
    (void)url;
    (void)access;
    *ret_store = kv;
    return 0;
}

static void close_quiet(void *store)
{
    fwi_kv_closed(store);
}

static void watch_start(void *store, fw_kv_watch *watch)
{
    (void)store;
    kv_watch = watch;
    fw_loop_stop(loop);
}

static void watch_stop(void *store, fw_kv_watch *watch)
{
    (void)store;
    fwi_kv_watch_stopped(watch);
}

static const fwi_kv_driver quiet = {.scheme = "quiet",
                                    .open = open_quiet,
                                    .close = close_quiet,
                                    .watch_start = watch_start,
                                    .watch_stop = watch_stop};

static size_t node_of(size_t number, unsigned weight, char *ret_key, char *ret_json, size_t size)
{
    snprintf(ret_key, size, "services/echo/instance-%06zu", number);
    return (size_t)snprintf(ret_json, size,
                            "{\"net\":\"tcp\",\"addr\":\"10.%zu.%zu.%zu:8080\",\"bn\":\"\","
                            "\"weight\":%u,\"zone\":\"eu-1\"}",
                            number >> 16, number >> 8 & 255, number & 255, weight);
}

static void list(size_t count)
{
    char key[128], json[128];
    fwi_kv_watch_list_begin(kv_watch);
    for (size_t i = 0; i < count; i++) {
        size_t len = node_of(i, 1, key, json, sizeof key);
        fwi_kv_watch_list_pair(kv_watch, key, strlen(key), (fw_slice){json, len}, ++revision, 0);
    }
    fwi_kv_watch_list_end(kv_watch, revision);
}

/* ---- the watcher ---- */

static void on_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    (void)watcher;
    (void)arg;
    added += event->type == FW_WATCHER_ADDED;
    changed += event->type == FW_WATCHER_CHANGED;
    if (event->type == FW_WATCHER_RESTORED) {
        restored = true;
        fw_loop_stop(loop);
    }
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
    fw_loop_stop(loop);
}

static fw_watcher *watch(fw_kv *kv, const char *path)
{
    fw_watcher *watcher;
    fw_watcher_options options = {.on_event = on_event, .saved_list = path};
    added = changed = 0;
    kv_watch = NULL;
    must(fw_watcher_new(kv, NULL, &options, &watcher), "watcher");
    return watcher;
}

static void end(fw_watcher *watcher)
{
    closed = false;
    fw_watcher_close(watcher, on_closed, &closed);
    while (!closed)
        fw_loop_run(loop);
}

/* A change of weight, made up. */
static size_t make_change(size_t i, size_t count, char *ret_key, char *ret_json, size_t size)
{
    return node_of(i * 7919 % count, (unsigned)i + 2, ret_key, ret_json, size);
}

/* CPU seconds that each change costs, without those for making it up; with a snapshot held if keep.
 */
static double change(fw_watcher *watcher, size_t count, bool keep)
{
    char key[128], json[128];
    const fw_snapshot *held = NULL;
    changed = 0;
    double began = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < CHANGES; i++)
        make_change(i, count, key, json, sizeof key);
    double making = clock_s(CLOCK_PROCESS_CPUTIME_ID) - began;
    began = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < CHANGES; i++) {
        if (keep) {
            fw_snapshot_release(held);
            must(fw_watcher_snapshot(watcher, &held), "snapshot");
        }
        size_t len = make_change(i, count, key, json, sizeof key);
        fwi_kv_watch_put(kv_watch, key, strlen(key), (fw_slice){json, len}, ++revision, 0);
        fwi_kv_watch_commit(kv_watch, revision);
    }
    double took = clock_s(CLOCK_PROCESS_CPUTIME_ID) - began;
    fw_snapshot_release(held);
    if (changed != CHANGES)
        must(FW_ENOTFOUND, "changes");
    return (took - making) / CHANGES;
}

static void measure_changes(fw_kv *kv, size_t count)
{
    double before = resident_bytes();
    fw_watcher *watcher = watch(kv, NULL);
    list(count);
    double bytes = (resident_bytes() - before) / (double)count;
    double alone = change(watcher, count, false), held = change(watcher, count, true);
    double after = (resident_bytes() - before) / (double)count;
    printf("{\"case\":\"change\",\"instances\":%zu,\"cpu_us\":%.3f,\"cpu_us_with_snapshot\":%.3f,"
           "\"bytes_per_instance\":%.0f,\"bytes_per_instance_after_changes\":%.0f}\n",
           count, alone * 1e6, held * 1e6, bytes, after);
    end(watcher);
}

static void measure_start(fw_kv *kv, size_t count, const char *directory)
{
    char path[512];
    snprintf(path, sizeof path, "%s/bench_discovery.%d", directory, (int)getpid());
    fw_watcher *watcher = watch(kv, path);
    while (!kv_watch) /* it looks for the file first */
        fw_loop_run(loop);
    list(count);
    end(watcher); /* writes the list */
    restored = false;
    double began = clock_s(CLOCK_MONOTONIC);
    watcher = watch(kv, path);
    while (!restored)
        fw_loop_run(loop);
    double took = clock_s(CLOCK_MONOTONIC) - began;
    if (added != count)
        must(FW_ENOTFOUND, "restored instances");
    printf("{\"case\":\"start\",\"instances\":%zu,\"ms\":%.1f}\n", count, took * 1e3);
    end(watcher);
    unlink(path);
}

/* ---- a store that others put into ---- */

static void step_done(void)
{
    told.done = true;
    fw_loop_stop(loop);
}

static void on_told(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    (void)watcher;
    (void)arg;
    if (event->type == FW_WATCHER_SYNCED && ++told.synced == told.watchers)
        step_done();
    bool is_news = event->type == FW_WATCHER_CHANGED || event->type == FW_WATCHER_ADDED;
    if (is_news && told.synced == told.watchers && ++told.heard == told.wanted)
        step_done();
}

static void on_put(const fw_kv_result *result, void *arg)
{
    must(result->status, "put");
    *(bool *)arg = true;
    fw_loop_stop(loop);
}

static void wait_for(const bool *done)
{
    while (!*done)
        fw_loop_run(loop); /* until a callback stops it */
}

/* Puts an instance; seconds until the last of the watchers has told of it. */
static double put_and_wait(fw_kv *kv, size_t number, unsigned weight)
{
    char key[128], json[128];
    bool answered = false;
    size_t len = node_of(number, weight, key, json, sizeof key);
    told.heard = 0;
    told.wanted = told.watchers;
    told.done = false;
    double began = clock_s(CLOCK_MONOTONIC);
    must(fw_kv_put(kv, key, (fw_slice){json, len}, NULL, on_put, &answered), "put");
    wait_for(&told.done);
    double took = clock_s(CLOCK_MONOTONIC) - began;
    wait_for(&answered);
    return took;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure_told(fw_kv *kv, size_t count, size_t puts)
{
    fw_watcher **watchers = calloc(count, sizeof *watchers);
    double *samples = calloc(puts, sizeof *samples);
    fw_watcher_options options = {.on_event = on_told};
    must(watchers && samples && count && puts ? 0 : FW_EOPTION, "counts");
    told.watchers = count;
    for (size_t i = 0; i < count; i++)
        must(fw_watcher_new(kv, "echo", &options, &watchers[i]), "watcher");
    wait_for(&told.done);
    for (size_t i = 0; i < 10; i++) /* not counted */
        put_and_wait(kv, i, 1);
    double cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < puts; i++)
        samples[i] = put_and_wait(kv, i % 10, (unsigned)i + 2);
    cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    qsort(samples, puts, sizeof *samples, by_size);
    printf("{\"case\":\"told\",\"client\":\"fairway\",\"watchers\":%zu,\"p50_us\":%.1f,\"p99_us\":%"
           ".1f,"
           "\"cpu_us_per_put\":%.2f}\n",
           count, samples[puts / 2] * 1e6, samples[puts * 99 / 100] * 1e6,
           cpu * 1e6 / (double)puts);
    for (size_t i = 0; i < count; i++)
        end(watchers[i]);
    free(watchers);
    free(samples);
}

/* ---- one who puts, and one who watches ---- */

static struct writer {
    fw_kv *kv;
    size_t count, begun, ended;
    bool all_new, done;
} writer;

static void put_next(void);

static void on_written(const fw_kv_result *result, void *arg)
{
    (void)arg;
    must(result->status, "put");
    if (++writer.ended == writer.count) {
        writer.done = true;
        fw_loop_stop(loop);
    }
    put_next();
}

static void put_next(void)
{
    char key[128], json[128];
    if (writer.begun == writer.count)
        return;
    size_t i = writer.begun++;
    size_t len = writer.all_new ? node_of(i, 1, key, json, sizeof key)
                                : make_change(i, added, key, json, sizeof key);
    must(fw_kv_put(writer.kv, key, (fw_slice){json, len}, NULL, on_written, NULL), "put");
}

static void write_all(fw_kv *kv, size_t count, bool all_new)
{
    writer = (struct writer){.kv = kv, .count = count, .all_new = all_new};
    /* Changes come one by one, so that each is a message, however fast the store is. */
    for (size_t i = 0; i < (all_new ? 64 : 1); i++)
        put_next();
    wait_for(&writer.done);
}

static void on_found(const fw_kv_result *result, void *arg)
{
    if (result->status != FW_ENOTFOUND)
        must(result->status, "get");
    *(bool *)arg = !result->status;
    writer.done = true;
    fw_loop_stop(loop);
}

/* Puts the instances, unless somebody has. */
static void fill(fw_kv *kv, size_t count)
{
    char key[128], json[128];
    bool is_there = false;
    node_of(count - 1, 1, key, json, sizeof key);
    must(fw_kv_get(kv, key, on_found, &is_there), "get");
    wait_for(&writer.done);
    if (!is_there)
        write_all(kv, count, true);
}

/* The process that puts: `count` instances, and when it is told to, `puts` changes of them. */
static void put_for(const char *url, size_t count, size_t puts, int in, int out)
{
    char byte = 0;
    fw_kv *kv;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    must(fw_loop_new(&loop), "loop");
    must(fw_kv_open(loop, url, NULL, &kv), url);
    fill(kv, count);
    added = count;
    if (write(out, &byte, 1) != 1 || read(in, &byte, 1) != 1)
        _exit(1);
    write_all(kv, puts, false);
    _exit(0);
}

static void on_store_event(fw_watcher *watcher, const fw_watcher_event *event, void *arg)
{
    (void)watcher;
    (void)arg;
    changed += event->type == FW_WATCHER_CHANGED;
    if (event->type == FW_WATCHER_SYNCED || changed == told.wanted)
        step_done();
}

static void measure_store(const char *url, size_t count, size_t puts)
{
    int to[2], from[2];
    char byte = 0;
    must(pipe(to) || pipe(from) ? FW_ENOTFOUND : 0, "pipe");
    pid_t child = fork();
    if (!child)
        put_for(url, count, puts, to[0], from[1]);
    close(from[1]); /* so that the end of the other process is heard */
    if (read(from[0], &byte, 1) != 1)
        must(FW_ELOST, "the process that puts");
    fw_kv *kv;
    fw_watcher *watcher;
    fw_watcher_options options = {.on_event = on_store_event};
    told.wanted = puts;
    must(fw_loop_new(&loop), "loop");
    must(fw_kv_open(loop, url, NULL, &kv), url);
    must(fw_watcher_new(kv, NULL, &options, &watcher), "watcher");
    wait_for(&told.done);
    told.done = false;
    double cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    if (write(to[1], &byte, 1) != 1)
        must(FW_ELOST, "the process that puts");
    wait_for(&told.done);
    cpu = clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    printf("{\"case\":\"store\",\"instances\":%zu,\"cpu_us\":%.3f}\n", count,
           cpu * 1e6 / (double)puts);
    end(watcher);
    closed = false;
    fw_kv_close(kv, on_closed, &closed);
    wait_for(&closed);
    waitpid(child, NULL, 0);
}

/* What needs but one store. */
static void measure_here(const char *name, size_t count, char **arguments)
{
    bool is_told = !strcmp(name, "told");
    const char *url = is_told ? arguments[1] : "quiet:";
    fw_kv *kv;
    must(fwi_kv_driver_add(&quiet), "driver");
    must(fw_loop_new(&loop), "loop");
    must(fw_kv_open(loop, url, NULL, &kv), url);
    if (is_told)
        measure_told(kv, count, strtoul(arguments[0], NULL, 10));
    else if (!strcmp(name, "start"))
        measure_start(kv, count, arguments[0]);
    else
        measure_changes(kv, count);
    closed = false;
    fw_kv_close(kv, on_closed, &closed);
    wait_for(&closed);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int arguments;
    } modes[] = {{"change", 1}, {"start", 2}, {"told", 3}, {"store", 3}};
    const char *name = argc > 2 ? argv[1] : "";
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 10) : 0, i = 0;
    while (i < 4 && (strcmp(modes[i].name, name) || argc != 2 + modes[i].arguments))
        i++;
    if (!count || i == 4) {
        fprintf(stderr, "usage: bench_discovery change N | start N DIRECTORY | told N PUTS URL | "
                        "store N PUTS URL\n");
        return 2;
    }
    if (!strcmp(name, "store"))
        measure_store(argv[4], count, strtoul(argv[3], NULL, 10));
    else
        measure_here(name, count, argv + 3);
    return fw_loop_close(loop);
}
