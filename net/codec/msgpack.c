/*
 * Codec "msgpack", on msgpack-c. Its unpacker takes memory for as many elements as a header says,
 * so the message is looked over before: every length against the bytes that are left, every count
 * against the limits.
 */
#include "base/bytes.h"
#include "codec/base64.h"
#include "codec/codec.h"
#include "codec/json_value.h"

#include <fairway/error.h>
#include <math.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_DEPTH 32 /* of msgpack-c's unpacker */

/* What JSON has no form for stands in an object with one of these names alone. */
static const char *const special[] = {"$bin", "$str", "$int", "$float", "$ext", "$map"};

/* ---- looking over ---- */

/* What stands behind a first byte: a count of head bytes with a number, then bytes or children. */
typedef struct head {
    uint8_t number_bytes; /* of the length or count */
    uint8_t extra;        /* bytes behind the number, or in its place */
    bool has_payload;     /* the number counts bytes */
    uint8_t children;     /* values for each one of the number; 0: none */
    uint32_t fixed;       /* the number, if it has no bytes */
} head;

static head head_of(uint8_t first)
{
    static const head heads[] = {
        /* c0: nil, never used, false, true */
        [0xc4 - 0xc0] = {.number_bytes = 1, .has_payload = true},
        [0xc5 - 0xc0] = {.number_bytes = 2, .has_payload = true},
        [0xc6 - 0xc0] = {.number_bytes = 4, .has_payload = true},
        [0xc7 - 0xc0] = {.number_bytes = 1, .extra = 1, .has_payload = true},
        [0xc8 - 0xc0] = {.number_bytes = 2, .extra = 1, .has_payload = true},
        [0xc9 - 0xc0] = {.number_bytes = 4, .extra = 1, .has_payload = true},
        [0xca - 0xc0] = {.extra = 4},
        [0xcb - 0xc0] = {.extra = 8},
        [0xcc - 0xc0] = {.extra = 1},
        [0xcd - 0xc0] = {.extra = 2},
        [0xce - 0xc0] = {.extra = 4},
        [0xcf - 0xc0] = {.extra = 8},
        [0xd0 - 0xc0] = {.extra = 1},
        [0xd1 - 0xc0] = {.extra = 2},
        [0xd2 - 0xc0] = {.extra = 4},
        [0xd3 - 0xc0] = {.extra = 8},
        [0xd4 - 0xc0] = {.extra = 2},
        [0xd5 - 0xc0] = {.extra = 3},
        [0xd6 - 0xc0] = {.extra = 5},
        [0xd7 - 0xc0] = {.extra = 9},
        [0xd8 - 0xc0] = {.extra = 17},
        [0xd9 - 0xc0] = {.number_bytes = 1, .has_payload = true},
        [0xda - 0xc0] = {.number_bytes = 2, .has_payload = true},
        [0xdb - 0xc0] = {.number_bytes = 4, .has_payload = true},
        [0xdc - 0xc0] = {.number_bytes = 2, .children = 1},
        [0xdd - 0xc0] = {.number_bytes = 4, .children = 1},
        [0xde - 0xc0] = {.number_bytes = 2, .children = 2},
        [0xdf - 0xc0] = {.number_bytes = 4, .children = 2},
    };
    if (first >= 0xe0 || first < 0x80)
        return (head){.fixed = 0};
    if (first < 0x90)
        return (head){.children = 2, .fixed = first & 0x0f};
    if (first < 0xa0)
        return (head){.children = 1, .fixed = first & 0x0f};
    if (first < 0xc0)
        return (head){.has_payload = true, .fixed = first & 0x1f};
    return heads[first - 0xc0];
}

/* Passes over one value but not over its children, whose number it answers; -1: cut short. */
static int64_t skip_value(const uint8_t **p, const uint8_t *end, bool *ret_is_container)
{
    if (*p == end || **p == 0xc1)
        return -1;
    head value = head_of(*(*p)++);
    if (end - *p < value.number_bytes + value.extra)
        return -1;
    uint64_t number = value.fixed;
    for (unsigned i = 0; i < value.number_bytes; i++)
        number = number << 8 | *(*p)++;
    *p += value.extra;
    if (value.has_payload) {
        if (number > (size_t)(end - *p))
            return -1;
        *p += number;
    }
    *ret_is_container = value.children > 0;
    return (int64_t)(number * value.children);
}

