/* The proxy's inside, shared by proxy.c (its life and its list) and call.c (calls). */
#ifndef FWI_PROXY_H
#define FWI_PROXY_H

#include "base/list.h"
#include "base/loop.h"
#include "members.h"
#include "policy/hedge.h"
#include "policy/limit.h"
#include "policy/retry_budget.h"

struct fw_proxy {
    fw_kv *kv;
    fw_loop *loop;
    fw_proxy_options options;
    fw_watcher *watcher;
    fw_health *health; /* or NULL */
    fwi_members members;
    fwi_list removed; /* fwi_endpoint.node */
    fwi_list waiting; /* fwi_call.node: until there is a list */
    fwi_list free_calls;
    size_t waiting_count; /* in waiting and in waiters */
    size_t call_count;    /* that have not ended */
    fwi_retry_budget budget;
    fwi_limit limit;
    fwi_hedge hedge;
    fwi_timer outliers; /* while there are calls */
    fwi_task panic_changed;
    fwi_task tell_ejected; /* to those who ask why, through the watcher's announcement */
    int stale_reason;      /* why the first list has not come */
    bool has_list;         /* of the store, or of the disk */
    bool closing;
    size_t open_parts; /* the watcher and the health checks */
    fwi_task end;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
};

void fwi_proxy_emit(fw_proxy *proxy, fw_proxy_event_type type, const fw_instance *instance,
                    int reason, const char *detail);
/* An endpoint answered, or did not: its breaker may open or close. */
void fwi_proxy_judge(fw_proxy *proxy, fwi_endpoint *endpoint, bool success, int reason);

#endif
