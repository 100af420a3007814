/*
 * The conformance suite of stores: what it shares. Each test gets a fresh store of the driver under
 * test, and speaks to it through the public API only. Helpers that wait fail the test after
 * KVT_WAIT_MS; a test ends with kvt_close of each store, and the loop fixture fails it if anything
 * is left.
 */
#ifndef KVT_H
#define KVT_H

#include "fwt.h"

#include <fairway/kvstore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KVT_WAIT_MS 20000

/* What a program of the suite provides. */
typedef struct kvt_driver {
    const char *name;
    /* Writes the URL of a store that nobody has used. */
    void (*fresh_url)(char *url, size_t size);
    /* Around all tests, in the parent process; may be NULL. stop must not assert anything. */
    void (*start)(void);
    void (*stop)(void);
} kvt_driver;

extern const kvt_driver *kvt_driver_under_test;
/* Called after each test that passed, in its process, on its loop, when its stores are closed;
 * NULL: nothing. */
extern void (*kvt_clean)(void);
/* Of driver_NAME.c. */
extern const kvt_driver kvt_this_driver;
/* Runs the suite. */
int kvt_main(const kvt_driver *driver);
/* The suite of a driver, with the tests whose group, name or rules contain `only` (NULL: all). */
Suite *kvt_suite(const kvt_driver *driver, const char *only);

/* What a store promises, as in kvstore/README.md. */
typedef struct kvt_rule {
    const char *name; /* "C1" */
    const char *promise;
} kvt_rule;
extern const kvt_rule kvt_rules[];
extern const size_t kvt_rules_count;
/* NULL: there is no such rule. */
const kvt_rule *kvt_rule_find(const char *name, size_t len);

/* Every test that kvt_suite has seen, chosen or not, in their order. */
#define KVT_TESTS_MAX 256
typedef struct kvt_test {
    const char *group, *name;
    const char *rules; /* "C1 C9" */
    int runs;
    bool chosen;
} kvt_test;
extern kvt_test kvt_tests[KVT_TESTS_MAX];
extern size_t kvt_tests_count;

/* A group of tests in the making. */
typedef struct kvt_group {
    TCase *tcase;
    const char *name;
} kvt_group;
kvt_group kvt_group_add(Suite *suite, const char *name);
void kvt_add(const kvt_group *group, const char *rules, const TTest *test);
/* The same test so many times. */
void kvt_add_runs(const kvt_group *group, const char *rules, const TTest *test, int runs);

TCase *kvt_tcase(Suite *suite, const char *name);

void kvt_add_ops(Suite *suite);
void kvt_add_watch(Suite *suite);
void kvt_add_lease(Suite *suite);
void kvt_add_txn(Suite *suite);
void kvt_add_lock(Suite *suite);
void kvt_add_wait(Suite *suite);
void kvt_add_life(Suite *suite);
void kvt_add_compat(Suite *suite);
void kvt_add_random(Suite *suite);

/* URL of the running test's store. */
extern char kvt_url[1024];
fw_kv *kvt_open(void);
fw_kv *kvt_open_url(const char *url);
void kvt_close(fw_kv *kv);

/* ---- operations; the answer is copied ---- */

typedef struct kvt_pair {
    char *key;
    char *value; /* NUL-terminated in addition */
    size_t len;
    int64_t revision, lease;
} kvt_pair;

typedef struct kvt_answer {
    bool submitted; /* the call has returned: set by whoever made it */
    bool done;
    size_t calls;
    int status;
    int64_t revision;
    size_t count;
    bool succeeded;
    kvt_pair *pairs;
    size_t pair_count;
} kvt_answer;

/* fw_kv_done_fn with a kvt_answer. */
void kvt_on_done(const fw_kv_result *result, void *arg);
void kvt_answer_fini(kvt_answer *answer);
/* Waits for an answer that was asked for. */
void kvt_await(kvt_answer *answer);

static inline fw_slice kvt_text(const char *text)
{
    return (fw_slice){text, strlen(text)};
}

/* The last answer; valid until the next of these calls. */
const kvt_answer *kvt_put_with(fw_kv *kv, const char *key, fw_slice value,
                               const fw_kv_put_options *options);
const kvt_answer *kvt_put(fw_kv *kv, const char *key, const char *value);
const kvt_answer *kvt_get(fw_kv *kv, const char *key);
const kvt_answer *kvt_exists(fw_kv *kv, const char *key);
const kvt_answer *kvt_delete(fw_kv *kv, const char *key);
const kvt_answer *kvt_list(fw_kv *kv, const char *prefix);
const kvt_answer *kvt_delete_tree(fw_kv *kv, const char *prefix);
const kvt_answer *kvt_atomic_put(fw_kv *kv, const char *key, const char *value, int64_t previous);
const kvt_answer *kvt_atomic_delete(fw_kv *kv, const char *key, int64_t previous);

const kvt_answer *kvt_txn(fw_kv *kv, const fw_kv_txn *txn);
/* fw_kv_do_txn of branches that are arrays. */
#define KVT_COUNT(array) (sizeof(array) / sizeof *(array))

