#include "transport/ws/engine.h"

#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/bytes.h"
#include "transport/ws/handshake.h"
#include "transport/ws/receive.h"
#include "transport/ws/utf8.h"

struct fwi_ws_shaking {
    fwi_http_head head;
    char key[FWI_WS_KEY_CHARS + 1]; /* client */
};

void fwi_ws_init(fwi_ws *ws, fwi_ws_config *config, fwi_ws_write_fn write, void *arg)
{
    *ws = (fwi_ws){
        .config = fwi_ws_config_acquire(config), .write = write, .arg = arg, .error = FW_OK};
}

static void end_shaking(fwi_ws *ws)
{
    if (!ws->shaking)
        return;
    fwi_http_head_fini(&ws->shaking->head);
    free(ws->shaking);
    ws->shaking = NULL;
}

void fwi_ws_fini(fwi_ws *ws)
{
    end_shaking(ws);
    fwi_ws_receive_fini(ws);
    free(ws->pong);
    free(ws->detail);
    fwi_ws_config_release(ws->config);
}

/* ---- the handshake ---- */
static int begin_shaking(fwi_ws *ws)
{
    if (ws->shaking)
        return FW_OK;
    ws->shaking = calloc(1, sizeof *ws->shaking);
    if (!ws->shaking)
        return UV_ENOMEM;
    fwi_http_head_init(&ws->shaking->head, ws->config->server);
    return FW_OK;
}

static int write_text(fwi_ws *ws, char *text)
{
    int err = ws->write(ws->arg, (const uint8_t *)text, strlen(text));
    free(text);
    return err;
}

int fwi_ws_start(fwi_ws *ws)
{
    if (ws->config->server)
        return FW_OK;
    char *request;
    int err = begin_shaking(ws);
    if (!err)
        err = fwi_ws_handshake_request(ws->config, ws->shaking->key, &request);
    return err ? err : write_text(ws, request);
}

static int answer(fwi_ws *ws, int error, fwi_ws_agreement *agreement)
{
    char *text, detail[FWI_WS_DETAIL_CHARS];
    int status = fwi_ws_handshake_answer(ws->config, &ws->shaking->head, error, agreement, &text);
    if (status < 0)
        return status;
    int err = write_text(ws, text);
    if (err || status == 101)
        return err;
    snprintf(detail, sizeof detail, "refused with HTTP status %d", status);
    ws->detail = strdup(detail);
    return FW_EPROTOCOL;
}

static int check(fwi_ws *ws, int error, fwi_ws_agreement *agreement)
{
    char detail[FWI_WS_DETAIL_CHARS] = "the server's answer is not HTTP, or too long";
    if (!error)
        error = fwi_ws_handshake_check(ws->config, &ws->shaking->head, ws->shaking->key, agreement,
                                       detail);
    if (error && error != UV_ENOMEM)
        ws->detail = strdup(detail);
    return error;
}

static int shake(fwi_ws *ws, fwi_ws_event *ret_event)
{
    if (!ws->input_len)
        return 0;
    fwi_ws_agreement agreement = {.deflate = false};
    int err = begin_shaking(ws);
    if (err)
        return err;
    int rc = fwi_http_head_feed(&ws->shaking->head, &ws->input, &ws->input_len);
    if (!rc || rc == UV_ENOMEM)
        return rc;
    err = ws->config->server ? answer(ws, rc < 0 ? rc : 0, &agreement)
                             : check(ws, rc < 0 ? rc : 0, &agreement);
    if (err)
        return err;
    end_shaking(ws);
    fwi_ws_config_trim(ws->config);
    ws->deflate_bits = agreement.deflate ? agreement.deflate_bits : 0;
    ws->state = FWI_WS_OPEN;
    *ret_event = (fwi_ws_event){.kind = FWI_WS_OPENED};
    return 1;
}

/* ---- sending ---- */
static int put(fwi_ws *ws, fwi_ws_opcode opcode, uint8_t rsv, const fw_slice *parts, size_t count)
{
    if (ws->state == FWI_WS_SHAKING || ws->close_sent)
        return FW_ECLOSED;
    fwi_ws_writer *writer = fwi_ws_config_take_writer(ws->config);
    if (!writer)
        return UV_ENOMEM;
    fwi_ws_frame frame = {.opcode = opcode,
                          .rsv = rsv,
                          .masked = !ws->config->server,
                          .parts = parts,
                          .count = count};
    int err = fwi_ws_writer_put(writer, &frame, ws->write, ws->arg);
    fwi_ws_config_give_writer(ws->config, writer);
    return err;
}

