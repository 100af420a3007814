/* The cryptography that secure.c needs, by OpenSSL. Functions return false if it fails. */
#ifndef FWI_KCP_SECURE_KEYS_H
#define FWI_KCP_SECURE_KEYS_H

#include "transport/kcp/secure.h"

#define FWI_KCPS_HASH_BYTES 32

typedef struct fwi_kcps_part {
    const void *data;
    size_t len;
} fwi_kcps_part;

/* SHA-256 of all parts, one after the other. */
bool fwi_kcps_hash(const fwi_kcps_part *parts, size_t count, uint8_t *ret_hash);
/* The first tag-length bytes of HMAC-SHA256. */
bool fwi_kcps_mac(const uint8_t key[FWI_KCPS_KEY_BYTES], const void *data, size_t len,
                  uint8_t ret_mac[FWI_KCPS_TAG_BYTES]);
bool fwi_kcps_make_pair(uint8_t ret_private[FWI_KCPS_KEY_BYTES],
                        uint8_t ret_public[FWI_KCPS_KEY_BYTES]);
/* X25519; false also for a public key of small order. */
bool fwi_kcps_agree(const uint8_t private_key[FWI_KCPS_KEY_BYTES],
                    const uint8_t public_key[FWI_KCPS_KEY_BYTES],
                    uint8_t ret_shared[FWI_KCPS_KEY_BYTES]);
/* HKDF-SHA256. */
bool fwi_kcps_expand(const uint8_t *secret, size_t secret_len,
                     const uint8_t salt[FWI_KCPS_HASH_BYTES], const char *label, uint8_t *ret_out,
                     size_t len);

/* ChaCha20-Poly1305. The tag follows the ciphertext. The plaintext is `kind` and then data. */
bool fwi_kcps_encrypt(const uint8_t *key, const uint8_t *nonce, const uint8_t *head,
                      size_t head_len, uint8_t kind, const uint8_t *data, size_t len,
                      uint8_t *ret_out);
/* In place; len includes the tag. */
bool fwi_kcps_decrypt(const uint8_t *key, const uint8_t *nonce, const uint8_t *head,
                      size_t head_len, uint8_t *data, size_t len);

#endif
