/* Headers of the PROXY protocol: what is read, what is refused, and what is written. */
#include "fwt.h"
#include "transport/proxy_header.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#define SIGNATURE "0d0a0d0a000d0a515549540a"

/* Gives the bytes in pieces of `step`: the error, or FW_OK with *ret_taken. */
static int feed(fwi_proxy_parser *parser, const uint8_t *data, size_t len, size_t step,
                size_t *ret_taken)
{
    fwi_proxy_parser_init(parser);
    *ret_taken = 0;
    for (size_t at = 0; at < len;) {
        size_t n = len - at < step ? len - at : step, taken;
        uint8_t *piece = malloc(n); /* a copy, so that reading beyond it is seen */
        memcpy(piece, data + at, n);
        int err = fwi_proxy_parser_input(parser, piece, n, &taken);
        free(piece);
        *ret_taken += taken;
        if (err)
            return err;
        at += n;
        if (taken < n)
            break;
    }
    return FW_OK;
}

/* The header, with `behind` bytes behind it, tells this source; NULL: none. */
static void expect_source(const uint8_t *header, size_t len, const char *source)
{
    fwi_proxy_parser *parser = malloc(sizeof *parser);
    uint8_t *data = malloc(len + 7);
    memcpy(data, header, len);
    memcpy(data + len, "GET / x", 7);
    for (size_t step = 1; step <= len + 7; step++) {
        size_t taken;
        FWT_OK(feed(parser, data, len + 7, step, &taken));
        ck_assert_uint_eq(taken, len);
        ck_assert_uint_eq(fwi_proxy_parser_wanted(parser), 0);
        fwi_proxy_addresses addresses;
        FWT_OK(fwi_proxy_parser_addresses(parser, &addresses));
        ck_assert_int_eq(addresses.source.ss_family, addresses.destination.ss_family);
        if (!source) {
            ck_assert_int_eq(addresses.source.ss_family, AF_UNSPEC);
            continue;
        }
        char text[200];
        fwi_proxy_source_url(&addresses, text, sizeof text);
        ck_assert_str_eq(text, source);
    }
    free(data);
    free(parser);
}

static void expect_source_hex(const char *hex, const char *source)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    expect_source(bytes, len, source);
    free(bytes);
}

/* Neither in one piece nor byte by byte. */
static void expect_refused(const uint8_t *data, size_t len)
{
    fwi_proxy_parser *parser = malloc(sizeof *parser);
    fwi_proxy_addresses addresses;
    size_t taken;
    for (size_t step = 1; step <= len; step += len > 1 ? len - 1 : 1) {
        int err = feed(parser, data, len, step, &taken);
        FWT_ERR(err ? err : fwi_proxy_parser_addresses(parser, &addresses), FW_EPROTOCOL);
    }
    free(parser);
}

static void expect_refused_hex(const char *hex)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    expect_refused(bytes, len);
    free(bytes);
}

static void expect_text(const char *line, const char *source)
{
    expect_source((const uint8_t *)line, strlen(line), source);
}

START_TEST(lines_of_version_1_are_read)
{
    expect_text("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", "tcp://192.168.0.1:56324");
    expect_text("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
                "tcp://255.255.255.255:65535");
    expect_text("PROXY TCP6 2001:db8::1 ::1 0 443\r\n", "tcp://[2001:db8::1]:0");
    expect_text("PROXY UNKNOWN\r\n", NULL);
    expect_text("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
                NULL);
}
END_TEST

