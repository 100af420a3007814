/*
 * What a process of a scenario and its director share: a mapped file. Only the process adds
 * records; the count is raised when a record is whole. It outlives the process.
 */
#ifndef DISC_SHEET_H
#define DISC_SHEET_H

#include "disc_history.h"

#include <stdatomic.h>

#define DISC_MAX_RECORDS 100000

typedef struct disc_sheet {
    atomic_bool finish; /* the director's: close everything and end */
    atomic_bool full;   /* records were dropped */
    atomic_size_t count;
    disc_record records[DISC_MAX_RECORDS];
} disc_sheet;

/* NULL: errno tells. */
disc_sheet *disc_sheet_open(const char *path);
void disc_sheet_close(disc_sheet *sheet);
/* Adds a record, with the present time. */
void disc_sheet_add(disc_sheet *sheet, disc_record record);

#endif