/* True if the store can do it. */
static inline bool kvt_can(const fw_kv *kv, fw_kv_capability capability)
{
    return fw_kv_capabilities(kv) & capability;
}

#define kvt_assert_status(answer, wanted)                                                          \
    kvt_assert_status_at((answer), (wanted), __FILE__, __LINE__)
const kvt_answer *kvt_assert_status_at(const kvt_answer *answer, int wanted, const char *file,
                                       int line);
/* A put that succeeds: its revision. */
int64_t kvt_must_put(fw_kv *kv, const char *key, const char *value);
void kvt_assert_value(fw_kv *kv, const char *key, const char *value); /* NULL: not there */
/* "k1=v1 k2=v2 ..." of a list; static. */
const char *kvt_listing(fw_kv *kv, const char *prefix);
/* Waits until a key is gone. */
void kvt_await_gone(fw_kv *kv, const char *key);

/* ---- watches: everything that came, in order ---- */

typedef struct kvt_event {
    fw_kv_event_type type;
    kvt_pair pair;
    size_t batch;
    int reason;
} kvt_event;

typedef struct kvt_watch {
    fw_kv_watch *watch;
    kvt_event *events;
    size_t count, capacity, seen, batches;
    bool closed;
    bool sees_all; /* FW_KV_CAN_SEE_EVERY_CHANGE */
    /* Called with every batch after it was recorded; may be NULL. */
    void (*hook)(struct kvt_watch *watch, void *arg);
    void *hook_arg;
} kvt_watch;

void kvt_watch_key(fw_kv *kv, const char *key, kvt_watch *watch);
void kvt_watch_tree(fw_kv *kv, const char *prefix, kvt_watch *watch);
/* The next event, in its turn. STALE and LIVE are passed over. */
const kvt_event *kvt_next(kvt_watch *watch);
#define kvt_expect(watch, type, key, value)                                                        \
    kvt_expect_at((watch), (type), (key), (value), __FILE__, __LINE__)
/* The next event is this one. key, value NULL: whatever they are. */
const kvt_event *kvt_expect_at(kvt_watch *watch, fw_kv_event_type type, const char *key,
                               const char *value, const char *file, int line);
/* The next events are these changes. Where the store may merge changes, one may be missing that is
 * followed by another of the same key; none comes twice or out of order. The last one must come, so
 * it must be of another state than the watch knew. `type` is FW_KV_PUT or FW_KV_DELETE. */
typedef struct kvt_change {
    fw_kv_event_type type;
    const char *key, *value;
} kvt_change;
#define kvt_expect_changes(watch, ...)                                                             \
    kvt_expect_changes_at((watch), (const kvt_change[]){__VA_ARGS__},                              \
                          KVT_COUNT(((const kvt_change[]){__VA_ARGS__})), __FILE__, __LINE__)
void kvt_expect_changes_at(kvt_watch *watch, const kvt_change *changes, size_t count,
                           const char *file, int line);
/* Closes, waits for on_closed, and frees what was recorded. */
void kvt_watch_close(kvt_watch *watch);
void kvt_watch_fini(kvt_watch *watch);

/* ---- leases ---- */

typedef struct kvt_lease {
    fw_kv_lease *lease;
    bool answered, lost, closed;
    size_t grants, losses;
    int status, reason;
} kvt_lease;

void kvt_lease_ask(fw_kv *kv, uint32_t ttl_ms, kvt_lease *lease);
void kvt_lease_grant(fw_kv *kv, uint32_t ttl_ms, kvt_lease *lease);
void kvt_lease_close(kvt_lease *lease);

/* ---- locks ---- */

typedef struct kvt_lock {
    fw_kv_lock *lock;
    bool answered, lost, closed;
    size_t answers, losses;
    int status, reason;
    /* Called with the answer; may be NULL. */
    void (*hook)(struct kvt_lock *lock, void *arg);
    void *hook_arg;
} kvt_lock;

/* options (may be NULL) without callbacks. */
void kvt_lock_ask(fw_kv *kv, const char *key, const fw_kv_lock_options *options, kvt_lock *lock);
/* Waits for the answer. */
int kvt_lock_await(kvt_lock *lock);
/* Asks, waits, and must get it. */
void kvt_lock_take(fw_kv *kv, const char *key, const char *value, kvt_lock *lock);
void kvt_lock_close(kvt_lock *lock);

/* fw_kv_closed_fn with a bool. */
void kvt_on_closed(void *flag);

/* ---- a writer in its own thread, on its own loop and handle ---- */

typedef struct kvt_writer kvt_writer;
/* Puts "1" ... "count" to key, `window` at a time (1: each after the answer to the last). */
kvt_writer *kvt_writer_start(const char *key, size_t count, size_t window);
/* Numbers acknowledged so far. */
size_t kvt_writer_progress(kvt_writer *writer);
bool kvt_writer_failed(kvt_writer *writer);
/* Waits for its end; fails if a put failed. */
void kvt_writer_join(kvt_writer *writer);

#endif
