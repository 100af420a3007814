/*
 * The head of an HTTP/1 request or response, gathered as it comes within limits, by http_parser.
 */
#ifndef FWI_WS_HTTP_HEAD_H
#define FWI_WS_HTTP_HEAD_H

#include <fairway/base.h>
#include <http_parser.h>

#define FWI_HTTP_MAX_HEAD_BYTES 8192
#define FWI_HTTP_MAX_FIELDS     64

typedef struct fwi_http_head {
    http_parser parser;
    char *text; /* target or reason phrase, then names and values, each with its NUL */
    size_t len, capacity;
    size_t seen_bytes;
    unsigned fields;
    uint8_t part; /* what the last bytes belonged to */
    bool whole;
    int error;
} fwi_http_head;

FWI_API void fwi_http_head_init(fwi_http_head *head, bool request);
FWI_API void fwi_http_head_fini(fwi_http_head *head);
/* Takes bytes of the head from *data and *len. 1: it is complete, what follows is not touched; 0:
 * more is needed; FW_EPROTOCOL, FW_EFRAMESIZE (too long, or too many fields), UV_ENOMEM. */
FWI_API int fwi_http_head_feed(fwi_http_head *head, const uint8_t **data, size_t *len);

/* Of a complete head. The target of the request, or the reason phrase of the response. */
FWI_API const char *fwi_http_head_first(const fwi_http_head *head);
/* The next value of a field after `previous` (NULL: its first one), or NULL. */
FWI_API const char *fwi_http_head_next(const fwi_http_head *head, const char *name,
                                       const char *previous);
/* The value of a field that stands there exactly once, or NULL. */
FWI_API const char *fwi_http_head_only(const fwi_http_head *head, const char *name);
/* Whether a comma-separated list (in one field or several) has a token, in any case. */
FWI_API bool fwi_http_head_has_token(const fwi_http_head *head, const char *name,
                                     const char *token);
/* Takes the next token of a comma-separated list; false: there is none. */
FWI_API bool fwi_http_token(const char **list, const char **ret_token, size_t *ret_len);

#endif
