/*
 * Names of topics and groups as they stand in the body of a request to subscribe: "topic" or
 * "topic\ngroup".
 */
#ifndef FWI_RPC_TOPICS_H
#define FWI_RPC_TOPICS_H

#include "rpc/engine.h"

#define FWI_RPC_TOPIC_BYTES 200 /* of a topic's or a group's name at most */

static inline bool fwi_rpc_topic_is_valid(fw_slice name)
{
    return name.len && name.len <= FWI_RPC_TOPIC_BYTES &&
           !__builtin_memchr(name.data, '\n', name.len) &&
           !__builtin_memchr(name.data, 0, name.len);
}

#endif
