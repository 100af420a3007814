#include "saved_list.h"

#include "base/bytes.h"

#include <errno.h>
#include <fairway/error.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#define HEAD_BYTES   32
#define SUM_BYTES    32
#define FIXED_BYTES  16 /* of a record, before its texts */
#define TEXTS        8
#define LEAST_RECORD (FIXED_BYTES + TEXTS * 2)
#define MAX_FIELDS   1024
#define MAX_BYTES    ((size_t)1 << 30)

static const char magic[8] = "fwlist1\n";

static int checksum(const uint8_t *bytes, size_t len, uint8_t *ret_sum)
{
    unsigned size = SUM_BYTES;
    return EVP_Digest(bytes, len, ret_sum, &size, EVP_sha256(), NULL) == 1 ? FW_OK : UV_ENOMEM;
}

/* ---- writing ---- */

static void texts_of(const fw_instance *instance, const char *ret_texts[TEXTS])
{
    const char *const texts[TEXTS] = {instance->service,  instance->id,      instance->net,
                                      instance->addr,     instance->balance, instance->zone,
                                      instance->protocol, instance->version};
    memcpy(ret_texts, texts, sizeof texts);
}

/* Bytes of a record; 0: a text is too long. */
static size_t record_size(const fw_instance *instance)
{
    const char *texts[TEXTS];
    texts_of(instance, texts);
    size_t size = LEAST_RECORD;
    bool fits = instance->metadata_count <= MAX_FIELDS;
    for (size_t i = 0; i < TEXTS; i++) {
        size_t len = strlen(texts[i]);
        fits &= len <= UINT16_MAX;
        size += len;
    }
    for (size_t i = 0; fits && i < instance->metadata_count; i++) {
        size_t name = strlen(instance->metadata[i].name);
        size_t value = strlen(instance->metadata[i].value);
        fits &= name <= UINT16_MAX && value <= UINT16_MAX;
        size += 4 + name + value;
    }
    return fits ? size : 0;
}

static uint8_t *put_text(uint8_t *at, const char *text)
{
    size_t len = strlen(text);
    fwi_put_u16le(at, (uint16_t)len);
    memcpy(at + 2, text, len);
    return at + 2 + len;
}

static uint8_t *put_record(uint8_t *at, const fw_instance *instance)
{
    const char *texts[TEXTS];
    texts_of(instance, texts);
    fwi_put_u16le(at, (uint16_t)instance->metadata_count);
    at[2] = instance->state == FW_INSTANCE_OFFLINE;
    at[3] = 0;
    fwi_put_u32le(at + 4, instance->weight);
    fwi_put_u64le(at + 8, (uint64_t)instance->started);
    at += FIXED_BYTES;
    for (size_t i = 0; i < TEXTS; i++)
        at = put_text(at, texts[i]);
    for (size_t i = 0; i < instance->metadata_count; i++) {
        at = put_text(at, instance->metadata[i].name);
        at = put_text(at, instance->metadata[i].value);
    }
    return at;
}

static bool add_size(const fw_instance *instance, void *arg)
{
    size_t *size = arg, record = record_size(instance);
    *size = record && *size + record <= MAX_BYTES ? *size + record : 0;
    return *size != 0;
}

static bool add_record(const fw_instance *instance, void *arg)
{
    uint8_t **at = arg;
    *at = put_record(*at, instance);
    return true;
}

int fwi_saved_list_encode(const fwi_saved_list *list, uint8_t **ret_bytes, size_t *ret_len)
{
    size_t size = HEAD_BYTES + SUM_BYTES;
    fwi_set_each(list->instances, add_size, &size);
    if (!size)
        return FW_ELIMIT;
    uint8_t *bytes = malloc(size), *at = bytes;
    if (!bytes)
        return UV_ENOMEM;
    memcpy(at, magic, sizeof magic);
    fwi_put_u64le(at + 8, fwi_set_count(list->instances));
    fwi_put_u64le(at + 16, (uint64_t)list->revision);
    fwi_put_u64le(at + 24, (uint64_t)list->saved_ms);
    at += HEAD_BYTES;
    fwi_set_each(list->instances, add_record, &at);
    int err = checksum(bytes, (size_t)(at - bytes), at);
    if (err) {
        free(bytes);
        return err;
    }
    *ret_bytes = bytes;
    *ret_len = size;
    return FW_OK;
}

/* ---- reading ---- */

/* What is left of the records, and room for the texts of one. */
struct reader {
    const uint8_t *at, *end;
    char *room;
};

/* Takes a text, with an end, into the room; NULL if there is none. */
static const char *take_text(struct reader *reader)
{
    size_t left = (size_t)(reader->end - reader->at);
    size_t len = left >= 2 ? fwi_get_u16le(reader->at) : 0;
    if (left < 2 || left - 2 < len || memchr(reader->at + 2, 0, len))
        return NULL;
    char *text = reader->room;
    memcpy(text, reader->at + 2, len);
    text[len] = 0;
    reader->room += len + 1;
    reader->at += 2 + len;
    return text;
}

