/*
 * One end of a WebSocket connection without a socket: the engine, what it wrote, and an owner that
 * echoes messages and answers a Close. And frames in a short notation, one a word:
 *
 *     T B C I O #n       text, binary, continuation, ping, pong, opcode n; in small letters (t b c
 *                        i o): not the last frame; after #n a ~ says so
 *     /n                 reserved bits
 *     :text  *n  $hex    payload: as it stands (_ is a blank); n bytes; bytes
 *     X1000:reason  X-   Close with a code; without one
 *     !hex               bytes as they stand, not masked
 */
#ifndef WST_H
#define WST_H

#include <fwt.h>

#include "transport/ws/engine.h"

typedef struct wst_bytes {
    uint8_t *data;
    size_t len, capacity;
} wst_bytes;

void wst_append(wst_bytes *bytes, const void *data, size_t len);
void wst_free(wst_bytes *bytes);

typedef struct wst_end {
    fwi_ws ws;
    fwi_ws_config *config;
    wst_bytes out; /* what it wrote after the handshake */
    wst_bytes got; /* payloads of DATA events, one after the other */
    size_t events, messages, opened, ponged;
    bool echo, text; /* text: of the last message */
    unsigned closed; /* code of the Close that came; 0: none */
    int error;       /* of next */
} wst_end;

/* An end that has not shaken hands. url: "ws://h/path?..."; a max of 0: 1 MiB. */
void wst_init(wst_end *end, const char *url, bool server, bool messages, uint32_t max);
void wst_fini(wst_end *end);
/* Pushes bytes and handles all events. */
void wst_feed(wst_end *end, const void *data, size_t len);
/* Feeds in chops of chop bytes, or of random sizes if it is 0. Each chop lies in memory of its own,
 * so that a byte read behind it is noticed. */
void wst_feed_chopped(wst_end *end, const wst_bytes *bytes, size_t chop);
/* Lets a client and a server shake hands; what they wrote is forgotten. */
void wst_shake(wst_end *client, wst_end *server);
/* An end that is open, by a handshake with another one. */
void wst_open(wst_end *end, const char *url, bool server, bool messages, uint32_t max);
/* What one has written goes to the other, both ways, until nothing is left. */
void wst_pump(wst_end *a, wst_end *b);

/* Writes frames in the notation above. */
void wst_frames(wst_bytes *out, const char *script, bool masked);
/* Fails the test if what the end wrote is not these frames. */
void wst_expect(const wst_end *end, const char *script, const char *what);
/* Takes a frame's masking off, in place: the number of bytes of the frame. */
size_t wst_unmask(uint8_t *frame, size_t len, bool masked);

#endif
