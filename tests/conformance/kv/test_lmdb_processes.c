/*
 * What lmdb: promises across processes, threads, kills, and the growth of its file. The program is
 * its own second process: `test_lmdb_processes put URL KEY COUNT` and so on, see children below.
 */
#include "kvt.h"

#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

static char self[4096];

/* ---- children: no check here, they talk by lines on stdout ---- */

struct child {
    fw_loop *loop;
    fw_kv *kv;
    const char *key;
    size_t next, acknowledged, count;
    bool tell;
    fw_kv_lease *lease;
};

static void child_put(struct child *child);

static void child_on_put(const fw_kv_result *result, void *arg)
{
    struct child *child = arg;
    if (result->status) {
        printf("failed %s\n", fw_error_name(result->status));
        exit(1);
    }
    if (child->tell) {
        printf("ack %zu %lld\n", child->next, (long long)result->revision);
        fflush(stdout);
    }
    if (child->next == child->count)
        fw_kv_close(child->kv, NULL, NULL);
    else
        child_put(child);
}

/* Values are numbers; for the latency they are times. */
static void child_put(struct child *child)
{
    char value[64];
    snprintf(value, sizeof value, "%zu %llu", ++child->next, (unsigned long long)uv_hrtime());
    if (fw_kv_put(child->kv, child->key, kvt_text(value), NULL, child_on_put, child))
        exit(1);
}

static void child_on_spaced_put(const fw_kv_result *result, void *arg)
{
    struct child *child = arg;
    if (result->status)
        exit(1);
    if (++child->acknowledged == child->count)
        fw_kv_close(child->kv, NULL, NULL);
}

static void child_on_tick(uv_timer_t *timer)
{
    struct child *child = timer->data;
    char value[64];
    snprintf(value, sizeof value, "%zu %llu", ++child->next, (unsigned long long)uv_hrtime());
    if (fw_kv_put(child->kv, child->key, kvt_text(value), NULL, child_on_spaced_put, child))
        exit(1);
    if (child->next == child->count)
        uv_close((uv_handle_t *)timer, NULL);
}

static void child_on_leased(const fw_kv_result *result, void *arg)
{
    (void)arg;
    printf("%s\n", result->status ? "failed" : "leased");
    fflush(stdout);
}

static void child_on_granted(fw_kv_lease *lease, int status, const char *detail, void *arg)
{
    (void)detail;
    struct child *child = arg;
    fw_kv_put_options options = {.lease = lease};
    if (status ||
        fw_kv_put(child->kv, child->key, kvt_text("here"), &options, child_on_leased, child))
        exit(1);
}

static void child_on_lost(fw_kv_lease *lease, int reason, const char *detail, void *arg)
{
    (void)lease;
    (void)arg;
    printf("lost %s %s\n", fw_error_name(reason), detail);
    fflush(stdout);
}

/* Holds the lock of all writers until it is killed. */
static int child_hold(const char *directory)
{
    MDB_env *env;
    MDB_txn *txn;
    if (mdb_env_create(&env) || mdb_env_open(env, directory, 0, 0600) ||
        mdb_txn_begin(env, NULL, 0, &txn))
        return 1;
    printf("locked\n");
    fflush(stdout);
    for (;;)
        pause();
}

/* argv: role URL KEY COUNT */
static int child_main(char **argv)
{
    if (!strcmp(argv[1], "hold"))
        return child_hold(strchr(argv[2], ':') + 1);
    struct child child = {.key = argv[3], .count = strtoul(argv[4], NULL, 10)};
    uv_timer_t timer;
    if (fw_loop_new(&child.loop) || fw_kv_open(child.loop, argv[2], NULL, &child.kv))
        return 1;
    if (!strcmp(argv[1], "put")) {
        child.tell = true;
        child_put(&child);
    } else if (!strcmp(argv[1], "spaced")) {
        uv_timer_init(fw_loop_uv(child.loop), &timer);
        timer.data = &child;
        uv_timer_start(&timer, child_on_tick, 200, 5);
    } else {
        fw_kv_lease_options options = {.ttl_ms = (uint32_t)child.count,
                                       .on_granted = child_on_granted,
                                       .on_lost = child_on_lost,
                                       .arg = &child};
        if (fw_kv_lease_new(child.kv, &options, &child.lease))
            return 1;
    }
    fw_loop_run(child.loop);
    return fw_loop_close(child.loop) ? 1 : 0;
}

static fwt_proc *start(const char *role, const char *key, const char *count)
{
    const char *argv[] = {self, role, kvt_url, key, count, NULL};
    return fwt_proc_start(argv);
}

