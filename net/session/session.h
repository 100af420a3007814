/*
 * A session's inner side.
 *
 * A session that only receives and sends is one small piece of memory (fw_session); what it shares
 * with others made alike is in its rules; all that is only there when it was asked for (deadlines,
 * heartbeat, channels, bound data, coming back, an account of what has left) is in its extra.
 *
 *     session.c  its states, and what it receives      account.c  what it sends, and what became of
 * it watch.c    heartbeat and timeouts                redial.c   dialling, and coming back
 */
#ifndef FWI_SESSION_H
#define FWI_SESSION_H

#include <fairway/session.h>
#include <fairway/transport.h>

#include "base/loop.h"
#include "codec/compress.h"
#include "session/framer.h"

#define FWI_SESSION_QUEUE_BYTES (16u * 1024 * 1024)

typedef struct fwi_session_rules {
    size_t references;
    fw_framing framing; /* checked */
    fw_session_timeouts timeouts;
    size_t queue_bytes;
    uint32_t queue_frames;
    fw_compression compression;                        /* method NULL: off */
    fwi_compressor *compressor;                        /* the loop's */
    fw_session_events events;                          /* to begin with */
    void (*on_gone)(fw_session *session, void *owner); /* after on_closed; may be NULL */
    void *owner;
} fwi_session_rules;

typedef enum fwi_session_state {
    FWI_SESSION_OPENING,
    FWI_SESSION_OPEN,
    FWI_SESSION_BREAKING, /* its connection is closing, then it comes back */
    FWI_SESSION_DOWN,     /* between two connections */
    FWI_SESSION_CLOSING
} fwi_session_state;

typedef struct fwi_heartbeat {
    uint32_t interval_ms, misses;
    uint64_t next_ms;
    uint32_t missed; /* intervals in a row in which nothing came */
    size_t len;
    uint8_t data[];
} fwi_heartbeat;

typedef struct fwi_redial fwi_redial;

typedef struct fwi_session_extra {
    fw_session *session;
    fw_loop *loop;
    /* The account: bytes given to the connection since it was opened (the account, not the
     * connection). Those beyond what is still queued there have been handed to the kernel. */
    uint64_t appended;
    fwi_list waiting;     /* fwi_completion.node, in the order of their ends */
    fwi_list refused;     /* the same, of frames that were not queued, to be told */
    fwi_task report;      /* tells them, and ends a session that has no connection */
    uint64_t *frame_ends; /* with queue_frames: a ring of where the queued frames end */
    uint32_t first_frame, frames, frame_capacity;
    bool was_limited; /* a send was refused for queue_frames or the kept bytes: on_drain is owed */
    /* Watching. */
    fwi_timer timer;
    fw_session_timeouts timeouts;
    uint64_t received_ms, sent_ms, progress_ms; /* when last */
    uint64_t progress;                          /* handed to the kernel, then */
    uint64_t finish_ms;                         /* deadline of finishing */
    fwi_heartbeat *heartbeat;
    fwi_list memberships; /* in channels: channel.c */
    void *data;
    void (*destroy)(void *data);
    fwi_redial *redial;
    int reason; /* of the closing, if it comes back else */
} fwi_session_extra;

struct fw_session {
    fw_conn *conn; /* NULL: down */
    fwi_session_rules *rules;
    const fw_session_events *events;
    void *arg;
    fwi_framer *partial; /* while a frame has come in part */
    fwi_session_extra *extra;
    fwi_list node; /* among its server's */
    uint32_t id_low;
    uint16_t id_high;
    uint8_t state;
    bool finishing : 1;
    bool paused : 1; /* fw_session_read_stop */
};

/* What waits to be told how a frame ended. */
typedef struct fwi_completion {
    fwi_list node;
    fw_session *session;
    uint64_t end;          /* the frame's, in the account */
    int status;            /* of a refused one */
    struct fwi_kept *kept; /* its frame, while that waits for a connection */
    fwi_timer timer;
    fw_session_sent_fn sent;
    void *arg;
} fwi_completion;

/* ---- session.c ---- */

/* Checks and copies; the rest of the rules is their defaults. One reference. FW_EOPTION,
 * FW_EUNSUPPORTED (the method of compression is not built in), UV_ENOMEM. */
FW_MUST_CHECK int fwi_session_rules_create(fw_loop *loop, const fw_framing *framing,
                                           const fw_compression *compression,
                                           fwi_session_rules **ret_rules);
