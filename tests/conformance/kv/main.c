/* One program for each driver: KVT_DRIVER names it. */
#include "kvt.h"

#include <unistd.h>

static fwt_etcd etcd;

static void mem_url(char *url, size_t size)
{
    static unsigned count;
    snprintf(url, size, "mem:test-%u", count++);
}

static void lmdb_url(char *url, size_t size)
{
    snprintf(url, size, "lmdb:%s/new/store", fwt_tmpdir());
}

static void etcd_url(char *url, size_t size)
{
    static unsigned count;
    snprintf(url, size, "etcd://127.0.0.1:%d/test/%d/%u", etcd.port, (int)getpid(), count++);
}

static void etcd_start(void)
{
    fwt_etcd_start(&etcd);
}

static void etcd_stop(void)
{
    fwt_etcd_kill(&etcd);
}

int main(void)
{
    static const kvt_driver drivers[] = {
        {"mem", mem_url, NULL, NULL},
        {"lmdb", lmdb_url, NULL, NULL},
        {"etcd", etcd_url, etcd_start, etcd_stop},
    };
    for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
        if (!strcmp(drivers[i].name, KVT_DRIVER))
            return kvt_main(&drivers[i]);
    return EXIT_FAILURE;
}
