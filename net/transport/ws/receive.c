/*
 * A message that comes whole in one piece is handed out where it lies; only of others a struct
 * fwi_ws_message is kept, until their end.
 */
#include "transport/ws/receive.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/bytes.h"
#include "transport/ws/utf8.h"

#define FIRST_BYTES 256

/* Besides 0 (more bytes are needed), 1 (an event) and errors. */
#define AGAIN 2

struct fwi_ws_message {
    uint8_t *data; /* so far; NULL for a stream */
    size_t len, capacity;
    fwi_ws_inflater *inflater; /* NULL: not compressed */
    fwi_utf8 utf8;
    uint32_t fragments; /* stream: without payload, in a row */
    bool text;
    bool inflating;  /* the inflater has been lent bytes, and may have more for us */
    bool tail_given; /* and these were the last */
    bool ending;     /* all of it has come */
    bool handed_out;
};

static void end_message(fwi_ws *ws)
{
    struct fwi_ws_message *message = ws->message;
    if (!message)
        return;
    fwi_ws_inflater_destroy(message->inflater);
    free(message->data);
    free(message);
    ws->message = NULL;
}

void fwi_ws_receive_fini(fwi_ws *ws)
{
    end_message(ws);
    fwi_ws_reader_destroy(ws->reader);
    ws->reader = NULL;
}

bool fwi_ws_receive_has_more(const fwi_ws *ws)
{
    const struct fwi_ws_message *message = ws->message;
    return (message && (message->inflating || message->ending)) ||
           (ws->reader && !fwi_ws_reader_is_empty(ws->reader));
}

static int bad_data(fwi_ws *ws)
{
    ws->bad_data = true;
    return FW_EPROTOCOL;
}

/* ---- data ---- */
static int begin_message(fwi_ws *ws, const fwi_ws_piece *piece)
{
    struct fwi_ws_message *message = calloc(1, sizeof *message);
    if (!message)
        return UV_ENOMEM;
    ws->message = message;
    message->text = piece->opcode == FWI_WS_TEXT;
    if (piece->rsv && !(message->inflater = fwi_ws_inflater_create()))
        return UV_ENOMEM;
    return FW_OK;
}

static int append(fwi_ws *ws, const uint8_t *data, size_t len)
{
    struct fwi_ws_message *message = ws->message;
    if (len > ws->config->max_message_bytes - message->len)
        return FW_EFRAMESIZE;
    if (message->len + len > message->capacity) {
        size_t capacity = message->capacity ? message->capacity : FIRST_BYTES;
        while (capacity < message->len + len)
            capacity *= 2;
        uint8_t *bigger = realloc(message->data, capacity);
        if (!bigger)
            return UV_ENOMEM;
        message->data = bigger;
        message->capacity = capacity;
    }
    if (len)
        memcpy(message->data + message->len, data, len);
    message->len += len;
    return AGAIN;
}

static int data_event(const uint8_t *data, size_t len, bool text, fwi_ws_event *ret_event)
{
    *ret_event = (fwi_ws_event){.kind = FWI_WS_DATA, .data = data, .len = len, .text = text};
    return 1;
}

/* Bytes of the message under way. */
static int take_bytes(fwi_ws *ws, const uint8_t *data, size_t len, fwi_ws_event *ret_event)
{
    struct fwi_ws_message *message = ws->message;
    if (message->text && !fwi_utf8_check(&message->utf8, data, len))
        return bad_data(ws);
    if (ws->config->messages)
        return append(ws, data, len);
    return len ? data_event(data, len, message->text, ret_event) : AGAIN;
}

static int inflate_some(fwi_ws *ws, fwi_ws_event *ret_event)
{
    struct fwi_ws_message *message = ws->message;
    const uint8_t *data;
    size_t len;
    int rc = fwi_ws_inflater_next(message->inflater, &data, &len);
    if (rc > 0)
        return take_bytes(ws, data, len, ret_event);
    if (rc < 0)
        return rc == FW_EPROTOCOL ? bad_data(ws) : rc;
    if (!message->ending) {
        message->inflating = false;
        return AGAIN;
    }
    if (!message->tail_given) {
        message->tail_given = true;
        fwi_ws_inflater_end(message->inflater);
        return AGAIN;
    }
    message->inflating = false;
    return fwi_ws_inflater_is_whole(message->inflater) ? AGAIN : bad_data(ws);
}

static int finish_message(fwi_ws *ws, fwi_ws_event *ret_event)
{
    struct fwi_ws_message *message = ws->message;
    if (message->text && !fwi_utf8_is_whole(&message->utf8))
        return bad_data(ws);
    if (ws->config->messages) {
        message->handed_out = true;
        return data_event(message->data, message->len, message->text, ret_event);
    }
    end_message(ws);
    return AGAIN;
}

