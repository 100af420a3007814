/* {"by":"web1:4711","at_ms":1700000000000,"marked":true} */
#include "drain.h"

#include "changes.h"

#include <cjson/cJSON.h>
#include <fairway/error.h>
#include <uv.h>

int fwi_drain_request_encode(const char *by, bool is_marked, char **ret_json)
{
    cJSON *json = cJSON_CreateObject();
    bool ok = json && cJSON_AddStringToObject(json, "by", by) &&
              cJSON_AddNumberToObject(json, "at_ms", (double)fwi_unix_ms()) &&
              (!is_marked || cJSON_AddTrueToObject(json, "marked"));
    char *text = ok ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    if (!text)
        return UV_ENOMEM;
    *ret_json = text;
    return FW_OK;
}

bool fwi_drain_request_is_marked(fw_slice value)
{
    cJSON *json = cJSON_ParseWithLength(value.data, value.len);
    bool is_marked = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(json, "marked"));
    cJSON_Delete(json);
    return is_marked;
}
