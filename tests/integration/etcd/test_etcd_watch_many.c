/* Many watches of one store, which share a few streams. */
#include "etcdt.h"

#include <fairway/wait.h>

#define MANY       2000
#define PER_STREAM 128
#define PASSWORD   "secret"

/* A watch of one key (even index) or of a tree with one key in it (odd), and the writes to it: the
 * values are 1, 2, ... */
static struct eye {
    size_t index;
    fw_kv_watch *watch;
    size_t written, seen, snapshots, resyncs, stales, lives;
    bool closed;
} eyes[MANY];

static size_t eye_count, ended_writes;

static void key_of(size_t i, char *ret_key, size_t size)
{
    snprintf(ret_key, size, i % 2 ? "t/%zu/x" : "k/%zu", i);
}

static void on_events(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    struct eye *eye = arg;
    ck_assert(watch == eye->watch && !eye->closed);
    char key[40];
    key_of(eye->index, key, sizeof key);
    for (size_t i = 0; i < count; i++) {
        const fw_kv_event *event = &events[i];
        switch (event->type) {
        case FW_KV_PUT:
            ck_assert_str_eq(event->pair.key, key);
            char value[20];
            ck_assert_uint_lt(event->pair.value.len, sizeof value);
            memcpy(value, event->pair.value.data, event->pair.value.len);
            value[event->pair.value.len] = 0;
            eye->seen++;
            ck_assert_uint_eq(strtoul(value, NULL, 10), eye->seen);
            break;
        case FW_KV_END_OF_SNAPSHOT:
            eye->snapshots++;
            break;
        case FW_KV_RESYNC:
            eye->resyncs++;
            break;
        case FW_KV_STALE:
            eye->stales++;
            ck_assert_uint_eq(eye->stales, eye->lives + 1);
            break;
        case FW_KV_LIVE:
            eye->lives++;
            break;
        default:
            ck_abort_msg("eye %zu: event %d: %s", eye->index, event->type, event->detail);
        }
    }
}

static void eyes_open(fw_kv *kv, size_t count)
{
    eye_count = count;
    memset(eyes, 0, sizeof eyes);
    for (size_t i = 0; i < count; i++) {
        char key[40];
        eyes[i].index = i;
        snprintf(key, sizeof key, i % 2 ? "t/%zu" : "k/%zu", i);
        if (i % 2)
            FWT_OK(fw_kv_watch_tree(kv, key, on_events, &eyes[i], &eyes[i].watch));
        else
            FWT_OK(fw_kv_watch_key(kv, key, on_events, &eyes[i], &eyes[i].watch));
    }
}

static bool have_snapshots(void)
{
    for (size_t i = 0; i < eye_count; i++)
        if (!eyes[i].snapshots)
            return false;
    return true;
}

static bool have_seen_all(void)
{
    for (size_t i = 0; i < eye_count; i++)
        if (!eyes[i].closed && (eyes[i].seen < eyes[i].written || eyes[i].stales > eyes[i].lives))
            return false;
    return true;
}

static bool are_all_stale(void)
{
    for (size_t i = 0; i < eye_count; i++)
        if (eyes[i].stales == eyes[i].lives)
            return false;
    return true;
}

static void await(bool (*holds)(void), const char *what)
{
    uint64_t deadline = storet_now_ms() + 2 * STORET_WAIT_MS;
    while (!holds()) {
        ck_assert_msg(storet_now_ms() < deadline, "in vain: %s", what);
        fwt_run_for(10);
    }
}
#define AWAIT(holds) await(holds, #holds)

static void on_written(const fw_kv_result *result, void *arg)
{
    (void)arg;
    ck_assert_msg(!result->status, "%s: %s", fw_error_name(result->status), result->detail);
    ended_writes++;
}

/* Writes to `count` different keys, and waits for the writes (not for the events). */
static void write_some(fw_kv *writer, size_t count)
{
    static size_t at = 1;
    ended_writes = 0;
    for (size_t i = 0; i < count; i++, at = (at + 7) % eye_count) { /* 7 and MANY are coprime */
        char key[40], value[20];
        key_of(at, key, sizeof key);
        snprintf(value, sizeof value, "%zu", ++eyes[at].written);
        FWT_OK(fw_kv_put(writer, key, storet_text(value), NULL, on_written, NULL));
    }
    fwt_run_count(&ended_writes, count, STORET_WAIT_MS);
}