static int look_over(fwi_codec_run *run, fw_slice data)
{
    const uint8_t *start = data.data, *p = start, *end = p + data.len;
    uint64_t left[MAX_DEPTH + 1] = {1}; /* values to come at each level */
    unsigned depth = 0,
             most = run->limits.max_depth < MAX_DEPTH ? run->limits.max_depth : MAX_DEPTH;
    for (;;) {
        while (!left[depth]) {
            if (!depth)
                return p == end ? FW_OK
                                : fwi_codec_fail(run, FW_EMESSAGE,
                                                 "more than one value, from byte %zu of %zu",
                                                 (size_t)(p - start), data.len);
            depth--;
        }
        left[depth]--;
        const uint8_t *at = p;
        bool is_container;
        int64_t children = skip_value(&p, end, &is_container);
        if (children < 0)
            return fwi_codec_fail(run, FW_EMESSAGE, "malformed or cut short at byte %zu of %zu",
                                  (size_t)(at - start), data.len);
        int err = fwi_codec_count(run, (size_t)children + (depth == 0));
        if (err)
            return err;
        if (children > end - p) /* each takes a byte at least */
            return fwi_codec_fail(run, FW_EMESSAGE, "cut short at byte %zu of %zu", data.len,
                                  data.len);
        if (is_container && depth == most)
            return fwi_codec_fail(run, FW_ELIMIT, "deeper than %u levels at byte %zu", most,
                                  (size_t)(at - start));
        if (children)
            left[++depth] = (uint64_t)children;
    }
}

/* ---- to JSON ---- */

static int to_json(const msgpack_object *object, cJSON **ret_json);

/* {name: item}; takes the item, NULL: no memory. */
static cJSON *wrap(const char *name, cJSON *item)
{
    cJSON *object = cJSON_CreateObject();
    if (!object)
        cJSON_Delete(item);
    else if (fwi_json_add(object, (fw_slice){name, strlen(name)}, item)) {
        cJSON_Delete(object);
        object = NULL;
    }
    return object;
}

static cJSON *wrap_if_text(const char *name, cJSON *item)
{
    return cJSON_IsString(item) ? wrap(name, item) : item;
}

static cJSON *make_ext(const msgpack_object_ext *ext)
{
    cJSON *pair = cJSON_CreateArray();
    if (!pair || fwi_json_append(pair, cJSON_CreateNumber(ext->type)) ||
        fwi_json_append(pair, fwi_json_make_base64((fw_slice){ext->ptr, ext->size}))) {
        cJSON_Delete(pair);
        return NULL;
    }
    return wrap("$ext", pair);
}

static bool is_special(fw_slice name)
{
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (name.len == strlen(special[i]) && !memcmp(name.data, special[i], name.len))
            return true;
    return false;
}

static fw_slice key_of(const msgpack_object_kv *entry)
{
    return (fw_slice){entry->key.via.str.ptr, entry->key.via.str.size};
}

/* Whether a JSON object says the same as the map. */
static bool is_plain(const msgpack_object_map *map)
{
    for (uint32_t i = 0; i < map->size; i++)
        if (map->ptr[i].key.type != MSGPACK_OBJECT_STR || !fwi_json_is_text(key_of(&map->ptr[i])))
            return false;
    return map->size != 1 || !is_special(key_of(&map->ptr[0]));
}

static int fill_object(const msgpack_object_map *map, cJSON *object)
{
    int err = FW_OK;
    for (uint32_t i = 0; i < map->size && !err; i++) {
        cJSON *item;
        err = to_json(&map->ptr[i].val, &item);
        if (!err)
            err = fwi_json_add(object, key_of(&map->ptr[i]), item);
    }
    return err;
}

static int fill_array(const msgpack_object_array *array, cJSON *json)
{
    int err = FW_OK;
    for (uint32_t i = 0; i < array->size && !err; i++) {
        cJSON *item;
        err = to_json(&array->ptr[i], &item);
        if (!err)
            err = fwi_json_append(json, item);
    }
    return err;
}

/* A map as an array of pairs. */
static int fill_pairs(const msgpack_object_map *map, cJSON *json)
{
    int err = FW_OK;
    for (uint32_t i = 0; i < map->size && !err; i++) {
        msgpack_object both[2] = {map->ptr[i].key, map->ptr[i].val};
        cJSON *pair = cJSON_CreateArray();
        err = fwi_json_append(json, pair);
        if (!err)
            err = fill_array(&(msgpack_object_array){.size = 2, .ptr = both}, pair);
    }
    return err;
}

