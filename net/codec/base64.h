/* Base64 with padding (RFC 4648, section 4); readers also take the URL-safe letters and no padding,
 * as protobuf's JSON does. */
#ifndef FWI_BASE64_H
#define FWI_BASE64_H

#include <fairway/base.h>

/* Text to be freed, or NULL: no memory. */
FWI_API char *fwi_base64_encode(fw_slice data);
/* Bytes to be freed (never NULL). FW_EMESSAGE, UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_base64_decode(const char *text, uint8_t **ret_data, size_t *ret_len);

#endif
