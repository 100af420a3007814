#include "transport/kcp/options.h"

#include <fairway/error.h>
#include <string.h>

#include "transport/transport.h"
#include "transport/udp/guard.h"

#define IDLE_MS        60000
#define IDLE_LEAST_MS  100
#define DAY_MS         86400000
#define WINDOW         32
#define SESSIONS       10000
#define SESSIONS_MAX   10000000
#define HALF_OPEN      1024
#define RATE           500
#define RATE_MAX       1000000
#define QUEUE_LEAST    (FWI_KCP_FRAGMENTS_MAX + 1)
#define RESEND_MAX     255
#define DEAD_LINK      20
#define DEAD_LINK_MAX  1000
#define MTU            1400
#define MTU_SECURE_MIN 200

static const char *const dial_params[] = {
    "nodelay", "interval",  "resend", "nc",         "sndwnd", "rcvwnd", "mtu",        "stream",
    "conv",    "dead_link", "idle",   "acknodelay", "secure", "psk",    "server_key", NULL};
static const char *const listen_params[] = {
    "nodelay",   "interval", "resend",    "nc",   "sndwnd",     "rcvwnd",
    "mtu",       "stream",   "dead_link", "idle", "acknodelay", "sessions",
    "half_open", "rate",     "secure",    "psk",  "key",        NULL};

/* A table of what is a number. */
struct number {
    const char *name;
    uint32_t least, most, standing;
    uint32_t *ret_value;
};

static int read_numbers(const fw_url *url, const struct number *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct number *n = &numbers[i];
        int err = fwi_udp_param(url, n->name, n->least, n->most, n->standing, n->ret_value);
        if (err)
            return err;
    }
    return FW_OK;
}

static int read_engine(const fw_url *url, bool messages, fwi_kcp_options *ret_options)
{
    fwi_kcp_config *engine = &ret_options->engine;
    uint32_t nc, stream, at_once, secure;
    fwi_kcp_config_init(engine);
    const struct number numbers[] = {
        {"nodelay", 0, 2, 0, &engine->nodelay},
        {"interval", 10, 5000, 100, &engine->interval_ms},
        {"resend", 0, RESEND_MAX, 0, &engine->resend},
        {"nc", 0, 1, 0, &nc},
        {"sndwnd", 1, FWI_KCP_WINDOW_MAX, WINDOW, &engine->send_window},
        {"rcvwnd", 1, FWI_KCP_WINDOW_MAX, WINDOW, &engine->receive_window},
        {"mtu", FWI_KCP_MTU_MIN, FWI_KCP_MTU_MAX, MTU, &ret_options->datagram_bytes},
        {"stream", 0, 1, 0, &stream},
        {"dead_link", 1, DEAD_LINK_MAX, DEAD_LINK, &engine->dead_link},
        {"acknodelay", 0, 1, 0, &at_once},
        {"secure", 0, 1, 0, &secure},
    };
    int err = read_numbers(url, numbers, sizeof numbers / sizeof *numbers);
    if (err)
        return err;
    if (messages && stream)
        return FW_EOPTION;
    engine->no_congestion = nc;
    engine->stream = stream;
    ret_options->ack_at_once = at_once;
    secure |= !strcmp(url->scheme, "kcps");
    ret_options->secure = secure;
    uint32_t queue = 2 * engine->send_window;
    engine->send_queue_max = queue < QUEUE_LEAST ? QUEUE_LEAST : queue;
    engine->mtu = ret_options->datagram_bytes;
    if (secure) {
        if (ret_options->datagram_bytes < MTU_SECURE_MIN)
            return FW_EOPTION;
        engine->mtu -= FWI_KCPS_OVERHEAD_BYTES;
    }
    return fwi_kcp_config_check(engine);
}

int fwi_kcp_options_read(const fw_url *url, bool listens, bool messages,
                         fwi_kcp_options *ret_options)
{
    *ret_options = (fwi_kcp_options){.conv = 0};
    int err = fwi_transport_check_params(url, listens ? listen_params : dial_params);
    if (!err)
        err = read_engine(url, messages, ret_options);
    if (err)
        return err;
    const struct number numbers[] = {
        {"idle", 0, DAY_MS, IDLE_MS, &ret_options->idle_ms},
        {"conv", 1, UINT32_MAX, 0, &ret_options->conv},
        {"sessions", 1, SESSIONS_MAX, SESSIONS, &ret_options->sessions},
        {"half_open", 1, SESSIONS_MAX, HALF_OPEN, &ret_options->half_open},
        {"rate", 0, RATE_MAX, RATE, &ret_options->rate},
    };
    err = read_numbers(url, numbers, sizeof numbers / sizeof *numbers);
    if (err)
        return err;
    if (ret_options->idle_ms && ret_options->idle_ms < IDLE_LEAST_MS)
        return FW_EOPTION;
    const char *psk = fw_url_get(url, "psk"), *key = fw_url_get(url, "key"),
               *server_key = fw_url_get(url, "server_key");
    if (!ret_options->secure)
        return psk || key || server_key ? FW_EOPTION : FW_OK;
    if (ret_options->conv)
        return FW_EOPTION; /* the server gives it */
    return fwi_kcps_secrets_load(&ret_options->secrets, psk, key, server_key);
}
