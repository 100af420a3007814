#include "kvt.h"

#include <stdatomic.h>
#include <pthread.h>
#include <uv.h>

const kvt_driver *kvt_driver_under_test;
char kvt_url[1024];

void (*kvt_clean)(void);
kvt_test kvt_tests[KVT_TESTS_MAX];
size_t kvt_tests_count;
static const char *chosen;
static bool started;

static void setup(void)
{
    fwt_loop_setup();
    kvt_driver_under_test->fresh_url(kvt_url, sizeof kvt_url);
}

static void teardown(void)
{
    if (kvt_clean)
        kvt_clean();
    fwt_loop_teardown();
}

/* Once for all groups: some servers need seconds to come up. In a fixture, where check allows
 * assertions. */
static void start_once(void)
{
    if (!started && kvt_driver_under_test->start)
        kvt_driver_under_test->start();
    started = true;
}

TCase *kvt_tcase(Suite *suite, const char *name)
{
    TCase *tcase = tcase_create(name);
    tcase_add_unchecked_fixture(tcase, start_once, NULL);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 90);
    suite_add_tcase(suite, tcase);
    return tcase;
}

kvt_group kvt_group_add(Suite *suite, const char *name)
{
    return (kvt_group){kvt_tcase(suite, name), name};
}

void kvt_add_runs(const kvt_group *group, const char *rules, const TTest *test, int runs)
{
    if (kvt_tests_count == KVT_TESTS_MAX) {
        fprintf(stderr, "more tests than KVT_TESTS_MAX\n");
        exit(2);
    }
    bool is_chosen = !chosen || strstr(group->name, chosen) || strstr(test->name, chosen);
    for (const char *rule = rules; !is_chosen && *rule; rule += strspn(rule, " ")) {
        size_t len = strcspn(rule, " ");
        is_chosen = strlen(chosen) == len && !strncmp(rule, chosen, len);
        rule += len;
    }
    kvt_tests[kvt_tests_count++] = (kvt_test){group->name, test->name, rules, runs, is_chosen};
    if (is_chosen)
        tcase_add_loop_test(group->tcase, test, 0, runs);
}

void kvt_add(const kvt_group *group, const char *rules, const TTest *test)
{
    kvt_add_runs(group, rules, test, 1);
}

Suite *kvt_suite(const kvt_driver *driver, const char *only)
{
    kvt_driver_under_test = driver;
    chosen = only;
    Suite *suite = suite_create(driver->name);
    kvt_add_ops(suite);
    kvt_add_watch(suite);
    kvt_add_lease(suite);
    kvt_add_txn(suite);
    kvt_add_lock(suite);
    kvt_add_wait(suite);
    kvt_add_life(suite);
    kvt_add_compat(suite);
    kvt_add_random(suite);
    return suite;
}

int kvt_main(const kvt_driver *driver)
{
    Suite *suite = kvt_suite(driver, getenv("KVT_ONLY"));
    int code = fwt_main(suite);
    if (started && driver->stop)
        driver->stop();
    return code;
}

void kvt_on_closed(void *flag)
{
    ck_assert(!*(bool *)flag);
    *(bool *)flag = true;
}

fw_kv *kvt_open_url(const char *url)
{
    fw_kv *kv;
    fw_kv_options options = {.timeout_ms = 15000};
    FWT_OK(fw_kv_open(fwt_loop, url, &options, &kv));
    return kv;
}

fw_kv *kvt_open(void)
{
    return kvt_open_url(kvt_url);
}

void kvt_close(fw_kv *kv)
{
    bool closed = false;
    fw_kv_close(kv, kvt_on_closed, &closed);
    ck_assert(!closed);
    fwt_run_until(&closed, KVT_WAIT_MS);
}

/* ---- operations ---- */

static kvt_pair copy_pair(const fw_kv_pair *pair)
{
    kvt_pair copy = {.key = strdup(pair->key),
                     .value = malloc(pair->value.len + 1),
                     .len = pair->value.len,
                     .revision = pair->revision,
                     .lease = pair->lease};
    if (copy.len)
        memcpy(copy.value, pair->value.data, copy.len);
    copy.value[copy.len] = 0;
    return copy;
}

static void pair_fini(kvt_pair *pair)
{
    free(pair->key);
    free(pair->value);
}

