/*
 * Discovery: services register their instances in the store; clients watch them.
 *
 * An instance stands under `services/<service>/<instance id>` as walle's JSON node (net, addr, bn,
 * state, md) with additions that walle's reader ignores (weight, zone, protocol, version, started).
 * Beside them stand `drains/...`, requests to take an instance out of use, and `consumers/...`, who
 * watches and what they have seen.
 */
#ifndef FAIRWAY_DISCOVERY_H
#define FAIRWAY_DISCOVERY_H

#include <fairway/kvstore.h>

FW_BEGIN_DECLS

typedef enum fw_instance_state {
    FW_INSTANCE_ONLINE = 0,
    FW_INSTANCE_OFFLINE = 1 /* draining: no new work */
} fw_instance_state;

typedef struct fw_instance_field {
    const char *name;
    const char *value;
} fw_instance_field;

/* One instance of a service. Those that the library hands out are immutable and counted. */
typedef struct fw_instance {
    const char *service;  /* letters, digits, and . _ - ; at most 128 bytes */
    const char *id;       /* the same; unique within the service */
    const char *net;      /* "tcp", "unix": the scheme of the URL to call it at */
    const char *addr;     /* the rest of that URL: "10.0.0.7:7001", "/run/echo.sock" */
    const char *balance;  /* walle's balancer name; may be empty */
    const char *zone;     /* may be empty */
    const char *protocol; /* "walle" (also when empty) */
    const char *version;  /* may be empty */
    fw_instance_state state;
    uint32_t weight;                   /* 0 is read and written as 1 */
    int64_t started;                   /* Unix seconds; 0: unknown */
    const fw_instance_field *metadata; /* sorted by name when read */
    size_t metadata_count;
} fw_instance;

/* Makes a counted copy. FW_ESERVICE, FW_EINSTANCE (bad id, net or addr), UV_ENOMEM. Any thread. */
FW_API FW_MUST_CHECK int fw_instance_create(const fw_instance *from,
                                            const fw_instance **ret_instance);
/* Counted references; only of instances that came from the library. Any thread. */
FW_API const fw_instance *fw_instance_acquire(const fw_instance *instance);
FW_API void fw_instance_release(const fw_instance *instance);
/* The instance as JSON, byte for byte as walle writes it where the additions are not used; to be
 * freed with free(). UV_ENOMEM. Any thread. */
FW_API FW_MUST_CHECK int fw_instance_encode(const fw_instance *instance, char **ret_json);
/* Reads what fw_instance_encode or walle wrote. FW_EINSTANCE: no JSON object, or a field of the
 * wrong type; FW_ESERVICE; UV_ENOMEM. Any thread. */
FW_API FW_MUST_CHECK int fw_instance_decode(const char *service, const char *id, fw_slice json,
                                            const fw_instance **ret_instance);
/* Splits a URL "tcp://host:port" or "unix:/path" into net and addr, both to be freed. FW_EURL,
 * UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_instance_parse_url(const char *url, char **ret_net, char **ret_addr);
/* The URL to call the instance at, to be freed. UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_instance_url(const fw_instance *instance, char **ret_url);

/* The URL to register for a listener, to be freed: that of the listener, unless it listens on all
 * interfaces ("tcp://0.0.0.0:80", "tcp://[::]:80", "tcp://:80"). Then its host becomes `host`, or
 * FAIRWAY_ADVERTISE of the environment, or the address that this machine or container has towards
 * the outside. FW_EURL, UV_ENOMEM. Any thread. */
FW_API FW_MUST_CHECK int fw_instance_advertise_url(const char *listen_url, const char *host,
                                                   char **ret_url);

/* ---- registrar ---- */

/*
 * Keeps instances registered: a desired state that is reconciled for ever. It grants one lease,
 * puts every instance under it, reads it back, and on anything unexpected (lease lost, key deleted,
 * store away) does so again with jittered backoff. It never gives up.
 */
typedef struct fw_registrar fw_registrar;

typedef enum fw_registrar_state {
    FW_REGISTRAR_PENDING,    /* on its way; also when another instance has been added, which is not
                                told */
    FW_REGISTRAR_REGISTERED, /* every instance was read back from the store */
    FW_REGISTRAR_LOST        /* not known to be registered; reason and detail say why */
} fw_registrar_state;