static int put_control(fwi_ws *ws, fwi_ws_opcode opcode, const uint8_t *data, size_t len)
{
    fw_slice part = {data, len};
    return put(ws, opcode, 0, &part, 1);
}

static bool is_utf8(const fw_slice *parts, size_t count)
{
    fwi_utf8 utf8 = {0};
    for (size_t i = 0; i < count; i++)
        if (!fwi_utf8_check(&utf8, parts[i].data, parts[i].len))
            return false;
    return fwi_utf8_is_whole(&utf8);
}

int fwi_ws_send(fwi_ws *ws, const fw_slice *parts, size_t count)
{
    fwi_ws_opcode opcode = ws->config->text ? FWI_WS_TEXT : FWI_WS_BINARY;
    if (ws->config->text && !is_utf8(parts, count))
        return UV_EILSEQ;
    fwi_ws_deflater *deflater = ws->deflate_bits ? fwi_ws_config_take_deflater(ws->config) : NULL;
    uint8_t *data;
    size_t len;
    bool smaller =
        deflater && fwi_ws_deflater_run(deflater, ws->deflate_bits, parts, count, &data, &len);
    if (deflater)
        fwi_ws_config_give_deflater(ws->config, deflater);
    if (!smaller)
        return put(ws, opcode, 0, parts, count);
    fw_slice part = {data, len};
    int err = put(ws, opcode, FWI_WS_RSV_DEFLATE, &part, 1);
    free(data);
    return err;
}

int fwi_ws_ping(fwi_ws *ws)
{
    uint8_t payload[4];
    fwi_put_u32le(payload, ++ws->pings);
    return put_control(ws, FWI_WS_PING, payload, sizeof payload);
}

int fwi_ws_close(fwi_ws *ws, unsigned code)
{
    if (ws->close_sent || ws->state == FWI_WS_SHAKING)
        return FW_OK;
    uint8_t payload[] = {(uint8_t)(code >> 8), (uint8_t)code};
    int err =
        put_control(ws, FWI_WS_CLOSE, payload, fwi_ws_code_is_valid(code) ? sizeof payload : 0);
    ws->close_sent = true;
    return err;
}

int fwi_ws_answer_ping(fwi_ws *ws, const uint8_t *data, size_t len)
{
    if (ws->close_sent)
        return FW_OK;
    if (!ws->blocked)
        return put_control(ws, FWI_WS_PONG, data, len);
    if (!ws->pong && !(ws->pong = malloc(1 + FWI_WS_MAX_CONTROL_BYTES)))
        return UV_ENOMEM;
    ws->pong[0] = (uint8_t)len;
    memcpy(ws->pong + 1, data, len);
    return FW_OK;
}

int fwi_ws_set_blocked(fwi_ws *ws, bool blocked)
{
    ws->blocked = blocked;
    if (blocked || !ws->pong)
        return FW_OK;
    int err = ws->close_sent ? FW_OK : put_control(ws, FWI_WS_PONG, ws->pong + 1, ws->pong[0]);
    free(ws->pong);
    ws->pong = NULL;
    return err;
}

/* ---- receiving ---- */
void fwi_ws_push(fwi_ws *ws, const uint8_t *data, size_t len)
{
    ws->input = data;
    ws->input_len = len;
}

bool fwi_ws_has_more(const fwi_ws *ws)
{
    return ws->state != FWI_WS_OVER && (ws->input_len || fwi_ws_receive_has_more(ws));
}

static unsigned code_of(const fwi_ws *ws, int error)
{
    return ws->bad_data         ? FWI_WS_BAD_DATA
           : error == FW_ELIMIT ? FWI_WS_POLICY /* too many fragments: it is no use to try again */
                                : fwi_ws_code_of(error);
}

int fwi_ws_next(fwi_ws *ws, fwi_ws_event *ret_event)
{
    if (ws->state == FWI_WS_OVER) {
        ws->input_len = 0; /* nothing of it counts any more */
        return ws->error;
    }
    bool shaking = ws->state == FWI_WS_SHAKING;
    int rc = shaking ? shake(ws, ret_event) : fwi_ws_receive(ws, ret_event);
    if (rc >= 0)
        return rc;
    if (!shaking)
        (void)fwi_ws_close(ws, code_of(ws, rc)); /* the first error is the one to tell */
    ws->close_sent = true;
    ws->state = FWI_WS_OVER;
    ws->input_len = 0;
    return ws->error = rc;
}
