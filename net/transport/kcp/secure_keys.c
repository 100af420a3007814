#include "transport/kcp/secure_keys.h"

#include <errno.h>
#include <fairway/error.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#define PSK_LEAST_BYTES 16
#define PSK_MOST_BYTES  4096

void fwi_kcps_wipe(void *secret, size_t len)
{
    OPENSSL_cleanse(secret, len);
}

bool fwi_kcps_hash(const fwi_kcps_part *parts, size_t count, uint8_t *ret_hash)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; ok && i < count; i++)
        ok = EVP_DigestUpdate(ctx, parts[i].data, parts[i].len) == 1;
    ok = ok && EVP_DigestFinal_ex(ctx, ret_hash, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

bool fwi_kcps_mac(const uint8_t key[FWI_KCPS_KEY_BYTES], const void *data, size_t len,
                  uint8_t ret_mac[FWI_KCPS_TAG_BYTES])
{
    uint8_t whole[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    if (!HMAC(EVP_sha256(), key, FWI_KCPS_KEY_BYTES, data, len, whole, &size))
        return false;
    memcpy(ret_mac, whole, FWI_KCPS_TAG_BYTES);
    return true;
}

bool fwi_kcps_make_pair(uint8_t ret_private[FWI_KCPS_KEY_BYTES],
                        uint8_t ret_public[FWI_KCPS_KEY_BYTES])
{
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_X25519, NULL);
    size_t private_len = FWI_KCPS_KEY_BYTES, public_len = FWI_KCPS_KEY_BYTES;
    bool ok = ctx && EVP_PKEY_keygen_init(ctx) == 1 && EVP_PKEY_keygen(ctx, &key) == 1 &&
              EVP_PKEY_get_raw_private_key(key, ret_private, &private_len) == 1 &&
              EVP_PKEY_get_raw_public_key(key, ret_public, &public_len) == 1;
    EVP_PKEY_free(key);
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

bool fwi_kcps_agree(const uint8_t private_key[FWI_KCPS_KEY_BYTES],
                    const uint8_t public_key[FWI_KCPS_KEY_BYTES],
                    uint8_t ret_shared[FWI_KCPS_KEY_BYTES])
{
    size_t len = FWI_KCPS_KEY_BYTES;
    EVP_PKEY *ours = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, len);
    EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, public_key, len);
    EVP_PKEY_CTX *ctx = ours ? EVP_PKEY_CTX_new(ours, NULL) : NULL;
    bool ok = ctx && theirs && EVP_PKEY_derive_init(ctx) == 1 &&
              EVP_PKEY_derive_set_peer(ctx, theirs) == 1 &&
              EVP_PKEY_derive(ctx, ret_shared, &len) == 1;
    EVP_PKEY_CTX_free(ctx);
    EVP_PKEY_free(theirs);
    EVP_PKEY_free(ours);
    return ok;
}

bool fwi_kcps_expand(const uint8_t *secret, size_t secret_len,
                     const uint8_t salt[FWI_KCPS_HASH_BYTES], const char *label, uint8_t *ret_out,
                     size_t len)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
    bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 &&
              EVP_PKEY_CTX_set_hkdf_md(ctx, EVP_sha256()) == 1 &&
              EVP_PKEY_CTX_set1_hkdf_salt(ctx, salt, FWI_KCPS_HASH_BYTES) == 1 &&
              EVP_PKEY_CTX_set1_hkdf_key(ctx, secret, (int)secret_len) == 1 &&
              EVP_PKEY_CTX_add1_hkdf_info(ctx, (const uint8_t *)label, (int)strlen(label)) == 1 &&
              EVP_PKEY_derive(ctx, ret_out, &len) == 1;
    EVP_PKEY_CTX_free(ctx);
    return ok;
}

