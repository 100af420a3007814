/*
 * Channels: groups of sessions that get the same frames. A session may be in many; it leaves all
 * of them when it is closed. A channel and its sessions belong to one loop.
 */
#ifndef FAIRWAY_CHANNEL_H
#define FAIRWAY_CHANNEL_H

#include <fairway/session.h>

FW_BEGIN_DECLS

typedef struct fw_channel fw_channel;
typedef void (*fw_channel_kick_fn)(fw_channel *channel, fw_session *session, void *arg);

FW_API FW_MUST_CHECK int fw_channel_create(fw_channel **ret_channel);
/* All members leave, without on_kick. May be called in any callback. NULL is fine. */
FW_API void fw_channel_destroy(fw_channel *channel);

/* on_kick (may be NULL) runs if the session is kicked. Joining again keeps one membership and
 * replaces on_kick. FW_ECLOSED (the session is closing), UV_ENOMEM. */
FW_API FW_MUST_CHECK int fw_channel_join(fw_channel *channel, fw_session *session,
                                         fw_channel_kick_fn on_kick, void *arg);
/* FW_ENOTFOUND: it was no member. */
FW_API int fw_channel_exit(fw_channel *channel, fw_session *session);
/* The session leaves, then its on_kick runs, before the return; its connection is not touched.
 * FW_ENOTFOUND: it was no member. */
FW_API int fw_channel_kick(fw_channel *channel, fw_session *session);
FW_API bool fw_channel_has(const fw_channel *channel, const fw_session *session);
FW_API size_t fw_channel_len(const fw_channel *channel);
/* Calls fn for the members, in the order of joining. fn may change the channel and close sessions:
 * who leaves meanwhile is passed over, who joins is not visited. */
FW_API void fw_channel_each(fw_channel *channel,
                            void (*fn)(fw_channel *channel, fw_session *session, void *arg),
                            void *arg);
/* Queues one frame to every member, in the order of joining. *ret_count as fw_server_broadcast, and
 * so are the errors. */
FW_API FW_MUST_CHECK int fw_channel_broadcast(fw_channel *channel, const fw_broadcast *broadcast,
                                              size_t *ret_count);

FW_END_DECLS

#endif