void kvt_on_done(const fw_kv_result *result, void *arg)
{
    kvt_answer *answer = arg;
    ck_assert_msg(answer->submitted, "the callback ran before the call returned");
    answer->calls++;
    ck_assert_uint_eq(answer->calls, 1);
    answer->done = true;
    answer->status = result->status;
    answer->revision = result->revision;
    answer->count = result->count;
    answer->succeeded = result->succeeded;
    ck_assert_ptr_nonnull(result->detail);
    if (!result->pairs)
        return;
    answer->pair_count = result->count;
    answer->pairs = calloc(result->count, sizeof *answer->pairs);
    for (size_t i = 0; i < result->count; i++)
        answer->pairs[i] = copy_pair(&result->pairs[i]);
}

void kvt_answer_fini(kvt_answer *answer)
{
    for (size_t i = 0; i < answer->pair_count; i++)
        pair_fini(&answer->pairs[i]);
    free(answer->pairs);
    *answer = (kvt_answer){.done = false};
}

void kvt_await(kvt_answer *answer)
{
    answer->submitted = true;
    fwt_run_until(&answer->done, KVT_WAIT_MS);
}

static kvt_answer last;

static void drop_last(void)
{
    kvt_answer_fini(&last);
}

static kvt_answer *begin(void)
{
    static bool registered;
    if (!registered)
        atexit(drop_last);
    registered = true;
    kvt_answer_fini(&last);
    return &last;
}

static const kvt_answer *finish(int err)
{
    if (err) {
        last.status = err;
        return &last;
    }
    kvt_await(&last);
    return &last;
}

const kvt_answer *kvt_put_with(fw_kv *kv, const char *key, fw_slice value,
                               const fw_kv_put_options *options)
{
    kvt_answer *answer = begin();
    return finish(fw_kv_put(kv, key, value, options, kvt_on_done, answer));
}

const kvt_answer *kvt_put(fw_kv *kv, const char *key, const char *value)
{
    return kvt_put_with(kv, key, kvt_text(value), NULL);
}

const kvt_answer *kvt_get(fw_kv *kv, const char *key)
{
    kvt_answer *answer = begin();
    return finish(fw_kv_get(kv, key, kvt_on_done, answer));
}

const kvt_answer *kvt_exists(fw_kv *kv, const char *key)
{
    kvt_answer *answer = begin();
    return finish(fw_kv_exists(kv, key, kvt_on_done, answer));
}

const kvt_answer *kvt_delete(fw_kv *kv, const char *key)
{
    kvt_answer *answer = begin();
    return finish(fw_kv_delete(kv, key, kvt_on_done, answer));
}

const kvt_answer *kvt_list(fw_kv *kv, const char *prefix)
{
    kvt_answer *answer = begin();
    return finish(fw_kv_list(kv, prefix, kvt_on_done, answer));
}

const kvt_answer *kvt_delete_tree(fw_kv *kv, const char *prefix)
{
    kvt_answer *answer = begin();
    return finish(fw_kv_delete_tree(kv, prefix, kvt_on_done, answer));
}

const kvt_answer *kvt_atomic_put(fw_kv *kv, const char *key, const char *value, int64_t previous)
{
    kvt_answer *answer = begin();
    return finish(fw_kv_atomic_put(kv, key, kvt_text(value), previous, NULL, kvt_on_done, answer));
}

const kvt_answer *kvt_atomic_delete(fw_kv *kv, const char *key, int64_t previous)
{
    kvt_answer *answer = begin();
    return finish(fw_kv_atomic_delete(kv, key, previous, kvt_on_done, answer));
}

const kvt_answer *kvt_txn(fw_kv *kv, const fw_kv_txn *txn)
{
    kvt_answer *answer = begin();
    return finish(fw_kv_do_txn(kv, txn, kvt_on_done, answer));
}

const kvt_answer *kvt_assert_status_at(const kvt_answer *answer, int wanted, const char *file,
                                       int line)
{
    ck_assert_msg(answer->status == wanted, "%s:%d: wanted %s, got %s", file, line,
                  fw_error_name(wanted), fw_error_name(answer->status));
    return answer;
}

int64_t kvt_must_put(fw_kv *kv, const char *key, const char *value)
{
    int64_t revision = kvt_assert_status(kvt_put(kv, key, value), FW_OK)->revision;
    ck_assert_int_gt(revision, 0);
    return revision;
}

