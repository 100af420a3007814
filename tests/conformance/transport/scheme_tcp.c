#include "trant.h"

#include <stdio.h>

static void listen_url(char *ret_url, size_t size)
{
    snprintf(ret_url, size, "tcp://127.0.0.1:0");
}

const trant_scheme trant_scheme_under_test = {.name = "tcp", .listen_url = listen_url};
