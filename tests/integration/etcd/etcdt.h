/* What the tests of the etcd drivers share: blocking operations, a watcher that keeps a record of
 * its events, a recorded lease, and etcdctl for what must be seen from outside. */
#ifndef ETCDT_H
#define ETCDT_H

#include "fwt.h"

#include <fairway/kvstore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define ETCDT_WAIT_MS 20000
/* The timeout of operations where none is given: for machines that are busy with other tests. */
#define ETCDT_PATIENT_MS 15000

/* Which of the drivers a program tests; the CMake line may say another one. */
#ifndef ETCDT_SCHEME
#define ETCDT_SCHEME "etcd"
#endif

/* Opens SCHEME://127.0.0.1:PORT/PATH. */
fw_kv *etcdt_open_at(const char *scheme, int port, const char *path, unsigned timeout_ms);
static inline fw_kv *etcdt_open(int port, const char *path, unsigned timeout_ms)
{
    return etcdt_open_at(ETCDT_SCHEME, port, path, timeout_ms);
}
fw_kv *etcdt_open_url(const char *url, unsigned timeout_ms);
fw_kv *etcdt_open_with(const char *url, const fw_kv_options *options);
/* Closes, and fails the test if that lasts longer. */
void etcdt_close(fw_kv *kv, unsigned within_ms);
uint64_t etcdt_now_ms(void);
fw_slice etcdt_text(const char *text);

/* The outcome of an operation; its pairs as "key=value;key=value;", one without a revision as
 * "key!;".
 */
typedef struct etcdt_answer {
    bool done;
    int status;
    char detail[400];
    int64_t revision, pair_revision, lease;
    size_t count;
    bool succeeded;
    char *text;
} etcdt_answer;

/* fw_kv_done_fn with an etcdt_answer. */
void etcdt_on_done(const fw_kv_result *result, void *arg);
void etcdt_await(etcdt_answer *answer);
/* Blocking; the answer is valid until the next one. */
const etcdt_answer *etcdt_put(fw_kv *kv, const char *key, const char *value);
const etcdt_answer *etcdt_put_with(fw_kv *kv, const char *key, const char *value,
                                   const fw_kv_put_options *options);
const etcdt_answer *etcdt_get(fw_kv *kv, const char *key);
const etcdt_answer *etcdt_exists(fw_kv *kv, const char *key);
const etcdt_answer *etcdt_delete(fw_kv *kv, const char *key);
const etcdt_answer *etcdt_list(fw_kv *kv, const char *prefix);
const etcdt_answer *etcdt_delete_tree(fw_kv *kv, const char *prefix);
const etcdt_answer *etcdt_atomic_put(fw_kv *kv, const char *key, const char *value,
                                     int64_t previous, const fw_kv_put_options *options);
const etcdt_answer *etcdt_atomic_delete(fw_kv *kv, const char *key, int64_t previous);
const etcdt_answer *etcdt_txn(fw_kv *kv, const fw_kv_txn *txn);

/* Runs etcdctl with the arguments (NULL-terminated) and returns its output, valid until the next.
 */
const char *etcdt_ctl(int port, ...);

/* 1 if the key is there, else 0; asks until the store answers, which may take a restarted server a
 * while. */
size_t etcdt_count(fw_kv *kv, const char *key);
/* Runs the server under another port, where the client cannot reach it and the test can. */
void etcdt_restart_at(fwt_etcd *etcd, int port);
/* Compacts the server's history up to its present revision. */
void etcdt_compact(int port);

/* A watcher. Its record: "+key=value " put, "-key " delete, "| " end of snapshot, "resync ", "stale
 * ", "live ", "fatal ". */
typedef struct etcdt_watcher {
    fw_kv_watch *watch;
    char *record;
    size_t len, puts, deletes, snapshots, lives, stales, fatals;
    int reason;
    int64_t last_revision;
    char detail[400];
} etcdt_watcher;

void etcdt_watch(etcdt_watcher *watcher, fw_kv *kv, const char *key, bool tree);
/* Runs the loop until the record contains text. */
void etcdt_expect(etcdt_watcher *watcher, const char *text);
/* The record without "stale " and "live ", to be freed. */
char *etcdt_data(const etcdt_watcher *watcher);
void etcdt_watcher_fini(etcdt_watcher *watcher); /* after the store was closed, or the watch */

typedef struct etcdt_lease {
    fw_kv_lease *lease;
    bool granted, lost, closed;
    int status, reason;
    char detail[400];
} etcdt_lease;

void etcdt_lease_new(etcdt_lease *lease, fw_kv *kv, unsigned ttl_ms);
/* Closes it and waits for the end. */
void etcdt_lease_close(etcdt_lease *lease);

/* What a driver has beyond the cases that both run; for programs that are built with ETCDT_MORE. */
void etcdt_add_more(TCase *tcase);
/* test_etcd_watch.c: writes big values while the watch is away, and lets it come back to them. */
void etcdt_come_back_to(etcdt_watcher *watcher, size_t count);

#endif
