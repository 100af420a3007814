/* What the tests of the Redis driver share: blocking operations, a watcher that keeps a record of
 * its events, a recorded lease, and redis-cli for what must be done from outside. */
#ifndef REDIST_H
#define REDIST_H

#include "fwt.h"

#include <fairway/kvstore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define REDIST_WAIT_MS 20000

/* Opens redis://127.0.0.1:PORT/PATH. */
fw_kv *redist_open(int port, const char *path, unsigned timeout_ms);
fw_kv *redist_open_as(int port, const char *path, const fw_kv_options *options);
/* Closes, and fails the test if that lasts longer. */
void redist_close(fw_kv *kv, unsigned within_ms);
uint64_t redist_now_ms(void);
fw_slice redist_text(const char *text);
/* Runs redis-cli with the arguments (NULL-terminated) and returns its output, valid until the next.
 */
const char *redist_cli(int port, ...);

/* The outcome of an operation; for lists "key=value;key=value;". */
typedef struct redist_answer {
    bool done;
    int status;
    char detail[400];
    int64_t revision, lease;
    size_t count;
    char *text;
} redist_answer;

/* fw_kv_done_fn with a redist_answer. */
void redist_on_done(const fw_kv_result *result, void *arg);
void redist_await(redist_answer *answer);
/* Blocking; the answer is valid until the next one. */
const redist_answer *redist_put(fw_kv *kv, const char *key, const char *value);
const redist_answer *redist_put_with(fw_kv *kv, const char *key, fw_slice value,
                                     const fw_kv_put_options *options);
const redist_answer *redist_get(fw_kv *kv, const char *key);
const redist_answer *redist_delete(fw_kv *kv, const char *key);
const redist_answer *redist_list(fw_kv *kv, const char *prefix);
const redist_answer *redist_delete_tree(fw_kv *kv, const char *prefix);

/* A watcher. Its record: "+key=value " put (values over 40 bytes are left out), "-key " delete, "|
 * " end of snapshot, "resync ", "stale ", "live ", "fatal ". */
typedef struct redist_watcher {
    fw_kv_watch *watch;
    char *record;
    size_t len, capacity, puts, deletes, resyncs, lives, stales;
    int reason;
    int64_t last_revision;
    char detail[400];
    char *last_value;
} redist_watcher;

void redist_watch(redist_watcher *watcher, fw_kv *kv, const char *key, bool tree);
/* Runs the loop until the record contains text. */
void redist_expect(redist_watcher *watcher, const char *text);
/* The record without "stale " and "live ", to be freed. */
char *redist_data(const redist_watcher *watcher);
void redist_watcher_fini(redist_watcher *watcher); /* after the store was closed, or the watch */

typedef struct redist_lease {
    fw_kv_lease *lease;
    bool granted, lost, closed;
    int status, reason;
    char detail[400];
} redist_lease;

void redist_lease_new(redist_lease *lease, fw_kv *kv, unsigned ttl_ms);
/* Closes it and waits for the end. */
void redist_lease_close(redist_lease *lease);

#endif
