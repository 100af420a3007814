#include "transport/ws/frame.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>
#include <wslay/wslay.h>

#include "base/random.h"

#define KEY_BYTES  4
#define KEYS_BYTES 256 /* of keys to come */

/* ---- reading ---- */
struct fwi_ws_reader {
    wslay_frame_context_ptr context;
    const uint8_t *input;
    size_t input_len;
    size_t kept; /* bytes that wslay has taken and not yet handed out */
    uint64_t at; /* in the frame under way */
    bool in_frame;
    uint8_t control_len;
    uint8_t control[FWI_WS_MAX_CONTROL_BYTES];
};

static ssize_t give_input(uint8_t *buffer, size_t len, int flags, void *user_data)
{
    (void)flags;
    fwi_ws_reader *reader = user_data;
    size_t n = len < reader->input_len ? len : reader->input_len;
    if (!n)
        return -1;
    memcpy(buffer, reader->input, n);
    reader->input += n;
    reader->input_len -= n;
    reader->kept += n;
    return (ssize_t)n;
}

fwi_ws_reader *fwi_ws_reader_create(void)
{
    static const struct wslay_frame_callbacks callbacks = {.recv_callback = give_input};
    fwi_ws_reader *reader = calloc(1, sizeof *reader);
    if (reader && wslay_frame_context_init(&reader->context, &callbacks, reader)) {
        free(reader);
        return NULL;
    }
    return reader;
}

void fwi_ws_reader_destroy(fwi_ws_reader *reader)
{
    if (!reader)
        return;
    wslay_frame_context_free(reader->context);
    free(reader);
}

/* wslay refuses lengths that are not in their shortest form, so that the length tells the size. */
static size_t header_bytes(const struct wslay_frame_iocb *frame)
{
    size_t extended = frame->payload_length < 126 ? 0 : frame->payload_length < 65536 ? 2 : 8;
    return 2 + extended + (frame->mask ? KEY_BYTES : 0);
}

/* True if the piece is to be handed out: of a control frame only the whole one is. */
static bool gather_control(fwi_ws_reader *reader, fwi_ws_piece *piece)
{
    if (piece->first && piece->last)
        return true;
    memcpy(reader->control + reader->control_len, piece->data, piece->len);
    reader->control_len = (uint8_t)(reader->control_len + piece->len);
    if (!piece->last)
        return false;
    piece->first = true;
    piece->data = reader->control;
    piece->len = reader->control_len;
    reader->control_len = 0;
    return true;
}

int fwi_ws_reader_next(fwi_ws_reader *reader, const uint8_t **data, size_t *len,
                       fwi_ws_piece *ret_piece)
{
    struct wslay_frame_iocb frame;
    fwi_ws_piece piece;
    do {
        reader->input = *data;
        reader->input_len = *len;
        ssize_t n = wslay_frame_recv(reader->context, &frame);
        *data = reader->input;
        *len = reader->input_len;
        if (n < 0)
            return n == WSLAY_ERR_WANT_READ ? 0 : FW_EPROTOCOL;
        bool first = !reader->in_frame;
        reader->kept -= (size_t)n + (first ? header_bytes(&frame) : 0);
        reader->at = first ? (uint64_t)n : reader->at + (uint64_t)n;
        reader->in_frame = reader->at < frame.payload_length;
        piece = (fwi_ws_piece){.opcode = frame.opcode,
                               .rsv = frame.rsv,
                               .fin = frame.fin,
                               .masked = frame.mask,
                               .first = first,
                               .last = !reader->in_frame,
                               .frame_len = frame.payload_length,
                               .data = frame.data,
                               .len = (size_t)n};
        if (!wslay_is_ctrl_frame(frame.opcode) || gather_control(reader, &piece)) {
            *ret_piece = piece;
            return 1;
        }
    } while (true);
}

bool fwi_ws_reader_is_empty(const fwi_ws_reader *reader)
{
    return !reader->in_frame && !reader->kept;
}

/* ---- writing ---- */
struct fwi_ws_writer {
    wslay_frame_context_ptr context;
    fwi_ws_write_fn write; /* of the frame under way */
    void *arg;
    int error;
};

/* Takes everything even after an error, so that wslay always comes to the end of its frame. */
static ssize_t take_output(const uint8_t *data, size_t len, int flags, void *user_data)
{
    (void)flags;
    fwi_ws_writer *writer = user_data;
    if (!writer->error)
        writer->error = writer->write(writer->arg, data, len);
    return (ssize_t)len;
}

/* Keys are taken from the kernel some at a time: a system call for each would cost more than a
 * short frame. */
static int next_key(uint8_t *buffer, size_t len, void *user_data)
{
    static _Thread_local uint8_t keys[KEYS_BYTES];
    static _Thread_local size_t left;
    fwi_ws_writer *writer = user_data;
    if (left < len) {
        int err = fwi_random_secret(keys, sizeof keys);
        if (err) {
            writer->error = err;
            return -1;
        }
        left = sizeof keys;
    }
    left -= len;
    memcpy(buffer, keys + left, len);
    memset(keys + left, 0, len);
    return 0;
}

fwi_ws_writer *fwi_ws_writer_create(void)
{
    static const struct wslay_frame_callbacks callbacks = {.send_callback = take_output,
                                                           .genmask_callback = next_key};
    fwi_ws_writer *writer = calloc(1, sizeof *writer);
    if (writer && wslay_frame_context_init(&writer->context, &callbacks, writer)) {
        free(writer);
        return NULL;
    }
    return writer;
}

void fwi_ws_writer_destroy(fwi_ws_writer *writer)
{
    if (!writer)
        return;
    wslay_frame_context_free(writer->context);
    free(writer);
}

int fwi_ws_writer_put(fwi_ws_writer *writer, const fwi_ws_frame *frame, fwi_ws_write_fn write,
                      void *arg)
{
    static const fw_slice nothing;
    const fw_slice *parts = frame->count ? frame->parts : &nothing;
    size_t count = frame->count ? frame->count : 1;
    writer->write = write;
    writer->arg = arg;
    writer->error = FW_OK;
    struct wslay_frame_iocb iocb = {
        .fin = 1, .rsv = frame->rsv, .opcode = (uint8_t)frame->opcode, .mask = frame->masked};
    for (size_t i = 0; i < count; i++)
        iocb.payload_length += parts[i].len;
    for (size_t i = 0; i < count; i++) {
        iocb.data = parts[i].data;
        iocb.data_length = parts[i].len;
        if (wslay_frame_send(writer->context, &iocb) != (ssize_t)parts[i].len)
            return writer->error ? writer->error : FW_EPROTOCOL;
    }
    return writer->error;
}
