/*
 * The link of an endpoint.
 *
 *     DOWN --dial--> OPENING --client--------------------------> USABLE --> CLOSING --> DOWN
 *      ^ after a wait    \----server--> CHALLENGE --answered----/              /
 *      \_______________________________________________________________________/
 *
 * As soon as the link is usable a ping is sent; its answer is what tells that the gateway has taken
 * us (ready). From then on a ping goes out every interval, and the link is broken if nothing at all
 * came since for the ping's timeout.
 */
#include "gateway/endpoint.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"

#define DEFAULT_DIAL_TIMEOUT_MS   5000
#define DEFAULT_PING_INTERVAL_MS  10000
#define DEFAULT_PING_TIMEOUT_MS   5000
#define DEFAULT_QUEUE_BYTES       ((size_t)16 * 1024 * 1024)
#define DEFAULT_MAX_VCONNS        1000000
#define DEFAULT_RECONNECT_BASE_MS 100
#define DEFAULT_RECONNECT_MAX_MS  5000

void fw_endpoint_options_init(fw_endpoint_options *options, fw_endpoint_role role)
{
    *options = (fw_endpoint_options){.role = role, .reconnect = role == FW_ENDPOINT_SERVER};
}

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

static void fill_defaults(fw_endpoint_options *options)
{
    options->dial_timeout_ms = or_default(options->dial_timeout_ms, DEFAULT_DIAL_TIMEOUT_MS);
    options->ping_interval_ms = or_default(options->ping_interval_ms, DEFAULT_PING_INTERVAL_MS);
    options->ping_timeout_ms = or_default(options->ping_timeout_ms, DEFAULT_PING_TIMEOUT_MS);
    options->max_packet_bytes = or_default(options->max_packet_bytes, FWI_GW_DEFAULT_PACKET_BYTES);
    options->reconnect_base_ms = or_default(options->reconnect_base_ms, DEFAULT_RECONNECT_BASE_MS);
    options->reconnect_max_ms = or_default(options->reconnect_max_ms, DEFAULT_RECONNECT_MAX_MS);
    if (!options->max_queue_bytes)
        options->max_queue_bytes = DEFAULT_QUEUE_BYTES;
    if (!options->max_vconns)
        options->max_vconns = DEFAULT_MAX_VCONNS;
}

/* ---- sending ---- */

void fwi_endpoint_command(fw_endpoint *endpoint, fwi_gw_type type, uint32_t conn_id,
                          uint32_t remote_id)
{
    if (endpoint->state != FWI_LINK_USABLE)
        return;
    uint8_t *room = fw_conn_reserve(endpoint->conn, fwi_gw_command_bytes(type));
    if (room)
        fwi_gw_command_encode(
            &(fwi_gw_command){.type = type, .conn_id = conn_id, .remote_id = remote_id}, room);
    else
        fwi_endpoint_break(endpoint, UV_ENOMEM); /* or it is broken, and we shall hear of it */
}

static void ping(fw_endpoint *endpoint)
{
    endpoint->ping_waiting = true;
    endpoint->pinged_ms = fw_loop_now_ms(endpoint->loop);
    fwi_endpoint_command(endpoint, FWI_GW_PING, 0, 0);
    fwi_loop_timer_start(endpoint->loop, &endpoint->timer, endpoint->options.ping_timeout_ms);
}

static void become_usable(fw_endpoint *endpoint)
{
    endpoint->state = FWI_LINK_USABLE;
    ping(endpoint);
    fwi_vconns_link_usable(endpoint);
}

/* ---- receiving ---- */

/* Takes the challenge, or what has come of it, and answers it; returns how many bytes that were. */
static size_t take_challenge(fw_endpoint *endpoint, const uint8_t *data, size_t len)
{
    size_t n = FWI_GW_CHALLENGE_BYTES - endpoint->challenge_len;
    if (n > len)
        n = len;
    memcpy(endpoint->challenge + endpoint->challenge_len, data, n);
    endpoint->challenge_len += n;
    if (endpoint->challenge_len < FWI_GW_CHALLENGE_BYTES)
        return n;
    uint8_t answer[FWI_GW_ANSWER_BYTES];
    int err = endpoint->hmac_key ? fwi_gw_hmac(endpoint->challenge, endpoint->hmac_key,
                                               endpoint->options.server_id, answer)
                                 : fwi_gw_digest(endpoint->challenge, endpoint->auth_key, answer);
    fwi_put_u32le(answer + FWI_GW_DIGEST_BYTES, endpoint->options.server_id);
    if (!err)
        err = fw_conn_write(endpoint->conn, answer, sizeof answer);
    if (err) {
        fwi_endpoint_break(endpoint, err);
        return n;
    }
    endpoint->answered = true;
    become_usable(endpoint);
    return n;
}

