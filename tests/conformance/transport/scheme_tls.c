#include "trant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *dir; /* of the certificates */

static void free_dir(void)
{
    free(dir);
}

static void make_certificates(void)
{
    dir = strdup(fwt_tmpdir());
    atexit(free_dir);
    fwt_certificate(dir, "ca", NULL, NULL, 30);
    fwt_certificate(dir, "server", "ca", "IP:127.0.0.1", 30);
}

static void listen_url(char *ret_url, size_t size)
{
    if (!dir)
        make_certificates();
    snprintf(ret_url, size, "tls://127.0.0.1:0?cert=%s/server.pem&key=%s/server.key", dir, dir);
}

static const char *dial_params(void)
{
    static char params[300];
    snprintf(params, sizeof params, "?ca=%s/ca.pem", dir);
    return params;
}

const trant_scheme trant_scheme_under_test = {.name = "tls",
                                              .listen_url = listen_url,
                                              .dial_params = dial_params,
                                              .peers = 200,
                                              .bulk_bytes = 16 << 20};
