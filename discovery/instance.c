/*
 * The instance and its JSON.
 *
 * walle's node comes from Go's encoder: members in the order net, addr, bn, state, md, the first
 * three always there, state left out at 0, md when empty with its keys sorted, and < > & U+2028
 * U+2029 escaped in strings. Our additions follow, each left out at its default.
 */
#include <fairway/discovery.h>

#include "base/list.h"
#include "keys.h"

#include <cjson/cJSON.h>
#include <fairway/error.h>
#include <fairway/url.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct counted {
    atomic_uint references;
    fw_instance instance;
    /* then the metadata fields, then all texts */
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const fw_instance_field *)a)->name, ((const fw_instance_field *)b)->name);
}

static const char *put_text(char **room, const char *text)
{
    char *copy = *room;
    size_t size = text ? strlen(text) + 1 : 1;
    memcpy(copy, text ? text : "", size);
    *room += size;
    return copy;
}

static size_t text_size(const char *text)
{
    return text ? strlen(text) + 1 : 1;
}

int fw_instance_create(const fw_instance *from, const fw_instance **ret_instance)
{
    if (!from->service || !fwi_name_valid(from->service))
        return FW_ESERVICE;
    if (!from->id || !fwi_name_valid(from->id) || !from->net || !from->addr)
        return FW_EINSTANCE;
    const char *const texts[] = {from->service, from->id,   from->net,      from->addr,
                                 from->balance, from->zone, from->protocol, from->version};
    size_t size = sizeof(struct counted) + from->metadata_count * sizeof(fw_instance_field);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        size += text_size(texts[i]);
    for (size_t i = 0; i < from->metadata_count; i++)
        size += text_size(from->metadata[i].name) + text_size(from->metadata[i].value);
    struct counted *counted = malloc(size);
    if (!counted)
        return UV_ENOMEM;
    atomic_init(&counted->references, 1);
    fw_instance *to = &counted->instance;
    fw_instance_field *metadata = (fw_instance_field *)(counted + 1);
    char *room = (char *)(metadata + from->metadata_count);
    *to = *from;
    to->service = put_text(&room, from->service);
    to->id = put_text(&room, from->id);
    to->net = put_text(&room, from->net);
    to->addr = put_text(&room, from->addr);
    to->balance = put_text(&room, from->balance);
    to->zone = put_text(&room, from->zone);
    to->protocol = put_text(&room, from->protocol);
    to->version = put_text(&room, from->version);
    to->weight = from->weight ? from->weight : 1;
    for (size_t i = 0; i < from->metadata_count; i++) {
        metadata[i].name = put_text(&room, from->metadata[i].name);
        metadata[i].value = put_text(&room, from->metadata[i].value);
    }
    if (from->metadata_count)
        qsort(metadata, from->metadata_count, sizeof *metadata, by_name);
    to->metadata = metadata;
    *ret_instance = to;
    return FW_OK;
}

static struct counted *counted_of(const fw_instance *instance)
{
    return fwi_container_of(instance, struct counted, instance);
}

const fw_instance *fw_instance_acquire(const fw_instance *instance)
{
    atomic_fetch_add_explicit(&counted_of(instance)->references, 1, memory_order_relaxed);
    return instance;
}

void fw_instance_release(const fw_instance *instance)
{
    if (instance &&
        atomic_fetch_sub_explicit(&counted_of(instance)->references, 1, memory_order_acq_rel) == 1)
        free(counted_of(instance));
}

/* ---- writing ---- */

static bool add_metadata(cJSON *json, const fw_instance *instance)
{
    if (!instance->metadata_count)
        return true;
    cJSON *md = cJSON_AddObjectToObject(json, "md");
    for (size_t i = 0; md && i < instance->metadata_count; i++)
        if (!cJSON_AddStringToObject(md, instance->metadata[i].name, instance->metadata[i].value))
            return false;
    return md != NULL;
}

static bool add_text(cJSON *json, const char *name, const char *text)
{
    return !text || !*text || cJSON_AddStringToObject(json, name, text);
}

static cJSON *to_json(const fw_instance *instance)
{
    cJSON *json = cJSON_CreateObject();
    bool ok =
        json && cJSON_AddStringToObject(json, "net", instance->net) &&
        cJSON_AddStringToObject(json, "addr", instance->addr) &&
        cJSON_AddStringToObject(json, "bn", instance->balance ? instance->balance : "") &&
        (!instance->state || cJSON_AddNumberToObject(json, "state", instance->state)) &&
        add_metadata(json, instance) &&
        (instance->weight <= 1 || cJSON_AddNumberToObject(json, "weight", instance->weight)) &&
        add_text(json, "zone", instance->zone) && add_text(json, "protocol", instance->protocol) &&
        add_text(json, "version", instance->version) &&
        (!instance->started || cJSON_AddNumberToObject(json, "started", (double)instance->started));
    if (ok)
        return json;
    cJSON_Delete(json);
    return NULL;
}

/* The escape that Go's encoder uses at this place, where cJSON uses none; NULL if there is none.
 * These characters occur only inside strings. *ret_len is what they take. */
static const char *go_escape(const char *p, size_t *ret_len)
{
    *ret_len = 1;
    switch (*p) {
    case '<':
        return "\\u003c";
    case '>':
        return "\\u003e";
    case '&':
        return "\\u0026";
    default:
        break;
    }
    *ret_len = 3;
    if (!strncmp(p, "\xe2\x80\xa8", 3))
        return "\\u2028";
    if (!strncmp(p, "\xe2\x80\xa9", 3))
        return "\\u2029";
    return NULL;
}

