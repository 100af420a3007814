#include "trant.h"

#include <stdlib.h>
#include <string.h>

static char *dir;

static void free_dir(void)
{
    free(dir);
}

const char *trant_pki(void)
{
    if (dir)
        return dir;
    dir = strdup(fwt_tmpdir());
    atexit(free_dir);
    fwt_certificate(dir, "ca", NULL, NULL, 30);
    fwt_certificate(dir, "server", "ca", "IP:127.0.0.1", 30);
    return dir;
}
