#include "transport/snet/snet.h"

/* Not FW_TRANSPORT_SECURE: its cryptography is not worth the name. */
const fwi_transport fwi_transport_snet = {
    .scheme = "snet",
    .abilities = FW_TRANSPORT_STREAM | FW_TRANSPORT_RELIABLE,
    .dial = fwi_snet_dial,
    .listen = fwi_snet_listen,
};
