/* An endpoint under test, with what its events have told. Virtual connections that come in echo. */
#ifndef STATION_H
#define STATION_H

#include <fairway/vconn.h>

#include "raw_peer.h"

#define SERVER_ID 7
#define KEY       "secret"

typedef struct watched {
    fw_vconn *vconn; /* NULL: gone */
    size_t opens, closes, messages;
    int status, reason;
    uint8_t last[600000];
    size_t last_len;
} watched;

typedef struct station {
    fw_endpoint *endpoint;
    bool closed;
    size_t ready, lost, connects, drains, echoed, ended;
    int reason;
    uint32_t retry_ms;
    fw_vconn *last; /* that came in */
    int last_end;   /* reason of the last of those that ended */
} station;

extern const fw_vconn_events watch_events; /* arg: a watched */

fw_endpoint_options station_options(station *s, fw_endpoint_role role);
/* Closes the endpoint, twice, and waits for its end. */
void station_end(station *s);
void dial(station *from, uint32_t remote_id, watched *w);
void set_flag(void *arg); /* an on_closed that sets a bool, once */

#endif
