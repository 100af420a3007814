/*
 * Discovery: services register their instances in the store; clients watch them.
 *
 * An instance stands under `services/<service>/<instance id>` as walle's JSON node (net, addr, bn,
 * state, md) with additions that walle's reader ignores (weight, zone, protocol, version, started).
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
    FW_REGISTRAR_PENDING,    /* on its way for the first time */
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
    /* Every change of state, on the loop; may be NULL. */
    void (*on_status)(fw_registrar *registrar, const fw_registrar_status *status, void *arg);
    void *arg;
} fw_registrar_options;

/* Makes a registrar on the store's loop; the store must outlive it. FW_EOPTION, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_registrar_new(fw_kv *kv, const fw_registrar_options *options,
                                          fw_registrar **ret_registrar);
/* Wants the instance registered (copied); again with the same service and id: updates it.
 * FW_ESERVICE, FW_EINSTANCE, FW_ECLOSED, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_registrar_set(fw_registrar *registrar, const fw_instance *instance);
/* Takes one instance out: it is deleted from the store, the others stay. To let its work end first,
 * set its state to offline before. Wanted again later: fw_registrar_set. FW_ENOTFOUND, FW_ECLOSED.
 */
FW_API FW_MUST_CHECK int fw_registrar_remove(fw_registrar *registrar, const char *service,
                                             const char *id);
FW_API void fw_registrar_get_status(const fw_registrar *registrar, fw_registrar_status *ret_status);
/* Leaves: the lease is revoked, so the instances are gone from the store at once (or when the lease
 * expires, if the store is away). Then on_closed (may be NULL). Idempotent. */
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
     * loses two instances or more within a second, or its last one, each is asked whether it is
     * there (a connection is made): one that is not goes at once, one that answers stays for as
     * long as it does. An instance that was marked offline always goes at once. */
    bool no_hold;
    void (*on_event)(fw_watcher *watcher, const fw_watcher_event *event, void *arg);
    void *arg;
} fw_watcher_options;

/* service NULL: all services. The store must outlive the watcher. FW_ESERVICE, FW_ECLOSED,
 * UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_watcher_new(fw_kv *kv, const char *service,
                                        const fw_watcher_options *options,
                                        fw_watcher **ret_watcher);
/* No event after this call; then on_closed (may be NULL). Idempotent, callable in on_event. */
FW_API void fw_watcher_close(fw_watcher *watcher, fw_kv_closed_fn on_closed, void *arg);

/* An instance that is in the list though the store no longer has it. */
typedef struct fw_watcher_held {
    const fw_instance *instance; /* borrowed */
    int64_t revision;            /* at which the store lost it */
    uint64_t since_ms;           /* on the loop's clock */
    unsigned answers;            /* to our probes; 0: not known yet */
} fw_watcher_held;
typedef void (*fw_watcher_held_fn)(const fw_watcher_held *held, void *arg);
/* Calls for each, in no order, before it returns. */
FW_API void fw_watcher_each_held(const fw_watcher *watcher, fw_watcher_held_fn fn, void *arg);

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

FW_END_DECLS

#endif