static int container_to_json(const msgpack_object *object, cJSON **ret_json)
{
    bool is_map = object->type == MSGPACK_OBJECT_MAP;
    bool is_object = is_map && is_plain(&object->via.map);
    cJSON *json = is_object ? cJSON_CreateObject() : cJSON_CreateArray();
    int err = json ? FW_OK : UV_ENOMEM;
    if (!err && is_object)
        err = fill_object(&object->via.map, json);
    else if (!err && is_map)
        err = fill_pairs(&object->via.map, json);
    else if (!err)
        err = fill_array(&object->via.array, json);
    if (err) {
        cJSON_Delete(json);
        return err;
    }
    *ret_json = is_map && !is_object ? wrap("$map", json) : json;
    return *ret_json ? FW_OK : UV_ENOMEM;
}

static cJSON *make_str(fw_slice text)
{
    return fwi_json_is_text(text) ? fwi_json_make_text(text)
                                  : wrap("$str", fwi_json_make_base64(text));
}

/* As deep as was allowed when the message was looked over. */
static int to_json(const msgpack_object *object, cJSON **ret_json)
{
    switch (object->type) {
    case MSGPACK_OBJECT_ARRAY:
    case MSGPACK_OBJECT_MAP:
        return container_to_json(object, ret_json);
    case MSGPACK_OBJECT_NIL:
        *ret_json = cJSON_CreateNull();
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        *ret_json = cJSON_CreateBool(object->via.boolean);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        *ret_json = wrap_if_text("$int", fwi_json_make_uint64(object->via.u64));
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        *ret_json = wrap_if_text("$int", fwi_json_make_int64(object->via.i64));
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        *ret_json = wrap_if_text("$float", fwi_json_make_double(object->via.f64));
        break;
    case MSGPACK_OBJECT_STR:
        *ret_json = make_str((fw_slice){object->via.str.ptr, object->via.str.size});
        break;
    case MSGPACK_OBJECT_BIN:
        *ret_json = fwi_json_make_bin((fw_slice){object->via.bin.ptr, object->via.bin.size});
        break;
    case MSGPACK_OBJECT_EXT:
        *ret_json = make_ext(&object->via.ext);
        break;
    }
    return *ret_json ? FW_OK : UV_ENOMEM;
}

static int decode(fwi_codec_run *run, const void *type, fw_slice data, void **ret_message)
{
    (void)type;
    int err = look_over(run, data);
    if (err)
        return err;
    msgpack_unpacked unpacked;
    msgpack_unpacked_init(&unpacked);
    size_t used = 0;
    cJSON *json = NULL;
    switch (msgpack_unpack_next(&unpacked, data.data, data.len, &used)) {
    case MSGPACK_UNPACK_SUCCESS:
        err = to_json(&unpacked.data, &json);
        break;
    case MSGPACK_UNPACK_NOMEM_ERROR:
        err = UV_ENOMEM;
        break;
    default:
        err = fwi_codec_fail(run, FW_EMESSAGE, "malformed at byte %zu of %zu", used, data.len);
        break;
    }
    msgpack_unpacked_destroy(&unpacked);
    if (!err)
        *ret_message = json;
    return err;
}

/* ---- from JSON ---- */

typedef struct packing {
    msgpack_packer packer;
    fwi_codec_run *run;
    fwi_buffer *out;
    int err; /* of the output; msgpack-c knows only that there was one */
} packing;

static int write_out(void *arg, const char *data, size_t len)
{
    packing *to = arg;
    if (!to->err)
        to->err = fwi_buffer_put(to->out, data, len);
    return to->err ? -1 : 0;
}

static int pack(packing *to, const cJSON *json);

static int pack_number(packing *to, double value)
{
    bool is_negative_zero = value == 0 && signbit(value);
    if (value != trunc(value) || fabs(value) > (double)FWI_JSON_MAX_EXACT || is_negative_zero)
        msgpack_pack_double(&to->packer, value);
    else
        msgpack_pack_int64(&to->packer, (int64_t)value);
    return to->err;
}

static int pack_text(packing *to, const char *text)
{
    msgpack_pack_str_with_body(&to->packer, text, strlen(text));
    return to->err;
}

static int pack_int(packing *to, const cJSON *json)
{
    int64_t value;
    uint64_t large;
    if (!fwi_json_get_int64(json, &value))
        msgpack_pack_int64(&to->packer, value);
    else if (!fwi_json_get_uint64(json, &large))
        msgpack_pack_uint64(&to->packer, large);
    else
        return fwi_codec_fail(to->run, FW_EMESSAGE, "$int wants a whole number of 64 bits");
    return to->err;
}

static int pack_float(packing *to, const cJSON *json)
{
    double value;
    if (fwi_json_get_double(json, &value))
        return fwi_codec_fail(to->run, FW_EMESSAGE, "$float wants a number");
    msgpack_pack_double(&to->packer, value);
    return to->err;
}

