#include "trant.h"

#include <stdio.h>

static void listen_url(char *ret_url, size_t size)
{
    snprintf(ret_url, size, "udp://127.0.0.1:0?rate=0&idle=3000");
}

const trant_scheme trant_scheme_under_test = {
    .name = "udp", .listen_url = listen_url, .connectionless = true, .most_message = 60000};
