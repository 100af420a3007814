/*
 * A store's clients at work: the same cases as peers/etcd_go.go, which counts as the yardstick.
 *   bench_kv URL CASE N [loop]
 * CASE: seq_put, seq_get, put64, get64 (64 in flight), watch (a put, and its event at a watch),
 * list (10,000 keys of 200 B), watches (N watches on one handle), notify (a put in this process,
 * its event in another). Prints one JSON object. With `loop` the store lives on an ordinary loop
 * and its driver's threads; without, the calling thread drives it (<fairway/wait.h>).
 */
#include <fairway/error.h>
#include <fairway/wait.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KEYS      1000
#define LIST_KEYS 10000
#define IN_FLIGHT 64

static fw_wait_kv *waiting; /* NULL: on a loop */
static fw_loop *loop;
static fw_kv *kv;
static char value[200];

static void must(int err, const char *what)
{
    if (!err)
        return;
    fprintf(stderr, "bench_kv: %s: %s\n", what, fw_strerror(err));
    exit(2);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* What was resident at most. Not getrusage's: that counts from the process that forked us. */
static long peak_kib(void)
{
    char line[128];
    long peak = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmHWM: %ld", &peak) == 1)
            break;
    if (file)
        fclose(file);
    return peak;
}

/* What is resident now. */
static long rss_kib(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%ld %ld", &pages, &resident) != 2)
        resident = 0;
    if (file)
        fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* ---- waiting for a flag, in either mode ---- */

static void wait_for(bool *done)
{
    if (waiting) {
        must(fw_wait_kv_until(waiting, done, 0), "waiting");
        return;
    }
    while (!*done)
        fw_loop_run(loop); /* until a callback stops it */
}

static void finished(bool *done)
{
    *done = true;
    if (!waiting)
        fw_loop_stop(loop);
}

/* ---- n operations, so many in flight ---- */

static struct run {
    bool is_put;
    size_t n, started, ended, in_flight;
    double *samples;
    bool done;
} work;

struct slot {
    double began;
};

static void start_one(struct slot *slot);

static void on_done(const fw_kv_result *result, void *arg)
{
    struct slot *slot = arg;
    must(result->status, work.is_put ? "put" : "get");
    work.samples[work.ended++] = now_s() - slot->began;
    work.in_flight--;
    if (work.started < work.n)
        start_one(slot);
    else if (!work.in_flight)
        finished(&work.done);
}

static void start_one(struct slot *slot)
{
    char key[32];
    snprintf(key, sizeof key, "k%06zu", work.started++ % KEYS);
    slot->began = now_s();
    work.in_flight++;
    must(work.is_put ? fw_kv_put(kv, key, (fw_slice){value, 100}, NULL, on_done, slot)
                     : fw_kv_get(kv, key, on_done, slot),
         "submit");
}

static void run_async(bool is_put, size_t n, size_t in_flight, double *samples)
{
    struct slot slots[IN_FLIGHT];
    work = (struct run){.is_put = is_put, .n = n, .samples = samples};
    for (size_t i = 0; i < in_flight && i < n; i++)
        start_one(&slots[i]);
    wait_for(&work.done);
}

static void run_blocking(bool is_put, size_t n, double *samples)
{
    for (size_t i = 0; i < n; i++) {
        char key[32];
        snprintf(key, sizeof key, "k%06zu", i % KEYS);
        double began = now_s();
        const fw_kv_result *result =
            is_put ? fw_wait_kv_put(waiting, key, (fw_slice){value, 100}, NULL)
                   : fw_wait_kv_get(waiting, key);
        must(result->status, is_put ? "put" : "get");
        samples[i] = now_s() - began;
    }
}

/* n operations with so many in flight; with one, blocking calls where we wait. */
static void run_ops(bool is_put, size_t n, size_t in_flight, double *samples)
{
    if (waiting && in_flight == 1)
        run_blocking(is_put, n, samples);
    else
        run_async(is_put, n, in_flight, samples);
}

/* ---- watch ---- */

static struct {
    bool synced, seen;
    size_t synced_count, wanted_count;
} watched;

static void on_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    (void)arg;
    for (size_t i = 0; i < count; i++) {
        if (events[i].type == FW_KV_PUT && watched.synced)
            finished(&watched.seen);
        if (events[i].type == FW_KV_END_OF_SNAPSHOT &&
            ++watched.synced_count == watched.wanted_count)
            finished(&watched.synced);
    }
}

static void on_put(const fw_kv_result *result, void *arg)
{
    must(result->status, "put");
    finished(arg);
}

static void run_watch(size_t n, double *samples)
{
    fw_kv_watch *watch;
    watched.wanted_count = 1;
    must(fw_kv_watch_tree(kv, "watched", on_events, NULL, &watch), "watch");
    wait_for(&watched.synced);
    for (size_t i = 0; i < n; i++) {
        char key[32];
        bool answered = false;
        snprintf(key, sizeof key, "watched/k%06zu", i % KEYS);
        watched.seen = false;
        double began = now_s();
        must(fw_kv_put(kv, key, (fw_slice){value, 100}, NULL, on_put, &answered), "put");
        wait_for(&answered);
        wait_for(&watched.seen);
        samples[i] = now_s() - began;
    }
    fw_kv_watch_close(watch, NULL, NULL);
}

/* One sample: until all have their snapshot. */
static void run_watches(size_t n, double *samples)
{
    long before = rss_kib();
    double began = now_s();
    watched.wanted_count = n;
    for (size_t i = 0; i < n; i++) {
        char key[32];
        fw_kv_watch *watch;
        snprintf(key, sizeof key, "many/k%06zu", i);
        must(fw_kv_watch_key(kv, key, on_events, NULL, &watch), "watch");
    }
    wait_for(&watched.synced);
    samples[0] = now_s() - began;
    fprintf(stderr, "%zu watches: %.0f B each\n", n,
            (double)(rss_kib() - before) * 1024 / (double)n);
}

/* ---- list ---- */

static size_t listed;

static void on_list(const fw_kv_result *result, void *arg)
{
    must(result->status, "list");
    listed = result->count;
    finished(arg);
}

static void run_list(size_t n, double *samples)
{
    for (size_t i = 0; i < n; i++) {
        bool done = false;
        double began = now_s();
        must(fw_kv_list(kv, "listed", on_list, &done), "list");
        wait_for(&done);
        samples[i] = now_s() - began;
        if (listed != LIST_KEYS)
            must(FW_ENOTFOUND, "list");
    }
}

static void fill(const char *directory, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        char key[32];
        bool done = false;
        snprintf(key, sizeof key, "%s%sk%06zu", directory, *directory ? "/" : "", i);
        must(fw_kv_put(kv, key, (fw_slice){value, size}, NULL, on_put, &done), "put");
        wait_for(&done);
    }
}

