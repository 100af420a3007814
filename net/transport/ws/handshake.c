#include "transport/ws/handshake.h"

#include <fairway/error.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#include "base/random.h"

#define GUID         "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define KEY_BYTES    16
#define ACCEPT_CHARS 28
#define BASE64       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

static bool make_accept(const char *key, char ret_accept[ACCEPT_CHARS + 1])
{
    char text[FWI_WS_KEY_CHARS + sizeof GUID];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned digest_len;
    int len = snprintf(text, sizeof text, "%s%s", key, GUID);
    if (!EVP_Digest(text, (size_t)len, digest, &digest_len, EVP_sha1(), NULL))
        return false;
    EVP_EncodeBlock((unsigned char *)ret_accept, digest, (int)digest_len);
    return true;
}

static bool list_has(const char *list, const char *item, size_t len, bool any_case)
{
    const char *token;
    size_t token_len;
    while (fwi_http_token(&list, &token, &token_len))
        if (token_len == len &&
            !(any_case ? strncasecmp(token, item, len) : strncmp(token, item, len)))
            return true;
    return false;
}

/* ---- server ---- */
static const struct answer {
    int status;
    const char *phrase, *fields;
} answers[] = {
    {400, "Bad Request", "Connection: close\r\n"},
    {403, "Forbidden", "Connection: close\r\n"},
    {404, "Not Found", "Connection: close\r\n"},
    {405, "Method Not Allowed", "Connection: close\r\nAllow: GET\r\n"},
    {426, "Upgrade Required",
     "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"},
    {431, "Request Header Fields Too Large", "Connection: close\r\n"},
    {505, "HTTP Version Not Supported", "Connection: close\r\n"},
};

static int refuse(int status, char **ret_answer)
{
    const struct answer *answer = answers;
    while (answer->status != status)
        answer++;
    return asprintf(ret_answer, "HTTP/1.1 %d %s\r\n%sContent-Length: 0\r\n\r\n", status,
                    answer->phrase, answer->fields) < 0
               ? UV_ENOMEM
               : status;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'                     ? c - '0'
           : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                    : -1;
}

/* Compares the path of a request's target, which may be in percent-encoding, with ours. */
static bool is_path(const char *target, const char *path)
{
    const char *end = target + strcspn(target, "?");
    struct http_parser_url parts;
    http_parser_url_init(&parts);
    if (*target != '/') { /* the absolute form that a proxy uses */
        if (http_parser_parse_url(target, strlen(target), 0, &parts))
            return false;
        if (!(parts.field_set & (1 << UF_PATH)))
            return !strcmp(path, "/");
        target += parts.field_data[UF_PATH].off;
        end = target + parts.field_data[UF_PATH].len;
    }
    for (; target < end && *path; target++, path++) {
        int c = (unsigned char)*target;
        if (c == '%' && end - target > 2 && hex_digit(target[1]) >= 0 &&
            hex_digit(target[2]) >= 0) {
            c = hex_digit(target[1]) << 4 | hex_digit(target[2]);
            target += 2;
        }
        if (c != (unsigned char)*path)
            return false;
    }
    return target == end && !*path;
}

static bool is_key(const char *key)
{
    return key && strlen(key) == FWI_WS_KEY_CHARS && strspn(key, BASE64) == FWI_WS_KEY_CHARS - 2 &&
           !strcmp(key + FWI_WS_KEY_CHARS - 2, "==");
}

static bool has_body(const fwi_http_head *head)
{
    const char *length = fwi_http_head_next(head, "Content-Length", NULL);
    return fwi_http_head_next(head, "Transfer-Encoding", NULL) || (length && strcmp(length, "0"));
}

/* Browsers always say where their page comes from; who says nothing is no browser. */
static bool is_foreign(const fwi_ws_config *config, const fwi_http_head *head)
{
    const char *origin = fwi_http_head_next(head, "Origin", NULL);
    return *config->origins && origin &&
           (!fwi_http_head_only(head, "Origin") ||
            !list_has(config->origins, origin, strlen(origin), true));
}

static int judge(const fwi_ws_config *config, const fwi_http_head *head)
{
    const char *version = fwi_http_head_only(head, "Sec-WebSocket-Version");
    if (head->parser.method != HTTP_GET)
        return 405;
    if (head->parser.http_major != 1 || head->parser.http_minor < 1)
        return 505;
    if (!fwi_http_head_only(head, "Host") || has_body(head))
        return 400;
    if (*config->target && !is_path(fwi_http_head_first(head), config->target))
        return 404;
    if (!fwi_http_head_has_token(head, "Upgrade", "websocket"))
        return 426;
    if (!fwi_http_head_has_token(head, "Connection", "upgrade"))
        return 400;
    if (!version || strcmp(version, "13"))
        return 426;
    if (!is_key(fwi_http_head_only(head, "Sec-WebSocket-Key")))
        return 400;
    return is_foreign(config, head) ? 403 : 101;
}

/* The first one that the client likes and we have, or none. */
static void choose_protocol(const fwi_ws_config *config, const fwi_http_head *head,
                            fw_slice *ret_protocol)
{
    static const char name[] = "Sec-WebSocket-Protocol";
    for (const char *list = fwi_http_head_next(head, name, NULL); list;
         list = fwi_http_head_next(head, name, list)) {
        const char *rest = list, *token;
        size_t len;
        while (fwi_http_token(&rest, &token, &len))
            if (list_has(config->protocols, token, len, false)) {
                *ret_protocol = (fw_slice){token, len};
                return;
            }
    }
}

