/*
 * A membership is in two lists: its channel's, in the order of joining, and its session's.
 *
 * Whoever walks over a channel while callbacks run has a cursor there. What leaves the channel
 * moves the cursors that point at it; what joins meanwhile is younger than the walk and is passed
 * over.
 */
#include "session/broadcast.h"

#include <fairway/channel.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

struct fw_channel {
    fwi_list members;
    size_t count;
    uint64_t last_join;
    fwi_list cursors;
};

struct member {
    fwi_list node;         /* in the channel */
    fwi_list session_node; /* in extra->memberships */
    fw_channel *channel;
    fw_session *session;
    uint64_t joined;
    fw_channel_kick_fn on_kick;
    void *arg;
};

struct cursor {
    fwi_list node;
    fwi_list *next;      /* the next member's */
    uint64_t last_join;  /* of those to be visited */
    fw_channel *channel; /* NULL: destroyed */
};

int fw_channel_create(fw_channel **ret_channel)
{
    fw_channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return UV_ENOMEM;
    fwi_list_init(&channel->members);
    fwi_list_init(&channel->cursors);
    *ret_channel = channel;
    return FW_OK;
}

static void leave(struct member *member)
{
    fw_channel *channel = member->channel;
    fwi_list_for_each (node, &channel->cursors) {
        struct cursor *cursor = fwi_container_of(node, struct cursor, node);
        if (cursor->next == &member->node)
            cursor->next = member->node.next;
    }
    fwi_list_remove(&member->node);
    fwi_list_remove(&member->session_node);
    channel->count--;
    free(member);
}

void fw_channel_destroy(fw_channel *channel)
{
    if (!channel)
        return;
    while (!fwi_list_empty(&channel->members))
        leave(fwi_container_of(channel->members.next, struct member, node));
    for (fwi_list *node; (node = fwi_list_pop(&channel->cursors));)
        fwi_container_of(node, struct cursor, node)->channel = NULL;
    free(channel);
}

void fwi_memberships_end(fw_session *session)
{
    fwi_list *memberships = session->extra ? &session->extra->memberships : NULL;
    while (memberships && !fwi_list_empty(memberships))
        leave(fwi_container_of(memberships->next, struct member, session_node));
}

static struct member *find(const fw_channel *channel, const fw_session *session)
{
    if (!session->extra)
        return NULL;
    fwi_list_for_each (node, &session->extra->memberships) {
        struct member *member = fwi_container_of(node, struct member, session_node);
        if (member->channel == channel)
            return member;
    }
    return NULL;
}

int fw_channel_join(fw_channel *channel, fw_session *session, fw_channel_kick_fn on_kick, void *arg)
{
    if (session->state == FWI_SESSION_CLOSING)
        return FW_ECLOSED;
    struct member *member = find(channel, session);
    if (!member) {
        fwi_session_extra *extra = fwi_session_extra_get(session, fw_session_loop(session));
        member = extra ? calloc(1, sizeof *member) : NULL;
        if (!member)
            return UV_ENOMEM;
        member->channel = channel;
        member->session = session;
        member->joined = ++channel->last_join;
        fwi_list_push_back(&channel->members, &member->node);
        fwi_list_push_back(&extra->memberships, &member->session_node);
        channel->count++;
    }
    member->on_kick = on_kick;
    member->arg = arg;
    return FW_OK;
}

int fw_channel_exit(fw_channel *channel, fw_session *session)
{
    struct member *member = find(channel, session);
    if (!member)
        return FW_ENOTFOUND;
    leave(member);
    return FW_OK;
}

int fw_channel_kick(fw_channel *channel, fw_session *session)
{
    struct member *member = find(channel, session);
    if (!member)
        return FW_ENOTFOUND;
    fw_channel_kick_fn on_kick = member->on_kick;
    void *arg = member->arg;
    leave(member);
    if (on_kick)
        on_kick(channel, session, arg);
    return FW_OK;
}

bool fw_channel_has(const fw_channel *channel, const fw_session *session)
{
    return find(channel, session) != NULL;
}

size_t fw_channel_len(const fw_channel *channel)
{
    return channel->count;
}

static void walk_begin(struct cursor *cursor, fw_channel *channel)
{
    *cursor = (struct cursor){
        .next = channel->members.next, .last_join = channel->last_join, .channel = channel};
    fwi_list_push_back(&channel->cursors, &cursor->node);
}

/* NULL: all were visited. */
static fw_session *walk_next(struct cursor *cursor)
{
    fw_channel *channel = cursor->channel;
    if (!channel || cursor->next == &channel->members)
        return NULL;
    struct member *member = fwi_container_of(cursor->next, struct member, node);
    if (member->joined > cursor->last_join)
        return NULL;
    cursor->next = member->node.next;
    return member->session;
}

static void walk_end(struct cursor *cursor)
{
    fwi_list_remove(&cursor->node);
}

void fw_channel_each(fw_channel *channel,
                     void (*fn)(fw_channel *channel, fw_session *session, void *arg), void *arg)
{
    struct cursor cursor;
    walk_begin(&cursor, channel);
    for (fw_session *session; (session = walk_next(&cursor));)
        fn(channel, session, arg);
    walk_end(&cursor);
}

int fw_channel_broadcast(fw_channel *channel, const fw_broadcast *broadcast, size_t *ret_count)
{
    fwi_cast cast;
    fwi_cast_init(&cast, broadcast);
    int err = FW_OK;
    if (channel->count) {
        struct member *first = fwi_container_of(channel->members.next, struct member, node);
        err = fwi_cast_prepare(&cast, first->session->rules);
    }
    struct cursor cursor;
    walk_begin(&cursor, channel); /* a slow one that is closed leaves */
    for (fw_session *session; !err && (session = walk_next(&cursor));)
        fwi_cast_to(&cast, session);
    walk_end(&cursor);
    fwi_cast_fini(&cast);
    if (ret_count)
        *ret_count = cast.count;
    return err;
}
