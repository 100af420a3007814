#include "kvt.h"

#include <unistd.h>

static fwt_redis redis;

static void fresh_url(char *url, size_t size)
{
    static unsigned count;
    snprintf(url, size, "redis://127.0.0.1:%d/0/test/%d/%u", redis.port, (int)getpid(), count++);
}

static void start(void)
{
    fwt_redis_start(&redis, NULL);
}

static void stop(void)
{
    fwt_redis_kill(&redis);
}

const kvt_driver kvt_this_driver = {"redis", fresh_url, start, stop};
