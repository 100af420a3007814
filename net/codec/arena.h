/* Memory that is taken piece by piece and freed at once. Zero-initialised is empty. */
#ifndef FWI_ARENA_H
#define FWI_ARENA_H

#include <fairway/base.h>

typedef struct fwi_arena {
    struct fwi_arena_chunk *chunks;
} fwi_arena;

/* Zeroed memory for any type, or NULL. */
FWI_API void *fwi_arena_take(fwi_arena *arena, size_t len);
/* A copy that ends with NUL. */
FWI_API char *fwi_arena_text(fwi_arena *arena, const char *text, size_t len);
FWI_API void fwi_arena_fini(fwi_arena *arena);

#endif
