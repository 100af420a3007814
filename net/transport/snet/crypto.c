#include "transport/snet/crypto.h"

#include <fairway/error.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <uv.h>

#include "base/bytes.h"

#define PRIME     0xffffffffffffffc5u /* 2^64 - 59 */
#define GENERATOR 5

static BIGNUM *number_of(uint64_t value)
{
    uint8_t bytes[8];
    fwi_put_u64be(bytes, value);
    return BN_bin2bn(bytes, sizeof bytes, NULL);
}

static int power(uint64_t base, uint64_t exponent, uint64_t *ret_result)
{
    uint8_t bytes[8];
    BN_CTX *context = BN_CTX_new();
    BIGNUM *b = number_of(base % PRIME), *e = number_of(exponent), *p = number_of(PRIME);
    BIGNUM *result = BN_new();
    bool done = context && b && e && p && result;
    if (done) {
        BN_set_flags(e, BN_FLG_CONSTTIME);
        done = BN_mod_exp(result, b, e, p, context) &&
               BN_bn2binpad(result, bytes, sizeof bytes) == sizeof bytes;
    }
    if (done)
        *ret_result = fwi_get_u64be(bytes);
    BN_clear_free(result);
    BN_free(p);
    BN_clear_free(e);
    BN_free(b);
    BN_CTX_free(context);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return done ? FW_OK : UV_ENOMEM;
}

int fwi_snet_public_key(uint64_t private_key, uint64_t *ret_public)
{
    return power(GENERATOR, private_key, ret_public);
}

int fwi_snet_secret(uint64_t private_key, uint64_t peer_public, uint64_t *ret_secret)
{
    uint64_t reduced = peer_public % PRIME;
    if (reduced <= 1 || reduced == PRIME - 1)
        return FW_EPROTOCOL;
    return power(peer_public, private_key, ret_secret);
}

void fwi_rc4_init(fwi_rc4 *rc4, const uint8_t *key, size_t key_len)
{
    uint8_t *s = rc4->s, j = 0;
    for (unsigned i = 0; i < 256; i++)
        s[i] = (uint8_t)i;
    for (unsigned i = 0; i < 256; i++) {
        j = (uint8_t)(j + s[i] + key[i % key_len]);
        uint8_t swap = s[i];
        s[i] = s[j];
        s[j] = swap;
    }
    rc4->i = rc4->j = 0;
}

void fwi_rc4_apply(fwi_rc4 *rc4, const uint8_t *in, size_t len, uint8_t *ret_out)
{
    uint8_t *s = rc4->s, i = rc4->i, j = rc4->j;
    for (size_t n = 0; n < len; n++) {
        i = (uint8_t)(i + 1);
        uint8_t a = s[i];
        j = (uint8_t)(j + a);
        uint8_t b = s[j];
        s[i] = b;
        s[j] = a;
        ret_out[n] = in[n] ^ s[(uint8_t)(a + b)];
    }
    rc4->i = i;
    rc4->j = j;
}

int fwi_snet_proof(const uint8_t *data, size_t len, const uint8_t key[FWI_SNET_KEY_BYTES],
                   uint8_t ret_proof[FWI_SNET_PROOF_BYTES])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!context)
        return UV_ENOMEM;
    bool done = EVP_DigestInit_ex(context, EVP_md5(), NULL) &&
                EVP_DigestUpdate(context, data, len) &&
                EVP_DigestUpdate(context, key, FWI_SNET_KEY_BYTES) &&
                EVP_DigestFinal_ex(context, ret_proof, NULL);
    EVP_MD_CTX_free(context);
    return done ? FW_OK : FW_EOPTION;
}

bool fwi_snet_proofs_equal(const uint8_t *a, const uint8_t *b)
{
    return !CRYPTO_memcmp(a, b, FWI_SNET_PROOF_BYTES);
}

void fwi_snet_cleanse(void *secret, size_t len)
{
    OPENSSL_cleanse(secret, len);
}
