#include "rpc/router.h"

#include "base/map.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

struct fw_rpc_router {
    fwi_map names, numbers; /* -> fwi_rpc_route */
};

int fw_rpc_router_create(fw_rpc_router **ret_router)
{
    *ret_router = calloc(1, sizeof **ret_router);
    return *ret_router ? FW_OK : UV_ENOMEM;
}

static void routes_fini(fwi_map *routes)
{
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(routes, &position));)
        free(entry->value);
    fwi_map_fini(routes);
}

void fw_rpc_router_destroy(fw_rpc_router *router)
{
    if (!router)
        return;
    routes_fini(&router->names);
    routes_fini(&router->numbers);
    free(router);
}

static int add(fwi_map *routes, const void *key, size_t key_len, fw_rpc_handler_fn handler,
               void *arg)
{
    if (fwi_map_get(routes, key, key_len))
        return FW_EEXISTS;
    fwi_rpc_route *route = malloc(sizeof *route);
    if (!route)
        return UV_ENOMEM;
    *route = (fwi_rpc_route){handler, arg};
    int err = fwi_map_put(routes, key, key_len, route, NULL);
    if (err)
        free(route);
    return err;
}

int fw_rpc_router_add(fw_rpc_router *router, const char *method, fw_rpc_handler_fn handler,
                      void *arg)
{
    return *method ? add(&router->names, method, strlen(method), handler, arg) : FW_EOPTION;
}

int fw_rpc_router_add_number(fw_rpc_router *router, uint32_t number, fw_rpc_handler_fn handler,
                             void *arg)
{
    return number ? add(&router->numbers, &number, sizeof number, handler, arg) : FW_EOPTION;
}

const fwi_rpc_route *fwi_rpc_router_find(const fw_rpc_router *router, uint32_t number,
                                         fw_slice method)
{
    if (!router)
        return NULL;
    const fwi_rpc_route *route =
        number ? fwi_map_get(&router->numbers, &number, sizeof number) : NULL;
    return route ? route : fwi_map_get(&router->names, method.data, method.len);
}
