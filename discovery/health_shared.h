/* What the probes of the simple drivers share: the loop, and how many there are. */
#ifndef FWI_HEALTH_SHARED_H
#define FWI_HEALTH_SHARED_H

#include <fairway/loop.h>

typedef struct fwi_health_shared {
    fw_loop *loop;
    size_t probes; /* that live, canceled ones too */
    void (*on_closed)(void *arg);
    void *arg;
} fwi_health_shared;

/* A driver's open and close. */
int fwi_health_shared_open(fw_loop *loop, void **ret_shared);
void fwi_health_shared_close(void *shared, void (*on_closed)(void *arg), void *arg);
/* A probe (counted in probes) is gone. */
void fwi_health_shared_leave(void *shared);

#endif
