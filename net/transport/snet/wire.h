/* Sizes and marks of snet's handshakes, for their two sides. */
#ifndef FWI_SNET_WIRE_H
#define FWI_SNET_WIRE_H

#include "transport/snet/handshake.h"

#include <string.h>

#define FASTWAY_NEW          0x00 /* first byte */
#define FASTWAY_RESUME       0xff

#define CHALLENGE_BYTES      8
#define COUNTS_BYTES         24 /* id, written, read */
#define RESUME_BYTES         (COUNTS_BYTES + FWI_SNET_PROOF_BYTES)
#define UNIWAY_OPENING_BYTES 40 /* new or resume */
#define UNIWAY_ANSWER_BYTES  16
#define FASTWAY_NEW_BYTES    9
#define FASTWAY_ANSWER_BYTES 24

/* Fills `in` up to wanted bytes; returns how many it took. */
static inline size_t take_bytes(fwi_snet_bytes *in, size_t wanted, const uint8_t *data, size_t len)
{
    size_t taken = wanted - in->len < len ? wanted - in->len : len;
    if (taken)
        memcpy(in->data + in->len, data, taken);
    in->len += taken;
    return taken;
}

#endif
