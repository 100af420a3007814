#include "trant.h"

#include <stdio.h>

/* snet has no word for the end: who is gone is missed until the wait is over. So it is short. */
static void listen_url(char *ret_url, size_t size)
{
    snprintf(ret_url, size, "snet://127.0.0.1:0?wait_timeout_ms=100&encrypt=1");
}

/* The listener sees which flavour it is. */
static const char *dial_params(void)
{
    static unsigned calls;
    return ++calls % 2 ? "?flavour=uniway&wait_timeout_ms=100&encrypt=1"
                       : "?flavour=fastway&wait_timeout_ms=100&encrypt=1";
}

const trant_scheme trant_scheme_under_test = {
    .name = "snet", .listen_url = listen_url, .dial_params = dial_params};