/* The first piece of a data frame: may it stand here? */
static int check_frame(fwi_ws *ws, const fwi_ws_piece *piece)
{
    struct fwi_ws_message *message = ws->message;
    if ((piece->opcode == FWI_WS_CONTINUATION) != (message != NULL))
        return FW_EPROTOCOL;
    if (piece->rsv && (piece->rsv != FWI_WS_RSV_DEFLATE || !ws->deflate_bits || message))
        return FW_EPROTOCOL;
    if (ws->config->messages && !piece->rsv && !(message && message->inflater) &&
        piece->frame_len > ws->config->max_message_bytes - (message ? message->len : 0))
        return FW_EFRAMESIZE;
    if (!message)
        return FW_OK;
    if (!ws->config->messages && piece->frame_len)
        message->fragments = 0;
    return ++message->fragments < FWI_WS_MAX_FRAGMENTS ? FW_OK : FW_ELIMIT;
}

static int on_data_piece(fwi_ws *ws, const fwi_ws_piece *piece, fwi_ws_event *ret_event)
{
    int err = piece->first ? check_frame(ws, piece) : FW_OK;
    bool ends = piece->fin && piece->last;
    if (err)
        return err;
    if (!ws->message && ends && !piece->rsv) { /* whole */
        fwi_utf8 utf8 = {0};
        bool text = piece->opcode == FWI_WS_TEXT;
        if (text && !(fwi_utf8_check(&utf8, piece->data, piece->len) && fwi_utf8_is_whole(&utf8)))
            return bad_data(ws);
        if (!piece->len && !ws->config->messages)
            return AGAIN;
        return data_event(piece->data, piece->len, text, ret_event);
    }
    if (!ws->message && (err = begin_message(ws, piece)))
        return err;
    ws->message->ending = ends;
    if (!ws->message->inflater)
        return take_bytes(ws, piece->data, piece->len, ret_event);
    fwi_ws_inflater_push(ws->message->inflater, piece->data, piece->len);
    ws->message->inflating = true;
    return AGAIN;
}

/* ---- control ---- */
static int on_close(fwi_ws *ws, const fwi_ws_piece *piece, fwi_ws_event *ret_event)
{
    unsigned code = FWI_WS_NO_CODE;
    fwi_utf8 utf8 = {0};
    if (piece->len == 1)
        return FW_EPROTOCOL;
    size_t code_len = piece->len ? 2 : 0;
    if (code_len) {
        code = (unsigned)(piece->data[0] << 8 | piece->data[1]);
        if (!fwi_ws_code_is_valid(code))
            return FW_EPROTOCOL;
    }
    const uint8_t *text = piece->data + code_len;
    size_t text_len = piece->len - code_len;
    if (!fwi_utf8_check(&utf8, text, text_len) || !fwi_utf8_is_whole(&utf8))
        return bad_data(ws);
    *ret_event = (fwi_ws_event){
        .kind = FWI_WS_CLOSED, .data = text, .len = text_len, .code = (uint16_t)code};
    end_message(ws); /* it will not go on */
    ws->state = FWI_WS_OVER;
    return 1;
}

static int on_control(fwi_ws *ws, const fwi_ws_piece *piece, fwi_ws_event *ret_event)
{
    if (piece->rsv)
        return FW_EPROTOCOL;
    switch (piece->opcode) {
    case FWI_WS_CLOSE:
        return on_close(ws, piece, ret_event);
    case FWI_WS_PING: {
        int err = fwi_ws_answer_ping(ws, piece->data, piece->len);
        return err ? err : AGAIN;
    }
    case FWI_WS_PONG:
        if (piece->len != 4 || !ws->pings || fwi_get_u32le(piece->data) != ws->pings)
            return AGAIN; /* unasked for, or late */
        *ret_event = (fwi_ws_event){.kind = FWI_WS_PONGED};
        return 1;
    default:
        return FW_EPROTOCOL;
    }
}

static int on_piece(fwi_ws *ws, const fwi_ws_piece *piece, fwi_ws_event *ret_event)
{
    if (piece->masked != ws->config->server)
        return FW_EPROTOCOL;
    if (piece->opcode >= FWI_WS_CLOSE)
        return on_control(ws, piece, ret_event);
    if (piece->opcode > FWI_WS_BINARY)
        return FW_EPROTOCOL;
    return on_data_piece(ws, piece, ret_event);
}

static int step(fwi_ws *ws, fwi_ws_event *ret_event)
{
    fwi_ws_piece piece;
    if (ws->message && ws->message->handed_out)
        end_message(ws);
    if (ws->message && ws->message->inflating)
        return inflate_some(ws, ret_event);
    if (ws->message && ws->message->ending)
        return finish_message(ws, ret_event);
    if (!ws->reader && !ws->input_len)
        return 0;
    if (!ws->reader && !(ws->reader = fwi_ws_config_take_reader(ws->config)))
        return UV_ENOMEM;
    int rc = fwi_ws_reader_next(ws->reader, &ws->input, &ws->input_len, &piece);
    if (rc > 0)
        return on_piece(ws, &piece, ret_event);
    if (!rc && fwi_ws_reader_is_empty(ws->reader)) {
        fwi_ws_config_give_reader(ws->config, ws->reader);
        ws->reader = NULL;
    }
    return rc;
}

int fwi_ws_receive(fwi_ws *ws, fwi_ws_event *ret_event)
{
    int rc;
    do
        rc = step(ws, ret_event);
    while (rc == AGAIN);
    return rc;
}