bool fwi_kcps_encrypt(const uint8_t *key, const uint8_t *nonce, const uint8_t *head,
                      size_t head_len, uint8_t kind, const uint8_t *data, size_t len,
                      uint8_t *ret_out)
{
    int n;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok =
        ctx && EVP_EncryptInit_ex(ctx, EVP_chacha20_poly1305(), NULL, key, nonce) == 1 &&
        EVP_EncryptUpdate(ctx, NULL, &n, head, (int)head_len) == 1 &&
        EVP_EncryptUpdate(ctx, ret_out, &n, &kind, 1) == 1 &&
        (!len || EVP_EncryptUpdate(ctx, ret_out + 1, &n, data, (int)len) == 1) &&
        EVP_EncryptFinal_ex(ctx, ret_out + 1 + len, &n) == 1 &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, FWI_KCPS_TAG_BYTES, ret_out + 1 + len) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

bool fwi_kcps_decrypt(const uint8_t *key, const uint8_t *nonce, const uint8_t *head,
                      size_t head_len, uint8_t *data, size_t len)
{
    if (len < FWI_KCPS_TAG_BYTES)
        return false;
    int n;
    size_t sealed = len - FWI_KCPS_TAG_BYTES;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    bool ok =
        ctx && EVP_DecryptInit_ex(ctx, EVP_chacha20_poly1305(), NULL, key, nonce) == 1 &&
        EVP_DecryptUpdate(ctx, NULL, &n, head, (int)head_len) == 1 &&
        (!sealed || EVP_DecryptUpdate(ctx, data, &n, data, (int)sealed) == 1) &&
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, FWI_KCPS_TAG_BYTES, data + sealed) == 1 &&
        EVP_DecryptFinal_ex(ctx, data + sealed, &n) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

/* ---- files ---- */

static int load_psk(fwi_kcps_secrets *secrets, const char *path)
{
    static const char label[] = "fairway kcp psk";
    uint8_t bytes[PSK_MOST_BYTES];
    FILE *file = fopen(path, "rb");
    if (!file)
        return uv_translate_sys_error(errno);
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    while (len && (bytes[len - 1] == '\n' || bytes[len - 1] == '\r'))
        len--;
    fwi_kcps_part parts[] = {{label, sizeof label}, {bytes, len}};
    bool ok = len >= PSK_LEAST_BYTES && len < sizeof bytes && fwi_kcps_hash(parts, 2, secrets->psk);
    fwi_kcps_wipe(bytes, sizeof bytes);
    secrets->has_psk = ok;
    return ok ? FW_OK : FW_EOPTION;
}

static int load_key(fwi_kcps_secrets *secrets, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return uv_translate_sys_error(errno);
    EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
    size_t private_len = FWI_KCPS_KEY_BYTES, public_len = FWI_KCPS_KEY_BYTES;
    bool ok = key && EVP_PKEY_id(key) == EVP_PKEY_X25519 &&
              EVP_PKEY_get_raw_private_key(key, secrets->server_private, &private_len) == 1 &&
              EVP_PKEY_get_raw_public_key(key, secrets->server_public, &public_len) == 1;
    EVP_PKEY_free(key);
    secrets->has_server_key = ok;
    return ok ? FW_OK : FW_EOPTION;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static int read_server_key(fwi_kcps_secrets *secrets, const char *hex)
{
    if (strlen(hex) != 2 * FWI_KCPS_KEY_BYTES)
        return FW_EOPTION;
    for (size_t i = 0; i < FWI_KCPS_KEY_BYTES; i++) {
        int high = nibble(hex[2 * i]), low = nibble(hex[2 * i + 1]);
        if (high < 0 || low < 0)
            return FW_EOPTION;
        secrets->server_public[i] = (uint8_t)(high << 4 | low);
    }
    secrets->has_server_key = true;
    return FW_OK;
}

int fwi_kcps_secrets_load(fwi_kcps_secrets *ret_secrets, const char *psk, const char *key,
                          const char *server_key)
{
    *ret_secrets = (fwi_kcps_secrets){.has_psk = false};
    int err = FW_OK;
    if (psk)
        err = load_psk(ret_secrets, psk);
    if (!err && key)
        err = load_key(ret_secrets, key);
    if (!err && server_key)
        err = read_server_key(ret_secrets, server_key);
    if (err)
        fwi_kcps_wipe(ret_secrets, sizeof *ret_secrets);
    return err;
}
