/* The opening handshake: every refusal, both roles; whatever comes in chops is judged the same. */
#include "wst.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define KEY    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define LINE   "GET /chat HTTP/1.1\r\n"
#define HOST   "Host: h\r\n"
#define UP     "Upgrade: websocket\r\nConnection: Upgrade\r\n"
#define V13    "Sec-WebSocket-Version: 13\r\n"

typedef struct request_case {
    const char *what, *request;
    int status;
    const char *has; /* stands in the answer; or NULL */
} request_case;

static const request_case requests[] = {
    {"good", LINE HOST UP KEY V13 "\r\n", 101, "Sec-WebSocket-Accept: " ACCEPT "\r\n"},
    {"names in small letters, a list of connection options",
     LINE "host: h\r\nupgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\n"
          "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n",
     101, NULL},
    {"blanks around values",
     LINE HOST "Upgrade:   websocket \r\nConnection:\tUpgrade\r\n" KEY V13 "\r\n", 101, NULL},
    {"a query behind the path", "GET /chat?x=1 HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", 101, NULL},
    {"a path in percent-encoding", "GET /%63hat HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", 101, NULL},
    {"an absolute target", "GET http://h/chat?y HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", 101, NULL},
    {"another path", "GET /other HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", 404, NULL},
    {"a longer path", "GET /chat/ HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", 404, NULL},
    {"a shorter path", "GET /cha HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", 404, NULL},
    {"a path that ends in a percent sign", "GET /chat% HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", 404,
     NULL},
    {"POST", "POST /chat HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", 405, "Allow: GET\r\n"},
    {"HEAD", "HEAD /chat HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", 405, NULL},
    {"no method of HTTP", "FETCH /chat HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", 400, NULL},
    {"HTTP/1.0", "GET /chat HTTP/1.0\r\n" HOST UP KEY V13 "\r\n", 505, NULL},
    {"HTTP/2.0", "GET /chat HTTP/2.0\r\n" HOST UP KEY V13 "\r\n", 505, NULL},
    {"HTTP/0.9", "GET /chat\r\n" HOST UP KEY V13 "\r\n", 505, NULL},
    {"a plain GET", LINE HOST "\r\n", 426, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"},
    {"another upgrade", LINE HOST "Upgrade: h2c\r\nConnection: Upgrade\r\n" KEY V13 "\r\n", 426,
     NULL},
    {"no host", LINE UP KEY V13 "\r\n", 400, NULL},
    {"two hosts", LINE HOST HOST UP KEY V13 "\r\n", 400, NULL},
    {"no connection option", LINE HOST "Upgrade: websocket\r\n" KEY V13 "\r\n", 400, NULL},
    {"version 8", LINE HOST UP KEY "Sec-WebSocket-Version: 8\r\n\r\n", 426,
     "Sec-WebSocket-Version: 13\r\n"},
    {"no version", LINE HOST UP KEY "\r\n", 426, NULL},
    {"two versions", LINE HOST UP KEY V13 V13 "\r\n", 426, NULL},
    {"no key", LINE HOST UP V13 "\r\n", 400, NULL},
    {"two keys", LINE HOST UP KEY KEY V13 "\r\n", 400, NULL},
    {"a short key", LINE HOST UP "Sec-WebSocket-Key: c2hvcnQ=\r\n" V13 "\r\n", 400, NULL},
    {"a key that is no base64",
     LINE HOST UP "Sec-WebSocket-Key: dGhlIHNhbXBs!SBub25jZQ==\r\n" V13 "\r\n", 400, NULL},
    {"a body", LINE HOST UP KEY V13 "Content-Length: 5\r\n\r\nhello", 400, NULL},
    {"an empty body", LINE HOST UP KEY V13 "Content-Length: 0\r\n\r\n", 101, NULL},
    {"a body in chunks", LINE HOST UP KEY V13 "Transfer-Encoding: chunked\r\n\r\n", 400, NULL},
    {"two lengths", LINE HOST UP KEY V13 "Content-Length: 0\r\nContent-Length: 1\r\n\r\n", 400,
     NULL},
    {"a blank in a name", LINE HOST "Up grade: websocket\r\n" KEY V13 "\r\n", 426, NULL},
    {"rubbish", "\x16\x03\x01 hello\r\n\r\n", 400, NULL},
    {"our sub-protocol", LINE HOST UP KEY V13 "Sec-WebSocket-Protocol: x, b, a\r\n\r\n", 101,
     "Sec-WebSocket-Protocol: b\r\n"},
    {"sub-protocols in two fields",
     LINE HOST UP KEY V13 "Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: a\r\n\r\n", 101,
     "Sec-WebSocket-Protocol: a\r\n"},
    {"an allowed origin", LINE HOST UP KEY V13 "Origin: https://A.example\r\n\r\n", 101, NULL},
    {"a foreign origin", LINE HOST UP KEY V13 "Origin: https://evil.example\r\n\r\n", 403, NULL},
    {"an origin that contains ours", LINE HOST UP KEY V13 "Origin: https://a.example.evil\r\n\r\n",
     403, NULL},
    {"the null origin", LINE HOST UP KEY V13 "Origin: null\r\n\r\n", 403, NULL},
    {"two origins",
     LINE HOST UP KEY V13 "Origin: https://a.example\r\nOrigin: https://evil.example\r\n\r\n", 403,
     NULL},
};

#define SERVER_URL "ws://h/chat?protocol=a,b&origin=https%3A%2F%2Fa.example,https%3A%2F%2Fb.example"

static void ask(const char *what, const char *url, const char *request, size_t chop, int status,
                const char *has)
{
    wst_end end;
    wst_bytes bytes = {.data = NULL};
    wst_init(&end, url, true, true, 0);
    wst_append(&bytes, request, strlen(request));
    wst_feed_chopped(&end, &bytes, chop);
    wst_append(&end.out, "", 1);
    const char *answer = (const char *)end.out.data;
    char wanted[40];
    snprintf(wanted, sizeof wanted, "HTTP/1.1 %d ", status);
    ck_assert_msg(!strncmp(answer, wanted, strlen(wanted)), "%s: %s", what, answer);
    ck_assert_msg(!has || strstr(answer, has), "%s: %s", what, answer);
    ck_assert_msg(end.opened == (status == 101), "%s", what);
    if (status != 101) {
        ck_assert_msg(end.error == FW_EPROTOCOL && end.ws.detail, "%s", what);
        size_t len = end.out.len;
        wst_feed(&end, "more", 4); /* of whoever does not listen to the refusal */
        ck_assert(end.error == FW_EPROTOCOL && end.out.len == len && !end.ws.input_len);
    }
    wst_free(&bytes);
    wst_fini(&end);
}

START_TEST(requests_are_judged)
{
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        const request_case *c = &requests[i];
        ask(c->what, SERVER_URL, c->request, SIZE_MAX, c->status, c->has);
        ask(c->what, SERVER_URL, c->request, 1, c->status, c->has);
        for (unsigned seed = 0; seed < 5; seed++) {
            srand(seed);
            ask(c->what, SERVER_URL, c->request, 0, c->status, c->has);
        }
    }
}
END_TEST

