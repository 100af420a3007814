/*
 * The cryptography of snet, as unicok/snet and funny/snet have it: Diffie-Hellman modulo
 * 2^64 - 59 with generator 5, RC4, and MD5 as a proof of the key. It is kept for the sake of the
 * programs that speak it; README.md says what it is worth (little).
 */
#ifndef FWI_SNET_CRYPTO_H
#define FWI_SNET_CRYPTO_H

#include <fairway/base.h>

#define FWI_SNET_KEY_BYTES   8
#define FWI_SNET_PROOF_BYTES 16

/* g^private mod p. UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_snet_public_key(uint64_t private_key, uint64_t *ret_public);
/* peer^private mod p. FW_EPROTOCOL: a public key that makes the secret known to everybody (0, 1 or
 * -1 modulo p). UV_ENOMEM. */
FWI_API FW_MUST_CHECK int fwi_snet_secret(uint64_t private_key, uint64_t peer_public,
                                          uint64_t *ret_secret);

/* RC4 by ourselves: OpenSSL 3 has it in a module of its own (legacy.so) that not every installation
 * has and that changes what the whole process accepts; and its context takes several times the 258
 * bytes that a session, mostly idle, needs for each direction. */
typedef struct fwi_rc4 {
    uint8_t i, j, s[256];
} fwi_rc4;

FWI_API void fwi_rc4_init(fwi_rc4 *rc4, const uint8_t *key, size_t key_len);
/* in and out may be the same. */
FWI_API void fwi_rc4_apply(fwi_rc4 *rc4, const uint8_t *in, size_t len, uint8_t *ret_out);

/* MD5(data || key). UV_ENOMEM, FW_EOPTION if this OpenSSL has no MD5. */
FWI_API FW_MUST_CHECK int fwi_snet_proof(const uint8_t *data, size_t len,
                                         const uint8_t key[FWI_SNET_KEY_BYTES],
                                         uint8_t ret_proof[FWI_SNET_PROOF_BYTES]);
/* In constant time. */
FWI_API bool fwi_snet_proofs_equal(const uint8_t *a, const uint8_t *b);
/* Forgets a secret, so that the compiler does not leave it out. */
FWI_API void fwi_snet_cleanse(void *secret, size_t len);

#endif