static void on_eye_closed(void *arg)
{
    ended_writes++;
    (void)arg;
}

/* The server's own count, waited for: it ends watches after we have said so. */
static void expect_count(int port, const char *what, unsigned long wanted)
{
    uint64_t deadline = storet_now_ms() + STORET_WAIT_MS;
    for (unsigned long count; (count = fwt_etcd_metric(port, what)) != wanted;) {
        ck_assert_msg(storet_now_ms() < deadline, "%s: wanted %lu, got %lu", what, wanted, count);
        fwt_run_for(50);
    }
}

static void expect_watches(int port, unsigned long watches, unsigned long streams)
{
    expect_count(port, "etcd_debugging_mvcc_watcher_total", watches);
    expect_count(port, "etcd_debugging_mvcc_watch_stream_total", streams);
}

/* Waits until the writer has found the server again. */
static void await_server(fw_kv *writer)
{
    uint64_t deadline = storet_now_ms() + STORET_WAIT_MS;
    while (storet_exists(writer, "x")->status)
        ck_assert_uint_lt(storet_now_ms(), deadline);
}

START_TEST(each_of_thousands_sees_its_own_in_order)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/p", 10000);
    fw_kv *writer = etcdt_open(etcd.port, "/p", 20000);
    eyes_open(kv, MANY);
    AWAIT(have_snapshots);
    expect_watches(etcd.port, MANY, (MANY + PER_STREAM - 1) / PER_STREAM);
    write_some(writer, 700);
    AWAIT(have_seen_all);
    /* The connection is cut. */
    fwt_proxy_refuse(proxy);
    fwt_proxy_cut(proxy, true);
    write_some(writer, 500);
    AWAIT(are_all_stale);
    write_some(writer, 500);
    fwt_proxy_pass(proxy);
    AWAIT(have_seen_all);
    expect_watches(etcd.port, MANY, (MANY + PER_STREAM - 1) / PER_STREAM);
    /* The server is killed. */
    fwt_etcd_kill(&etcd);
    fwt_etcd_restart(&etcd);
    await_server(writer);
    write_some(writer, 700);
    AWAIT(have_seen_all);
    /* Half of them are closed while much happens. */
    ended_writes = 0;
    write_some(writer, 300);
    for (size_t i = 0; i < MANY; i += 2) {
        eyes[i].closed = true;
        fw_kv_watch_close(eyes[i].watch, NULL, NULL);
    }
    write_some(writer, 1000);
    AWAIT(have_seen_all);
    expect_count(etcd.port, "etcd_debugging_mvcc_watcher_total", MANY / 2);
    fwt_proxy_cut(proxy, false);
    write_some(writer, 1000);
    AWAIT(have_seen_all);
    fwt_run_for(200);
    for (size_t i = 0; i < MANY; i++) {
        ck_assert(eyes[i].closed || eyes[i].seen == eyes[i].written);
        ck_assert_uint_eq(eyes[i].snapshots, 1);
        ck_assert_uint_eq(eyes[i].resyncs, 0);
    }
    storet_close(kv, 5000);
    expect_watches(etcd.port, 0, 0);
    storet_close(writer, 2000);
    fwt_proxy_end(proxy);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* The server hangs: those whose turn has not come are told, too, and all go on when it is back. */
START_TEST(all_are_told_when_the_server_hangs)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fwt_proxy_freeze(proxy, FWT_PROXY_BOTH);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/p", 1000);
    eyes_open(kv, 500);
    uint64_t start_ms = storet_now_ms();
    AWAIT(are_all_stale);
    ck_assert_uint_lt(storet_now_ms() - start_ms, 5000);
    fwt_proxy_pass(proxy);
    AWAIT(have_snapshots);
    AWAIT(have_seen_all);
    storet_close(kv, 2000);
    fwt_proxy_end(proxy);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* Without progress replies a watch's place in history is its list. */
static const char *const no_progress[] = {"--experimental-watch-progress-notify-interval", "1h",
                                          NULL};

