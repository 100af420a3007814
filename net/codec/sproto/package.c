/* The struct in front of a call's body: package { type 0, session 1: integer, ud 2: string }. */
#include "base/bytes.h"
#include "codec/sproto/reader.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum { TYPE, SESSION, USER_DATA, FIELD_COUNT };

#define MAX_INLINE 32766

static const fwi_sproto_field fields[FIELD_COUNT] = {
    [TYPE] = {.name = "type", .tag = TYPE, .kind = FWI_SPROTO_INTEGER},
    [SESSION] = {.name = "session", .tag = SESSION, .kind = FWI_SPROTO_INTEGER},
    [USER_DATA] = {.name = "ud", .tag = USER_DATA, .kind = FWI_SPROTO_BINARY},
};
static const fwi_sproto_field *const field_list[FIELD_COUNT] = {&fields[TYPE], &fields[SESSION],
                                                                &fields[USER_DATA]};
static const fw_sproto_type package_type = {
    .name = "package",
    .fields = (const fwi_sproto_field **)field_list,
    .field_count = FIELD_COUNT,
};

typedef struct package_writer {
    uint8_t *word, *data;
    unsigned next_tag;
} package_writer;

static void put_word(package_writer *writer, unsigned tag, unsigned word)
{
    if (tag > writer->next_tag) {
        fwi_put_u16le(writer->word, (uint16_t)((tag - writer->next_tag - 1) * 2 + 1));
        writer->word += 2;
    }
    fwi_put_u16le(writer->word, (uint16_t)word);
    writer->word += 2;
    writer->next_tag = tag + 1;
}

static void put_session(package_writer *writer, uint64_t session)
{
    if (session <= MAX_INLINE) {
        put_word(writer, SESSION, (unsigned)(session + 1) * 2);
        return;
    }
    put_word(writer, SESSION, 0);
    unsigned width = session <= INT32_MAX ? 4 : 8;
    fwi_put_u32le(writer->data, width);
    if (width == 4)
        fwi_put_u32le(writer->data + 4, (uint32_t)session);
    else
        fwi_put_u64le(writer->data + 4, session);
    writer->data += 4 + width;
}

/* Number of words of the package. */
static size_t count_words(const fw_sproto_package *package)
{
    unsigned next_tag = 0;
    size_t words = 0;
    const bool has[FIELD_COUNT] = {package->has_type, package->has_session,
                                   package->user_data.data != NULL};
    for (unsigned tag = 0; tag < FIELD_COUNT; tag++)
        if (has[tag]) {
            words += 1 + (tag > next_tag);
            next_tag = tag + 1;
        }
    return words;
}

/* Writes the package; returns its end. There is room. */
static uint8_t *put_package(const fw_sproto_package *package, uint8_t *out)
{
    size_t words = count_words(package);
    fwi_put_u16le(out, (uint16_t)words);
    package_writer writer = {.word = out + 2, .data = out + 2 + 2 * words};
    if (package->has_type)
        put_word(&writer, TYPE, (package->type + 1u) * 2);
    if (package->has_session)
        put_session(&writer, package->session);
    if (package->user_data.data) {
        put_word(&writer, USER_DATA, 0);
        fwi_put_u32le(writer.data, (uint32_t)package->user_data.len);
        memcpy(writer.data + 4, package->user_data.data, package->user_data.len);
        writer.data += 4 + package->user_data.len;
    }
    return writer.data;
}

#define MAX_PACKAGE_BYTES (2 + 2 * 2 * FIELD_COUNT + 12 + 4) /* and the user data */

int fw_sproto_package_encode(const fw_sproto_package *package, const fw_slice *body,
                             uint8_t **ret_data, size_t *ret_len)
{
    if (package->type > FWI_SPROTO_MAX_TAG || package->user_data.len > UINT32_MAX)
        return UV_EINVAL;
    size_t body_len = body ? body->len : 0;
    size_t most = MAX_PACKAGE_BYTES + package->user_data.len + body_len;
    uint8_t *plain = malloc(most), *packed = malloc(fw_sproto_pack_bound(most));
    if (!plain || !packed) {
        free(plain);
        free(packed);
        return UV_ENOMEM;
    }
    uint8_t *end = put_package(package, plain);
    if (body_len)
        memcpy(end, body->data, body_len);
    *ret_len = fw_sproto_pack(plain, (size_t)(end - plain) + body_len, packed);
    *ret_data = packed;
    free(plain);
    return FW_OK;
}

static int read_package(fwi_sproto_reader *reader, fw_sproto_package *package)
{
    fwi_sproto_value value;
    int64_t number;
    int rc;
    while ((rc = fwi_sproto_next(reader, &value)) > 0) {
        switch (value.field->tag) {
        case TYPE:
            if (fwi_sproto_get_integer(&value, &number) || number < 0 ||
                number > FWI_SPROTO_MAX_TAG)
                return FW_EMESSAGE;
            package->has_type = true;
            package->type = (uint16_t)number;
            break;
        case SESSION:
            if (fwi_sproto_get_integer(&value, &number))
                return FW_EMESSAGE;
            package->has_session = true;
            package->session = (uint64_t)number;
            break;
        default:
            if (value.is_inline)
                return FW_EMESSAGE;
            package->user_data = value.bytes;
            break;
        }
    }
    return rc;
}

int fw_sproto_package_decode(const void *data, size_t len, size_t max_bytes,
                             fw_sproto_package *ret_package, uint8_t **ret_data, fw_slice *ret_body)
{
    uint8_t *plain;
    size_t plain_len;
    int err = fw_sproto_unpack(data, len, max_bytes, &plain, &plain_len);
    if (err)
        return err;
    fw_sproto_package package = {.has_type = false};
    fwi_sproto_reader reader;
    err = fwi_sproto_reader_init(&reader, &package_type, (fw_slice){plain, plain_len});
    if (!err)
        err = read_package(&reader, &package);
    if (err) {
        free(plain);
        return err;
    }
    size_t used = fwi_sproto_used(&reader);
    *ret_package = package;
    *ret_data = plain;
    *ret_body = (fw_slice){plain + used, plain_len - used};
    return FW_OK;
}