void kvt_assert_value(fw_kv *kv, const char *key, const char *value)
{
    const kvt_answer *answer = kvt_get(kv, key);
    kvt_assert_status(answer, value ? FW_OK : FW_ENOTFOUND);
    if (!value)
        return;
    ck_assert_uint_eq(answer->pair_count, 1);
    ck_assert_str_eq(answer->pairs[0].value, value);
}

const char *kvt_listing(fw_kv *kv, const char *prefix)
{
    static char text[4096];
    const kvt_answer *answer = kvt_assert_status(kvt_list(kv, prefix), FW_OK);
    size_t len = 0;
    text[0] = 0;
    for (size_t i = 0; i < answer->pair_count && len < sizeof text; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s=%s", i ? " " : "",
                                answer->pairs[i].key, answer->pairs[i].value);
    return text;
}

void kvt_await_gone(fw_kv *kv, const char *key)
{
    uint64_t deadline = uv_hrtime() / 1000000 + KVT_WAIT_MS;
    while (kvt_assert_status(kvt_exists(kv, key), FW_OK)->count) {
        ck_assert_msg(uv_hrtime() / 1000000 < deadline, "%s is still there", key);
        fwt_run_for(20);
    }
}

/* ---- watches ---- */

static void on_events(fw_kv_watch *handle, const fw_kv_event *events, size_t count, void *arg)
{
    kvt_watch *watch = arg;
    ck_assert_ptr_eq(watch->watch, handle); /* also: not before the call returned */
    ck_assert(!watch->closed);
    ck_assert_uint_gt(count, 0);
    for (size_t i = 0; i < count; i++) {
        if (watch->count == watch->capacity) {
            watch->capacity = watch->capacity ? watch->capacity * 2 : 64;
            watch->events = realloc(watch->events, watch->capacity * sizeof *watch->events);
        }
        watch->events[watch->count++] = (kvt_event){.type = events[i].type,
                                                    .pair = copy_pair(&events[i].pair),
                                                    .batch = watch->batches,
                                                    .reason = events[i].reason};
    }
    watch->batches++;
    if (watch->hook)
        watch->hook(watch, watch->hook_arg);
}

void kvt_watch_key(fw_kv *kv, const char *key, kvt_watch *watch)
{
    watch->sees_all = kvt_can(kv, FW_KV_CAN_SEE_EVERY_CHANGE);
    FWT_OK(fw_kv_watch_key(kv, key, on_events, watch, &watch->watch));
}

void kvt_watch_tree(fw_kv *kv, const char *prefix, kvt_watch *watch)
{
    watch->sees_all = kvt_can(kv, FW_KV_CAN_SEE_EVERY_CHANGE);
    FWT_OK(fw_kv_watch_tree(kv, prefix, on_events, watch, &watch->watch));
}

const kvt_event *kvt_next(kvt_watch *watch)
{
    for (;;) {
        fwt_run_count(&watch->count, watch->seen + 1, KVT_WAIT_MS);
        const kvt_event *event = &watch->events[watch->seen++];
        if (event->type != FW_KV_STALE && event->type != FW_KV_LIVE)
            return event;
    }
}

const kvt_event *kvt_expect_at(kvt_watch *watch, fw_kv_event_type type, const char *key,
                               const char *value, const char *file, int line)
{
    const kvt_event *event = kvt_next(watch);
    ck_assert_msg(event->type == type && (!key || !strcmp(event->pair.key, key)) &&
                      (!value || !strcmp(event->pair.value, value)),
                  "%s:%d: wanted event %d %s=%s, got %d %s=%s (%s)", file, line, (int)type,
                  key ? key : "*", value ? value : "*", (int)event->type, event->pair.key,
                  event->pair.value, fw_error_name(event->reason));
    return event;
}

/* True if the watch has been told of the key, by the events before the last one taken. */
static bool is_known(const kvt_watch *watch, const char *key)
{
    for (size_t i = watch->seen - 1; i-- > 0;) {
        const kvt_event *event = &watch->events[i];
        if ((event->type == FW_KV_PUT || event->type == FW_KV_DELETE) &&
            !strcmp(event->pair.key, key))
            return event->type == FW_KV_PUT;
    }
    return false;
}

/* True if changes[i] may be missing: another of its key follows, or nobody heard of the key that it
 * deletes. */
