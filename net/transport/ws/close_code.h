/*
 * Close codes (RFC 6455 section 7.4, and IANA's registry) and fairway's reasons. README.md has the
 * table.
 */
#ifndef FWI_WS_CLOSE_CODE_H
#define FWI_WS_CLOSE_CODE_H

#include <fairway/base.h>

typedef enum fwi_ws_code {
    FWI_WS_NORMAL = 1000,
    FWI_WS_GOING_AWAY = 1001,
    FWI_WS_PROTOCOL_ERROR = 1002,
    FWI_WS_UNSUPPORTED = 1003,
    FWI_WS_NO_CODE = 1005, /* never sent: a Close frame without a code */
    FWI_WS_ABNORMAL = 1006,
    FWI_WS_BAD_DATA = 1007,
    FWI_WS_POLICY = 1008,
    FWI_WS_TOO_BIG = 1009,
    FWI_WS_NO_EXTENSION = 1010,
    FWI_WS_INTERNAL = 1011,
    FWI_WS_RESTART = 1012,
    FWI_WS_TRY_LATER = 1013,
    FWI_WS_BAD_GATEWAY = 1014
} fwi_ws_code;

/* Whether a Close frame may carry it. */
FWI_API bool fwi_ws_code_is_valid(unsigned code);
/* What the peer is told when we close for a reason, and what we are told when it closes. */
FWI_API unsigned fwi_ws_code_of(int reason);
FWI_API int fwi_ws_reason_of(unsigned code);

#endif
