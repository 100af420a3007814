#include "rpc/router.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

/* ---- routes ---- */

static int add(fwi_map *map, const void *key, size_t key_len, void *route)
{
    return fwi_map_get(map, key, key_len) ? FW_EEXISTS
                                          : fwi_map_put(map, key, key_len, route, NULL);
}

int fwi_routes_add_name(fwi_routes *routes, const char *name, void *route)
{
    return *name ? add(&routes->names, name, strlen(name), route) : FW_EOPTION;
}

int fwi_routes_add_number(fwi_routes *routes, uint32_t number, void *route)
{
    return number ? add(&routes->numbers, &number, sizeof number, route) : FW_EOPTION;
}

void fwi_routes_remove_name(fwi_routes *routes, const char *name)
{
    (void)fwi_map_remove(&routes->names, name, strlen(name));
}

void *fwi_routes_find(const fwi_routes *routes, uint32_t number, fw_slice name)
{
    void *route = number ? fwi_map_get(&routes->numbers, &number, sizeof number) : NULL;
    return route ? route : fwi_map_get(&routes->names, name.data, name.len);
}

void fwi_routes_fini(fwi_routes *routes)
{
    fwi_map_fini(&routes->names);
    fwi_map_fini(&routes->numbers);
}

/* ---- the call engine's ---- */

struct fw_rpc_router {
    fwi_routes routes; /* -> fwi_rpc_route, each under one key */
    fwi_rpc_step steps[FW_RPC_MAX_INTERCEPTORS];
    size_t step_count;
};

int fw_rpc_router_create(fw_rpc_router **ret_router)
{
    *ret_router = calloc(1, sizeof **ret_router);
    return *ret_router ? FW_OK : UV_ENOMEM;
}

static void free_all(fwi_map *map)
{
    size_t position = 0;
    for (fwi_map_entry *entry; (entry = fwi_map_next(map, &position));)
        free(entry->value);
}

void fw_rpc_router_destroy(fw_rpc_router *router)
{
    if (!router)
        return;
    free_all(&router->routes.names);
    free_all(&router->routes.numbers);
    fwi_routes_fini(&router->routes);
    free(router);
}

static fwi_rpc_route *route_new(const fw_rpc_router *router, fw_rpc_handler_fn handler, void *arg)
{
    fwi_rpc_route *route = malloc(sizeof *route);
    if (route)
        *route = (fwi_rpc_route){router, handler, arg};
    return route;
}

int fw_rpc_router_add(fw_rpc_router *router, const char *method, fw_rpc_handler_fn handler,
                      void *arg)
{
    fwi_rpc_route *route = route_new(router, handler, arg);
    int err = route ? fwi_routes_add_name(&router->routes, method, route) : UV_ENOMEM;
    if (err)
        free(route);
    return err;
}

int fw_rpc_router_add_number(fw_rpc_router *router, uint32_t number, fw_rpc_handler_fn handler,
                             void *arg)
{
    fwi_rpc_route *route = route_new(router, handler, arg);
    int err = route ? fwi_routes_add_number(&router->routes, number, route) : UV_ENOMEM;
    if (err)
        free(route);
    return err;
}

const fwi_rpc_route *fwi_rpc_router_find(const fw_rpc_router *router, uint32_t number,
                                         fw_slice method)
{
    return router ? fwi_routes_find(&router->routes, number, method) : NULL;
}

int fw_rpc_router_use(fw_rpc_router *router, fw_rpc_handler_fn middleware, void *arg)
{
    if (router->step_count == FW_RPC_MAX_INTERCEPTORS)
        return FW_ELIMIT;
    router->steps[router->step_count++] = (fwi_rpc_step){middleware, arg};
    return FW_OK;
}

const fwi_rpc_step *fwi_rpc_router_step(const fwi_rpc_route *route, size_t place)
{
    const fw_rpc_router *router = route->router;
    return router && place < router->step_count ? &router->steps[place] : NULL;
}
