/*
 * A client of the store under test: it writes, reads, swaps, watches everything, takes the lock and
 * writes under its token, and keeps a pair under a lease, for as long as its sheet says so. All of
 * it goes on the record.
 */
#ifndef CHAOS_CLIENT_H
#define CHAOS_CLIENT_H

#include "sheet.h"

#define CHAOS_TTL_MS     2000
#define CHAOS_TIMEOUT_MS 1000

typedef struct chaos_client_options {
    const char *url;
    size_t index; /* of the client, no other has it */
    uint64_t seed;
    const char *user, *password; /* or NULL */
    uint32_t timeout_ms;         /* 0: CHAOS_TIMEOUT_MS */
} chaos_client_options;

/* Runs to the end. Returns 0, or 1 and says why on stderr. */
int chaos_client_run(const chaos_client_options *options, chaos_sheet *sheet);

#endif
