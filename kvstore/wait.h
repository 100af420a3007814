/* What the files of the blocking facade share. */
#ifndef FWI_WAIT_H
#define FWI_WAIT_H

#include "kv.h"

#include <fairway/wait.h>
#include <pthread.h>

#define FWI_WAIT_DETAIL_BYTES 512

typedef struct fwi_wait_keeper fwi_wait_keeper;

struct fw_wait_kv {
    fw_loop *loop;
    fw_kv *kv;
    bool done; /* the operation of the running call */
    fw_kv_result result;
    fwi_kv_pairs pairs; /* behind it */
    char detail[FWI_WAIT_DETAIL_BYTES];
    char *url;
    fw_kv_options options; /* with strings of our own, for the keeper's store */
    fwi_list watches;      /* fw_wait_watch.node */
    fwi_wait_keeper *keeper;
};

/* ---- keeper.c: the thread that keeps leases and locks, with a loop and a store of its own ---- */

/* The keeper of a handle, started if need be. */
int fwi_wait_keeper_get(fw_wait_kv *kv, fwi_wait_keeper **ret_keeper);
/* Closes what it keeps and ends it. NULL: nothing. */
void fwi_wait_keeper_end(fwi_wait_keeper *keeper);
/* A put under a lease of the keeper's; fills status, revision and detail of the handle's result. */
void fwi_wait_keeper_put(fw_wait_kv *kv, const char *key, fw_slice value, int64_t previous,
                         bool atomic, fw_wait_lease *lease);

#endif
