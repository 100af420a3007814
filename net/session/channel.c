/*
 * A membership is in two lists: its channel's, in the order of joining, and its session's.
 *
 * Callbacks that run during a walk over a channel may change it. Then who leaves stays in the
 * channel's list, without a session, until the last walk is over, and a destroyed channel lives
 * until then; who joins is younger than the walk and is passed over.
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
    size_t walks; /* that are under way */
    bool destroyed;
};

struct member {
    fwi_list node;         /* in the channel */
    fwi_list session_node; /* in extra->memberships */
    fw_channel *channel;
    fw_session *session; /* NULL: it has left */
    uint64_t joined;
    fw_channel_kick_fn on_kick;
    void *arg;
};

int fw_channel_create(fw_channel **ret_channel)
{
    fw_channel *channel = calloc(1, sizeof *channel);
    if (!channel)
        return UV_ENOMEM;
    fwi_list_init(&channel->members);
    *ret_channel = channel;
    return FW_OK;
}

static void leave(struct member *member)
{
    fw_channel *channel = member->channel;
    member->session = NULL;
    fwi_list_remove(&member->session_node);
    channel->count--;
    if (channel->walks)
        return;
    fwi_list_remove(&member->node);
    free(member);
}

static void sweep(fw_channel *channel)
{
    fwi_list_for_each_safe (node, &channel->members) {
        struct member *member = fwi_container_of(node, struct member, node);
        if (member->session)
            continue;
        fwi_list_remove(node);
        free(member);
    }
    if (channel->destroyed)
        free(channel);
}

void fw_channel_destroy(fw_channel *channel)
{
    if (!channel)
        return;
    fwi_list_for_each_safe (node, &channel->members) {
        struct member *member = fwi_container_of(node, struct member, node);
        if (member->session)
            leave(member);
    }
    channel->destroyed = true;
    if (!channel->walks)
        sweep(channel);
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

static fw_session *first_member(const fw_channel *channel)
{
    fwi_list_for_each (node, &channel->members) {
        const struct member *member = fwi_container_of(node, struct member, node);
        if (member->session)
            return member->session;
    }
    return NULL;
}

/* fn gets those who are members when it begins and when it comes to them. */
static void walk(fw_channel *channel,
                 void (*fn)(fw_channel *channel, fw_session *session, void *arg), void *arg)
{
    uint64_t last_join = channel->last_join;
    channel->walks++;
    fwi_list_for_each (node, &channel->members) {
        struct member *member = fwi_container_of(node, struct member, node);
        if (member->joined > last_join)
            break;
        if (member->session)
            fn(channel, member->session, arg);
    }
    if (!--channel->walks)
        sweep(channel);
}

void fw_channel_each(fw_channel *channel,
                     void (*fn)(fw_channel *channel, fw_session *session, void *arg), void *arg)
{
    walk(channel, fn, arg);
}

/* A slow one may be closed by it, and leave. */
static void cast_to(fw_channel *channel, fw_session *session, void *arg)
{
    (void)channel;
    fwi_cast_to(arg, session);
}

int fw_channel_broadcast(fw_channel *channel, const fw_broadcast *broadcast, size_t *ret_count)
{
    fwi_cast cast;
    fwi_cast_init(&cast, broadcast);
    fw_session *first = first_member(channel);
    int err = first ? fwi_cast_prepare(&cast, first->rules) : FW_OK;
    if (!err)
        walk(channel, cast_to, &cast);
    fwi_cast_fini(&cast);
    if (ret_count)
        *ret_count = cast.count;
    return err;
}
