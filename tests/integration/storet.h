/* What the tests of the drivers for servers share: blocking operations, a watcher that keeps a
 * record of its events, a recorded lease. */
#ifndef STORET_H
#define STORET_H

#include "fwt.h"

#include <fairway/kvstore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define STORET_WAIT_MS 20000

/* Closes, and fails the test if that lasts longer. */
void storet_close(fw_kv *kv, unsigned within_ms);
uint64_t storet_now_ms(void);
fw_slice storet_text(const char *text);

/* The outcome of an operation; its pairs as "key=value;key=value;", one without a revision as
 * "key!;".
 */
typedef struct storet_answer {
    bool done;
    int status;
    char detail[400];
    int64_t revision, pair_revision, lease;
    size_t count;
    bool succeeded;
    char *text;
} storet_answer;

/* fw_kv_done_fn with an storet_answer. */
void storet_on_done(const fw_kv_result *result, void *arg);
void storet_await(storet_answer *answer);
/* Blocking; the answer is valid until the next one. */
const storet_answer *storet_put(fw_kv *kv, const char *key, const char *value);
const storet_answer *storet_put_with(fw_kv *kv, const char *key, const char *value,
                                     const fw_kv_put_options *options);
const storet_answer *storet_put_bytes(fw_kv *kv, const char *key, fw_slice value,
                                      const fw_kv_put_options *options);
const storet_answer *storet_get(fw_kv *kv, const char *key);
const storet_answer *storet_exists(fw_kv *kv, const char *key);
const storet_answer *storet_delete(fw_kv *kv, const char *key);
const storet_answer *storet_list(fw_kv *kv, const char *prefix);
const storet_answer *storet_delete_tree(fw_kv *kv, const char *prefix);
const storet_answer *storet_atomic_put(fw_kv *kv, const char *key, const char *value,
                                       int64_t previous, const fw_kv_put_options *options);
const storet_answer *storet_atomic_delete(fw_kv *kv, const char *key, int64_t previous);
const storet_answer *storet_txn(fw_kv *kv, const fw_kv_txn *txn);

/* 1 if the key is there, else 0; asks until the store answers, which may take a restarted server a
 * while. */
size_t storet_count(fw_kv *kv, const char *key);

/* A watcher. Its record: "+key=value " put (values over 40 bytes are left out), "-key " delete, "|
 * " end of snapshot, "resync ", "stale ", "live ", "fatal ". */
typedef struct storet_watcher {
    fw_kv_watch *watch;
    char *record;
    size_t len, capacity, puts, deletes, snapshots, resyncs, lives, stales, fatals;
    int reason;
    int64_t last_revision;
    char detail[400];
    char *last_value;
} storet_watcher;

void storet_watch(storet_watcher *watcher, fw_kv *kv, const char *key, bool tree);
/* Runs the loop until the record contains text. */
void storet_expect(storet_watcher *watcher, const char *text);
/* The record without "stale " and "live ", to be freed. */
char *storet_data(const storet_watcher *watcher);
void storet_watcher_fini(storet_watcher *watcher); /* after the store was closed, or the watch */

typedef struct storet_lease {
    fw_kv_lease *lease;
    bool granted, lost, closed;
    int status, reason;
    char detail[400];
} storet_lease;

void storet_lease_new(storet_lease *lease, fw_kv *kv, unsigned ttl_ms);
/* Closes it and waits for the end. */
void storet_lease_close(storet_lease *lease);

#endif
