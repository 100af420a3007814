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

int main(void)
{
    static const kvt_driver drivers[] = {
        {"mem", mem_url},
        {"lmdb", lmdb_url},
        {"etcd", etcd_url},
    };
    int rc = EXIT_FAILURE;
    for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++) {
        if (strcmp(drivers[i].name, KVT_DRIVER))
            continue;
        bool is_etcd = drivers[i].fresh_url == etcd_url;
        if (is_etcd)
            fwt_etcd_start(&etcd);
        rc = kvt_main(&drivers[i]);
        if (is_etcd)
            fwt_etcd_kill(&etcd);
    }
    return rc;
}
