#include "transport/transport.h"

#include <string.h>

static const fwi_transport *const transports[] = {&fwi_transport_tcp, &fwi_transport_unix};

const fwi_transport *fwi_transport_find(const char *scheme)
{
    for (size_t i = 0; i < sizeof transports / sizeof *transports; i++)
        if (!strcmp(transports[i]->scheme, scheme))
            return transports[i];
    return NULL;
}
