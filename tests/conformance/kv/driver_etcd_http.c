#include "kvt.h"

#include <unistd.h>

static fwt_etcd etcd;

static void fresh_url(char *url, size_t size)
{
    static unsigned count;
    snprintf(url, size, "etcd+http://127.0.0.1:%d/test/%d/%u", etcd.port, (int)getpid(), count++);
}

static void start(void)
{
    fwt_etcd_start(&etcd);
}

static void stop(void)
{
    fwt_etcd_kill(&etcd);
}

const kvt_driver kvt_this_driver = {"etcd_http", fresh_url, start, stop};
