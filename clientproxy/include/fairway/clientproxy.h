/*
 * The client proxy: call a service by its name. The proxy watches the service's instances, connects
 * to each when it is first picked, balances calls over them, and shares the connections among all
 * callers on its loop.
 */
#ifndef FAIRWAY_CLIENTPROXY_H
#define FAIRWAY_CLIENTPROXY_H

#include <fairway/balancer.h>
#include <fairway/discovery.h>
#include <fairway/health.h>
#include <fairway/rpc.h>

FW_BEGIN_DECLS

typedef struct fw_proxy fw_proxy;

typedef enum fw_proxy_event_type {
    FW_PROXY_ADDED,        /* an instance joined */
    FW_PROXY_REMOVED,      /* it left the registry: no new calls; those in flight end */
    FW_PROXY_CONNECTED,    /* first use, or again after a failure */
    FW_PROXY_DISCONNECTED, /* reason; it is left alone for a jittered time, then tried again */
    FW_PROXY_SYNCED,       /* the list of instances is complete */
    FW_PROXY_STALE,        /* the registry is out of reach; the proxy goes on with what it knows */
    FW_PROXY_LIVE,
    FW_PROXY_UNHEALTHY, /* a health check failed, reason says how: no new calls while others work */
    FW_PROXY_HEALTHY,
    FW_PROXY_EJECTED,    /* its calls failed, the last one with reason: no calls for a while */
    FW_PROXY_READMITTED, /* it has answered again */
    FW_PROXY_PANIC,      /* so few are well that those which were ejected get calls, too */
    FW_PROXY_CALM
} fw_proxy_event_type;

typedef struct fw_proxy_event {
    fw_proxy_event_type type;
    const fw_instance *instance; /* that it is about, or NULL; borrowed */
    int reason;
    const char *detail;
} fw_proxy_event;

/* For hedge_after_ms: when it has taken longer than 95 percent of the last calls. */
#define FW_PROXY_HEDGE_AUTO UINT32_MAX
/* For what is on unless it is switched off. */
#define FW_PROXY_NEVER UINT32_MAX

typedef struct fw_proxy_options {
    const fw_balancer *balancer; /* NULL: p2c_ewma */
    uint32_t call_timeout_ms;    /* default of calls; 0: 5000 */
    uint32_t dial_timeout_ms;    /* 0: 2000 */
    uint32_t max_frame_bytes;    /* 0: 1 MiB */
    size_t max_waiting;          /* calls that wait for the first list or a connection; 0: 10,000 */
    uint32_t backoff_base_ms;    /* wait after a failed connection; 0: 100 */
    uint32_t backoff_max_ms;     /* 0: 5000 */
    uint32_t removal_timeout_ms; /* for calls in flight on an instance that left; 0: 30000 */

    /* ---- which instances ---- */
    /* The caller's zone: instances of it come first, the others get what is too much for those of
     * them that work. NULL, "": all are equal. Copied. */
    const char *zone;
    size_t subset_size; /* use so many of them (of the zone, and of the others); 0: all */
    /* Number of this client among all that call the service, counted from 1, so that each instance
     * gets equally many clients; 0: a random one. */
    uint32_t subset_client;
    uint32_t
        slow_start_ms; /* a new instance's share grows to its full weight so long; 0: at once */

    /* ---- instances that fail ---- */
    /* Failed calls in a row (lost, deadline, error of the machinery) after which an instance is
     * ejected; FW_PROXY_NEVER; 0: 5. One that fails much more often than the others is, too. Half
     * of the instances are always left. */
    uint32_t eject_after;
    uint32_t eject_ms;      /* the first time, doubles up to ten times this; 0: 5000 */
    uint32_t panic_percent; /* fewer than this are well: ejected ones get calls; 0: 50 */

    /* ---- calls that are idempotent ---- */
    uint32_t max_retries;    /* of one call; FW_PROXY_NEVER: none; 0: 2 */
    uint32_t retry_percent;  /* retries and hedges per 100 calls of the last 10 s, 0: 20, */
    uint32_t retries_per_s;  /* and so many more; 0: 10 */
    uint32_t hedge_after_ms; /* a second copy goes to another instance; 0: none */

    /* ---- load ---- */
    /* Calls that have not ended; more are refused with FW_ELIMIT. 0: no limit. */
    uint32_t max_calls;
    /* The limit follows the latency, up to max_calls (0: 1000): it shrinks when calls begin to
     * queue. */
    bool adaptive_limit;

    /* Announces the proxy to those who drain, under this name; "": one is made up; NULL: not. A
     * drain then waits until the proxy gives the instance no more calls, and `fairway why` tells
     * whom it has ejected. See fw_watcher_options and fw_watcher_set_ejected. */
    const char *consumer;
    /* A file with the list of instances, so that calls are made with the store dead, too; NULL:
     * none. See fw_watcher_options. */
    const char *saved_list;
    /* How the instances are asked whether they are well (its on_change and arg are not used); NULL:
     * they are not. One that is unhealthy gets no calls as long as there is another. */
    const fw_health_options *health;
    void (*on_event)(fw_proxy *proxy, const fw_proxy_event *event, void *arg); /* may be NULL */
    void *arg;
} fw_proxy_options;

