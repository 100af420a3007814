/* Names of services and instances, and where they stand in the store. */
#ifndef FWI_DISCOVERY_KEYS_H
#define FWI_DISCOVERY_KEYS_H

#include <fairway/base.h>

#define FWI_SERVICES_PREFIX  "services"
#define FWI_DRAINS_PREFIX    "drains"    /* requests: <service>/<instance id> */
#define FWI_CONSUMERS_PREFIX "consumers" /* <service, or FWI_ALL_SERVICES>/<consumer> */
#define FWI_ALL_SERVICES     "*"
#define FWI_MAX_NAME_BYTES   128

/* Letters, digits, '.', '_' and '-', 1 to 128 bytes. */
FWI_API bool fwi_name_valid(const char *name);
/* Splits services/<service>/<instance id>, each into FWI_MAX_NAME_BYTES + 1 bytes. False if the key
 * is not of that form, or a name is not valid. */
bool fwi_node_key_split(const char *key, char *ret_service, char *ret_id);

#endif
