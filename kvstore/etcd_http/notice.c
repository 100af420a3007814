/* See notice.h. A message is read whole before anything of it is used: nothing of a malformed one
 * reaches the front. */
#include "notice.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static bool read_event(const cJSON *object, fwi_eh_event *ret_event)
{
    const char *type = fwi_eh_json_text(object, "type"); /* that of a put is left out */
    ret_event->is_delete = !strcmp(type, "DELETE");
    if (type[0] && !ret_event->is_delete && strcmp(type, "PUT"))
        return false;
    return fwi_eh_json_pair(fwi_eh_json_get(object, "kv"), &ret_event->pair) &&
           ret_event->pair.revision > 0;
}

static int read_events(fwi_eh_notice *notice, const cJSON *events)
{
    if (!events)
        return FW_OK;
    int count = cJSON_GetArraySize(events);
    if (!cJSON_IsArray(events) || count < 0)
        return FW_EPROTOCOL;
    notice->events = calloc((size_t)count + 1, sizeof *notice->events);
    if (!notice->events)
        return UV_ENOMEM;
    const cJSON *event;
    cJSON_ArrayForEach(event, events)
    {
        if (!read_event(event, &notice->events[notice->event_count]))
            return FW_EPROTOCOL;
        notice->event_count++;
    }
    return FW_OK;
}

int fwi_eh_notice_init(fwi_eh_notice *ret_notice, fw_slice message)
{
    *ret_notice = (fwi_eh_notice){.json = cJSON_ParseWithLength(message.data, message.len)};
    const cJSON *result = fwi_eh_json_get(ret_notice->json, "result");
    if (fwi_eh_json_error(ret_notice->json, &ret_notice->error_code, &ret_notice->error))
        return FW_OK;
    if (!cJSON_IsObject(result) ||
        !fwi_eh_json_header(result, &ret_notice->cluster, &ret_notice->revision) ||
        !fwi_eh_json_int64(result, "watch_id", &ret_notice->watch_id) ||
        !fwi_eh_json_int64(result, "compact_revision", &ret_notice->compact_revision))
        return FW_EPROTOCOL;
    ret_notice->created = fwi_eh_json_true(result, "created");
    ret_notice->canceled = fwi_eh_json_true(result, "canceled");
    ret_notice->cancel_reason = fwi_eh_json_text(result, "cancel_reason");
    return read_events(ret_notice, fwi_eh_json_get(result, "events"));
}

void fwi_eh_notice_fini(fwi_eh_notice *notice)
{
    free(notice->events);
    cJSON_Delete(notice->json);
}
