/*
 * One key, kept by a keeper. Its value, {"revision":N,"ejected":[{"id":...,"reason":...}]}, has
 * that of `seen` when it was last worth telling. When the key was lost it comes back with 0: the
 * store may have been wiped meanwhile and count anew, and the watch may not know yet. The watcher's
 * revision follows when the key is back.
 */
#include "consumer.h"

#include "keeper.h"
#include "keys.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <fairway/error.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct fwi_consumer {
    fwi_consumer_options options;
    fwi_keeper *keeper;
    fwi_kept *kept;
    int64_t revision; /* that the value tells */
    cJSON *ejected;   /* an array, told as it is; NULL: none */
    bool is_ready;
    fw_kv_closed_fn on_closed;
    void *closed_arg;
};

int64_t fwi_consumer_revision(fw_slice value)
{
    cJSON *json = cJSON_ParseWithLength(value.data, value.len);
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, "revision");
    /* cJSON has doubles: beyond this a rounded one could tell of what was not seen. */
    bool is_exact = cJSON_IsNumber(item) && item->valuedouble > 0 &&
                    item->valuedouble < (double)(INT64_C(1) << 53);
    int64_t revision = is_exact ? (int64_t)item->valuedouble : 0;
    cJSON_Delete(json);
    return revision;
}

fw_ejected *fwi_consumer_ejected(fw_slice value, size_t *ret_count)
{
    *ret_count = 0;
    cJSON *json = cJSON_ParseWithLength(value.data, value.len);
    const cJSON *array = cJSON_GetObjectItemCaseSensitive(json, "ejected");
    /* The texts stand behind the array; together they are shorter than the value. */
    fw_ejected *ejected =
        cJSON_GetArraySize(array) ? malloc(FW_MAX_EJECTED * sizeof *ejected + value.len) : NULL;
    char *room = ejected ? (char *)(ejected + FW_MAX_EJECTED) : NULL;
    for (const cJSON *at = ejected ? array->child : NULL; at && *ret_count < FW_MAX_EJECTED;
         at = at->next) {
        const char *id = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(at, "id"));
        const char *reason = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(at, "reason"));
        if (!id || !reason)
            continue;
        fw_ejected *one = &ejected[(*ret_count)++];
        one->id = strcpy(room, id);
        room += strlen(id) + 1;
        one->reason = strcpy(room, reason);
        room += strlen(reason) + 1;
    }
    cJSON_Delete(json);
    return ejected;
}

/* UV_ENOMEM: the next news, or the next loss of the key, tries again. */
static int write_value(fwi_consumer *consumer, int64_t revision)
{
    cJSON *json = cJSON_CreateObject();
    char number[24], *value = NULL;
    snprintf(number, sizeof number, "%lld", (long long)revision);
    if (cJSON_AddRawToObject(json, "revision", number) &&
        (!consumer->ejected || cJSON_AddItemReferenceToObject(json, "ejected", consumer->ejected)))
        value = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (!value)
        return UV_ENOMEM;
    consumer->revision = revision;
    fwi_kept_set(consumer->kept, value);
    return FW_OK;
}

static bool add_ejected(cJSON *array, const fw_ejected *ejected)
{
    cJSON *one = cJSON_CreateObject();
    if (cJSON_AddItemToArray(array, one) && cJSON_AddStringToObject(one, "id", ejected->id) &&
        cJSON_AddStringToObject(one, "reason", ejected->reason))
        return true;
    return false;
}

int fwi_consumer_set_ejected(fwi_consumer *consumer, const fw_ejected *ejected, size_t count)
{
    cJSON *array = cJSON_CreateArray(), *before = consumer->ejected;
    bool is_whole = array != NULL;
    for (size_t i = 0; i < count && i < FW_MAX_EJECTED && is_whole; i++)
        is_whole = add_ejected(array, &ejected[i]);
    consumer->ejected = array;
    int err = is_whole ? write_value(consumer, consumer->revision) : UV_ENOMEM;
    if (err)
        consumer->ejected = before;
    cJSON_Delete(err ? array : before);
    return err;
}

void fwi_consumer_saw(fwi_consumer *consumer)
{
    int64_t revision = consumer->options.seen(consumer->options.arg);
    if (revision && revision != consumer->revision)
        (void)write_value(consumer, revision);
}

void fwi_consumer_look(fwi_consumer *consumer)
{
    if (!consumer->revision)
        fwi_consumer_saw(consumer);
}

static void on_kept(void *user, int64_t revision, void *arg)
{
    (void)user;
    (void)revision;
    fwi_consumer_look(arg);
}

static void on_status(const fw_registrar_status *status, void *arg)
{
    fwi_consumer *consumer = arg;
    if (status->state == FW_REGISTRAR_LOST && consumer->revision)
        (void)write_value(consumer, 0);
    if (consumer->is_ready)
        return;
    consumer->is_ready = true;
    consumer->options.on_ready(consumer->options.arg);
}

/* Host, process and a number. */
static void make_name(char *ret_name, size_t size)
{
    static atomic_uint number;
    char host[64] = "";
    size_t host_size = sizeof host;
    if (uv_os_gethostname(host, &host_size))
        snprintf(host, sizeof host, "host");
    for (char *p = host; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
            *p = '-';
    snprintf(ret_name, size, "%s-%d-%u", host, (int)uv_os_getpid(),
             atomic_fetch_add_explicit(&number, 1, memory_order_relaxed));
}

int fwi_consumer_new(fw_kv *kv, const fwi_consumer_options *options, fwi_consumer **ret_consumer)
{
    char name[FWI_MAX_NAME_BYTES + 1], key[sizeof FWI_CONSUMERS_PREFIX + 2 * sizeof name];
    if (*options->name && !fwi_name_valid(options->name))
        return FW_EOPTION;
    snprintf(name, sizeof name, "%s", options->name);
    if (!*name)
        make_name(name, sizeof name);
    snprintf(key, sizeof key, FWI_CONSUMERS_PREFIX "/%s/%s",
             options->service ? options->service : FWI_ALL_SERVICES, name);
    fwi_consumer *consumer = calloc(1, sizeof *consumer);
    if (!consumer)
        return UV_ENOMEM;
    consumer->options = *options;
    consumer->options.service = consumer->options.name = NULL; /* only lent */
    fwi_keeper_options keeper = {.component = "consumer",
                                 .ttl_ms = options->ttl_ms,
                                 .on_status = on_status,
                                 .on_kept = on_kept,
                                 .arg = consumer};
    int err = fwi_keeper_new(kv, &keeper, &consumer->keeper);
    if (err) {
        free(consumer);
        return err;
    }
    err = fwi_kept_new(consumer->keeper, key, NULL, &consumer->kept);
    if (!err)
        err = write_value(consumer, 0);
    if (err) {
        fwi_consumer_close(consumer, NULL, NULL);
        return err;
    }
    *ret_consumer = consumer;
    return FW_OK;
}

static void on_keeper_closed(void *arg)
{
    fwi_consumer *consumer = arg;
    if (consumer->on_closed)
        consumer->on_closed(consumer->closed_arg);
    cJSON_Delete(consumer->ejected);
    free(consumer);
}

void fwi_consumer_close(fwi_consumer *consumer, fw_kv_closed_fn on_closed, void *arg)
{
    consumer->on_closed = on_closed;
    consumer->closed_arg = arg;
    fwi_keeper_close(consumer->keeper, on_keeper_closed, consumer);
}
