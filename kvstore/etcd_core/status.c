#include "etcd_core.h"

#include <fairway/error.h>
#include <string.h>

int fwi_ec_status(int code, const char *text)
{
    switch (code) {
    case FWI_EC_OK:
        return FW_OK;
    case FWI_EC_PERMISSION_DENIED:
        return FW_EDENIED;
    case FWI_EC_UNAUTHENTICATED:
        return FW_EAUTH;
    case FWI_EC_NOT_FOUND:
        return strstr(text, "lease") ? FW_ELEASE : FW_ESTORE;
    case FWI_EC_OUT_OF_RANGE:
        return strstr(text, "compacted") ? FW_ECOMPACTED : FW_ESTORE;
    case FWI_EC_INVALID_ARGUMENT:
        if (strstr(text, "too large"))
            return FW_EVALUESIZE;
        /* How a store with users answers one who says no name. */
        if (strstr(text, "user name is empty"))
            return FW_EAUTH;
        return strstr(text, "authentication failed") ? FW_EAUTH : FW_ESTORE;
    case FWI_EC_RESOURCE_EXHAUSTED:
        if (strstr(text, "space exceeded"))
            return FW_ENOSPACE;
        return strstr(text, "larger than max") ? FW_EVALUESIZE : FW_ESTORE;
    default:
        return FW_ESTORE;
    }
}

bool fwi_ec_is_lost(int code)
{
    return code == FWI_EC_UNAVAILABLE || code == FWI_EC_DEADLINE_EXCEEDED ||
           code == FWI_EC_CANCELLED || code == FWI_EC_UNKNOWN || code == FWI_EC_INTERNAL ||
           code == FWI_EC_ABORTED || code == FWI_EC_DATA_LOSS;
}

bool fwi_ec_has_no_leader(int code, const char *text)
{
    return code == FWI_EC_UNAVAILABLE && !strcmp(text, "etcdserver: no leader");
}
