#include "base/log.h"
#include "transport/transport.h"

#include <fairway/error.h>
#include <string.h>

static const fwi_transport *const transports[] = {
    &fwi_transport_kcp, &fwi_transport_kcps, &fwi_transport_mem, &fwi_transport_snet,
    &fwi_transport_tcp, &fwi_transport_tls,  &fwi_transport_udp, &fwi_transport_unix,
#ifdef FWI_NET_WS
    &fwi_transport_ws,  &fwi_transport_wss,
#endif
};

const fwi_transport *fwi_transport_find(const char *scheme)
{
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++)
        if (!strcmp(transports[i]->scheme, scheme))
            return transports[i];
    return NULL;
}

unsigned fw_transport_can(const char *scheme)
{
    const fwi_transport *transport = fwi_transport_find(scheme);
    return transport ? transport->abilities : 0;
}

static bool is_known(const char *name, const char *const *known)
{
    for (; *known; known++)
        if (!strcmp(name, *known))
            return true;
    return false;
}

/* FW_EOPTION alone does not say which one. (Debug: a program tells the error itself, once.) */
static int refuse(const fw_url *url, const char *param)
{
    fwi_log(FW_LOG_DEBUG, "transport",
            "a URL's parameter is unknown here, its value is wrong, or it stands there twice",
            FWI_TEXT("scheme", url->scheme), FWI_TEXT("parameter", param));
    return FW_EOPTION;
}

int fwi_transport_check_repeats(const fw_url *url)
{
    for (size_t i = 1; i < url->param_count; i++)
        for (size_t before = 0; before < i; before++)
            if (!strcmp(url->params[i].name, url->params[before].name))
                return refuse(url, url->params[i].name);
    return FW_OK;
}

int fwi_transport_check_params(const fw_url *url, const char *const *known)
{
    for (size_t i = 0; i < url->param_count; i++)
        if (!is_known(url->params[i].name, known))
            return refuse(url, url->params[i].name);
    return FW_OK;
}

int fwi_transport_flag(const fw_url *url, const char *name, bool *ret_flag)
{
    const char *value = fw_url_get(url, name);
    *ret_flag = value && !strcmp(value, "1");
    return !value || *ret_flag || !strcmp(value, "0") ? FW_OK : refuse(url, name);
}

int fwi_transport_mode(const fwi_transport *transport, const fw_tls *tls, bool messages,
                       size_t max_message_bytes, bool *ret_messages, size_t *ret_max_message_bytes)
{
    if (messages && !(transport->abilities & FW_TRANSPORT_MESSAGES))
        return FW_EOPTION;
    if (tls && !(transport->abilities & FW_TRANSPORT_TLS))
        return FW_EOPTION; /* or what is thought to be encrypted would not be */
    if (max_message_bytes > INT32_MAX)
        return FW_EOPTION;
    *ret_messages = messages || !(transport->abilities & FW_TRANSPORT_STREAM);
    *ret_max_message_bytes =
        max_message_bytes ? max_message_bytes : FWI_TRANSPORT_DEFAULT_MESSAGE_BYTES;
    return FW_OK;
}
