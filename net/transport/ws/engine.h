/*
 * WebSocket (RFC 6455, RFC 7692), sans-IO: bytes in, events and bytes out. One object is one end of
 * one connection.
 *
 *     SHAKING --(101 sent, or came)--> OPEN --(Close came, or the peer broke a rule)--> OVER
 *        \__________(refused)____________________________________________________/
 *
 * Give it what was read (push), take events until there is none (next). What it has to send goes to
 * `write` at once. The owner answers a Close with fwi_ws_close, and has the deadlines.
 *
 *     fwi_ws_push(ws, data, len);
 *     while ((rc = fwi_ws_next(ws, &event)) > 0) use(event);
 *
 * It takes some bytes ahead of the events: whoever pauses between two calls of next goes on with a
 * call of next. When idle it owns nothing.
 */
#ifndef FWI_WS_ENGINE_H
#define FWI_WS_ENGINE_H

#include "transport/ws/close_code.h"
#include "transport/ws/config.h"

#define FWI_WS_MAX_FRAGMENTS 1024

typedef enum fwi_ws_event_kind {
    FWI_WS_OPENED,
    FWI_WS_DATA,   /* a message, or some bytes of the stream */
    FWI_WS_PONGED, /* the answer to our last ping */
    FWI_WS_CLOSED  /* a Close came: answer it with its code */
} fwi_ws_event_kind;

typedef struct fwi_ws_event {
    fwi_ws_event_kind kind;
    const uint8_t *data; /* DATA; or the text of the Close. Until the next call */
    size_t len;
    bool text;     /* DATA */
    uint16_t code; /* CLOSED: FWI_WS_NO_CODE if it had none */
} fwi_ws_event;

typedef enum fwi_ws_state { FWI_WS_SHAKING, FWI_WS_OPEN, FWI_WS_OVER } fwi_ws_state;

typedef struct fwi_ws {
    fwi_ws_config *config;
    fwi_ws_write_fn write;
    void *arg;
    const uint8_t *input; /* what was pushed and not yet taken */
    size_t input_len;
    struct fwi_ws_shaking *shaking; /* during the handshake */
    fwi_ws_reader *reader;          /* while a frame is under way */
    struct fwi_ws_message *message; /* while a message is under way in several pieces */
    uint8_t *pong;                  /* that waits while blocked: its length, its payload */
    char *detail;                   /* of the error, or NULL */
    int error;                      /* why it is over, if that is no Close */
    uint32_t pings;                 /* sent */
    uint8_t state;                  /* fwi_ws_state */
    uint8_t deflate_bits;           /* 0: not agreed on */
    bool close_sent, blocked;
    bool bad_data; /* the error is one of what the frames carry */
} fwi_ws;

/* Takes a reference of the config. */
FWI_API void fwi_ws_init(fwi_ws *ws, fwi_ws_config *config, fwi_ws_write_fn write, void *arg);
FWI_API void fwi_ws_fini(fwi_ws *ws);
/* The client's request leaves. */
FWI_API FW_MUST_CHECK int fwi_ws_start(fwi_ws *ws);

FWI_API void fwi_ws_push(fwi_ws *ws, const uint8_t *data, size_t len);
/* 1: *ret_event; 0: more bytes are needed; an error: it is over, and what the peer is to be told
 * has been written (a Close frame, or an HTTP answer): FW_EPROTOCOL, FW_EFRAMESIZE, FW_ELIMIT (too
 * many fragments), UV_ECONNREFUSED, UV_ENOMEM, errors of write. The same again when asked again. */
FWI_API int fwi_ws_next(fwi_ws *ws, fwi_ws_event *ret_event);
/* True if next would have something to do without another push. */
FWI_API bool fwi_ws_has_more(const fwi_ws *ws);

/* Sends a message. FW_ECLOSED, UV_EILSEQ (as text, and it is none), errors of write. */
FWI_API FW_MUST_CHECK int fwi_ws_send(fwi_ws *ws, const fw_slice *parts, size_t count);
FWI_API FW_MUST_CHECK int fwi_ws_ping(fwi_ws *ws);
/* Sends a Close once, nothing after it. A code that no frame may carry is left out. */
FWI_API int fwi_ws_close(fwi_ws *ws, unsigned code);
/* While blocked, only the latest pong is kept; it leaves at the end of the blockage. */
FWI_API int fwi_ws_set_blocked(fwi_ws *ws, bool blocked);

#endif
