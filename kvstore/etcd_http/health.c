/*
 * Which endpoints are alive.
 *
 * A member that hangs keeps its connections open and says nothing: on a watch that is what silence
 * looks like, too. So as long as anything guards an endpoint (an open watch does), it is asked for
 * its status when nothing was heard of it for CHECK_MS; if it does not answer within ANSWER_MS, all
 * guards are told. One question serves all of them.
 *
 * It also takes down whether an endpoint has answered since it last failed. One that has not is
 * asked first when a write is to go there (request.c): the kernel of a hung member accepts
 * connections and takes requests, and after that nobody could say what became of the write.
 */
#include "etcd_http.h"

#define CHECK_MS  4000
#define ANSWER_MS 3000

static size_t number_of(const fwi_eh_endpoint *endpoint)
{
    return (size_t)(endpoint - endpoint->client->endpoints);
}

static void drop_check(fwi_eh_endpoint *endpoint)
{
    if (endpoint->check)
        fwi_eh_call_drop(endpoint->check);
    endpoint->check = NULL;
}

static void set_timer(fwi_eh_endpoint *endpoint, uint64_t delay_ms)
{
    if (!fwi_list_empty(&endpoint->guards))
        fwi_loop_timer_start(endpoint->client->core.loop, &endpoint->timer, delay_ms);
}

static void tell_guards(fwi_eh_endpoint *endpoint)
{
    fwi_list guards;
    fwi_list_init(&guards);
    fwi_list_splice(&guards, &endpoint->guards);
    fwi_eh_endpoint_failed(endpoint->client, number_of(endpoint));
    for (fwi_list *node; (node = fwi_list_pop(&guards));) {
        fwi_eh_guard *guard = fwi_container_of(node, fwi_eh_guard, node);
        guard->on_silence(guard->arg);
    }
}

static void on_check_end(fwi_eh_call *call, const fwi_eh_end *end, void *arg)
{
    (void)call;
    fwi_eh_endpoint *endpoint = arg;
    endpoint->check = NULL;
    fwi_loop_timer_stop(endpoint->client->core.loop, &endpoint->timer);
    if (end->outcome == FWI_EH_ANSWERED || end->outcome == FWI_EH_TOO_LONG)
        set_timer(endpoint, CHECK_MS);
    else
        tell_guards(endpoint);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fwi_eh_endpoint *endpoint = arg;
    fwi_eh_client *client = endpoint->client;
    if (endpoint->check) {
        drop_check(endpoint);
        tell_guards(endpoint);
        return;
    }
    if (fwi_list_empty(&endpoint->guards))
        return;
    uint64_t silent_ms = fw_loop_now_ms(client->core.loop) - endpoint->heard_ms;
    if (silent_ms < CHECK_MS) {
        set_timer(endpoint, CHECK_MS - silent_ms);
        return;
    }
    fwi_eh_call_handler handler = {.on_end = on_check_end, .arg = endpoint};
    endpoint->check = fwi_eh_health_ask(client, number_of(endpoint), &handler);
    set_timer(endpoint, ANSWER_MS); /* without memory for the question: the next one */
}

fwi_eh_call *fwi_eh_health_ask(fwi_eh_client *client, size_t endpoint,
                               const fwi_eh_call_handler *handler)
{
    fwi_eh_call_options options = {.endpoint = endpoint,
                                   .path = "/v3/maintenance/status",
                                   .body = {"{}", 2},
                                   .headers = client->auth.plain,
                                   .urgent = true};
    return fwi_eh_call_start(client, &options, handler);
}

void fwi_eh_health_init(fwi_eh_endpoint *endpoint, fwi_eh_client *client)
{
    endpoint->client = client;
    endpoint->timer = (fwi_timer){.fn = on_timer, .arg = endpoint};
    fwi_list_init(&endpoint->guards);
}

void fwi_eh_health_end(fwi_eh_endpoint *endpoint)
{
    drop_check(endpoint);
    fwi_loop_timer_stop(endpoint->client->core.loop, &endpoint->timer);
}

void fwi_eh_health_heard(fwi_eh_endpoint *endpoint)
{
    endpoint->answers = true;
    endpoint->hangups = 0;
    endpoint->heard_ms = fw_loop_now_ms(endpoint->client->core.loop);
}

void fwi_eh_guard_add(fwi_eh_endpoint *endpoint, fwi_eh_guard *guard)
{
    bool is_first = fwi_list_empty(&endpoint->guards);
    fwi_list_push_back(&endpoint->guards, &guard->node);
    if (is_first && !endpoint->check)
        set_timer(endpoint, CHECK_MS);
}

void fwi_eh_guard_remove(fwi_eh_guard *guard)
{
    fwi_list_remove(&guard->node);
}
