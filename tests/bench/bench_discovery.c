/*
 * What a watcher costs: CPU per change and bytes per instance at 10, 1,000 and 100,000 instances,
 * and the start from the list on disk. The store is one that says what it is told to, so that only
 * the watcher, and the front of the store below it, are measured.
 *   bench_discovery [DIRECTORY]     for the saved list; default /dev/shm
 * Prints one JSON object a case.
 */
#include "driver.h"

#include <fairway/discovery.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CHANGES 20000

static fw_loop *loop;
static fw_kv_watch *kv_watch;
static int64_t revision;
static size_t added, changed;
static bool restored, closed;

static void must(int err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "bench_discovery: %s: %s\n", what, fw_strerror(err));
    exit(2);
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

/* Changes of weight, one revision each; with a snapshot held if keep. CPU seconds of each. */
static double change(fw_watcher *watcher, size_t count, bool keep)
{
    char key[128], json[128];
    const fw_snapshot *held = NULL;
    double began = clock_s(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t i = 0; i < CHANGES; i++) {
        if (keep) {
            fw_snapshot_release(held);
            must(fw_watcher_snapshot(watcher, &held), "snapshot");
        }
        size_t len = node_of(i * 7919 % count, (unsigned)i + 2, key, json, sizeof key);
        fwi_kv_watch_put(kv_watch, key, strlen(key), (fw_slice){json, len}, ++revision, 0);
        fwi_kv_watch_commit(kv_watch, revision);
    }
    double took = clock_s(CLOCK_PROCESS_CPUTIME_ID) - began;
    fw_snapshot_release(held);
    if (changed != CHANGES)
        must(FW_ENOTFOUND, "changes");
    changed = 0;
    return took / CHANGES;
}

static void measure_changes(fw_kv *kv, size_t count)
{
    double before = resident_bytes();
    fw_watcher *watcher = watch(kv, NULL);
    list(count);
    double bytes = (resident_bytes() - before) / (double)count;
    double alone = change(watcher, count, false), held = change(watcher, count, true);
    printf("{\"case\":\"watcher_change\",\"instances\":%zu,\"cpu_us_per_change\":%.2f,"
           "\"cpu_us_with_snapshot_each\":%.2f,\"target_us\":1000",
           count, alone * 1e6, held * 1e6);
    if (count >= 100000)
        printf(",\"bytes_per_instance\":%.0f,\"target_bytes\":512", bytes);
    printf("}\n");
    end(watcher);
}

static void measure_start(fw_kv *kv, const char *directory, size_t count)
{
    char path[512];
    snprintf(path, sizeof path, "%s/bench_discovery.%d", directory, (int)getpid());
    fw_watcher *watcher = watch(kv, path);
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
    printf("{\"case\":\"start_from_disk\",\"instances\":%zu,\"ms\":%.1f,\"target_ms\":100}\n",
           count, took * 1e3);
    end(watcher);
    unlink(path);
}

int main(int argc, char **argv)
{
    static const size_t counts[] = {10, 1000, 100000};
    fw_kv *kv;
    must(fwi_kv_driver_add(&quiet), "driver");
    must(fw_loop_new(&loop), "loop");
    must(fw_kv_open(loop, "quiet:", NULL, &kv), "store");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        measure_changes(kv, counts[i]);
    measure_start(kv, argc > 1 ? argv[1] : "/dev/shm", 100000);
    closed = false;
    fw_kv_close(kv, on_closed, &closed);
    while (!closed)
        fw_loop_run(loop);
    return fw_loop_close(loop);
}