START_TEST(without_a_path_every_one_is_served)
{
    ask("any", "ws://h", "GET /whatever?x HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", SIZE_MAX, 101,
        NULL);
    ask("root", "ws://h/", "GET / HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", SIZE_MAX, 101, NULL);
    ask("root only", "ws://h/", "GET /x HTTP/1.1\r\n" HOST UP KEY V13 "\r\n", SIZE_MAX, 404, NULL);
    ask("absolute, no path", "ws://h/", "GET http://h HTTP/1.1\r\n" HOST UP KEY V13 "\r\n",
        SIZE_MAX, 101, NULL);
}
END_TEST

/* A field that fills the head to len bytes in all. */
static char *head_of(size_t len, unsigned fields)
{
    char *text = malloc(len + 1000), *p = text;
    p += snprintf(p, 1000, "%s", LINE HOST UP KEY V13);
    for (unsigned i = 0; i < fields; i++)
        p += snprintf(p, 10, "F: 1\r\n");
    size_t used = (size_t)(p - text) + strlen("X: \r\n\r\n");
    p += snprintf(p, 10, "X: ");
    for (; used < len; used++)
        *p++ = 'x';
    strcpy(p, "\r\n\r\n");
    return text;
}

START_TEST(heads_are_bounded)
{
    static const struct {
        size_t len;
        unsigned fields;
        int status;
    } heads[] = {{8192, 0, 101}, {8193, 0, 431}, {100000, 0, 431}, {0, 58, 101}, {0, 59, 431}};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        char *head = head_of(heads[i].len, heads[i].fields);
        ask("bounds", "ws://h", head, SIZE_MAX, heads[i].status, NULL);
        ask("bounds", "ws://h", head, 1, heads[i].status, NULL);
        free(head);
    }
}
END_TEST

