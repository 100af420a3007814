#include "transport/proxy_header.h"

#include <arpa/inet.h>
#include <fairway/error.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#define V1_SHORTEST    15 /* "PROXY UNKNOWN\r\n" */
#define V1_LONGEST     107
#define V2_FIXED_BYTES 16
#define V2_UNIX_BYTES  108
#define TLV_HEAD_BYTES 3
#define TLV_CRC32C     3

enum { V2_LOCAL = 0x20, V2_PROXY = 0x21 };
enum { V2_UNSPEC = 0, V2_INET = 1, V2_INET6 = 2, V2_UNIX = 3 };
enum { V2_STREAM = 1, V2_DATAGRAM = 2 };

static const uint8_t v1_signature[] = {'P', 'R', 'O', 'X', 'Y', ' '};
static const uint8_t v2_signature[] = "\r\n\r\n\0\r\nQUIT\n"; /* its NUL is not part of it */
#define V2_SIGNATURE_BYTES (sizeof v2_signature - 1)

/* Bytes of both addresses and ports, by family. */
static const size_t v2_address_bytes[] = {0, 12, 36, 2 * V2_UNIX_BYTES};

static size_t get_u16be(const uint8_t *p)
{
    return (size_t)(p[0] << 8 | p[1]);
}

static bool is_v1(const fwi_proxy_parser *parser)
{
    return parser->bytes[0] == v1_signature[0];
}

void fwi_proxy_parser_init(fwi_proxy_parser *parser)
{
    parser->len = 0; /* the bytes are written before they are read */
}

static size_t v1_wanted(const fwi_proxy_parser *parser)
{
    const uint8_t *bytes = parser->bytes;
    size_t len = parser->len;
    if (len < V1_SHORTEST)
        return V1_SHORTEST - len;
    if (bytes[len - 1] == '\n')
        return 0;
    return bytes[len - 1] == '\r' ? 1 : 2;
}

size_t fwi_proxy_parser_wanted(const fwi_proxy_parser *parser)
{
    if (!parser->len)
        return V1_SHORTEST; /* the shorter of the two */
    if (is_v1(parser))
        return v1_wanted(parser);
    size_t total = V2_FIXED_BYTES;
    if (parser->len >= V2_FIXED_BYTES)
        total += get_u16be(parser->bytes + V2_FIXED_BYTES - 2);
    return total - parser->len;
}

static bool begins_with(const uint8_t *bytes, size_t len, const uint8_t *wanted, size_t wanted_len)
{
    return !memcmp(bytes, wanted, len < wanted_len ? len : wanted_len);
}

/* What is there may still become a header. */
static int check_v1(const fwi_proxy_parser *parser)
{
    const uint8_t *bytes = parser->bytes;
    size_t len = parser->len;
    if (!begins_with(bytes, len, v1_signature, sizeof v1_signature))
        return FW_EPROTOCOL;
    for (size_t i = 0; i < len; i++) {
        bool after_cr = i > 0 && bytes[i - 1] == '\r';
        if (after_cr != (bytes[i] == '\n') || (bytes[i] == '\n' && i + 1 < V1_SHORTEST))
            return FW_EPROTOCOL; /* a CR or LF by itself, or an end too early */
    }
    return len > V1_LONGEST || (len == V1_LONGEST && bytes[len - 1] != '\n') ? FW_EPROTOCOL : FW_OK;
}

static int check_v2(const fwi_proxy_parser *parser)
{
    const uint8_t *bytes = parser->bytes;
    if (!begins_with(bytes, parser->len, v2_signature, V2_SIGNATURE_BYTES))
        return FW_EPROTOCOL;
    if (parser->len > V2_SIGNATURE_BYTES && bytes[12] != V2_LOCAL && bytes[12] != V2_PROXY)
        return FW_EPROTOCOL;
    if (parser->len < V2_FIXED_BYTES)
        return FW_OK;
    unsigned family = bytes[13] >> 4, protocol = bytes[13] & 0xf;
    size_t rest = get_u16be(bytes + 14);
    if (rest > FWI_PROXY_MAX_BYTES - V2_FIXED_BYTES)
        return FW_EPROTOCOL;
    if (bytes[12] == V2_LOCAL)
        return FW_OK;
    return family > V2_UNIX || protocol > V2_DATAGRAM ||
                   (protocol && rest < v2_address_bytes[family])
               ? FW_EPROTOCOL
               : FW_OK;
}