typedef struct fw_registrar_status {
    fw_registrar_state state;
    int reason;
    const char *detail;   /* lent */
    uint64_t since_ms;    /* on the loop's clock */
    uint32_t next_try_ms; /* from now; 0: under way */
} fw_registrar_status;

typedef struct fw_registrar_options {
    uint32_t ttl_ms; /* of the lease, 1000 at least; 0: 10000 */
    /* The time over which registrars that a store's outage has unlisted come back, each at a moment
     * of its own; 0: half of ttl_ms, at most 5000. */
    uint32_t spread_ms;
    /* Every change of state, on the loop; may be NULL. To wait until everything is registered, wait
     * for FW_REGISTRAR_REGISTERED: every instance was read back from the store by then. */
    void (*on_status)(fw_registrar *registrar, const fw_registrar_status *status, void *arg);
    /* Somebody has asked that the instance be drained (fw_drain_new): it was marked offline and
     * read back, no new work comes. End its work, then call fw_registrar_remove. Once for each
     * request (but for one that is taken back before it is told); with is_draining false when the
     * request was taken back, and the instance is as it was set again. On the loop; may be NULL.
     * The instance is lent, in its present state. */
    void (*on_drain)(fw_registrar *registrar, const fw_instance *instance, bool is_draining,
                     void *arg);
    void *arg;
} fw_registrar_options;

/* Makes a registrar on the store's loop; the store must outlive it. FW_EOPTION, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_registrar_new(fw_kv *kv, const fw_registrar_options *options,
                                          fw_registrar **ret_registrar);
/* Wants the instance registered (copied); again with the same service and id: updates it. While a
 * request to drain it stands in the store it is offline whatever its state says, from the start if
 * the request was there before.
 * FW_ESERVICE, FW_EINSTANCE, FW_ECLOSED, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_registrar_set(fw_registrar *registrar, const fw_instance *instance);
/* Takes one instance out: it is deleted from the store, the others stay. To let its work end first,
 * set its state to offline before. A request to drain it is deleted, too. Wanted again later:
 * fw_registrar_set. FW_ENOTFOUND, FW_ECLOSED. */
FW_API FW_MUST_CHECK int fw_registrar_remove(fw_registrar *registrar, const char *service,
                                             const char *id);
FW_API void fw_registrar_get_status(const fw_registrar *registrar, fw_registrar_status *ret_status);

/* An instance as its registrar has it. */
typedef struct fw_registrar_entry {
    const fw_instance *instance; /* lent; as it is put: offline while it is drained */
    bool registered;             /* it was read back from the store */
    bool draining;               /* a request to drain it stands in the store */
    int64_t revision;            /* at which it was read back; 0: not registered */
} fw_registrar_entry;
typedef void (*fw_registrar_entry_fn)(const fw_registrar_entry *entry, void *arg);
/* Calls for each instance that is wanted, in the order in which they were set, before it returns.
 */
FW_API void fw_registrar_each(const fw_registrar *registrar, fw_registrar_entry_fn fn, void *arg);

/* Leaves: the lease is revoked, so the instances are gone from the store at once (or when the lease
 * expires, if the store is away), and requests to drain them are deleted. Then on_closed (may be
 * NULL). Idempotent. */
FW_API void fw_registrar_close(fw_registrar *registrar, fw_kv_closed_fn on_closed, void *arg);

/* ---- watcher ---- */

/* Follows the instances of one service, or of all. */
typedef struct fw_watcher fw_watcher;

typedef enum fw_watcher_event_type {
    FW_WATCHER_ADDED,
    FW_WATCHER_CHANGED,
    FW_WATCHER_REMOVED,
    FW_WATCHER_RESTORED, /* the list is the one that was saved on disk; at most once, before the
                            first SYNCED, whose differences to it come as events of their own */
    FW_WATCHER_SYNCED,   /* the list is complete as of now: once at the start, and after a resync */
    FW_WATCHER_HELD, /* the store no longer has the instance, but it answers: it stays in the list
                      */
    FW_WATCHER_RELISTED, /* the store has it again as it was */
    FW_WATCHER_STALE,    /* the store is out of reach: the list may be old */
    FW_WATCHER_LIVE,     /* it is back, nothing was missed */
    FW_WATCHER_FATAL     /* the watch cannot go on */
} fw_watcher_event_type;

