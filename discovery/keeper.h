/*
 * Keeps keys in the store, under one lease: a desired state, reconciled for ever. What counts is
 * what the store shows: every value is read back after it was put, and put again when somebody
 * deletes it. All on the store's loop.
 */
#ifndef FWI_DISCOVERY_KEEPER_H
#define FWI_DISCOVERY_KEEPER_H

#include <fairway/discovery.h>

typedef struct fwi_keeper fwi_keeper;
typedef struct fwi_kept fwi_kept; /* a key */

typedef struct fwi_keeper_options {
    const char *component; /* who it is, in the log */
    uint32_t ttl_ms;       /* of the lease; 0: 10000 */
    uint32_t spread_ms;    /* over which those that an outage has unlisted come back; 0: half of
                              ttl_ms, at most 5000 */
    /* Every change of state. */
    void (*on_status)(const fw_registrar_status *status, void *arg);
    /* A value has been read back, at this revision; user as it was given with the key. */
    void (*on_kept)(void *user, int64_t revision, void *arg);
    /* A key that was removed is forgotten, and gone from the store if that could be done. Not for
     * those that are left when the keeper is closed. May come inside fwi_kept_remove. */
    void (*on_removed)(void *user, void *arg);
    void *arg;
} fwi_keeper_options;

/* The store must outlive it. FW_EOPTION: ttl_ms below 1000; UV_ENOMEM. */
FW_MUST_CHECK int fwi_keeper_new(fw_kv *kv, const fwi_keeper_options *options,
                                 fwi_keeper **ret_keeper);
void fwi_keeper_get_status(const fwi_keeper *keeper, fw_registrar_status *ret_status);
/* Revokes the lease, so the keys go; then on_closed. Idempotent. */
void fwi_keeper_close(fwi_keeper *keeper, fw_kv_closed_fn on_closed, void *arg);

/* Wants a key (copied) kept; it is put when its value is known. Until then the keeper's state is
 * not REGISTERED. UV_ENOMEM. */
FW_MUST_CHECK int fwi_kept_new(fwi_keeper *keeper, const char *key, void *user,
                               fwi_kept **ret_kept);
/* Withheld, it is not put, whatever becomes of it in the store; what is there stays. When it no
 * longer is, it is put if there is reason to. Not of one that leaves. */
void fwi_kept_withhold(fwi_kept *kept, bool is_withheld);
/* Sets its value, whose memory (of malloc) is taken over, and puts it. */
void fwi_kept_set(fwi_kept *kept, char *value);
/* Deletes the key from the store and forgets it. Not to be used any more after this call. */
void fwi_kept_remove(fwi_kept *kept);
/* At which the present value was read back; 0: it is not known to be in the store. */
int64_t fwi_kept_revision(const fwi_kept *kept);

#endif
