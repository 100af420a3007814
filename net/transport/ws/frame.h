/*
 * Frames, by wslay's frame API. A reader exists only while bytes of a frame are kept; a writer
 * keeps nothing between two frames, so that one serves many connections.
 */
#ifndef FWI_WS_FRAME_H
#define FWI_WS_FRAME_H

#include <fairway/base.h>

#define FWI_WS_MAX_CONTROL_BYTES 125

typedef enum fwi_ws_opcode {
    FWI_WS_CONTINUATION = 0,
    FWI_WS_TEXT = 1,
    FWI_WS_BINARY = 2,
    FWI_WS_CLOSE = 8,
    FWI_WS_PING = 9,
    FWI_WS_PONG = 10
} fwi_ws_opcode;

/* Set in rsv of the first frame of a compressed message. */
#define FWI_WS_RSV_DEFLATE 4

/* A part of a frame as it came; a control frame always comes in one. */
typedef struct fwi_ws_piece {
    uint8_t opcode, rsv;
    bool fin, masked;
    bool first, last; /* of its frame */
    uint64_t frame_len;
    const uint8_t *data; /* unmasked; until the next call */
    size_t len;
} fwi_ws_piece;

typedef struct fwi_ws_reader fwi_ws_reader;

/* NULL: no memory. */
FWI_API fwi_ws_reader *fwi_ws_reader_create(void);
FWI_API void fwi_ws_reader_destroy(fwi_ws_reader *reader);
/* Takes bytes from *data and *len, and some ahead of what it hands out. 1: a piece; 0: all is taken
 * and more is needed; FW_EPROTOCOL: an impossible length, or a control frame in fragments. */
FWI_API int fwi_ws_reader_next(fwi_ws_reader *reader, const uint8_t **data, size_t *len,
                               fwi_ws_piece *ret_piece);
/* True if no byte is kept: asked after next has answered 0. */
FWI_API bool fwi_ws_reader_is_empty(const fwi_ws_reader *reader);

typedef int (*fwi_ws_write_fn)(void *arg, const uint8_t *data, size_t len);

typedef struct fwi_ws_writer fwi_ws_writer;

FWI_API fwi_ws_writer *fwi_ws_writer_create(void);
FWI_API void fwi_ws_writer_destroy(fwi_ws_writer *writer);

typedef struct fwi_ws_frame {
    fwi_ws_opcode opcode;
    uint8_t rsv;
    bool masked;           /* with a new key from the kernel's random numbers */
    const fw_slice *parts; /* of the payload */
    size_t count;
} fwi_ws_frame;

/* Writes a frame that is a whole message through write, in several calls. The first error of write
 * or of the random numbers; FW_EPROTOCOL (a control frame that is too long). */
FWI_API int fwi_ws_writer_put(fwi_ws_writer *writer, const fwi_ws_frame *frame,
                              fwi_ws_write_fn write, void *arg);

#endif