typedef struct fw_watcher_event {
    fw_watcher_event_type type;
    const fw_instance *instance; /* ADDED ... HELD, RELISTED (as last known): acquire to keep */
    int64_t revision;
    int reason; /* STALE, FATAL */
    const char *detail;
} fw_watcher_event;

/* Which instances: those for which everything holds that is set. */
typedef struct fw_instance_filter {
    const char *const *services; /* one of these; "web*": all that begin so */
    size_t service_count;        /* 0: all */
    const char *zone;            /* NULL: any, as for the others */
    const char *version;
    const fw_instance_field *metadata; /* all of these; value NULL: whatever it is */
    size_t metadata_count;
    bool online_only;
} fw_instance_filter;

/* Any thread. */
FW_API bool fw_instance_matches(const fw_instance *instance, const fw_instance_filter *filter);

typedef struct fw_watcher_options {
    /* Only these are in the list; one that begins to match is ADDED, one that ceases to is REMOVED.
     * Copied; NULL: all. With several services give NULL for fw_watcher_new's: it is one watch. */
    const fw_instance_filter *filter;
    /* A file in which the list is kept, so that the next start has one with the store dead; NULL:
     * none. Each watcher needs its own. It is written some time after a change, and when the
     * watcher is closed. */
    const char *saved_list;
    uint32_t save_after_ms; /* 0: 5000 */
    /* What the store has lost is out of the list at once, whatever it is. Otherwise, when a service
     * loses more than one instance within half a minute, or the last that is online, each but the
     * first is asked whether it is there (a connection is made): one that is not goes at once, one
     * that answers stays for as long as it does. An instance that was marked offline always goes at
     * once. */
    bool no_hold;
    /* Announces the watcher to those who drain: it stands in the store as
     * `consumers/<service, or *>/<this name>`, under a lease, with the revision that it has told
     * on_event of. A drain waits until every announced consumer has seen the instance offline. The
     * name is like an instance's id, and no other consumer of the service may have it; "": one is
     * made up; NULL: not announced. Copied. */
    const char *consumer;
    uint32_t consumer_ttl_ms; /* of that lease, 1000 at least; 0: 10000 */
    void (*on_event)(fw_watcher *watcher, const fw_watcher_event *event, void *arg);
    void *arg;
} fw_watcher_options;

/* service NULL: all services. The store must outlive the watcher. FW_ESERVICE, FW_EOPTION (consumer
 * or its time), FW_ECLOSED, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_watcher_new(fw_kv *kv, const char *service,
                                        const fw_watcher_options *options,
                                        fw_watcher **ret_watcher);
/* No event after this call; then on_closed (may be NULL). Idempotent, callable in on_event. */
FW_API void fw_watcher_close(fw_watcher *watcher, fw_kv_closed_fn on_closed, void *arg);

typedef enum fw_hold_reason {
    FW_HOLD_MANY, /* its service lost others within half a minute */
    FW_HOLD_LAST  /* it was the last of its service that was online */
} fw_hold_reason;

/* An instance that is in the list though the store no longer has it. */
typedef struct fw_watcher_held {
    const fw_instance *instance; /* borrowed */
    int64_t revision;            /* at which the store lost it */
    uint64_t since_ms;           /* on the loop's clock */
    unsigned answers;            /* to our probes; 0: not known yet */
    fw_hold_reason reason;       /* why it did not go at once */
} fw_watcher_held;
typedef void (*fw_watcher_held_fn)(const fw_watcher_held *held, void *arg);
/* Calls for each, in no order, before it returns. */
FW_API void fw_watcher_each_held(const fw_watcher *watcher, fw_watcher_held_fn fn, void *arg);

