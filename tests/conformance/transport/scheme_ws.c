#include "trant.h"

#include <stdio.h>

static void listen_url(char *ret_url, size_t size)
{
    snprintf(ret_url, size, "ws://127.0.0.1:0/chat?deflate=0");
}

static const char *dial_params(void)
{
    return "?ping=30";
}

const trant_scheme trant_scheme_under_test = {
    .name = "ws", .listen_url = listen_url, .dial_params = dial_params};
