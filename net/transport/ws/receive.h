/*
 * The receiving half of the engine: frames become events. Internal to it.
 */
#ifndef FWI_WS_RECEIVE_H
#define FWI_WS_RECEIVE_H

#include "transport/ws/engine.h"

/* As fwi_ws_next, of an open connection. */
int fwi_ws_receive(fwi_ws *ws, fwi_ws_event *ret_event);
bool fwi_ws_receive_has_more(const fwi_ws *ws);
void fwi_ws_receive_fini(fwi_ws *ws);

/* Of the sending half. */
int fwi_ws_answer_ping(fwi_ws *ws, const uint8_t *data, size_t len);

#endif
