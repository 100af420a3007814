/*
 * One opened store: its main session, on which everything runs but what is put under a lease, and
 * the jobs, leases and watches that use it.
 */
#ifndef FWI_ZK_STORE_H
#define FWI_ZK_STORE_H

#include "names.h"
#include "session.h"

/* A session that pairs belong to: a lease, or one that a put with a time to live has for itself. */
typedef struct fwi_zk_lease {
    struct fwi_zk_store *store;
    fw_kv_lease *lease; /* NULL: of a put with a time to live */
    fwi_zk_session *session;
    fwi_list node;
    uint32_t ttl_ms;       /* asked for */
    uint64_t confirmed_ms; /* when the last renewal that was confirmed was sent; 0: none yet */
    uint64_t sent_ms;
    bool renewing, granted, over;
    bool revoked;      /* nobody wants it any more */
    bool opening;      /* one of store->opening */
    fwi_list unopened; /* in store->unopened */
    fwi_timer timer;
} fwi_zk_lease;

typedef struct fwi_zk_store {
    fw_kv *kv;
    fw_loop *loop;
    char *root; /* "" or "/a/b" */
    size_t packet_bytes;
    fw_url_host *hosts;
    size_t host_count;
    char *auth;
    fwi_zk_servers servers;

    fwi_zk_session *main;  /* NULL: between two */
    size_t sessions;       /* that are not freed yet, the main one included */
    fwi_timer patience;    /* until another main session is tried */
    fwi_zk_session *scout; /* finds out whether a new session would be served; NULL: none */
    fwi_timer scouting;    /* until one is sent */
    fwi_timer unreached;   /* until watches are told that the store was never reached */
    int64_t main_id;       /* of the main session that knows the watches */
    bool told_stale;
    int stale_reason;
    const char *stale_detail;

    fwi_list jobs, leases, watches;
    fwi_list unopened;       /* leases that wait for their turn to connect */
    size_t opening;          /* leases that are connecting */
    fwi_map watched;         /* path -> list of the watches' nodes */
    fwi_map probes;          /* path -> the newest probe of it that is out */
    uint64_t reads;          /* that watches have sent */
    size_t reads_out;        /* of these, with those that wait for a probe: not answered yet */
    fwi_list runnable;       /* watches that have something to do */
    fwi_list failed_watches; /* the front's, for lack of memory */
    fwi_task run_watches;
    int64_t seen; /* largest revision that was seen */
    size_t ttl_puts;
    bool closing;
} fwi_zk_store;

static inline bool fwi_zk_is_up(const fwi_zk_session *session)
{
    return session && session->state == FWI_ZK_UP && !session->closed;
}

void fwi_zk_see(fwi_zk_store *store, int64_t revision);
void fwi_zk_see_stat(fwi_zk_store *store, const struct Stat *stat);
/* The pair's lease that a node's owner is; containers and nodes with a time to live have owners
 * that are no sessions. */
static inline int64_t fwi_zk_owner(const struct Stat *stat)
{
    return stat->ephemeralOwner > 0 ? stat->ephemeralOwner : 0;
}
/* Our error for the library's. */
int fwi_zk_status(int rc);
static inline bool fwi_zk_is_lost(int rc)
{
    return rc == ZCONNECTIONLOSS || rc == ZOPERATIONTIMEOUT || rc == ZSESSIONEXPIRED ||
           rc == ZSESSIONMOVED || rc == ZINVALIDSTATE || rc == ZCLOSING || rc == ZTHROTTLEDOP;
}
/* CLOCK_BOOTTIME: it goes on while the machine sleeps. */
uint64_t fwi_zk_clock_ms(void);

/* ---- jobs (job.c): an operation, from submit to finish ---- */

typedef struct fwi_zk_job fwi_zk_job;
typedef void (*fwi_zk_step_fn)(fwi_zk_job *job, fwi_zk_request *request);

struct fwi_zk_job {
    fwi_zk_store *store;
    fwi_kv_op *op; /* NULL: finished; the job lives until its last request is answered */
    fwi_list node;
    fwi_zk_lease *lease; /* whose session it runs on; NULL: the main one */
    fwi_timer deadline;
    size_t outstanding; /* requests of this round */
    size_t references;  /* all requests, and who holds it */
    unsigned round;     /* counts runs */
    bool waiting;       /* for the session */
    bool wrote;         /* a request is out, or was lost, that may have changed something */
    fwi_zk_step_fn step;
    bool parents_denied;
    bool lost; /* of the requests that are out together: one was lost, one was refused */
    int error;
    void (*run)(fwi_zk_job *job);  /* from the start */
    void (*fini)(fwi_zk_job *job); /* frees it */
};

/* Takes the operation; run follows when the session is there. */
void fwi_zk_job_start(fwi_zk_job *job, fwi_zk_store *store, fwi_kv_op *op);
/* Ends the operation; the job may be freed in this call. */
void fwi_zk_job_finish(fwi_zk_job *job, int status, const char *detail);
/* With what the library answered. */
void fwi_zk_job_fail(fwi_zk_job *job, int rc);
/* Begins again with run, at once or when the session is back. */
void fwi_zk_job_again(fwi_zk_job *job);
/* Between these the job is not freed, though its operation may end. */
void fwi_zk_job_hold(fwi_zk_job *job);
void fwi_zk_job_release(fwi_zk_job *job);
fwi_zk_session *fwi_zk_job_session(const fwi_zk_job *job);
/* A request whose answer comes to step, unless the operation has ended. NULL: the job waits for the
 * session again, or has ended for lack of memory; the caller returns. */
