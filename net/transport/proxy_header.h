/*
 * The PROXY protocol, versions 1 and 2: what a proxy puts in front of a connection that it passes
 * on, to tell whose it is. Bytes in, an address out; no socket. (HAProxy, doc/proxy-protocol.txt)
 *
 * Version 1 is a line of text:
 *
 *     PROXY TCP4|TCP6 source destination source-port destination-port CR LF
 *     PROXY UNKNOWN [anything] CR LF                       at most 107 bytes
 *
 * Version 2, numbers in network order:
 *
 *     12  signature 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A
 *      1  2 (version) << 4 | command: 0 LOCAL, 1 PROXY
 *      1  family << 4 | protocol: 1 IPv4, 2 IPv6, 3 unix; 1 stream, 2 datagram; 0 either: not told
 *      2  length of what follows
 *     12  IPv4: source, destination, ports; IPv6: 36 bytes; unix: two paths of 108 bytes
 *      n  type (1), length (2), value; type 3 is the CRC32c of the header with this value zero
 */
#ifndef FWI_PROXY_HEADER_H
#define FWI_PROXY_HEADER_H

#include <fairway/base.h>
#include <sys/socket.h>

/* The longest header that is taken; extensions are rarely longer than a few hundred bytes. */
#define FWI_PROXY_MAX_BYTES 4096
/* The longest header that is written. */
#define FWI_PROXY_WRITE_BYTES 232

/* Whose connection it is. AF_UNSPEC: not told, so the connection's own addresses count. */
typedef struct fwi_proxy_addresses {
    struct sockaddr_storage source, destination; /* of the same family: INET, INET6, UNIX */
    bool is_datagram;
} fwi_proxy_addresses;

typedef struct fwi_proxy_parser {
    size_t len;
    uint8_t bytes[FWI_PROXY_MAX_BYTES];
} fwi_proxy_parser;

FWI_API void fwi_proxy_parser_init(fwi_proxy_parser *parser);
/* How many bytes the header has at least beyond those given: reading no more than that leaves what
 * is behind the header where it is. 0: it is whole. */
FWI_API size_t fwi_proxy_parser_wanted(const fwi_proxy_parser *parser);
/* Takes the bytes that belong to the header, *ret_taken of them. FW_EPROTOCOL: it is none. */
FWI_API int fwi_proxy_parser_input(fwi_proxy_parser *parser, const uint8_t *data, size_t len,
                                   size_t *ret_taken);
/* What a whole header says. FW_EPROTOCOL. */
FWI_API int fwi_proxy_parser_addresses(const fwi_proxy_parser *parser,
                                       fwi_proxy_addresses *ret_addresses);

/* Writes a header of version 1 or 2; *ret_len bytes of at most FWI_PROXY_WRITE_BYTES. Addresses
 * that the version has no words for (none, or unix in version 1) are written as not told.
 * FW_EOPTION: unknown version, or families that differ. */
FWI_API int fwi_proxy_header_write(int version, const fwi_proxy_addresses *addresses,
                                   uint8_t ret_bytes[FWI_PROXY_WRITE_BYTES], size_t *ret_len);

/* The address as the URL of a peer: "tcp://10.0.0.1:80", "udp://[::1]:9", "unix:/path". */
FWI_API void fwi_proxy_source_url(const fwi_proxy_addresses *addresses, char *ret_text,
                                  size_t size);

#endif
