/*
 * A session with ZooKeeper and the requests on it, brought to the loop: the client library works in
 * two threads of its own for each session, and calls back there.
 *
 *     OPENING -> DOWN <-> UP            any -> OVER, any -> CLOSING -> (freed)
 *
 * OPENING  the names of the servers are looked up and the library is started, in libuv's pool
 * DOWN     no connection; the library looks for one
 * UP       connected: requests may be sent
 * OVER     expired, refused, or it could not be opened: nothing can be done but to close it
 * CLOSING  waits for the last request, then ends the library in libuv's pool
 */
#ifndef FWI_ZK_SESSION_H
#define FWI_ZK_SESSION_H

#include "driver.h"

#include <stdatomic.h>
#include <uv.h>
#ifndef THREADED
#define THREADED /* the header wants it for the library that has threads */
#endif
#include <zookeeper/zookeeper.h>

typedef enum fwi_zk_state {
    FWI_ZK_OPENING,
    FWI_ZK_DOWN,
    FWI_ZK_UP,
    FWI_ZK_OVER,
    FWI_ZK_CLOSING
} fwi_zk_state;

/* Where the servers are, and who we are. Strings are lent by the store, which outlives its
 * sessions. */
typedef struct fwi_zk_servers {
    const fw_url_host *hosts;
    size_t count;
    const char *auth; /* "user:password", or NULL */
} fwi_zk_servers;

typedef struct fwi_zk_session fwi_zk_session;
typedef struct fwi_zk_events {
    /* DOWN, UP or OVER; OVER is told once and last. */
    void (*on_state)(fwi_zk_session *session, void *arg);
    /* A watch of this path has fired; may be NULL. */
    void (*on_change)(const char *path, int type, void *arg);
    /* After fwi_zk_session_close: the session is freed after the return. */
    void (*on_closed)(fwi_zk_session *session, void *arg);
} fwi_zk_events;

struct fwi_zk_session {
    fw_loop *loop;
    const fwi_zk_servers *servers;
    const fwi_zk_events *events;
    void *arg;
    fwi_list node; /* the owner's */

    zhandle_t *zh;
    fwi_zk_state state;
    uint32_t timeout_ms; /* asked for, then as the server has it */
    int64_t id;          /* once it was UP */
    int reason;          /* OVER: why */
    const char *detail;  /* static */

    bool opened, connected_early; /* OPENING: the library was faster than the loop */
    bool closed;                  /* wanted */
    bool drop;                    /* the server shall not learn that it ended */
    bool ending;
    bool unconfirmed_auth; /* the one that drops the session */
    size_t outstanding;    /* requests */
    uv_work_t work;
    bool working; /* in the pool, but for the end */
    fwi_timer force;
    fwi_task last;
    /* An event was lost for lack of memory: the session cannot be relied on. */
    atomic_bool lost_event;
    fwi_task lost;
};

/* Opens; on_state follows. NULL without memory. */
fwi_zk_session *fwi_zk_session_new(fw_loop *loop, const fwi_zk_servers *servers,
                                   uint32_t timeout_ms, const fwi_zk_events *events, void *arg);
/* Closes, so that the server deletes what belongs to the session; with drop, without telling the
 * server, which will expire it after its time. Waits at most grace_ms for requests that are out;
 * no event comes any more but on_closed, in a later turn. */
void fwi_zk_session_close(fwi_zk_session *session, bool drop, uint32_t grace_ms);

/* ---- requests ---- */

typedef struct fwi_zk_request fwi_zk_request;
typedef void (*fwi_zk_done_fn)(fwi_zk_request *request, void *arg);

/* Answered exactly once, in a later turn of the loop, and freed after it. */
struct fwi_zk_request {
    fwi_task task;
    fwi_zk_session *session;
    fwi_zk_done_fn done;
    void *arg;
    size_t index; /* the caller's, as is round */
    unsigned round;

    int rc; /* ZOK, or the library's error */
    struct Stat stat;
    char *data; /* get: malloc'ed, may be taken (NULL if data_len <= 0); create: the path */
    int data_len;
    char **names; /* children: in one block, may be taken */
    size_t name_count;

    /* multi; the arrays are in its own memory */
    size_t count, capacity;
    zoo_op_t *ops;
    zoo_op_result_t *results;
    struct Stat *stats;
    char **owned; /* paths and data, freed with it */
    size_t owned_count, owned_capacity;
    size_t bytes;
};

/* NULL without memory. The session must be UP when it is sent. */
fwi_zk_request *fwi_zk_request_new(fwi_zk_session *session, fwi_zk_done_fn done, void *arg);
void fwi_zk_request_free(fwi_zk_request *request); /* one that was not sent */
/* Each sends and hands over the request. */
void fwi_zk_send_sync(fwi_zk_request *request, const char *path);
void fwi_zk_send_exists(fwi_zk_request *request, const char *path, bool watch);
void fwi_zk_send_get(fwi_zk_request *request, const char *path, bool watch);
void fwi_zk_send_children(fwi_zk_request *request, const char *path, bool watch);
void fwi_zk_send_set(fwi_zk_request *request, const char *path, const char *data, size_t len);
void fwi_zk_send_create(fwi_zk_request *request, const char *path, const char *data, size_t len,
                        int mode);
void fwi_zk_send_multi(fwi_zk_request *request);

/* Operations of a multi. Paths and data are copied into it. UV_ENOMEM. */
FW_MUST_CHECK int fwi_zk_multi_create(fwi_zk_request *request, const char *path, int mode);
FW_MUST_CHECK int fwi_zk_multi_delete(fwi_zk_request *request, const char *path, int version);
FW_MUST_CHECK int fwi_zk_multi_check(fwi_zk_request *request, const char *path, int version);
FW_MUST_CHECK int fwi_zk_multi_set(fwi_zk_request *request, const char *path, fw_slice data,
                                   int version);
/* True if the operation at this place creates a node. */
bool fwi_zk_multi_creates(const fwi_zk_request *request, size_t index);
/* What a packet of it takes, roughly and rather more. */
size_t fwi_zk_multi_bytes(const fwi_zk_request *request);
/* Of a multi that was done: its transaction id, from a set in it; 0 if there is none. */
int64_t fwi_zk_multi_zxid(const fwi_zk_request *request);

/* Of the session, for its requests; the first is called in the library's thread. */
void fwi_zk_on_event(zhandle_t *zh, int type, int state, const char *path, void *session);
void fwi_zk_session_answered(fwi_zk_session *session);

#endif
