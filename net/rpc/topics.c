/*
 * Who is to get what is published at this end.
 *
 * A topic has groups; those who subscribed without one are in the group of the empty name, in which
 * each is served. In another group a publication goes to all members or to one, who then goes to
 * the end of the line. Memberships hang in their group and in their connection, so either can let
 * go of them; topics and groups without members are freed.
 */
#include "rpc/topics.h"

#include "rpc/request.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define MAX_MEMBERSHIPS 1000 /* of a connection */

struct fw_rpc_topics {
    fwi_map by_name; /* -> struct topic */
};

struct topic {
    fw_rpc_topics *topics;
    fwi_list groups;
    size_t len;
    char name[FWI_RPC_TOPIC_BYTES];
};

struct group {
    fwi_list node; /* in topic->groups */
    struct topic *topic;
    fwi_list members;
    size_t len;
    char name[FWI_RPC_TOPIC_BYTES];
};

struct membership {
    fwi_list in_group, in_rpc;
    struct group *group;
    fw_rpc *rpc;
};

int fw_rpc_topics_create(fw_rpc_topics **ret_topics)
{
    *ret_topics = calloc(1, sizeof **ret_topics);
    return *ret_topics ? FW_OK : UV_ENOMEM;
}

void fw_rpc_topics_destroy(fw_rpc_topics *topics)
{
    if (topics)
        fwi_map_fini(&topics->by_name);
    free(topics);
}

/* ---- membership ---- */

static struct topic *topic_get(fw_rpc_topics *topics, fw_slice name)
{
    struct topic *topic = fwi_map_get(&topics->by_name, name.data, name.len);
    if (topic || !(topic = calloc(1, sizeof *topic)))
        return topic;
    topic->topics = topics;
    topic->len = name.len;
    memcpy(topic->name, name.data, name.len);
    fwi_list_init(&topic->groups);
    if (fwi_map_put(&topics->by_name, name.data, name.len, topic, NULL)) {
        free(topic);
        return NULL;
    }
    return topic;
}

static struct group *group_get(struct topic *topic, fw_slice name)
{
    fwi_list_for_each (node, &topic->groups) {
        struct group *group = fwi_container_of(node, struct group, node);
        if (fwi_slice_is(name, group->name, group->len))
            return group;
    }
    struct group *group = calloc(1, sizeof *group);
    if (!group)
        return NULL;
    group->topic = topic;
    group->len = name.len;
    if (name.len)
        memcpy(group->name, name.data, name.len);
    fwi_list_init(&group->members);
    fwi_list_push_back(&topic->groups, &group->node);
    return group;
}

static void topic_free_if_empty(struct topic *topic)
{
    if (!fwi_list_empty(&topic->groups))
        return;
    fwi_map_remove(&topic->topics->by_name, topic->name, topic->len);
    free(topic);
}

static void group_free_if_empty(struct group *group)
{
    struct topic *topic = group->topic;
    if (!fwi_list_empty(&group->members))
        return;
    fwi_list_remove(&group->node);
    free(group);
    topic_free_if_empty(topic);
}

static void leave(struct membership *membership)
{
    struct group *group = membership->group;
    fwi_list_remove(&membership->in_group);
    fwi_list_remove(&membership->in_rpc);
    free(membership);
    group_free_if_empty(group);
}

/* The membership of a connection in a topic, or NULL; *ret_count: how many it has in all. */
static struct membership *find(fw_rpc *rpc, fw_slice name, size_t *ret_count)
{
    struct membership *found = NULL;
    *ret_count = 0;
    fwi_list_for_each (node, &rpc->memberships) {
        struct membership *membership = fwi_container_of(node, struct membership, in_rpc);
        const struct topic *topic = membership->group->topic;
        ++*ret_count;
        if (fwi_slice_is(name, topic->name, topic->len))
            found = membership;
    }
    return found;
}