/* What a transport's messages may have. */
static inline size_t fwi_session_message_bytes(const fwi_session_rules *rules)
{
    return rules->framing.messages ? rules->framing.max_frame_bytes : 0;
}
void fwi_session_rules_release(fwi_session_rules *rules);
/* A session without a connection. UV_ENOMEM. */
FW_MUST_CHECK int fwi_session_create(fwi_session_rules *rules, fw_session **ret_session);
/* Makes a session of an accepted connection. UV_ENOMEM; then the connection is still the
 * caller's. */
FW_MUST_CHECK int fwi_session_accept(fw_conn *conn, fwi_session_rules *rules,
                                     fw_session **ret_session);
/* The extra, made if need be; NULL: no memory. */
fwi_session_extra *fwi_session_extra_get(fw_session *session, fw_loop *loop);
/* Something went wrong: the connection ends, and the session too unless it comes back. */
void fwi_session_fail(fw_session *session, int reason);
void fwi_session_free(fw_session *session);
/* Closes, ends completions and frees. Its connection is gone. */
void fwi_session_end(fw_session *session, int reason);
extern const fw_conn_events fwi_session_conn_events;

/* ---- account.c ---- */

/* Whether a frame can be sent now: FW_ECLOSED, FW_ELIMIT. */
int fwi_session_writable(fw_session *session);
/* Queues a whole frame that others share. completion (may be NULL) is the account's from then on;
 * with an error it stays the caller's. Errors as fw_session_send. */
FW_MUST_CHECK int fwi_session_send_buf(fw_session *session, fw_buf *frame,
                                       fwi_completion *completion);
/* What stands in front of a payload, and the payload, packed if the session packs: then it is the
 * compressor's, until its next use. */
typedef struct fwi_frame {
    uint8_t head[FW_MAX_HEADER_BYTES + FWI_COMPRESS_MAX_HEAD_BYTES];
    size_t head_len;
    fw_slice body;
} fwi_frame;
/* FW_EFRAMESIZE, UV_ENOMEM. */
FW_MUST_CHECK int fwi_frame_make(const fwi_session_rules *rules, fw_slice data,
                                 fwi_frame *ret_frame);
void fwi_frame_copy(const fwi_frame *frame, uint8_t *out);
/* NULL: no memory. */
fwi_completion *fwi_completion_new(fw_session *session, uint32_t timeout_ms,
                                   fw_session_sent_fn sent, void *arg);
/* Takes it out of everything, tells, and frees. */
void fwi_completion_end(fwi_completion *completion, int status);
/* Tells a completion whose frame was not queued, later. */
void fwi_completion_refuse(fwi_completion *completion, int status);
/* The connection has handed something to the kernel. */
void fwi_account_sent(fw_session *session);
/* There is room again for one who was refused: on_drain. */
void fwi_account_drained(fw_session *session);
/* The connection is over: what it had not handed over is lost. */
void fwi_account_lost(fw_session *session);
/* Enters a frame that was given to the connection, whose queue had so many bytes before. */
void fwi_account_enter(fw_session *session, size_t before, fwi_completion *completion);
void fwi_account_fini(fwi_session_extra *extra);

/* ---- watch.c ---- */

/* Begins to watch, or looks again when the next deadline is. */
void fwi_watch_start(fw_session *session);
void fwi_watch_stop(fwi_session_extra *extra);
/* Closes a finishing session that has nothing left to send. */
void fwi_watch_finished(fw_session *session);

/* ---- redial.c ---- */

/* The session has lost its connection: true if it comes back. */
bool fwi_redial_lost(fw_session *session, int reason);
/* It has one again: what was kept goes out. */
void fwi_redial_opened(fw_session *session);
/* Keeps a frame until there is a connection: room for it, or an error as fw_session_send. */
FW_MUST_CHECK int fwi_redial_keep(fw_session *session, size_t len, fwi_completion *completion,
                                  uint8_t **ret_room);
size_t fwi_redial_kept_bytes(const fwi_redial *redial);
/* Whether another frame may be kept: FW_OK, FW_ECLOSED, FW_ELIMIT. */
int fwi_redial_writable(const fw_session *session);
/* Of the frames that are kept, in their order. */
fwi_list *fwi_redial_completions(fwi_redial *redial);
/* A kept frame's completion has ended; the frame is still kept. */
void fwi_redial_forget(struct fwi_kept *kept);
void fwi_redial_free(fwi_session_extra *extra);

/* ---- channel.c ---- */

/* Leaves all channels. */
void fwi_memberships_end(fw_session *session);

#endif