int fwi_proxy_parser_input(fwi_proxy_parser *parser, const uint8_t *data, size_t len,
                           size_t *ret_taken)
{
    *ret_taken = 0;
    for (size_t wanted; len && (wanted = fwi_proxy_parser_wanted(parser));) {
        size_t n = wanted < len ? wanted : len;
        memcpy(parser->bytes + parser->len, data, n);
        parser->len += n;
        data += n;
        len -= n;
        *ret_taken += n;
        int err = is_v1(parser) ? check_v1(parser) : check_v2(parser);
        if (err)
            return err;
    }
    return FW_OK;
}

/* ---- version 1 ---- */

/* The next word of the line, which ends with a space, or with the line's end for the last one. */
static bool next_word(char **at, bool is_last, char **ret_word)
{
    *ret_word = *at;
    char *space = strchr(*at, ' ');
    if (is_last)
        return !space && **at;
    if (!space || space == *at)
        return false;
    *space = 0;
    *at = space + 1;
    return true;
}

static bool parse_port(const char *word, in_port_t *ret_port)
{
    unsigned port = 0;
    if (word[0] == '0' && word[1])
        return false;
    for (; *word; word++) {
        if (*word < '0' || *word > '9' || (port = port * 10 + (unsigned)(*word - '0')) > 65535)
            return false;
    }
    *ret_port = htons((uint16_t)port);
    return true;
}

static bool set_inet(int family, const char *ip, const char *port,
                     struct sockaddr_storage *ret_address)
{
    ret_address->ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        struct sockaddr_in *in4 = (struct sockaddr_in *)ret_address;
        return inet_pton(AF_INET, ip, &in4->sin_addr) == 1 && parse_port(port, &in4->sin_port);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret_address;
    return inet_pton(AF_INET6, ip, &in6->sin6_addr) == 1 && parse_port(port, &in6->sin6_port);
}

static int parse_v1(const fwi_proxy_parser *parser, fwi_proxy_addresses *ret_addresses)
{
    char line[V1_LONGEST], *at = line, *protocol, *words[4];
    size_t len = parser->len - sizeof v1_signature - 2;
    if (memchr(parser->bytes, 0, parser->len))
        return FW_EPROTOCOL;
    memcpy(line, parser->bytes + sizeof v1_signature, len);
    line[len] = 0;
    if (!strcmp(line, "UNKNOWN") || !strncmp(line, "UNKNOWN ", 8))
        return FW_OK;
    bool is_good = next_word(&at, false, &protocol);
    for (int i = 0; is_good && i < 4; i++)
        is_good = next_word(&at, i == 3, &words[i]);
    if (!is_good || strncmp(protocol, "TCP", 3) != 0 || strchr("46", protocol[3]) == NULL ||
        strlen(protocol) != 4)
        return FW_EPROTOCOL;
    int family = protocol[3] == '4' ? AF_INET : AF_INET6;
    return set_inet(family, words[0], words[2], &ret_addresses->source) &&
                   set_inet(family, words[1], words[3], &ret_addresses->destination)
               ? FW_OK
               : FW_EPROTOCOL;
}

/* ---- version 2 ---- */

