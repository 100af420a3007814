#include "transport/ws/close_code.h"

#include <fairway/error.h>
#include <uv.h>

bool fwi_ws_code_is_valid(unsigned code)
{
    if (code >= 3000)
        return code <= 4999; /* of libraries and of applications */
    return (code >= FWI_WS_NORMAL && code <= FWI_WS_UNSUPPORTED) ||
           (code >= FWI_WS_BAD_DATA && code <= FWI_WS_BAD_GATEWAY);
}

unsigned fwi_ws_code_of(int reason)
{
    switch (reason) {
    case FW_OK:
    case UV_EOF:
        return FWI_WS_NORMAL;
    case FW_ECANCELED:
    case FW_ECLOSED:
        return FWI_WS_GOING_AWAY;
    case FW_EPROTOCOL:
    case FW_EPACKET:
        return FWI_WS_PROTOCOL_ERROR;
    case FW_EFRAMESIZE:
        return FWI_WS_TOO_BIG;
    case FW_EAUTH:
    case FW_EREFUSED:
    case FW_EIDLE:
    case FW_ESLOW:
        return FWI_WS_POLICY;
    case FW_ELIMIT:
        return FWI_WS_TRY_LATER;
    default:
        return FWI_WS_INTERNAL;
    }
}

int fwi_ws_reason_of(unsigned code)
{
    switch (code) {
    case FWI_WS_PROTOCOL_ERROR:
    case FWI_WS_UNSUPPORTED:
    case FWI_WS_BAD_DATA:
    case FWI_WS_NO_EXTENSION:
        return FW_EPROTOCOL;
    case FWI_WS_POLICY:
        return FW_EREFUSED;
    case FWI_WS_TOO_BIG:
        return FW_EFRAMESIZE;
    case FWI_WS_INTERNAL:
    case FWI_WS_BAD_GATEWAY:
        return FW_EREMOTE;
    case FWI_WS_TRY_LATER:
        return FW_ELIMIT;
    default: /* it left in order: 1000, 1001, 1012, no code, and what is the application's */
        return UV_EOF;
    }
}
