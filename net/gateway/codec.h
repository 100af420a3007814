/*
 * The wire of the gateway, sans-IO. All integers are little-endian.
 *
 *     frame   = length u32 (of what follows) | connection id u32 | message
 *     command = a frame with connection id 0; its message is type u8 | arguments, u32 each
 */
#ifndef FWI_GATEWAY_CODEC_H
#define FWI_GATEWAY_CODEC_H

#include <fairway/base.h>

#include "base/bytes.h"
#include "session/framer.h"

#define FWI_GW_LENGTH_BYTES         4
#define FWI_GW_ID_BYTES             4 /* counted by the length field */
#define FWI_GW_HEADER_BYTES         (FWI_GW_LENGTH_BYTES + FWI_GW_ID_BYTES)
#define FWI_GW_MAX_COMMAND_BYTES    (FWI_GW_HEADER_BYTES + 9)
#define FWI_GW_DEFAULT_PACKET_BYTES 524288
#define FWI_GW_CHALLENGE_BYTES      8
#define FWI_GW_DIGEST_BYTES         16
#define FWI_GW_ANSWER_BYTES         (FWI_GW_DIGEST_BYTES + 4)

typedef enum fwi_gw_type {
    FWI_GW_DIAL,    /* remote: whom */
    FWI_GW_ACCEPT,  /* conn, remote: the dialled side */
    FWI_GW_CONNECT, /* conn, remote: the dialler */
    FWI_GW_REFUSE,  /* remote: as dialled */
    FWI_GW_CLOSE,   /* conn */
    FWI_GW_PING
} fwi_gw_type;

typedef struct fwi_gw_command {
    fwi_gw_type type;
    uint32_t conn_id;   /* Accept, Connect, Close */
    uint32_t remote_id; /* Dial, Accept, Connect, Refuse */
} fwi_gw_command;

/* Checks the limits and readies a framer. FW_EOPTION. */
FWI_API FW_MUST_CHECK int fwi_gw_framer_init(fwi_framer *framer, uint32_t max_packet_bytes);

/* Connection id of a whole frame (header and all), whose length must have been checked. */
static inline uint32_t fwi_gw_frame_id(const uint8_t *frame)
{
    return fwi_get_u32le(frame + FWI_GW_LENGTH_BYTES);
}

/* Decodes the whole frame of a command. Bytes after the arguments are allowed, as the original has
 * it. FW_EPROTOCOL: no type, an unknown type, or too few arguments. */
FWI_API FW_MUST_CHECK int fwi_gw_command_decode(const uint8_t *frame, size_t len,
                                                fwi_gw_command *ret_command);
/* Size of the whole frame of a command. */
FWI_API size_t fwi_gw_command_bytes(fwi_gw_type type);
/* Writes the whole frame, fwi_gw_command_bytes(command->type) long. */
FWI_API void fwi_gw_command_encode(const fwi_gw_command *command, uint8_t *ret_frame);

/* Header of a data frame with a message of len bytes. */
static inline void fwi_gw_put_header(uint8_t *frame, uint32_t conn_id, uint32_t len)
{
    fwi_put_u32le(frame, FWI_GW_ID_BYTES + len);
    fwi_put_u32le(frame + FWI_GW_LENGTH_BYTES, conn_id);
}

/* What a server answers to the challenge: MD5 over challenge and key. UV_ENOMEM if OpenSSL fails.
 */
FWI_API FW_MUST_CHECK int fwi_gw_digest(const uint8_t challenge[FWI_GW_CHALLENGE_BYTES],
                                        const char *key, uint8_t ret_digest[FWI_GW_DIGEST_BYTES]);
/* The stronger answer, in the same place: the first half of HMAC-SHA-256 under the key over
 * "fairway gateway", challenge and id. UV_ENOMEM if OpenSSL fails. */
FWI_API FW_MUST_CHECK int fwi_gw_hmac(const uint8_t challenge[FWI_GW_CHALLENGE_BYTES],
                                      const char *key, uint32_t id,
                                      uint8_t ret_digest[FWI_GW_DIGEST_BYTES]);

#endif
