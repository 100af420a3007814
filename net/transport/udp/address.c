#include "transport/udp/address.h"

#include <arpa/inet.h>
#include <fairway/error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fwi_udp_lookup {
    uv_getaddrinfo_t request;
    fwi_udp_resolved_fn fn; /* NULL: abandoned */
    void *arg;
};

socklen_t fwi_udp_address_len(const fwi_udp_address *address)
{
    return address->any.sa_family == AF_INET6 ? sizeof address->in6 : sizeof address->in4;
}

void fwi_udp_address_key(const fwi_udp_address *address, uint8_t ret_key[FWI_UDP_KEY_BYTES])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (address->any.sa_family == AF_INET6) {
        memcpy(ret_key, &address->in6.sin6_addr, 16);
        memcpy(ret_key + 16, &address->in6.sin6_port, 2);
    } else {
        memcpy(ret_key, mapped, sizeof mapped);
        memcpy(ret_key + 12, &address->in4.sin_addr, 4);
        memcpy(ret_key + 16, &address->in4.sin_port, 2);
    }
}

void fwi_udp_address_text(const fwi_udp_address *address, const char *scheme, char *ret_text,
                          size_t size)
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (address->any.sa_family == AF_INET6) {
        uv_ip6_name(&address->in6, ip, sizeof ip);
        snprintf(ret_text, size, "%s://[%s]:%d", scheme, ip, ntohs(address->in6.sin6_port));
    } else {
        uv_ip4_name(&address->in4, ip, sizeof ip);
        snprintf(ret_text, size, "%s://%s:%d", scheme, ip, ntohs(address->in4.sin_port));
    }
}

static bool parse(const char *name, int port, fwi_udp_address *ret_address)
{
    return !uv_ip4_addr(name, port, &ret_address->in4) ||
           !uv_ip6_addr(name, port, &ret_address->in6);
}

bool fwi_udp_address_parse(const fw_url_host *host, fwi_udp_address *ret_address)
{
    return parse(host->name, host->port, ret_address);
}

int fwi_udp_address_local(const fw_url *url, fwi_udp_address *ret_address)
{
    if (url->host_count != 1 || *url->path)
        return FW_EURL;
    const fw_url_host *host = &url->hosts[0];
    bool any = !*host->name || !strcmp(host->name, "*");
    const char *name = any                                ? "0.0.0.0"
                       : !strcmp(host->name, "localhost") ? "127.0.0.1"
                                                          : host->name;
    return parse(name, host->port, ret_address) ? FW_OK : FW_EURL;
}

int fwi_udp_url_check_dial(const fw_url *url)
{
    if (url->host_count != 1 || !url->hosts[0].port || !*url->hosts[0].name || *url->path)
        return FW_EURL;
    return FW_OK;
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    fwi_udp_lookup *lookup = request->data;
    fwi_udp_address address;
    memset(&address, 0, sizeof address);
    if (!status && found->ai_addrlen <= sizeof address)
        memcpy(&address, found->ai_addr, found->ai_addrlen);
    uv_freeaddrinfo(found);
    if (lookup->fn)
        lookup->fn(status, &address, lookup->arg);
    free(lookup);
}

int fwi_udp_lookup_start(uv_loop_t *uv, const fw_url_host *host, fwi_udp_resolved_fn fn, void *arg,
                         fwi_udp_lookup **ret_lookup)
{
    char service[16];
    snprintf(service, sizeof service, "%d", host->port);
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_ADDRCONFIG};
    fwi_udp_lookup *lookup = calloc(1, sizeof *lookup);
    if (!lookup)
        return UV_ENOMEM;
    lookup->fn = fn;
    lookup->arg = arg;
    lookup->request.data = lookup;
    int err = uv_getaddrinfo(uv, &lookup->request, on_resolved, host->name, service, &hints);
    if (err)
        free(lookup);
    else
        *ret_lookup = lookup;
    return err;
}

void fwi_udp_lookup_abandon(fwi_udp_lookup *lookup)
{
    lookup->fn = NULL;
    uv_cancel((uv_req_t *)&lookup->request);
}
