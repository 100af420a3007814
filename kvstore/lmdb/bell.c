#include "lmdb/bell.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <unistd.h>

int fwi_lmdb_bell_init(fwi_lmdb_bell *bell, const char *directory)
{
    char path[PATH_MAX];
    *bell = (fwi_lmdb_bell){-1, -1};
    int n = snprintf(path, sizeof path, "%s/bell", directory);
    if (n < 0 || (size_t)n >= sizeof path)
        return ENAMETOOLONG;
    bell->file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (bell->file < 0)
        return errno;
    bell->listener = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (bell->listener >= 0 && inotify_add_watch(bell->listener, path, IN_MODIFY) < 0) {
        close(bell->listener);
        bell->listener = -1;
    }
    return 0;
}

void fwi_lmdb_bell_fini(fwi_lmdb_bell *bell)
{
    if (bell->file >= 0)
        close(bell->file);
    if (bell->listener >= 0)
        close(bell->listener);
    *bell = (fwi_lmdb_bell){-1, -1};
}

void fwi_lmdb_bell_ring(const fwi_lmdb_bell *bell)
{
    /* A bell that cannot be rung (disk full) only costs time: listeners look by themselves, too. */
    if (pwrite(bell->file, "!", 1, 0) < 0)
        return;
}

void fwi_lmdb_bell_drain(const fwi_lmdb_bell *bell)
{
    _Alignas(struct inotify_event) char events[4096];
    while (read(bell->listener, events, sizeof events) > 0)
        ;
}
