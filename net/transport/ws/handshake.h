/*
 * The opening handshake (RFC 6455 section 4), from complete heads. It decides; the engine moves the
 * bytes.
 */
#ifndef FWI_WS_HANDSHAKE_H
#define FWI_WS_HANDSHAKE_H

#include "transport/ws/config.h"
#include "transport/ws/http_head.h"

#define FWI_WS_KEY_CHARS    24
#define FWI_WS_DETAIL_CHARS 100

/* What both sides have agreed on. */
typedef struct fwi_ws_agreement {
    bool deflate;
    uint8_t deflate_bits; /* the window that we compress with */
} fwi_ws_agreement;

/* Server: makes the answer to a request, to be freed. error: of fwi_http_head_feed, if that failed.
 * Returns the status, 101 if it is accepted, or UV_ENOMEM. */
FWI_API int fwi_ws_handshake_answer(const fwi_ws_config *config, const fwi_http_head *head,
                                    int error, fwi_ws_agreement *ret_agreement, char **ret_answer);

/* Client: makes a request, to be freed, and its key. UV_ENOMEM, errors of the random numbers. */
FWI_API int fwi_ws_handshake_request(const fwi_ws_config *config,
                                     char ret_key[FWI_WS_KEY_CHARS + 1], char **ret_request);
/* Client: judges the response. UV_ECONNREFUSED (a status other than 101), FW_EPROTOCOL; ret_detail
 * then says more. */
FWI_API int fwi_ws_handshake_check(const fwi_ws_config *config, const fwi_http_head *head,
                                   const char *key, fwi_ws_agreement *ret_agreement,
                                   char ret_detail[FWI_WS_DETAIL_CHARS]);

#endif
