/* A host's addresses, without blocking the loop. A name is looked up anew for each connection:
 * after a failover it may stand for another server. */
#include "redis.h"

#include <fairway/error.h>
#include <string.h>

struct fwi_redis_lookup {
    uv_getaddrinfo_t request;
    fwi_redis_client *client; /* stays until this is over */
    fwi_redis_link *link;     /* NULL: dropped */
    fwi_redis_resolved_fn on_resolved;
};

static void on_found(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    fwi_redis_lookup *lookup = fwi_container_of(request, fwi_redis_lookup, request);
    fwi_redis_link *link = lookup->link;
    if (link) {
        link->lookup = NULL;
        link->address_count = 0;
        for (struct addrinfo *one = status ? NULL : found;
             one && link->address_count < FWI_REDIS_MAX_ADDRESSES; one = one->ai_next)
            if (one->ai_addrlen <= sizeof *link->addresses)
                memcpy(&link->addresses[link->address_count++], one->ai_addr, one->ai_addrlen);
        if (!status && !link->address_count)
            status = UV_EAI_NODATA;
        lookup->on_resolved(link, status);
    }
    uv_freeaddrinfo(found);
    fwi_redis_client *client = lookup->client;
    free(lookup);
    fwi_redis_handle_gone(client);
}

int fwi_redis_resolve(fwi_redis_link *link, fwi_redis_resolved_fn on_resolved)
{
    fwi_redis_client *client = link->client;
    fwi_redis_lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup)
        return UV_ENOMEM;
    *lookup = (fwi_redis_lookup){.client = client, .link = link, .on_resolved = on_resolved};
    char service[16];
    snprintf(service, sizeof service, "%d", client->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    int err = uv_getaddrinfo(fw_loop_uv(client->loop), &lookup->request, on_found, client->host,
                             service, &hints);
    if (err) {
        free(lookup);
        return err;
    }
    client->handles++;
    link->lookup = lookup;
    return FW_OK;
}

void fwi_redis_lookup_drop(fwi_redis_lookup *lookup)
{
    lookup->link->lookup = NULL;
    lookup->link = NULL;
    uv_cancel((uv_req_t *)&lookup->request); /* in vain once it has begun */
}
