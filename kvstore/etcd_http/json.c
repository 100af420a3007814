/*
 * See json.h. The decoder of base64 is our own: OpenSSL's EVP_DecodeBlock passes over blanks,
 * counts in int, and does not say how much of the end was padding; this one refuses whatever is not
 * the one right encoding of the bytes, and works in place.
 */
#include "json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_CAPACITY 256
#define UNKNOWN        2 /* gRPC's code for an error without one */

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* ---- writing ---- */

/* Room for more bytes and a NUL; NULL if there is none. */
static char *reserve(fwi_eh_text *text, size_t more)
{
    if (text->failed || more > SIZE_MAX / 4)
        goto fail;
    if (text->capacity - text->len <= more) {
        size_t capacity = text->capacity ? text->capacity : LEAST_CAPACITY;
        while (capacity - text->len <= more)
            capacity *= 2;
        char *data = realloc(text->data, capacity);
        if (!data)
            goto fail;
        text->data = data;
        text->capacity = capacity;
    }
    return text->data + text->len;
fail:
    text->failed = true;
    return NULL;
}

void fwi_eh_text_add(fwi_eh_text *text, const char *part)
{
    size_t len = strlen(part);
    char *to = reserve(text, len);
    if (!to)
        return;
    memcpy(to, part, len + 1);
    text->len += len;
}

void fwi_eh_text_add_bytes(fwi_eh_text *text, fw_slice bytes)
{
    if (bytes.len > SIZE_MAX / 4) {
        text->failed = true;
        return;
    }
    size_t len = (bytes.len + 2) / 3 * 4 + 2;
    char *to = reserve(text, len);
    if (!to)
        return;
    const uint8_t *from = bytes.data;
    size_t i = 0;
    *to++ = '"';
    for (; i + 3 <= bytes.len; i += 3) {
        uint32_t group = (uint32_t)from[i] << 16 | (uint32_t)from[i + 1] << 8 | from[i + 2];
        *to++ = digits[group >> 18];
        *to++ = digits[group >> 12 & 63];
        *to++ = digits[group >> 6 & 63];
        *to++ = digits[group & 63];
    }
    if (i < bytes.len) {
        bool two = i + 2 == bytes.len;
        uint32_t group = (uint32_t)from[i] << 16 | (two ? (uint32_t)from[i + 1] << 8 : 0);
        *to++ = digits[group >> 18];
        *to++ = digits[group >> 12 & 63];
        *to++ = two ? digits[group >> 6 & 63] : '=';
        *to++ = '=';
    }
    *to++ = '"';
    *to = 0;
    text->len += len;
}

void fwi_eh_text_add_int64(fwi_eh_text *text, int64_t number)
{
    char digits_of_it[32];
    (void)snprintf(digits_of_it, sizeof digits_of_it, "\"%" PRId64 "\"", number);
    fwi_eh_text_add(text, digits_of_it);
}

void fwi_eh_text_add_string(fwi_eh_text *text, const char *string)
{
    fwi_eh_text_add(text, "\"");
    for (const char *p = string; *p; p++) {
        char escaped[8] = {*p};
        if (*p == '"' || *p == '\\')
            (void)snprintf(escaped, sizeof escaped, "\\%c", *p);
        else if ((unsigned char)*p < ' ')
            (void)snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned char)*p);
        fwi_eh_text_add(text, escaped);
    }
    fwi_eh_text_add(text, "\"");
}

bool fwi_eh_text_reserve(fwi_eh_text *text, size_t bytes)
{
    return reserve(text, bytes) != NULL;
}

void fwi_eh_text_fini(fwi_eh_text *text)
{
    free(text->data);
    *text = (fwi_eh_text){.data = NULL};
}

/* ---- reading ---- */

