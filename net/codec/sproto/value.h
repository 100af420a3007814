/* What encode.c and decode.c share with the codec's table. */
#ifndef FWI_SPROTO_VALUE_H
#define FWI_SPROTO_VALUE_H

#include "codec/sproto/schema.h"

/* 10 to the digits of a decimal. */
double fwi_sproto_scale(const fwi_sproto_field *field);
int fwi_sproto_encode(fwi_codec_run *run, const void *type, const void *json, fwi_buffer *out);
/* The struct at the start of data; how many bytes it took. */
int fwi_sproto_decode(fwi_codec_run *run, const fw_sproto_type *type, fw_slice data,
                      struct cJSON **ret_json, size_t *ret_used);

#endif
