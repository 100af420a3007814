/*
 * What this end has subscribed to. A subscription is in the map from the request on, since the
 * first message may come with the answer; it leaves when the peer refuses it.
 */
#include "rpc/topics.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct subscription {
    fw_rpc *rpc;
    fw_rpc_topic_fn on_message;
    void *arg;
    fw_rpc_done_fn done; /* until the answer */
    void *done_arg;
    bool is_asking, is_removed;
    size_t len;
    char name[];
};

static void remove_subscription(struct subscription *subscription)
{
    fw_rpc *rpc = subscription->rpc;
    if (!subscription->is_removed)
        fwi_map_remove(&rpc->subscriptions, subscription->name, subscription->len);
    subscription->is_removed = true;
    if (!subscription->is_asking)
        free(subscription);
}

static void on_answer(const fw_rpc_result *result, void *arg)
{
    struct subscription *subscription = arg;
    fw_rpc_done_fn done = subscription->done;
    void *done_arg = subscription->done_arg;
    subscription->is_asking = false;
    if (result->status || subscription->is_removed)
        remove_subscription(subscription);
    if (done)
        done(result, done_arg);
}

int fw_rpc_subscribe(fw_rpc *rpc, const fw_rpc_subscription *wanted, fw_rpc_done_fn done, void *arg)
{
    fw_slice name = {wanted->topic, strlen(wanted->topic)};
    fw_slice group = {wanted->group ? wanted->group : "", 0};
    group.len = strlen(group.data);
    if (!fwi_rpc_topic_is_valid(name) || (group.len && !fwi_rpc_topic_is_valid(group)))
        return FW_EOPTION;
    if (fwi_map_get(&rpc->subscriptions, name.data, name.len))
        return FW_EEXISTS;
    struct subscription *subscription = malloc(sizeof *subscription + name.len);
    if (!subscription)
        return UV_ENOMEM;
    *subscription = (struct subscription){.rpc = rpc,
                                          .on_message = wanted->on_message,
                                          .arg = wanted->arg,
                                          .done = done,
                                          .done_arg = arg,
                                          .is_asking = true,
                                          .len = name.len};
    memcpy(subscription->name, name.data, name.len);
    char body[2 * FWI_RPC_TOPIC_BYTES + 1];
    size_t len = name.len;
    memcpy(body, name.data, name.len);
    if (group.len) {
        body[len++] = '\n';
        memcpy(body + len, group.data, group.len);
        len += group.len;
    }
    fw_rpc_message message = {.method = FWI_RPC_SUBSCRIBE, .body = {body, len}};
    int err = fwi_map_put(&rpc->subscriptions, name.data, name.len, subscription, NULL);
    if (!err) {
        err = fw_rpc_call(rpc, &message, on_answer, subscription, NULL);
        if (err)
            fwi_map_remove(&rpc->subscriptions, name.data, name.len);
    }
    if (err)
        free(subscription);
    return err;
}

int fw_rpc_unsubscribe(fw_rpc *rpc, const char *topic)
{
    struct subscription *subscription = fwi_map_get(&rpc->subscriptions, topic, strlen(topic));
    if (!subscription)
        return FW_ENOTFOUND;
    fw_rpc_message message = {.method = FWI_RPC_UNSUBSCRIBE, .body = {topic, strlen(topic)}};
    int err = fw_rpc_notify(rpc, &message);
    remove_subscription(subscription);
    return err;
}

bool fwi_rpc_take_topic(fw_rpc *rpc, const fwi_rpc_packet *packet)
{
    static const size_t prefix = sizeof FWI_RPC_TOPIC_PREFIX - 1;
    fw_slice name = packet->method;
    if (packet->kind != FWI_RPC_KIND_ONEWAY || name.len <= prefix ||
        memcmp(name.data, FWI_RPC_TOPIC_PREFIX, prefix) != 0)
        return false;
    name = (fw_slice){(const char *)name.data + prefix, name.len - prefix};
    struct subscription *subscription = fwi_map_get(&rpc->subscriptions, name.data, name.len);
    if (subscription)
        subscription->on_message(rpc, name, packet->body, subscription->arg);
    return true; /* one that was on its way when the subscription ended goes nowhere */
}

void fwi_rpc_subscriptions_fini(fw_rpc *rpc)
{
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(&rpc->subscriptions, &position));)
        free(entry->value); /* their calls have ended */
    fwi_map_fini(&rpc->subscriptions);
}
