/*
 * Objects under ids that count upwards: 1, 2, 3, ... The place of an id is its low bits, so looking
 * one up is one index and one comparison, and an id whose object is gone is never found again.
 * An id whose place is taken by a longer-lived object is skipped; the table grows before that gets
 * frequent. Used for call sequences, virtual connection ids and client ids.
 */
#ifndef FWI_ID_TABLE_H
#define FWI_ID_TABLE_H

#include <fairway/base.h>

typedef struct fwi_id_entry {
    uint64_t id; /* 0: free */
    void *object;
} fwi_id_entry;

typedef struct fwi_id_table {
    fwi_id_entry *entries;
    size_t capacity; /* a power of two */
    size_t count;
    uint64_t last_id;
    uint64_t max_id; /* ids wrap after it */
} fwi_id_table;

/* max_id is 2^n - 1, at least 15, as the wire has it. Allocates nothing yet. */
FWI_API void fwi_id_table_init(fwi_id_table *table, uint64_t max_id);
FWI_API void fwi_id_table_fini(fwi_id_table *table);
/* Gives the object the next free id. UV_ENOMEM, or FW_ELIMIT when every id is in use. */
FWI_API FW_MUST_CHECK int fwi_id_table_add(fwi_id_table *table, void *object, uint64_t *ret_id);
/* Takes the object out and returns it, NULL if the id is unknown. */
FWI_API void *fwi_id_table_remove(fwi_id_table *table, uint64_t id);

static inline void *fwi_id_table_find(const fwi_id_table *table, uint64_t id)
{
    if (!table->capacity || !id)
        return NULL;
    const fwi_id_entry *entry = &table->entries[id & (table->capacity - 1)];
    return entry->id == id ? entry->object : NULL;
}

#endif
