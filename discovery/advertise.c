/*
 * The address that others reach us at, for a listener on all interfaces.
 *
 * The kernel is asked which source address it would take towards the outside: a datagram socket is
 * connected to a documentation address (RFC 5737, RFC 3849), which looks up the route and sends
 * nothing. In a container that is the container's own address, on a machine with bridges that of
 * the interface with the default route, not of whichever comes first by name. Without a route: the
 * first address of an interface that is up; without one, loopback.
 */
#include <fairway/discovery.h>

#include <arpa/inet.h>
#include <fairway/error.h>
#include <fairway/url.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#define DISCARD_PORT 9

static bool name_of(const struct sockaddr *address, char *ret_host, size_t size)
{
    if (address->sa_family == AF_INET6)
        return !uv_ip6_name((const struct sockaddr_in6 *)address, ret_host, size);
    return !uv_ip4_name((const struct sockaddr_in *)address, ret_host, size);
}

static bool by_route(bool ipv6, char *ret_host, size_t size)
{
    struct sockaddr_storage outside, own;
    socklen_t len = sizeof own;
    int err = ipv6 ? uv_ip6_addr("2001:db8::1", DISCARD_PORT, (struct sockaddr_in6 *)&outside)
                   : uv_ip4_addr("192.0.2.1", DISCARD_PORT, (struct sockaddr_in *)&outside);
    int fd = err ? -1 : socket(ipv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    socklen_t outside_len = ipv6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    bool found = !connect(fd, (struct sockaddr *)&outside, outside_len) &&
                 !getsockname(fd, (struct sockaddr *)&own, &len) &&
                 name_of((struct sockaddr *)&own, ret_host, size);
    close(fd);
    return found;
}

static bool by_interface(bool ipv6, char *ret_host, size_t size)
{
    uv_interface_address_t *interfaces;
    int count;
    if (uv_interface_addresses(&interfaces, &count))
        return false;
    bool found = false;
    for (int i = 0; i < count && !found; i++) {
        const struct sockaddr *address = (const struct sockaddr *)&interfaces[i].address;
        bool is_ipv6 = address->sa_family == AF_INET6;
        bool is_local = is_ipv6 && IN6_IS_ADDR_LINKLOCAL(&interfaces[i].address.address6.sin6_addr);
        if (!interfaces[i].is_internal && !is_local && is_ipv6 == ipv6)
            found = name_of(address, ret_host, size);
    }
    uv_free_interface_addresses(interfaces, count);
    return found;
}

static bool is_any(const char *host)
{
    return !*host || !strcmp(host, "0.0.0.0") || !strcmp(host, "::") || !strcmp(host, "*");
}

static void find_host(bool ipv6, char *ret_host, size_t size)
{
    if (by_route(ipv6, ret_host, size) || by_interface(ipv6, ret_host, size))
        return;
    if (ipv6 && (by_route(false, ret_host, size) || by_interface(false, ret_host, size)))
        return; /* "::" listens on IPv4, too */
    snprintf(ret_host, size, "%s", ipv6 ? "::1" : "127.0.0.1");
}

int fw_instance_advertise_url(const char *listen_url, const char *host, char **ret_url)
{
    fw_url url;
    char found[INET6_ADDRSTRLEN];
    int err = fw_url_init(&url, listen_url);
    if (err)
        return err;
    if (!host || !*host)
        host = secure_getenv("FAIRWAY_ADVERTISE");
    bool is_open = url.host_count == 1 && is_any(url.hosts[0].name);
    if (is_open && (!host || !*host)) {
        find_host(!strcmp(url.hosts[0].name, "::"), found, sizeof found);
        host = found;
    }
    size_t size = strlen(listen_url) + (is_open ? strlen(host) : 0) + sizeof "://[]:65535";
    char *text = malloc(size);
    if (!text)
        err = UV_ENOMEM;
    else if (!is_open)
        memcpy(text, listen_url, strlen(listen_url) + 1);
    else
        snprintf(text, size, strchr(host, ':') ? "%s://[%s]:%d%s" : "%s://%s:%d%s", url.scheme,
                 host, url.hosts[0].port, url.path);
    fw_url_fini(&url);
    *ret_url = text;
    return err;
}