int fw_instance_encode(const fw_instance *instance, char **ret_json)
{
    cJSON *json = to_json(instance);
    char *text = json ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    char *escaped = text ? malloc(strlen(text) * 6 + 1) : NULL, *out = escaped;
    for (const char *p = text; escaped && *p;) {
        size_t len;
        const char *escape = go_escape(p, &len);
        if (escape) {
            memcpy(out, escape, 6);
            out += 6;
            p += len;
        } else {
            *out++ = *p++;
        }
    }
    free(text);
    if (!escaped)
        return UV_ENOMEM;
    *out = 0;
    *ret_json = escaped;
    return FW_OK;
}

/* ---- reading ---- */

/* Members by name without regard to case, as Go reads them. Absent and null leave the default. */
static int get_text(const cJSON *json, const char *name, const char **ret_text)
{
    const cJSON *member = cJSON_GetObjectItem(json, name);
    if (!member || cJSON_IsNull(member))
        return FW_OK;
    if (!cJSON_IsString(member))
        return FW_EINSTANCE;
    *ret_text = member->valuestring;
    return FW_OK;
}

static int get_number(const cJSON *json, const char *name, double least, double most,
                      double *ret_number)
{
    const cJSON *member = cJSON_GetObjectItem(json, name);
    if (!member || cJSON_IsNull(member))
        return FW_OK;
    if (!cJSON_IsNumber(member) || !(member->valuedouble >= least && member->valuedouble <= most))
        return FW_EINSTANCE;
    *ret_number = member->valuedouble;
    return FW_OK;
}

static int get_metadata(const cJSON *json, fw_instance *instance, fw_instance_field **ret_fields)
{
    const cJSON *md = cJSON_GetObjectItem(json, "md");
    if (!md || cJSON_IsNull(md))
        return FW_OK;
    if (!cJSON_IsObject(md))
        return FW_EINSTANCE;
    size_t count = (size_t)cJSON_GetArraySize(md);
    fw_instance_field *fields = calloc(count ? count : 1, sizeof *fields);
    if (!fields)
        return UV_ENOMEM;
    *ret_fields = fields;
    const cJSON *member;
    cJSON_ArrayForEach(member, md)
    {
        if (!cJSON_IsString(member))
            return FW_EINSTANCE;
        fields[instance->metadata_count++] =
            (fw_instance_field){member->string, member->valuestring};
    }
    instance->metadata = fields;
    return FW_OK;
}

static int from_json(const cJSON *json, fw_instance *instance, fw_instance_field **ret_fields)
{
    if (cJSON_IsNull(json))
        return FW_OK; /* Go takes null for an empty node */
    if (!cJSON_IsObject(json))
        return FW_EINSTANCE;
    double state = 0, weight = 1, started = 0;
    int err = get_text(json, "net", &instance->net);
    if (!err)
        err = get_text(json, "addr", &instance->addr);
    if (!err)
        err = get_text(json, "bn", &instance->balance);
    if (!err)
        err = get_text(json, "zone", &instance->zone);
    if (!err)
        err = get_text(json, "protocol", &instance->protocol);
    if (!err)
        err = get_text(json, "version", &instance->version);
    if (!err)
        err = get_number(json, "state", INT32_MIN, INT32_MAX, &state);
    if (!err)
        err = get_number(json, "weight", 0, UINT32_MAX, &weight);
    if (!err)
        err = get_number(json, "started", 0, 1e15, &started);
    if (!err)
        err = get_metadata(json, instance, ret_fields);
    /* walle keeps the lowest eight bits. */
    instance->state = ((int32_t)state & 0xff) ? FW_INSTANCE_OFFLINE : FW_INSTANCE_ONLINE;
    instance->weight = (uint32_t)weight;
    instance->started = (int64_t)started;
    return err;
}

int fw_instance_decode(const char *service, const char *id, fw_slice text,
                       const fw_instance **ret_instance)
{
    fw_instance instance = {.service = service, .id = id, .net = "", .addr = ""};
    fw_instance_field *fields = NULL;
    cJSON *json = cJSON_ParseWithLength(text.data, text.len);
    int err = json ? from_json(json, &instance, &fields) : FW_EINSTANCE;
    if (!err)
        err = fw_instance_create(&instance, ret_instance);
    free(fields);
    cJSON_Delete(json);
    return err;
}

/* ---- URLs ---- */

int fw_instance_parse_url(const char *text, char **ret_net, char **ret_addr)
{
    fw_url url;
    int err = fw_url_init(&url, text);
    if (err)
        return err;
    const char *rest = text + strlen(url.scheme) + 1;
    bool is_unix = !strcmp(url.scheme, "unix");
    if (is_unix ? url.host_count != 0 || !*url.path
                : url.host_count != 1 || !url.hosts[0].port || *url.path) {
        fw_url_fini(&url);
        return FW_EURL;
    }
    char *net = strdup(url.scheme), *addr = strdup(is_unix ? url.path : rest + 2);
    fw_url_fini(&url);
    if (!net || !addr) {
        free(net);
        free(addr);
        return UV_ENOMEM;
    }
    *ret_net = net;
    *ret_addr = addr;
    return FW_OK;
}

int fw_instance_url(const fw_instance *instance, char **ret_url)
{
    size_t size = strlen(instance->net) + strlen(instance->addr) + sizeof "://";
    char *url = malloc(size);
    if (!url)
        return UV_ENOMEM;
    snprintf(url, size, "%s:%s%s", instance->net, strcmp(instance->net, "unix") ? "//" : "",
             instance->addr);
    *ret_url = url;
    return FW_OK;
}
