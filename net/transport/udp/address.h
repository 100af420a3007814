/* Addresses of datagrams: from URLs, as keys of maps, as text; and looking up names. */
#ifndef FWI_UDP_ADDRESS_H
#define FWI_UDP_ADDRESS_H

#include <fairway/url.h>
#include <netinet/in.h>
#include <uv.h>

#define FWI_UDP_KEY_BYTES 18

typedef union fwi_udp_address {
    struct sockaddr any;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
} fwi_udp_address;

socklen_t fwi_udp_address_len(const fwi_udp_address *address);
/* The same bytes for the same address and port, of either family. */
void fwi_udp_address_key(const fwi_udp_address *address, uint8_t ret_key[FWI_UDP_KEY_BYTES]);
/* "SCHEME://1.2.3.4:5". */
void fwi_udp_address_text(const fwi_udp_address *address, const char *scheme, char *ret_text,
                          size_t size);
/* A numeric address; false if it is a name. */
bool fwi_udp_address_parse(const fw_url_host *host, fwi_udp_address *ret_address);
/* Where a URL wants to listen: an empty host or `*` is everywhere. FW_EURL. */
int fwi_udp_address_local(const fw_url *url, fwi_udp_address *ret_address);
/* FW_EURL: not one host with a port and no path. */
int fwi_udp_url_check_dial(const fw_url *url);

typedef void (*fwi_udp_resolved_fn)(int status, const fwi_udp_address *address, void *arg);
typedef struct fwi_udp_lookup fwi_udp_lookup;

/* The first address of a name. */
int fwi_udp_lookup_start(uv_loop_t *uv, const fw_url_host *host, fwi_udp_resolved_fn fn, void *arg,
                         fwi_udp_lookup **ret_lookup);
/* The function will not be called; the look-up goes on without us. */
void fwi_udp_lookup_abandon(fwi_udp_lookup *lookup);

#endif
