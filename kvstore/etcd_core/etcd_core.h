/*
 * What etcd means, whatever carries it: shared by the driver over gRPC (kvstore/etcd) and the one
 * over the JSON gateway (kvstore/etcd_http). See README.md.
 *
 * Everything runs on the loop's thread. What a driver is called for is in fwi_ec_transport.
 */
#ifndef FWI_ETCD_CORE_H
#define FWI_ETCD_CORE_H

#include "driver.h"
#include "pair.h"

typedef struct fwi_ec_transport fwi_ec_transport;
typedef struct fwi_ec_lease fwi_ec_lease;

/* What the core knows of a store. It stands first in the driver's client, so that the core's
 * functions can stand in its fwi_kv_driver. */
typedef struct fwi_ec_store {
    const fwi_ec_transport *transport;
    fw_kv *kv;
    fw_loop *loop;
    char *prefix; /* "" or "/demo": before every key, without the slash between */
    size_t prefix_len;
} fwi_ec_store;

/* FW_EURL if the URL's path is no prefix; UV_ENOMEM. To be ended with fwi_ec_store_fini in any
 * case. */
FW_MUST_CHECK int fwi_ec_store_init(fwi_ec_store *ret_store, const fwi_ec_transport *transport,
                                    fw_kv *kv, const fw_url *url);
void fwi_ec_store_fini(fwi_ec_store *store);

/* ---- keyspace.c: our keys and etcd's ---- */

/* A key, or a range of keys, as etcd wants it: one block of memory. */
typedef struct fwi_ec_keys {
    fw_slice key, end; /* end is empty for one key */
} fwi_ec_keys;

/* Of one key, or of all below a prefix. False: no memory. */
FW_MUST_CHECK bool fwi_ec_keys_init(fwi_ec_keys *ret_keys, const fwi_ec_store *store,
                                    const char *key, bool tree);
void fwi_ec_keys_fini(fwi_ec_keys *keys);
/* Our part of a key of etcd's. False if it is none that fw_kv_put could have written. */
bool fwi_ec_key_strip(const fwi_ec_store *store, fw_slice full, fw_slice *ret_key);

/* ---- status.c: what etcd's errors mean ---- */

/* gRPC's codes, which the gateway passes on. */
enum {
    FWI_EC_OK = 0,
    FWI_EC_CANCELLED = 1,
    FWI_EC_UNKNOWN = 2,
    FWI_EC_INVALID_ARGUMENT = 3,
    FWI_EC_DEADLINE_EXCEEDED = 4,
    FWI_EC_NOT_FOUND = 5,
    FWI_EC_PERMISSION_DENIED = 7,
    FWI_EC_RESOURCE_EXHAUSTED = 8,
    FWI_EC_FAILED_PRECONDITION = 9,
    FWI_EC_ABORTED = 10,
    FWI_EC_OUT_OF_RANGE = 11,
    FWI_EC_INTERNAL = 13,
    FWI_EC_UNAVAILABLE = 14,
    FWI_EC_DATA_LOSS = 15,
    FWI_EC_UNAUTHENTICATED = 16
};

/* The error of ours for a code and a text of etcd's that are an answer (not a lost one). */
int fwi_ec_status(int code, const char *text);
/* True if the code does not say whether the request was carried out. */
bool fwi_ec_is_lost(int code);
/* True if a member has refused without doing anything, because it has no leader just now. */
bool fwi_ec_has_no_leader(int code, const char *text);

/* ---- pem.c: the files of certificates and keys ---- */

#define FWI_EC_PEM_DETAIL_BYTES 320

/* The texts of the files that a store was given; NULL where none was named. */
typedef struct fwi_ec_pems {
    char *cacert, *cert, *key;
} fwi_ec_pems;

/* Reads the files that are named, and checks that they hold what they should: certificates, a
 * key without a passphrase, which is that of the certificate. FW_ETLS, the system's error for a
 * file that cannot be read; ret_detail (FWI_EC_PEM_DETAIL_BYTES) says why, and *ret_pems is
 * untouched. */
FW_MUST_CHECK int fwi_ec_pems_read(const char *cacert, const char *cert, const char *key,
                                   fwi_ec_pems *ret_pems, char *ret_detail);
/* Frees the texts, and leaves nothing of the key in memory. */
void fwi_ec_pems_fini(fwi_ec_pems *pems);

/* ---- requests, as etcd has them, before they are written for a transport ---- */

typedef enum fwi_ec_method {
    FWI_EC_RANGE,
    FWI_EC_PUT,
    FWI_EC_DELETE,
    FWI_EC_TXN,
    FWI_EC_GRANT,
    FWI_EC_REVOKE,
    FWI_EC_KEEP_ALIVE,
    FWI_EC_METHODS
} fwi_ec_method;

