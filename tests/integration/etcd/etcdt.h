/* What the tests of the etcd drivers share beside storet.h: opening, etcdctl for what must be seen
 * from outside, and what is done to a server. */
#ifndef ETCDT_H
#define ETCDT_H

#include "storet.h"

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

/* Runs etcdctl with the arguments (NULL-terminated) and returns its output, valid until the next.
 */
const char *etcdt_ctl(int port, ...);

/* Runs the server under another port, where the client cannot reach it and the test can. */
void etcdt_restart_at(fwt_etcd *etcd, int port);
/* Compacts the server's history up to its present revision. */
void etcdt_compact(int port);

/* What a driver has beyond the cases that both run; for programs that are built with ETCDT_MORE. */
void etcdt_add_more(TCase *tcase);
/* test_etcd_watch.c: writes big values while the watch is away, and lets it come back to them. */
void etcdt_come_back_to(storet_watcher *watcher, size_t count);

#endif
