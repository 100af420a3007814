/*
 * Values that JSON cannot say by itself, as the codecs say them in cJSON trees (README.md has the
 * table). Makers return NULL for lack of memory only; getters FW_EMESSAGE if the value is another.
 */
#ifndef FWI_JSON_VALUE_H
#define FWI_JSON_VALUE_H

#include <cjson/cJSON.h>
#include <fairway/base.h>

/* Integers are exact in a JSON number up to this. */
#define FWI_JSON_MAX_EXACT ((int64_t)1 << 53)

/* A number, or a text beyond what a number can say exactly. */
FWI_API cJSON *fwi_json_make_int64(int64_t value);
FWI_API cJSON *fwi_json_make_uint64(uint64_t value);
/* Of a whole number or of a text of digits. */
FWI_API int fwi_json_get_int64(const cJSON *item, int64_t *ret_value);
FWI_API int fwi_json_get_uint64(const cJSON *item, uint64_t *ret_value);

/* A number, or "NaN", "Infinity", "-Infinity". */
FWI_API cJSON *fwi_json_make_double(double value);
FWI_API int fwi_json_get_double(const cJSON *item, double *ret_value);

/* True if a JSON text can hold the bytes: UTF-8 without NUL. */
FWI_API bool fwi_json_is_text(fw_slice bytes);
/* A text; for bytes that are none {"$bin": base64}. */
FWI_API cJSON *fwi_json_make_text(fw_slice bytes);
FWI_API cJSON *fwi_json_make_bin(fw_slice bytes);    /* {"$bin": base64} */
FWI_API cJSON *fwi_json_make_base64(fw_slice bytes); /* base64 */

/* Bytes of an item, lent by it or in memory of their own. */
typedef struct fwi_json_bytes {
    fw_slice bytes;
    uint8_t *own;
} fwi_json_bytes;
/* Of a text, or of {"$bin": base64}. FW_EMESSAGE, UV_ENOMEM. */
FWI_API int fwi_json_get_text(const cJSON *item, fwi_json_bytes *ret_bytes);
/* Of base64, or of {"$bin": base64}. */
FWI_API int fwi_json_get_base64(const cJSON *item, fwi_json_bytes *ret_bytes);
FWI_API void fwi_json_bytes_fini(fwi_json_bytes *bytes);

/* The only member of an object if it has this name, or NULL. */
FWI_API const cJSON *fwi_json_single(const cJSON *item, const char *name);

/* Adds under a name that need not end with NUL (and has no NUL inside). Takes the item, even when
 * it fails; an item that is NULL is UV_ENOMEM. */
FWI_API int fwi_json_add(cJSON *object, fw_slice name, cJSON *item);
FWI_API int fwi_json_append(cJSON *array, cJSON *item);

#endif