static int take_record(struct reader *reader, fw_instance_field *fields, const fw_instance **ret)
{
    if ((size_t)(reader->end - reader->at) < LEAST_RECORD)
        return FW_EINSTANCE;
    const uint8_t *fixed = reader->at;
    fw_instance instance = {.state = fixed[2] ? FW_INSTANCE_OFFLINE : FW_INSTANCE_ONLINE,
                            .weight = fwi_get_u32le(fixed + 4),
                            .started = (int64_t)fwi_get_u64le(fixed + 8),
                            .metadata = fields,
                            .metadata_count = fwi_get_u16le(fixed)};
    if (instance.metadata_count > MAX_FIELDS)
        return FW_EINSTANCE;
    reader->at += FIXED_BYTES;
    const char **const texts[TEXTS] = {&instance.service,  &instance.id,      &instance.net,
                                       &instance.addr,     &instance.balance, &instance.zone,
                                       &instance.protocol, &instance.version};
    for (size_t i = 0; i < TEXTS; i++)
        if (!(*texts[i] = take_text(reader)))
            return FW_EINSTANCE;
    for (size_t i = 0; i < instance.metadata_count; i++) {
        fields[i].name = take_text(reader);
        fields[i].value = fields[i].name ? take_text(reader) : NULL;
        if (!fields[i].value)
            return FW_EINSTANCE;
    }
    int err = fw_instance_create(&instance, ret);
    return err == FW_ESERVICE ? FW_EINSTANCE : err;
}

/* Fills instances; how many there are is right also after an error. */
static int take_all(struct reader *reader, char *room, const fw_instance **instances,
                    uint64_t count, size_t *ret_taken)
{
    fw_instance_field *fields = malloc(MAX_FIELDS * sizeof *fields);
    int err = fields ? FW_OK : UV_ENOMEM;
    for (*ret_taken = 0; !err && *ret_taken < count;) {
        reader->room = room;
        err = take_record(reader, fields, &instances[*ret_taken]);
        *ret_taken += !err;
    }
    free(fields);
    return err || reader->at == reader->end ? err : FW_EINSTANCE;
}

static int take_records(fw_slice bytes, uint64_t count, fwi_set_node **set)
{
    char *room = malloc(bytes.len + 1);
    const fw_instance **instances = malloc((count + 1) * sizeof(const fw_instance *));
    struct reader reader = {.at = bytes.data, .end = (const uint8_t *)bytes.data + bytes.len};
    size_t taken = 0;
    int err = room && instances ? take_all(&reader, room, instances, count, &taken) : UV_ENOMEM;
    if (!err) {
        err = fwi_set_build(instances, taken, set);
    } else {
        for (size_t i = 0; i < taken; i++)
            fw_instance_release(instances[i]);
    }
    free(room);
    free(instances);
    return err;
}

int fwi_saved_list_decode(fw_slice bytes, fwi_saved_list *ret_list)
{
    const uint8_t *head = bytes.data;
    uint8_t sum[SUM_BYTES];
    *ret_list = (fwi_saved_list){.instances = NULL};
    if (bytes.len < HEAD_BYTES + SUM_BYTES || bytes.len > MAX_BYTES ||
        memcmp(head, magic, sizeof magic))
        return FW_EINSTANCE;
    size_t body = bytes.len - HEAD_BYTES - SUM_BYTES;
    uint64_t count = fwi_get_u64le(head + 8);
    if (count > body / LEAST_RECORD)
        return FW_EINSTANCE;
    int err = checksum(head, bytes.len - SUM_BYTES, sum);
    if (!err && memcmp(sum, head + HEAD_BYTES + body, SUM_BYTES))
        err = FW_EINSTANCE;
    if (!err)
        err = take_records((fw_slice){head + HEAD_BYTES, body}, count, &ret_list->instances);
    if (err) {
        fwi_set_release(ret_list->instances);
        ret_list->instances = NULL;
        return err;
    }
    ret_list->revision = (int64_t)fwi_get_u64le(head + 16);
    ret_list->saved_ms = (int64_t)fwi_get_u64le(head + 24);
    return FW_OK;
}

/* ---- files ---- */

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes += n;
        len -= (size_t)n;
    }
    return fsync(fd) ? -errno : FW_OK;
}

/* Writes a new file and moves it to its place. */
static int replace(const char *path, const uint8_t *bytes, size_t len)
{
    size_t size = strlen(path) + sizeof ".XXXXXX";
    char *temporary = malloc(size);
    if (!temporary)
        return UV_ENOMEM;
    snprintf(temporary, size, "%s.XXXXXX", path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    int err = fd < 0 ? -errno : write_all(fd, bytes, len);
    if (fd >= 0 && close(fd) && !err)
        err = -errno;
    if (!err && rename(temporary, path))
        err = -errno;
    if (err && fd >= 0)
        unlink(temporary);
    free(temporary);
    return err;
}

int fwi_saved_list_write(const char *path, const fwi_saved_list *list)
{
    uint8_t *bytes;
    size_t len;
    int err = fwi_saved_list_encode(list, &bytes, &len);
    if (err)
        return err;
    err = replace(path, bytes, len);
    free(bytes);
    return err;
}

static int read_all(int fd, uint8_t **ret_bytes, size_t *ret_len)
{
    struct stat about;
    if (fstat(fd, &about))
        return -errno;
    if (!S_ISREG(about.st_mode) || about.st_size < 0 || (uint64_t)about.st_size > MAX_BYTES)
        return FW_EINSTANCE;
    size_t size = (size_t)about.st_size, len = 0;
    uint8_t *bytes = malloc(size + 1);
    if (!bytes)
        return UV_ENOMEM;
    while (len < size) {
        ssize_t n = read(fd, bytes + len, size - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    *ret_bytes = bytes;
    *ret_len = len;
    return FW_OK;
}

int fwi_saved_list_read(const char *path, fwi_saved_list *ret_list)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    uint8_t *bytes = NULL;
    size_t len = 0;
    int err = read_all(fd, &bytes, &len);
    close(fd);
    if (err)
        return err;
    err = fwi_saved_list_decode((fw_slice){bytes, len}, ret_list);
    free(bytes);
    return err;
}
