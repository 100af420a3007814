/*
 * permessage-deflate (RFC 7692) without context takeover: every message is compressed by itself, so
 * that nothing is kept between two messages. An inflater exists while a message is under way; a
 * deflater serves many connections.
 */
#ifndef FWI_WS_DEFLATE_H
#define FWI_WS_DEFLATE_H

#include <fairway/base.h>

#define FWI_WS_DEFLATE_MIN_BITS 9 /* zlib has no window of 8 bits */
#define FWI_WS_DEFLATE_MAX_BITS 15

/* What the client offers, as the value of Sec-WebSocket-Extensions. */
#define FWI_WS_DEFLATE_OFFER                                                                       \
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

/* Server: looks for an offer in a header's value that can be accepted; true: *ret_bits is the
 * window that the client wants us to keep to (15: it did not say), and *ret_said whether it did. */
FWI_API bool fwi_ws_deflate_accept(const char *offers, uint8_t *ret_bits, bool *ret_said);
/* Client: true if the server's answer to FWI_WS_DEFLATE_OFFER is one that may be given. */
FWI_API bool fwi_ws_deflate_check(const char *answer);

typedef struct fwi_ws_inflater fwi_ws_inflater;

FWI_API fwi_ws_inflater *fwi_ws_inflater_create(void); /* NULL: no memory */
FWI_API void fwi_ws_inflater_destroy(fwi_ws_inflater *inflater);
/* Lends it bytes until next has answered 0. */
FWI_API void fwi_ws_inflater_push(fwi_ws_inflater *inflater, const uint8_t *data, size_t len);
/* Instead of more bytes: the message has ended. */
FWI_API void fwi_ws_inflater_end(fwi_ws_inflater *inflater);
/* 1: some bytes of the message, until the next call; 0: all that was pushed is used up;
 * FW_EPROTOCOL, UV_ENOMEM. */
FWI_API int fwi_ws_inflater_next(fwi_ws_inflater *inflater, const uint8_t **ret_data,
                                 size_t *ret_len);
/* Asked after the end: whether the message was complete. */
FWI_API bool fwi_ws_inflater_is_whole(const fwi_ws_inflater *inflater);

typedef struct fwi_ws_deflater fwi_ws_deflater;

FWI_API fwi_ws_deflater *fwi_ws_deflater_create(void);
FWI_API void fwi_ws_deflater_destroy(fwi_ws_deflater *deflater);
/* Compresses a message; *ret_data is to be freed. 0: it does not get smaller, or there is no
 * memory: send it as it is; 1: done. */
FWI_API int fwi_ws_deflater_run(fwi_ws_deflater *deflater, uint8_t bits, const fw_slice *parts,
                                size_t count, uint8_t **ret_data, size_t *ret_len);

#endif