static void take_ping(fw_endpoint *endpoint)
{
    endpoint->ping_waiting = false;
    fwi_loop_timer_start(endpoint->loop, &endpoint->timer, endpoint->options.ping_interval_ms);
    if (endpoint->ready)
        return;
    endpoint->ready = true;
    fw_backoff_reset(&endpoint->backoff);
    if (endpoint->options.events.on_ready)
        endpoint->options.events.on_ready(endpoint, endpoint->options.arg);
}

static bool is_ping(const uint8_t *frame, size_t len)
{
    return len > FWI_GW_HEADER_BYTES && !fwi_gw_frame_id(frame) &&
           frame[FWI_GW_HEADER_BYTES] == FWI_GW_PING;
}

static void on_data(fw_conn *conn, const uint8_t *data, size_t len, void *arg)
{
    (void)conn;
    fw_endpoint *endpoint = arg;
    endpoint->heard_ms = fw_loop_now_ms(endpoint->loop);
    if (endpoint->state == FWI_LINK_CHALLENGE) {
        size_t n = take_challenge(endpoint, data, len);
        data += n;
        len -= n;
    }
    if (!len)
        return;
    fwi_framer_push(&endpoint->framer, data, len);
    fw_slice frame;
    int rc = 0;
    while (endpoint->state == FWI_LINK_USABLE &&
           (rc = fwi_framer_next(&endpoint->framer, &frame)) > 0) {
        if (frame.len < FWI_GW_HEADER_BYTES)
            rc = FW_EPROTOCOL;
        else if (is_ping(frame.data, frame.len))
            take_ping(endpoint);
        else
            rc = fwi_vconns_frame(endpoint, frame.data, frame.len);
        if (rc < 0)
            break;
    }
    if (rc < 0)
        fwi_endpoint_break(endpoint, rc);
}

/* ---- making and losing the link ---- */

static const fw_conn_events conn_events;

static int make_link(fw_endpoint *endpoint)
{
    int err = fwi_gw_framer_init(&endpoint->framer, endpoint->options.max_packet_bytes);
    if (err)
        return err;
    fw_conn_options options = {.dial_timeout_ms = endpoint->options.dial_timeout_ms,
                               .high_water_bytes = endpoint->options.max_queue_bytes,
                               .events = conn_events,
                               .arg = endpoint};
    endpoint->challenge_len = 0;
    endpoint->answered = endpoint->ping_waiting = false;
    err = fw_conn_dial(endpoint->loop, endpoint->url, &options, &endpoint->conn);
    if (!err)
        endpoint->state = FWI_LINK_OPENING;
    return err;
}

void fwi_endpoint_break(fw_endpoint *endpoint, int reason)
{
    if (endpoint->state == FWI_LINK_CLOSING || !endpoint->conn)
        return;
    endpoint->state = FWI_LINK_CLOSING;
    fw_conn_close(endpoint->conn, reason);
}

/* The link is gone, or could not even be begun. */
static void lost(fw_endpoint *endpoint, int reason)
{
    bool again = endpoint->options.reconnect && !endpoint->closing;
    bool hung_up = reason == UV_EOF || reason == UV_ECONNRESET || reason == UV_EPIPE;
    if (hung_up && endpoint->answered && !endpoint->ready)
        reason = FW_EAUTH; /* the protocol has no message for it */
    endpoint->state = FWI_LINK_DOWN;
    endpoint->ready = false;
    fwi_framer_fini(&endpoint->framer);
    fwi_loop_timer_stop(endpoint->loop, &endpoint->timer);
    fwi_vconns_end(endpoint, FW_ELOST, !again);
    if (endpoint->closing)
        return;
    uint32_t retry_ms = UINT32_MAX;
    if (again) {
        retry_ms = fw_backoff_next_ms(&endpoint->backoff);
        fwi_loop_timer_start(endpoint->loop, &endpoint->timer, retry_ms);
    }
    fwi_log(FW_LOG_WARN, "endpoint", "link lost", FWI_TEXT("url", endpoint->url),
            FWI_TEXT("reason", fw_strerror(reason)),
            FWI_NUMBER("retry_ms", again ? (long long)retry_ms : -1));
    if (endpoint->options.events.on_lost)
        endpoint->options.events.on_lost(endpoint, reason, retry_ms, endpoint->options.arg);
}

static void on_timer(fwi_timer *timer, void *arg)
{
    (void)timer;
    fw_endpoint *endpoint = arg;
    if (endpoint->state == FWI_LINK_DOWN) {
        int err = make_link(endpoint);
        if (err)
            lost(endpoint, err);
    } else if (endpoint->state == FWI_LINK_CHALLENGE) {
        fwi_endpoint_break(endpoint, FW_EDEADLINE);
    } else if (endpoint->state == FWI_LINK_USABLE) {
        if (!endpoint->ping_waiting)
            ping(endpoint);
        else if (endpoint->ready && endpoint->heard_ms > endpoint->pinged_ms)
            ping(endpoint); /* other frames are in the way of the answer; it lives */
        else
            fwi_endpoint_break(endpoint, FW_EDEADLINE);
    }
}

