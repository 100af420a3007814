/* What the dialects of flyrpc share. README.md in this folder has their tables. */
#ifndef FWI_RPC_FLY_H
#define FWI_RPC_FLY_H

#include "rpc/protocol.h"

#include "base/bytes.h"

#define FWI_FLY_MAX_METHOD 1024

/* Low bits of the flag byte up to 0.4, over a type in the high ones. */
enum {
    FWI_FLY_RPC = 0xb0,        /* as the code has it */
    FWI_FLY_RPC_README = 0xc0, /* as the README has it */
    FWI_FLY_TYPE = 0xb0,       /* the code's mask of the type */
    FWI_FLY_PING_TYPE = 0x80,
    FWI_FLY_PING = 0x81,
    FWI_FLY_PONG = 0x82
};

/* Bits of an RPC packet; seed's own differ. */
typedef struct fwi_fly_bits {
    uint8_t request, response, error; /* 0: there is none */
} fwi_fly_bits;

extern const fwi_fly_bits fwi_fly_v0_bits;

/* Kind and error of a flag byte, and the flags that an answer in the same style needs. */
void fwi_fly_read_flag(const fwi_fly_bits *bits, uint8_t flag, fwi_rpc_packet *packet);
/* The other way. */
uint8_t fwi_fly_flag(const fwi_fly_bits *bits, const fwi_rpc_packet *packet);
/* True for the flag bytes that open a conversation. */
bool fwi_fly_opens(uint8_t flag);

/* Errors that are told by a name, where our own have one. */
int fwi_fly_get_named(fw_slice name, fwi_rpc_error *ret_error);
/* The name to be sent: of our own codes, or the application's text; lives in error, or static. */
fw_slice fwi_fly_name_of(const fwi_rpc_error *error);

/* The same by flyrpc's numbers. */
void fwi_fly_get_numbered(uint32_t number, fwi_rpc_error *ret_error);
uint32_t fwi_fly_number_of(const fwi_rpc_error *error);

static inline uint16_t fwi_get_u16be(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline void fwi_put_u16be(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void fwi_fly_put(uint8_t **out, const void *data, size_t len)
{
    if (len)
        memcpy(*out, data, len);
    *out += len;
}

#endif
