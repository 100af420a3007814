#include "trant.h"

#include <stdio.h>

static void listen_url(char *ret_url, size_t size)
{
    snprintf(ret_url, size, "tls://127.0.0.1:0?cert=%s/server.pem&key=%s/server.key", trant_pki(),
             trant_pki());
}

static const char *dial_params(void)
{
    static char params[300];
    snprintf(params, sizeof params, "?ca=%s/ca.pem", trant_pki());
    return params;
}

const trant_scheme trant_scheme_under_test = {.name = "tls",
                                              .listen_url = listen_url,
                                              .dial_params = dial_params,
                                              .peers = 200,
                                              .bulk_bytes = 16 << 20};