cJSON *fwi_eh_json_get(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* The text of a field: NULL if it is missing, "" if it is no string. */
static const char *number_text(const cJSON *object, const char *name)
{
    const cJSON *field = fwi_eh_json_get(object, name);
    if (!field)
        return NULL;
    return cJSON_IsString(field) ? field->valuestring : "";
}

bool fwi_eh_json_int64(const cJSON *object, const char *name, int64_t *ret_number)
{
    *ret_number = 0;
    const char *text = number_text(object, name);
    if (!text)
        return true;
    bool negative = text[0] == '-';
    if (text[negative] < '0' || text[negative] > '9')
        return false;
    char *end;
    errno = 0;
    *ret_number = strtoll(text, &end, 10);
    return !*end && !errno;
}

bool fwi_eh_json_uint64(const cJSON *object, const char *name, uint64_t *ret_number)
{
    *ret_number = 0;
    const char *text = number_text(object, name);
    if (!text)
        return true;
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    *ret_number = strtoull(text, &end, 10);
    return !*end && !errno;
}

bool fwi_eh_json_true(const cJSON *object, const char *name)
{
    return cJSON_IsTrue(fwi_eh_json_get(object, name));
}

const char *fwi_eh_json_text(const cJSON *object, const char *name)
{
    const cJSON *field = fwi_eh_json_get(object, name);
    return cJSON_IsString(field) ? field->valuestring : "";
}

/* The value of a digit, or 64 and more. */
static uint32_t value_of(uint8_t digit)
{
    if (digit >= 'A' && digit <= 'Z')
        return digit - 'A';
    if (digit >= 'a' && digit <= 'z')
        return digit - 'a' + 26u;
    if (digit >= '0' && digit <= '9')
        return digit - '0' + 52u;
    return digit == '+' ? 62 : digit == '/' ? 63 : UINT32_MAX;
}

/* Decodes base64 in place. False if it is malformed. */
static bool decode(uint8_t *bytes, size_t len, size_t *ret_len)
{
    if (len % 4)
        return false;
    size_t padding = !len || bytes[len - 1] != '=' ? 0 : bytes[len - 2] != '=' ? 1 : 2;
    uint8_t *to = bytes;
    for (size_t i = 0; i < len; i += 4) {
        size_t missing = i + 4 == len ? padding : 0;
        uint32_t a = value_of(bytes[i]), b = value_of(bytes[i + 1]);
        uint32_t c = missing < 2 ? value_of(bytes[i + 2]) : 0;
        uint32_t d = missing < 1 ? value_of(bytes[i + 3]) : 0;
        if ((a | b | c | d) > 63)
            return false;
        uint32_t group = a << 18 | b << 12 | c << 6 | d;
        /* What the padding hides must be zero. */
        if ((missing == 1 && group & 0xff) || (missing == 2 && group & 0xffff))
            return false;
        *to++ = (uint8_t)(group >> 16);
        if (missing < 2)
            *to++ = (uint8_t)(group >> 8);
        if (missing < 1)
            *to++ = (uint8_t)group;
    }
    *ret_len = (size_t)(to - bytes);
    return true;
}

bool fwi_eh_json_bytes(const cJSON *object, const char *name, fw_slice *ret_bytes)
{
    *ret_bytes = (fw_slice){"", 0};
    const cJSON *field = fwi_eh_json_get(object, name);
    if (!field)
        return true;
    if (!cJSON_IsString(field))
        return false;
    ret_bytes->data = field->valuestring;
    return decode((uint8_t *)field->valuestring, strlen(field->valuestring), &ret_bytes->len);
}

bool fwi_eh_json_error(const cJSON *reply, int *ret_code, const char **ret_text)
{
    const cJSON *error = fwi_eh_json_get(reply, "error");
    const cJSON *code = fwi_eh_json_get(reply, "code");
    if (!error && !code)
        return false;
    /* In a stream the error is an object. Gateways before etcd 3.6 give gRPC's code a name of its
     * own there, and repeat the text of other errors as `error`. */
    if (cJSON_IsObject(error)) {
        code = fwi_eh_json_get(error, "grpc_code");
        code = code ? code : fwi_eh_json_get(error, "code");
        *ret_text = fwi_eh_json_text(error, "message");
    } else {
        *ret_text = fwi_eh_json_text(reply, "message");
        if (!**ret_text)
            *ret_text = fwi_eh_json_text(reply, "error");
    }
    *ret_code = cJSON_IsNumber(code) && code->valueint ? code->valueint : UNKNOWN;
    return true;
}

bool fwi_eh_json_header(const cJSON *reply, uint64_t *ret_cluster, int64_t *ret_revision)
{
    const cJSON *header = fwi_eh_json_get(reply, "header");
    return fwi_eh_json_uint64(header, "cluster_id", ret_cluster) &&
           fwi_eh_json_int64(header, "revision", ret_revision);
}

bool fwi_eh_json_pair(const cJSON *object, fwi_ec_pair *ret_pair)
{
    return cJSON_IsObject(object) && fwi_eh_json_bytes(object, "key", &ret_pair->key) &&
           fwi_eh_json_bytes(object, "value", &ret_pair->value) &&
           fwi_eh_json_int64(object, "mod_revision", &ret_pair->revision) &&
           fwi_eh_json_int64(object, "lease", &ret_pair->lease);
}