static int join(fw_rpc *rpc, fw_slice name, fw_slice group_name)
{
    size_t count;
    struct membership *membership = find(rpc, name, &count);
    if (membership)
        leave(membership); /* the last word counts */
    else if (count >= MAX_MEMBERSHIPS)
        return FW_ELIMIT;
    struct topic *topic = topic_get(rpc->options.topics, name);
    if (!topic)
        return UV_ENOMEM;
    struct group *group = group_get(topic, group_name);
    if (!group) {
        topic_free_if_empty(topic);
        return UV_ENOMEM;
    }
    membership = malloc(sizeof *membership);
    if (!membership) {
        group_free_if_empty(group);
        return UV_ENOMEM;
    }
    *membership = (struct membership){.group = group, .rpc = rpc};
    fwi_list_push_back(&group->members, &membership->in_group);
    fwi_list_push_back(&rpc->memberships, &membership->in_rpc);
    return FW_OK;
}

void fwi_rpc_topics_leave(fw_rpc *rpc)
{
    while (!fwi_list_empty(&rpc->memberships))
        leave(fwi_container_of(rpc->memberships.next, struct membership, in_rpc));
}

/* ---- requests ---- */

static int subscribe(fw_rpc_request *request)
{
    fw_slice name = request->packet.body, group = {"", 0};
    const char *end = name.len ? memchr(name.data, '\n', name.len) : NULL;
    if (end) {
        group = (fw_slice){end + 1, name.len - (size_t)(end + 1 - (const char *)name.data)};
        name.len = (size_t)(end - (const char *)name.data);
    }
    bool is_valid = fwi_rpc_topic_is_valid(name) && (!group.len || fwi_rpc_topic_is_valid(group));
    return is_valid ? join(request->rpc, name, group) : FW_EOPTION;
}

void fwi_rpc_topics_serve(fw_rpc_request *request)
{
    fw_slice method = request->packet.method;
    int err = FW_OK;
    if (fwi_slice_is(method, FWI_RPC_SUBSCRIBE, sizeof FWI_RPC_SUBSCRIBE - 1)) {
        err = subscribe(request);
    } else {
        size_t count;
        struct membership *membership = find(request->rpc, request->packet.body, &count);
        if (membership)
            leave(membership);
    }
    if (err)
        (void)fw_rpc_fail(request, err, fw_strerror(err));
    else
        (void)fw_rpc_reply(request, (fw_slice){"", 0});
}

/* ---- publishing ---- */

static bool send_to(struct membership *membership, const fw_rpc_message *message)
{
    return fw_rpc_notify(membership->rpc, message) == FW_OK;
}

/* To the first in the line who can take it. */
static size_t publish_to_one(struct group *group, const fw_rpc_message *message)
{
    fwi_list_for_each (node, &group->members) {
        if (!send_to(fwi_container_of(node, struct membership, in_group), message))
            continue;
        fwi_list_remove(node);
        fwi_list_push_back(&group->members, node);
        return 1;
    }
    return 0;
}

static size_t publish_to_all(struct group *group, const fw_rpc_message *message)
{
    size_t count = 0;
    fwi_list_for_each (node, &group->members)
        count += send_to(fwi_container_of(node, struct membership, in_group), message);
    return count;
}

int fw_rpc_topics_publish(fw_rpc_topics *topics, const char *name, fw_slice body,
                          fw_rpc_audience audience, size_t *ret_count)
{
    fw_slice slice = {name, strlen(name)};
    if (!fwi_rpc_topic_is_valid(slice))
        return FW_EOPTION;
    char method[sizeof FWI_RPC_TOPIC_PREFIX + FWI_RPC_TOPIC_BYTES] = FWI_RPC_TOPIC_PREFIX;
    memcpy(method + sizeof FWI_RPC_TOPIC_PREFIX - 1, name, slice.len + 1);
    fw_rpc_message message = {.method = method, .body = body};
    struct topic *topic = fwi_map_get(&topics->by_name, slice.data, slice.len);
    size_t count = 0;
    if (topic)
        fwi_list_for_each (node, &topic->groups) {
            struct group *group = fwi_container_of(node, struct group, node);
            bool is_one = group->len && audience == FW_RPC_ONE_OF_EACH_GROUP;
            count += is_one ? publish_to_one(group, &message) : publish_to_all(group, &message);
        }
    if (ret_count)
        *ret_count = count;
    return FW_OK;
}
