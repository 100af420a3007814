/*
 * A service: it answers calls, and keeps itself registered.
 *   example_service lmdb:/tmp/fairway-example
 * See README.md beside this file.
 */
#include <fairway/discovery.h>
#include <fairway/error.h>
#include <fairway/rpc.h>
#include <stdio.h>
#include <string.h>

static void on_greet(fw_rpc_request *request, void *arg)
{
    (void)arg;
    fw_slice name = fw_rpc_request_body(request);
    char text[256];
    int len = snprintf(text, sizeof text, "\"hello, %.*s\"", (int)(name.len < 200 ? name.len : 200),
                       (const char *)name.data);
    fw_rpc_reply(request, (fw_slice){text, (size_t)len});
}

static int fail(const char *what, int err)
{
    fprintf(stderr, "%s: %s\n", what, fw_strerror(err));
    return 1;
}

int main(int argc, char **argv)
{
    fw_loop *loop;
    fw_kv *store;
    fw_rpc_router *router;
    fw_rpc_server *server;
    fw_registrar *registrar;
    const char *url = argc > 1 ? argv[1] : "lmdb:/tmp/fairway-example";

    int err = fw_loop_new(&loop);
    if (!err)
        err = fw_kv_open(loop, url, NULL, &store);
    if (err)
        return fail(url, err);

    err = fw_rpc_router_create(&router);
    if (!err)
        err = fw_rpc_router_add(router, "greet", on_greet, NULL);
    fw_rpc_server_options serve = {.connection = {.router = router}};
    if (!err)
        err = fw_rpc_server_new(loop, "tcp://127.0.0.1:0", &serve, &server);
    if (err)
        return fail("server", err);

    /* One registrar keeps any number of instances registered, for ever, whatever the store does. */
    const char *addr = fw_rpc_server_url(server) + strlen("tcp://");
    fw_instance instance = {.service = "greeter", .id = "one", .net = "tcp", .addr = addr};
    err = fw_registrar_new(store, NULL, &registrar);
    if (!err)
        err = fw_registrar_set(registrar, &instance);
    if (err)
        return fail("registrar", err);

    printf("greeter/one at %s, registered in %s\n", addr, url);
    fflush(stdout);
    return fw_loop_run(loop);
}
