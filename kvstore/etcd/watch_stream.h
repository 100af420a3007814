/* A stream of etcd's with the watches on it, as watch_stream.c and watch_probe.c see it. */
#ifndef FWI_ETCD_WATCH_STREAM_H
#define FWI_ETCD_WATCH_STREAM_H

#include "streams.h"

#define FWI_ETCD_SLOT_BITS 7
#define FWI_ETCD_RIDERS    (1 << FWI_ETCD_SLOT_BITS)
#define FWI_ETCD_CREATES   64 /* unanswered */

struct fwi_etcd_watch_stream {
    fwi_list node; /* in watches->streams */
    fwi_etcd_client *client;
    fwi_etcd_call *call;
    size_t endpoint;     /* of the call */
    unsigned generation; /* of its token */
    bool sealed;         /* its token is refused */
    bool busy;           /* must not be freed now, nor send */
    enum { UNKNOWN, OURS, THEIRS } ids;
    fwi_etcd_watch *riders[FWI_ETCD_RIDERS];
    size_t count, next_slot;
    int64_t sequence;
    fwi_list to_create;                 /* fwi_etcd_watch.node */
    int64_t creating[FWI_ETCD_CREATES]; /* ids, in the order they were sent; a ring */
    size_t creating_first, creating_count;
    int64_t cancels[FWI_ETCD_RIDERS];
    size_t cancel_count;
    void *probe;            /* a request */
    int64_t probe_revision; /* of a probe for those BEHIND; 0: for those UNSURE */
    int64_t compacted;      /* the last of our revisions that the history does not follow */
    bool bisecting;         /* there is one, and not all others are known not to be */
    fw_backoff backoff;
    fwi_timer timer;
    fwi_etcd_auth_wait auth_wait;
};

/* Around everything in which watches may leave. The stream may be gone after finish. */
void fwi_etcd_watch_stream_begin(fwi_etcd_watch_stream *stream);
void fwi_etcd_watch_stream_finish(fwi_etcd_watch_stream *stream);
/* Contact is lost, and tried to get back later. Not between begin and finish. */
void fwi_etcd_watch_stream_fail(fwi_etcd_watch_stream *stream, int reason, const char *detail);

/* watch_probe.c: begins a probe, if a watch needs one and none is under way (it would be too old
 * for who comes meanwhile). Between begin and finish. */
void fwi_etcd_watch_probe(fwi_etcd_watch_stream *stream);

#endif