START_TEST(extensions_are_negotiated)
{
#define OFFER  "Sec-WebSocket-Extensions: "
#define ANSWER OFFER "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    static const struct {
        const char *offer, *answer; /* NULL: declined */
    } offers[] = {
        {"permessage-deflate", ANSWER "\r\n"},
        {"permessage-deflate; client_max_window_bits", ANSWER "\r\n"},
        {"permessage-deflate; client_max_window_bits=\"10\"", ANSWER "\r\n"},
        {"permessage-deflate; server_max_window_bits=9", ANSWER "; server_max_window_bits=9\r\n"},
        {"x-other, permessage-deflate ;server_max_window_bits = 15",
         ANSWER "; server_max_window_bits=15\r\n"},
        {"permessage-deflate; server_max_window_bits=8, permessage-deflate", ANSWER "\r\n"},
        {"permessage-deflate; server_max_window_bits=8", NULL},
        {"permessage-deflate; server_max_window_bits", NULL},
        {"permessage-deflate; server_max_window_bits=16", NULL},
        {"permessage-deflate; server_max_window_bits=09", NULL},
        {"permessage-deflate; server_no_context_takeover=1", NULL},
        {"permessage-deflate; server_no_context_takeover; server_no_context_takeover", NULL},
        {"permessage-deflate; no_such_parameter", NULL},
        {"permessage-bzip2", NULL},
        {";;;,,=,", NULL},
    };
    for (size_t i = 0; i < sizeof offers / sizeof *offers; i++) {
        char request[600];
        snprintf(request, sizeof request, LINE HOST UP KEY V13 OFFER "%s\r\n\r\n", offers[i].offer);
        ask(offers[i].offer, "ws://h?deflate=1", request, SIZE_MAX, 101, offers[i].answer);
        ask(offers[i].offer, "ws://h", request, SIZE_MAX, 101, "xOo=\r\n\r\n");
        if (!offers[i].answer)
            ask(offers[i].offer, "ws://h?deflate=1", request, SIZE_MAX, 101, "xOo=\r\n\r\n");
    }
}
END_TEST

/* ---- the client ---- */
#define STATUS "HTTP/1.1 101 Switching Protocols\r\n"

/* %s is what the key asks for. */
typedef struct response_case {
    const char *what, *params, *response;
    int error;
    const char *detail;
} response_case;

#define GOOD STATUS UP "Sec-WebSocket-Accept: %s\r\n"
static const response_case responses[] = {
    {"good", "", GOOD "\r\n", 0, NULL},
    {"small letters", "",
     STATUS "upgrade: WebSocket\r\nconnection: foo, upgrade\r\nsec-websocket-accept: %s\r\n\r\n", 0,
     NULL},
    {"no reason phrase", "", "HTTP/1.1 101\r\n" UP "Sec-WebSocket-Accept: %s\r\n\r\n", 0, NULL},
    {"our protocol", "?protocol=a,b", GOOD "Sec-WebSocket-Protocol: b\r\n\r\n", 0, NULL},
    {"no protocol", "?protocol=a,b", GOOD "\r\n", FW_EPROTOCOL, "sub-protocol"},
    {"another protocol", "?protocol=a,b", GOOD "Sec-WebSocket-Protocol: c\r\n\r\n", FW_EPROTOCOL,
     "sub-protocol"},
    {"both protocols", "?protocol=a,b", GOOD "Sec-WebSocket-Protocol: a,b\r\n\r\n", FW_EPROTOCOL,
     "sub-protocol"},
    {"a protocol nobody asked for", "", GOOD "Sec-WebSocket-Protocol: a\r\n\r\n", FW_EPROTOCOL,
     "sub-protocol"},
    {"an extension nobody asked for", "",
     GOOD "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", FW_EPROTOCOL, "extension"},
    {"deflate", "?deflate=1",
     GOOD "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n", 0,
     NULL},
    {"deflate is declined", "?deflate=1", GOOD "\r\n", 0, NULL},
    {"deflate with context takeover", "?deflate=1",
     GOOD "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", FW_EPROTOCOL, "extension"},
    {"deflate with our window", "?deflate=1",
     GOOD "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
          "client_max_window_bits=9\r\n\r\n",
     FW_EPROTOCOL, "extension"},
    {"deflate twice", "?deflate=1",
     GOOD "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover, "
          "permessage-deflate; server_no_context_takeover\r\n\r\n",
     FW_EPROTOCOL, "extension"},
    {"no upgrade", "", STATUS "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
     FW_EPROTOCOL, "did not upgrade"},
    {"no connection option", "", STATUS "Upgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n",
     FW_EPROTOCOL, "did not upgrade"},
    {"no accept", "", STATUS UP "\r\n", FW_EPROTOCOL, "Sec-WebSocket-Accept"},
    {"a wrong accept", "", STATUS UP "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n", FW_EPROTOCOL,
     "Sec-WebSocket-Accept"},
    {"refused", "",
     "HTTP/1.1 403 Forbid\x01"
     "den\r\n\r\n",
     UV_ECONNREFUSED, "HTTP status 403 Forbid?den"},
    {"forbidden", "", "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nnever", UV_ECONNREFUSED,
     "HTTP status 403 Forbidden"},
    {"moved", "", "HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", UV_ECONNREFUSED, "HTTP status 302"},
    {"plain success", "", "HTTP/1.1 200 OK\r\n\r\n", UV_ECONNREFUSED, "HTTP status 200 OK"},
    {"no HTTP", "", "SSH-2.0-OpenSSH_9.2\r\n", FW_EPROTOCOL, "not HTTP"},
};

