/* What the tests of the ZooKeeper driver share: a server for each program, and a client of another
 * kind, that looks at the znodes themselves. Operations and watches are those of the conformance
 * suite. */
#ifndef ZKT_H
#define ZKT_H

#include "kvt.h"

#ifndef THREADED
#define THREADED
#endif
#include <zookeeper/zookeeper.h>

extern fwt_zookeeper zkt_server;
/* A case with a server of its own for all its tests. */
TCase *zkt_tcase(Suite *suite, const char *name, double timeout_s);

/* Opens zk://127.0.0.1:PORT/PATH with a timeout. */
fw_kv *zkt_open(int port, const char *path, uint32_t timeout_ms);
/* Closes, and fails if that takes longer. */
void zkt_close(fw_kv *kv, unsigned within_ms);
/* Waits for an event of this type, passing over all others; returns it. */
const kvt_event *zkt_until(kvt_watch *watch, fw_kv_event_type type);
uint64_t zkt_now_ms(void);

/* ---- another client; `credentials` ("user:password") may be NULL ---- */
zhandle_t *zkt_connect(int port, const char *credentials);
/* Fails the test unless it is what is wanted. */
#define ZKT_IS(expr, code)                                                                         \
    do {                                                                                           \
        int zkt_rc_ = (expr);                                                                      \
        ck_assert_msg(zkt_rc_ == (code), "%s: %s", #expr, zerror(zkt_rc_));                        \
    } while (0)
void zkt_create(zhandle_t *zh, const char *path, const char *data, int len, int mode);
/* Fails unless the node has these bytes; returns its owner. */
int64_t zkt_expect_data(zhandle_t *zh, const char *path, const void *data, int len);

#endif