START_TEST(only_those_behind_a_compaction_are_resynced)
{
    enum { OLD = 300, NEW = 300 };
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_etcd_kill(&etcd);
    etcd.options = no_progress;
    fwt_etcd_restart(&etcd);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/p", 10000);
    fw_kv *writer = etcdt_open(etcd.port, "/p", 10000);
    static storet_watcher old[OLD], young[NEW];
    char key[40], revision[32];
    for (size_t i = 0; i < OLD; i++) {
        snprintf(key, sizeof key, "old/%zu", i);
        storet_watch(&old[i], kv, key, false);
    }
    for (size_t i = 0; i < OLD; i++)
        storet_expect(&old[i], "| ");
    for (size_t i = 0; i < 5; i++)
        FWT_OK(storet_put(writer, "aside", "v")->status);
    snprintf(revision, sizeof revision, "%lld", (long long)storet_get(writer, "aside")->revision);
    for (size_t i = 0; i < NEW; i++) {
        snprintf(key, sizeof key, "new/%zu", i);
        storet_watch(&young[i], kv, key, false);
    }
    for (size_t i = 0; i < NEW; i++)
        storet_expect(&young[i], "| ");
    fwt_proxy_refuse(proxy);
    fwt_proxy_cut(proxy, true);
    FWT_OK(storet_put(writer, "old/7", "v")->status);
    FWT_OK(storet_put(writer, "new/9", "v")->status);
    etcdt_ctl(etcd.port, "compact", revision, NULL);
    fwt_proxy_pass(proxy);
    for (size_t i = 0; i < OLD; i++) {
        storet_expect(&old[i], "live "); /* not before it is known what was missed */
        char *data = storet_data(&old[i]);
        ck_assert_str_eq(data, i == 7 ? "| resync +old/7=v | " : "| resync | ");
        free(data);
    }
    storet_expect(&young[9], "+new/9=v ");
    for (size_t i = 0; i < NEW; i++) {
        storet_expect(&young[i], "live ");
        char *data = storet_data(&young[i]);
        ck_assert_str_eq(data, i == 9 ? "| +new/9=v " : "| ");
        free(data);
    }
    FWT_OK(storet_put(writer, "old/8", "w")->status);
    storet_expect(&old[8], "+old/8=w ");
    storet_close(kv, 2000);
    storet_close(writer, 2000);
    for (size_t i = 0; i < OLD; i++)
        storet_watcher_fini(&old[i]);
    for (size_t i = 0; i < NEW; i++)
        storet_watcher_fini(&young[i]);
    fwt_proxy_end(proxy);
    fwt_etcd_kill(&etcd);
}
END_TEST

START_TEST(a_huge_backlog_passes_beside_small_watches)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/p", 10000);
    fw_kv *writer = etcdt_open(etcd.port, "/p", 10000);
    storet_watcher big;
    storet_watch(&big, kv, "big", true);
    storet_expect(&big, "| ");
    eyes_open(kv, 200);
    AWAIT(have_snapshots);
    fwt_proxy_refuse(proxy);
    fwt_proxy_cut(proxy, false);
    enum { VALUE_BYTES = 1200000 };
    char *value = malloc(VALUE_BYTES + 1), key[20];
    memset(value, 'v', VALUE_BYTES);
    value[VALUE_BYTES] = 0;
    for (int i = 0; i < 6; i++) {
        snprintf(key, sizeof key, "big/%d", i);
        FWT_OK(storet_put(writer, key, value)->status);
        write_some(writer, 100);
    }
    free(value);
    fwt_proxy_pass(proxy);
    AWAIT(have_seen_all);
    storet_expect(&big, "+big/5= ");
    char *data = storet_data(&big);
    ck_assert_str_eq(data, "| +big/0= +big/1= +big/2= +big/3= +big/4= +big/5= ");
    free(data);
    storet_close(kv, 2000);
    storet_close(writer, 2000);
    storet_watcher_fini(&big);
    fwt_proxy_end(proxy);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* ---- one revision in several fragments ---- */

#define WIDE_KEYS 8000

static struct wide {
    size_t puts, deletes, batches_with_deletes, others;
} wide;

static void on_wide(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    (void)watch;
    (void)arg;
    size_t deletes = 0;
    for (size_t i = 0; i < count; i++) {
        if (events[i].type == FW_KV_PUT)
            wide.puts++;
        else if (events[i].type == FW_KV_DELETE)
            deletes++;
        else
            wide.others++;
    }
    wide.deletes += deletes;
    wide.batches_with_deletes += deletes != 0;
}

