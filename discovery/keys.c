#include "keys.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

bool fwi_name_valid(const char *name)
{
    size_t len = strlen(name);
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
            return false;
    return len >= 1 && len <= FWI_MAX_NAME_BYTES;
}

bool fwi_node_key_split(const char *key, char *ret_service, char *ret_id)
{
    static const char prefix[] = FWI_SERVICES_PREFIX "/";
    if (strncmp(key, prefix, sizeof prefix - 1))
        return false;
    const char *service = key + sizeof prefix - 1, *slash = strchr(service, '/');
    if (!slash || slash - service > FWI_MAX_NAME_BYTES || strlen(slash + 1) > FWI_MAX_NAME_BYTES)
        return false;
    snprintf(ret_service, FWI_MAX_NAME_BYTES + 1, "%.*s", (int)(slash - service), service);
    snprintf(ret_id, FWI_MAX_NAME_BYTES + 1, "%s", slash + 1);
    return fwi_name_valid(ret_service) && fwi_name_valid(ret_id);
}