/* Makes a proxy for the service on the store's loop; the store must outlive it. It may start before
 * any instance exists. FW_ESERVICE, FW_ECLOSED, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_proxy_new(fw_kv *kv, const char *service,
                                      const fw_proxy_options *options, fw_proxy **ret_proxy);
/* Ends calls with FW_ECANCELED and closes all connections; then on_closed (may be NULL).
 * Idempotent. */
FW_API void fw_proxy_close(fw_proxy *proxy, fw_kv_closed_fn on_closed, void *arg);

/* result as fw_rpc_done_fn's, with one status more: FW_ENOINSTANCE (there was nobody to call;
 * nothing was sent). instance: who was called, NULL if nobody was; borrowed. */
typedef void (*fw_proxy_done_fn)(const fw_rpc_result *result, const fw_instance *instance,
                                 void *arg);

/* Calls one instance. Until the first list of instances has come the call waits for it. A call
 * whose connection cannot be opened goes to another instance, since it was not sent; one that was
 * sent is never repeated. Errors as fw_rpc_call; FW_ELIMIT also beyond max_calls. */
FW_API FW_MUST_CHECK int fw_proxy_call(fw_proxy *proxy, const fw_rpc_message *message,
                                       fw_proxy_done_fn done, void *arg);
typedef struct fw_proxy_call_options {
    /* It may be done twice: it is sent again when it was lost, or took long, as the proxy's options
     * say. */
    bool idempotent;
    fw_slice key; /* calls of one key go to one instance, if the balancer is one of keys; may be
                     empty; need not outlive the call */
} fw_proxy_call_options;
/* Calls one instance, with options (NULL: fw_proxy_call). */
FW_API FW_MUST_CHECK int fw_proxy_call_with(fw_proxy *proxy, const fw_rpc_message *message,
                                            const fw_proxy_call_options *options,
                                            fw_proxy_done_fn done, void *arg);
/* Sends a notification to one instance. It waits as a call does; on_sent (may be NULL) tells FW_OK
 * when it was handed to an open connection, or why it was not. Errors as fw_rpc_call. */
FW_API FW_MUST_CHECK int fw_proxy_notify(fw_proxy *proxy, const fw_rpc_message *message,
                                         fw_proxy_done_fn on_sent, void *arg);

/* Instances in the list, and those with an open connection. */
FW_API size_t fw_proxy_instance_count(const fw_proxy *proxy);
FW_API size_t fw_proxy_connection_count(const fw_proxy *proxy);

FW_END_DECLS

#endif