/* A range, a put or a deletion, by itself or in a transaction. What its kind does not have is 0. */
typedef struct fwi_ec_action {
    fwi_ec_method method;
    fw_slice key, end; /* end is empty for one key */
    /* a put's */
    fw_slice value;
    int64_t lease; /* 0: none */
    /* a range's */
    int64_t limit, revision; /* 0: none, the latest */
    bool keys_only, count_only;
} fwi_ec_action;

typedef struct fwi_ec_compare {
    fw_slice key;
    fw_kv_relation relation;
    bool by_value;
    fw_slice value;
    int64_t revision; /* else, of the last change */
} fwi_ec_compare;

typedef struct fwi_ec_txn {
    fwi_ec_compare *compares;
    fwi_ec_action *then, *otherwise;
    size_t compare_count, then_count, otherwise_count;
} fwi_ec_txn;

typedef struct fwi_ec_answer {
    int status;         /* of FW_EUNREACHABLE, FW_EUNKNOWN, ... */
    const char *detail; /* "" if none */
    const void *reply;  /* of the transport's own kind; there if status is FW_OK */
    uint64_t asked_ms;  /* when the attempt that was answered began, on the loop's
                           clock */
} fwi_ec_answer;

typedef void (*fwi_ec_answer_fn)(const fwi_ec_answer *answer, void *arg);

/* All of it is lent for the call. */
typedef struct fwi_ec_question {
    fwi_ec_method method;
    const fwi_ec_action *action; /* range, put, delete */
    const fwi_ec_txn *txn;
    int64_t lease;        /* revoke, keep_alive */
    int64_t ttl_s;        /* grant */
    uint64_t deadline_ms; /* on the loop's clock */
    bool repeatable;      /* doing it twice is as good as once: it may be retried after
                             it was sent */
    bool impatient;       /* every endpoint gets one chance, then it fails */
    bool urgent;          /* does not wait behind operations */
    fwi_ec_answer_fn fn;
    void *arg;
} fwi_ec_question;

/* ---- replies, as a transport reads them ---- */

typedef struct fwi_ec_range {
    int64_t revision, count;
    bool has_pair;
    fwi_ec_pair pair; /* the first one */
} fwi_ec_range;

/* What is there of a list's page besides its pairs. */
typedef struct fwi_ec_page {
    uint64_t cluster;
    int64_t revision;
    size_t count, bytes; /* of pairs; on the wire */
    fw_slice last;       /* the last pair's key */
    bool more;
} fwi_ec_page;

typedef struct fwi_ec_response {
    fwi_ec_method method;
    int64_t deleted;
    fwi_ec_range range;
} fwi_ec_response;

typedef struct fwi_ec_txn_reply {
    int64_t revision;
    bool succeeded;
    size_t count;
    fwi_ec_response responses[FW_KV_TXN_MAX]; /* a reply with more is malformed */
} fwi_ec_txn_reply;

/* How long the pages of a list are. */
typedef struct fwi_ec_paging {
    int64_t first_keys, most_keys;
    size_t bytes;   /* that a page is to have, once it is known how large the pairs
                       are; 0: all pages have first_keys */
    int too_long;   /* the status of a page that is longer than a message may be */
    int64_t shrink; /* by so much it is made smaller then */
} fwi_ec_paging;

/* How leases are renewed: see lease.c. */
typedef struct fwi_ec_renewer {
    size_t lease_bytes; /* of the driver's lease, which begins with a fwi_ec_lease */
    /* The lease is held, from now on; it is held no longer. May be NULL. */
    void (*begin)(fwi_ec_lease *lease);
    void (*end)(fwi_ec_lease *lease);
    /* A renewal is confirmed (the grant is the first one). When is the next one due? */
    uint64_t (*confirmed)(fwi_ec_lease *lease);
    /* That time, or another one that was set, has come. Sets the next one. */
    void (*due)(fwi_ec_lease *lease);
    /* Why there is no renewal, besides lease->failure; "" if nothing is known. May be NULL. */
    const char *(*trouble)(const fwi_ec_lease *lease);
    /* After a renewal by request has failed `due` comes after this time; 0: not because of it. */
    uint32_t retry_ms;
} fwi_ec_renewer;

/* What a driver gives to the core. The readers return false if the reply is malformed; what they
 * give are views into it. */
struct fwi_ec_transport {
    /* Starts a request; question->fn comes once, on the loop, after this has returned. An error: it
     * never comes. */
    int (*ask)(fwi_ec_store *store, const fwi_ec_question *question, void **ret_request);
    /* No answer comes any more. */
    void (*drop)(void *request);
    /* Of a put, or a deletion. */
    bool (*read_change)(const void *reply, int64_t *ret_revision, int64_t *ret_deleted);
    bool (*read_range)(const void *reply, fwi_ec_range *ret_range);
    bool (*read_txn)(const void *reply, fwi_ec_txn_reply *ret_reply);
    /* Of a grant, or a renewal. */
    bool (*read_lease)(const void *reply, int64_t *ret_id, int64_t *ret_ttl_s);
    /* Adds the pairs of a page, whose keys fwi_ec_key_strip takes. FW_ESTORE, UV_ENOMEM. */
    int (*take_page)(const fwi_ec_store *store, const void *reply, fwi_kv_pairs *pairs,
                     fwi_ec_page *ret_page);
    fwi_ec_paging paging;
    fwi_ec_renewer renewer;
};

