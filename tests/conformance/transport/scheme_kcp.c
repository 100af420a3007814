/* As it is on the wire of others: it is known to the other end by its first data, and nothing tells
 * that it is over. What these two leave out is done by kcps, with the same engine. */
#include "trant.h"

#include <stdio.h>

#define SETTINGS "nodelay=1&interval=10&resend=2&nc=1&sndwnd=256&rcvwnd=256"

static void listen_url(char *ret_url, size_t size)
{
    snprintf(ret_url, size, "kcp://127.0.0.1:0?rate=0&idle=3000&" SETTINGS);
}

static const char *dial_params(void)
{
    return "?" SETTINGS;
}

const trant_scheme trant_scheme_under_test = {.name = "kcp",
                                              .listen_url = listen_url,
                                              .dial_params = dial_params,
                                              .connectionless = true,
                                              .most_message = 100000};
