/* A pair as etcd gives it, from whichever transport. */
#ifndef FWI_ETCD_CORE_PAIR_H
#define FWI_ETCD_CORE_PAIR_H

#include <fairway/base.h>

/* Views into the reply. */
typedef struct fwi_ec_pair {
    fw_slice key, value;
    int64_t revision, lease;
} fwi_ec_pair;

#endif
