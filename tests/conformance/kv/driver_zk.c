#include "kvt.h"

#include <unistd.h>

static fwt_zookeeper zookeeper;

static void fresh_url(char *url, size_t size)
{
    static unsigned count;
    snprintf(url, size, "zk://127.0.0.1:%d/test/%d/%u?jute_maxbuffer=%d", zookeeper.port,
             (int)getpid(), count++, FWT_ZOOKEEPER_PACKET_BYTES);
}

static void start(void)
{
    fwt_zookeeper_start(&zookeeper);
}

static void stop(void)
{
    fwt_zookeeper_kill(&zookeeper);
}

const kvt_driver kvt_this_driver = {"zk", fresh_url, start, stop};