START_TEST(other_lines_are_refused)
{
    static const char *const lines[] = {
        "GET / HTTP/1.1\r\n\r\n",
        "PROXY\r\nPROXY\r\nPROXY",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n    ",
        "PROXY TCP4 1.2.3.4\r5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 99999999999999999999\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY TCP44 1.2.3.4 5.6.7.8 1 2\r\n",
        "PROXY UNKNOWNS\r\n",
        "proxy UNKNOWN\r\n",
        /* 108 bytes */
        ("PROXY UNKNOWN 34567890123456789012345678901234567890123456789012345678901234567890"
         "123456789012345678901234\r\n"),
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        expect_refused((const uint8_t *)lines[i], strlen(lines[i]));
    expect_refused((const uint8_t *)"PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n", 34);
}
END_TEST

START_TEST(headers_of_version_2_are_read)
{
    expect_source_hex(SIGNATURE "2111000c"
                                "0a000001"
                                "0a000002"
                                "a0fe01bb",
                      "tcp://10.0.0.1:41214");
    expect_source_hex(SIGNATURE "2112000c"
                                "0a000001"
                                "0a000002"
                                "a0fe01bb",
                      "udp://10.0.0.1:41214");
    expect_source_hex(SIGNATURE "21210024"
                                "20010db8000000000000000000000001"
                                "00000000000000000000000000000001"
                                "a0fe01bb",
                      "tcp://[2001:db8::1]:41214");
    /* LOCAL, whatever it carries; and nothing told */
    expect_source_hex(SIGNATURE "20000000", NULL);
    expect_source_hex(SIGNATURE "20ff0003aabbcc", NULL);
    expect_source_hex(SIGNATURE "21000000", NULL);
    expect_source_hex(SIGNATURE "21000002aabb", NULL);
    expect_source_hex(SIGNATURE "21100001aa", NULL);
    /* extensions of any kind are passed over */
    expect_source_hex(SIGNATURE "21110017"
                                "0a0000010a000002a0fe01bb"
                                "0100026832040000e00000",
                      "tcp://10.0.0.1:41214");
}
END_TEST

START_TEST(paths_of_unix_sockets_are_read)
{
    uint8_t header[16 + 216] = {0};
    size_t len;
    uint8_t *fixed = fwt_unhex(SIGNATURE "213100d8", &len);
    memcpy(header, fixed, len);
    free(fixed);
    memcpy(header + 16, "/run/a.sock", 11);
    expect_source(header, sizeof header, "unix:/run/a.sock");
    memset(header + 16, 'x', 108); /* a path may fill its field, without a NUL */
    char wanted[200] = "unix:";
    memset(wanted + 5, 'x', 108);
    expect_source(header, sizeof header, wanted);
}
END_TEST

START_TEST(other_headers_of_version_2_are_refused)
{
    expect_refused_hex(SIGNATURE "1111000c0a0000010a000002a0fe01bb"); /* version */
    expect_refused_hex(SIGNATURE "2211000c0a0000010a000002a0fe01bb"); /* command */
    expect_refused_hex(SIGNATURE "2141000c0a0000010a000002a0fe01bb"); /* family */
    expect_refused_hex(SIGNATURE "2113000c0a0000010a000002a0fe01bb"); /* protocol */
    expect_refused_hex(SIGNATURE "2111000b0a0000010a000002a0fe01");   /* too short */
    expect_refused_hex(SIGNATURE "2121000c0a0000010a000002a0fe01bb");
    expect_refused_hex(SIGNATURE "2131000c0a0000010a000002a0fe01bb");
    expect_refused_hex(SIGNATURE "21111001");                             /* longer than we take */
    expect_refused_hex(SIGNATURE "2111000e0a0000010a000002a0fe01bb0400"); /* half an extension */
    expect_refused_hex(SIGNATURE "2111000f0a0000010a000002a0fe01bb040001");   /* longer than all */
    expect_refused_hex(SIGNATURE "211100100a0000010a000002a0fe01bb03000100"); /* sum of one byte */
    expect_refused_hex("0d0a0d0a000d0a515549540b2111000c0a0000010a000002a0fe01bb");
    expect_refused_hex("0d0a47");
    expect_refused_hex("00");
}
END_TEST

START_TEST(a_checksum_is_checked)
{
    /* the sum was computed by another implementation of CRC32c */
    char hex[] = SIGNATURE "21110013"
                           "0a0000010a000002a0fe01bb"
                           "030004"
                           "cf8190bb";
    expect_source_hex(hex, "tcp://10.0.0.1:41214");
    hex[34] = '1'; /* another address */
    expect_refused_hex(hex);
}
END_TEST

START_TEST(bytes_behind_the_header_are_never_asked_for)
{
    static const char *const headers[] = {"PROXY UNKNOWN\r\n", "PROXY TCP6 ::1 ::1 1 2\r\n"};
    for (size_t i = 0; i < 2; i++) {
        fwi_proxy_parser *parser = malloc(sizeof *parser);
        size_t len = strlen(headers[i]), at = 0, wanted;
        fwi_proxy_parser_init(parser);
        while ((wanted = fwi_proxy_parser_wanted(parser))) {
            ck_assert_uint_le(at + wanted, len);
            size_t taken;
            FWT_OK(
                fwi_proxy_parser_input(parser, (const uint8_t *)headers[i] + at, wanted, &taken));
            ck_assert_uint_eq(taken, wanted);
            at += taken;
        }
        ck_assert_uint_eq(at, len);
        free(parser);
    }
}
END_TEST

static void expect_written(int version, const fwi_proxy_addresses *addresses, const char *source)
{
    uint8_t bytes[FWI_PROXY_WRITE_BYTES];
    size_t len;
    FWT_OK(fwi_proxy_header_write(version, addresses, bytes, &len));
    ck_assert_uint_le(len, sizeof bytes);
    expect_source(bytes, len, source);
}

START_TEST(what_is_written_is_read)
{
    fwi_proxy_addresses in4 = {.is_datagram = false}, in6 = in4, un = in4, none = in4;
    struct sockaddr_in *from4 = (struct sockaddr_in *)&in4.source;
    struct sockaddr_in6 *from6 = (struct sockaddr_in6 *)&in6.source;
    struct sockaddr_un *from_un = (struct sockaddr_un *)&un.source;
    from4->sin_family = AF_INET;
    from4->sin_port = htons(41210);
    from4->sin_addr.s_addr = htonl(0x0a010203);
    in4.destination = in4.source;
    from6->sin6_family = AF_INET6;
    from6->sin6_port = htons(9);
    from6->sin6_addr = in6addr_loopback;
    in6.destination = in6.source;
    from_un->sun_family = AF_UNIX;
    strcpy(from_un->sun_path, "/run/x");
    un.destination = un.source;
    for (int version = 1; version <= 2; version++) {
        expect_written(version, &in4, "tcp://10.1.2.3:41210");
        expect_written(version, &in6, "tcp://[::1]:9");
        expect_written(version, &un, version == 1 ? NULL : "unix:/run/x");
        expect_written(version, &none, NULL);
    }
    uint8_t bytes[FWI_PROXY_WRITE_BYTES];
    size_t len;
    FWT_OK(fwi_proxy_header_write(1, &in4, bytes, &len));
    static const char line[] = "PROXY TCP4 10.1.2.3 10.1.2.3 41210 41210\r\n";
    fwt_assert_bytes(bytes, len, line, sizeof line - 1, "version 1");
    FWT_ERR(fwi_proxy_header_write(3, &in4, bytes, &len), FW_EOPTION);
    in4.destination.ss_family = AF_INET6;
    FWT_ERR(fwi_proxy_header_write(2, &in4, bytes, &len), FW_EOPTION);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("PROXY protocol");
    TCase *tcase = fwt_tcase(suite, "header", 60);
    tcase_add_test(tcase, lines_of_version_1_are_read);
    tcase_add_test(tcase, other_lines_are_refused);
    tcase_add_test(tcase, headers_of_version_2_are_read);
    tcase_add_test(tcase, paths_of_unix_sockets_are_read);
    tcase_add_test(tcase, other_headers_of_version_2_are_refused);
    tcase_add_test(tcase, a_checksum_is_checked);
    tcase_add_test(tcase, bytes_behind_the_header_are_never_asked_for);
    tcase_add_test(tcase, what_is_written_is_read);
    return fwt_main(suite);
}
