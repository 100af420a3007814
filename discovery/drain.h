/* The inner side of draining: what a request says, and nodes that nobody keeps. */
#ifndef FWI_DRAIN_H
#define FWI_DRAIN_H

#include "keys.h"

#include <fairway/discovery.h>

#define FWI_DRAIN_KEY_BYTES (sizeof FWI_SERVICES_PREFIX + 2 * FWI_MAX_NAME_BYTES + 2)

/* The request's value: who asks and when, and whether the mark was put by a drain, so that taking
 * the request back removes it. To be freed. UV_ENOMEM. */
FW_MUST_CHECK int fwi_drain_request_encode(const char *by, bool is_marked, char **ret_json);
bool fwi_drain_request_is_marked(fw_slice value);

/* A node's JSON with another state, and otherwise byte for byte as it is; to be freed.
 * FW_EINSTANCE: it cannot be read; UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_node_with_state(fw_slice json, fw_instance_state state,
                                              char **ret_json);

typedef void (*fwi_mark_fn)(int status, const char *detail, void *arg);
/* Sets the state of a node that has no lease, under the asynchronous contract. FW_OK: it is so, or
 * was so before; FW_ELEASE: it has a lease, so its registrar keeps it, and a put of somebody else
 * would take it from that lease; FW_ENOTFOUND; FW_EINSTANCE; FW_EMODIFIED: it changes too often; or
 * what the store answers. */
FW_MUST_CHECK int fwi_mark(fw_kv *kv, const char *key, fw_instance_state state, fwi_mark_fn done,
                           void *arg);

#endif