/* ---- tests ---- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void measure_latency(const char *url_query, const char *what)
{
    enum { COUNT = 200 };
    uint64_t took[COUNT];
    strncat(kvt_url, url_query, sizeof kvt_url - strlen(kvt_url) - 1);
    fw_kv *kv = kvt_open();
    kvt_watch watch = {.watch = NULL};
    kvt_watch_key(kv, "far", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    fwt_proc *proc = start("spaced", "far", "200");
    for (size_t i = 0; i < COUNT; i++) {
        const kvt_event *event = kvt_expect(&watch, FW_KV_PUT, "far", NULL);
        unsigned long long number, sent;
        ck_assert_int_eq(sscanf(event->pair.value, "%llu %llu", &number, &sent), 2);
        ck_assert_uint_eq(number, i + 1); /* each, once, in order */
        took[i] = uv_hrtime() - sent;
    }
    ck_assert_int_eq(fwt_proc_wait(proc, 20000), 0);
    fwt_proc_end(proc);
    qsort(took, COUNT, sizeof *took, by_number);
    printf(
        "put in one process to watch in another, %s: median %.3f ms, 99 %% %.3f ms, most %.3f ms\n",
        what, (double)took[COUNT / 2] / 1e6, (double)took[COUNT * 99 / 100] / 1e6,
        (double)took[COUNT - 1] / 1e6);
    fflush(stdout);
    ck_assert_uint_lt(took[COUNT / 2], 1000000000);
    kvt_watch_close(&watch);
    kvt_close(kv);
}

START_TEST(a_put_is_seen_in_another_process)
{
    measure_latency("", "sync=full");
}
END_TEST

START_TEST(a_put_is_seen_in_another_process_without_sync)
{
    measure_latency("?sync=none", "sync=none");
}
END_TEST

