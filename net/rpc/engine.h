/*
 * The call engine's inner side: one object a connection, the same at both ends.
 *
 * Vocabulary: a call is ours and waits for an answer; a request is the peer's and waits for ours.
 *
 *     connection.c  its life, frames, and where packets go     call.c     calls and their ends
 *     request.c     requests and their answers                 topics.c   who is to get what is
 *     subscribe.c   what we have subscribed to                            published here
 */
#ifndef FWI_RPC_ENGINE_H
#define FWI_RPC_ENGINE_H

#include "rpc/protocol.h"

#include <fairway/transport.h>

#include "base/id_table.h"
#include "base/loop.h"
#include "base/map.h"
#include "rpc/router.h"
#include "session/framer.h"

#define FWI_RPC_FIRST_BYTES 16 /* by which a protocol is recognised at the latest */

/* Who accepted a connection. */
typedef struct fwi_rpc_acceptor {
    const fw_rpc_options *options;
    const fwi_rpc_protocols *protocols;
    void (*on_ready)(fw_rpc *rpc, void *owner); /* its protocol is known */
    void (*on_gone)(fw_rpc *rpc, void *owner);  /* the last; it is freed after */
    void *owner;
} fwi_rpc_acceptor;

struct fw_rpc {
    fw_conn *conn;
    fw_loop *loop;
    const fwi_rpc_protocol *protocol; /* NULL: the peer has not yet shown it */
    const fwi_rpc_acceptor *acceptor; /* NULL: dialled */
    fwi_list node;                    /* among the acceptor's */
    fw_rpc_options options;
    bool open, closing, messages;
    fwi_framer framer;
    uint8_t first[FWI_RPC_FIRST_BYTES]; /* while the protocol is not known */
    uint8_t first_len;
    fwi_timer first_timer;
    uint64_t turn_ms; /* when what is being read came */

    fwi_id_table table, pings; /* -> struct call */
    fwi_list calls;
    fwi_list canceled;
    fwi_list free_calls;
    fwi_task report_canceled;
    uint64_t last_handle;

    fwi_rpc_route reserved; /* of names that the engine answers itself */
    fwi_list kept;          /* fw_rpc_request.node */
    size_t kept_count;
    fwi_map kept_by_sequence; /* of those which can be canceled */

    fwi_map subscriptions; /* topic -> struct subscription */
    fwi_list memberships;  /* in the topics of this end: topics.c */
};

/* ---- connection.c ---- */

/* Makes an end of an accepted connection and takes its events over. UV_ENOMEM. */
FW_MUST_CHECK int fwi_rpc_accept(fw_conn *conn, const fwi_rpc_acceptor *acceptor, fw_rpc **ret_rpc);
/* Begins to use it; its owner knows it. */
void fwi_rpc_begin(fw_rpc *rpc);
/* FW_ECLOSED, FW_ELIMIT (the queue is full), FW_EOPTION, FW_EFRAMESIZE, UV_ENOMEM. */
FW_MUST_CHECK int fwi_rpc_send(fw_rpc *rpc, const fwi_rpc_packet *packet);
/* Closes because of what the peer did, and says so. */
void fwi_rpc_fail(fw_rpc *rpc, int reason);
/* Defaults, and FW_EOPTION. */
FW_MUST_CHECK int fwi_rpc_options_fill(fw_rpc_options *options);
/* Whether packets are messages of the transport: with ws, and where there is no stream. */
bool fwi_rpc_wants_messages(const char *url);
/* A message is a packet with its header. */
static inline size_t fwi_rpc_message_bytes(const fw_rpc_options *options)
{
    return (size_t)options->max_frame_bytes + FWI_RPC_MAX_HEAD_BYTES;
}

/* ---- call.c ---- */

void fwi_rpc_calls_init(fw_rpc *rpc);
void fwi_rpc_calls_end(fw_rpc *rpc, int status);
void fwi_rpc_calls_fini(fw_rpc *rpc);
/* err: why the packet cannot be read. */
void fwi_rpc_take_answer(fw_rpc *rpc, const fwi_rpc_packet *packet, int err);

/* ---- request.c ---- */

void fwi_rpc_requests_init(fw_rpc *rpc);
void fwi_rpc_serve(fw_rpc *rpc, const fwi_rpc_packet *packet);
void fwi_rpc_take_cancel(fw_rpc *rpc, uint64_t sequence);
/* Answers a request that is not served. */
void fwi_rpc_refuse(fw_rpc *rpc, const fwi_rpc_packet *packet, int64_t code, const char *text);
/* The connection is gone. */
void fwi_rpc_requests_end(fw_rpc *rpc);

/* ---- subscribe.c ---- */

/* A message of a topic, if the request is one. */
bool fwi_rpc_take_topic(fw_rpc *rpc, const fwi_rpc_packet *packet);
void fwi_rpc_subscriptions_fini(fw_rpc *rpc);

/* ---- topics.c ---- */

/* Answers a request to subscribe or to end that. */
void fwi_rpc_topics_serve(fw_rpc_request *request);
void fwi_rpc_topics_leave(fw_rpc *rpc);

#endif