/* ---- a put here, its event in another process ---- */

/* The other process: writes a byte for every event. */
static void watch_for(const char *url, int out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fw_wait_kv *own;
    fw_wait_watch *watch;
    must(fw_wait_kv_open(url, NULL, &own), url);
    must(fw_wait_watch_key(own, "notified", &watch), "watch");
    for (;;) {
        const fw_kv_event *event = fw_wait_watch_next(watch, UINT32_MAX);
        if (event->type == FW_KV_PUT || event->type == FW_KV_END_OF_SNAPSHOT)
            if (write(out, "x", 1) != 1)
                _exit(0);
    }
}

static void run_notify(size_t n, double *samples, int in)
{
    char byte;
    for (size_t i = 0; i < n; i++) {
        bool done = false;
        double began = now_s();
        must(fw_kv_put(kv, "notified", (fw_slice){value, 100}, NULL, on_put, &done), "put");
        wait_for(&done);
        if (read(in, &byte, 1) != 1)
            must(FW_ELOST, "the other process");
        samples[i] = now_s() - began;
    }
}

/* ---- the program ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void on_closed(void *arg)
{
    *(bool *)arg = true;
    fw_loop_stop(loop);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: bench_kv URL CASE N [loop]\n");
        return 2;
    }
    const char *url = argv[1], *name = argv[2];
    size_t n = strtoul(argv[3], NULL, 10);
    bool on_loop = argc > 4 && !strcmp(argv[4], "loop");
    memset(value, 'v', sizeof value);
    int ends[2] = {-1, -1};
    pid_t other = 0;
    if (!strcmp(name, "notify")) { /* before any store is open here */
        must(pipe(ends) ? -1 : 0, "pipe");
        other = fork();
        if (!other)
            watch_for(url, ends[1]);
    }
    if (on_loop) {
        must(fw_loop_new(&loop), "loop");
        must(fw_kv_open(loop, url, NULL, &kv), url);
    } else {
        must(fw_wait_kv_open(url, NULL, &waiting), url);
        kv = fw_wait_kv_async(waiting);
    }
    bool is_list = !strcmp(name, "list");
    if (is_list)
        fill("listed", LIST_KEYS, 200);
    else if (strcmp(name, "watches"))
        fill("", KEYS, 100);
    char byte;
    if (other && read(ends[0], &byte, 1) != 1)
        must(FW_ELOST, "the other process");

    double *samples = calloc(n + 1, sizeof *samples);
    double cpu = cpu_s(), began = now_s();
    if (!strcmp(name, "seq_put") || !strcmp(name, "seq_get"))
        run_ops(name[4] == 'p', n, 1, samples);
    else if (!strcmp(name, "put64") || !strcmp(name, "get64"))
        run_ops(*name == 'p', n, IN_FLIGHT, samples);
    else if (!strcmp(name, "watch"))
        run_watch(n, samples);
    else if (!strcmp(name, "watches"))
        run_watches(n, samples);
    else if (other)
        run_notify(n, samples, ends[0]);
    else if (is_list)
        run_list(n, samples);
    else
        must(FW_EOPTION, name);
    double took = now_s() - began;
    cpu = cpu_s() - cpu;
    size_t count = strcmp(name, "watches") ? n : 1;
    qsort(samples, count, sizeof *samples, by_size);
    printf("{\"client\":\"fairway\",\"case\":\"%s\",\"per_s\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,"
           "\"cpu_us_per_op\":%.2f,\"rss_kib\":%ld}\n",
           name, (double)n / took, samples[count / 2] * 1e6, samples[count * 99 / 100] * 1e6,
           cpu * 1e6 / (double)n, peak_kib());
    free(samples);
    if (other) {
        kill(other, SIGKILL);
        waitpid(other, NULL, 0);
    }
    if (!on_loop) {
        fw_wait_kv_close(waiting);
        return 0;
    }
    bool closed = false;
    fw_kv_close(kv, on_closed, &closed);
    while (!closed) /* a stop from before may be on its way */
        fw_loop_run(loop);
    return fw_loop_close(loop);
}
