#include "transport/transport.h"

#include <fairway/error.h>
#include <stdlib.h>

int fwi_listener_new_url(fw_loop *loop, const fw_url *url, const fw_listener_options *options,
                         fw_listener **ret_listener)
{
    const fwi_transport *transport = fwi_transport_find(url->scheme);
    if (!transport)
        return FW_ESCHEME;
    fw_listener_options filled = *options;
    int err = fwi_transport_check_repeats(url);
    if (!err)
        err = fwi_transport_mode(transport, options->tls, options->messages,
                                 options->max_message_bytes, &filled.messages,
                                 &filled.max_message_bytes);
    if (err)
        return err;
    if (!filled.backlog)
        filled.backlog = FWI_TRANSPORT_DEFAULT_BACKLOG;
    if (!filled.handshake_timeout_ms)
        filled.handshake_timeout_ms = FWI_TRANSPORT_DEFAULT_HANDSHAKE_MS;
    if (!filled.max_handshakes)
        filled.max_handshakes = FWI_TRANSPORT_DEFAULT_HANDSHAKES;
    fw_listener *listener;
    err = transport->listen(loop, url, &filled, &listener);
    if (err)
        return err;
    listener->loop = loop;
    listener->options = filled;
    *ret_listener = listener;
    return FW_OK;
}

int fw_listener_new(fw_loop *loop, const char *text, const fw_listener_options *options,
                    fw_listener **ret_listener)
{
    fw_url url;
    int err = fw_url_init(&url, text);
    if (err)
        return err;
    err = fwi_listener_new_url(loop, &url, options, ret_listener);
    fw_url_fini(&url);
    return err;
}

const char *fw_listener_url(const fw_listener *listener)
{
    return listener->url;
}

void fw_listener_close(fw_listener *listener)
{
    if (listener->closing)
        return;
    listener->closing = true;
    listener->ops->close(listener);
}

void fwi_listener_gone(fw_listener *listener)
{
    if (listener->options.on_closed)
        listener->options.on_closed(listener, listener->options.arg);
    free(listener->url);
    free(listener);
}
