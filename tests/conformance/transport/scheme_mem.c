#include "trant.h"

#include <stdio.h>

static void listen_url(char *ret_url, size_t size)
{
    static unsigned number;
    snprintf(ret_url, size, "mem:here-%u", number++);
}

const trant_scheme trant_scheme_under_test = {
    .name = "mem", .listen_url = listen_url, .one_process = true};