static void choose_deflate(const fwi_ws_config *config, const fwi_http_head *head,
                           fwi_ws_agreement *agreement, char *ret_field, size_t size)
{
    static const char name[] = "Sec-WebSocket-Extensions";
    bool said = false;
    *ret_field = 0;
    if (!config->deflate)
        return;
    for (const char *offers = fwi_http_head_next(head, name, NULL); offers && !agreement->deflate;
         offers = fwi_http_head_next(head, name, offers))
        agreement->deflate = fwi_ws_deflate_accept(offers, &agreement->deflate_bits, &said);
    if (!agreement->deflate)
        return;
    int len = snprintf(ret_field, size, "%s: %s", name, FWI_WS_DEFLATE_OFFER);
    if (said)
        len += snprintf(ret_field + len, size - (size_t)len, "; server_max_window_bits=%d",
                        agreement->deflate_bits);
    snprintf(ret_field + len, size - (size_t)len, "\r\n");
}

int fwi_ws_handshake_answer(const fwi_ws_config *config, const fwi_http_head *head, int error,
                            fwi_ws_agreement *ret_agreement, char **ret_answer)
{
    if (error)
        return refuse(error == FW_EFRAMESIZE ? 431 : 400, ret_answer);
    int status = judge(config, head);
    if (status != 101)
        return refuse(status, ret_answer);
    char accept[ACCEPT_CHARS + 1], deflate[200];
    fw_slice protocol = {"", 0};
    *ret_agreement = (fwi_ws_agreement){.deflate = false};
    if (!make_accept(fwi_http_head_only(head, "Sec-WebSocket-Key"), accept))
        return UV_ENOMEM;
    choose_protocol(config, head, &protocol);
    choose_deflate(config, head, ret_agreement, deflate, sizeof deflate);
    int len = asprintf(ret_answer,
                       "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s%.*s%s%s\r\n",
                       accept, protocol.len ? "Sec-WebSocket-Protocol: " : "", (int)protocol.len,
                       (const char *)protocol.data, protocol.len ? "\r\n" : "", deflate);
    return len < 0 ? UV_ENOMEM : 101;
}

/* ---- client ---- */
int fwi_ws_handshake_request(const fwi_ws_config *config, char ret_key[FWI_WS_KEY_CHARS + 1],
                             char **ret_request)
{
    unsigned char secret[KEY_BYTES];
    int err = fwi_random_secret(secret, sizeof secret);
    if (err)
        return err;
    EVP_EncodeBlock((unsigned char *)ret_key, secret, sizeof secret);
    int len = asprintf(
        ret_request,
        "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
        "Sec-WebSocket-Version: 13\r\n%s%s%s%s%s%s%s\r\n",
        config->target, config->host, ret_key, *config->origins ? "Origin: " : "", config->origins,
        *config->origins ? "\r\n" : "", *config->protocols ? "Sec-WebSocket-Protocol: " : "",
        config->protocols, *config->protocols ? "\r\n" : "",
        config->deflate ? "Sec-WebSocket-Extensions: " FWI_WS_DEFLATE_OFFER "\r\n" : "");
    return len < 0 ? UV_ENOMEM : FW_OK;
}

/* The server's own words, made harmless. */
static void describe_refusal(const fwi_http_head *head, char ret_detail[FWI_WS_DETAIL_CHARS])
{
    snprintf(ret_detail, FWI_WS_DETAIL_CHARS, "HTTP status %u %s", head->parser.status_code,
             fwi_http_head_first(head));
    for (char *p = ret_detail; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
}

static const char *check_fields(const fwi_ws_config *config, const fwi_http_head *head,
                                const char *key, fwi_ws_agreement *agreement)
{
    char wanted[ACCEPT_CHARS + 1];
    const char *accept = fwi_http_head_only(head, "Sec-WebSocket-Accept");
    if (!fwi_http_head_has_token(head, "Upgrade", "websocket") ||
        !fwi_http_head_has_token(head, "Connection", "upgrade"))
        return "the server did not upgrade to websocket";
    if (!accept || !make_accept(key, wanted) || strcmp(accept, wanted))
        return "the server's Sec-WebSocket-Accept is wrong";
    const char *protocol = fwi_http_head_next(head, "Sec-WebSocket-Protocol", NULL);
    if (*config->protocols ? !protocol || !fwi_http_head_only(head, "Sec-WebSocket-Protocol") ||
                                 !list_has(config->protocols, protocol, strlen(protocol), false)
                           : protocol != NULL)
        return "the server chose no sub-protocol that was offered";
    const char *extension = fwi_http_head_next(head, "Sec-WebSocket-Extensions", NULL);
    if (extension && (!config->deflate || !fwi_http_head_only(head, "Sec-WebSocket-Extensions") ||
                      !fwi_ws_deflate_check(extension)))
        return "the server chose an extension that was not offered";
    agreement->deflate = extension != NULL;
    agreement->deflate_bits = FWI_WS_DEFLATE_MAX_BITS;
    return NULL;
}

int fwi_ws_handshake_check(const fwi_ws_config *config, const fwi_http_head *head, const char *key,
                           fwi_ws_agreement *ret_agreement, char ret_detail[FWI_WS_DETAIL_CHARS])
{
    if (head->parser.status_code != 101) {
        describe_refusal(head, ret_detail);
        return UV_ECONNREFUSED;
    }
    *ret_agreement = (fwi_ws_agreement){.deflate = false};
    const char *wrong = check_fields(config, head, key, ret_agreement);
    if (wrong)
        snprintf(ret_detail, FWI_WS_DETAIL_CHARS, "%s", wrong);
    return wrong ? FW_EPROTOCOL : FW_OK;
}