START_TEST(processes_write_side_by_side)
{
    enum { WRITERS = 3 };
    fw_kv *kv = kvt_open();
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "w", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    fwt_proc *procs[WRITERS];
    static const char *const writer_keys[WRITERS] = {"w/0", "w/1", "w/2"};
    for (size_t i = 0; i < WRITERS; i++)
        procs[i] = start("put", writer_keys[i], "200");
    unsigned long last[WRITERS] = {0};
    int64_t revision = 0;
    for (size_t i = 0; i < (size_t)WRITERS * 200; i++) {
        const kvt_event *event = kvt_expect(&watch, FW_KV_PUT, NULL, NULL);
        size_t writer = (size_t)(event->pair.key[2] - '0');
        ck_assert_uint_eq(strtoul(event->pair.value, NULL, 10), ++last[writer]);
        ck_assert(!revision || event->pair.revision == revision + 1);
        revision = event->pair.revision;
    }
    for (size_t i = 0; i < WRITERS; i++) {
        ck_assert_int_eq(fwt_proc_wait(procs[i], 20000), 0);
        fwt_proc_end(procs[i]);
    }
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

/* The last number that a killed writer acknowledged; its text was read until the end. */
static unsigned long last_ack(fwt_proc *proc)
{
    unsigned long last = 0;
    char text[32];
    for (unsigned long i = 1;; i++) {
        snprintf(text, sizeof text, "ack %lu ", i);
        if (!fwt_proc_printed(proc, text))
            break;
        last = i;
    }
    return last;
}

START_TEST(a_killed_writer_loses_nothing_acknowledged)
{
    enum { ROUNDS = 15 };
    unsigned long total = 0;
    /* One process stays all the time, to see the store through the eyes of a survivor. */
    fw_kv *survivor = kvt_open();
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(survivor, "", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    int64_t revision = 0;
    for (int round = 0; round < ROUNDS; round++) {
        fwt_proc *proc = start("put", "loop", "100000000");
        fwt_proc_expect(proc, "ack ", 20000);
        fwt_run_for((unsigned)(round * 7 % 40));
        fwt_proc_signal(proc, SIGKILL);
        ck_assert_int_eq(fwt_proc_wait(proc, 20000), 128 + SIGKILL);
        unsigned long acknowledged = last_ack(proc);
        fwt_proc_end(proc);
        ck_assert_uint_gt(acknowledged, 0);
        total += acknowledged;
        char mark[32];
        snprintf(mark, sizeof mark, "mark%d", round);
        kvt_must_put(survivor, mark, ""); /* the lock of the dead is free */
        unsigned long seen = 0;
        for (;;) {
            const kvt_event *event = kvt_next(&watch);
            ck_assert_int_eq(event->type, FW_KV_PUT);
            ck_assert(!revision || event->pair.revision == revision + 1);
            revision = event->pair.revision;
            if (!strcmp(event->pair.key, mark))
                break;
            ck_assert_uint_eq(strtoul(event->pair.value, NULL, 10), ++seen);
        }
        /* One more than acknowledged may have been committed. */
        ck_assert_msg(seen == acknowledged || seen == acknowledged + 1,
                      "%lu seen, %lu acknowledged", seen, acknowledged);
        kvt_assert_status(kvt_get(survivor, "loop"), FW_OK);
    }
    printf("killed %d writers after %lu acknowledged writes\n", ROUNDS, total);
    kvt_watch_close(&watch);
    kvt_close(survivor);
    /* Reopened, all is there, and the file is whole. */
    survivor = kvt_open();
    ck_assert_uint_eq(kvt_list(survivor, "")->count, ROUNDS + 1);
    kvt_close(survivor);
}
END_TEST

START_TEST(a_lone_writer_killed_leaves_a_whole_store)
{
    for (int round = 0; round < 10; round++) {
        fwt_proc *proc = start("put", "loop", "100000000");
        fwt_proc_expect(proc, "ack ", 20000);
        fwt_run_for((unsigned)(round * 5 % 30));
        fwt_proc_signal(proc, SIGKILL);
        fwt_proc_wait(proc, 20000);
        unsigned long acknowledged = last_ack(proc);
        fwt_proc_end(proc);
        fw_kv *kv = kvt_open(); /* nobody else had it open */
        const kvt_answer *answer = kvt_assert_status(kvt_get(kv, "loop"), FW_OK);
        unsigned long stored = strtoul(answer->pairs[0].value, NULL, 10);
        ck_assert(stored == acknowledged || stored == acknowledged + 1);
        kvt_close(kv);
    }
}
END_TEST

START_TEST(the_lease_of_a_killed_process_expires)
{
    fw_kv *kv = kvt_open();
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "who", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    fwt_proc *proc = start("lease", "who/child", "1200");
    kvt_expect(&watch, FW_KV_PUT, "who/child", "here");
    fwt_run_for(2500); /* it is kept alive as long as its process lives */
    ck_assert_uint_eq(watch.seen, watch.count);
    kvt_assert_value(kv, "who/child", "here");
    fwt_proc_signal(proc, SIGKILL);
    uint64_t killed = uv_hrtime();
    kvt_expect(&watch, FW_KV_DELETE, "who/child", "");
    printf("killed to deleted: %.0f ms (lease of 1200)\n", (double)(uv_hrtime() - killed) / 1e6);
    fwt_proc_wait(proc, 20000);
    fwt_proc_end(proc);
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(a_stopped_process_learns_that_its_lease_is_lost)
{
    fw_kv *kv = kvt_open();
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "who", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    fwt_proc *proc = start("lease", "who/child", "1000");
    fwt_proc_expect(proc, "leased", 20000);
    kvt_expect(&watch, FW_KV_PUT, "who/child", "here");
    fwt_run_for(100); /* not in the middle of a commit, which would hold LMDB's lock */
    fwt_proc_signal(proc, SIGSTOP);
    kvt_expect(&watch, FW_KV_DELETE, "who/child", "");
    fwt_proc_signal(proc, SIGCONT);
    fwt_proc_expect(proc, "lost ELEASE", 20000);
    fwt_proc_end(proc);
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(the_map_grows)
{
    strcat(kvt_url, "?map_size=1048576");
    fw_kv *kv = kvt_open(), *watched = kvt_open();
    size_t len = 600 * 1024;
    char *value = malloc(len);
    memset(value, 'v', len);
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(watched, "", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    for (int i = 0; i < 40; i++) {
        char key[32];
        snprintf(key, sizeof key, "big/%02d", i);
        kvt_assert_status(kvt_put_with(kv, key, (fw_slice){value, len}, NULL), FW_OK);
        ck_assert_uint_eq(kvt_expect(&watch, FW_KV_PUT, key, NULL)->pair.len, len);
    }
    ck_assert_uint_eq(kvt_list(kv, "big")->count, 40);
    kvt_watch_close(&watch);
    kvt_close(watched);
    kvt_close(kv);
    kv = kvt_open(); /* smaller than its content now: no matter */
    ck_assert_uint_eq(kvt_list(kv, "big")->count, 40);
    kvt_must_put(kv, "more", "x");
    kvt_close(kv);
    free(value);
}
END_TEST

START_TEST(a_map_grown_by_another_process_is_followed)
{
    strcat(kvt_url, "?map_size=262144");
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "first", "1");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_key(kv, "far", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    /* The log of so many small puts outgrows the map. */
    fwt_proc *proc = start("put", "far", "4000");
    for (unsigned long i = 1; i <= 4000; i++)
        ck_assert_uint_eq(strtoul(kvt_expect(&watch, FW_KV_PUT, "far", NULL)->pair.value, NULL, 10),
                          i);
    ck_assert_int_eq(fwt_proc_wait(proc, 30000), 0);
    fwt_proc_end(proc);
    kvt_assert_value(kv, "first", "1");
    kvt_must_put(kv, "last", "1");
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(a_watch_behind_the_log_is_resynced)
{
    strcat(kvt_url, "?sync=none");
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "r/goes", "1");
    kvt_must_put(kv, "r/stays", "1");
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "r", &watch);
    for (int i = 0; i < 2; i++)
        kvt_expect(&watch, FW_KV_PUT, NULL, NULL);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    /* This loop does not turn while another thread writes more than the log holds. */
    kvt_answer gone = {.submitted = true};
    FWT_OK(fw_kv_delete(kv, "r/goes", kvt_on_done, &gone));
    kvt_writer *writer = kvt_writer_start("r/n", 20000, 400);
    kvt_writer_join(writer);
    kvt_expect(&watch, FW_KV_RESYNC, NULL, NULL);
    const kvt_event *event;
    bool deleted = false, put = false;
    while ((event = kvt_next(&watch))->type != FW_KV_END_OF_SNAPSHOT) {
        deleted |= event->type == FW_KV_DELETE && !strcmp(event->pair.key, "r/goes");
        put |= event->type == FW_KV_PUT && !strcmp(event->pair.value, "20000");
        ck_assert_str_ne(event->pair.key, "r/stays"); /* only differences */
    }
    ck_assert(deleted && put);
    kvt_must_put(kv, "r/after", "x");
    kvt_expect(&watch, FW_KV_PUT, "r/after", "x");
    kvt_await(&gone);
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(loops_of_two_threads_share_one_environment)
{
    fw_kv *kv = kvt_open();
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "t", &watch);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_writer *one = kvt_writer_start("t/1", 1000, 16), *two = kvt_writer_start("t/2", 1000, 1);
    unsigned long last[3] = {0};
    for (int i = 0; i < 2000; i++) {
        const kvt_event *event = kvt_expect(&watch, FW_KV_PUT, NULL, NULL);
        ck_assert_uint_eq(strtoul(event->pair.value, NULL, 10), ++last[event->pair.key[2] - '0']);
        if (i % 50 == 0)
            kvt_must_put(kv, "mine", "x");
    }
    kvt_writer_join(one);
    kvt_writer_join(two);
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(the_directory_is_made_private)
{
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "k", "v");
    struct stat info;
    const char *directory = strchr(kvt_url, ':') + 1;
    ck_assert_int_eq(stat(directory, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0700);
    char path[1100];
    snprintf(path, sizeof path, "%s/data.mdb", directory);
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0600);
    kvt_close(kv);
}
END_TEST

START_TEST(options_are_checked)
{
    static const char *const bad[] = {"?sync=maybe", "?map_size=", "?map_size=1", "?map_size=1e9",
                                      "?nosuch=1"};
    fw_kv *kv, *other;
    char url[1100];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        snprintf(url, sizeof url, "%s%s", kvt_url, bad[i]);
        FWT_ERR(fw_kv_open(fwt_loop, url, NULL, &kv), FW_EOPTION);
    }
    FWT_ERR(fw_kv_open(fwt_loop, "lmdb:", NULL, &kv), FW_EURL);
    FWT_ERR(fw_kv_open(fwt_loop, "lmdb://host/dir", NULL, &kv), FW_EURL);
    FWT_ERR(fw_kv_open(fwt_loop, "lmdb:/dev/null/dir", NULL, &kv), UV_ENOTDIR);
    kv = kvt_open();
    snprintf(url, sizeof url, "%s?sync=none", kvt_url);
    FWT_ERR(fw_kv_open(fwt_loop, url, NULL, &other), FW_EOPTION); /* one file, one durability */
    kvt_close(kv);
}
END_TEST

START_TEST(a_file_that_is_no_store_is_an_error_not_a_crash)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/data.mdb", strchr(kvt_url, ':') + 1);
    kvt_close(kvt_open());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    char noise[16384];
    memset(noise, 0x5a, sizeof noise);
    ck_assert_int_eq(write(fd, noise, sizeof noise), sizeof noise);
    close(fd);
    fw_kv *kv = kvt_open();
    kvt_watch watch = {.watch = NULL};
    kvt_watch_tree(kv, "", &watch);
    kvt_assert_status(kvt_get(kv, "k"), FW_ESTORE);
    kvt_assert_status(kvt_put(kv, "k", "v"), FW_ESTORE);
    fwt_run_count(&watch.count, 1, KVT_WAIT_MS);
    ck_assert_int_eq(watch.events[0].type, FW_KV_STALE);
    ck_assert_int_eq(watch.events[0].reason, FW_ESTORE);
    /* Put right, it is found by itself. */
    ck_assert_int_eq(unlink(path), 0);
    kvt_expect(&watch, FW_KV_END_OF_SNAPSHOT, NULL, NULL);
    kvt_must_put(kv, "k", "v");
    kvt_expect(&watch, FW_KV_PUT, "k", "v");
    kvt_watch_close(&watch);
    kvt_close(kv);
}
END_TEST

START_TEST(a_stopped_writer_does_not_block_the_loop)
{
    fw_kv_options options = {.timeout_ms = 300};
    fw_kv *kv = kvt_open();
    kvt_must_put(kv, "before", "x");
    kvt_close(kv);
    fwt_proc *proc = start("hold", "", "0");
    fwt_proc_expect(proc, "locked", 20000);
    fwt_proc_signal(proc, SIGSTOP);
    /* Opening needs the lock, too: nothing is known before. */
    FWT_OK(fw_kv_open(fwt_loop, kvt_url, &options, &kv));
    kvt_assert_status(kvt_get(kv, "before"), FW_EDEADLINE);
    kvt_assert_status(kvt_put(kv, "never", "x"), FW_EUNKNOWN);
    kvt_close(kv);
    fwt_proc_signal(proc, SIGCONT);
    fwt_proc_end(proc);
    kv = kvt_open();
    kvt_assert_value(kv, "before", "x");
    kvt_assert_value(kv, "never", NULL); /* what was past its time was not done */

    /* The same when it is open: reads go on, and it comes back by itself. */
    fw_kv *quick;
    FWT_OK(fw_kv_open(fwt_loop, kvt_url, &options, &quick));
    kvt_assert_value(quick, "before", "x");
    proc = start("hold", "", "0");
    fwt_proc_expect(proc, "locked", 20000);
    kvt_assert_status(kvt_put(quick, "never", "x"), FW_EUNKNOWN);
    kvt_assert_value(quick, "before", "x");
    kvt_lease lease = {.lease = NULL};
    kvt_lease_ask(quick, 1000, &lease);
    fwt_run_until(&lease.answered, KVT_WAIT_MS);
    ck_assert_int_eq(lease.status, FW_EUNREACHABLE);
    kvt_lease_close(&lease);
    kvt_close(quick);
    fwt_proc_end(proc); /* SIGKILL: the lock is recovered */
    kvt_must_put(kv, "after", "x");
    kvt_assert_value(kv, "never", NULL);
    kvt_close(kv);
}
END_TEST

static void fresh_url(char *url, size_t size)
{
    snprintf(url, size, "lmdb:%s/a/b", fwt_tmpdir());
}

int main(int argc, char **argv)
{
    if (argc == 5)
        return child_main(argv);
    static const kvt_driver driver = {"lmdb processes", fresh_url, NULL, NULL};
    kvt_driver_under_test = &driver;
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return EXIT_FAILURE;
    Suite *suite = suite_create("lmdb processes");
    TCase *tcase = kvt_tcase(suite, "processes");
    tcase_add_test(tcase, a_put_is_seen_in_another_process);
    tcase_add_test(tcase, a_put_is_seen_in_another_process_without_sync);
    tcase_add_test(tcase, processes_write_side_by_side);
    tcase_add_test(tcase, a_killed_writer_loses_nothing_acknowledged);
    tcase_add_test(tcase, a_lone_writer_killed_leaves_a_whole_store);
    tcase_add_test(tcase, the_lease_of_a_killed_process_expires);
    tcase_add_test(tcase, a_stopped_process_learns_that_its_lease_is_lost);
    tcase_add_test(tcase, a_stopped_writer_does_not_block_the_loop);
    tcase_add_test(tcase, the_map_grows);
    tcase_add_test(tcase, a_map_grown_by_another_process_is_followed);
    tcase_add_test(tcase, a_watch_behind_the_log_is_resynced);
    tcase_add_test(tcase, loops_of_two_threads_share_one_environment);
    tcase_add_test(tcase, the_directory_is_made_private);
    tcase_add_test(tcase, options_are_checked);
    tcase_add_test(tcase, a_file_that_is_no_store_is_an_error_not_a_crash);
    return fwt_main(suite);
}