static bool may_be_missing(const kvt_watch *watch, const kvt_change *changes, size_t count,
                           size_t i)
{
    for (size_t k = i + 1; k < count; k++)
        if (!strcmp(changes[k].key, changes[i].key))
            return true;
    return changes[i].type == FW_KV_DELETE && !is_known(watch, changes[i].key);
}

void kvt_expect_changes_at(kvt_watch *watch, const kvt_change *changes, size_t count,
                           const char *file, int line)
{
    int64_t revision = 0;
    for (size_t at = 0; at < count; at++) {
        const kvt_event *event = kvt_next(watch);
        size_t first = at;
        for (; at < count; at++) {
            const kvt_change *change = &changes[at];
            if (event->type == change->type && !strcmp(event->pair.key, change->key) &&
                !strcmp(event->pair.value, change->value))
                break;
            ck_assert_msg(!watch->sees_all && may_be_missing(watch, changes, count, at),
                          "%s:%d: wanted change %zu, %s=%s, got event %d %s=%s", file, line, first,
                          change->key, change->value, (int)event->type, event->pair.key,
                          event->pair.value);
        }
        ck_assert_msg(at < count, "%s:%d: none of the changes: event %d %s=%s", file, line,
                      (int)event->type, event->pair.key, event->pair.value);
        ck_assert_int_ge(event->pair.revision, revision);
        revision = event->pair.revision;
    }
}

void kvt_watch_fini(kvt_watch *watch)
{
    for (size_t i = 0; i < watch->count; i++)
        pair_fini(&watch->events[i].pair);
    free(watch->events);
    watch->events = NULL;
    watch->count = 0;
}

void kvt_watch_close(kvt_watch *watch)
{
    if (!watch->closed)
        fw_kv_watch_close(watch->watch, kvt_on_closed, &watch->closed);
    fwt_run_until(&watch->closed, KVT_WAIT_MS);
    kvt_watch_fini(watch);
}

/* ---- leases ---- */

static void on_granted(fw_kv_lease *handle, int status, const char *detail, void *arg)
{
    kvt_lease *lease = arg;
    ck_assert_ptr_eq(lease->lease, handle);
    ck_assert_ptr_nonnull(detail);
    ck_assert_uint_eq(++lease->grants, 1);
    lease->answered = true;
    lease->status = status;
}

static void on_lost(fw_kv_lease *handle, int reason, const char *detail, void *arg)
{
    kvt_lease *lease = arg;
    ck_assert_ptr_eq(lease->lease, handle);
    ck_assert_ptr_nonnull(detail);
    ck_assert(lease->answered);
    ck_assert_uint_eq(++lease->losses, 1);
    lease->lost = true;
    lease->reason = reason;
}

void kvt_lease_ask(fw_kv *kv, uint32_t ttl_ms, kvt_lease *lease)
{
    fw_kv_lease_options options = {
        .ttl_ms = ttl_ms, .on_granted = on_granted, .on_lost = on_lost, .arg = lease};
    FWT_OK(fw_kv_lease_new(kv, &options, &lease->lease));
}

void kvt_lease_grant(fw_kv *kv, uint32_t ttl_ms, kvt_lease *lease)
{
    kvt_lease_ask(kv, ttl_ms, lease);
    fwt_run_until(&lease->answered, KVT_WAIT_MS);
    ck_assert_msg(lease->status == FW_OK, "lease: %s", fw_error_name(lease->status));
    ck_assert_int_ne(fw_kv_lease_id(lease->lease), 0);
    ck_assert_uint_ge(fw_kv_lease_ttl_ms(lease->lease), ttl_ms);
}

void kvt_lease_close(kvt_lease *lease)
{
    fw_kv_lease_close(lease->lease, kvt_on_closed, &lease->closed);
    fwt_run_until(&lease->closed, KVT_WAIT_MS);
}

/* ---- locks ---- */

static void on_acquired(fw_kv_lock *handle, int status, const char *detail, void *arg)
{
    kvt_lock *lock = arg;
    ck_assert_ptr_eq(lock->lock, handle); /* also: not before the call returned */
    ck_assert_ptr_nonnull(detail);
    ck_assert_uint_eq(++lock->answers, 1);
    ck_assert(!lock->closed);
    lock->answered = true;
    lock->status = status;
    if (lock->hook)
        lock->hook(lock, lock->hook_arg);
}