static void on_conn_open(fw_conn *conn, void *arg)
{
    (void)conn;
    fw_endpoint *endpoint = arg;
    if (endpoint->options.role == FW_ENDPOINT_CLIENT) {
        become_usable(endpoint);
        return;
    }
    endpoint->state = FWI_LINK_CHALLENGE;
    fwi_loop_timer_start(endpoint->loop, &endpoint->timer, endpoint->options.dial_timeout_ms);
}

static void on_conn_drain(fw_conn *conn, void *arg)
{
    (void)conn;
    fw_endpoint *endpoint = arg;
    if (!endpoint->closing && endpoint->options.events.on_drain)
        endpoint->options.events.on_drain(endpoint, endpoint->options.arg);
}

static void on_conn_closed(fw_conn *conn, int reason, void *arg)
{
    (void)conn;
    fw_endpoint *endpoint = arg;
    endpoint->conn = NULL;
    lost(endpoint, reason);
    fwi_endpoint_finish_if_empty(endpoint);
}

static const fw_conn_events conn_events = {.on_open = on_conn_open,
                                           .on_data = on_data,
                                           .on_drain = on_conn_drain,
                                           .on_closed = on_conn_closed};

/* ---- the object ---- */

static void endpoint_free(fw_endpoint *endpoint)
{
    fwi_vconns_fini(endpoint);
    fwi_framer_fini(&endpoint->framer);
    free(endpoint->url);
    free(endpoint->auth_key);
    free(endpoint->hmac_key);
    free(endpoint);
}

int fw_endpoint_dial(fw_loop *loop, const char *url, const fw_endpoint_options *options,
                     fw_endpoint **ret_endpoint)
{
    if (options->role != FW_ENDPOINT_CLIENT && options->role != FW_ENDPOINT_SERVER)
        return FW_EOPTION;
    fw_endpoint *endpoint = calloc(1, sizeof *endpoint);
    if (!endpoint)
        return UV_ENOMEM;
    endpoint->loop = loop;
    endpoint->options = *options;
    fill_defaults(&endpoint->options);
    endpoint->timer = (fwi_timer){.fn = on_timer, .arg = endpoint};
    fw_backoff_init(&endpoint->backoff, endpoint->options.reconnect_base_ms,
                    endpoint->options.reconnect_max_ms);
    fwi_vconns_init(endpoint);
    endpoint->url = strdup(url);
    endpoint->auth_key = strdup(options->auth_key ? options->auth_key : "");
    endpoint->hmac_key = options->hmac_key ? strdup(options->hmac_key) : NULL;
    endpoint->options.auth_key = endpoint->options.hmac_key = NULL;
    bool has_keys = endpoint->auth_key && (endpoint->hmac_key || !options->hmac_key);
    int err = endpoint->url && has_keys ? make_link(endpoint) : UV_ENOMEM;
    if (err) {
        endpoint_free(endpoint);
        return err;
    }
    *ret_endpoint = endpoint;
    return FW_OK;
}

bool fw_endpoint_is_ready(const fw_endpoint *endpoint)
{
    return endpoint->ready;
}

size_t fw_endpoint_vconn_count(const fw_endpoint *endpoint)
{
    return endpoint->vconn_count;
}

fw_loop *fw_endpoint_loop(const fw_endpoint *endpoint)
{
    return endpoint->loop;
}

void fwi_endpoint_finish_if_empty(fw_endpoint *endpoint)
{
    if (!endpoint->closing || endpoint->conn || !fwi_list_empty(&endpoint->finished))
        return;
    fwi_loop_defer_cancel(endpoint->loop, &endpoint->deliver);
    void (*on_closed)(void *arg) = endpoint->on_closed;
    void *arg = endpoint->on_closed_arg;
    endpoint_free(endpoint);
    if (on_closed)
        on_closed(arg);
}

void fw_endpoint_close(fw_endpoint *endpoint, void (*on_closed)(void *arg), void *arg)
{
    if (endpoint->closing)
        return;
    endpoint->closing = true;
    endpoint->ready = false;
    endpoint->on_closed = on_closed;
    endpoint->on_closed_arg = arg;
    fwi_vconns_end(endpoint, FW_ECANCELED, true);
    fwi_loop_timer_stop(endpoint->loop, &endpoint->timer);
    fwi_endpoint_break(endpoint, FW_ECANCELED);
    fwi_loop_defer(endpoint->loop, &endpoint->deliver);
}
