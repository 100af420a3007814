/* What only a WebSocket connection knows. */
#ifndef FWI_WS_H
#define FWI_WS_H

#include <fairway/transport.h>

/* Inside on_data of a connection on ws or wss: whether the message, or the bytes of the stream,
 * came as text. */
FWI_API bool fwi_ws_is_text(const fw_conn *conn);

#endif