/* What a watcher has told lately: its last events, FW_WATCHER_CHANGES at most. */
#define FW_WATCHER_CHANGES 64
typedef struct fw_watcher_change {
    fw_watcher_event_type type;
    const fw_instance *instance; /* borrowed; NULL where the event has none */
    int64_t revision;
    int reason;
    uint64_t at_ms;  /* on the loop's clock */
    int64_t unix_ms; /* the same in Unix time; 0: unknown */
} fw_watcher_change;
typedef void (*fw_watcher_change_fn)(const fw_watcher_change *change, void *arg);
/* Calls for each, the oldest first, before it returns. */
FW_API void fw_watcher_each_change(const fw_watcher *watcher, fw_watcher_change_fn fn, void *arg);

/* Where a list comes from. */
typedef enum fw_list_source {
    FW_LIST_NONE, /* nothing was heard yet */
    FW_LIST_DISK, /* the list that was saved; the store has not told its own in whole yet */
    FW_LIST_STORE
} fw_list_source;

/* How old the watcher's list may be, in ms: 0 while the store is heard; the time since it was heard
 * last, or since the list on disk was saved; UINT64_MAX: there is no list yet. */
FW_API uint64_t fw_watcher_age_ms(const fw_watcher *watcher);

/* The list at one moment, sorted by service and id; immutable. */
typedef struct fw_snapshot {
    size_t count;
    int64_t revision; /* of the store, as far as the watcher has heard */
    bool synced;      /* a complete list was received */
    bool restored;    /* until then: it is the list that was saved at saved_ms */
    int64_t saved_ms; /* Unix time; 0: not from disk */
    size_t held;      /* instances that the store no longer has; see fw_watcher_each_held */
    bool stale;       /* the store is out of reach since stale_since_ms (loop's clock) */
    uint64_t stale_since_ms;
    int stale_reason;
    fw_list_source source;
} fw_snapshot;
/* Acquires the present list, on the loop; it is read and released on any thread. It shares what is
 * unchanged with the lists before and after it: taking one costs the same however long it is, and
 * so does a change while one is held. UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_watcher_snapshot(fw_watcher *watcher, const fw_snapshot **ret_snapshot);
FW_API void fw_snapshot_release(const fw_snapshot *snapshot);
/* Instances of a snapshot, borrowed from it; each look-up takes O(log count). Any thread. */
/* By place, from 0 to count - 1; NULL beyond. */
FW_API const fw_instance *fw_snapshot_at(const fw_snapshot *snapshot, size_t index);
/* By name; NULL: not there. */
FW_API const fw_instance *fw_snapshot_find(const fw_snapshot *snapshot, const char *service,
                                           const char *id);
/* How many instances a service has; they stand together from *ret_first (may be NULL) on. */
FW_API size_t fw_snapshot_service(const fw_snapshot *snapshot, const char *service,
                                  size_t *ret_first);

/* ---- consumers ---- */

/* An instance that a consumer does not use, though it is listed and online. */
typedef struct fw_ejected {
    const char *id, *reason;
} fw_ejected;
/* Has the announcement of the watcher tell which instances its application has ejected, for who
 * asks why (`fairway why`): those of this call, and none of earlier ones. The first FW_MAX_EJECTED
 * are told. Copied. Nothing happens if the watcher is not announced. UV_ENOMEM: it tells what it
 * told before. */
#define FW_MAX_EJECTED 64
FW_API int fw_watcher_set_ejected(fw_watcher *watcher, const fw_ejected *ejected, size_t count);

/* A watcher that is announced (see fw_watcher_options). */
typedef struct fw_consumer {
    const char *service; /* "*": of all */
    const char *name;
    int64_t revision;          /* what it has told its application of; 0: no complete list yet */
    const fw_ejected *ejected; /* instances that it gives no calls for a time */
    size_t ejected_count;
} fw_consumer;

/* Outcome of fw_consumers_list, lent. On failure there is none. */
typedef void (*fw_consumers_fn)(int status, const char *detail, const fw_consumer *consumers,
                                size_t count, void *arg);
/* Lists the consumers of a service, and those of all services. FW_ESERVICE, FW_ECLOSED, UV_ENOMEM;
 * as the status: what fw_kv_list may answer. The store must stay open until the callback. */