START_TEST(a_revision_in_fragments_comes_whole)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/p", 20000);
    fw_kv *writer = etcdt_open(etcd.port, "/p", 20000);
    fw_kv_watch *watch;
    memset(&wide, 0, sizeof wide);
    FWT_OK(fw_kv_watch_tree(kv, "", on_wide, NULL, &watch));
    fwt_run_count(&wide.others, 1, STORET_WAIT_MS);
    ended_writes = 0;
    for (size_t i = 0; i < WIDE_KEYS; i++) {
        char key[460];
        snprintf(key, sizeof key, "%0450zu", i);
        FWT_OK(fw_kv_put(writer, key, storet_text("v"), NULL, on_written, NULL));
        if (i % 256 == 255)
            fwt_run_count(&ended_writes, i, STORET_WAIT_MS);
    }
    fwt_run_count(&wide.puts, WIDE_KEYS, STORET_WAIT_MS);
    fwt_proxy_refuse(proxy);
    fwt_proxy_cut(proxy, true);
    ck_assert_uint_eq(storet_delete_tree(writer, "")->count, WIDE_KEYS);
    fwt_proxy_pass(proxy);
    fwt_run_count(&wide.deletes, WIDE_KEYS, STORET_WAIT_MS);
    ck_assert_uint_eq(wide.batches_with_deletes, 1);
    storet_close(kv, 2000);
    storet_close(writer, 2000);
    fwt_proxy_end(proxy);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* ---- closing others in a callback ---- */

static fw_kv_event_type closes_at;
static bool has_closed;

static void close_others(fw_kv_watch *watch, const fw_kv_event *events, size_t count, void *arg)
{
    struct eye *eye = arg;
    ck_assert(!eye->closed);
    for (size_t i = 0; i < count && !has_closed; i++) {
        eye->snapshots += events[i].type == FW_KV_END_OF_SNAPSHOT;
        if (events[i].type != closes_at)
            continue;
        has_closed = true;
        for (size_t k = 0; k < eye_count; k++) {
            eyes[k].closed = true;
            fw_kv_watch_close(eyes[k].watch, on_eye_closed, NULL);
        }
    }
    (void)watch;
}

START_TEST(a_callback_may_close_all_watches_of_its_stream)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    fw_kv *kv = etcdt_open(fwt_proxy_port(proxy), "/p", 5000);
    static const fw_kv_event_type types[] = {FW_KV_END_OF_SNAPSHOT, FW_KV_PUT, FW_KV_STALE,
                                             FW_KV_LIVE};
    char value[20];
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        closes_at = types[t];
        has_closed = false;
        ended_writes = 0;
        eye_count = 300;
        memset(eyes, 0, sizeof eyes);
        for (size_t i = 0; i < eye_count; i++)
            FWT_OK(fw_kv_watch_key(kv, "one", close_others, &eyes[i], &eyes[i].watch));
        if (closes_at != FW_KV_END_OF_SNAPSHOT) {
            AWAIT(have_snapshots);
            snprintf(value, sizeof value, "%zu", t);
            FWT_OK(storet_put(kv, "one", value)->status);
            fwt_proxy_cut(proxy, true);
        }
        fwt_run_count(&ended_writes, eye_count, STORET_WAIT_MS);
        expect_watches(etcd.port, 0, 0);
    }
    storet_close(kv, 2000);
    fwt_proxy_end(proxy);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* Watches that come and go leave nothing with the server. */
