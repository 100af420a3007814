/*
 * What a WebSocket URL says, and what the connections of one listener share: the options, the work
 * space of wslay and zlib, which an idle connection is not to own. A dialled connection has a
 * config of its own, without work space kept in it.
 *
 *     ws://host[:port][/path]?protocol=a,b&origin=...&deflate=1&text=1&ping=SECONDS&query=...
 */
#ifndef FWI_WS_CONFIG_H
#define FWI_WS_CONFIG_H

#include <fairway/url.h>

#include "transport/ws/deflate.h"
#include "transport/ws/frame.h"

/* The parameters above; ends with NULL. */
extern const char *const fwi_ws_params[];

typedef struct fwi_ws_config {
    unsigned references;
    bool server;
    bool messages; /* else a stream of bytes */
    bool text;     /* messages are sent as text */
    bool deflate;
    uint32_t ping_ms; /* 0: no pings */
    uint32_t max_message_bytes;
    char *target;    /* server: the path that is served, "" for any; client: the request's target */
    char *host;      /* client: of the Host field */
    char *protocols; /* with commas; "" for none */
    char *origins;   /* server: with commas, "" for any; client: its own, or "" */
    /* Work space that nobody uses now. */
    fwi_ws_reader *reader;
    fwi_ws_writer *writer;
    fwi_ws_deflater *deflater;
} fwi_ws_config;

typedef struct fwi_ws_mode {
    bool server, secure, messages;
    uint32_t max_message_bytes;
} fwi_ws_mode;

/* One reference. FW_EURL, FW_EOPTION (a value out of range, text without messages), UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_ws_config_new(const fw_url *url, const fwi_ws_mode *mode,
                                            fwi_ws_config **ret_config);
FWI_API fwi_ws_config *fwi_ws_config_acquire(fwi_ws_config *config);
FWI_API void fwi_ws_config_release(fwi_ws_config *config); /* NULL is fine */
/* Frees what only the handshake needs, if nobody else will shake hands with it. */
FWI_API void fwi_ws_config_trim(fwi_ws_config *config);

/* Work space: NULL if there is no memory; to be given back. */
FWI_API fwi_ws_reader *fwi_ws_config_take_reader(fwi_ws_config *config);
FWI_API void fwi_ws_config_give_reader(fwi_ws_config *config, fwi_ws_reader *reader);
FWI_API fwi_ws_writer *fwi_ws_config_take_writer(fwi_ws_config *config);
FWI_API void fwi_ws_config_give_writer(fwi_ws_config *config, fwi_ws_writer *writer);
FWI_API fwi_ws_deflater *fwi_ws_config_take_deflater(fwi_ws_config *config);
FWI_API void fwi_ws_config_give_deflater(fwi_ws_config *config, fwi_ws_deflater *deflater);

#endif