FW_API FW_MUST_CHECK int fw_consumers_list(fw_kv *kv, const char *service, fw_consumers_fn done,
                                           void *arg);

/* ---- drain ---- */

/*
 * Takes an instance out of use without failing a call: a request in the store
 * (`drains/<service>/<id>`) has its registrar mark it offline; every announced consumer sees that,
 * and says so; its work ends; it leaves.
 */
typedef struct fw_drain fw_drain;

typedef enum fw_drain_phase {
    FW_DRAIN_ASKED,  /* the request stands in the store */
    FW_DRAIN_MARKED, /* the instance is offline */
    FW_DRAIN_SEEN,   /* every announced consumer has seen it: none will pick it again */
    FW_DRAIN_LEFT    /* the instance is gone from the store */
} fw_drain_phase;

typedef struct fw_drain_progress {
    fw_drain_phase phase;
    int64_t revision; /* at which the instance went offline (or left before that); 0: not yet */
    size_t consumers; /* that are announced */
    size_t awaited;   /* of these: have not seen that revision yet */
    bool by_us;       /* the mark was put by the drain itself, see mark_ms */
} fw_drain_progress;

typedef struct fw_drain_options {
    const char *by; /* who asks, for others to read; NULL: "HOST:PROCESS ID" */
    bool wait_left; /* not done before the instance has left */
    /* How long its registrar may take to mark the instance; 0: 5000. After that a node without a
     * lease, which nobody keeps (walle's), is marked by the drain itself; for one with a lease the
     * drain ends with FW_EDEADLINE. */
    uint32_t mark_ms;
    uint32_t deadline_ms; /* of everything: then FW_EDEADLINE; 0: none */
    /* A phase has been reached, each once and in their order, or, in phase MARKED, the number of
     * consumers has changed. MARKED and SEEN are left out of what an instance that leaves early
     * does not come to. May be NULL. */
    void (*on_phase)(fw_drain *drain, const fw_drain_progress *progress, void *arg);
    /* Exactly once: FW_OK, no consumer will pick the instance again (and it has left, if that was
     * asked); FW_ENOTFOUND, there is no such instance; FW_EDEADLINE; FW_EMODIFIED, it is online
     * again; FW_EINSTANCE, its node cannot be read; FW_ECANCELED, the drain was closed; or what the
     * store answers. The request stays in the store, whatever the status, until the instance leaves
     * or fw_drain_resume. */
    void (*on_done)(fw_drain *drain, int status, const char *detail, void *arg);
    void *arg;
} fw_drain_options;

/* Drains an instance. The store must outlive the drain; options and names are copied. FW_ESERVICE,
 * FW_EINSTANCE (bad id), FW_EOPTION (no on_done), FW_ECLOSED, UV_ENOMEM. To be closed in every
 * case, also when it is done. */
FW_API FW_MUST_CHECK int fw_drain_new(fw_kv *kv, const char *service, const char *id,
                                      const fw_drain_options *options, fw_drain **ret_drain);
/* Calls for each consumer that has not seen the mark yet, in no order, before it returns. None
 * before phase MARKED. */
FW_API void fw_drain_each_awaited(const fw_drain *drain,
                                  void (*fn)(const fw_consumer *consumer, void *arg), void *arg);
/* Ends a drain, not what it asked for; if it was not done, on_done comes with FW_ECANCELED, then
 * on_closed (may be NULL). Idempotent, callable in the drain's callbacks. */
FW_API void fw_drain_close(fw_drain *drain, fw_kv_closed_fn on_closed, void *arg);

typedef void (*fw_drain_resumed_fn)(int status, const char *detail, void *arg);
/* Takes a request back: the instance is as its registrar wants it again, a mark that a drain had
 * put itself is removed. FW_ESERVICE, FW_EINSTANCE (bad id), FW_ECLOSED, UV_ENOMEM; as the status:
 * FW_ENOTFOUND, there is no request; or what the store answers. The store must stay open until the
 * callback. */
FW_API FW_MUST_CHECK int fw_drain_resume(fw_kv *kv, const char *service, const char *id,
                                         fw_drain_resumed_fn done, void *arg);

FW_END_DECLS

#endif