/* CRC32c (RFC 4960, appendix B), goes on from crc. Bit by bit: a header comes once a connection. */
static uint32_t crc32c(uint32_t crc, const uint8_t *data, size_t len)
{
    for (; len; len--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return crc;
}

/* The header's sum with the four bytes at `sum` taken as zero. */
static bool sum_is_right(const fwi_proxy_parser *parser, size_t sum)
{
    static const uint8_t zeros[4];
    const uint8_t *bytes = parser->bytes;
    uint32_t crc = crc32c(~0u, bytes, sum);
    crc = crc32c(crc, zeros, sizeof zeros);
    crc = ~crc32c(crc, bytes + sum + 4, parser->len - sum - 4);
    return crc == (uint32_t)(get_u16be(bytes + sum) << 16 | get_u16be(bytes + sum + 2));
}

static int check_extensions(const fwi_proxy_parser *parser, size_t at)
{
    while (at < parser->len) {
        if (parser->len - at < TLV_HEAD_BYTES)
            return FW_EPROTOCOL;
        size_t value = at + TLV_HEAD_BYTES, len = get_u16be(parser->bytes + at + 1);
        if (len > parser->len - value)
            return FW_EPROTOCOL;
        if (parser->bytes[at] == TLV_CRC32C && (len != 4 || !sum_is_right(parser, value)))
            return FW_EPROTOCOL;
        at = value + len;
    }
    return FW_OK;
}

static void get_inet(const uint8_t *ip, const uint8_t *port, struct sockaddr_storage *ret_address)
{
    struct sockaddr_in *in4 = (struct sockaddr_in *)ret_address;
    in4->sin_family = AF_INET;
    memcpy(&in4->sin_addr, ip, 4);
    memcpy(&in4->sin_port, port, 2);
}

static void get_inet6(const uint8_t *ip, const uint8_t *port, struct sockaddr_storage *ret_address)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret_address;
    in6->sin6_family = AF_INET6;
    memcpy(&in6->sin6_addr, ip, 16);
    memcpy(&in6->sin6_port, port, 2);
}

static void get_unix(const uint8_t *path, struct sockaddr_storage *ret_address)
{
    struct sockaddr_un *un = (struct sockaddr_un *)ret_address;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, V2_UNIX_BYTES);
}

static int parse_v2(const fwi_proxy_parser *parser, fwi_proxy_addresses *ret_addresses)
{
    const uint8_t *bytes = parser->bytes, *from = bytes + V2_FIXED_BYTES;
    unsigned family = bytes[13] >> 4, protocol = bytes[13] & 0xf;
    if (bytes[12] == V2_LOCAL || family == V2_UNSPEC || !protocol)
        return FW_OK; /* what follows is without meaning to us */
    int err = check_extensions(parser, V2_FIXED_BYTES + v2_address_bytes[family]);
    if (err)
        return err;
    ret_addresses->is_datagram = protocol == V2_DATAGRAM;
    if (family == V2_INET) {
        get_inet(from, from + 8, &ret_addresses->source);
        get_inet(from + 4, from + 10, &ret_addresses->destination);
    } else if (family == V2_INET6) {
        get_inet6(from, from + 32, &ret_addresses->source);
        get_inet6(from + 16, from + 34, &ret_addresses->destination);
    } else {
        get_unix(from, &ret_addresses->source);
        get_unix(from + V2_UNIX_BYTES, &ret_addresses->destination);
    }
    return FW_OK;
}

int fwi_proxy_parser_addresses(const fwi_proxy_parser *parser, fwi_proxy_addresses *ret_addresses)
{
    *ret_addresses = (fwi_proxy_addresses){.source = {.ss_family = AF_UNSPEC}};
    if (fwi_proxy_parser_wanted(parser))
        return FW_EPROTOCOL;
    return is_v1(parser) ? parse_v1(parser, ret_addresses) : parse_v2(parser, ret_addresses);
}

/* ---- writing ---- */

static size_t write_v1(const fwi_proxy_addresses *addresses, uint8_t *ret_bytes)
{
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    const struct sockaddr_storage *source = &addresses->source, *dest = &addresses->destination;
    const struct sockaddr_in *in4 = (const struct sockaddr_in *)source,
                             *to4 = (const struct sockaddr_in *)dest;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)source,
                              *to6 = (const struct sockaddr_in6 *)dest;
    char *line = (char *)ret_bytes;
    int len;
    if (source->ss_family == AF_INET && !addresses->is_datagram) {
        inet_ntop(AF_INET, &in4->sin_addr, from, sizeof from);
        inet_ntop(AF_INET, &to4->sin_addr, to, sizeof to);
        len = snprintf(line, FWI_PROXY_WRITE_BYTES, "PROXY TCP4 %s %s %d %d\r\n", from, to,
                       ntohs(in4->sin_port), ntohs(to4->sin_port));
    } else if (source->ss_family == AF_INET6 && !addresses->is_datagram) {
        inet_ntop(AF_INET6, &in6->sin6_addr, from, sizeof from);
        inet_ntop(AF_INET6, &to6->sin6_addr, to, sizeof to);
        len = snprintf(line, FWI_PROXY_WRITE_BYTES, "PROXY TCP6 %s %s %d %d\r\n", from, to,
                       ntohs(in6->sin6_port), ntohs(to6->sin6_port));
    } else {
        len = snprintf(line, FWI_PROXY_WRITE_BYTES, "PROXY UNKNOWN\r\n");
    }
    return (size_t)len;
}

