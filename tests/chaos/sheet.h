/*
 * What a client and the director of a scenario share: a file mapped by both, so that a client may
 * be a thread or a process, and what it did is not lost when it is killed. Only the client adds
 * records; the count is raised when a record is whole.
 */
#ifndef CHAOS_SHEET_H
#define CHAOS_SHEET_H

#include "history.h"

#include <stdatomic.h>

#define CHAOS_MAX_RECORDS 200000

typedef enum chaos_phase {
    CHAOS_RUN,   /* work */
    CHAOS_DRAIN, /* come to rest: no operation, no lock; the lease is held and its pair written */
    CHAOS_FINISH /* close the store and end */
} chaos_phase;

typedef struct chaos_sheet {
    atomic_int phase;     /* the director's */
    atomic_bool ready;    /* the watch has had its first list, something was written */
    atomic_bool drained;  /* and stays so */
    atomic_bool holding;  /* the lock */
    atomic_uint busy;     /* what is not at rest, in CHAOS_DRAIN: see client.c */
    atomic_bool finished; /* the store is closed */
    atomic_int saw_end;   /* the director's last word that the watch has seen */
    atomic_uint acked;    /* writes */
    atomic_uint resyncs;  /* of the watch */
    atomic_bool full;     /* records were dropped */
    atomic_size_t count;
    chaos_record records[CHAOS_MAX_RECORDS];
} chaos_sheet;

/* Maps a file, making it if it is not there: zeros at first, shared by all who map it. NULL: errno
 * tells. To be given to munmap. */
void *chaos_map(const char *path, size_t size);
/* NULL: errno tells. */
chaos_sheet *chaos_sheet_open(const char *path);
void chaos_sheet_close(chaos_sheet *sheet);

#endif
