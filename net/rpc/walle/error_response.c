#include "rpc/walle/packet.h"

#include "codec/proto_wire.h"

#include <cjson/cJSON.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

enum { CODE = 1, LOGIC_ERROR = 2, DESC = 3 };

static int decode_json(fwi_rpc_error *error, fw_slice body)
{
    cJSON *json = cJSON_ParseWithLength(body.data, body.len);
    if (!cJSON_IsObject(json)) {
        cJSON_Delete(json);
        return FW_EPACKET;
    }
    const cJSON *code = cJSON_GetObjectItem(json, "Code"),
                *desc = cJSON_GetObjectItem(json, "Desc");
    /* A double holds codes up to 2^53 exactly; what no int64 can hold is no code. */
    if (cJSON_IsNumber(code) && code->valuedouble > -9.2e18 && code->valuedouble < 9.2e18)
        error->code = (int64_t)code->valuedouble;
    error->logic = cJSON_IsTrue(cJSON_GetObjectItem(json, "LogicError"));
    if (cJSON_IsString(desc))
        fwi_rpc_error_set_text(error, desc->valuestring, strlen(desc->valuestring));
    cJSON_Delete(json);
    return FW_OK;
}

int fwi_walle_error_decode(fwi_rpc_error *ret_error, fw_slice body)
{
    *ret_error = (fwi_rpc_error){.code = 0};
    if (body.len && *(const char *)body.data == '{')
        return decode_json(ret_error, body);
    fwi_wire_reader reader = {body.data, (const uint8_t *)body.data + body.len};
    fwi_wire_field field;
    int rc;
    while ((rc = fwi_wire_next(&reader, &field)) > 0) {
        if (field.number == CODE && field.type == FWI_WIRE_VARINT)
            ret_error->code = (int64_t)field.varint;
        else if (field.number == LOGIC_ERROR && field.type == FWI_WIRE_VARINT)
            ret_error->logic = field.varint != 0;
        else if (field.number == DESC && field.type == FWI_WIRE_BYTES)
            fwi_rpc_error_set_text(ret_error, field.bytes.data, field.bytes.len);
    }
    return rc;
}

/* {"Code":1,"LogicError":true,"Desc":"..."}, each left out when zero, as Go's encoder has it. */
static int encode_json(const fwi_rpc_error *error, fw_slice *ret_body)
{
    cJSON *json = cJSON_CreateObject();
    char code[24];
    snprintf(code, sizeof code, "%lld", (long long)error->code);
    bool ok = json && (!error->code || cJSON_AddRawToObject(json, "Code", code)) &&
              (!error->logic || cJSON_AddTrueToObject(json, "LogicError")) &&
              (!*error->text || cJSON_AddStringToObject(json, "Desc", error->text));
    char *text = ok ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    if (!text)
        return UV_ENOMEM;
    *ret_body = (fw_slice){text, strlen(text)};
    return FW_OK;
}

static int encode_protobuf(const fwi_rpc_error *error, fw_slice *ret_body)
{
    fw_slice text = {error->text, strlen(error->text)};
    size_t size = fwi_varint_field_size((uint64_t)error->code) +
                  fwi_varint_field_size(error->logic) +
                  (text.len ? fwi_bytes_field_size(text.len) : 0);
    uint8_t *bytes = malloc(size ? size : 1), *out = bytes;
    if (!bytes)
        return UV_ENOMEM;
    out = fwi_put_varint_field(out, CODE, (uint64_t)error->code);
    out = fwi_put_varint_field(out, LOGIC_ERROR, error->logic);
    if (text.len)
        (void)fwi_put_bytes_field(out, DESC, text);
    *ret_body = (fw_slice){bytes, size};
    return FW_OK;
}

int fwi_walle_error_encode(const fwi_rpc_error *error, fw_rpc_error_format format,
                           fw_slice *ret_body)
{
    return format == FW_RPC_ERRORS_PROTOBUF ? encode_protobuf(error, ret_body)
                                            : encode_json(error, ret_body);
}