static void respond(const response_case *c, size_t chop)
{
    char url[100], response[1000], accept[29] = "";
    snprintf(url, sizeof url, "ws://h/%s", c->params);
    wst_end client, server;
    wst_bytes bytes = {.data = NULL};
    wst_init(&client, url, false, true, 0);
    /* A server of ours tells what the key asks for. */
    wst_init(&server, "ws://h", true, true, 0);
    wst_feed(&server, client.out.data, client.out.len);
    wst_append(&server.out, "", 1);
    const char *field = strstr((const char *)server.out.data, "Accept: ");
    ck_assert_ptr_nonnull(field);
    memcpy(accept, field + 8, 28);
    snprintf(response, sizeof response, c->response, accept);
    wst_append(&bytes, response, strlen(response));
    wst_feed_chopped(&client, &bytes, chop);
    ck_assert_msg(client.error == c->error, "%s: %s", c->what, fw_strerror(client.error));
    ck_assert_msg(client.opened == !c->error, "%s", c->what);
    ck_assert_msg(!c->detail || strstr(client.ws.detail, c->detail), "%s: %s", c->what,
                  client.ws.detail);
    wst_free(&bytes);
    wst_fini(&client);
    wst_fini(&server);
}

START_TEST(responses_are_judged)
{
    for (size_t i = 0; i < sizeof responses / sizeof *responses; i++) {
        respond(&responses[i], SIZE_MAX);
        respond(&responses[i], 1);
    }
}
END_TEST

START_TEST(the_request_says_what_the_url_says)
{
    wst_end end;
    wst_init(&end,
             "ws://[::1]:8080/a%20b/"
             "%C3%A4?query=x%3D1%26y&origin=https%3A%2F%2Fo&protocol=p,q&deflate=1",
             false, true, 0);
    wst_append(&end.out, "", 1);
    const char *text = (const char *)end.out.data;
    static const char *const parts[] = {
        "GET /a%20b/%C3%A4?x=1&y HTTP/1.1\r\n", "\r\nHost: [::1]:8080\r\n",
        "\r\nOrigin: https://o\r\n", "\r\nSec-WebSocket-Protocol: p,q\r\n",
        ("\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; "
         "client_no_context_takeover\r\n")};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        ck_assert_msg(strstr(text, parts[i]) != NULL, "%s is not in %s", parts[i], text);
    wst_fini(&end);
}
END_TEST

START_TEST(urls_are_checked)
{
    static const struct {
        const char *url;
        bool server, messages;
        int error;
    } urls[] = {
        {"ws://h/?deflate=2", true, true, FW_EOPTION},
        {"ws://h/?text=yes", true, true, FW_EOPTION},
        {"ws://h/?text=1", true, false, FW_EOPTION}, /* a stream has no characters */
        {"ws://h/?ping=-1", true, true, FW_EOPTION},
        {"ws://h/?ping=1s", true, true, FW_EOPTION},
        {"ws://h/?ping=86401", true, true, FW_EOPTION},
        {"ws://h/?protocol=a,,b", true, true, FW_EOPTION},
        {"ws://h/?protocol=a%20b", false, true, FW_EOPTION},
        {"ws://h/?origin=a%0D%0AX:y", false, true, FW_EOPTION},
        {"ws://h/?query=a%20b", false, true, FW_EOPTION},
        {"ws://h/?query=a", true, true, FW_EOPTION},
        {"ws://h,i/", false, true, FW_EURL},
        {"ws://h%0D%0AX/", false, true, FW_EURL},
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        fw_url url;
        fwi_ws_config *config;
        fwi_ws_mode mode = {.server = urls[i].server, .messages = urls[i].messages};
        FWT_OK(fw_url_init(&url, urls[i].url));
        int err = fwi_ws_config_new(&url, &mode, &config);
        ck_assert_msg(err == urls[i].error, "%s: %s", urls[i].url, fw_error_name(err));
        fw_url_fini(&url);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ws handshake");
    TCase *tcase = tcase_create("handshake");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, requests_are_judged);
    tcase_add_test(tcase, without_a_path_every_one_is_served);
    tcase_add_test(tcase, heads_are_bounded);
    tcase_add_test(tcase, extensions_are_negotiated);
    tcase_add_test(tcase, responses_are_judged);
    tcase_add_test(tcase, the_request_says_what_the_url_says);
    tcase_add_test(tcase, urls_are_checked);
    suite_add_tcase(suite, tcase);
    return fwt_main(suite);
}