fwi_zk_request *fwi_zk_job_request(fwi_zk_job *job, fwi_zk_step_fn step, size_t index);
/* Of a request of the job that could not be sent. */
void fwi_zk_job_drop_request(fwi_zk_job *job, fwi_zk_request *request);
/* Asks the server to catch up with the leader, so that the reads behind it see every write that was
 * acknowledged before. False: the job has ended. */
bool fwi_zk_job_sync(fwi_zk_job *job, fwi_zk_step_fn step);
/* For steps of reads that are out together: each answer is noted; gathered is true with the last,
 * if all have succeeded or found nothing. If one was lost, the job begins again; if one was
 * refused, it fails. */
void fwi_zk_job_note(fwi_zk_job *job, const fwi_zk_request *request);
bool fwi_zk_job_gathered(fwi_zk_job *job);
/* Makes, as directories, what is above the path; run follows. */
void fwi_zk_job_make_parents(fwi_zk_job *job, const char *path);
/* The session is there, or has gone for good (lease NULL: the main one). */
void fwi_zk_jobs_resume(fwi_zk_store *store, const fwi_zk_lease *lease);
void fwi_zk_jobs_lease_over(fwi_zk_store *store, fwi_zk_lease *lease, int status,
                            const char *detail);

/* ---- a look at a key (look.c): the two znodes that may hold it ---- */

typedef struct fwi_zk_seen_node {
    bool there;
    struct Stat stat;
    char *data;
    int len;
} fwi_zk_seen_node;

typedef struct fwi_zk_look {
    char *path, *leased_path;
    fwi_zk_seen_node plain, leased;
} fwi_zk_look;

/* Makes the paths. UV_ENOMEM. */
FW_MUST_CHECK int fwi_zk_look_init(fwi_zk_look *look, const char *root, const char *key);
void fwi_zk_look_fini(fwi_zk_look *look);
void fwi_zk_look_forget(fwi_zk_look *look);
/* Asks for both, plain first; the requests' indices are index and index + 1. False: the job has
 * ended. */
bool fwi_zk_look_ask(fwi_zk_look *look, fwi_zk_job *job, fwi_zk_step_fn step, size_t index);
/* Takes the answer to one. */
void fwi_zk_look_take(fwi_zk_seen_node *node, fwi_zk_request *request);
/* True if the node holds a pair. */
bool fwi_zk_node_value(const fwi_zk_seen_node *node, fw_slice *ret_value);
/* The one that holds the key's pair: of two, the one that was written later. NULL: no such key. */
const fwi_zk_seen_node *fwi_zk_look_pair(const fwi_zk_look *look, fw_slice *ret_value);

/* ---- operations ---- */

void fwi_zk_get_start(fwi_zk_store *store, fwi_kv_op *op);     /* simple.c */
void fwi_zk_enqueue_start(fwi_zk_store *store, fwi_kv_op *op); /* simple.c */
void fwi_zk_list_start(fwi_zk_store *store, fwi_kv_op *op);    /* list.c */
void fwi_zk_change_start(fwi_zk_store *store, fwi_kv_op *op);  /* change.c */

/* ---- leases (lease.c) ---- */

void fwi_zk_lease_grant(void *store, fw_kv_lease *lease);
void fwi_zk_lease_revoke(void *store, fw_kv_lease *lease);
fwi_zk_lease *fwi_zk_lease_find(fwi_zk_store *store, int64_t id);
/* A session for a put with a time to live; NULL without memory. */
fwi_zk_lease *fwi_zk_lease_for_put(fwi_zk_store *store, uint32_t ttl_ms);
/* The put has ended: drop says that its pair shall live on. */
void fwi_zk_lease_put_done(fwi_zk_lease *lease, bool drop);

/* ---- watches (watch.c) ---- */

void fwi_zk_watch_start(void *store, fw_kv_watch *watch);
void fwi_zk_watch_stop(void *store, fw_kv_watch *watch);
void fwi_zk_watches_init(fwi_zk_store *store);
void fwi_zk_watches_fini(fwi_zk_store *store);
/* The main session: UP; fresh says that it knows none of the watches that were set. */
void fwi_zk_watches_resume(fwi_zk_store *store, bool fresh);
void fwi_zk_watches_stale(fwi_zk_store *store, int reason, const char *detail);
void fwi_zk_watches_changed(fwi_zk_store *store, const char *path, int type);

/* ---- life (store.c) ---- */

int fwi_zk_open(fw_kv *kv, const fw_url *url, const fwi_kv_access *access, void **ret_store);
void fwi_zk_close(void *store);
void fwi_zk_submit(void *store, fwi_kv_op *op);
/* After a session of the store was freed. */
void fwi_zk_session_gone(fwi_zk_store *store);

#endif
