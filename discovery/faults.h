/* Mistakes that a test can build in, to see that the bed notices them. Without FWI_FAULTS there is
 * nothing of it in the code. */
#ifndef FWI_FAULTS_H
#define FWI_FAULTS_H

#ifdef FWI_FAULTS
#include <stdint.h>

typedef enum fwi_fault_kind {
    FWI_NO_FAULT,
    FWI_SKIP_REGRANT,       /* a lost lease is not asked for again */
    FWI_SKIP_READ_BACK,     /* a put counts as registered, whatever its answer */
    FWI_SKIP_OWN_WATCH,     /* nobody looks whether the key is still there */
    FWI_IGNORE_REMOVALS,    /* the watcher's list only grows */
    FWI_SKIP_HOLD,          /* what the store loses is gone, alive or not */
    FWI_IGNORE_CHANGES,     /* the watcher keeps what it was first told of an instance */
    FWI_WATCH_FROM_NOW,     /* a stream that breaks goes on with what happens next */
    FWI_LIST_AFTER_WATCH,   /* a list that is older than what the stream has told is taken, too */
    FWI_PUT_BEFORE_KNOWN,   /* an instance is online until its request is known */
    FWI_COUNT_BY_WALL_CLOCK /* what is counted within a time is counted by the machine's clock */
} fwi_fault_kind;
extern fwi_fault_kind fwi_fault;
extern int64_t fwi_skew_ms; /* so wrong is the machine's clock */
#define FWI_FAULT(kind) (fwi_fault == (kind))
#define FWI_SKEW_MS     fwi_skew_ms
#else
#define FWI_FAULT(kind) false
#define FWI_SKEW_MS     0
#endif

#endif