/* Writes address (and, for inet, port) where they belong in the block of addresses. */
static void put_address(const struct sockaddr_storage *address, uint8_t *block, bool is_source)
{
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)address;
        memcpy(block + (is_source ? 0 : 4), &in4->sin_addr, 4);
        memcpy(block + (is_source ? 8 : 10), &in4->sin_port, 2);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        memcpy(block + (is_source ? 0 : 16), &in6->sin6_addr, 16);
        memcpy(block + (is_source ? 32 : 34), &in6->sin6_port, 2);
    } else {
        const struct sockaddr_un *un = (const struct sockaddr_un *)address;
        memcpy(block + (is_source ? 0 : V2_UNIX_BYTES), un->sun_path, V2_UNIX_BYTES);
    }
}

static size_t write_v2(const fwi_proxy_addresses *addresses, uint8_t *ret_bytes)
{
    int wanted = addresses->source.ss_family;
    unsigned family = wanted == AF_INET    ? V2_INET
                      : wanted == AF_INET6 ? V2_INET6
                      : wanted == AF_UNIX  ? V2_UNIX
                                           : V2_UNSPEC;
    memset(ret_bytes, 0, FWI_PROXY_WRITE_BYTES);
    memcpy(ret_bytes, v2_signature, V2_SIGNATURE_BYTES);
    ret_bytes[12] = family == V2_UNSPEC ? V2_LOCAL : V2_PROXY;
    ret_bytes[15] = (uint8_t)v2_address_bytes[family];
    if (family != V2_UNSPEC) {
        ret_bytes[13] = (uint8_t)(family << 4 | (addresses->is_datagram ? V2_DATAGRAM : V2_STREAM));
        put_address(&addresses->source, ret_bytes + V2_FIXED_BYTES, true);
        put_address(&addresses->destination, ret_bytes + V2_FIXED_BYTES, false);
    }
    return V2_FIXED_BYTES + v2_address_bytes[family];
}

int fwi_proxy_header_write(int version, const fwi_proxy_addresses *addresses,
                           uint8_t ret_bytes[FWI_PROXY_WRITE_BYTES], size_t *ret_len)
{
    if ((version != 1 && version != 2) ||
        addresses->source.ss_family != addresses->destination.ss_family)
        return FW_EOPTION;
    *ret_len = version == 1 ? write_v1(addresses, ret_bytes) : write_v2(addresses, ret_bytes);
    return FW_OK;
}

void fwi_proxy_source_url(const fwi_proxy_addresses *addresses, char *ret_text, size_t size)
{
    const struct sockaddr_storage *source = &addresses->source;
    const char *scheme = addresses->is_datagram ? "udp" : "tcp";
    char ip[INET6_ADDRSTRLEN];
    if (source->ss_family == AF_INET) {
        const struct sockaddr_in *in4 = (const struct sockaddr_in *)source;
        inet_ntop(AF_INET, &in4->sin_addr, ip, sizeof ip);
        snprintf(ret_text, size, "%s://%s:%d", scheme, ip, ntohs(in4->sin_port));
    } else if (source->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)source;
        inet_ntop(AF_INET6, &in6->sin6_addr, ip, sizeof ip);
        snprintf(ret_text, size, "%s://[%s]:%d", scheme, ip, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_un *un = (const struct sockaddr_un *)source;
        snprintf(ret_text, size, "unix:%.*s", V2_UNIX_BYTES, un->sun_path);
    }
}
