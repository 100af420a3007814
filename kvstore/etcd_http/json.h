/*
 * Requests and replies of the gateway, on the level of JSON. Bytes are base64, 64-bit integers are
 * strings of digits, and a field that has its zero value is left out.
 */
#ifndef FWI_ETCD_HTTP_JSON_H
#define FWI_ETCD_HTTP_JSON_H

#include "pair.h"

#include <cjson/cJSON.h>
#include <fairway/base.h>

/* A request that is being written. Zero-initialised is empty. Failures are kept until the end. */
typedef struct fwi_eh_text {
    char *data;
    size_t len, capacity;
    bool failed;
} fwi_eh_text;

/* Adds text as it is. */
void fwi_eh_text_add(fwi_eh_text *text, const char *part);
/* Adds bytes in base64, with quotes. */
void fwi_eh_text_add_bytes(fwi_eh_text *text, fw_slice bytes);
/* Adds a number as a string of digits, with quotes. */
void fwi_eh_text_add_int64(fwi_eh_text *text, int64_t number);
/* Adds a string, with quotes. */
void fwi_eh_text_add_string(fwi_eh_text *text, const char *string);
/* Makes room, so that what is added up to there moves nothing. False: no memory. */
bool fwi_eh_text_reserve(fwi_eh_text *text, size_t bytes);
void fwi_eh_text_fini(fwi_eh_text *text);

/* A field of an object, or NULL; also if object is NULL or none. */
cJSON *fwi_eh_json_get(const cJSON *object, const char *name);
/* False if the field is there and malformed; 0, false, "" if it is missing. */
FW_MUST_CHECK bool fwi_eh_json_int64(const cJSON *object, const char *name, int64_t *ret_number);
FW_MUST_CHECK bool fwi_eh_json_uint64(const cJSON *object, const char *name, uint64_t *ret_number);
bool fwi_eh_json_true(const cJSON *object, const char *name);
const char *fwi_eh_json_text(const cJSON *object, const char *name);
/* Decodes in place: once for each field. The bytes live as long as the object. */
FW_MUST_CHECK bool fwi_eh_json_bytes(const cJSON *object, const char *name, fw_slice *ret_bytes);

/* True if a reply, or a message of a stream, tells an error: its code, which is gRPC's, and its
 * text, which lives as long as the object. */
bool fwi_eh_json_error(const cJSON *reply, int *ret_code, const char **ret_text);

/* The header of a reply. */
FW_MUST_CHECK bool fwi_eh_json_header(const cJSON *reply, uint64_t *ret_cluster,
                                      int64_t *ret_revision);

/* The views are into the object. */
FW_MUST_CHECK bool fwi_eh_json_pair(const cJSON *object, fwi_ec_pair *ret_pair);

#endif
