#include "kvt.h"

static void fresh_url(char *url, size_t size)
{
    snprintf(url, size, "lmdb:%s/new/store", fwt_tmpdir());
}

const kvt_driver kvt_this_driver = {"lmdb", fresh_url, NULL, NULL};
