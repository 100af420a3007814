/*
 * What is carried by bidirectional streams: many watches on few streams, and the renewals of all
 * leases on one.
 *
 *     watch.c         one watch: its list, its place on a stream, what the front is told
 *     watch_stream.c  one stream and the watches that ride on it
 *     watch_probe.c   what they may have missed
 *     watch_events.c  from a message to the front's batch
 *     keep_alive.c    the stream of renewals
 *     lease.c         one lease: when it is renewed, and how
 */
#ifndef FWI_ETCD_STREAMS_H
#define FWI_ETCD_STREAMS_H

#include "etcd.h"

#include <fairway/backoff.h>

#define FWI_ETCD_DETAIL_BYTES 320

typedef struct fwi_etcd_watch fwi_etcd_watch;
typedef struct fwi_etcd_watch_stream fwi_etcd_watch_stream;

/* ---- watch.c ---- */

/* What all watches of a client share. */
struct fwi_etcd_watches {
    fwi_list streams;  /* fwi_etcd_watch_stream.node */
    fwi_list waiting;  /* fwi_etcd_watch.node: for a list, or for a place on a stream */
    fwi_list unserved; /* fw_kv_watch.node: there was no memory for them */
    size_t listing;    /* lists under way */
    fw_backoff backoff;
    fwi_timer pause; /* after a failed list none is begun until it fires */
    fwi_task serve;
    fwi_list refused; /* fwi_etcd_watch.node: they wait for a new token */
    fwi_etcd_auth_wait auth_wait;
};

typedef enum fwi_etcd_watch_state {
    FWI_ETCD_WAITING, /* in watches->waiting or ->refused */
    FWI_ETCD_LISTING,
    FWI_ETCD_RIDING, /* on a stream */
    FWI_ETCD_ENDED
} fwi_etcd_watch_state;

/* Where a riding watch stands with the server. */
typedef enum fwi_etcd_ride {
    FWI_ETCD_TO_CREATE, /* in stream->to_create */
    FWI_ETCD_CREATING,
    FWI_ETCD_CREATED,
    FWI_ETCD_BEHIND, /* created; what has happened since our revision may be compacted */
    FWI_ETCD_UNSURE, /* created at a revision before ours */
    FWI_ETCD_PROBED  /* one of these, and the read that is under way will tell */
} fwi_etcd_ride;

typedef struct fwi_etcd_fragment fwi_etcd_fragment;

struct fwi_etcd_watch {
    fwi_etcd_client *client;
    fw_kv_watch *front;
    fwi_list node;
    fwi_etcd_watch_state state;
    bool list_wanted; /* resuming is not possible */
    uint8_t refusals; /* by the server, perhaps for an old token */
    bool delivering, stopped;
    uint64_t cluster; /* of the last list */
    fwi_ec_list *list;
    /* watch_stream.c's */
    fwi_etcd_watch_stream *stream;
    fwi_etcd_ride ride;
    uint16_t slot;
    int64_t id;
    /* watch_events.c's: the beginning of a revision whose end has not come */
    fwi_etcd_fragment *fragments, **last_fragment;
    int64_t fragments_revision;
};

/* What a stream tells of a watch. They return false if the watch must not be touched any more: it
 * was stopped inside, and is gone, or it has left the stream. */
bool fwi_etcd_watch_stale(fwi_etcd_watch *watch, int reason, const char *detail);
bool fwi_etcd_watch_live(fwi_etcd_watch *watch);
bool fwi_etcd_watch_commit(fwi_etcd_watch *watch, int64_t revision);
/* It leaves the stream: to list again; because of a failure of its own, to try again later (or for
 * good, if the failure is final); to wait for a token newer than this; for good. */
void fwi_etcd_watch_list_again(fwi_etcd_watch *watch);
void fwi_etcd_watch_retry(fwi_etcd_watch *watch, int reason, const char *detail);
void fwi_etcd_watch_refused(fwi_etcd_watch *watch, unsigned generation);
void fwi_etcd_watch_end(fwi_etcd_watch *watch, int reason, const char *detail);

/* ---- watch_stream.c ---- */

/* Gives a watch a place on a stream. False: no memory. */
FW_MUST_CHECK bool fwi_etcd_watch_stream_join(fwi_etcd_watch *watch);
/* Takes it away, and cancels the watch at the server. Nothing if it has none. */
void fwi_etcd_watch_stream_leave(fwi_etcd_watch *watch);

/* ---- watch_events.c ---- */

/* Reads the events without using them. False: malformed. */
bool fwi_etcd_events_check(const fwi_etcd_notice *notice);
/* Delivers what a well-formed notice (of this message) completes, and keeps the rest. */
void fwi_etcd_events_take(fwi_etcd_watch *watch, const fwi_etcd_notice *notice, fw_slice message);
/* Forgets what was kept; it comes again. */
void fwi_etcd_events_forget(fwi_etcd_watch *watch);

/* ---- keep_alive.c ---- */

typedef struct fwi_etcd_renewal fwi_etcd_renewal;

/* Of one lease, again and again. In the memory of its owner. */
struct fwi_etcd_renewal {
    fwi_list node;
    bool is_asked;
    int64_t id;
    uint64_t asked_ms; /* when it was last handed to gRPC, on the loop's clock */
    /* etcd's answer, once for each ask. ttl_s is 0 if the lease is gone. */
    void (*fn)(fwi_etcd_renewal *renewal, int64_t ttl_s, void *arg);
    void *arg;
};

void fwi_etcd_renewal_init(fwi_etcd_client *client, fwi_etcd_renewal *renewal, int64_t id,
                           void (*fn)(fwi_etcd_renewal *renewal, int64_t ttl_s, void *arg),
                           void *arg);
/* fn does not come any more. */
void fwi_etcd_renewal_fini(fwi_etcd_client *client, fwi_etcd_renewal *renewal);
/* Asks etcd to renew the lease, unless it is asked already. */
void fwi_etcd_renewal_ask(fwi_etcd_client *client, fwi_etcd_renewal *renewal);
/* The answer is not wanted any more. */
void fwi_etcd_renewal_withdraw(fwi_etcd_renewal *renewal);
/* An answer has not come for limit_ms. If the stream has been silent for so long, it is given up
 * for one on the next endpoint. */
void fwi_etcd_renewal_overdue(fwi_etcd_client *client, uint64_t limit_ms);
/* Why there is no answer, in words; "" if there is no reason to tell. */
const char *fwi_etcd_renewal_failure(const fwi_etcd_client *client);

/* ---- lease.c: see fwi_ec_renewer ---- */

typedef struct fwi_etcd_lease {
    fwi_ec_lease core;
    fwi_etcd_renewal renewal; /* while it is held */
} fwi_etcd_lease;

void fwi_etcd_lease_begin(fwi_ec_lease *core);
void fwi_etcd_lease_end(fwi_ec_lease *core);
uint64_t fwi_etcd_lease_confirmed(fwi_ec_lease *core);
void fwi_etcd_lease_due(fwi_ec_lease *core);
const char *fwi_etcd_lease_trouble(const fwi_ec_lease *core);

#endif
