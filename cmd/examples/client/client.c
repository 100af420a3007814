/*
 * A client: calls a service by its name, wherever its instances are.
 *   example_client lmdb:/tmp/fairway-example world
 * See README.md beside this file.
 */
#include <fairway/clientproxy.h>
#include <fairway/error.h>
#include <stdio.h>
#include <string.h>

struct client {
    fw_kv *store;
    fw_proxy *proxy;
    int status;
};

static void on_proxy_closed(void *arg)
{
    struct client *client = arg;
    fw_kv_close(client->store, NULL, NULL); /* nothing is left on the loop: it ends */
}

static void on_reply(const fw_rpc_result *result, const fw_instance *instance, void *arg)
{
    struct client *client = arg;
    client->status = result->status;
    if (result->status)
        fprintf(stderr, "greeter: %s\n", fw_strerror(result->status));
    else
        printf("%s says %.*s\n", instance->id, (int)result->body.len,
               (const char *)result->body.data);
    fw_proxy_close(client->proxy, on_proxy_closed, client);
}

int main(int argc, char **argv)
{
    fw_loop *loop;
    struct client client = {.status = 0};
    const char *url = argc > 1 ? argv[1] : "lmdb:/tmp/fairway-example";
    const char *name = argc > 2 ? argv[2] : "world";

    int err = fw_loop_new(&loop);
    if (!err)
        err = fw_kv_open(loop, url, NULL, &client.store);
    if (!err)
        err = fw_proxy_new(client.store, "greeter", NULL, &client.proxy);
    fw_rpc_message message = {.method = "greet", .body = {name, strlen(name)}};
    if (!err)
        err = fw_proxy_call(client.proxy, &message, on_reply, &client);
    if (err) {
        fprintf(stderr, "%s: %s\n", url, fw_strerror(err));
        return 1;
    }
    fw_loop_run(loop);
    return fw_loop_close(loop) || client.status ? 1 : 0;
}
