/* The records of the tables, as bytes. Keys are big-endian, so that LMDB's order is the order of
 * numbers; values are in the machine's own order, as LMDB's files are anyway. */
#ifndef FWI_LMDB_RECORDS_H
#define FWI_LMDB_RECORDS_H

#include <lmdb.h>
#include <stdint.h>
#include <string.h>

#include <fairway/kvstore.h>

struct fwi_lmdb_pair_head {
    int64_t revision, lease;
};

struct fwi_lmdb_change_head {
    int64_t lease;
    uint32_t key_len;
    uint32_t is_delete;
};

struct fwi_lmdb_lease {
    uint64_t expires_ms;
    uint64_t ttl_ms;
    uint8_t boot[16];
};

/* Room for the longest key of any table. */
typedef struct fwi_lmdb_key {
    uint8_t bytes[8 + FW_KV_MAX_KEY_BYTES];
    size_t len;
} fwi_lmdb_key;

static inline void fwi_lmdb_key_number(fwi_lmdb_key *key, uint64_t number)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        key->bytes[key->len++] = (uint8_t)(number >> shift);
}

static inline void fwi_lmdb_key_text(fwi_lmdb_key *key, const void *text, size_t len)
{
    memcpy(key->bytes + key->len, text, len);
    key->len += len;
}

static inline MDB_val fwi_lmdb_key_val(fwi_lmdb_key *key)
{
    return (MDB_val){key->len, key->bytes};
}

static inline uint64_t fwi_lmdb_number(const void *bytes)
{
    const uint8_t *p = bytes;
    uint64_t number = 0;
    for (int i = 0; i < 8; i++)
        number = number << 8 | p[i];
    return number;
}

/* Records in the map are not aligned for us: they are copied out. */
static inline bool fwi_lmdb_take_head(MDB_val value, void *ret_head, size_t size,
                                      fw_slice *ret_rest)
{
    if (value.mv_size < size)
        return false;
    memcpy(ret_head, value.mv_data, size);
    if (ret_rest)
        *ret_rest = (fw_slice){(const uint8_t *)value.mv_data + size, value.mv_size - size};
    return true;
}

#endif