static void on_lock_lost(fw_kv_lock *handle, int reason, const char *detail, void *arg)
{
    kvt_lock *lock = arg;
    ck_assert_ptr_eq(lock->lock, handle);
    ck_assert_ptr_nonnull(detail);
    ck_assert(lock->answered && !lock->status && !lock->closed);
    ck_assert_uint_eq(++lock->losses, 1);
    lock->lost = true;
    lock->reason = reason;
}

void kvt_lock_ask(fw_kv *kv, const char *key, const fw_kv_lock_options *options, kvt_lock *lock)
{
    fw_kv_lock_options copy = {.ttl_ms = 0};
    if (options)
        copy = *options;
    copy.on_acquired = on_acquired;
    copy.on_lost = on_lock_lost;
    copy.arg = lock;
    FWT_OK(fw_kv_lock_new(kv, key, &copy, &lock->lock));
    ck_assert(!lock->answered);
    ck_assert_int_eq(fw_kv_lock_token(lock->lock), 0);
}

int kvt_lock_await(kvt_lock *lock)
{
    fwt_run_until(&lock->answered, KVT_WAIT_MS);
    return lock->status;
}

void kvt_lock_take(fw_kv *kv, const char *key, const char *value, kvt_lock *lock)
{
    fw_kv_lock_options options = {.value = kvt_text(value)};
    kvt_lock_ask(kv, key, &options, lock);
    int status = kvt_lock_await(lock);
    ck_assert_msg(!status, "lock: %s", fw_error_name(status));
    ck_assert_int_gt(fw_kv_lock_token(lock->lock), 0);
}

void kvt_lock_close(kvt_lock *lock)
{
    fw_kv_lock_close(lock->lock, kvt_on_closed, &lock->closed);
    ck_assert(!lock->closed);
    fwt_run_until(&lock->closed, KVT_WAIT_MS);
    ck_assert_uint_eq(lock->answers, 1);
}

/* ---- the writer ---- */

struct kvt_writer {
    pthread_t thread;
    char key[128];
    size_t count, window, next;
    atomic_size_t done;
    atomic_int err;
    fw_kv *kv;
};

static void on_written(const fw_kv_result *result, void *arg);

static void write_next(kvt_writer *writer)
{
    char value[32];
    if (writer->next == writer->count || writer->err)
        return;
    snprintf(value, sizeof value, "%zu", ++writer->next);
    int err = fw_kv_put(writer->kv, writer->key, kvt_text(value), NULL, on_written, writer);
    if (err)
        writer->err = err;
}

static void on_written(const fw_kv_result *result, void *arg)
{
    kvt_writer *writer = arg;
    if (result->status && !writer->err)
        writer->err = result->status;
    size_t done = atomic_fetch_add(&writer->done, 1) + 1;
    write_next(writer);
    if (done == writer->count || (writer->err && done == writer->next))
        fw_kv_close(writer->kv, NULL, NULL);
}

static void *run_writer(void *arg)
{
    kvt_writer *writer = arg;
    fw_loop *loop;
    fw_kv_options options = {.timeout_ms = 15000};
    writer->err = fw_loop_new(&loop);
    if (writer->err)
        return NULL;
    writer->err = fw_kv_open(loop, kvt_url, &options, &writer->kv);
    if (!writer->err) {
        for (size_t i = 0; i < writer->window; i++)
            write_next(writer);
        fw_loop_run(loop);
    }
    int err = fw_loop_close(loop);
    if (!writer->err)
        writer->err = err;
    return NULL;
}

kvt_writer *kvt_writer_start(const char *key, size_t count, size_t window)
{
    kvt_writer *writer = calloc(1, sizeof *writer);
    snprintf(writer->key, sizeof writer->key, "%s", key);
    writer->count = count;
    writer->window = window;
    ck_assert_int_eq(pthread_create(&writer->thread, NULL, run_writer, writer), 0);
    return writer;
}

size_t kvt_writer_progress(kvt_writer *writer)
{
    return atomic_load(&writer->done);
}

bool kvt_writer_failed(kvt_writer *writer)
{
    return atomic_load(&writer->err) != 0;
}

void kvt_writer_join(kvt_writer *writer)
{
    pthread_join(writer->thread, NULL);
    ck_assert_msg(!writer->err, "writer: %s", fw_error_name(writer->err));
    free(writer);
}
