/* The session's inner side, for the layers above it. */
#ifndef FWI_SESSION_H
#define FWI_SESSION_H

#include <fairway/session.h>
#include <fairway/transport.h>

#define FWI_SESSION_QUEUE_BYTES (16u * 1024 * 1024)

/* Makes a session of an accepted connection. FW_EOPTION, UV_ENOMEM; then the connection is still
 * the caller's. */
int fwi_session_accept(fw_conn *conn, const fw_framing *framing, fw_session **ret_session);

/* Room for a frame of len bytes, its header written, the payload to be filled in before the return
 * to the loop: saves the copy of fw_session_send. Errors as there. */
FWI_API FW_MUST_CHECK int fwi_session_reserve(fw_session *session, size_t len,
                                              uint8_t **ret_payload);

/* Called when the session is over, after its own on_closed; for the server. */
void fwi_session_set_owner(fw_session *session, void (*on_gone)(fw_session *session, void *owner),
                           void *owner);

#endif
