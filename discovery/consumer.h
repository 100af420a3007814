/*
 * A watcher as others see it: `consumers/<service, or *>/<name>` in the store, with the revision
 * that its application has been told of, so that a drain knows who has seen what.
 */
#ifndef FWI_CONSUMER_H
#define FWI_CONSUMER_H

#include <fairway/discovery.h>

typedef struct fwi_consumer fwi_consumer;

typedef struct fwi_consumer_options {
    const char *service; /* NULL: all */
    const char *name;    /* "": one is made up */
    uint32_t ttl_ms;
    /* The revision that has been told; 0: not known, as the store may be another than before. */
    int64_t (*seen)(void *arg);
    /* Once: it stands in the store, or that is out of reach. */
    void (*on_ready)(void *arg);
    void *arg;
} fwi_consumer_options;

/* FW_EOPTION: name or ttl_ms; UV_ENOMEM. */
FW_MUST_CHECK int fwi_consumer_new(fw_kv *kv, const fwi_consumer_options *options,
                                   fwi_consumer **ret_consumer);
/* What was seen is news that somebody may wait for: writes it. Calls that come while a write is
 * under way make one more. */
void fwi_consumer_saw(fwi_consumer *consumer);
/* What it tells besides: fw_watcher_set_ejected. UV_ENOMEM. */
FW_MUST_CHECK int fwi_consumer_set_ejected(fwi_consumer *consumer, const fw_ejected *ejected,
                                           size_t count);
/* Writes what was seen if the store does not say anything of it. */
void fwi_consumer_look(fwi_consumer *consumer);
/* Withdraws it. */
void fwi_consumer_close(fwi_consumer *consumer, fw_kv_closed_fn on_closed, void *arg);

/* The revision that a consumer's value tells; 0 if it tells none. */
int64_t fwi_consumer_revision(fw_slice value);
/* The same of a pair; 0 also if it tells more than the store had come to when it was written: what
 * it tells was seen in a store that was wiped since, and the consumer does not know yet. */
int64_t fwi_consumer_claim(const fw_kv_pair *pair);
/* The instances that a value tells, in one piece of memory to be freed; NULL: none, or no memory.
 */
fw_ejected *fwi_consumer_ejected(fw_slice value, size_t *ret_count);

#endif