/* $bin and $str: base64; $ext: [type, base64]. */
static int pack_bytes(packing *to, const char *name, const cJSON *json)
{
    const cJSON *text = json, *type = NULL;
    int64_t number = 0;
    if (!strcmp(name, "$ext")) {
        type = json->child;
        text = type ? type->next : NULL;
        if (!cJSON_IsArray(json) || !text || text->next || fwi_json_get_int64(type, &number) ||
            number < INT8_MIN || number > INT8_MAX)
            return fwi_codec_fail(to->run, FW_EMESSAGE, "$ext wants [type, base64]");
    }
    fwi_json_bytes bytes;
    int err = fwi_json_get_base64(text, &bytes);
    if (err)
        return fwi_codec_fail(to->run, err, "%s wants base64", name);
    fw_slice data = bytes.bytes;
    if (type)
        msgpack_pack_ext_with_body(&to->packer, data.data, data.len, (int8_t)number);
    else if (!strcmp(name, "$bin"))
        msgpack_pack_bin_with_body(&to->packer, data.data, data.len);
    else
        msgpack_pack_str_with_body(&to->packer, data.data, data.len);
    fwi_json_bytes_fini(&bytes);
    return to->err;
}

static int pack_pairs(packing *to, const cJSON *json)
{
    if (!cJSON_IsArray(json))
        return fwi_codec_fail(to->run, FW_EMESSAGE, "$map wants an array of pairs");
    msgpack_pack_map(&to->packer, (size_t)cJSON_GetArraySize(json));
    int err = to->err;
    for (const cJSON *pair = json->child; pair && !err; pair = pair->next) {
        if (cJSON_GetArraySize(pair) != 2)
            return fwi_codec_fail(to->run, FW_EMESSAGE, "$map wants an array of pairs");
        err = pack(to, pair->child);
        if (!err)
            err = pack(to, pair->child->next);
    }
    return err;
}

static int pack_special(packing *to, const cJSON *json)
{
    if (!strcmp(json->string, "$int"))
        return pack_int(to, json);
    if (!strcmp(json->string, "$float"))
        return pack_float(to, json);
    if (!strcmp(json->string, "$map"))
        return pack_pairs(to, json);
    return pack_bytes(to, json->string, json);
}

static int pack_container(packing *to, const cJSON *json)
{
    const cJSON *only = json->child;
    if (cJSON_IsObject(json) && only && !only->next &&
        is_special((fw_slice){only->string, strlen(only->string)}))
        return pack_special(to, only);
    if (cJSON_IsObject(json))
        msgpack_pack_map(&to->packer, (size_t)cJSON_GetArraySize(json));
    else
        msgpack_pack_array(&to->packer, (size_t)cJSON_GetArraySize(json));
    int err = to->err;
    fwi_place place = {.up = to->run->place};
    to->run->place = &place;
    for (const cJSON *at = json->child; at && !err; at = at->next, place.index++) {
        place.name = at->string;
        if (at->string)
            err = pack_text(to, at->string);
        if (!err)
            err = pack(to, at);
    }
    to->run->place = place.up;
    return err;
}

static int pack(packing *to, const cJSON *json)
{
    int err = fwi_codec_count(to->run, 1);
    if (err)
        return err;
    switch (json->type & 0xff) {
    case cJSON_Array:
    case cJSON_Object:
        err = fwi_codec_enter(to->run);
        if (!err) {
            err = pack_container(to, json);
            fwi_codec_leave(to->run);
        }
        break;
    case cJSON_String:
        err = pack_text(to, json->valuestring);
        break;
    case cJSON_Number:
        err = pack_number(to, json->valuedouble);
        break;
    case cJSON_True:
        msgpack_pack_true(&to->packer);
        break;
    case cJSON_False:
        msgpack_pack_false(&to->packer);
        break;
    case cJSON_NULL:
        msgpack_pack_nil(&to->packer);
        break;
    default:
        err = fwi_codec_fail(to->run, FW_EMESSAGE, "msgpack has no such value");
        break;
    }
    return err ? err : to->err;
}

static int encode(fwi_codec_run *run, const void *type, const void *message, fwi_buffer *out)
{
    (void)type;
    packing to = {.run = run, .out = out};
    msgpack_packer_init(&to.packer, &to, write_out);
    return pack(&to, message);
}

static void free_message(const void *type, void *message)
{
    (void)type;
    cJSON_Delete(message);
}

const fw_codec fwi_codec_msgpack = {
    .name = "msgpack",
    .encode = encode,
    .decode = decode,
    .free_message = free_message,
};
