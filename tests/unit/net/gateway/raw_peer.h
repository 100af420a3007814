/* The other end of a gateway's (or an endpoint's) connection, speaking bytes: over a real socket,
 * on the test's loop. Waiting runs that loop. */
#ifndef RAW_PEER_H
#define RAW_PEER_H

#include <fairway/gateway.h>
#include <fairway/transport.h>

#include "fwt.h"
#include "gateway/codec.h"

#define PEER_WAIT_MS 5000

typedef struct raw_peer {
    fw_conn *conn; /* NULL: gone */
    bool closed;
    int reason;
    uint8_t *got;
    size_t len, capacity;
    size_t taken; /* of got, by the expectations */
} raw_peer;

/* Zero-initialise a peer before either. */
void raw_peer_dial(raw_peer *peer, const char *url);
void raw_peer_take_over(raw_peer *peer, fw_conn *accepted);
/* Closes (if open), waits until it is gone, frees the bytes. */
void raw_peer_end(raw_peer *peer);

void raw_peer_send(raw_peer *peer, const void *data, size_t len);
void raw_peer_send_hex(raw_peer *peer, const char *hex);
void raw_peer_command(raw_peer *peer, fwi_gw_type type, uint32_t conn_id, uint32_t remote_id);
void raw_peer_message(raw_peer *peer, uint32_t conn_id, const void *data, size_t len);

/* Waits for len more bytes and takes them. */
const uint8_t *raw_peer_take(raw_peer *peer, size_t len);
void raw_peer_expect(raw_peer *peer, const void *wanted, size_t len, const char *what);
void raw_peer_expect_hex(raw_peer *peer, const char *hex, const char *what);
void raw_peer_expect_command(raw_peer *peer, fwi_gw_type type, uint32_t conn_id,
                             uint32_t remote_id);
void raw_peer_expect_message(raw_peer *peer, uint32_t conn_id, const void *data, size_t len);
/* Nothing more than what was taken has come. */
void raw_peer_expect_quiet(const raw_peer *peer);
/* The other side closes the connection; what came before it must have been taken. */
void raw_peer_expect_closed(raw_peer *peer);

/* Answers the challenge and waits until the gateway has registered it (a ping comes back). */
void raw_peer_authenticate(raw_peer *peer, const char *key, uint32_t id);

/* Runs the loop until a member of the statistics has a value. */
#define stats_wait(gateway, member, value)                                                         \
    do {                                                                                           \
        fw_gateway_stats stats_;                                                                   \
        int turns_ = 0;                                                                            \
        for (;;) {                                                                                 \
            fw_gateway_stats_get((gateway), &stats_);                                              \
            if (stats_.member == (value))                                                          \
                break;                                                                             \
            ck_assert_msg(turns_++ < 1000, #member " is %llu", (unsigned long long)stats_.member); \
            fwt_run_for(5);                                                                        \
        }                                                                                          \
    } while (0)

#endif
