/*
 * A connection of snet: one fw_conn for its user, over one tcp connection (its link) after another.
 * What both sides have in common; dialer.c and listener.c bring the links.
 */
#ifndef FWI_SNET_SESSION_H
#define FWI_SNET_SESSION_H

#include "transport/snet/handshake.h"
#include "transport/transport.h"

typedef struct fwi_snet_params {
    fwi_snet_flavour flavour;
    bool encrypt;
    uint32_t buffer_bytes;
    uint32_t handshake_timeout_ms; /* 0: of the options */
    uint32_t wait_timeout_ms;
    uint32_t retry_max_ms;              /* dialling */
    uint32_t max_sessions, max_waiting; /* listening */
} fwi_snet_params;

/* FW_EOPTION. */
int fwi_snet_params_parse(const fw_url *url, bool listening, fwi_snet_params *ret_params);

typedef struct fwi_snet_session fwi_snet_session;

/* What the two sides do differently. */
typedef struct fwi_snet_side {
    /* The link is gone, the session is not: the wait for another one has begun. An error ends the
     * session. */
    int (*lost)(fwi_snet_session *session);
    /* There is a link again. */
    void (*resumed)(fwi_snet_session *session);
    /* The session closes: no more links; links of the side that are under way are closed, each
     * counted in `closing`. */
    void (*leave)(fwi_snet_session *session);
    void (*fini)(fwi_snet_session *session);
} fwi_snet_side;

struct fwi_snet_session {
    fw_conn base;
    const fwi_snet_side *side;
    fwi_snet_stream stream;
    uint32_t wait_timeout_ms;
    bool ready;     /* the stream is there: the first handshake is over */
    fw_conn *link;  /* NULL: waiting for one */
    size_t closing; /* links that are not gone yet */
    uint64_t skip;  /* bytes to come over the link that came over the one before, too */
    uint8_t *held;  /* came in while reading was stopped, deciphered */
    size_t held_len;
    size_t lost_bytes; /* that the last link had in hand when the session was closed */
    int loss;          /* why the last link was lost */
    fwi_timer *wait;   /* while waiting */
    fwi_task deliver, gone;
};

/* Fills a zeroed session's own part. */
void fwi_snet_session_setup(fwi_snet_session *session, fw_loop *loop, const fwi_snet_side *side,
                            uint32_t wait_timeout_ms);
/* What links are dialled or accepted with: how many bytes may wait in one. (Not more than in the
 * session's own queue, or it would not tell when that has drained.) */
size_t fwi_snet_link_high_water(uint32_t buffer_bytes, size_t high_water_bytes);
/* Keeps what the kernel holds of a link within what can be sent again. */
void fwi_snet_link_limit(fw_conn *link, uint32_t buffer_bytes);

/* Gives the session a link whose handshake is over, instead of the one it may have. What the peer
 * has not read is sent again. */
void fwi_snet_session_attach(fwi_snet_session *session, fw_conn *link, uint64_t peer_read,
                             uint64_t skip);
/* Bytes of the link. */
void fwi_snet_session_input(fwi_snet_session *session, const uint8_t *data, size_t len);
/* Takes what the kernel has of the link, whether the user reads or not: before the peer is told how
 * much was read, for what is not will be sent again out of a ring that is not large. */
void fwi_snet_session_drain(fwi_snet_session *session);
/* Closes a link of the session that is not wanted; the session stays until it is gone. */
void fwi_snet_session_drop(fwi_snet_session *session, fw_conn *link, int reason);

#endif