/* ---- list.c: a range of any size ---- */

typedef struct fwi_ec_list fwi_ec_list;

typedef struct fwi_ec_listing {
    int status;
    const char *detail;
    uint64_t cluster;
    int64_t revision;
    fwi_kv_pairs *pairs; /* may be taken over: leave an empty one */
} fwi_ec_listing;

typedef void (*fwi_ec_list_fn)(const fwi_ec_listing *listing, void *arg);

/* fn comes once, on the loop, after this has returned. */
FW_MUST_CHECK int fwi_ec_list_start(fwi_ec_store *store, const char *key, bool tree,
                                    uint64_t deadline_ms, bool impatient, fwi_ec_list_fn fn,
                                    void *arg, fwi_ec_list **ret_list);
/* No answer comes any more. */
void fwi_ec_list_drop(fwi_ec_list *list);
/* Hands the pairs of a listing to a watch's front; fwi_kv_watch_list_end is left to the caller. */
void fwi_ec_listing_tell(const fwi_ec_listing *listing, fw_kv_watch *front);

/* Reads nothing, at a revision (0: now), of a key that may be read: whether that can be done, and
 * the header of the reply, tell a watch what it may have missed. */
FW_MUST_CHECK int fwi_ec_ask_revision(fwi_ec_store *store, fw_slice key, int64_t revision,
                                      fwi_ec_answer_fn fn, void *arg, void **ret_request);

/* ---- txn.c: transactions ---- */

/* A transaction with etcd's keys. */
typedef struct fwi_ec_built_txn {
    fwi_ec_txn txn;
    fwi_ec_keys *keys;
    size_t key_count;
} fwi_ec_built_txn;

/* False: no memory. To be ended with fwi_ec_built_txn_fini in any case. */
FW_MUST_CHECK bool fwi_ec_built_txn_init(fwi_ec_built_txn *ret_built, const fwi_ec_store *store,
                                         const fwi_kv_txn *txn);
void fwi_ec_built_txn_fini(fwi_ec_built_txn *built);
/* Takes what was read out of the reply. FW_ESTORE if it does not fit; UV_ENOMEM. */
FW_MUST_CHECK int fwi_ec_txn_take(fwi_kv_op *op, const fwi_ec_txn_reply *reply);

/* A lease's time in etcd's seconds: rounded up, so that it never becomes 0. */
static inline int64_t fwi_ec_ttl_s(uint32_t ttl_ms)
{
    return ((int64_t)ttl_ms + 999) / 1000;
}

/* ---- ops.c, lease.c: functions of the driver; store is the client, which begins with a
 * fwi_ec_store ---- */

void fwi_ec_submit(void *store, fwi_kv_op *op);
void fwi_ec_lease_grant(void *store, fw_kv_lease *front);
void fwi_ec_lease_revoke(void *store, fw_kv_lease *front);

/* ---- lease.c: for the driver's renewer ---- */

#define FWI_EC_DETAIL_BYTES 400

typedef enum fwi_ec_lease_state {
    FWI_EC_GRANTING,
    FWI_EC_HELD,
    FWI_EC_LOST,
    FWI_EC_REVOKING
} fwi_ec_lease_state;

struct fwi_ec_lease {
    fwi_ec_store *store;
    fw_kv_lease *front;
    fwi_ec_lease_state state;
    bool revoke_wanted;
    uint64_t revoke_deadline_ms;
    int64_t id;
    uint32_t ttl_ms;
    uint64_t confirmed_ms;             /* when the last confirmed renewal was sent */
    void *request;                     /* grant, revocation, or a renewal by request; NULL: none is
                                          under way */
    fwi_timer timer;                   /* HELD: the next thing to do, at the latest the end */
    char failure[FWI_EC_DETAIL_BYTES]; /* why the last renewal by request failed */
};

/* The store has confirmed a renewal that was sent then; ttl_s <= 0: there is no such lease. */
void fwi_ec_lease_confirm(fwi_ec_lease *lease, int64_t ttl_s, uint64_t asked_ms);
/* `due` comes then, or the end if that is before. */
void fwi_ec_lease_set_timer(fwi_ec_lease *lease, uint64_t at_ms);
/* Renews by a request, unless one is under way. An error: none was started. */
int fwi_ec_lease_request(fwi_ec_lease *lease, uint64_t deadline_ms);

#endif
