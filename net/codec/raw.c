/* Codec "raw": bytes as they are. */
#include "codec/codec.h"
#include "codec/json_value.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static int encode(fwi_codec_run *run, const void *type, const void *message, fwi_buffer *out)
{
    (void)run, (void)type;
    const fw_slice *bytes = message;
    return fwi_buffer_put(out, bytes->data, bytes->len);
}

/* The slice and, behind it, its bytes. */
static int decode(fwi_codec_run *run, const void *type, fw_slice data, void **ret_message)
{
    (void)run, (void)type;
    fw_slice *message = malloc(sizeof *message + data.len);
    if (!message)
        return UV_ENOMEM;
    if (data.len)
        memcpy(message + 1, data.data, data.len);
    *message = (fw_slice){message + 1, data.len};
    *ret_message = message;
    return FW_OK;
}

static void free_message(const void *type, void *message)
{
    (void)type;
    free(message);
}

static int encode_json(fwi_codec_run *run, const void *type, const cJSON *json, fwi_buffer *out)
{
    (void)type;
    fwi_json_bytes bytes;
    int err = fwi_json_get_text(json, &bytes);
    if (err)
        return fwi_codec_fail(run, err, "wants a text or {\"$bin\": base64}");
    err = fwi_buffer_put(out, bytes.bytes.data, bytes.bytes.len);
    fwi_json_bytes_fini(&bytes);
    return err;
}

static int decode_json(fwi_codec_run *run, const void *type, fw_slice data, cJSON **ret_json)
{
    (void)run, (void)type;
    cJSON *json = fwi_json_make_text(data);
    if (!json)
        return UV_ENOMEM;
    *ret_json = json;
    return FW_OK;
}

const fw_codec fwi_codec_raw = {
    .name = "raw",
    .encode = encode,
    .decode = decode,
    .free_message = free_message,
    .encode_json = encode_json,
    .decode_json = decode_json,
};
