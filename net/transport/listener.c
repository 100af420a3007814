#include "transport/transport.h"

#include <fairway/error.h>
#include <stdlib.h>

#define DEFAULT_BACKLOG 1024

int fw_listener_new(fw_loop *loop, const char *text, const fw_listener_options *options,
                    fw_listener **ret_listener)
{
    fw_url url;
    int err = fw_url_init(&url, text);
    if (err)
        return err;
    const fwi_transport *transport = fwi_transport_find(url.scheme);
    fw_listener *listener = NULL;
    err = transport
              ? transport->listen(loop, &url, options->backlog ? options->backlog : DEFAULT_BACKLOG,
                                  &listener)
              : FW_ESCHEME;
    fw_url_fini(&url);
    if (err)
        return err;
    listener->loop = loop;
    listener->options = *options;
    *ret_listener = listener;
    return FW_OK;
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
