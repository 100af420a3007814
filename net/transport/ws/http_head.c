#include "transport/ws/http_head.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#define FIRST_CAPACITY 512

enum { IN_FIRST, IN_NAME, IN_VALUE };

static int append(fwi_http_head *head, const char *data, size_t len)
{
    if (head->len + len > head->capacity) {
        size_t capacity = head->capacity ? head->capacity : FIRST_CAPACITY;
        while (capacity < head->len + len)
            capacity *= 2;
        char *bigger = realloc(head->text, capacity);
        if (!bigger)
            return head->error = UV_ENOMEM;
        head->text = bigger;
        head->capacity = capacity;
    }
    if (len)
        memcpy(head->text + head->len, data, len);
    head->len += len;
    return FW_OK;
}

/* Bytes of a part; a new part ends the one before it. */
static int take(http_parser *parser, uint8_t part, const char *data, size_t len)
{
    fwi_http_head *head = parser->data;
    if (part != head->part) {
        if (append(head, "", 1))
            return 1;
        head->part = part;
        if (part == IN_NAME && ++head->fields > FWI_HTTP_MAX_FIELDS) {
            head->error = FW_EFRAMESIZE;
            return 1;
        }
    }
    return append(head, data, len) ? 1 : 0;
}

static int on_first(http_parser *parser, const char *data, size_t len)
{
    return take(parser, IN_FIRST, data, len);
}

static int on_name(http_parser *parser, const char *data, size_t len)
{
    return take(parser, IN_NAME, data, len);
}

static int on_value(http_parser *parser, const char *data, size_t len)
{
    return take(parser, IN_VALUE, data, len);
}

static int on_complete(http_parser *parser)
{
    fwi_http_head *head = parser->data;
    if (append(head, "", 1))
        return -1;
    head->whole = true;
    return 2; /* whatever follows is not HTTP, or nothing that we read */
}

void fwi_http_head_init(fwi_http_head *head, bool request)
{
    *head = (fwi_http_head){.part = IN_FIRST};
    http_parser_init(&head->parser, request ? HTTP_REQUEST : HTTP_RESPONSE);
    head->parser.data = head;
}

void fwi_http_head_fini(fwi_http_head *head)
{
    free(head->text);
    head->text = NULL;
}

int fwi_http_head_feed(fwi_http_head *head, const uint8_t **data, size_t *len)
{
    static const http_parser_settings settings = {.on_url = on_first,
                                                  .on_status = on_first,
                                                  .on_header_field = on_name,
                                                  .on_header_value = on_value,
                                                  .on_headers_complete = on_complete};
    size_t n = FWI_HTTP_MAX_HEAD_BYTES - head->seen_bytes;
    if (n > *len)
        n = *len;
    size_t used = n ? http_parser_execute(&head->parser, &settings, (const char *)*data, n) : 0;
    head->seen_bytes += used;
    *data += used;
    *len -= used;
    if (head->error)
        return head->error;
    if (head->whole)
        return 1;
    if (HTTP_PARSER_ERRNO(&head->parser) != HPE_OK)
        return FW_EPROTOCOL;
    return head->seen_bytes == FWI_HTTP_MAX_HEAD_BYTES ? FW_EFRAMESIZE : 0;
}

const char *fwi_http_head_first(const fwi_http_head *head)
{
    return head->text;
}

const char *fwi_http_head_next(const fwi_http_head *head, const char *name, const char *previous)
{
    const char *end = head->text + head->len;
    const char *p = (previous ? previous : head->text) + 1;
    p += strlen(p - 1); /* behind the NUL */
    while (p < end) {
        const char *value = p + strlen(p) + 1;
        if (value >= end)
            return NULL;
        if (!strcasecmp(p, name))
            return value;
        p = value + strlen(value) + 1;
    }
    return NULL;
}

const char *fwi_http_head_only(const fwi_http_head *head, const char *name)
{
    const char *value = fwi_http_head_next(head, name, NULL);
    return value && !fwi_http_head_next(head, name, value) ? value : NULL;
}

bool fwi_http_token(const char **list, const char **ret_token, size_t *ret_len)
{
    const char *p = *list + strspn(*list, " \t,");
    size_t len = strcspn(p, ",");
    *list = p + len;
    while (len && (p[len - 1] == ' ' || p[len - 1] == '\t'))
        len--;
    *ret_token = p;
    *ret_len = len;
    return len > 0;
}

bool fwi_http_head_has_token(const fwi_http_head *head, const char *name, const char *token)
{
    for (const char *list = fwi_http_head_next(head, name, NULL); list;
         list = fwi_http_head_next(head, name, list)) {
        const char *rest = list, *at;
        size_t len;
        while (fwi_http_token(&rest, &at, &len))
            if (len == strlen(token) && !strncasecmp(at, token, len))
                return true;
    }
    return false;
}