START_TEST(cancels_race_with_creates)
{
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    fw_kv *kv = etcdt_open(etcd.port, "/p", 10000), *writer = etcdt_open(etcd.port, "/p", 10000);
    eyes_open(kv, 100);
    AWAIT(have_snapshots);
    static storet_watcher passing[40];
    for (int round = 0; round < 40; round++) {
        for (size_t i = 0; i < 40; i++)
            storet_watch(&passing[i], kv, "k", true);
        fwt_run_for((unsigned)round / 4);
        write_some(writer, 10);
        for (size_t i = 0; i < 40; i++) {
            fw_kv_watch_close(passing[i].watch, NULL, NULL);
            storet_watcher_fini(&passing[i]);
        }
    }
    AWAIT(have_seen_all);
    expect_watches(etcd.port, 100, 1);
    storet_close(kv, 2000);
    storet_close(writer, 2000);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* ---- users ---- */

START_TEST(streams_with_an_old_token_are_replaced)
{
    enum { COUNT = 50 };
    fwt_etcd etcd;
    setenv("ETCD_AUTH_TOKEN_TTL", "2", 1);
    fwt_etcd_start(&etcd);
    unsetenv("ETCD_AUTH_TOKEN_TTL");
    fwt_etcd_enable_users(&etcd, PASSWORD);
    fwt_proxy *proxy = fwt_proxy_start(etcd.port);
    char url[100];
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d/p", fwt_proxy_port(proxy));
    fw_kv_options options = {.user = "root", .password = PASSWORD, .timeout_ms = 10000};
    fw_kv *kv = etcdt_open_with(url, &options);
    eyes_open(kv, COUNT);
    AWAIT(have_snapshots);
    fwt_run_for(3300); /* the server forgets the token */
    fwt_proxy_cut(proxy, true);
    AWAIT(are_all_stale);
    AWAIT(have_seen_all); /* each was refused once, and is back */
    write_some(kv, 40);
    AWAIT(have_seen_all);
    unsigned long calls = fwt_etcd_calls(etcd.port, "Authenticate");
    ck_assert_uint_le(calls, 4); /* enabling, opening, the renewal */
    /* A watch that comes later does not meet the old token's stream. */
    fwt_run_for(3300);
    storet_watcher late;
    storet_watch(&late, kv, "t", true);
    storet_expect(&late, "| ");
    write_some(kv, 40);
    AWAIT(have_seen_all);
    storet_expect(&late, "+t/");
    ck_assert_uint_eq(late.stales, 0);
    storet_close(kv, 2000);
    storet_watcher_fini(&late);
    fwt_proxy_end(proxy);
    fwt_etcd_kill(&etcd);
}
END_TEST

/* ---- programs that wait ---- */

START_TEST(a_waiting_program_may_have_many_watches)
{
    enum { COUNT = 600 };
    fwt_etcd etcd;
    fwt_etcd_start(&etcd);
    char url[100], key[40];
    snprintf(url, sizeof url, "etcd://127.0.0.1:%d/p", etcd.port);
    fw_wait_kv *kv, *writer;
    FWT_OK(fw_wait_kv_open(url, NULL, &kv));
    FWT_OK(fw_wait_kv_open(url, NULL, &writer));
    static fw_wait_watch *watches[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(key, sizeof key, "k/%zu", i);
        FWT_OK(fw_wait_watch_key(kv, key, &watches[i]));
    }
    for (size_t i = 0; i < COUNT; i++)
        ck_assert_int_eq(fw_wait_watch_next(watches[i], 20000)->type, FW_KV_END_OF_SNAPSHOT);
    for (size_t i = 0; i < COUNT; i += 3) {
        snprintf(key, sizeof key, "k/%zu", i);
        FWT_OK(fw_wait_kv_put(writer, key, storet_text("v"), NULL)->status);
    }
    for (size_t i = 0; i < COUNT; i += 3) {
        const fw_kv_event *event = fw_wait_watch_next(watches[i], 20000);
        snprintf(key, sizeof key, "k/%zu", i);
        ck_assert_ptr_nonnull(event);
        ck_assert_int_eq(event->type, FW_KV_PUT);
        ck_assert_str_eq(event->pair.key, key);
    }
    ck_assert_ptr_null(fw_wait_watch_next(watches[1], 0));
    for (size_t i = 0; i < COUNT; i += 2)
        fw_wait_watch_close(watches[i]);
    fw_wait_kv_close(kv); /* closes the rest */
    fw_wait_kv_close(writer);
    fwt_etcd_kill(&etcd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("many etcd watches");
    TCase *tcase = fwt_tcase(suite, "many", 120);
    tcase_add_test(tcase, each_of_thousands_sees_its_own_in_order);
    tcase_add_test(tcase, all_are_told_when_the_server_hangs);
    tcase_add_test(tcase, only_those_behind_a_compaction_are_resynced);
    tcase_add_test(tcase, a_huge_backlog_passes_beside_small_watches);
    tcase_add_test(tcase, a_revision_in_fragments_comes_whole);
    tcase_add_test(tcase, a_callback_may_close_all_watches_of_its_stream);
    tcase_add_test(tcase, cancels_race_with_creates);
    tcase_add_test(tcase, streams_with_an_old_token_are_replaced);
    tcase_add_test(tcase, a_waiting_program_may_have_many_watches);
    return fwt_main(suite);
}
