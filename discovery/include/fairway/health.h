/*
 * Active health checks: instances are asked, again and again, whether they are well, where that is
 * wanted. What comes of it is for this process alone, a client proxy or a program that looks: the
 * store does not hear of it, since what one client cannot reach another may.
 */
#ifndef FAIRWAY_HEALTH_H
#define FAIRWAY_HEALTH_H

#include <fairway/discovery.h>

FW_BEGIN_DECLS

/* How an instance is asked. Each time on a new connection, so that it shows whether it takes any.
 */
typedef enum fw_health_type {
    FW_HEALTH_OFF,  /* it is not */
    FW_HEALTH_TCP,  /* a connection to its address is opened and closed */
    FW_HEALTH_HTTP, /* GET; the status of the answer decides, redirects are not followed */
    FW_HEALTH_GRPC, /* grpc.health.v1.Health/Check; SERVING alone is healthy */
    FW_HEALTH_PING  /* a call in fairway's protocol; "no such method" is an answer, too */
} fw_health_type;

/* What is asked. */
typedef struct fw_health_check {
    fw_health_type type;
    const char *path; /* HTTP: begins with "/", printable ASCII, at most 1024 bytes; NULL: "/" */
    const char *host; /* HTTP: the Host header; NULL: the instance's address */
    /* HTTP: the statuses that are healthy, 100 to 599; both 0: 200 to 299. */
    uint16_t least_status, most_status;
    /* GRPC: the service that is asked for; NULL: the whole server.
     * PING: the method that is called; NULL: "fairway.ping", which need not exist. If it exists and
     * fails, the instance says that it is not well. */
    const char *name;
} fw_health_check;

/* What is asked of the instances of a service. */
typedef struct fw_health_rule {
    const char *service; /* its name; "web*": all that begin so */
    fw_health_check check;
} fw_health_rule;

typedef enum fw_health_state {
    FW_HEALTH_UNKNOWN, /* not asked, or nothing came of it yet: it may be used */
    FW_HEALTH_HEALTHY,
    FW_HEALTH_UNHEALTHY
} fw_health_state;

/* What is known of one instance. */
typedef struct fw_health_status {
    const fw_instance *instance; /* lent */
    fw_health_type type;
    fw_health_state state;
    uint64_t since_ms; /* of the state, on the loop's clock */
    /* Of the last probe: FW_OK, it was well. FW_EREMOTE: it has answered that it is not;
     * FW_EDEADLINE, UV_ECONNREFUSED, ...: it has not answered. FW_EOPTION (its metadata cannot be
     * read), FW_EMODULE, FW_EUNSUPPORTED, FW_ESCHEME, FW_EURL, UV_ENOMEM, UV_EMFILE: it could not
     * be asked, which leaves the state as it is. */
    int reason;
    const char *detail;           /* lent; "" if there is none */
    uint64_t probed_ms;           /* when the last probe ended, on the loop's clock; 0: none has */
    uint32_t round_trip_us;       /* of the last probe that was well; 0: none was */
    uint32_t successes, failures; /* in a row; one of them is 0 */
} fw_health_status;

typedef struct fw_health fw_health;

typedef struct fw_health_options {
    /* What is asked of an instance: what its metadata says under "health", else the first rule for
     * its service, else this. In metadata: "off", "tcp", "http", "http:/PATH", "grpc", "grpc:NAME",
     * "ping", "ping:METHOD"; what it does not say is taken from the rule, if that is of the same
     * type. Everything here is copied. */
    fw_health_check check;
    const fw_health_rule *rules;
    size_t rule_count;
    bool ignore_metadata;
    uint32_t interval_ms;     /* between two probes of an instance, a tenth more or less; 0: 5000 */
    uint32_t timeout_ms;      /* of a probe; 0: 1000 */
    uint32_t unhealthy_after; /* failures in a row; 0: 3 */
    uint32_t healthy_after;   /* successes in a row, after it was unhealthy; 0: 2 */
    uint32_t most_at_once;    /* probes under way; the others wait for their turn; 0: 32 */
    /* An instance has become healthy or unhealthy, on the loop; the status is lent. May be NULL. */
    void (*on_change)(fw_health *health, const fw_health_status *status, void *arg);
    void *arg;
} fw_health_options;

/* Makes one without instances. All functions are called on the loop. FW_EOPTION (a path, name,
 * host, or range of statuses that cannot be), UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_health_new(fw_loop *loop, const fw_health_options *options,
                                       fw_health **ret_health);
/* Begins to ask an instance; a reference is taken, so it must be one of the library's. The first
 * probe comes at once, but 5 ms after that of the one before, and within an interval.
 * One that is there already is replaced; if its address or what is asked has changed, it begins
 * anew as UNKNOWN, which on_change does not tell. FW_ECLOSED, UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_health_add(fw_health *health, const fw_instance *instance);
/* Forgets an instance; on_change does not tell. Nothing if there is none. */
FW_API void fw_health_remove(fw_health *health, const char *service, const char *id);
/* Follows a watcher: for its on_event. Adds and removes as the event says. Errors of fw_health_add.
 */
FW_API FW_MUST_CHECK int fw_health_follow(fw_health *health, const fw_watcher_event *event);
/* What is known of an instance; lent until the loop goes on. FW_ENOTFOUND. */
FW_API FW_MUST_CHECK int fw_health_get(const fw_health *health, const char *service, const char *id,
                                       fw_health_status *ret_status);
typedef void (*fw_health_status_fn)(const fw_health_status *status, void *arg);
/* Calls for each instance, in no order, before it returns. fn must not add or remove. */
FW_API void fw_health_each(const fw_health *health, fw_health_status_fn fn, void *arg);
/* Ends all probes; no on_change after this call; then on_closed (may be NULL). Idempotent, callable
 * in on_change. */
FW_API void fw_health_close(fw_health *health, void (*on_closed)(void *arg), void *arg);

/* "off", "tcp", ...; "unknown", "healthy", "unhealthy". Static storage. Any thread. */
FW_API const char *fw_health_type_name(fw_health_type type);
FW_API const char *fw_health_state_name(fw_health_state state);

FW_END_DECLS

#endif
