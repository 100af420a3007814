#include "rpc/protocol.h"

#include <fairway/error.h>
#include <string.h>

static const fwi_rpc_protocol *const protocols[] = {
    &fwi_rpc_walle,  &fwi_rpc_fly_seed, &fwi_rpc_fly_v0,
    &fwi_rpc_fly_03, &fwi_rpc_fly_04,   &fwi_rpc_fly_v1,
};

static const fwi_rpc_protocol *find(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (strlen(protocols[i]->name) == len && !memcmp(protocols[i]->name, name, len))
            return protocols[i];
    return NULL;
}

static int add(fwi_rpc_protocols *list, const fwi_rpc_protocol *protocol)
{
    if (!protocol || list->count == FWI_RPC_MAX_PROTOCOLS)
        return FW_EOPTION;
    for (size_t i = 0; i < list->count; i++) {
        const fwi_rpc_protocol *other = list->list[i];
        if (other == protocol || (other->class && other->class == protocol->class))
            return FW_EOPTION;
    }
    list->list[list->count++] = protocol;
    return FW_OK;
}

int fwi_rpc_protocols_parse(fwi_rpc_protocols *ret_protocols, const char *names)
{
    fwi_rpc_protocols list = {.count = 0};
    int err = names ? FW_OK : add(&list, &fwi_rpc_walle);
    for (const char *name = names; name && !err;) {
        size_t len = strcspn(name, ",");
        err = add(&list, find(name, len));
        name = name[len] ? name + len + 1 : NULL;
    }
    if (!err)
        *ret_protocols = list;
    return err;
}

int fwi_rpc_protocols_recognise(const fwi_rpc_protocols *list, const uint8_t *data, size_t len,
                                bool messages, uint32_t max_frame_bytes,
                                const fwi_rpc_protocol **ret_protocol)
{
    for (size_t i = 0; i < list->count; i++) {
        int rc = list->list[i]->recognise(data, len, messages, max_frame_bytes);
        if (rc > 0) {
            *ret_protocol = list->list[i];
            return 1;
        }
        if (!rc && !messages) /* a message is all there is */
            return 0;         /* those after it have to wait for its answer */
    }
    return FW_EPROTOCOL;
}

void fwi_rpc_error_set_text(fwi_rpc_error *error, const char *text, size_t len)
{
    if (len >= sizeof error->text) {
        len = sizeof error->text - 1;
        while (len && ((uint8_t)text[len] & 0xc0) == 0x80)
            len--;
    }
    if (len)
        memcpy(error->text, text, len);
    error->text[len] = 0;
}
