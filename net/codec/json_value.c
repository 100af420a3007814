#include "codec/json_value.h"

#include "codec/base64.h"
#include "codec/proto_wire.h"

#include <errno.h>
#include <fairway/error.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

cJSON *fwi_json_make_int64(int64_t value)
{
    if (value >= -FWI_JSON_MAX_EXACT && value <= FWI_JSON_MAX_EXACT)
        return cJSON_CreateNumber((double)value);
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, value);
    return cJSON_CreateString(text);
}

cJSON *fwi_json_make_uint64(uint64_t value)
{
    if (value <= (uint64_t)FWI_JSON_MAX_EXACT)
        return cJSON_CreateNumber((double)value);
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return cJSON_CreateString(text);
}

/* Digits, with a sign if one is allowed, and nothing else. */
static bool is_whole(const char *text, bool is_signed)
{
    if (is_signed && *text == '-')
        text++;
    return *text && strspn(text, "0123456789") == strlen(text);
}

int fwi_json_get_int64(const cJSON *item, int64_t *ret_value)
{
    if (cJSON_IsString(item)) {
        if (!is_whole(item->valuestring, true))
            return FW_EMESSAGE;
        errno = 0;
        int64_t value = strtoll(item->valuestring, NULL, 10);
        if (errno)
            return FW_EMESSAGE;
        *ret_value = value;
        return FW_OK;
    }
    if (!cJSON_IsNumber(item))
        return FW_EMESSAGE;
    double value = item->valuedouble;
    if (!(value >= -0x1p63 && value < 0x1p63) || value != trunc(value))
        return FW_EMESSAGE;
    *ret_value = (int64_t)value;
    return FW_OK;
}

int fwi_json_get_uint64(const cJSON *item, uint64_t *ret_value)
{
    if (cJSON_IsString(item)) {
        if (!is_whole(item->valuestring, false))
            return FW_EMESSAGE;
        errno = 0;
        uint64_t value = strtoull(item->valuestring, NULL, 10);
        if (errno)
            return FW_EMESSAGE;
        *ret_value = value;
        return FW_OK;
    }
    if (!cJSON_IsNumber(item))
        return FW_EMESSAGE;
    double value = item->valuedouble;
    if (!(value >= 0 && value < 0x1p64) || value != trunc(value))
        return FW_EMESSAGE;
    *ret_value = (uint64_t)value;
    return FW_OK;
}

cJSON *fwi_json_make_double(double value)
{
    if (isnan(value))
        return cJSON_CreateString("NaN");
    if (isinf(value))
        return cJSON_CreateString(value > 0 ? "Infinity" : "-Infinity");
    return cJSON_CreateNumber(value);
}

int fwi_json_get_double(const cJSON *item, double *ret_value)
{
    if (cJSON_IsNumber(item)) {
        *ret_value = item->valuedouble;
        return FW_OK;
    }
    if (!cJSON_IsString(item))
        return FW_EMESSAGE;
    if (!strcmp(item->valuestring, "NaN"))
        *ret_value = NAN;
    else if (!strcmp(item->valuestring, "Infinity"))
        *ret_value = INFINITY;
    else if (!strcmp(item->valuestring, "-Infinity"))
        *ret_value = -INFINITY;
    else
        return FW_EMESSAGE;
    return FW_OK;
}

bool fwi_json_is_text(fw_slice bytes)
{
    return !bytes.len || (!memchr(bytes.data, 0, bytes.len) && fwi_utf8_valid(bytes));
}

cJSON *fwi_json_make_text(fw_slice bytes)
{
    if (!fwi_json_is_text(bytes))
        return fwi_json_make_bin(bytes);
    char *text = malloc(bytes.len + 1);
    if (!text)
        return NULL;
    if (bytes.len)
        memcpy(text, bytes.data, bytes.len);
    text[bytes.len] = 0;
    cJSON *item = cJSON_CreateString(text);
    free(text);
    return item;
}

cJSON *fwi_json_make_base64(fw_slice bytes)
{
    char *text = fwi_base64_encode(bytes);
    cJSON *item = text ? cJSON_CreateString(text) : NULL;
    free(text);
    return item;
}

cJSON *fwi_json_make_bin(fw_slice bytes)
{
    cJSON *object = cJSON_CreateObject();
    if (object && fwi_json_add(object, (fw_slice){"$bin", 4}, fwi_json_make_base64(bytes))) {
        cJSON_Delete(object);
        return NULL;
    }
    return object;
}

static int from_base64(const cJSON *item, fwi_json_bytes *ret_bytes)
{
    uint8_t *data;
    size_t len;
    if (!cJSON_IsString(item))
        return FW_EMESSAGE;
    int err = fwi_base64_decode(item->valuestring, &data, &len);
    if (!err)
        *ret_bytes = (fwi_json_bytes){.bytes = {data, len}, .own = data};
    return err;
}

int fwi_json_get_text(const cJSON *item, fwi_json_bytes *ret_bytes)
{
    const cJSON *bin = fwi_json_single(item, "$bin");
    if (bin)
        return from_base64(bin, ret_bytes);
    if (!cJSON_IsString(item))
        return FW_EMESSAGE;
    *ret_bytes = (fwi_json_bytes){.bytes = {item->valuestring, strlen(item->valuestring)}};
    return FW_OK;
}

int fwi_json_get_base64(const cJSON *item, fwi_json_bytes *ret_bytes)
{
    const cJSON *bin = fwi_json_single(item, "$bin");
    return from_base64(bin ? bin : item, ret_bytes);
}

void fwi_json_bytes_fini(fwi_json_bytes *bytes)
{
    free(bytes->own);
}

const cJSON *fwi_json_single(const cJSON *item, const char *name)
{
    const cJSON *member = cJSON_IsObject(item) ? item->child : NULL;
    return member && !member->next && !strcmp(member->string, name) ? member : NULL;
}

int fwi_json_add(cJSON *object, fw_slice name, cJSON *item)
{
    char *key = item ? malloc(name.len + 1) : NULL;
    if (!key) {
        cJSON_Delete(item);
        return UV_ENOMEM;
    }
    if (name.len)
        memcpy(key, name.data, name.len);
    key[name.len] = 0;
    bool is_added = cJSON_AddItemToObject(object, key, item);
    free(key);
    if (!is_added)
        cJSON_Delete(item);
    return is_added ? FW_OK : UV_ENOMEM;
}

int fwi_json_append(cJSON *array, cJSON *item)
{
    return item && cJSON_AddItemToArray(array, item) ? FW_OK : UV_ENOMEM;
}
