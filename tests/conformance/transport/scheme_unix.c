#include "trant.h"

#include <stdio.h>

static void listen_url(char *ret_url, size_t size)
{
    static unsigned number;
    snprintf(ret_url, size, "unix:%s/%u", fwt_tmpdir(), number++);
}

const trant_scheme trant_scheme_under_test = {.name = "unix", .listen_url = listen_url};
