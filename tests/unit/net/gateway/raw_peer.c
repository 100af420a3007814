#include "raw_peer.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    raw_peer *peer = arg;
    if (peer->len + len > peer->capacity) {
        peer->capacity = (peer->len + len) * 2;
        peer->got = realloc(peer->got, peer->capacity);
    }
    memcpy(peer->got + peer->len, data, len);
    peer->len += len;
}

static void on_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    raw_peer *peer = arg;
    peer->conn = NULL;
    peer->reason = reason;
    peer->closed = true;
}

static const fw_conn_events events = {.on_data = on_data, .on_closed = on_closed};

void raw_peer_dial(raw_peer *peer, const char *url)
{
    fw_conn_options options = {.events = events, .arg = peer};
    FWT_OK(fw_conn_dial(fwt_loop, url, &options, &peer->conn));
}

void raw_peer_take_over(raw_peer *peer, fw_conn *accepted)
{
    peer->conn = accepted;
    fw_conn_set_events(accepted, &events, peer);
}

void raw_peer_end(raw_peer *peer)
{
    if (peer->conn)
        fw_conn_close(peer->conn, FW_ECANCELED);
    if (peer->conn)
        fwt_run_until(&peer->closed, PEER_WAIT_MS);
    free(peer->got);
    *peer = (raw_peer){.conn = NULL};
}

void raw_peer_send(raw_peer *peer, const void *data, size_t len)
{
    ck_assert_msg(peer->conn != NULL, "the peer is closed: %s", fw_strerror(peer->reason));
    FWT_OK(fw_conn_write(peer->conn, data, len));
}

void raw_peer_send_hex(raw_peer *peer, const char *hex)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    raw_peer_send(peer, bytes, len);
    free(bytes);
}

void raw_peer_command(raw_peer *peer, fwi_gw_type type, uint32_t conn_id, uint32_t remote_id)
{
    uint8_t frame[FWI_GW_MAX_COMMAND_BYTES];
    fwi_gw_command_encode(
        &(fwi_gw_command){.type = type, .conn_id = conn_id, .remote_id = remote_id}, frame);
    raw_peer_send(peer, frame, fwi_gw_command_bytes(type));
}

void raw_peer_message(raw_peer *peer, uint32_t conn_id, const void *data, size_t len)
{
    uint8_t header[FWI_GW_HEADER_BYTES];
    fwi_gw_put_header(header, conn_id, (uint32_t)len);
    raw_peer_send(peer, header, sizeof header);
    raw_peer_send(peer, data, len);
}

const uint8_t *raw_peer_take(raw_peer *peer, size_t len)
{
    uint64_t deadline = uv_hrtime() + PEER_WAIT_MS * UINT64_C(1000000);
    while (peer->len - peer->taken < len && !peer->closed && uv_hrtime() < deadline)
        fwt_run_for(2);
    ck_assert_msg(peer->len - peer->taken >= len, "%zu bytes of %zu came, then %s",
                  peer->len - peer->taken, len,
                  peer->closed ? fw_strerror(peer->reason) : "nothing");
    peer->taken += len;
    return peer->got + peer->taken - len;
}

void raw_peer_expect(raw_peer *peer, const void *wanted, size_t len, const char *what)
{
    fwt_assert_bytes(raw_peer_take(peer, len), len, wanted, len, what);
}

void raw_peer_expect_hex(raw_peer *peer, const char *hex, const char *what)
{
    size_t len;
    uint8_t *bytes = fwt_unhex(hex, &len);
    raw_peer_expect(peer, bytes, len, what);
    free(bytes);
}

void raw_peer_expect_command(raw_peer *peer, fwi_gw_type type, uint32_t conn_id, uint32_t remote_id)
{
    static const char *const names[] = {"Dial", "Accept", "Connect", "Refuse", "Close", "Ping"};
    uint8_t frame[FWI_GW_MAX_COMMAND_BYTES];
    fwi_gw_command_encode(
        &(fwi_gw_command){.type = type, .conn_id = conn_id, .remote_id = remote_id}, frame);
    raw_peer_expect(peer, frame, fwi_gw_command_bytes(type), names[type]);
}

void raw_peer_expect_message(raw_peer *peer, uint32_t conn_id, const void *data, size_t len)
{
    uint8_t header[FWI_GW_HEADER_BYTES];
    fwi_gw_put_header(header, conn_id, (uint32_t)len);
    raw_peer_expect(peer, header, sizeof header, "header of a message");
    raw_peer_expect(peer, data, len, "message");
}

void raw_peer_expect_quiet(const raw_peer *peer)
{
    fwt_assert_bytes(peer->got + peer->taken, peer->len - peer->taken, "", 0, "unexpected bytes");
}

void raw_peer_expect_closed(raw_peer *peer)
{
    fwt_run_until(&peer->closed, PEER_WAIT_MS);
    ck_assert_msg(peer->reason == UV_EOF || peer->reason == UV_ECONNRESET ||
                      peer->reason == UV_EPIPE,
                  "closed: %s", fw_strerror(peer->reason));
    raw_peer_expect_quiet(peer);
}

void raw_peer_authenticate(raw_peer *peer, const char *key, uint32_t id)
{
    uint8_t answer[FWI_GW_ANSWER_BYTES];
    FWT_OK(fwi_gw_digest(raw_peer_take(peer, FWI_GW_CHALLENGE_BYTES), key, answer));
    fwi_put_u32le(answer + FWI_GW_DIGEST_BYTES, id);
    raw_peer_send(peer, answer, sizeof answer);
    raw_peer_command(peer, FWI_GW_PING, 0, 0);
    raw_peer_expect_command(peer, FWI_GW_PING, 0, 0);
}
