/*
 * A call on its way to an endpoint.
 *
 * It is in one of three places: in the proxy's `waiting` until the first list of instances is
 * complete; in an endpoint's `waiters` until its connection is open; or sent. Only on an open
 * connection is anything sent, so a call that waits can go elsewhere when a connection cannot be
 * opened. One that was sent is sent again only if it is idempotent: after it was lost (retry), or
 * beside the first when that takes long (hedge). A waiting call, and one that may be sent again,
 * owns a copy of its message.
 *
 *     dispatch --> WAITING --> SENT --answer, or nothing is left to try--> ended
 *                     ^          | lost, and may be retried
 *                     |__________|
 *
 * The callback runs when it has ended. The memory lives until the last attempt is over: that of a
 * hedge which came second is canceled, and reports back.
 */
#ifndef FWI_CALL_H
#define FWI_CALL_H

#include "proxy.h"

typedef struct fwi_call fwi_call;

typedef struct fwi_attempt {
    fwi_call *call;
    fwi_endpoint *endpoint;      /* whose connection it waits for or uses; NULL: none */
    const fw_instance *instance; /* acquired while endpoint is set */
    bool sent;
    uint64_t id; /* for fw_rpc_cancel */
    uint64_t sent_ns;
} fwi_attempt;

struct fwi_call {
    fwi_list node;
    fw_proxy *proxy;
    fwi_attempt attempts[2]; /* the second is the hedge */
    size_t sent;             /* attempts that are under way */
    fw_proxy_done_fn done;
    void *arg;
    bool oneway, idempotent, has_key, ended, hedged;
    uint64_t key;
    uint32_t retries;
    size_t dispatches; /* endpoints that it waited for */
    uint64_t deadline_ms;
    int last_error;           /* of a connection that could not be opened */
    const fw_instance *avoid; /* acquired: who lost it */
    void *copy;               /* of the message; freed with it */
    fw_rpc_message message;
    fwi_timer timer; /* waiting: the deadline; sent: when to hedge */
    fwi_task report; /* of a notification that was sent */
};

/* Errors as fw_proxy_call. */
int fwi_call_new(fw_proxy *proxy, const fw_rpc_message *message,
                 const fw_proxy_call_options *options, bool oneway, fw_proxy_done_fn done,
                 void *arg);

/* The waiting calls of a list, one after the other; a callback may add and remove others. */
void fwi_calls_cancel(fw_proxy *proxy, fwi_list *list);
/* They are dispatched, anew if they wait for an endpoint. */
void fwi_calls_dispatch(fw_proxy *proxy, fwi_list *list);
/* The connection that they wait for is open. */
void fwi_calls_send(fw_proxy *proxy, fwi_list *list);
/* Why they may come to wait for nothing. */
void fwi_calls_note_error(fwi_list *list, int error);
/* Frees the memory that is kept for calls. */
void fwi_calls_fini(fw_proxy *proxy);

#endif
