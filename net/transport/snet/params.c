#include <errno.h>
#include <fairway/error.h>
#include <stdlib.h>
#include <string.h>

#include "transport/snet/session.h"

static int parse_number(const char *text, uint32_t least, uint32_t most, uint32_t *ret_number)
{
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || number < least || number > most)
        return FW_EOPTION;
    *ret_number = (uint32_t)number;
    return FW_OK;
}

static int parse_flavour(const char *text, bool listening, fwi_snet_flavour *ret_flavour)
{
    if (!strcmp(text, "uniway"))
        *ret_flavour = FWI_SNET_UNIWAY;
    else if (!strcmp(text, "fastway"))
        *ret_flavour = FWI_SNET_FASTWAY;
    else if (!strcmp(text, "auto") && listening)
        *ret_flavour = FWI_SNET_AUTO;
    else
        return FW_EOPTION;
    return FW_OK;
}

#define MOST_BUFFER_BYTES (1u << 30)
#define MOST_MS           (24u * 3600 * 1000)
#define MOST_COUNT        100000000u

int fwi_snet_params_parse(const fw_url *url, bool listening, fwi_snet_params *ret_params)
{
    fwi_snet_params params = {.flavour = listening ? FWI_SNET_AUTO : FWI_SNET_FASTWAY,
                              .buffer_bytes = 65536,
                              .wait_timeout_ms = 60000,
                              .retry_max_ms = 3000,
                              .max_sessions = 100000,
                              .max_waiting = 10000};
    uint32_t encrypt = 0;
    enum { BOTH, LISTENING, DIALLING };
    const struct {
        const char *name;
        int where;
        uint32_t *target, least, most;
    } numbers[] = {
        {"encrypt", BOTH, &encrypt, 0, 1},
        {"buffer_bytes", BOTH, &params.buffer_bytes, 1, MOST_BUFFER_BYTES},
        {"handshake_timeout_ms", BOTH, &params.handshake_timeout_ms, 1, MOST_MS},
        {"wait_timeout_ms", BOTH, &params.wait_timeout_ms, 0, MOST_MS},
        {"retry_max_ms", DIALLING, &params.retry_max_ms, 1, MOST_MS},
        {"max_sessions", LISTENING, &params.max_sessions, 1, MOST_COUNT},
        {"max_waiting", LISTENING, &params.max_waiting, 0, MOST_COUNT},
    };
    for (size_t i = 0; i < url->param_count; i++) {
        const fw_url_param *param = &url->params[i];
        int err = FW_EOPTION;
        if (!strcmp(param->name, "flavour"))
            err = parse_flavour(param->value, listening, &params.flavour);
        if (listening && !strcmp(param->name, "proxy"))
            err = FW_OK; /* tcp's */
        for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++)
            if (!strcmp(param->name, numbers[n].name) &&
                numbers[n].where != (listening ? DIALLING : LISTENING))
                err = parse_number(param->value, numbers[n].least, numbers[n].most,
                                   numbers[n].target);
        if (err)
            return err;
    }
    params.encrypt = encrypt;
    *ret_params = params;
    return FW_OK;
}
