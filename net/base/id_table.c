#include "base/id_table.h"

#include <fairway/error.h>
#include <stdlib.h>
#include <uv.h>

#define FIRST_CAPACITY 16

void fwi_id_table_init(fwi_id_table *table, uint64_t max_id)
{
    *table = (fwi_id_table){.max_id = max_id};
}

void fwi_id_table_fini(fwi_id_table *table)
{
    free(table->entries);
    table->entries = NULL;
    table->capacity = table->count = 0;
}

/* Ids that differ in their low n bits differ in their low n + 1 bits: doubling needs no probing. */
static int grow(fwi_id_table *table)
{
    size_t capacity = table->capacity ? table->capacity * 2 : FIRST_CAPACITY;
    fwi_id_entry *entries = calloc(capacity, sizeof *entries);
    if (!entries)
        return UV_ENOMEM;
    for (size_t i = 0; i < table->capacity; i++)
        if (table->entries[i].id)
            entries[table->entries[i].id & (capacity - 1)] = table->entries[i];
    free(table->entries);
    table->entries = entries;
    table->capacity = capacity;
    return FW_OK;
}

int fwi_id_table_add(fwi_id_table *table, void *object, uint64_t *ret_id)
{
    if (table->count * 2 >= table->capacity && table->capacity <= table->max_id) {
        int err = grow(table);
        if (err)
            return err;
    }
    if (table->count >= table->max_id) /* so there is a free place */
        return FW_ELIMIT;
    uint64_t id = table->last_id;
    fwi_id_entry *entry;
    do {
        id = id >= table->max_id ? 1 : id + 1;
        entry = &table->entries[id & (table->capacity - 1)];
    } while (entry->id);
    *entry = (fwi_id_entry){.id = id, .object = object};
    table->count++;
    table->last_id = id;
    *ret_id = id;
    return FW_OK;
}

void *fwi_id_table_remove(fwi_id_table *table, uint64_t id)
{
    void *object = fwi_id_table_find(table, id);
    if (object) {
        table->entries[id & (table->capacity - 1)].id = 0;
        table->count--;
    }
    return object;
}
