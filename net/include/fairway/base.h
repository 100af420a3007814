/* What every header of fairway needs: export marks and the byte view. */
#ifndef FAIRWAY_BASE_H
#define FAIRWAY_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define FW_BEGIN_DECLS extern "C" {
#define FW_END_DECLS   }
#else
#define FW_BEGIN_DECLS
#define FW_END_DECLS
#endif

#if defined(__GNUC__)
#define FW_API        __attribute__((visibility("default")))
#define FW_MUST_CHECK __attribute__((warn_unused_result))
#else
#define FW_API
#define FW_MUST_CHECK
#endif

/* Exported for fairway's own modules and drivers only; no promise of stability. */
#define FWI_API FW_API

/* A borrowed view of bytes. Never NUL-terminated, never owned; valid as long as its source says. */
typedef struct fw_slice {
    const void *data;
    size_t len;
} fw_slice;

#endif
